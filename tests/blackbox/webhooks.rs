//! What happens, told to a system of the retailer's over TLS: signed, tried again, replayed, and in no case lost.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    sync::{Arc, Mutex},
};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::rig::{self, Rig, SHOP, ago, greeting, until};

const SECRET: [u8; 32] = [7; 32];

/// A system that is called.
struct Receiver {
    certificate: String,
    url: String,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    calls: Mutex<Vec<Call>>,
    /// What is answered next; 200 once there is nothing left.
    answers: Mutex<VecDeque<u16>>,
}

/// One call that bore a right signature.
#[derive(Clone, Debug)]
struct Call {
    id: String,
    body: Value,
    answered: u16,
}

impl Receiver {
    async fn start() -> Receiver {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = made.cert.pem();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("PEM");
        let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let (acceptor, seen) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(Seen::default()));
        let router = Router::new().route("/hooks", post(take)).with_state(seen.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://localhost:{}/hooks", listener.local_addr().expect("bound").port());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, router) = (acceptor.clone(), router.clone());
                open.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(router);
                    // Whoever closes a connection in the middle is tried again by the caller.
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Receiver { certificate, url, seen, _tasks: tasks }
    }

    fn answers(&self, with: &[u16]) {
        self.seen.answers.lock().expect("not poisoned").extend(with);
    }

    fn calls(&self) -> Vec<Call> {
        self.seen.calls.lock().expect("not poisoned").clone()
    }

    /// What it has said yes to, by type.
    fn told(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for call in self.calls().iter().filter(|call| call.answered == 200) {
            *told.entry(call.body["type"].as_str().expect("a type").to_owned()).or_default() += 1;
        }
        told
    }

    /// A daemon that tells it these types.
    async fn daemon(&self, events: &[&str]) -> Rig {
        let secret = format!("whsec_{}\n", BASE64_STANDARD.encode(SECRET));
        let settings = [
            ("webhooks.crm.url", self.url.as_str()),
            ("webhooks.crm.secret", "crm.whsec"),
            ("webhooks.crm.allow_private", "true"),
            ("delivery.extra_ca", "both.pem"),
        ];
        let mut rig = Rig::prepare(&[("crm.whsec", &secret)], &settings).await;
        rig.set("webhooks.crm.events", &json!(events).to_string());
        let authority = fs::read_to_string(rig.folder.path().join("ca.pem")).expect("the sandbox's authority");
        fs::write(rig.folder.path().join("both.pem"), authority + &self.certificate).expect("writable");
        rig.boot().await;
        rig
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let signed = [format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes(), &body].concat();
    let signature = header("webhook-signature");
    let signature = BASE64_STANDARD.decode(signature.strip_prefix("v1,").expect("a signature")).expect("base64");
    hmac::verify(&Key::new(HMAC_SHA256, &SECRET), &signed, &signature).expect("the right signature");
    let answered = seen.answers.lock().expect("not poisoned").pop_front().unwrap_or(200);
    let body = serde_json::from_slice(&body).expect("JSON");
    seen.calls.lock().expect("not poisoned").push(Call { id: header("webhook-id"), body, answered });
    StatusCode::from_u16(answered).expect("a status")
}

#[tokio::test]
async fn what_happens_is_told_once_each() {
    let receiver = Receiver::start().await;
    let rig = receiver.daemon(&["shopper.", "notification.", "order."]).await;
    rig.put_shop(json!({ "tags": ["store"] })).await;
    rig.put("/v1/campaigns/greeting", greeting("enter")).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    assert_eq!(rig.ping("phone", ago(5), SHOP).await, ["enter shop"]);
    rig.ended_lives("C-1", 1).await;
    let event = json!({ "event": "E-1", "at": ago(3), "state": "shipped", "shopper": "C-1" });
    rig.post("/v1/orders/O-7/events", event.clone()).await;
    rig.post("/v1/orders/O-7/events", event).await;

    let expected = BTreeMap::from(
        ["notification.accepted", "notification.decided", "order.state_changed", "shopper.entered_geofence"]
            .map(|kind| (kind.to_owned(), 1)),
    );
    until("everything to be told", async || (receiver.told() == expected).then_some(())).await;
    let calls = receiver.calls();
    let order = calls.iter().find(|call| call.body["type"] == "order.state_changed").expect("told");
    assert_eq!((&order.body["data"]["order"], &order.body["data"]["shopper"]), (&json!("O-7"), &json!("C-1")));
    let text = format!("{calls:?}");
    assert!(!text.contains("48.87"), "no positions");
    // A receipt is an event too, and a repeat of it is not.
    let id = rig::id(&rig.lives("C-1").await[0]);
    for _ in 0..2 {
        rig.post(&format!("/v1/notifications/{id}/receipts"), json!({ "milestone": "opened", "at": ago(1) })).await;
    }
    until("the receipt to be told", async || (receiver.told().get("notification.opened") == Some(&1)).then_some(()))
        .await;
    assert_eq!(receiver.calls().len(), 5);
}

#[tokio::test]
async fn what_a_back_end_hands_in_is_told_too() {
    let receiver = Receiver::start().await;
    let rig = receiver.daemon(&["notification."]).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let call = json!({ "request": "r-1", "message": { "title": "Ready" }, "targets": [{ "device": "phone" }] });
    let stored = rig.post("/v1/notifications", call.clone()).await;
    assert_eq!(stored["stored"], 1, "{stored}");
    let expected = BTreeMap::from(["notification.stored", "notification.accepted"].map(|kind| (kind.to_owned(), 1)));
    until("both steps to be told", async || (receiver.told() == expected).then_some(())).await;
    rig.post("/v1/notifications", call).await;
    assert_eq!(rig.get("/v1/notifications/sums").await["channels"]["webhook"]["stored"], 2, "a repeat is nothing new");
    let id = &stored["results"][0]["notifications"][0];
    assert!(receiver.calls().iter().all(|call| call.body["data"]["notification"] == *id));
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_also_after_a_crash() {
    let receiver = Receiver::start().await;
    receiver.answers(&[500]);
    let mut rig = receiver.daemon(&["order."]).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let event = json!({ "event": "E-1", "at": ago(3), "state": "shipped", "shopper": "C-1" });
    rig.post("/v1/orders/O-7/events", event).await;
    until("the first call", async || (receiver.calls().len() == 1).then_some(())).await;
    rig.kill().await;
    rig.boot().await;
    until("the event to be told", async || (receiver.told().len() == 1).then_some(())).await;
    let calls = receiver.calls();
    assert!(calls.iter().all(|call| call.id == calls[0].id && call.body == calls[0].body), "{calls:?}");
}

#[tokio::test]
async fn what_nobody_wants_is_a_dead_letter_and_can_be_told_after_all() {
    let receiver = Receiver::start().await;
    receiver.answers(&[410]);
    let rig = receiver.daemon(&["order."]).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    rig.post("/v1/orders/O-7/events", json!({ "event": "E-1", "at": ago(3), "state": "shipped", "shopper": "C-1" }))
        .await;
    let dead = until("the dead letter", async || {
        let dead = rig.get("/v1/dead-letters?channel=webhook").await;
        dead["items"].as_array().and_then(|items| items.first()).cloned()
    })
    .await;
    let id = dead["notification"].as_str().expect("an id");
    rig.post(&format!("/v1/dead-letters/{id}/replay"), json!({})).await;
    until("the event to be told", async || (receiver.told().len() == 1).then_some(())).await;
    let calls = receiver.calls();
    assert_eq!(calls[0].body, calls[1].body);
}
