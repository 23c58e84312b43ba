//! Web Push: every refusal, and messages encrypted here by the letter of RFC 8291 and RFC 8188.

use std::time::Duration;

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use parvis::sandbox::{Behaviour, Sandbox};
use parvis_engine::shopper::{PushTarget, Subscription};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Ask, Client, pass, sandbox, seconds},
    signing,
};

const SALT: [u8; 16] = *b"salt of one test";

/// HMAC twice, as RFC 5869 has it for outputs of up to 32 bytes.
fn hkdf(salt: &[u8], secret: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let pseudorandom = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    let key = hmac::Key::new(hmac::HMAC_SHA256, pseudorandom.as_ref());
    hmac::sign(&key, &[info, &[1]].concat()).as_ref()[..length].to_vec()
}

/// The one record of `padded`, which already ends with delimiter and padding.
fn encrypt(subscription: &Subscription, padded: &[u8], record_bytes: u32) -> Vec<u8> {
    let browser = URL_SAFE_NO_PAD.decode(&subscription.keys.p256dh).expect("base64url");
    let auth = URL_SAFE_NO_PAD.decode(&subscription.keys.auth).expect("base64url");
    let private = PrivateKey::generate(&ECDH_P256).expect("a key");
    let sender = private.compute_public_key().expect("its public half").as_ref().to_vec();
    let info = [b"WebPush: info\0", browser.as_slice(), &sender].concat();
    let input =
        agree(&private, UnparsedPublicKey::new(&ECDH_P256, &browser), (), |secret| Ok(hkdf(&auth, secret, &info, 32)))
            .expect("a point");
    let key = UnboundKey::new(&AES_128_GCM, &hkdf(&SALT, &input, b"Content-Encoding: aes128gcm\0", 16));
    let nonce = hkdf(&SALT, &input, b"Content-Encoding: nonce\0", 12);
    let nonce = Nonce::try_assume_unique_for_key(&nonce).expect("twelve bytes");
    let mut record = padded.to_vec();
    LessSafeKey::new(key.expect("sixteen bytes"))
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut record)
        .expect("sealed");
    [SALT.as_slice(), &record_bytes.to_be_bytes(), &[65], &sender, &record].concat()
}

fn sealed(subscription: &Subscription, text: &[u8]) -> Vec<u8> {
    encrypt(subscription, &[text, &[2]].concat(), 4_096)
}

fn vapid(pem: &str, claims: &Value) -> String {
    let token = signing::es256(pem, &json!({ "typ": "JWT", "alg": "ES256" }), claims);
    format!("vapid t={token}, k={}", signing::base64url(&signing::es256_public(pem)))
}

struct Fixture {
    sandbox: Sandbox,
    client: Client,
    subscription: Subscription,
}

async fn fixture() -> Fixture {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().webpush, &sandbox).await;
    let subscription = sandbox.register_webpush();
    Fixture { sandbox, client, subscription }
}

impl Fixture {
    fn claims(&self) -> Value {
        let expires_at = seconds(&self.sandbox) + 43_200;
        json!({ "aud": self.sandbox.endpoints().webpush, "exp": expires_at, "sub": "mailto:push@shop.example" })
    }

    fn push(&self, body: Vec<u8>) -> Ask {
        let path = self.subscription.endpoint.strip_prefix(&self.sandbox.endpoints().webpush).expect("its origin");
        Ask::post(path, body)
            .with("ttl", "60")
            .with("urgency", "high")
            .with("topic", "order-1")
            .with("content-encoding", "aes128gcm")
            .with("authorization", vapid(self.sandbox.vapid_key_pem(), &self.claims()))
    }

    async fn send(&self, text: &[u8]) -> Answer {
        self.client.ask(self.push(sealed(&self.subscription, text))).await
    }
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, number: u16, case: &str) {
    let body = answer.json();
    let told = (answer.status.as_u16(), body["code"].as_u64(), body["errno"].as_u64());
    assert_eq!(told, (status, Some(status.into()), Some(number.into())), "{case} {body}");
    assert!(body["error"].is_string() && body["message"].is_string(), "{case}");
}

#[tokio::test]
async fn a_message_is_decrypted_and_recorded() {
    let f = fixture().await;
    let document = json!({
        "web_push": 8030,
        "notification": { "title": "Order ready", "body": "Bay 3", "navigate": "https://shop.example/o/1" },
        "app_badge": 1,
    });
    let answer = f.send(document.to_string().as_bytes()).await;
    assert_eq!(answer.status.as_u16(), 201, "{answer:?}");
    assert_eq!(answer.header("ttl"), Some("60"));
    let received = f.sandbox.received();
    let message = &received[0].message;
    let location = format!("{}/message/{}", f.sandbox.endpoints().webpush, message.id);
    assert_eq!(answer.header("location"), Some(location.as_str()));
    assert_eq!(received[0].target, f.subscription.endpoint);
    assert_eq!((message.title.as_deref(), message.body.as_deref()), (Some("Order ready"), Some("Bay 3")));
    assert_eq!(message.deep_link.as_deref(), Some("https://shop.example/o/1"));
    assert_eq!(message.collapse.as_deref(), Some("order-1"));
    assert_eq!(message.payload, document.to_string());

    f.send(br#"{"title":"Delayed"}"#).await;
    let shown = f.sandbox.shown(&f.subscription.endpoint);
    let titles: Vec<_> = shown.iter().map(|received| received.message.title.as_deref()).collect();
    assert_eq!(titles, [Some("Delayed")], "the same topic replaces");
}

#[tokio::test]
async fn all_lengths_and_paddings_are_taken() {
    let f = fixture().await;
    for length in [0, 1, 1_024, 3_993] {
        let text = "x".repeat(length);
        assert_eq!(f.send(text.as_bytes()).await.status.as_u16(), 201, "{length}");
        assert_eq!(f.sandbox.received().last().expect("one").message.payload, text);
    }
    let padded = [b"text\x02".as_slice(), &[0; 500]].concat();
    assert_eq!(f.client.ask(f.push(encrypt(&f.subscription, &padded, 4_096))).await.status.as_u16(), 201);
    assert_eq!(f.sandbox.received().last().expect("one").message.payload, "text");
    let exact = encrypt(&f.subscription, b"text\x02", 4 + 1 + 16);
    assert_eq!(f.client.ask(f.push(exact)).await.status.as_u16(), 201);
    let nothing = f.push(Vec::new()).without("content-encoding");
    assert_eq!(f.client.ask(nothing).await.status.as_u16(), 201);
}

#[tokio::test]
async fn every_fault_of_a_request_has_its_number() {
    let f = fixture().await;
    let good = || f.push(sealed(&f.subscription, b"text"));
    let with = |name, value: &str| good().with(name, value);
    let body = |body: Vec<u8>| f.push(body);
    let other = f.sandbox.register_webpush();
    let flipped = || {
        let mut body = sealed(&f.subscription, b"text");
        *body.last_mut().expect("a byte") ^= 1;
        body
    };
    let short_key = || {
        let mut body = sealed(&f.subscription, b"text");
        body[20] = 64;
        body
    };
    let cases = [
        ("an unknown subscription", Ask { path: "/push/unknown".to_owned(), ..good() }, 404, 102),
        ("another method", Ask { method: Method::PUT, ..good() }, 405, 999),
        ("no TTL", good().without("ttl"), 400, 112),
        ("a TTL that is none", with("ttl", "soon"), 400, 112),
        ("a negative TTL", with("ttl", "-1"), 400, 112),
        ("an empty TTL", with("ttl", ""), 400, 112),
        ("more than 30 days", with("ttl", "2592001"), 400, 112),
        ("an unknown urgency", with("urgency", "HIGH"), 400, 999),
        ("a long topic", with("topic", &"x".repeat(33)), 400, 113),
        ("a topic with a dot", with("topic", "a.b"), 400, 113),
        ("an empty topic", with("topic", ""), 400, 113),
        ("no encoding", good().without("content-encoding"), 400, 110),
        ("the old encoding", with("content-encoding", "aesgcm"), 400, 110),
        ("4097 bytes", body(vec![0; 4_097]), 413, 104),
        ("100 kB", body(vec![0; 100_000]), 413, 104),
        ("a plain text", body(b"hello".to_vec()), 400, 110),
        ("a spoilt tag", body(flipped()), 400, 110),
        ("a short key", body(short_key()), 400, 110),
        ("for another browser", body(sealed(&other, b"text")), 400, 110),
        ("two records", body(encrypt(&f.subscription, b"text\x02", 20)), 400, 110),
        ("a tiny record size", body(encrypt(&f.subscription, b"\x02", 17)), 400, 110),
        ("not the last record", body(encrypt(&f.subscription, b"text\x01", 4_096)), 400, 110),
        ("no delimiter", body(encrypt(&f.subscription, &[0; 9], 4_096)), 400, 110),
    ];
    let count = cases.len();
    for (case, ask, status, number) in cases {
        assert_refused(&f.client.ask(ask).await, status, number, case);
    }
    assert_eq!(f.sandbox.received().len(), count);
    assert_eq!(f.sandbox.counts().accepted, 0);
    assert_eq!(f.client.ask(good().without("urgency").without("topic")).await.status.as_u16(), 201);
}

#[tokio::test]
async fn every_fault_of_a_token_is_refused() {
    let f = fixture().await;
    let (pem, now) = (f.sandbox.vapid_key_pem(), seconds(&f.sandbox));
    let with = |name: &str, value: Value| {
        let mut claims = f.claims();
        claims[name] = value;
        vapid(pem, &claims)
    };
    let good = vapid(pem, &f.claims());
    let (token, key) = good.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).expect("both");
    let stranger = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let strangers_key = signing::base64url(&signing::es256_public(&stranger));
    let cases = [
        ("another scheme", good.replace("vapid", "bearer"), 401),
        ("no key", format!("vapid t={token}"), 401),
        ("padding in the token", format!("vapid t={}, k={key}", signing::padded(token)), 401),
        ("padding in the key", format!("vapid t={token}, k={key}="), 401),
        ("somebody else's key", format!("vapid t={token}, k={strangers_key}"), 401),
        ("somebody else", vapid(&stranger, &f.claims()), 403),
        ("another audience", with("aud", json!("https://push.example")), 401),
        ("no port in the audience", with("aud", json!("https://127.0.0.1")), 401),
        ("expired", with("exp", json!(now - 61)), 401),
        ("more than a day", with("exp", json!(now + 86_500)), 401),
        ("an expiry in quotes", with("exp", json!((now + 60).to_string())), 401),
        ("no subject", with("sub", Value::Null), 401),
        ("a bare address", with("sub", json!("push@shop.example")), 401),
        ("nobody", with("sub", json!("mailto:")), 401),
    ];
    let push = || f.push(sealed(&f.subscription, b"text"));
    assert_refused(&f.client.ask(push().without("authorization")).await, 401, 109, "no header");
    for (case, authorization, status) in cases {
        assert_refused(&f.client.ask(push().with("authorization", authorization)).await, status, 109, case);
    }
    let website = with("sub", json!("https://shop.example"));
    assert_eq!(f.client.ask(push().with("authorization", website)).await.status.as_u16(), 201);
    let swapped = format!("vapid k={key},t={token}");
    assert_eq!(f.client.ask(push().with("authorization", swapped.clone())).await.status.as_u16(), 201);
    pass(Duration::from_secs(43_300)).await;
    assert_refused(&f.client.ask(push().with("authorization", swapped)).await, 401, 109, "it ages");
}

#[tokio::test]
async fn a_target_behaves_as_told() {
    let f = fixture().await;
    let endpoint = &f.subscription.endpoint;
    assert!(f.sandbox.set_behaviour(endpoint, Behaviour::Unregistered { since: None }));
    assert_refused(&f.send(b"text").await, 410, 103, "gone");
    f.sandbox.set_behaviour(endpoint, Behaviour::Throttled { times: Some(1), retry_after_s: Some(9) });
    let answer = f.send(b"text").await;
    assert_refused(&answer, 429, 202, "throttled");
    assert_eq!(answer.header("retry-after"), Some("9"));
    for (status, number) in [(404, 102), (413, 104), (503, 201), (500, 999)] {
        f.sandbox.set_behaviour(endpoint, Behaviour::Failing { status, reason: None, times: Some(1) });
        assert_refused(&f.send(b"text").await, status, number, "failing");
    }
    assert_eq!(f.send(b"text").await.status.as_u16(), 201);
}

#[tokio::test]
async fn some_services_take_less() {
    let f = fixture().await;
    let new = parvis::sandbox::NewTarget::WebPush { app: None, body_bytes_max: Some(2_744) };
    let Ok(PushTarget::WebPush { subscription }) = f.sandbox.register(new) else { panic!("a target") };
    let f = Fixture { subscription: *subscription, ..f };
    // Salt, record size, key, delimiter and tag are 103 bytes.
    assert_eq!(f.send(&[b'x'; 2_744 - 103]).await.status.as_u16(), 201);
    assert_refused(&f.send(&[b'x'; 2_744 - 102]).await, 413, 104, "a byte more");
}

#[tokio::test]
async fn subscriptions_are_bound_to_their_apps_key() {
    let f = fixture().await;
    let other = f.sandbox.add_app("other").await.expect("an app");
    let new = parvis::sandbox::NewTarget::WebPush { app: Some("other".to_owned()), body_bytes_max: None };
    let Ok(PushTarget::WebPush { subscription }) = f.sandbox.register(new) else { panic!("a target") };
    let f = Fixture { subscription: *subscription, ..f };
    assert_refused(&f.send(b"text").await, 403, 109, "the first app's key");
    let push = f.push(sealed(&f.subscription, b"text"));
    let push = push.with("authorization", vapid(&other.vapid_key_pem, &f.claims()));
    assert_eq!(f.client.ask(push).await.status.as_u16(), 201);
    assert_eq!(f.sandbox.received().last().expect("one").message.app.as_deref(), Some("other"));
}

#[tokio::test]
async fn what_is_odd_about_a_message_is_remarked() {
    let f = fixture().await;
    let document = json!({ "web_push": 8030, "notification": { "title": "x", "app_badge": "1" } });
    assert_eq!(f.send(document.to_string().as_bytes()).await.status.as_u16(), 201);
    let received = f.sandbox.received();
    let message = &received.last().expect("one").message;
    assert_eq!((message.title.as_deref(), message.remarks.len()), (None, 2), "{:?}", message.remarks);
    assert_eq!(message.headers.get("urgency").map(String::as_str), Some("high"));
    assert_eq!(message.headers.get("authorization"), None);
}
