//! FCM: the token endpoint and every error of `messages:send`.

use std::time::Duration;

use http::Method;
use parvis::sandbox::{Behaviour, Sandbox};
use parvis_engine::shopper::PushTarget;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Ask, Client, pass, sandbox, seconds},
    signing,
};

const SEND: &str = "/v1/projects/parvis-sandbox/messages:send";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

fn account(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&sandbox.fcm_service_account()).expect("JSON")
}

fn claims(sandbox: &Sandbox) -> Value {
    let (account, now) = (account(sandbox), seconds(sandbox));
    json!({
        "iss": account["client_email"], "scope": SCOPE, "aud": account["token_uri"], "iat": now, "exp": now + 3_600,
    })
}

fn assertion(sandbox: &Sandbox, claims: &Value) -> String {
    let account = account(sandbox);
    let key = account["private_key"].as_str().expect("a key");
    signing::rs256(key, &json!({ "alg": "RS256", "typ": "JWT" }), claims)
}

fn grant(assertion: &str) -> Ask {
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    Ask::post("/token", form).with("content-type", "application/x-www-form-urlencoded")
}

/// The header that a good grant leads to.
pub(crate) async fn bearer(sandbox: &Sandbox, client: &Client) -> String {
    let answer = client.ask(grant(&assertion(sandbox, &claims(sandbox)))).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let grant = answer.json();
    assert_eq!((grant["token_type"].as_str(), grant["expires_in"].as_u64()), (Some("Bearer"), Some(3_599)));
    format!("Bearer {}", grant["access_token"].as_str().expect("a token"))
}

struct Fixture {
    sandbox: Sandbox,
    client: Client,
    bearer: String,
    token: String,
}

async fn fixture() -> Fixture {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().fcm, &sandbox).await;
    let bearer = bearer(&sandbox, &client).await;
    let token = sandbox.register_fcm();
    Fixture { sandbox, client, bearer, token }
}

impl Fixture {
    async fn send(&self, request: Value) -> Answer {
        self.client.ask(Ask::post(SEND, request.to_string()).with("authorization", self.bearer.clone())).await
    }

    /// A message to the device with more in it.
    async fn send_with(&self, more: Value) -> Answer {
        let mut message = json!({ "token": self.token });
        message.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.send(json!({ "message": message })).await
    }
}

pub(crate) fn error_code(error: &Value) -> Option<&str> {
    let details = error["details"].as_array()?;
    let own = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError")?;
    own["errorCode"].as_str()
}

fn field(error: &Value) -> Option<&str> {
    let details = error["details"].as_array()?;
    let own = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.BadRequest")?;
    own["fieldViolations"][0]["field"].as_str()
}

#[tokio::test]
async fn every_fault_of_an_assertion_has_its_error() {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().fcm, &sandbox).await;
    let now = seconds(&sandbox);
    let with = |name: &str, value: Value| {
        let mut claims = claims(&sandbox);
        claims[name] = value;
        grant(&assertion(&sandbox, &claims))
    };
    let good = assertion(&sandbox, &claims(&sandbox));
    let account = account(&sandbox);
    let other_algorithm =
        signing::rs256(account["private_key"].as_str().expect("a key"), &json!({ "alg": "none" }), &claims(&sandbox));
    let forged = format!("{}.{}", good.rsplit_once('.').expect("three parts").0, signing::base64url(&[0; 256]));
    let cases = [
        ("no type", Ask::post("/token", "assertion=a"), "invalid_request"),
        ("another type", Ask::post("/token", "grant_type=password"), "unsupported_grant_type"),
        ("no assertion", grant("").without("assertion"), "invalid_grant"),
        ("padding", grant(&signing::padded(&good).replace('=', "%3D")), "invalid_grant"),
        ("another algorithm", grant(&other_algorithm), "invalid_grant"),
        ("another signature", grant(&forged), "invalid_grant"),
        ("another account", with("iss", json!("somebody@example.com")), "invalid_grant"),
        ("another audience", with("aud", json!("https://shop.example/token")), "invalid_grant"),
        ("no expiry", with("exp", Value::Null), "invalid_grant"),
        ("too long", with("exp", json!(now + 3_601)), "invalid_grant"),
        ("expired", with("exp", json!(now - 400)), "invalid_grant"),
        ("not yet", with("iat", json!(now + 400)), "invalid_grant"),
        ("another scope", with("scope", json!("https://www.googleapis.com/auth/drive")), "invalid_scope"),
    ];
    for (case, ask, error) in cases {
        let answer = client.ask(ask).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (400, Some(error)), "{case}");
    }
    assert_eq!(client.ask(Ask { method: Method::GET, ..grant(&good) }).await.status.as_u16(), 405);
    assert!(sandbox.received().is_empty(), "a grant is no message");
}

#[tokio::test]
async fn without_a_good_access_token_there_is_no_fcm_error() {
    let f = fixture().await;
    let ask = || Ask::post(SEND, json!({ "message": { "token": f.token } }).to_string());
    for ask in [ask(), ask().with("authorization", "Bearer x"), ask().with("authorization", "Basic x")] {
        let answer = f.client.ask(ask).await;
        assert_eq!(answer.status.as_u16(), 401);
        assert!(answer.header("www-authenticate").is_some());
        let error = &answer.json()["error"];
        assert_eq!((error["status"].as_str(), error_code(error)), (Some("UNAUTHENTICATED"), None));
    }
    assert_eq!(f.send_with(json!({})).await.status.as_u16(), 200);
    pass(Duration::from_secs(3_600)).await;
    assert_eq!(f.send_with(json!({})).await.status.as_u16(), 401, "after an hour");
}

#[tokio::test]
async fn a_good_message_is_accepted_and_recorded() {
    let f = fixture().await;
    let message = json!({
        "notification": { "title": "Order ready", "body": "Bay 3" },
        "data": { "deep_link": "https://shop.example/o/1" },
        "android": { "priority": "HIGH", "ttl": "3.5s", "collapseKey": "order-1", "notification": { "tag": "order-1" } },
        "apns": { "headers": { "apns-priority": "10" }, "payload": { "aps": {
            "event": "update", "timestamp": 1, "content-state": {},
        } }, "live_activity_token": "00" },
        "webpush": { "headers": { "TTL": "3600" }, "fcmOptions": { "link": "https://shop.example" } },
    });
    let answer = f.send_with(message).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let name = answer.json()["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("projects/parvis-sandbox/messages/0:"), "{name}");
    let received = f.sandbox.received();
    let seen = &received[0].message;
    assert_eq!((received[0].target.as_str(), seen.id.as_str()), (f.token.as_str(), name.as_str()));
    assert_eq!((seen.title.as_deref(), seen.body.as_deref()), (Some("Order ready"), Some("Bay 3")));
    assert_eq!(seen.deep_link.as_deref(), Some("https://shop.example/o/1"));
    assert_eq!(seen.collapse.as_deref(), Some("order-1"));
}

#[tokio::test]
async fn all_kinds_of_targets_are_taken() {
    let f = fixture().await;
    let fid = f.sandbox.register_fcm_installation();
    assert_eq!(f.send(json!({ "message": { "fid": fid } })).await.status.as_u16(), 200);
    for target in [json!({ "topic": "sale" }), json!({ "condition": "'sale' in topics && !('shoes' in topics)" })] {
        let answer = f.send(json!({ "message": target })).await;
        let name = answer.json()["name"].as_str().expect("a name").to_owned();
        let local = name.strip_prefix("projects/parvis-sandbox/messages/").expect("the form of a name");
        assert!(local.parse::<u64>().is_ok(), "{name}");
    }
    assert_eq!(f.sandbox.counts().accepted, 3);
    let dry = f.send(json!({ "validate_only": true, "message": { "topic": "sale" } })).await;
    assert_eq!(dry.status.as_u16(), 200);
    assert_eq!(f.sandbox.counts().accepted, 3, "a dry run sends nothing");
}

#[tokio::test]
async fn every_fault_of_a_message_has_its_envelope() {
    let f = fixture().await;
    let token = f.token.as_str();
    let message = |more: Value| json!({ "message": more });
    let to = |more: Value| {
        let mut message = json!({ "token": token });
        message.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "message": message })
    };
    let fcm = Some("INVALID_ARGUMENT");
    let cases = [
        ("no target", message(json!({})), Some("message"), fcm),
        ("no message", json!({}), Some("message"), fcm),
        ("two targets", to(json!({ "topic": "a" })), Some("message"), None),
        ("a malformed token", message(json!({ "token": "nonsense" })), Some("message.token"), fcm),
        ("a malformed id", message(json!({ "fid": "nonsense" })), Some("message.fid"), fcm),
        ("a malformed topic", message(json!({ "topic": "bad#topic" })), Some("message"), fcm),
        ("a malformed condition", message(json!({ "condition": "'a' in topics &&" })), None, None),
        ("an unknown field", to(json!({ "titel": "x" })), Some("message"), None),
        ("an unknown field above", json!({ "dry_run": true }), Some(""), None),
        ("a number as text", to(json!({ "data": { "a": 1 } })), Some("message.data[0].value"), None),
        ("a list as a map", to(json!({ "data": [] })), Some("message.data"), None),
        ("a text as a message", to(json!({ "notification": "x" })), Some("message.notification"), None),
        (
            "an unknown priority",
            to(json!({ "android": { "priority": "urgent" } })),
            Some("message.android.priority"),
            None,
        ),
        ("a time to live without unit", to(json!({ "android": { "ttl": "60" } })), Some("message.android.ttl"), None),
        ("a time to live as a number", to(json!({ "android": { "ttl": 60 } })), Some("message.android.ttl"), None),
        ("a negative time to live", to(json!({ "android": { "ttl": "-1s" } })), Some("message.android.ttl"), fcm),
        ("more than four weeks", to(json!({ "android": { "ttl": "2419201s" } })), Some("message.android.ttl"), fcm),
        (
            "a browser's time to live",
            to(json!({ "webpush": { "headers": { "TTL": "x" } } })),
            Some("message.webpush.headers.TTL"),
            fcm,
        ),
        ("a reserved key", to(json!({ "data": { "from": "x" } })), Some("message.data"), fcm),
        ("a reserved prefix", to(json!({ "data": { "google.x": "x" } })), Some("message.data"), fcm),
        ("4097 bytes", to(json!({ "data": { "a": "x".repeat(4_096) } })), None, fcm),
        ("100 kB", to(json!({ "data": { "a": "x".repeat(100_000) } })), None, fcm),
    ];
    for (case, request, named, code) in cases {
        let answer = f.send(request).await;
        let body = answer.json();
        let error = &body["error"];
        assert_eq!((answer.status.as_u16(), error["code"].as_u64()), (400, Some(400)), "{case} {body}");
        assert_eq!(error["status"], "INVALID_ARGUMENT", "{case}");
        assert_eq!((field(error), error_code(error)), (named, code), "{case} {body}");
    }
    let longest = f.send(to(json!({ "data": { "a": "x".repeat(4_095) }, "android": { "ttl": "2419200s" } }))).await;
    assert_eq!(longest.status.as_u16(), 200);
    let no_json = f.client.ask(Ask::post(SEND, "{").with("authorization", f.bearer.clone())).await;
    assert_eq!(no_json.json()["error"]["status"], "INVALID_ARGUMENT");
    assert_eq!(f.sandbox.counts().accepted, 1);
}

#[tokio::test]
async fn errors_are_those_that_the_real_service_was_seen_to_give() {
    let f = fixture().await;
    let captured: Value = serde_json::from_str(include_str!("captured.json")).expect("JSON");
    for case in captured.as_array().expect("a list") {
        let mut message = case["message"].clone();
        if message["data"]["a"] == "8192 times x" {
            message["data"]["a"] = "x".repeat(8_192).into();
        }
        for dry_run in [false, true] {
            let answer = f.send(json!({ "validate_only": dry_run, "message": message })).await;
            let told = (json!(answer.status.as_u16()), answer.json());
            assert_eq!(told, (case["status"].clone(), json!({ "error": case["error"] })), "{}", case["case"]);
        }
    }
}

#[tokio::test]
async fn names_have_the_form_that_was_seen() {
    let f = fixture().await;
    let name = async |message: Value, dry_run: bool| {
        let answer = f.send(json!({ "validate_only": dry_run, "message": message })).await;
        let name = answer.json()["name"].as_str().expect("a name").to_owned();
        name.strip_prefix("projects/parvis-sandbox/messages/").expect("the project").to_owned()
    };
    for message in [
        json!({ "topic": "sale" }),
        json!({ "condition": "'a' in topics && 'b' in topics" }),
        json!({ "topic": "sale", "notification": { "title": "x" } }),
        json!({ "topic": "sale", "data": { "a": "x" } }),
        json!({ "topic": "sale", "webpush": { "headers": { "TTL": "3600" }, "fcmOptions": { "link": "https://example.com" } } }),
    ] {
        for dry_run in [false, true] {
            let local = name(message.clone(), dry_run).await;
            assert!(local.parse::<u64>().is_ok(), "{message} {local}");
        }
    }
    assert_eq!(name(json!({ "token": f.token }), true).await, "fake_message_id");
}

#[tokio::test]
async fn blocks_of_the_platforms_are_looked_at() {
    let f = fixture().await;
    let activity = |more: Value| {
        let mut aps = json!({ "event": "update", "timestamp": 1, "content-state": {} });
        aps.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "apns": { "live_activity_token": "00", "payload": { "aps": aps } } })
    };
    let apns = |name: &str, value: &str| json!({ "apns": { "headers": { name: value } } });
    let android = |more: Value| json!({ "android": { "notification": more } });
    let cases = [
        (json!({ "android": { "direct_boot_ok": "yes" } }), Some("message.android.direct_boot_ok")),
        (json!({ "android": { "direct_boot_ok": true, "priority": 1, "restricted_package_name": "a.b" } }), None),
        (json!({ "android": { "priority": 2 } }), Some("message.android.priority")),
        (json!({ "android": { "priority": "high" } }), None),
        (json!({ "android": { "ttl": "1.0000000001s" } }), Some("message.android.ttl")),
        (android(json!({ "color": "red" })), Some("message.android.notification.color")),
        (android(json!({ "color": "#12aBef" })), None),
        (android(json!({ "visibility": "public" })), Some("message.android.notification.visibility")),
        (android(json!({ "visibility": "PUBLIC", "notification_priority": "PRIORITY_HIGH", "proxy": "DENY" })), None),
        (
            android(json!({ "light_settings": { "color": { "red": "1" } } })),
            Some("message.android.notification.light_settings.color.red"),
        ),
        (apns("apns-priority", "7"), Some("message.apns.headers.apns-priority")),
        (apns("apns-expiration", "soon"), Some("message.apns.headers.apns-expiration")),
        (apns("apns-collapse-id", &"x".repeat(65)), Some("message.apns.headers.apns-collapse-id")),
        (apns("apns-priority", "5"), None),
        (json!({ "apns": { "payload": { "aps": [] } } }), Some("message.apns.payload.aps")),
        (activity(json!({})), None),
        (activity(json!({ "event": "begin" })), Some("message.apns.payload.aps.event")),
        (activity(json!({ "timestamp": "1" })), Some("message.apns.payload.aps.timestamp")),
        (activity(json!({ "content-state": 1 })), Some("message.apns.payload.aps.content-state")),
        (json!({ "webpush": { "headers": { "Urgency": "HIGH" } } }), Some("message.webpush.headers.Urgency")),
        (
            json!({ "webpush": { "fcm_options": { "link": "http://shop.example" } } }),
            Some("message.webpush.fcm_options.link"),
        ),
        (json!({ "apns": { "payload": { "aps": {}, "x": "x".repeat(4_096) } } }), None),
    ];
    for (more, named) in cases {
        let answer = f.send_with(more.clone()).await;
        let too_large = more.pointer("/apns/payload/x").is_some();
        let status = if named.is_some() || too_large { 400 } else { 200 };
        assert_eq!(answer.status.as_u16(), status, "{more} {answer:?}");
        assert_eq!(field(&answer.json()["error"]), named, "{more}");
    }
    let topic = |length: usize| json!({ "message": { "topic": "sale", "data": { "a": "x".repeat(length) } } });
    assert_eq!(f.send(topic(2_047)).await.status.as_u16(), 200);
    let refused = f.send(topic(2_048)).await.json();
    assert_eq!(refused["error"]["message"], "Message is too large. The maximum is 2K (2048 bytes).");
    let to_topic = json!({ "topic": "sale", "apns": activity(json!({}))["apns"] });
    let refused = f.send(json!({ "message": to_topic })).await.json();
    assert_eq!(field(&refused["error"]), Some("message.apns.live_activity_token"));
}

#[tokio::test]
async fn projects_stay_apart() {
    let f = fixture().await;
    f.sandbox.add_app("other").await.expect("an app");
    let new = parvis::sandbox::NewTarget::Fcm { app: Some("other".to_owned()), fid: false };
    let Ok(PushTarget::Fcm { token: Some(token), .. }) = f.sandbox.register(new) else { panic!("a target") };
    let answer = f.send(json!({ "message": { "token": token } })).await;
    assert_eq!((answer.status.as_u16(), error_code(&answer.json()["error"])), (403, Some("SENDER_ID_MISMATCH")));
    let account = f.sandbox.fcm_service_account_of("other").expect("an account");
    let account: Value = serde_json::from_str(&account).expect("JSON");
    let mut claims = claims(&f.sandbox);
    claims["iss"] = account["client_email"].clone();
    let key = account["private_key"].as_str().expect("a key");
    let assertion = signing::rs256(key, &json!({ "alg": "RS256" }), &claims);
    let granted = f.client.ask(grant(&assertion)).await.json();
    let bearer = format!("Bearer {}", granted["access_token"].as_str().expect("a token"));
    let ask = |path: &str| {
        Ask::post(path, json!({ "message": { "token": token } }).to_string()).with("authorization", bearer.clone())
    };
    assert_eq!(f.client.ask(ask("/v1/projects/other-sandbox/messages:send")).await.status.as_u16(), 200);
    assert_eq!(f.client.ask(ask(SEND)).await.json()["error"]["status"], "PERMISSION_DENIED");
}

#[tokio::test]
async fn the_order_of_details_varies() {
    let f = fixture().await;
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..20 {
        f.sandbox.set_behaviour(&f.token, Behaviour::Throttled { times: Some(1), retry_after_s: None });
        let answer = f.send_with(json!({})).await.json();
        assert_eq!(error_code(&answer["error"]), Some("QUOTA_EXCEEDED"));
        firsts.insert(answer["error"]["details"][0]["@type"].as_str().expect("a type").to_owned());
    }
    assert_eq!(firsts.len(), 2);
}

#[tokio::test]
async fn projects_paths_and_methods_are_looked_at() {
    let f = fixture().await;
    let ask = |path: &str| Ask::post(path, "{}").with("authorization", f.bearer.clone());
    let answer = f.client.ask(ask("/v1/projects/other/messages:send")).await;
    assert_eq!(answer.json()["error"]["status"], "PERMISSION_DENIED");
    for ask in [ask("/v1/projects/parvis-sandbox/messages"), ask("/"), Ask { method: Method::GET, ..ask(SEND) }] {
        assert_eq!(f.client.ask(ask).await.status.as_u16(), 404);
    }
}

#[tokio::test]
async fn a_target_behaves_as_told() {
    let f = fixture().await;
    let unknown = f.sandbox.register_fcm().replace(':', ":x");
    let answer = f.send(json!({ "message": { "token": unknown } })).await;
    assert_eq!((answer.status.as_u16(), error_code(&answer.json()["error"])), (404, Some("UNREGISTERED")));
    f.sandbox.set_behaviour(&f.token, Behaviour::Unregistered { since: None });
    let answer = f.send_with(json!({})).await;
    let error = &answer.json()["error"];
    assert_eq!((error["status"].as_str(), error_code(error)), (Some("NOT_FOUND"), Some("UNREGISTERED")));

    for retry_after_s in [Some(60), None] {
        f.sandbox.set_behaviour(&f.token, Behaviour::Throttled { times: Some(1), retry_after_s });
        let answer = f.send_with(json!({})).await;
        let error = &answer.json()["error"];
        assert_eq!(answer.header("retry-after").map(str::to_owned), retry_after_s.map(|after| after.to_string()));
        assert_eq!((error["status"].as_str(), error_code(error)), (Some("RESOURCE_EXHAUSTED"), Some("QUOTA_EXCEEDED")));
        let kinds = error["details"].as_array().expect("details").iter().filter_map(|detail| detail["@type"].as_str());
        assert_eq!(kinds.filter(|kind| *kind == "type.googleapis.com/google.rpc.QuotaFailure").count(), 1);
    }
    for (status, name, code) in [
        (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
        (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        (500, "INTERNAL", "INTERNAL"),
        (503, "UNAVAILABLE", "UNAVAILABLE"),
    ] {
        f.sandbox.set_behaviour(&f.token, Behaviour::Failing { status, reason: None, times: Some(1) });
        let answer = f.send_with(json!({})).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status.as_u16(), error["status"].as_str(), error_code(error)),
            (status, Some(name), Some(code))
        );
    }
    assert_eq!(f.send_with(json!({})).await.status.as_u16(), 200);
}
