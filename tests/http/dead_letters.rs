//! Messages that were given up: listed, tried anew, and counted.

use std::time::Duration;

use http::{Method, StatusCode};
use parvis::{
    http::{Config, auth::Scope},
    store::{Claim, End, Queue, Settlement, Store as _},
};
use parvis_engine::{
    id::AppId,
    notification::{Channel, Milestone, Purpose},
};
use serde_json::{Value, json};

use crate::server::{NOW, Server, Wanted, now};

const PATH: &str = "/v1/dead-letters";

async fn start() -> Server {
    let config = Config { page_max: 3, ..Config::default() };
    let server = Server::start_with(Wanted { config, delivers: true, ..Wanted::default() }).await;
    let yes = json!({"granted": true, "at": NOW});
    put(&server, "/v1/shoppers/C-1", json!({"consents": {"orders": yes}})).await;
    let device = json!({"shopper": "C-1", "platform": "android", "target": {"channel": "fcm", "token": "secret-d-1"}});
    put(&server, "/v1/devices/d-1", device).await;
    server
}

async fn put(server: &Server, path: &str, body: Value) {
    let reply = server.call(Scope::Ingest, Method::PUT, path, &body).await;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
}

/// Hands in messages for these targets; gives their ids.
async fn send(server: &Server, request: &str, targets: Value) -> Vec<String> {
    let body = json!({"request": request, "ttl": "1h", "message": {"title": "T"}, "targets": targets});
    let answer = server.call(Scope::Send, Method::POST, "/v1/notifications", &body).await.json();
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let ids = results.iter().flat_map(|result| result["notifications"].as_array().into_iter().flatten());
    ids.map(|id| id.as_str().expect("text").to_owned()).collect()
}

/// Ends what waits in a channel, one second after another.
async fn end(server: &Server, channel: Channel, milestone: Milestone) {
    let queue = Queue::new(channel, AppId::DEFAULT, Some(Purpose::Order));
    let at = now().plus(Duration::from_secs(60));
    while let Claim::Entries(entries) =
        server.store.claim(queue, at, 1, Duration::from_secs(60)).await.expect("available")
    {
        for entry in entries {
            let (notification, lease) = (entry.notification, entry.lease);
            let detail = Some("BadTopic".to_owned());
            let waited = Duration::from_millis(u64::from(notification.id.as_u128() as u8));
            let settlement = Settlement {
                shopper: notification.shopper,
                queue,
                id: notification.id,
                lease,
                at: at.plus(waited),
                end: End::Terminal { milestone, detail, attempts: 2 },
                then: Vec::new(),
            };
            server.store.settle(vec![settlement]).await.expect("available");
        }
    }
}

fn fcm(token: &str) -> Value {
    json!({"target": {"channel": "fcm", "token": format!("secret-{token}")}})
}

fn apns() -> Value {
    json!({"target": {"channel": "apns", "token": "0f".repeat(32), "topic": "com.example.shop"}})
}

async fn get(server: &Server, query: &str) -> Value {
    let reply = server.call(Scope::Read, Method::GET, &format!("{PATH}{query}"), &Value::Null).await;
    assert!(!String::from_utf8_lossy(&reply.body).contains("secret"), "no token is shown");
    reply.json()
}

async fn replay(server: &Server, body: Value) -> Value {
    server.call(Scope::Send, Method::POST, &format!("{PATH}/replay"), &body).await.json()
}

#[tokio::test]
async fn what_was_given_up_is_listed_the_last_first_page_by_page() {
    let server = start().await;
    let targets = json!([fcm("a"), fcm("b"), fcm("c"), fcm("d"), {"device": "d-1"}, apns()]);
    let ids = send(&server, "r-1", targets).await;
    for channel in [Channel::Fcm, Channel::Apns] {
        end(&server, channel, Milestone::Dead).await;
    }
    let first = get(&server, "?limit=1000").await;
    assert_eq!(first["items"].as_array().map(Vec::len), Some(3), "a page has a limit: {first}");
    let second = get(&server, &format!("?before={}", first["next"].as_str().expect("more"))).await;
    assert_eq!(second.get("next"), None);
    let items: Vec<&Value> =
        [&first, &second].iter().flat_map(|page| page["items"].as_array().expect("a list")).collect();
    let died: Vec<_> = items.iter().map(|item| item["died_at"].as_str().expect("a time")).collect();
    assert!(died.is_sorted_by(|one, other| one >= other), "{died:?}");
    let mut listed: Vec<_> =
        items.iter().map(|item| item["notification"].as_str().expect("an id").to_owned()).collect();
    listed.sort();
    let mut expected = ids.clone();
    expected.sort();
    assert_eq!(listed, expected);
    let apple = get(&server, "?channel=apns").await;
    let letter = &apple["items"][0];
    assert_eq!(
        (&letter["reason"], &letter["attempts"], &letter["request"]),
        (&json!("BadTopic"), &json!(2), &json!("r-1"))
    );
    assert_eq!((&letter["app"], letter.get("replayed_as")), (&json!("default"), None));
    assert_eq!(get(&server, "?app=another").await["items"], json!([]));
    let malformed = server.call(Scope::Read, Method::GET, &format!("{PATH}?before=x"), &Value::Null).await;
    malformed.problem("malformed");
}

#[tokio::test]
async fn a_replay_is_one_new_message_however_often_it_is_asked_for() {
    let server = start().await;
    let old = send(&server, "r-1", json!([fcm("a")])).await.remove(0);
    end(&server, Channel::Fcm, Milestone::Dead).await;
    let path = format!("{PATH}/{old}/replay");
    let first = server.call(Scope::Send, Method::POST, &path, &Value::Null).await.json();
    let again = server.call(Scope::Send, Method::POST, &path, &json!({"ttl": "2h"})).await.json();
    assert_eq!((&first["status"], &first), (&json!("replayed"), &again));
    let new = first["notification"].as_str().expect("an id");
    let life = server.call(Scope::Read, Method::GET, &format!("/v1/notifications/{new}"), &Value::Null).await.json();
    assert_eq!(life["notification"]["replays"], *old);
    let expires_at = life["notification"]["expires_at"].as_str().expect("a time");
    assert!(expires_at.starts_with("2026-11-21T11:0"), "as long as the first one, from now: {expires_at}");
    assert_eq!(get(&server, "").await["items"][0]["replayed_as"], *new);
    // It dies, too: it has a dead letter of its own.
    end(&server, Channel::Fcm, Milestone::Dead).await;
    let page = get(&server, "").await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    let third = replay(&server, json!({"ids": [old, new]})).await;
    assert_eq!((&third["replayed"], &third["results"][0]["notification"]), (&json!(2), &json!(new)));
    assert_ne!(third["results"][1]["notification"], json!(new));
}

#[tokio::test]
async fn what_is_not_tried_anew_is_told_by_name_and_costs_no_others() {
    let server = start().await;
    let nobody = "00000000-0000-8000-8000-000000000000";
    let accepted = send(&server, "r-1", json!([fcm("a")])).await.remove(0);
    end(&server, Channel::Fcm, Milestone::Accepted).await;
    let dead = send(&server, "r-2", json!([fcm("b"), {"device": "d-1"}])).await;
    end(&server, Channel::Fcm, Milestone::Dead).await;
    put(&server, "/v1/devices/d-1", json!({"shopper": "C-1", "platform": "android"})).await;
    let waiting = send(&server, "r-3", json!([fcm("c")])).await.remove(0);
    for (id, status) in [(nobody, StatusCode::NOT_FOUND), (accepted.as_str(), StatusCode::CONFLICT)] {
        let reply = server.call(Scope::Send, Method::POST, &format!("{PATH}/{id}/replay"), &Value::Null).await;
        assert_eq!(reply.status, status, "{:?}", reply.body);
    }
    let reason = |answer: &Value| -> Vec<Value> {
        answer["results"].as_array().expect("a list").iter().map(|result| result["reason"].clone()).collect()
    };
    let answer = replay(&server, json!({"ids": [nobody, accepted, waiting]})).await;
    assert_eq!(reason(&answer), [json!("not_found"), json!("not_dead"), json!("not_dead")]);
    let answer = replay(&server, json!({"channel": "fcm"})).await;
    assert_eq!((&answer["replayed"], &answer["refused"]), (&json!(1), &json!(1)), "{answer}");
    let (one, other) = (reason(&answer), answer["results"][0]["replays"] == *dead[1]);
    assert_eq!(one, if other { [json!("no_target"), Value::Null] } else { [Value::Null, json!("no_target")] });
    let reply =
        server.call(Scope::Send, Method::POST, &format!("{PATH}/replay"), &json!({"ids": [], "app": "x"})).await;
    reply.problem("invalid");
    let reply = server.call(Scope::Send, Method::POST, &format!("{PATH}/replay"), &json!({"ttl": "1s"})).await;
    reply.problem("invalid");
    // Consent that was withdrawn holds.
    put(
        &server,
        "/v1/devices/d-1",
        json!({"shopper": "C-1", "platform": "android", "target": {"channel": "fcm", "token": "secret-x"}}),
    )
    .await;
    put(&server, "/v1/shoppers/C-1", json!({})).await;
    let answer = replay(&server, json!({"ids": [dead[1]]})).await;
    assert_eq!(reason(&answer), [json!("no_consent")]);
}

#[tokio::test]
async fn sums_agree_with_what_was_stored() {
    let server = start().await;
    send(&server, "r-1", json!([fcm("a"), fcm("b"), {"device": "d-1"}, apns()])).await;
    end(&server, Channel::Fcm, Milestone::Accepted).await;
    send(&server, "r-2", json!([fcm("a"), fcm("b"), {"device": "d-1"}])).await;
    let path = "/v1/notifications/sums";
    let sums = server.call(Scope::Send, Method::GET, path, &Value::Null).await.json();
    let zero = json!({"stored": 0, "waiting": 0, "accepted": 0, "unregistered": 0, "dead": 0, "expired": 0,
        "suppressed": 0, "erased": 0});
    let with = |numbers: &[(&str, u64)]| {
        let mut sums = zero.clone();
        numbers.iter().for_each(|(name, number)| sums[*name] = json!(number));
        sums
    };
    assert_eq!(sums["channels"]["fcm"], with(&[("stored", 6), ("waiting", 3), ("accepted", 3)]));
    assert_eq!(sums["channels"]["apns"], with(&[("stored", 1), ("waiting", 1)]));
    assert_eq!(sums["channels"]["webpush"], zero);
    for (became, count) in [("stored", 6), ("waiting", 3), ("accepted", 3)] {
        let name = format!(r#"parvis_outbox_messages{{channel="fcm",became="{became}"}}"#);
        assert_eq!(server.metric(&name).await, count, "{became}");
    }
    let erased = server.call(Scope::Admin, Method::DELETE, "/v1/shoppers/C-1", &Value::Null).await;
    assert_eq!(erased.status, StatusCode::NO_CONTENT);
    let sums = server.call(Scope::Send, Method::GET, path, &Value::Null).await.json();
    assert_eq!(sums["channels"]["fcm"], with(&[("stored", 6), ("waiting", 2), ("accepted", 3), ("erased", 1)]));
}
