//! Messages that back ends hand in: what is stored and what is refused, repeats, crashes, many targets, slow bodies.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use parvis::{
    http::{Config, auth::Scope, observations::NDJSON},
    store::{Commit, Store as _, memory::Fault},
};
use parvis_engine::{id::NotificationId, notification::Channel};
use serde_json::{Value, json};

use crate::{
    observations::body,
    server::{NOW, PATIENCE, Reply, Server, Wanted},
};

const PATH: &str = "/v1/notifications";

/// A server with push services, on which few targets are taken together.
async fn start() -> Server {
    start_with(Config { lines_at_once: 4, ..Config::default() }).await
}

async fn start_with(config: Config) -> Server {
    let server = Server::start_with(Wanted { config, delivers: true, ..Wanted::default() }).await;
    let yes = json!({"granted": true, "at": NOW});
    let profile = json!({"consents": {"orders": yes}});
    assert_eq!(server.call(Scope::Ingest, Method::PUT, "/v1/shoppers/C-1", &profile).await.status, StatusCode::OK);
    for (device, preferred) in [("d-1", false), ("d-2", true)] {
        let body = json!({"shopper": "C-1", "platform": "android", "preferred": preferred,
            "target": {"channel": "fcm", "token": format!("token-{device}")}});
        let path = format!("/v1/devices/{device}");
        assert_eq!(server.call(Scope::Ingest, Method::PUT, &path, &body).await.status, StatusCode::OK);
    }
    server
}

fn call(request: &str, targets: Value) -> Value {
    json!({"request": request, "message": {"title": "Ready", "body": "Order 7 is ready."}, "targets": targets})
}

fn fcm(token: &str) -> Value {
    json!({"target": {"channel": "fcm", "token": token}})
}

fn apns() -> Value {
    json!({"target": {"channel": "apns", "token": "0f".repeat(32), "topic": "com.example.shop"}})
}

async fn post(server: &Server, body: &Value) -> Reply {
    server.call(Scope::Send, Method::POST, PATH, body).await
}

fn lines(server: &Server) -> http::request::Builder {
    let mut request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Send));
    request.headers_mut().expect("good").insert("content-type", NDJSON.parse().expect("a type"));
    request
}

fn ids(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let ids = results.iter().flat_map(|result| result["notifications"].as_array().into_iter().flatten());
    ids.map(|id| id.as_str().expect("text").to_owned()).collect()
}

/// How many messages of a channel are stored.
async fn stored(server: &Server) -> u64 {
    let sums = server.store.sizes().await.expect("known").sums;
    sums.values().map(|sums| sums.stored).sum()
}

#[tokio::test]
async fn every_kind_of_target_is_stored_or_refused_by_name() {
    let server = start().await;
    let sandbox = server.sandbox.as_ref().expect("configured");
    let targets = json!([
        {"device": "d-1"},
        {"device": "nobody"},
        {"shopper": "C-1"},
        {"shopper": "C-1", "devices": "all"},
        {"shopper": "C-9"},
        apns(),
        fcm("t"),
        {"target": {"channel": "webpush", "subscription": sandbox.register_webpush()}},
        {"target": {"channel": "apns", "token": "xyz", "topic": "com.example.shop"}},
        {"fcm_condition": "'a' in"},
        7,
    ]);
    let reply = post(&server, &call("r-1", targets)).await;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
    let answer = reply.json();
    let told: Vec<_> = answer["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|result| {
            let pointer = result["pointer"].as_str().unwrap_or_default();
            (result["status"].as_str().expect("text"), result["reason"].as_str().unwrap_or_default(), pointer)
        })
        .collect();
    let stored = ("stored", "", "");
    assert_eq!(
        told,
        [
            stored,
            ("refused", "unknown_device", "/device"),
            stored,
            stored,
            ("refused", "unknown_shopper", "/shopper"),
            stored,
            stored,
            stored,
            ("refused", "invalid", "/target/token"),
            ("refused", "invalid", "/fcm_condition"),
            ("refused", "malformed", ""),
        ]
    );
    assert_eq!((&answer["stored"], &answer["refused"]), (&json!(6), &json!(5)));
    assert_eq!(ids(&answer).len(), 7, "one shopper was reached on two devices");
    assert!(!String::from_utf8_lossy(&reply.body).contains("xyz"), "no token is told back");
}

#[tokio::test]
async fn a_stored_message_is_shown_without_its_address() {
    let server = start().await;
    let answer = post(&server, &call("r-1", json!([fcm("secret-token"), apns(), {"device": "d-1"}]))).await.json();
    let ids = ids(&answer);
    for id in &ids {
        let reply = server.call(Scope::Send, Method::GET, &format!("{PATH}/{id}"), &Value::Null).await;
        let text = String::from_utf8(reply.body.to_vec()).expect("text");
        assert!(!text.contains("secret-token") && !text.contains("0f0f0f"), "{text}");
        let life = reply.json();
        assert_eq!(life["notification"]["request"], "r-1");
        assert_eq!(life["notification"]["custom"]["content"]["title"], "Ready");
        assert_eq!(life["milestones"][2]["milestone"], "stored");
    }
    let page = server.call(Scope::Read, Method::GET, &format!("{PATH}?shopper=C-1"), &Value::Null).await.json();
    assert_eq!(page["items"][0]["notification"]["id"], *ids[2], "a person's messages are listed");
    let held = server.call(Scope::Read, Method::GET, "/v1/shoppers/C-1", &Value::Null).await.json();
    assert_eq!(held["notifications"].as_array().map(Vec::len), Some(1), "and exported");
}

#[tokio::test]
async fn what_is_held_of_an_address_is_shown_without_it() {
    let server = start().await;
    let answer = post(&server, &call("r-1", json!([fcm("secret-token")]))).await.json();
    let message = format!("{PATH}/{}", ids(&answer)[0]);
    let life = server.call(Scope::Send, Method::GET, &message, &Value::Null).await.json();
    let who = life["notification"]["shopper"].as_str().expect("a stand-in");
    let taken = json!({"notification": life["notification"]["id"], "milestone": "accepted"});
    let event = json!({"at": NOW, "recorded_at": NOW, "shopper": who, "event": "milestone", "data": taken});
    let events = vec![serde_json::from_value(event).expect("an event")];
    server.store.commit(Commit { events, ..Commit::default() }).await.expect("available");
    let held = server.call(Scope::Read, Method::GET, &format!("/v1/shoppers/{who}"), &Value::Null).await.json();
    assert_eq!(held["notifications"][0]["notification"]["id"], life["notification"]["id"], "{held}");
    assert!(!held.to_string().contains("secret-token"), "{held}");
}

#[tokio::test]
async fn consent_holds_for_shoppers_and_their_devices() {
    let server = start().await;
    let mut offer = call("r-1", json!([{"device": "d-1"}, {"shopper": "C-1"}, fcm("t")]));
    offer["purpose"] = "offer".into();
    let answer = post(&server, &offer).await.json();
    let reasons: Vec<_> = answer["results"].as_array().expect("a list").iter().map(|it| it["reason"].clone()).collect();
    assert_eq!(reasons, [json!("no_consent"), json!("no_consent"), Value::Null]);
}

#[tokio::test]
async fn what_no_service_would_take_is_refused_at_once() {
    let server = start().await;
    let mut long = call("r-1", json!([fcm("t"), apns()]));
    long["message"]["body"] = "x".repeat(5_000).into();
    let answer = post(&server, &long).await.json();
    assert_eq!((&answer["stored"], &answer["results"][1]["reason"]), (&json!(0), &json!("refused")), "{answer}");
    let other = json!({"app": "another", "message": {"title": "T"}, "targets": [fcm("t")], "request": "r-2"});
    let answer = post(&server, &other).await.json();
    assert_eq!(answer["results"][0]["reason"], "not_configured");
    let sandbox = server.sandbox.as_ref().expect("configured");
    let mut subscription = serde_json::to_value(sandbox.register_webpush()).expect("JSON");
    subscription["endpoint"] = "https://intranet.example/push".into();
    let elsewhere = call("r-3", json!([{"target": {"channel": "webpush", "subscription": subscription}}]));
    let answer = post(&server, &elsewhere).await.json();
    assert_eq!(answer["results"][0]["reason"], "refused", "{answer}");
    assert_eq!(stored(&server).await, 0);
}

#[tokio::test]
async fn a_repeat_of_all_or_a_part_stores_nothing_twice() {
    let server = start().await;
    let targets: Vec<Value> =
        (0..10).map(|number| fcm(&format!("t-{number}"))).chain([json!({"shopper": "C-1"})]).collect();
    let whole = call("r-1", json!(targets));
    let first = post(&server, &whole).await.json();
    assert_eq!(post(&server, &whole).await.json(), first);
    let part = post(&server, &call("r-1", json!(targets[3..6]))).await.json();
    assert_eq!(ids(&part), ids(&first)[3..6]);
    let more = post(&server, &call("r-1", json!([fcm("t-3"), fcm("new"), fcm("new")]))).await.json();
    assert_eq!(ids(&more)[0], ids(&first)[3]);
    assert_eq!(ids(&more)[1], ids(&more)[2], "a target that is named twice gets one message");
    assert_eq!(stored(&server).await, 12);
    let journal = server.call(Scope::Read, Method::GET, "/v1/shoppers/C-1", &Value::Null).await.json();
    assert_eq!(journal["journal"].as_array().map(Vec::len), Some(1), "told once: {journal}");
    assert_eq!(server.metric(r#"parvis_notifications_total{channel="fcm",milestone="stored"}"#).await, 12);
}

#[tokio::test]
async fn a_name_stands_for_one_message_of_one_caller() {
    let server = start().await;
    let first = post(&server, &call("r-1", json!([fcm("t")]))).await.json();
    let mut other = call("r-1", json!([fcm("t")]));
    other["message"]["title"] = "Another".into();
    let reply = post(&server, &other).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(reply.problem("idempotency_key_reused")["errors"][0]["pointer"], "/request");
    let admin = server.call(Scope::Admin, Method::POST, PATH, &call("r-1", json!([fcm("t")]))).await.json();
    assert_ne!(ids(&admin), ids(&first), "another caller's names are other names");
    assert_eq!(stored(&server).await, 2);
    // A header names what the body does not.
    let mut nameless = call("", json!([fcm("t")]));
    nameless.as_object_mut().expect("an object").remove("request");
    post(&server, &nameless).await.problem("invalid");
    let request = || {
        server
            .request(Method::POST, PATH)
            .header("authorization", server.bearer(Scope::Send))
            .header("idempotency-key", "r-1")
    };
    let named = server.send(request(), nameless.to_string()).await.json();
    assert_eq!((ids(&named), &named["request"]), (ids(&first), &json!("r-1")));
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_says_how_far_it_came_and_a_repeat_completes_it() {
    for fault in [Fault::Before, Fault::After] {
        let server = start().await;
        let targets: Vec<Value> = (0..10).map(|number| fcm(&format!("t-{number}"))).collect();
        let whole = call("r-1", json!(targets));
        // The first commit of the call succeeds.
        let gate = server.store.faults();
        let (sender, feed) = body();
        let fed = async {
            let head = json!({"request": "r-1", "message": whole["message"]});
            sender.send(format!("{head}\n").into()).await.expect("still reading");
            for target in &targets[..4] {
                sender.send(format!("{target}\n").into()).await.expect("still reading");
            }
            while stored(&server).await < 4 {
                tokio::task::yield_now().await;
            }
            gate.fail_commit(fault);
            for target in &targets[4..] {
                let _ = sender.send(format!("{target}\n").into()).await;
            }
            drop(sender);
        };
        let answered = async { tokio::join!(server.open(lines(&server), feed), fed) };
        let (response, ()) = tokio::time::timeout(PATIENCE, answered).await.expect("answers");
        assert_eq!(
            (response.status(), &response.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().expect("text"))
        );
        let problem = response.into_body().collect().await.expect("whole").to_bytes();
        let problem: Value = serde_json::from_slice(&problem).expect("JSON");
        assert_eq!((&problem["accepted"], &problem["resume_at"]), (&json!(4), &json!(4)), "{problem}");
        server.store.crash();
        let again = post(&server, &whole).await.json();
        assert_eq!((again["stored"].as_u64(), ids(&again).iter().collect::<BTreeSet<_>>().len()), (Some(10), 10));
        assert_eq!(stored(&server).await, 10, "{fault:?}: none is lost, and none is there twice");
    }
}

#[tokio::test]
async fn ten_thousand_targets_are_taken_in_either_form_and_no_more() {
    let server = start_with(Config::default()).await;
    let targets: Vec<Value> = (0..10_000).map(|number| fcm(&format!("t-{number}"))).collect();
    let answer = post(&server, &call("r-1", json!(targets))).await.json();
    assert_eq!((&answer["stored"], answer["results"].as_array().map(Vec::len)), (&json!(10_000), Some(10_000)));
    let mut text = format!("{}\n\n", json!({"request": "r-1", "message": call("", json!([]))["message"]}));
    targets.iter().for_each(|target| text += &format!("{target}\n"));
    let streamed = server.send(lines(&server), text.clone()).await.json();
    assert_eq!(streamed, answer, "the same request in another form");
    assert_eq!(stored(&server).await, 10_000);
    text += &format!("{}\n", fcm("one-more"));
    let reply = server.send(lines(&server), text).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.problem("too_large")["resume_at"], 10_000);
    let more: Vec<Value> = targets.into_iter().chain([fcm("one-more")]).collect();
    post(&server, &call("r-2", json!(more))).await.problem("malformed");
    assert_eq!(stored(&server).await, 10_000);
}

#[tokio::test]
async fn lines_are_taken_while_they_arrive_and_bad_ones_cost_no_others() {
    let server = start().await;
    let (sender, feed) = body();
    let fed = async {
        sender.send(Bytes::from_static(b"\n{\"request\":\"r-1\",\"mess")).await.expect("still reading");
        sender.send(Bytes::from_static(b"age\":{\"title\":\"T\"}}\n\n{broken\n")).await.expect("still reading");
        sender.send(format!("{}\n", "x".repeat(100_000)).into()).await.expect("still reading");
        sender.send(format!("{}\n{}\n", fcm("a"), fcm("b")).into()).await.expect("still reading");
        while stored(&server).await < 2 {
            tokio::task::yield_now().await;
        }
        sender.send(fcm("c").to_string().into()).await.expect("still reading");
        drop(sender);
    };
    let answered = async { tokio::join!(server.open(lines(&server), feed), fed) };
    let (response, ()) = tokio::time::timeout(PATIENCE, answered).await.expect("answers");
    let answer = response.into_body().collect().await.expect("whole").to_bytes();
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    let reasons: Vec<_> = answer["results"].as_array().expect("a list").iter().map(|it| it["reason"].clone()).collect();
    assert_eq!(reasons, [json!("malformed"), json!("malformed"), Value::Null, Value::Null, Value::Null]);
}

#[tokio::test]
async fn a_body_that_stops_arriving_says_how_far_it_came() {
    let pause_max = std::time::Duration::from_millis(300);
    let server = start_with(Config { lines_at_once: 4, body_pause_max: pause_max, ..Config::default() }).await;
    let (sender, feed) = body();
    let head = json!({"request": "r-1", "message": {"title": "T"}});
    let text = (0..5).fold(format!("{head}\n"), |text, number| text + &format!("{}\n", fcm(&format!("t-{number}"))));
    let fed = async { sender.send(text.into()).await.expect("still reading") };
    let (response, ()) = tokio::join!(server.open(lines(&server), feed), fed);
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    let problem = response.into_body().collect().await.expect("whole").to_bytes();
    let problem: Value = serde_json::from_slice(&problem).expect("JSON");
    assert_eq!((&problem["accepted"], &problem["resume_at"]), (&json!(4), &json!(4)), "{problem}");
    assert_eq!(stored(&server).await, 4);
    drop(sender);
}

#[tokio::test]
async fn hostile_calls_are_refused_by_place_and_store_nothing() {
    let server = start().await;
    let deep = format!(r#"{{"message":{{"apns":{}1{}}},"targets":[]}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let table: [(&str, &str, &str); 10] = [
        ("", "malformed", ""),
        ("[]", "malformed", ""),
        ("\u{0}", "malformed", ""),
        (&deep, "malformed", "/message/apns"),
        (r#"{"request":"r","message":{"title":"T"}}"#, "malformed", "/targets"),
        (r#"{"request":"r","message":{"title":7},"targets":[]}"#, "malformed", "/message/title"),
        (r#"{"request":"r","message":{},"targets":[]}"#, "invalid", "/message"),
        (r#"{"request":"r","ttl":"1s","message":{"title":"T"},"targets":[]}"#, "invalid", "/ttl"),
        (
            r#"{"request":"r","expires_at":"2020-01-01T00:00:00Z","message":{"title":"T"},"targets":[]}"#,
            "invalid",
            "/expires_at",
        ),
        (r#"{"request":"r","colour":"red","message":{"title":"T"},"targets":[]}"#, "malformed", "/colour"),
    ];
    for (text, kind, pointer) in table {
        let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Send));
        let problem = server.send(request, text.to_owned()).await.problem(kind);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{} {problem}", &text[..text.len().min(60)]);
    }
    let long = format!("{{\"message\":{{\"title\":\"{}\"}}}}\n{}\n", "x".repeat(100_000), fcm("t"));
    server.send(lines(&server), long).await.problem("too_large");
    for text in ["", "\n\n", "{broken\n", "{\"message\":{\"title\":\"T\"},\"targets\":[]}\n"] {
        let reply = server.send(lines(&server), text).await;
        assert!(reply.status.is_client_error(), "{text:?} {}", reply.status);
    }
    let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Send));
    let request = request.header("content-encoding", "br");
    server.send(request, "{}").await.problem("unsupported_media_type");
    assert_eq!(stored(&server).await, 0);
}

#[tokio::test]
async fn too_much_at_once_is_sent_back_with_a_time() {
    let server = start().await;
    let all = u32::try_from(Config::default().sending_max).expect("small");
    let places = server.sending.clone().acquire_many_owned(all).await.expect("open");
    let reply = post(&server, &call("r-1", json!([fcm("t")]))).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    reply.problem("full");
    drop(places);
    assert_eq!(post(&server, &call("r-1", json!([fcm("t")]))).await.json()["stored"], 1);
}

#[tokio::test]
async fn times_and_keys_are_those_that_were_asked_for() {
    let server = start().await;
    let mut call = call("r-1", json!([fcm("t"), apns()]));
    call["not_before"] = "2026-11-21T12:00:00Z".into();
    call["ttl"] = "2h".into();
    call["at"] = "2026-11-21T09:00:00Z".into();
    let answer = post(&server, &call).await.json();
    assert_eq!(
        (&answer["at"], &answer["expires_at"]),
        (&json!("2026-11-21T09:00:00.000Z"), &json!("2026-11-21T14:00:00.000Z"))
    );
    let id: NotificationId = ids(&answer)[1].parse().expect("an id");
    let life = server.store.life(id).await.expect("available").expect("stored");
    assert_eq!(life.notification.not_before, "2026-11-21T12:00:00Z".parse().expect("a time"));
    assert_eq!((life.notification.channel, life.notification.collapse.len()), (Channel::Apns, 22), "its own key");
}
