//! Connections: both versions of HTTP, limits, and an end that finishes what is open.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use parvis::http::{Config, auth::Scope};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{NOW, PATIENCE, Server, Wanted};

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    let server = Server::start().await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::get(format!("http://{}/healthz", server.address)).body(Full::new(Bytes::new()));
    let response = client.request(request.expect("a request")).await.expect("an answer");
    assert_eq!((response.version(), response.status()), (Version::HTTP_2, StatusCode::OK));
}

#[tokio::test]
async fn open_requests_are_finished_and_new_ones_refused() {
    let server = Server::start().await;
    server.register("phone").await;
    server.owner.held.send_replace(true);
    let body = json!({"device": "phone", "observations": [{"kind": "scan", "at": NOW, "tag": "shelf"}]});
    let open = server.call(Scope::Ingest, Method::POST, "/v1/observations", &body);
    let before = server.owner.taken.load(SeqCst);
    let end = async {
        let idle = TcpStream::connect(server.address).await.expect("still accepting");
        while server.owner.taken.load(SeqCst) == before {
            tokio::task::yield_now().await;
        }
        server.shutdown.cancel();
        server.owner.held.send_replace(false);
        idle
    };
    let both = async { tokio::join!(open, end) };
    let (reply, mut stream) = tokio::time::timeout(PATIENCE, both).await.expect("it is answered");
    assert_eq!(reply.json()["accepted"], 1);
    let mut rest = Vec::new();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "an idle connection is closed");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let config = Config { request_timeout: std::time::Duration::from_millis(50), ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    server.register("phone").await;
    server.owner.held.send_replace(true);
    let body = json!({"device": "phone", "observations": [{"kind": "scan", "at": NOW, "tag": "shelf"}]});
    let reply = server.call(Scope::Ingest, Method::POST, "/v1/observations", &body).await;
    assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT);
    reply.problem("timeout");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let config = Config { body_pause_max: std::time::Duration::from_millis(50), ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.expect("accepted");
    let head = format!(
        "POST /v1/observations HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{",
        server.bearer(Scope::Ingest)
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let config = Config { head_timeout: std::time::Duration::from_millis(50), ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.expect("accepted");
        stream.write_all(begun.as_bytes()).await.expect("written");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "after {begun:?}");
    }
}
