//! What comes from outside and is wrong, too much, or too large.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::{self, Rig, ago, new_key, north, report};

const PATH: &str = "/v1/observations";

async fn open(settings: &[(&str, &str)]) -> Rig {
    let rig = Rig::start_with(&[], settings).await;
    rig.put_shop(json!({})).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    rig
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    let mut rig = open(&[]).await;
    let read = new_key(rig.folder.path(), "reader", "read").await;
    let phone = new_key(rig.folder.path(), "backend", "ingest").await;
    rig.stop().await;
    rig.boot().await;
    let (path, body) = (PATH, report("phone", ago(5), north(0.0)));
    for key in ["", "parvis_wrong", &rig.key[..rig.key.len() - 1]] {
        let reply = rig.caller().with_key(key).call(Method::POST, path, &body).await.expect("an answer");
        reply.problem("unauthenticated");
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    let reply = rig.caller().with_key(&read).call(Method::POST, path, &body).await.expect("an answer");
    reply.problem("forbidden");
    let reply = rig.caller().with_key(&phone).call(Method::POST, path, &body).await.expect("an answer");
    assert_eq!(reply.json()["accepted"], 1);
    let reply = rig.caller().with_key(&phone).call(Method::DELETE, "/v1/shoppers/C-1", &Value::Null).await;
    reply.expect("an answer").problem("forbidden");
    assert!(!rig.log().iter().any(|line| line.contains(&rig.key)), "no key in the log");
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_by_name() {
    let rig = open(&[]).await;
    let caller = rig.caller();
    let json_type = [("content-type", "application/json")];
    for (body, name) in [
        ("{", "malformed"),
        ("", "malformed"),
        ("[]", "malformed"),
        (r#"{"device":"phone"}"#, "malformed"),
        (r#"{"device":"a b","observations":[]}"#, "malformed"),
        (r#"{"device":"phone","observations":{}}"#, "malformed"),
    ] {
        let reply = caller.send(Method::POST, PATH, &json_type, body).await.expect("an answer");
        assert!(!reply.problem(name)["detail"].as_str().expect("text").is_empty(), "{body}");
    }
    let reply = caller.send(Method::POST, PATH, &[("content-type", "text/plain")], "{}").await.expect("an answer");
    reply.problem("unsupported_media_type");
    let extra = json!({ "shopper": "C-1", "platform": "ios", "colour": "red" });
    let problem = rig.call(Method::PUT, "/v1/devices/phone", &extra).await.problem("malformed");
    assert!(problem.to_string().contains("colour"), "{problem}");
    let fence = json!({ "type": "Feature", "geometry": { "type": "Polygon",
        "coordinates": [[[2.0, 48.0], [2.1, 48.1], [2.1, 48.0], [2.0, 48.1], [2.0, 48.0]]] }, "properties": {} });
    let problem = rig.call(Method::PUT, "/v1/geofences/bow", &fence).await.problem("invalid");
    assert!(!problem["errors"].as_array().expect("a list").is_empty(), "{problem}");
    let campaign = json!({ "purpose": "offer", "on": { "transition": "enter", "tags": ["nowhere"] },
        "content": { "en": { "title": "{{ nothing }}", "body": "x" } } });
    rig.call(Method::PUT, "/v1/campaigns/odd", &campaign).await.problem("invalid");
    rig.call(Method::GET, "/v1/nothing", &Value::Null).await.problem("not_found");
    rig.call(Method::PATCH, PATH, &Value::Null).await.problem("method_not_allowed");

    let mut mixed = report("phone", ago(5), north(0.0));
    let list = mixed["observations"].as_array_mut().expect("a list");
    list[0]["extra"] = json!({ "ignored": true });
    list.push(json!({ "kind": "fix", "at": "yesterday", "lat": 48.0, "lon": 2.0 }));
    list.push(json!({ "kind": "fix", "at": ago(5), "lat": 148.0, "lon": 2.0 }));
    list.push(json!({ "kind": "fix", "at": ago(86_400), "lat": 48.0, "lon": 2.0 }));
    list.push(
        json!({ "kind": "fix", "at": rig::now().plus(std::time::Duration::from_secs(900)), "lat": 48.0, "lon": 2.0 }),
    );
    let answer = rig.post(PATH, mixed).await;
    assert_eq!(answer["accepted"], 1, "one bad observation costs the others nothing: {answer}");
    let places: Vec<_> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["index"].as_u64().expect("a place"))
        .collect();
    assert_eq!(places, [1, 2, 3, 4], "{answer}");
    assert_eq!(rig::names(&answer["transitions"]), ["enter shop"]);
}

#[tokio::test]
async fn compressed_bodies_are_read_and_large_ones_refused() {
    let rig = open(&[("http.body_max", "64KiB")]).await;
    let caller = rig.caller();
    let body = report("phone", ago(60), north(400.0)).to_string();
    let gzip = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("to memory");
        encoder.finish().expect("to memory")
    };
    let zstd = |text: &[u8]| zstd::encode_all(text, 9).expect("to memory");
    for (coding, bytes) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let reply = caller.send(Method::POST, PATH, &headers, bytes).await.expect("an answer");
        assert_eq!(reply.json()["accepted"], 1, "{coding}");
    }
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let reply = caller.send(Method::POST, PATH, &headers, &b"no gzip"[..]).await.expect("an answer");
    reply.problem("malformed");
    let headers = [("content-type", "application/json"), ("content-encoding", "br")];
    let reply = caller.send(Method::POST, PATH, &headers, body.clone()).await.expect("an answer");
    reply.problem("unsupported_media_type");

    let padded = format!("{}{body}", " ".repeat(1 << 20));
    let plain = [("content-type", "application/json")];
    // Whoever goes on sending what nobody reads may find the connection closed.
    let reply = rig.caller().apart().send(Method::POST, PATH, &plain, padded.clone()).await;
    if let Some(reply) = reply {
        reply.problem("too_large");
    }
    rig.get("/readyz").await;
    // A small body that becomes a large one.
    for (coding, bytes) in [("gzip", gzip(padded.as_bytes())), ("zstd", zstd(padded.as_bytes()))] {
        assert!(bytes.len() < 8_192);
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let reply = caller.send(Method::POST, PATH, &headers, bytes).await.expect("an answer");
        reply.problem("too_large");
        assert_eq!(reply.header("connection"), "close", "the rest is not read, so nobody may go on behind it");
    }
    // Streamed lines may be longer than that altogether.
    let line = |seconds_ago: u64| {
        let mut fix = report("phone", ago(seconds_ago), north(400.0))["observations"][0].take();
        fix["device"] = "phone".into();
        format!("{fix}\n")
    };
    let lines: String = (0..1_000).map(|index| line(50 - index % 40)).collect();
    assert!(lines.len() > 64 << 10);
    let headers = [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
    let reply = caller.send(Method::POST, PATH, &headers, gzip(lines.as_bytes())).await.expect("an answer");
    assert_eq!(reply.json()["accepted"], 1_000, "{reply:?}");
}

#[tokio::test]
async fn a_full_inbox_asks_to_come_back_and_takes_nothing() {
    const PHONES: usize = 60;
    let settings = [("shards.count", "1"), ("shards.inbox_max", "1"), ("shards.batch_max", "1")];
    let rig = open(&settings).await;
    for phone in 0..PHONES {
        rig.put_guest(&format!("P-{phone}"), &format!("phone-{phone}"), rig.apns()).await;
    }
    let mut open: Vec<usize> = (0..PHONES).collect();
    let mut refused = 0;
    let at = ago(5);
    while !open.is_empty() {
        let mut requests = JoinSet::new();
        for phone in open.drain(..) {
            let caller = rig.caller();
            requests.spawn(async move {
                (phone, caller.call(Method::POST, PATH, &report(&format!("phone-{phone}"), at, north(0.0))).await)
            });
        }
        while let Some(answered) = requests.join_next().await {
            let (phone, reply) = answered.expect("no panic");
            let reply = reply.expect("an answer");
            if reply.status == StatusCode::OK {
                assert_eq!(rig::names(&reply.json()["transitions"]), ["enter shop"], "it was not taken before");
                continue;
            }
            reply.problem("full");
            assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{reply:?}");
            refused += 1;
            open.push(phone);
        }
    }
    assert!(refused > 0, "sixty at once do not fit into an inbox of one");
    assert_eq!(rig.metric(r#"parvis_transitions_total{kind="enter"}"#).await, PHONES as f64);
}

#[tokio::test]
async fn a_write_with_an_idempotency_key_happens_once() {
    let mut rig = open(&[]).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "signal-1")];
    let path = "/v1/shoppers/C-1/signals";
    let signal = json!({ "interest": "tv", "weight": 1.0, "source": "newsletter", "at": ago(5) }).to_string();
    let first = rig.caller().send(Method::POST, path, &headers, signal.clone()).await.expect("an answer");
    assert!(first.status.is_success());
    rig.kill().await;
    rig.boot().await;
    let again = rig.caller().send(Method::POST, path, &headers, signal).await.expect("an answer");
    assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &first.body));
    let other = rig.caller().send(Method::POST, path, &headers, "{}").await.expect("an answer");
    other.problem("idempotency_key_reused");
}
