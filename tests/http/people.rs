//! Devices, shoppers, orders, notifications, explain.

use std::sync::Arc;

use http::{Method, StatusCode};
use parvis::{
    http::auth::Scope,
    report::{Event, What},
    store::{Change, Commit, Committed, Durable, Store as _},
};
use parvis_engine::{
    id::{AppId, NotificationId},
    matching::TransitionKind,
    notification::{Body, Cause, Channel, Content, Notification, Origin, Purpose, Recipient},
    shopper::{Send, Shopper},
};
use serde_json::{Value, json};

use crate::server::{NOW, Server, Wanted, now, transition};

#[tokio::test]
async fn a_device_is_registered_shown_without_its_token_and_forgotten() {
    let server = Server::start().await;
    let body = json!({"platform": "ios", "shopper": "C-1", "time_zone": "Europe/Paris",
        "target": {"channel": "apns", "token": "aabbcc".repeat(11), "topic": "com.example.shop"}});
    let reply = server.call(Scope::Ingest, Method::PUT, "/v1/devices/phone", &body).await;
    assert_eq!(reply.json(), json!({"device": "phone", "shopper": "C-1"}));
    let shown = server.call(Scope::Read, Method::GET, "/v1/devices/phone", &Value::Null).await;
    assert!(!String::from_utf8_lossy(&shown.body).contains("aabbcc"), "the token is a secret");
    assert_eq!(shown.json()["channel"], "apns");
    assert_eq!(shown.json()["app"], "default");
    let delete = || server.call(Scope::Ingest, Method::DELETE, "/v1/devices/phone", &Value::Null);
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    delete().await.problem("not_found");
}

#[tokio::test]
async fn a_registration_that_is_wrong_names_its_place() {
    let server = Server::start().await;
    let cases = [
        (json!({"platform": "ios", "colour": "red"}), "malformed", "/colour"),
        (json!({"platform": 7}), "malformed", "/platform"),
        (json!({"shopper": "C 1", "platform": "ios"}), "malformed", "/shopper"),
        (json!({}), "malformed", ""),
        (json!({"shopper": "~phone", "platform": "ios"}), "invalid", "/shopper"),
    ];
    for (body, kind, pointer) in cases {
        let document = server.call(Scope::Ingest, Method::PUT, "/v1/devices/phone", &body).await.problem(kind);
        assert_eq!(document["errors"][0]["pointer"], pointer, "{document}");
    }
}

#[tokio::test]
async fn a_device_names_an_app_that_is_there_and_has_its_channel() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("vapid.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().expect("a key").serialize_pem()).expect("writable");
    let text = format!("[apps.loyalty.webpush]\nkey = {:?}\nsubject = \"mailto:push@shop.example\"", key);
    let delivery = toml::from_str(&text).expect("a section");
    let server = Server::start_with(Wanted { delivery, ..Wanted::default() }).await;
    let apns = json!({"channel": "apns", "token": "aabbcc".repeat(11), "topic": "com.example.shop"});
    let cases = [
        (json!({"platform": "ios", "app": "loyality"}), "/app", "default, loyalty"),
        (json!({"platform": "ios", "app": "loyalty", "target": apns}), "/target/channel", "it has webpush"),
        (json!({"platform": "ios", "target": apns}), "/target/channel", "it has no channel"),
    ];
    for (body, pointer, word) in cases {
        let document = server.call(Scope::Ingest, Method::PUT, "/v1/devices/phone", &body).await.problem("invalid");
        assert_eq!(document["errors"][0]["pointer"], pointer, "{document}");
        assert!(document.to_string().contains(word), "{document}");
    }
    let body = json!({"platform": "ios", "app": "loyalty"});
    assert_eq!(server.call(Scope::Ingest, Method::PUT, "/v1/devices/phone", &body).await.status, StatusCode::OK);
    let shown = server.call(Scope::Read, Method::GET, "/v1/devices/phone", &Value::Null).await;
    assert_eq!(shown.json()["app"], "loyalty");
}

#[tokio::test]
async fn all_that_is_held_is_shown_and_all_is_forgotten() {
    let server = Server::start().await;
    let consent = json!({"granted": true, "at": NOW, "text": "2026-01"});
    let profile = json!({"locale": "fr-FR", "segments": ["vip"], "attributes": {"size": 42, "new": false},
        "loyalty": {"tier": "gold", "points": 7}, "consents": {"location": consent}});
    let path = "/v1/shoppers/C-1";
    assert_eq!(server.call(Scope::Ingest, Method::PUT, path, &profile).await.json(), json!({"shopper": "C-1"}));
    let message = message(&server).await;
    let reply = server.call(Scope::Read, Method::GET, path, &Value::Null).await;
    let held = parvis::json::value(&reply.body).expect("every name stands once");
    assert_eq!(held["journal"][0]["data"]["region"], "shop");
    assert_eq!(held["shopper"]["profile"]["loyalty"]["tier"], "gold");
    assert_eq!(held["notifications"][0]["notification"]["id"], message.to_string());
    assert_eq!(held["journal_cut"], false);
    assert_eq!(server.call(Scope::Admin, Method::DELETE, path, &Value::Null).await.status, StatusCode::NO_CONTENT);
    server.call(Scope::Read, Method::GET, path, &Value::Null).await.problem("not_found");
    let wrong = json!({"consents": {"location": {"granted": "yes", "at": NOW}}});
    let document = server.call(Scope::Ingest, Method::PUT, path, &wrong).await.problem("malformed");
    assert_eq!(document["errors"][0]["pointer"], "/consents/location/granted");
}

#[tokio::test]
async fn an_order_event_is_taken_once_and_the_order_is_shown() {
    let server = Server::start().await;
    let event = json!({"event": "E-1", "at": NOW, "state": "shipped", "shopper": "C-1", "fulfilment": "delivery",
        "store": null, "lines": [{"sku": "1"}]});
    let post = |event: Value| {
        let server = &server;
        async move { server.call(Scope::Orders, Method::POST, "/v1/orders/O-1/events", &event).await }
    };
    let first = post(event.clone()).await;
    assert_eq!((first.status, &first.json()["order"]), (StatusCode::OK, &json!("O-1")));
    assert_eq!(post(event.clone()).await.body, first.body);
    assert_eq!(server.carried_out(), 1);
    let order = server.call(Scope::Read, Method::GET, "/v1/orders/O-1", &Value::Null).await.json();
    assert_eq!((&order["state"], &order["lines"][0]["sku"]), (&json!("shipped"), &json!("1")));
    let mut stolen = event.clone();
    (stolen["event"], stolen["shopper"]) = ("E-2".into(), "C-2".into());
    post(stolen).await.problem("conflict");
    let mut odd = event;
    odd["state"] = "lost".into();
    assert_eq!(post(odd).await.problem("malformed")["errors"][0]["pointer"], "/state");
    server.call(Scope::Read, Method::GET, "/v1/orders/O-9", &Value::Null).await.problem("not_found");
}

#[tokio::test]
async fn receipts_become_milestones() {
    let server = Server::start().await;
    let id = message(&server).await;
    let path = format!("/v1/notifications/{id}/receipts");
    let receipt = json!({"milestone": "opened", "at": "2099-01-01T00:00:00Z"});
    for _ in 0..2 {
        let noted = server.call(Scope::Ingest, Method::POST, &path, &receipt).await.json();
        assert_eq!((&noted["notification"], &noted["milestone"]), (&json!(id.to_string()), &json!("opened")));
        let life = server.call(Scope::Read, Method::GET, &format!("/v1/notifications/{id}"), &Value::Null).await.json();
        let opened: Vec<_> = life["milestones"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|step| step["milestone"] == "opened")
            .collect();
        assert_eq!(opened.len(), 1, "a repeat is harmless: {life}");
        assert!(opened[0]["at"].as_str().expect("text").starts_with("2026-"), "nothing is opened in the future");
    }
    let accepted = json!({"milestone": "accepted"});
    server.call(Scope::Ingest, Method::POST, &path, &accepted).await.problem("malformed");
    let nobody = format!("/v1/notifications/{}/receipts", NotificationId::from_u128(7));
    server.call(Scope::Ingest, Method::POST, &nobody, &receipt).await.problem("not_found");
    server.call(Scope::Read, Method::GET, "/v1/notifications/7", &Value::Null).await.problem("malformed");
    let list = server.call(Scope::Read, Method::GET, "/v1/notifications?shopper=C-1", &Value::Null).await.json();
    assert_eq!(list["items"][0]["notification"]["id"], id.to_string());
    server.call(Scope::Read, Method::GET, "/v1/notifications", &Value::Null).await.problem("malformed");
}

#[tokio::test]
async fn explain_needs_a_known_shopper_campaign_and_device() {
    let server = Server::start().await;
    let ask = |shopper: &str, campaign: &str| {
        let transition = json!({"transition": "enter", "region": "shop"});
        let body = json!({"shopper": shopper, "campaign": campaign, "transition": transition, "now": NOW});
        let server = &server;
        async move { server.call(Scope::Marketing, Method::POST, "/v1/explain", &body).await }
    };
    ask("C-1", "tv").await.problem("not_found");
    let campaign = json!({"id": "tv", "purpose": "offer", "on": {"transition": "enter"},
        "content": {"en": {"title": "Television week", "body": "Today"}}});
    server.call(Scope::Marketing, Method::PUT, "/v1/campaigns/tv", &campaign).await;
    server.call(Scope::Ingest, Method::PUT, "/v1/shoppers/C-1", &json!({})).await;
    assert_eq!(ask("C-1", "tv").await.problem("invalid")["errors"][0]["pointer"], "/transition/device");
    let body = json!({"platform": "ios", "shopper": "C-1"});
    server.call(Scope::Ingest, Method::PUT, "/v1/devices/phone", &body).await;
    assert_eq!(ask("C-1", "tv").await.json()["device"], "phone");
    ask("C-1", "missing").await.problem("not_found");
}

/// Puts a message of C-1 into the outbox.
async fn message(server: &Server) -> NotificationId {
    let shopper: parvis_engine::id::ShopperId = "C-1".parse().expect("an id");
    let id = NotificationId::derive(now(), &shopper, &["tv", "C-1"]);
    let campaign: parvis_engine::id::CampaignId = "tv".parse().expect("an id");
    let notification = Notification {
        id,
        shopper: shopper.clone(),
        recipient: Recipient::Device("phone".parse().expect("an id")),
        channel: Channel::Apns,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: campaign.clone(),
            purpose: Purpose::Offer,
            cause: Cause::Transition { transition: TransitionKind::Enter, region: "shop".parse().expect("an id") },
        },
        replays: None,
        body: Body::Content(Content::default()),
        collapse: "tv".to_owned(),
        observed_at: now(),
        decided_at: now(),
        not_before: now(),
        expires_at: now().plus(std::time::Duration::from_secs(60)),
    };
    let record = server.store.load(std::slice::from_ref(&shopper)).await.expect("loads").remove(0);
    let mut known = Shopper::clone(&record.shopper);
    known.sends.push(Send { at: now(), not_before: now(), notification: id, campaign, purpose: Purpose::Offer });
    let state = Durable::Replaced { shopper: Arc::new(known), wake: None };
    let change = Change { version: record.version, id: shopper, state, tracks: Default::default() };
    let entered = transition(TransitionKind::Enter, "phone", "shop", now());
    let shopper = notification.shopper.clone();
    let event = Event { at: now(), recorded_at: now(), shopper, what: What::Transition(entered) };
    let commit = Commit { changes: vec![change], outbox: vec![notification], events: vec![event], ..Commit::default() };
    assert_eq!(server.store.commit(commit).await.expect("commits"), Committed::Done);
    id
}
