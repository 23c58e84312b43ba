//! APNs: every reason, one request each.

use std::time::Duration;

use http::Method;
use parvis::sandbox::{ApnsKey, Behaviour, Sandbox};
use parvis_engine::shopper::ApnsEnvironment::{Production, Sandbox as Development};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Ask, Client, pass, sandbox, seconds, start},
    signing,
};

pub(crate) const TOPIC: &str = "com.example.shop";
const ID: &str = "eabeae54-14a8-11e5-b60b-1697f925ec7b";

struct Fixture {
    sandbox: Sandbox,
    client: Client,
    token: String,
    jwt: String,
}

pub(crate) fn jwt(sandbox: &Sandbox, key: &ApnsKey, issued_at: i64) -> String {
    let header = json!({ "alg": "ES256", "kid": key.key_id });
    let claims = json!({ "iss": sandbox.apns_team_id(), "iat": issued_at });
    signing::es256(&key.pem, &header, &claims)
}

fn payload() -> Value {
    json!({ "aps": { "alert": { "title": "Order ready", "body": "Bay 3" } }, "deep_link": "https://shop.example/o/1" })
}

pub(crate) fn push(token: &str, jwt: &str) -> Ask {
    Ask::post(&format!("/3/device/{token}"), payload().to_string())
        .with("authorization", format!("bearer {jwt}"))
        .with("apns-topic", TOPIC)
        .with("apns-push-type", "alert")
        .with("apns-priority", "10")
        .with("apns-expiration", "1800000000")
        .with("apns-collapse-id", "order-1")
        .with("apns-id", ID)
}

async fn fixture() -> Fixture {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().apns_production, &sandbox).await;
    let token = sandbox.register_apns(TOPIC, Production);
    let jwt = jwt(&sandbox, &sandbox.apns_key(), seconds(&sandbox));
    Fixture { sandbox, client, token, jwt }
}

impl Fixture {
    fn push(&self) -> Ask {
        push(&self.token, &self.jwt)
    }

    /// A push with a payload of so many bytes.
    fn sized(&self, length: usize) -> Ask {
        let frame = json!({ "aps": {}, "x": "" }).to_string().len();
        let body = json!({ "aps": {}, "x": "x".repeat(length - frame) }).to_string().into_bytes();
        Ask { body, ..self.push() }
    }
}

fn voip(ask: Ask) -> Ask {
    ask.with("apns-push-type", "voip").with("apns-topic", format!("{TOPIC}.voip"))
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, reason: &str, case: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["reason"].as_str()), (status, Some(reason)), "{case}");
}

#[tokio::test]
async fn a_good_push_is_accepted_and_recorded() {
    let f = fixture().await;
    let answer = f.client.ask(f.push()).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b""[..]));
    assert_eq!(answer.header("apns-id"), Some(ID));
    assert_eq!(answer.header("apns-unique-id"), None);
    let received = f.sandbox.wait_for(1).await;
    let message = &received[0].message;
    assert_eq!((received[0].target.as_str(), &received[0].refused), (f.token.as_str(), &None));
    assert_eq!((message.id.as_str(), message.collapse.as_deref()), (ID, Some("order-1")));
    assert_eq!((message.title.as_deref(), message.body.as_deref()), (Some("Order ready"), Some("Bay 3")));
    assert_eq!(message.deep_link.as_deref(), Some("https://shop.example/o/1"));
    assert_eq!(message.payload, payload().to_string());
}

#[tokio::test]
async fn the_two_environments_know_different_tokens() {
    let f = fixture().await;
    let client = Client::connect(&f.sandbox.endpoints().apns_sandbox, &f.sandbox).await;
    assert_refused(&client.ask(f.push()).await, 400, "BadDeviceToken", "a production token on the sandbox");
    let token = f.sandbox.register_apns(TOPIC, Development);
    let answer = client.ask(push(&token, &f.jwt)).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.header("apns-unique-id").map(str::len), Some(36));
    assert_refused(&f.client.ask(push(&token, &f.jwt)).await, 400, "BadDeviceToken", "a sandbox token in production");
}

#[tokio::test]
async fn every_fault_of_a_request_has_its_reason() {
    let f = fixture().await;
    f.sandbox.register_apns("com.example.other", Production);
    let with = |name, value: &str| f.push().with(name, value);
    let path = |path: &str| Ask { path: path.to_owned(), ..f.push() };
    let body = |body: &str| Ask { body: body.as_bytes().to_vec(), ..f.push() };
    let sized = |length| f.sized(length);
    let twice = || {
        let mut ask = f.push();
        ask.headers.push(("apns-topic", TOPIC.to_owned()));
        ask
    };
    let unknown = "0".repeat(64);
    let cases = [
        ("another path", path("/4/device/00"), 404, "BadPath"),
        ("a longer path", path(&format!("/3/device/{}/more", f.token)), 404, "BadPath"),
        ("another method", Ask { method: Method::GET, ..f.push() }, 405, "MethodNotAllowed"),
        ("a header twice", twice(), 400, "DuplicateHeaders"),
        ("no token", path("/3/device/"), 400, "MissingDeviceToken"),
        ("a short token", path("/3/device/abcd"), 400, "BadDeviceToken"),
        ("no digits", path(&format!("/3/device/{}", "z".repeat(64))), 400, "BadDeviceToken"),
        ("an unknown token", path(&format!("/3/device/{unknown}")), 400, "BadDeviceToken"),
        ("no topic", f.push().without("apns-topic"), 400, "MissingTopic"),
        ("a topic with a space", with("apns-topic", "com example"), 400, "BadTopic"),
        ("an empty topic", with("apns-topic", ""), 400, "BadTopic"),
        ("another app of the team", with("apns-topic", "com.example.other"), 400, "DeviceTokenNotForTopic"),
        ("an app of nobody", with("apns-topic", "com.example.nobody"), 400, "TopicDisallowed"),
        ("an id that is none", with("apns-id", "1"), 400, "BadMessageId"),
        ("an unknown type", with("apns-push-type", "shout"), 400, "InvalidPushType"),
        ("a type without its suffix", with("apns-push-type", "voip"), 400, "InvalidPushType"),
        ("a suffix without its type", with("apns-topic", "com.example.shop.voip"), 400, "InvalidPushType"),
        ("an unknown priority", with("apns-priority", "7"), 400, "BadPriority"),
        ("urgent background", with("apns-push-type", "background"), 400, "BadPriority"),
        ("a date", with("apns-expiration", "tomorrow"), 400, "BadExpirationDate"),
        ("a negative date", with("apns-expiration", "-1"), 400, "BadExpirationDate"),
        ("65 bytes of collapse id", with("apns-collapse-id", &"x".repeat(65)), 400, "BadCollapseId"),
        ("4097 bytes", sized(4_097), 413, "PayloadTooLarge"),
        ("100 kB", sized(100_000), 413, "PayloadTooLarge"),
        ("5121 bytes of VoIP", voip(sized(5_121)), 413, "PayloadTooLarge"),
        ("nothing", body(""), 400, "PayloadEmpty"),
        ("no JSON", body("{"), 400, "PayloadEmpty"),
        ("no object", body("[]"), 400, "PayloadEmpty"),
        ("no aps", body("{}"), 400, "PayloadEmpty"),
    ];
    let count = cases.len();
    for (case, ask, status, reason) in cases {
        assert_refused(&f.client.ask(ask).await, status, reason, case);
    }
    let refused = f.sandbox.received();
    assert_eq!(refused.len(), count);
    assert!(refused.iter().all(|received| received.refused.is_some()));
}

#[tokio::test]
async fn what_is_just_allowed_is_accepted() {
    let f = fixture().await;
    let with = |name, value: &str| f.push().with(name, value);
    let upper = Ask { path: format!("/3/device/{}", f.token.to_ascii_uppercase()), ..f.push() };
    let background = with("apns-push-type", "background").with("apns-priority", "5");
    let bare = ["apns-id", "apns-push-type", "apns-priority", "apns-expiration", "apns-collapse-id"];
    let bare = bare.into_iter().fold(f.push(), Ask::without);
    let longest = with("apns-collapse-id", &"x".repeat(64));
    let low = with("apns-priority", "1").with("apns-expiration", "0");
    for ask in [upper, background, bare, longest, low, f.sized(4_096), voip(f.sized(5_120))] {
        let answer = f.client.ask(ask.clone()).await;
        assert_eq!(answer.status.as_u16(), 200, "{ask:?} {answer:?}");
        assert_eq!(answer.header("apns-id").map(str::len), Some(36));
    }
}

#[tokio::test]
async fn every_push_type_has_its_suffix() {
    let f = fixture().await;
    let types = [
        ("alert", ""),
        ("background", ""),
        ("mdm", ""),
        ("voip", ".voip"),
        ("pushtotalk", ".voip-ptt"),
        ("complication", ".complication"),
        ("fileprovider", ".pushkit.fileprovider"),
        ("location", ".location-query"),
        ("widgets", ".push-type.widgets"),
        ("controls", ".push-type.controls"),
        ("liveactivity", ".push-type.liveactivity"),
    ];
    for (name, _) in types {
        for (_, suffix) in types {
            let body = json!({ "mdm": "x", "aps": { "event": "update", "timestamp": 1, "content-state": {} } });
            let ask = Ask { body: body.to_string().into_bytes(), ..f.push() };
            let ask = ask.with("apns-push-type", name).with("apns-topic", format!("{TOPIC}{suffix}"));
            let answer = f.client.ask(ask.with("apns-priority", "5")).await;
            let own = types.contains(&(name, suffix));
            assert_eq!(answer.status.as_u16(), if own { 200 } else { 400 }, "{name} {suffix}");
            assert_eq!(answer.json()["reason"].as_str(), (!own).then_some("InvalidPushType"), "{name} {suffix}");
        }
    }
}

#[tokio::test]
async fn the_checks_have_an_order() {
    let f = fixture().await;
    let mut spoilt = Ask::post("/3/device/xyz", "").with("apns-priority", "7").with("apns-id", "1");
    assert_refused(&f.client.ask(spoilt.clone()).await, 403, "MissingProviderToken", "all is wrong");
    spoilt = spoilt.with("authorization", format!("bearer {}", f.jwt));
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "BadDeviceToken", "authorized");
    f.sandbox.set_behaviour(&f.token, Behaviour::Unregistered { since: None });
    spoilt.path = format!("/3/device/{}", f.token);
    assert_refused(&f.client.ask(spoilt.clone()).await, 410, "Unregistered", "a known token");
    f.sandbox.set_behaviour(&f.token, Behaviour::Normal);
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "MissingTopic", "registered");
    spoilt = spoilt.with("apns-topic", TOPIC);
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "BadMessageId", "the topic");
    spoilt = spoilt.without("apns-id").with("apns-push-type", "shout");
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "InvalidPushType", "no id");
    spoilt = spoilt.with("apns-push-type", "alert").with("apns-expiration", "x");
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "BadPriority", "the type");
    spoilt = spoilt.with("apns-priority", "5").with("apns-collapse-id", "x".repeat(65));
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "BadExpirationDate", "the priority");
    spoilt = spoilt.without("apns-expiration");
    assert_refused(&f.client.ask(spoilt.clone()).await, 400, "BadCollapseId", "no expiration");
    spoilt = spoilt.without("apns-collapse-id");
    assert_refused(&f.client.ask(spoilt).await, 400, "PayloadEmpty", "no collapse id");
}

#[tokio::test]
async fn every_fault_of_a_token_has_its_reason() {
    let f = start(|options| options.apns_token_changes = 100).await;
    let (key, now) = (f.apns_key(), seconds(&f));
    let client = Client::connect(&f.endpoints().apns_production, &f).await;
    let token = f.register_apns(TOPIC, Production);
    let sign = |header: Value, claims: Value| format!("bearer {}", signing::es256(&key.pem, &header, &claims));
    let head = || json!({ "alg": "ES256", "kid": key.key_id });
    let claims = |iat: i64| json!({ "iss": f.apns_team_id(), "iat": iat });
    let good = jwt(&f, &key, now);
    let stranger = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let invalid = "InvalidProviderToken";
    let cases = [
        ("another scheme", format!("basic {good}"), invalid),
        ("no scheme", good.clone(), invalid),
        ("no token", "bearer x".to_owned(), invalid),
        ("padding", format!("bearer {}", signing::padded(&good)), invalid),
        ("the other alphabet", format!("bearer {}", signing::standard(&good)), invalid),
        ("another algorithm", sign(json!({ "alg": "HS256", "kid": key.key_id }), claims(now)), invalid),
        ("an unknown key", sign(json!({ "alg": "ES256", "kid": "UNKNOWNKEY" }), claims(now)), invalid),
        ("no key", sign(json!({ "alg": "ES256" }), claims(now)), invalid),
        ("another team", sign(head(), json!({ "iss": "SOMEBODYXX", "iat": now })), invalid),
        ("no time", sign(head(), json!({ "iss": f.apns_team_id() })), invalid),
        ("a time in quotes", sign(head(), json!({ "iss": f.apns_team_id(), "iat": now.to_string() })), invalid),
        ("a time to come", sign(head(), claims(now + 3_600)), invalid),
        ("another signer", format!("bearer {}", signing::es256(&stranger, &head(), &claims(now))), invalid),
        ("too old", sign(head(), claims(now - 3_601)), "ExpiredProviderToken"),
    ];
    for (case, authorization, reason) in cases {
        let ask = push(&token, &good).with("authorization", authorization);
        assert_refused(&client.ask(ask).await, 403, reason, case);
    }
    let missing = push(&token, &good).without("authorization");
    assert_refused(&client.ask(missing).await, 403, "MissingProviderToken", "no header");
    let oldest = push(&token, &jwt(&f, &key, now - 3_590));
    assert_eq!(client.ask(oldest).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_token_ages() {
    let f = fixture().await;
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200);
    pass(Duration::from_secs(3_590)).await;
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200);
    pass(Duration::from_secs(20)).await;
    assert_refused(&f.client.ask(f.push()).await, 403, "ExpiredProviderToken", "after an hour");
}

#[tokio::test]
async fn a_team_may_not_change_its_token_too_often() {
    let f = fixture().await;
    let key = f.sandbox.apns_key();
    let fresh = || push(&f.token, &jwt(&f.sandbox, &key, seconds(&f.sandbox)));
    let second = fresh();
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200);
    assert_eq!(f.client.ask(second.clone()).await.status.as_u16(), 200);
    let other = Client::connect(&f.sandbox.endpoints().apns_sandbox, &f.sandbox).await;
    let third = fresh();
    assert_refused(&other.ask(third.clone()).await, 429, "TooManyProviderTokenUpdates", "on another connection");
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200, "the old ones stay good");
    pass(Duration::from_secs(20 * 60)).await;
    assert_eq!(f.client.ask(third).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_connection_carries_one_key() {
    let f = start(|options| options.apns_token_changes = 100).await;
    let token = f.register_apns(TOPIC, Production);
    let client = Client::connect(&f.endpoints().apns_production, &f).await;
    let [first, second, development] = [Ok(f.apns_key()), f.issue_apns_key(None), f.issue_apns_key(Some(Development))]
        .map(|key| jwt(&f, &key.expect("a key"), seconds(&f)));
    assert_eq!(client.ask(push(&token, &first)).await.status.as_u16(), 200);
    assert_refused(&client.ask(push(&token, &second)).await, 403, "UnrelatedKeyIdInToken", "another key");
    let client = Client::connect(&f.endpoints().apns_production, &f).await;
    let refused = client.ask(push(&token, &development)).await;
    assert_refused(&refused, 403, "BadEnvironmentKeyIdInToken", "a key for development");
    assert_eq!(client.ask(push(&token, &second)).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_target_behaves_as_told() {
    let f = fixture().await;
    let since = "2026-11-20T08:00:00Z".parse().expect("a time");
    assert!(!f.sandbox.set_behaviour("unknown", Behaviour::Normal));
    assert!(f.sandbox.set_behaviour(&f.token, Behaviour::Unregistered { since: Some(since) }));
    let answer = f.client.ask(f.push()).await;
    assert_refused(&answer, 410, "Unregistered", "gone");
    assert_eq!(answer.json()["timestamp"], since.as_millis());

    f.sandbox.set_behaviour(&f.token, Behaviour::Throttled { times: Some(2), retry_after_s: Some(7) });
    for _ in 0..2 {
        let answer = f.client.ask(f.push()).await;
        assert_refused(&answer, 429, "TooManyRequests", "throttled");
        assert_eq!((answer.header("retry-after"), answer.header("apns-id")), (Some("7"), Some(ID)));
    }
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200);

    for (status, reason, told) in [
        (410, Some("ExpiredToken"), "ExpiredToken"),
        (403, Some("BadCertificateEnvironment"), "BadCertificateEnvironment"),
        (403, None, "Forbidden"),
        (500, None, "InternalServerError"),
        (503, None, "ServiceUnavailable"),
        (503, Some("Shutdown"), "Shutdown"),
        (400, Some("IdleTimeout"), "IdleTimeout"),
    ] {
        let reason = reason.map(str::to_owned);
        f.sandbox.set_behaviour(&f.token, Behaviour::Failing { status, reason, times: Some(1) });
        assert_refused(&f.client.ask(f.push()).await, status, told, told);
        assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200);
    }
}
