//! What push services answer and what speaks to them is made of: answers to `a` APNs, `f` FCM, `w` Web Push, `g` a grant,
//! as status, headers, an empty line, a body; `s` a target and a text; `e` an endpoint; `A` a service account, `K` a key;
//! of our own callers `J` a key set, `k` the file of keys, `h` the header with a key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header::AUTHORIZATION};
use parvis::{
    clock::Clock,
    delivery::{
        self, Couriers, Reply, apns,
        fcm::{self, grant::Account},
        key::Es256,
        transport::{Error, Peer, Transport},
        webpush::{self, endpoint},
    },
    entropy::Entropy,
    http::auth::{KeyFile, Keys},
};
use parvis_engine::{
    id::{AppId, NotificationId},
    matching::TransitionKind,
    notification::{Address, Body, Cause, Channel, Content, Notification, Origin, Purpose, Recipient},
    retry::Outcome,
    shopper::{ApnsEnvironment, PushTarget},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{now, parts};

pub(crate) fn check(bytes: &[u8]) -> bool {
    let Some((kind, argument, body)) = parts(bytes) else { return false };
    match kind {
        'a' => answered(&apns_target(), argument, body),
        'f' => answered(&fcm_target(), argument, body),
        'w' => answered(&browser(), argument, body),
        'g' => granted(argument, body),
        's' => sent(body),
        'e' => called(body),
        'A' => account(body),
        'K' => key(body),
        'J' => {
            let audience = Some(argument).filter(|audience| !audience.is_empty());
            std::str::from_utf8(body).is_ok_and(|jwks| Keys::new(Vec::new(), Some(jwks), audience).is_ok())
        }
        'k' => {
            let file = std::str::from_utf8(body).ok().and_then(|text| toml::from_str::<KeyFile>(text).ok());
            file.is_some_and(|file| Keys::new(file.keys, None, None).is_ok())
        }
        'h' => known(body),
        _ => false,
    }
}

/// A network that gives the answers that are laid out.
struct Script {
    granted: Mutex<Option<Reply>>,
    answered: Mutex<Option<Reply>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request<Bytes>, peer: Peer) -> Result<Reply, Error> {
        assert_eq!(request.uri().scheme_str(), Some("https"));
        let reply = if peer == Peer::Issuer { &self.granted } else { &self.answered };
        let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reply.ok_or_else(|| Error::Closed("nobody answers".to_owned()))
    }
}

fn script(granted: Option<Reply>, answered: Option<Reply>) -> Arc<Script> {
    Arc::new(Script { granted: Mutex::new(granted), answered: Mutex::new(answered) })
}

fn good_grant() -> Reply {
    let body = Bytes::from_static(br#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#);
    Reply { status: StatusCode::OK, headers: HeaderMap::new(), body }
}

fn couriers(transport: Arc<Script>) -> Couriers {
    let apns = json!({ "key": "key.pem", "key_id": "ABCDEFGHIJ", "team_id": "ABCDEFGHIJ" });
    let fcm = json!({ "service_account": "account.json" });
    let webpush = json!({ "key": "key.pem", "subject": "mailto:push@shop.example", "allow_hosts": ["push.example"] });
    let config = delivery::Config {
        apns: Some(serde_json::from_value::<apns::Config>(apns).expect("a section")),
        fcm: Some(serde_json::from_value::<fcm::Config>(fcm).expect("a section")),
        webpush: Some(serde_json::from_value::<webpush::Config>(webpush).expect("a section")),
        ..delivery::Config::default()
    };
    let (clock, entropy) = (Clock::simulated(now()), Entropy::seeded(1));
    let built = delivery::build(
        &config,
        &keys(),
        delivery::Tools { clock, entropy, transport, store: None, webhooks: Default::default() },
    );
    built.unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// No app has a push service.
pub(crate) fn no_couriers() -> Couriers {
    let (clock, entropy) = (Clock::simulated(now()), Entropy::seeded(1));
    let tools =
        delivery::Tools { clock, entropy, transport: script(None, None), store: None, webhooks: Default::default() };
    let built = delivery::build(&delivery::Config::default(), Path::new(""), tools);
    built.unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn keys() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write("key.pem", &rcgen::KeyPair::generate().expect("a key").serialize_pem());
        let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().expect("PKCS #8");
        let pem = STANDARD.encode(der.as_ref());
        let account = json!({
            "project_id": "shop",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n"),
            "client_email": "parvis@shop.example",
            "token_uri": "https://issuer.example/token",
        });
        write("account.json", &account.to_string());
        folder
    });
    folder.path().to_owned()
}

/// The couriers that all answers but grants are given to: their credentials are made only once.
fn shared() -> &'static (Arc<Script>, Couriers) {
    static SHARED: OnceLock<(Arc<Script>, Couriers)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let script = script(Some(good_grant()), None);
        (script.clone(), couriers(script))
    })
}

fn deliver(couriers: &Couriers, notification: &Notification, target: &PushTarget) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(couriers.deliver(notification, &Address::Target(target.clone())))
}

fn reply(status: &str, bytes: &[u8]) -> Option<Reply> {
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((bytes, &bytes[..0]), |end| (&bytes[..end], &bytes[end + 2..]));
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    Some(Reply { status, headers, body: Bytes::copy_from_slice(body) })
}

/// Every answer is an outcome: taken only if it is a success, with a reason that is a word, and a wait of at most an hour.
fn answered(target: &PushTarget, status: &str, rest: &[u8]) -> bool {
    let Some(reply) = reply(status, rest) else { return false };
    let (script, couriers) = shared();
    let success = reply.status.is_success();
    *script.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
    let outcome = deliver(couriers, &offer(content()), target);
    assert_eq!(outcome == Outcome::Accepted, success, "{outcome:?}");
    sound(&outcome);
    true
}

fn sound(outcome: &Outcome) {
    let (reason, wait) = match outcome {
        Outcome::Accepted => return,
        Outcome::Unregistered { reason, .. } | Outcome::Rejected { reason } => (reason, None),
        Outcome::Throttled { reason, retry_after } | Outcome::Unavailable { reason, retry_after } => {
            (reason, *retry_after)
        }
    };
    assert!(!reason.is_empty() && reason.len() <= 64 && reason.bytes().all(|byte| byte.is_ascii_graphic()), "{reason}");
    assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(3_600)), "{wait:?}");
}

fn granted(status: &str, rest: &[u8]) -> bool {
    let Some(reply) = reply(status, rest) else { return false };
    let success = reply.status.is_success();
    let outcome = deliver(&couriers(script(Some(reply), Some(good_grant()))), &offer(content()), &fcm_target());
    assert!(success || outcome != Outcome::Accepted, "{outcome:?}");
    sound(&outcome);
    outcome == Outcome::Accepted
}

/// `{"target": ..., "content": ...}`: no target and no text makes a request that is none.
fn sent(body: &[u8]) -> bool {
    let Ok(mut asked) = serde_json::from_slice::<Value>(body) else { return false };
    let Ok(target) = serde_json::from_value::<PushTarget>(asked["target"].take()) else { return false };
    let content = serde_json::from_value::<Content>(asked["content"].take()).unwrap_or_else(|_| content());
    let (script, couriers) = shared();
    *script.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(good_grant());
    let outcome = deliver(couriers, &offer(content), &target);
    sound(&outcome);
    outcome == Outcome::Accepted
}

/// Whoever is called is one of those who may be called, over TLS.
fn called(body: &[u8]) -> bool {
    let Ok(url) = std::str::from_utf8(body) else { return false };
    let hosts: Vec<String> = endpoint::BROWSER_HOSTS.iter().map(|host| (*host).to_owned()).collect();
    let allowed = endpoint::Allowed::new(&hosts).expect("hosts");
    let _ = endpoint::Allowed::new(&[url.to_owned()]);
    match allowed.check(url) {
        Ok(endpoint) => {
            let host = endpoint.uri.host().expect("a host").to_ascii_lowercase();
            let host = host.trim_end_matches('.');
            let fits = |allowed: &String| host == allowed || host.ends_with(&format!(".{allowed}"));
            assert!(hosts.iter().any(fits), "{url:?}");
            assert_eq!(endpoint.uri.scheme_str(), Some("https"));
            assert!(endpoint.origin.starts_with("https://"));
            true
        }
        Err(outcome) => {
            sound(&outcome);
            false
        }
    }
}

/// Whatever is wrong with a file that holds a key, none of the key is told.
fn account(body: &[u8]) -> bool {
    let read = Account::from_json(body);
    let key =
        serde_json::from_slice::<Value>(body).ok().and_then(|file| Some(file["private_key"].as_str()?.to_owned()));
    if let (Err(why), Some(key)) = (&read, key) {
        untold(why, &key);
    }
    read.is_ok()
}

fn key(body: &[u8]) -> bool {
    match Es256::from_pem(body) {
        Ok(key) => {
            assert_eq!(key.public().len(), 65);
            key.sign(None, &json!({"sub": "a"})).expect("signs");
            true
        }
        Err(why) => {
            untold(&why, &String::from_utf8_lossy(body));
            false
        }
    }
}

/// Our own sentences have no word of so many letters; a file may happen to hold the sentence.
fn untold(why: &str, secret: &str) {
    for word in secret.split_whitespace().map(|word| word.chars().collect::<Vec<_>>()) {
        for part in word.windows(24) {
            let part: String = part.iter().collect();
            assert!(!why.contains(&part), "{why:?}");
        }
    }
}

fn known(body: &[u8]) -> bool {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let jwks =
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}"#;
        let file = toml::from_str::<KeyFile>(KEY_FILE).expect("a file of keys");
        Keys::new(file.keys, Some(jwks), None).expect("good keys")
    });
    let Ok(value) = HeaderValue::from_bytes(body) else { return false };
    keys.caller(&HeaderMap::from_iter([(AUTHORIZATION, value)]), now()).is_ok()
}

/// The key is `parvis_fuzz`.
const KEY_FILE: &str = "[[key]]\nname = \"a\"\n\
    sha256 = \"c4f143672eeca38db0ed01370ea73cb4d616f31456501b48453c1934eb38088a\"\nscopes = [\"admin\"]\n";

fn apns_target() -> PushTarget {
    let topic = "com.shop".to_owned();
    PushTarget::Apns { token: "ab".repeat(32).into(), topic: topic.into(), environment: ApnsEnvironment::Production }
}

fn fcm_target() -> PushTarget {
    PushTarget::Fcm { token: Some("t".into()), fid: None }
}

fn browser() -> PushTarget {
    let text = r#"{"channel":"webpush","subscription":{"endpoint":"https://push.example/1","keys":{
        "p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth":"BTBZMqHH6r4Tts7J_aSIgg"}}}"#;
    serde_json::from_str(text).expect("a target")
}

fn content() -> Content {
    let (title, body, locale) = ("Bienvenue".to_owned(), "Aujourd’hui".to_owned(), "fr".to_owned());
    Content { title, body, deep_link: None, data: [("aisle".to_owned(), "7".to_owned())].into(), locale }
}

fn offer(content: Content) -> Notification {
    Notification {
        id: NotificationId::from_u128(0x018b_cfe5_6800_8dcb_a1e1_cbec_b54e_57cf),
        shopper: "C-1".parse().expect("an id"),
        recipient: Recipient::Device("d-1".parse().expect("an id")),
        channel: Channel::Apns,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: "tv".parse().expect("an id"),
            purpose: Purpose::Offer,
            cause: Cause::Transition { transition: TransitionKind::Enter, region: "shop".parse().expect("an id") },
        },
        replays: None,
        body: Body::Content(content),
        collapse: "b2ZmZXI".to_owned(),
        observed_at: now(),
        decided_at: now(),
        not_before: now(),
        expires_at: now().plus(Duration::from_secs(3_600)),
    }
}
