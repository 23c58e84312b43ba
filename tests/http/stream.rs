//! The event stream, and what operators ask.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parvis::{
    http::{Config, auth::Scope, health::Readiness},
    report::{Event, What},
};
use parvis_engine::{matching::TransitionKind, notification::Milestone};
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, Wanted, now, transition};

async fn open(server: &Server, path: &str) -> Response<Incoming> {
    let request = server.request(Method::GET, path).header("authorization", server.bearer(Scope::Read));
    server.open(request, Full::new(Bytes::new()).boxed()).await
}

/// Reads until the text holds what is looked for.
async fn until(response: &mut Response<Incoming>, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            let frame = response.body_mut().frame().await.unwrap_or_else(|| panic!("the end")).expect("a frame");
            text += std::str::from_utf8(&frame.into_data().expect("data")).expect("text");
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("it comes");
    text
}

fn happened(what: What) -> Event {
    Event { at: now(), recorded_at: now(), shopper: "C-1".parse().expect("an id"), what }
}

fn entered() -> Event {
    happened(What::Transition(transition(TransitionKind::Enter, "phone", "shop", now())))
}

fn accepted(number: u128) -> Event {
    let notification = parvis_engine::id::NotificationId::from_u128(number);
    happened(What::Milestone { notification, milestone: Milestone::Accepted, detail: None })
}

#[tokio::test]
async fn events_come_in_their_envelopes() {
    let server = Server::start().await;
    let mut stream = open(&server, "/v1/stream").await;
    assert_eq!(
        (stream.status(), &stream.headers()["content-type"]),
        (StatusCode::OK, &"text/event-stream".parse().expect("a type"))
    );
    for _ in 0..2 {
        server.reporter.send(entered());
    }
    server.reporter.send(accepted(7));
    let text = until(&mut stream, "event: notification.accepted").await;
    assert_eq!(text.matches("event: shopper.entered_geofence").count(), 2);
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    let envelope: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(envelope["specversion"], "1.0");
    assert_eq!((&envelope["source"], &envelope["subject"]), (&json!("/nodes/test"), &json!("C-1")));
    assert_eq!(envelope["data"]["region"], "shop");
    let ids: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids[0], ids[1], "the same event has the same id");
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_reader_chooses_types() {
    let server = Server::start().await;
    let mut stream = open(&server, "/v1/stream?type=notification.").await;
    server.reporter.send(entered());
    server.reporter.send(accepted(7));
    assert!(!until(&mut stream, "notification.accepted").await.contains("shopper.entered"));
    assert_eq!(open(&server, "/v1/stream?type=shopper.flew").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_holds_nobody_up() {
    let server = Server::start_with(Wanted { stream: 4, ..Wanted::default() }).await;
    let mut stream = open(&server, "/v1/stream").await;
    // Nobody else runs between two sends, so the reader can't keep up.
    for number in 0..100 {
        server.reporter.send(accepted(number));
    }
    let text = until(&mut stream, "event: lagged").await;
    assert!(text.contains(r#"{"missed":96}"#), "{text}");
    until(&mut stream, "notification.accepted").await;
}

#[tokio::test]
async fn readers_are_counted_and_end_with_the_node() {
    let config = Config { readers_max: 1, ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    let stream = open(&server, "/v1/stream").await;
    assert_eq!(open(&server, "/v1/stream").await.status(), StatusCode::TOO_MANY_REQUESTS);
    server.ready.send_replace(Readiness::Draining);
    let rest = tokio::time::timeout(PATIENCE, stream.into_body().collect()).await.expect("it ends");
    assert!(rest.is_ok());
}

#[tokio::test]
async fn operators_need_no_key() {
    let server = Server::start().await;
    let get = |path: &'static str| server.send(server.request(Method::GET, path), "");
    assert_eq!(get("/healthz").await.json(), json!({"status": "up"}));
    let ready = get("/readyz").await.json();
    assert_eq!((&ready["status"], &ready["node"]), (&json!("ready"), &json!("test")));
    let catalog = &ready["catalog"];
    assert_eq!((&catalog["generation"], catalog["files"].as_str().map(str::len)), (&json!(0), Some(16)));
    assert_eq!(ready["crash_loses"], "everything");
    assert!(get("/metrics").await.header("content-type").starts_with("application/openmetrics-text"));
    for (readiness, name) in [(Readiness::Starting, "starting"), (Readiness::Draining, "draining")] {
        server.ready.send_replace(readiness);
        let reply = get("/readyz").await;
        assert_eq!((reply.status, &reply.json()["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(name)));
    }
    get("/nowhere").await.problem("not_found");
    server.send(server.request(Method::PATCH, "/healthz"), "").await.problem("method_not_allowed");
}
