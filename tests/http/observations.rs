//! Native observations: good, bad, hostile, compressed, streamed, and too many at once.

use std::{io::Write as _, pin::Pin, sync::atomic::Ordering::SeqCst};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parvis::{
    http::{Config, auth::Scope, observations::NDJSON},
    shard::Refusal,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::server::{NOW, PATIENCE, Server, Wanted};

const PATH: &str = "/v1/observations";

fn scan(tag: &str) -> Value {
    json!({"kind": "scan", "at": NOW, "tag": tag})
}

fn line(device: &str, tag: &str) -> String {
    let mut scan = scan(tag);
    scan["device"] = device.into();
    format!("{scan}\n")
}

fn small() -> Wanted {
    let config = Config { body_max: 4_096, line_max: 1_024, lines_at_once: 4, listed_max: 3, ..Config::default() };
    Wanted { config, ..Wanted::default() }
}

#[tokio::test]
async fn good_ones_are_taken_and_bad_ones_are_named() {
    let server = Server::start().await;
    server.register("phone").await;
    let body = json!({"device": "phone", "battery": 80, "observations": [
        scan("shelf"),
        {"kind": "fix", "at": NOW, "lat": "48", "lon": 2},
        scan("unknown"),
        {"kind": "crossing", "at": NOW, "region": "shop", "edge": "enter", "extra": {"deep": []}},
    ]});
    let reply = server.call(Scope::Ingest, Method::POST, PATH, &body).await;
    assert_eq!(reply.status, StatusCode::OK);
    let answer = reply.json();
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["rejected"][0]["index"], 1);
    assert_eq!(answer["rejected"][0]["reason"], "invalid");
    assert!(answer["rejected"][0]["detail"].as_str().expect("text").starts_with("`lat`"), "{answer}");
    assert_eq!((&answer["rejected"][1]["index"], &answer["rejected"][1]["reason"]), (&json!(2), &json!("unknown_tag")));
    assert_eq!(answer["transitions"][0]["transition"], "enter");
    assert_eq!(answer["next"], json!({"radius_m": 430.0}));
    assert_eq!((server.count("accepted").await, server.refused().await), (2, 2));
}

#[tokio::test]
async fn an_unknown_device_is_told_for_each_observation() {
    let server = Server::start().await;
    let body = json!({"device": "nobody", "observations": [scan("a"), scan("b")]});
    let answer = server.call(Scope::Ingest, Method::POST, PATH, &body).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][1]["reason"]), (&json!(0), &json!("unknown_device")));
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_its_place() {
    let server = Server::start().await;
    let deep = format!(r#"{{"device":"d","observations":{}"#, "[".repeat(100_000));
    let cases = [
        ("{", ""),
        (r#"{"device":"d","observations":[{"at":NaN}]}"#, "/observations/0/at"),
        (r#"{"device":"d","observations":[{"lat":1e999}]}"#, "/observations/0/lat"),
        (r#"{"device":"d","observations":[{"lat":1,"lat":2}]}"#, "/observations/0"),
        (r#"{"device":"a b","observations":[]}"#, "/device"),
        (r#"{"device":"d","observations":7}"#, "/observations"),
        (r#"{"device":"d"}"#, "/observations"),
    ];
    for (body, pointer) in cases {
        let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
        let reply = server.send(request, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(reply.problem("malformed")["errors"][0]["pointer"], pointer, "{body}");
    }
    let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
    assert!(
        server.send(request, deep).await.problem("malformed")["detail"].as_str().expect("text").contains("recursion")
    );
}

#[tokio::test]
async fn a_body_has_a_type_and_a_size() {
    let server = Server::start_with(small()).await;
    let authorized = || server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
    let mut wrong = authorized();
    wrong.headers_mut().expect("good").insert("content-type", "text/plain".parse().expect("a type"));
    server.send(wrong, "{}").await.problem("unsupported_media_type");
    server.send(authorized().header("content-encoding", "br"), "{}").await.problem("unsupported_media_type");
    let large = json!({"device": "d", "observations": [], "x": "x".repeat(5_000)}).to_string();
    let reply = server.send(authorized(), large.clone()).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(reply.problem("too_large")["detail"].as_str().expect("text").contains("4096"));
    for (coding, bomb) in [("gzip", gzip(&vec![b' '; 64 << 20])), ("zstd", zstd(&vec![b' '; 64 << 20]))] {
        assert!(bomb.len() < 100_000, "a bomb is small");
        server.send(authorized().header("content-encoding", coding), bomb).await.problem("too_large");
    }
    server.send(authorized().header("content-encoding", "gzip"), "no gzip").await.problem("malformed");
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let server = Server::start().await;
    server.register("phone").await;
    let body = json!({"device": "phone", "observations": [scan("shelf")]}).to_string();
    for (coding, body) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))] {
        let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
        assert_eq!(
            server.send(request.header("content-encoding", coding), body).await.json()["accepted"],
            1,
            "{coding}"
        );
    }
}

#[tokio::test]
async fn a_compressed_body_asks_for_little_memory() {
    let server = Server::start().await;
    server.register("phone").await;
    let body = json!({"device": "phone", "observations": [scan("shelf")]}).to_string();
    for (window_log, taken) in [(23, true), (24, false), (27, false)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("memory");
        encoder.window_log(window_log).expect("within the format");
        std::io::Write::write_all(&mut encoder, body.as_bytes()).expect("memory");
        // Flushed first, so that the size is unknown when the frame begins and the window is named.
        std::io::Write::flush(&mut encoder).expect("memory");
        let body = encoder.finish().expect("memory");
        let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
        let reply = server.send(request.header("content-encoding", "zstd"), body).await;
        assert_eq!(reply.status == StatusCode::OK, taken, "{window_log}: {}", reply.json());
        if !taken {
            reply.problem("malformed");
        }
    }
}

#[tokio::test]
async fn a_full_inbox_is_too_many_requests_and_a_closed_store_is_unavailable() {
    let server = Server::start_with(Wanted { inbox: 1, ..Wanted::default() }).await;
    server.register("phone").await;
    server.owner.held.send_replace(true);
    let body = json!({"device": "phone", "observations": [scan("shelf")]});
    let post = || server.call(Scope::Ingest, Method::POST, PATH, &body);
    // One may be in the owner's hand and one in the inbox, so of three the first answer is the refusal of the third.
    let mut sent: FuturesUnordered<_> = [post(), post(), post()].into_iter().collect();
    let refused = sent.next().await.expect("three were sent");
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    refused.problem("full");
    server.owner.held.send_replace(false);
    assert!(sent.all(async |reply| reply.status == StatusCode::OK).await);
    *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Unavailable("the disk is full".to_owned()));
    let reply = post().await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(reply.problem("unavailable")["detail"].as_str().expect("text").contains("the disk is full"));
}

#[tokio::test]
async fn lines_are_taken_whatever_their_number_and_the_lists_are_bounded() {
    let server = Server::start_with(small()).await;
    server.register("a").await;
    server.register("b").await;
    let mut body = String::new();
    for at in 0..50 {
        body += &line(if at % 2 == 0 { "a" } else { "b" }, if at % 10 == 3 { "unknown" } else { "shelf" });
    }
    body += "\n{broken\n";
    body += &format!("{}\n", "x".repeat(5_000));
    body += &line("nobody", "shelf");
    body += line("a", "shelf").trim_end();
    let whole = body.len();
    assert!(whole > 4_096, "more than a body may have");
    let mut request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
    request.headers_mut().expect("good").insert("content-type", NDJSON.parse().expect("a type"));
    let answer = server.send(request, body).await.json();
    assert_eq!(answer["accepted"], 46);
    let indexes: Vec<_> = answer["rejected"].as_array().expect("a list").iter().map(|one| &one["index"]).collect();
    assert_eq!(indexes, [3, 13, 23]);
    assert_eq!(answer["omitted"], json!({"rejected": 5, "transitions": 0}));
    assert_eq!(answer.get("next"), None, "several devices spoke");
}

#[tokio::test]
async fn a_stream_is_decided_while_it_arrives() {
    let server = Server::start_with(small()).await;
    server.register("a").await;
    let (sender, body) = body();
    let mut request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
    request.headers_mut().expect("good").insert("content-type", NDJSON.parse().expect("a type"));
    let before = server.owner.done.load(SeqCst);
    let fed = async {
        for _ in 0..4 {
            sender.send(line("a", "shelf").into()).await.expect("still reading");
        }
        while server.owner.done.load(SeqCst) == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.count("accepted").await, 4, "taken before the end is known");
        drop(sender);
    };
    let (response, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(server.open(request, body), fed) }).await.expect("answers");
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_meets_a_refusal_says_where_to_go_on() {
    let server = Server::start_with(small()).await;
    server.register("a").await;
    let (sender, body) = body();
    let mut request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Ingest));
    request.headers_mut().expect("good").insert("content-type", NDJSON.parse().expect("a type"));
    let fed = async {
        for _ in 0..4 {
            sender.send(line("a", "shelf").into()).await.expect("still reading");
        }
        while server.count("accepted").await < 4 {
            tokio::task::yield_now().await;
        }
        *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Full);
        for _ in 0..4 {
            let _ = sender.send(line("a", "shelf").into()).await;
        }
        drop(sender);
    };
    let (response, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(server.open(request, body), fed) }).await.expect("answers");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    let document: Value =
        serde_json::from_slice(&response.into_body().collect().await.expect("whole").to_bytes()).expect("JSON");
    assert_eq!((&document["accepted"], &document["resume_at"]), (&json!(4), &json!(4)), "{document}");
}

type Pieces = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + Sync>>;

/// A body that arrives piece by piece.
pub(crate) fn body() -> (mpsc::Sender<Bytes>, crate::server::Sent) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let pieces: Pieces = Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (Ok(Frame::data(piece)), receiver))
    }));
    (sender, BodyExt::boxed(StreamBody::new(pieces)))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).expect("memory")
}
