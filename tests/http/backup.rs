//! `GET /v1/backup`: a whole file, one at a time, and not for callers who have gone or do not read.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Empty};
use parvis::{
    backup::{Reading, Section},
    http::{Config, auth::Scope},
    store::{Answer, Store},
};
use serde_json::Value;

use crate::server::{Reply, Server, Wanted, now};

/// More than sockets and queues take in.
const ANSWERS: usize = 4_000;

async fn filled(wanted: Wanted) -> Server {
    let server = Server::start_with(wanted).await;
    for n in 0..ANSWERS {
        let answer = Answer { status: 200, content_type: "x".to_owned(), body: vec![b'x'; 8_000], request_hash: 1 };
        server.store.keep_answer(&format!("key-{n}"), answer, now()).await.expect("available");
    }
    server
}

async fn backup(server: &Server) -> Reply {
    server.call(Scope::Backup, Method::GET, "/v1/backup", &Value::Null).await
}

/// Begins a backup and reads nothing of it.
async fn begun(server: &Server) -> http::Response<hyper::body::Incoming> {
    let request = server.request(Method::GET, "/v1/backup").header("authorization", server.bearer(Scope::Backup));
    let response = server.open(request, Empty::new().map_err(|never| match never {}).boxed()).await;
    assert_eq!(response.status(), StatusCode::OK);
    response
}

/// Asks until the one that was begun has ended.
async fn next_backup(server: &Server) -> Reply {
    loop {
        let reply = backup(server).await;
        if reply.status == StatusCode::OK {
            return reply;
        }
        reply.problem("full");
        tokio::task::yield_now().await;
    }
}

async fn assert_whole(reply: &Reply) {
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    let mut reading = Reading::begin(&reply.body[..]).await.expect("a header");
    assert!(reading.header().snapshot && reading.header().at >= now());
    loop {
        if let Section::End(end) = reading.next().await.expect("whole") {
            assert_eq!(end.rows.get("answer"), Some(&(ANSWERS as u64)));
            return;
        }
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_only_backup() {
    let server = filled(Wanted::default()).await;
    let first = begun(&server).await;
    let refused = backup(&server).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    drop(first);
    assert_whole(&next_backup(&server).await).await;
}

#[tokio::test]
async fn a_caller_who_does_not_read_is_given_up() {
    let config = Config { body_pause_max: Duration::from_millis(200), ..Config::default() };
    let server = filled(Wanted { config, ..Wanted::default() }).await;
    let first = begun(&server).await;
    assert_whole(&next_backup(&server).await).await;
    let cut = first.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut reading = Reading::begin(&cut[..]).await.expect("a header");
    let why = loop {
        match reading.next().await {
            Ok(Section::Rows(_)) => {}
            Ok(Section::End(_)) => panic!("it was given up"),
            Err(why) => break why.to_string(),
        }
    };
    assert!(why.contains("the file is cut here"), "{why}");
}
