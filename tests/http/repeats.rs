//! `Idempotency-Key`.

use http::{Method, StatusCode};
use parvis::{
    http::{Config, auth::Scope},
    shard::Refusal,
    store::Store as _,
};
use serde_json::{Value, json};

use crate::server::{NOW, Reply, Server, Wanted, now};

async fn signal(server: &Server, key: &str, weight: f64) -> Reply {
    let request = server.request(Method::POST, "/v1/shoppers/C-1/signals");
    let request = request.header("authorization", server.bearer(Scope::Ingest)).header("idempotency-key", key);
    server.send(request, json!({"interest": "tv", "weight": weight, "at": NOW}).to_string()).await
}

async fn weight(server: &Server) -> Value {
    let held = server.call(Scope::Read, Method::GET, "/v1/shoppers/C-1", &Value::Null).await.json();
    held["shopper"]["interests"]["tv"]["weight"].clone()
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_has_no_effect() {
    let server = Server::start().await;
    let first = signal(&server, "k-1", 1.0).await;
    let again = signal(&server, "k-1", 1.0).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(again.header("content-type"), "application/json");
    assert_eq!(weight(&server).await, 1.0);
    signal(&server, "k-2", 1.0).await;
    assert_eq!(weight(&server).await, 2.0);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let server = Server::start().await;
    signal(&server, "k-1", 1.0).await;
    let reply = signal(&server, "k-1", 2.0).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    reply.problem("idempotency_key_reused");
    assert_eq!(weight(&server).await, 1.0);
}

#[tokio::test]
async fn the_same_key_of_another_caller_is_another_key() {
    let server = Server::start().await;
    signal(&server, "k-1", 1.0).await;
    let request = server.request(Method::POST, "/v1/shoppers/C-1/signals");
    let request = request.header("authorization", server.bearer(Scope::Admin)).header("idempotency-key", "k-1");
    let reply = server.send(request, json!({"interest": "tv", "weight": 5.0, "at": NOW}).to_string()).await;
    assert_eq!((reply.status, reply.header("idempotency-replayed")), (StatusCode::OK, ""));
    assert_eq!(weight(&server).await, 6.0);
}

#[tokio::test]
async fn of_many_at_the_same_time_one_is_carried_out() {
    let server = Server::start().await;
    let replies = futures_util::future::join_all((0..20).map(|_| signal(&server, "k-1", 1.0))).await;
    assert!(replies.iter().all(|reply| reply.status == StatusCode::OK));
    assert_eq!(replies.iter().filter(|reply| reply.header("idempotency-replayed").is_empty()).count(), 1);
    assert_eq!(server.carried_out(), 1);
    assert_eq!(weight(&server).await, 1.0);
}

#[tokio::test]
async fn a_mistake_is_kept_and_a_refusal_that_passes_is_not() {
    let server = Server::start().await;
    *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Full);
    assert_eq!(signal(&server, "k-1", 1.0).await.status, StatusCode::TOO_MANY_REQUESTS);
    *server.owner.refusal.lock().expect("not poisoned") = None;
    assert_eq!(signal(&server, "k-1", 1.0).await.status, StatusCode::OK);
    signal(&server, "k-2", -1.0).await.problem("invalid");
    let again = signal(&server, "k-2", -1.0).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    again.problem("invalid");
}

#[tokio::test]
async fn a_key_has_a_length() {
    let server = Server::start().await;
    assert_eq!(signal(&server, &"k".repeat(128), 1.0).await.status, StatusCode::OK);
    for key in ["", &"k".repeat(129)] {
        signal(&server, key, 1.0).await.problem("malformed");
    }
}

#[tokio::test]
async fn answers_are_forgotten_in_their_own_time_and_then_it_is_a_new_request() {
    let server = Server::start().await;
    signal(&server, "k-1", 1.0).await;
    let now = now().plus(std::time::Duration::from_secs(1));
    server
        .store
        .prune(parvis::store::Horizon { rows: parvis_engine::time::Timestamp::MIN, answers: now })
        .await
        .expect("prunes");
    assert_eq!(signal(&server, "k-1", 1.0).await.header("idempotency-replayed"), "");
}

#[tokio::test]
async fn a_key_opens_no_larger_body() {
    let config = Config { body_max: 100, ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    for _ in 0..2 {
        let request = server.request(Method::POST, "/v1/shoppers/C-1/signals");
        let request = request.header("authorization", server.bearer(Scope::Ingest)).header("idempotency-key", "k-1");
        let reply = server.send(request, " ".repeat(101)).await;
        reply.problem("too_large");
        assert_eq!(reply.header("idempotency-replayed"), "", "what was not read is not kept");
    }
}
