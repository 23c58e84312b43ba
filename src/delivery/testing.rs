//! What the tests of delivery share: a message, keys, and a push service on loopback.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::{encoding::AsDer, signature::KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use parvis_engine::{
    id::{AppId, NotificationId, OrderId},
    matching::TransitionKind,
    notification::{
        Address, Body, Cause, Channel, Content, Custom, Live, LiveEvent, LiveState, Notification, Origin, Priority,
        Purpose, PushKind, Recipient,
    },
    order::{Fulfilment, OrderState},
    retry::Outcome,
    shopper::{PushTarget, Subscription, SubscriptionKeys},
    time::Timestamp,
};
use proptest::prelude::*;

use super::{
    Provider, Reply,
    transport::{Error, Peer, Transport},
    webpush::ece::browser::Browser,
};

pub(crate) mod server;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

pub(crate) fn offer() -> Notification {
    Notification {
        id: NotificationId::from_u128(0x018b_cfe5_6800_8dcb_a1e1_cbec_b54e_57cf),
        shopper: "C-1001".parse().expect("an id"),
        recipient: Recipient::Device("d-1".parse().expect("an id")),
        channel: Channel::Apns,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: "tv-week".parse().expect("an id"),
            purpose: Purpose::Offer,
            cause: Cause::Transition { transition: TransitionKind::Enter, region: "shop-1".parse().expect("an id") },
        },
        replays: None,
        body: Body::Content(Content {
            title: "Bienvenue".to_owned(),
            body: "Aujourd’hui −20 %".to_owned(),
            deep_link: Some("https://shop.example/offers/7".to_owned()),
            data: [("aisle".to_owned(), "7".to_owned())].into(),
            locale: "fr-FR".to_owned(),
        }),
        collapse: "b2ZmZXI".to_owned(),
        observed_at: now(),
        decided_at: now(),
        not_before: now(),
        expires_at: now().plus(std::time::Duration::from_secs(3600)),
    }
}

/// News of an order that is on its way; whatever begins is said in words too.
pub(crate) fn live(event: LiveEvent) -> Notification {
    let order: OrderId = "O-7".parse().expect("an id");
    let content = Content {
        title: "Commande O-7".to_owned(),
        body: "En route".to_owned(),
        deep_link: Some("https://shop.example/orders/7".to_owned()),
        ..Content::default()
    };
    let minutes = |count: u64| now().plus(std::time::Duration::from_secs(60 * count));
    let live = Live {
        order: order.clone(),
        event,
        state: LiveState {
            state: OrderState::Shipped,
            step: 3,
            steps: 5,
            fulfilment: Some(Fulfilment::Pickup),
            eta: Some(minutes(90)),
            store: Some("Lyon".to_owned()),
            at: now(),
        },
        stale_at: Some(minutes(120)),
        dismiss_at: (event == LiveEvent::End).then(|| minutes(30)),
        urgent: event != LiveEvent::Update,
        alert: (event == LiveEvent::Start).then_some(content),
    };
    Notification {
        origin: Origin::Campaign {
            campaign: "order-news".parse().expect("an id"),
            purpose: Purpose::Order,
            cause: Cause::Order { order, state: OrderState::Shipped },
        },
        body: Body::Live(Box::new(live)),
        collapse: "T3JkZXI".to_owned(),
        ..offer()
    }
}

/// What a message says in words.
pub(crate) fn content(notification: &mut Notification) -> &mut Content {
    let Body::Content(content) = &mut notification.body else { panic!("it says something else") };
    content
}

/// A browser that has subscribed.
pub(crate) fn browser() -> Browser {
    Browser::new(&[7; 32], [9; 16])
}

pub(crate) fn browser_target(endpoint: &str) -> Address {
    let keys = browser().keys;
    Address::Target(PushTarget::WebPush {
        subscription: Box::new(Subscription {
            endpoint: endpoint.to_owned(),
            expiration_time: None,
            keys: SubscriptionKeys {
                p256dh: URL_SAFE_NO_PAD.encode(keys.public),
                auth: URL_SAFE_NO_PAD.encode(keys.auth),
            },
        }),
    })
}

/// A request as text, headers in the order in which they were set.
pub(crate) fn wire(request: &Request<Bytes>) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().expect("text")));
    }
    text.push('\n');
    text.push_str(std::str::from_utf8(request.body()).expect("text"));
    text
}

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    Reply {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: HeaderMap::from_iter(headers),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// Kind and reason.
pub(crate) fn meaning(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Accepted => ("accepted", ""),
        Outcome::Unregistered { reason, .. } => ("unregistered", reason),
        Outcome::Rejected { reason } => ("rejected", reason),
        Outcome::Throttled { reason, .. } => ("throttled", reason),
        Outcome::Unavailable { reason, .. } => ("unavailable", reason),
    }
}

/// No status, header or body makes a provider panic, accept what is no success, or say something unspeakable.
pub(crate) fn any_reply_is_an_outcome(provider: &dyn Provider) {
    let words = prop_oneof![
        Just(String::new()),
        ".{0,200}",
        r#"\{"(reason|error|errno|timestamp)":(null|-?[0-9]{1,30}|"[A-Za-z]{0,80}"|\{"details":\[[0-9]?\]\})\}"#,
    ];
    let bodies = prop_oneof![words.prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..300),];
    let delays = prop_oneof![".{0,40}", "-?[0-9]{1,40}", "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} 08:49:37 GMT"];
    proptest!(|(status in 100_u16..1000, delay in delays, body in bodies)| {
        let mut reply = reply(status, &[], "");
        if let Ok(value) = HeaderValue::from_str(&delay) {
            reply.headers.insert(http::header::RETRY_AFTER, value);
        }
        reply.body = body.into();
        let outcome = provider.meaning(&reply, now()).outcome;
        let _ = provider.wants_new_credential(&reply);
        prop_assert_eq!(outcome == Outcome::Accepted, reply.status.is_success());
        prop_assert_eq!(provider.meaning(&reply, now()).blame.is_none(), reply.status.is_success());
        let (_, reason) = meaning(&outcome);
        prop_assert!(reason.len() <= 64 && reason.bytes().all(|byte| byte.is_ascii_graphic()));
        if let Outcome::Throttled { retry_after: Some(wait), .. } | Outcome::Unavailable { retry_after: Some(wait), .. }
            = outcome
        {
            prop_assert!(wait <= std::time::Duration::from_secs(3600));
        }
    });
}

/// Any body that a message can have, with these words.
fn any_body(text: String) -> impl Strategy<Value = Body> {
    let words =
        Content { title: text.clone(), body: text.clone(), data: [(text.clone(), text)].into(), ..Content::default() };
    let (said, alert) = (words.clone(), words.clone());
    let live = (0..3_usize, any::<[bool; 3]>(), any::<(u8, u8)>(), any::<i64>()).prop_map(
        move |(event, [urgent, speaks, dated], (step, steps), at)| {
            let at = Timestamp::from_millis(at);
            let event = [LiveEvent::Start, LiveEvent::Update, LiveEvent::End][event];
            let Body::Live(live) = super::testing::live(event).body else { panic!("live") };
            let state = LiveState { step, steps, at, eta: dated.then_some(at), ..live.state };
            Body::Live(Box::new(Live {
                urgent,
                state,
                stale_at: dated.then_some(at),
                alert: speaks.then(|| alert.clone()),
                ..*live
            }))
        },
    );
    let given = prop_oneof![
        Just(serde_json::json!({})),
        Just(serde_json::json!({ "aps": {} })),
        Just(serde_json::json!({ "aps": { "content-available": 1 }, "data": { "a": 1 }, "token": "t" })),
        Just(serde_json::json!({ "aps": { "event": "end", "timestamp": 1 }, "android": 7, "mdm": "m" })),
    ];
    let custom = (0..PushKind::ALL.len(), 0..3_usize, any::<bool>(), proptest::option::of(given)).prop_map(
        move |(kind, priority, speaks, given)| {
            let given = given.and_then(|given| given.as_object().cloned());
            Body::Custom(Box::new(Custom {
                push: PushKind::ALL[kind],
                priority: [Priority::High, Priority::Normal, Priority::Low][priority],
                content: speaks.then(|| said.clone()),
                apns: given.clone(),
                fcm: given.clone(),
                webpush: given,
            }))
        },
    );
    prop_oneof![Just(Body::Content(words)), live, custom]
}

/// No target and no content makes a provider panic.
pub(crate) fn any_target_is_a_request_or_an_outcome(provider: &dyn Provider, address: impl Fn(String) -> Address) {
    let words = "\\PC{0,80}|https://.{0,60}|[0-9a-f]{0,80}";
    let body = prop_oneof![Just(String::new()), ".{0,400}", "[a-z]{4000,5200}"].prop_flat_map(any_body);
    proptest!(|(word in words, body in body, collapse in ".{0,80}", expires_at in any::<i64>())| {
        let mut notification = offer();
        notification.body = body;
        notification.collapse = collapse;
        notification.expires_at = Timestamp::from_millis(expires_at);
        if let Body::Content(content) = &mut notification.body {
            content.deep_link = Some(word.clone());
        }
        match provider.request(&notification, &address(word), "bearer", now()) {
            Ok(request) => {
                prop_assert_eq!(request.uri().scheme_str(), Some("https"));
                prop_assert!(request.body().len() <= 24_000);
            }
            Err(outcome) => {
                let (_, reason) = meaning(&outcome);
                prop_assert!(!reason.is_empty() && reason.len() <= 64);
            }
        }
    });
}

/// A P-256 key as PEM, and its public point.
pub(crate) fn p256_key() -> (String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let point = key.public_key_raw().to_vec();
    (key.serialize_pem(), point)
}

/// A service account's file, and its public key as PKCS #1.
pub(crate) fn service_account(token_uri: &str) -> (String, Vec<u8>) {
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().expect("PKCS #8");
    let base64 = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let json = serde_json::json!({
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": "key-1",
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n"),
        "client_email": "parvis@shop.iam.gserviceaccount.com",
        "token_uri": token_uri,
    });
    (json.to_string(), key.public_key().as_ref().to_vec())
}

/// A network on which nobody answers.
pub(crate) struct Silent;

impl Silent {
    pub(crate) fn shared() -> Arc<dyn Transport> {
        Arc::new(Silent)
    }
}

#[async_trait]
impl Transport for Silent {
    async fn send(&self, _: Request<Bytes>, _: Peer) -> Result<Reply, Error> {
        std::future::pending().await
    }
}

/// A network whose answers a test decides.
pub(crate) struct Scripted<F>(pub(crate) F);

#[async_trait]
impl<F: Fn(Request<Bytes>, Peer) -> Result<Reply, Error> + Send + Sync> Transport for Scripted<F> {
    async fn send(&self, request: Request<Bytes>, peer: Peer) -> Result<Reply, Error> {
        (self.0)(request, peer)
    }
}
