//! Tokens for what phones show of orders all the time.

use http::{Method, StatusCode};
use parvis::http::auth::Scope;
use serde_json::{Value, json};

use crate::server::{NOW, Reply, Server};

const START: &str = "/v1/devices/phone/live-activities/start-token";
const ORDER: &str = "/v1/devices/phone/live-activities/O-1";

fn token(byte: &str) -> Value {
    json!({ "token": byte.repeat(80) })
}

async fn put(server: &Server, path: &str, body: &Value) -> Reply {
    server.call(Scope::Ingest, Method::PUT, path, body).await
}

async fn get(server: &Server, path: &str) -> Reply {
    server.call(Scope::Read, Method::GET, path, &Value::Null).await
}

async fn register(server: &Server, device: &str, shopper: &str, target: Value) {
    let body = json!({"platform": "phone", "shopper": shopper, "target": target});
    assert_eq!(put(server, &format!("/v1/devices/{device}"), &body).await.status, StatusCode::OK);
}

fn apns() -> Value {
    json!({"channel": "apns", "token": "aabb".repeat(16), "topic": "com.example.shop"})
}

#[tokio::test]
async fn tokens_are_taken_shown_without_their_text_and_taken_back() {
    let server = Server::start().await;
    register(&server, "phone", "C-1", apns()).await;
    for (path, byte) in [(START, "c0"), (ORDER, "d0"), (START, "c0"), (ORDER, "d1")] {
        let reply = put(&server, path, &token(byte)).await;
        assert_eq!((reply.status, reply.body.len()), (StatusCode::NO_CONTENT, 0), "{path}, repeats too");
    }
    let shown = get(&server, "/v1/devices/phone").await;
    let text = String::from_utf8_lossy(&shown.body).into_owned();
    assert!(!text.contains("c0c0") && !text.contains("d1d1"), "tokens are secrets: {text}");
    let live = &shown.json()["live"];
    assert_eq!((&live["start_token"], &live["progress"]), (&json!(true), &json!(false)));
    assert_eq!(live["orders"]["O-1"]["token"], true);

    let event = json!({"event": "E-1", "at": NOW, "state": "shipped", "shopper": "C-1"});
    server.call(Scope::Orders, Method::POST, "/v1/orders/O-1/events", &event).await;
    let order = get(&server, "/v1/orders/O-1").await.json();
    assert_eq!((&order["state"], &order["live"]["phone"]["token"]), (&json!("shipped"), &json!(true)));

    for path in [START, ORDER, START, ORDER] {
        let reply = server.call(Scope::Ingest, Method::DELETE, path, &Value::Null).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{path}, repeats too");
    }
    let live = get(&server, "/v1/devices/phone").await.json()["live"].clone();
    assert_eq!((&live["start_token"], &live["orders"]["O-1"]["token"]), (&json!(false), &json!(false)));
    assert!(live["orders"]["O-1"]["dismissed_at"].is_string(), "{live}");
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_named() {
    let server = Server::start().await;
    register(&server, "phone", "C-1", apns()).await;
    let cases = [
        (json!({"token": "zz".repeat(80)}), "invalid", "/token"),
        (json!({"token": ""}), "invalid", "/token"),
        (json!({"token": "ab".repeat(300)}), "invalid", "/token"),
        (json!({"token": 7}), "malformed", "/token"),
        (json!({"token": "ab".repeat(80), "order": "O-1"}), "malformed", "/order"),
        (json!({}), "malformed", ""),
    ];
    for path in [START, ORDER] {
        for (body, kind, pointer) in &cases {
            let document = put(&server, path, body).await.problem(kind);
            assert_eq!(document["errors"][0]["pointer"], *pointer, "{document}");
        }
    }
    put(&server, "/v1/devices/phone/live-activities/O%201", &token("ab")).await.problem("malformed");
    assert_eq!(get(&server, "/v1/devices/phone").await.json().get("live"), None);
}

#[tokio::test]
async fn a_token_needs_an_iphone_that_is_registered_and_an_order_of_its_owner() {
    let server = Server::start().await;
    for path in [START, ORDER] {
        put(&server, path, &token("ab")).await.problem("not_found");
        server.call(Scope::Ingest, Method::DELETE, path, &Value::Null).await.problem("not_found");
    }
    register(&server, "phone", "C-1", json!({"channel": "fcm", "token": "t"})).await;
    for path in [START, ORDER] {
        let document = put(&server, path, &token("ab")).await.problem("conflict");
        assert!(document["detail"].as_str().is_some_and(|why| why.contains("Apple")), "{document}");
    }
    register(&server, "phone", "C-1", apns()).await;
    let event = json!({"event": "E-1", "at": NOW, "state": "shipped", "shopper": "C-2"});
    server.call(Scope::Orders, Method::POST, "/v1/orders/O-1/events", &event).await;
    put(&server, ORDER, &token("ab")).await.problem("conflict");
    server.call(Scope::Read, Method::PUT, START, &token("ab")).await.problem("forbidden");
    for order in 0..20 {
        let path = format!("/v1/devices/phone/live-activities/A-{order}");
        assert_eq!(put(&server, &path, &token("ab")).await.status, StatusCode::NO_CONTENT);
    }
    put(&server, "/v1/devices/phone/live-activities/A-20", &token("ab")).await.problem("conflict");
}

#[tokio::test]
async fn an_app_that_draws_progress_says_so_when_it_registers() {
    let server = Server::start().await;
    let body = |target: Value| json!({"platform": "android", "progress": true, "target": target});
    let fcm = body(json!({"channel": "fcm", "token": "t"}));
    assert_eq!(put(&server, "/v1/devices/phone", &fcm).await.status, StatusCode::OK);
    let document = put(&server, "/v1/devices/phone", &body(apns())).await.problem("invalid");
    assert_eq!(document["errors"][0]["pointer"], "/progress");
}
