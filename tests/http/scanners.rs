//! What scanners report, who may report what, and how the fleet fares.

use std::{collections::BTreeSet, io::Write as _};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use parvis::{
    entropy::Entropy,
    http::{
        Config,
        auth::{KeyRecord, Scope, new_key},
    },
    shard::Refusal,
};
use parvis_engine::{
    beacons::eid::{Exponent, IdentityKey, ephemeral},
    observation::{Heard, Observation, Sighting},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::server::{NOW, PATIENCE, Reply, Server, Wanted, now};

const OWN: &str = "/v1/ingest/scanners/parvis";
const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

/// Two shops with a scanner each and a gateway; a fixed beacon, a linked tag, one that nobody carries, one that rotates.
fn files() -> Vec<(&'static str, String)> {
    let stores = "[[store]]\nid = \"opera\"\nname = \"Opera\"\ntime_zone = \"Europe/Paris\"\n\n\
        [[store]]\nid = \"rivoli\"\nname = \"Rivoli\"\ntime_zone = \"Europe/Paris\"\n";
    let mut beacons = String::new();
    for (id, store) in [("opera-1", "opera"), ("rivoli-1", "rivoli"), ("ac233fc001ea", "opera"), ("ceiling", "opera")] {
        beacons += &format!("[[scanner]]\nid = \"{id}\"\nstore = \"{store}\"\n\n");
    }
    for (id, role, minor) in [("tag", "tag", 1), ("lost", "tag", 2)] {
        beacons +=
            &format!("[[beacon]]\nid = \"{id}\"\nrole = \"{role}\"\nuuid = \"{UUID}\"\nmajor = 1\nminor = {minor}\n\n");
    }
    beacons += &format!("[[beacon]]\nid = \"shelf\"\nstore = \"opera\"\nuuid = \"{UUID}\"\nmajor = 1\nminor = 3\n\n");
    beacons += &format!(
        "[[beacon]]\nid = \"rotating\"\nrole = \"tag\"\neid = {{ exponent = 10, started_at = \"{BEGAN}\" }}\n\n"
    );
    beacons += "[[beacon]]\nid = \"minew\"\nstore = \"opera\"\n\
        uuid = \"fda50693-a4e2-4fb1-afcf-c6eb07647825\"\nmajor = 10002\nminor = 5208\n";
    let keys = "rotating = \"07070707070707070707070707070707\"\n".to_owned();
    vec![("stores.toml", stores.to_owned()), ("beacons.toml", beacons), ("eid-keys.toml", keys)]
}

const BEGAN: &str = "2026-11-01T00:00:00Z";

async fn start() -> Server {
    let server = Server::start_with(Wanted { files: files(), ..Wanted::default() }).await;
    link(&server, "tag").await;
    server
}

async fn link(server: &Server, tag: &str) {
    let path = format!("/v1/beacons/{tag}/link");
    let reply = server.call(Scope::Ingest, Method::PUT, &path, &json!({"shopper": "C-1"})).await;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
}

async fn post_as(server: &Server, key: &str, path: &str, body: impl Into<Bytes>) -> Reply {
    let request = server.request(Method::POST, path).header("authorization", format!("Bearer {key}"));
    server.send(request, body).await
}

async fn post(server: &Server, path: &str, body: &Value) -> Reply {
    post_as(server, server.key(Scope::Ingest), path, body.to_string()).await
}

async fn get(server: &Server, path: &str) -> Value {
    let reply = server.call(Scope::Read, Method::GET, path, &json!(null)).await;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
    reply.json()
}

fn heard(minor: u16, age_ms: u64) -> Value {
    json!({"age_ms": age_ms, "uuid": UUID, "major": 1, "minor": minor, "rssi_dbm": -63, "count": 4})
}

fn report(scanner: &str, seq: u64, heard: &[Value]) -> Value {
    json!({"scanner": scanner, "boot": "b1", "seq": seq, "heard": heard})
}

fn nothing_but(fields: &Value) -> Value {
    let mut answer = json!({"accepted": 0, "unknown": 0, "unlinked": 0, "ignored": 0, "rejected": [], "repeat": false});
    for (name, value) in fields.as_object().expect("fields") {
        answer[name] = value.clone();
    }
    answer
}

#[tokio::test]
async fn a_tag_is_reported_to_its_owner_and_the_rest_is_counted() {
    let server = start().await;
    let mac = json!({"age_ms": 5, "mac": "c6:a5:b9:e0:ad:06", "rssi_dbm": -71});
    let foreign =
        json!({"age_ms": 5, "uuid": "00000000-0000-0000-0000-000000000001", "major": 1, "minor": 1, "rssi_dbm": -50});
    let wrong = json!({"age_ms": 5, "uuid": UUID, "major": 1, "minor": 1, "rssi_dbm": 42});
    let all = [heard(1, 400), heard(2, 5), heard(3, 5), heard(9, 5), mac, foreign, wrong];
    let reply = post(&server, OWN, &report("opera-1", 1, &all)).await;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
    let answer = reply.json();
    assert_eq!((&answer["accepted"], &answer["unknown"], &answer["unlinked"]), (&json!(2), &json!(3), &json!(1)));
    assert_eq!((&answer["rejected"][0]["index"], &answer["rejected"][0]["reason"]), (&json!(6), &json!("invalid")));
    let observed = server.owner.observed.lock().expect("not poisoned").clone();
    let [(shopper, device, observations)] = observed.as_slice() else { panic!("one tag: {observed:?}") };
    assert_eq!((shopper.as_str(), device.as_str()), ("C-1", "tag"));
    let [Observation::Sighting(Sighting { at, observer, count, .. })] = observations.as_slice() else {
        panic!("one sighting: {observations:?}")
    };
    assert_eq!((observer.as_ref().map(|it| it.as_str()), *count), (Some("opera-1"), Some(4)));
    let age = now().since(*at).max(at.since(now()));
    assert!(age < PATIENCE, "reckoned from the time of arrival");
    for (result, count) in [("accepted", 2), ("unknown_beacon", 3), ("unlinked_tag", 1), ("invalid", 1)] {
        let name = format!("parvis_scanner_sightings_total{{result=\"{result}\"}}");
        assert_eq!(server.metric(&name).await, count, "{result}");
    }
    let unknown = get(&server, "/v1/fleet/unknown").await;
    assert_eq!(unknown["items"].as_array().map(Vec::len), Some(1), "people's own devices are not kept: {unknown}");
    assert_eq!((&unknown["items"][0]["minor"], &unknown["items"][0]["scanner"]), (&json!(9), &json!("opera-1")));
}

#[tokio::test]
async fn a_repeat_is_done_once_and_what_is_older_is_refused() {
    let server = start().await;
    let first = report("opera-1", 1, &[heard(1, 5)]);
    assert_eq!(post(&server, OWN, &first).await.json(), nothing_but(&json!({"accepted": 1})));
    assert_eq!(post(&server, OWN, &first).await.json(), nothing_but(&json!({"repeat": true})));
    let mut rebooted = report("opera-1", 1, &[heard(1, 5)]);
    rebooted["boot"] = "b2".into();
    assert_eq!(post(&server, OWN, &rebooted).await.json(), nothing_but(&json!({"accepted": 1})));
    assert_eq!(post(&server, OWN, &first).await.json(), nothing_but(&json!({"repeat": true})), "its answer was lost");
    assert_eq!(
        post(&server, OWN, &report("opera-1", 200, &[])).await.json(),
        nothing_but(&json!({})),
        "kept over the boot"
    );
    let reply = post(&server, OWN, &first).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    reply.problem("replayed");
    assert_eq!(server.owner.observed.lock().expect("not poisoned").len(), 2);
    for (result, count) in [("taken", 3), ("repeat", 2), ("replayed", 1)] {
        let name = format!("parvis_scanner_reports_total{{result=\"{result}\"}}");
        assert_eq!(server.metric(&name).await, count, "{result}");
    }
}

#[tokio::test]
async fn what_was_not_taken_is_taken_when_it_comes_again() {
    let server = start().await;
    let body = report("opera-1", 1, &[heard(1, 5), heard(3, 5)]);
    *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Full);
    let reply = post(&server, OWN, &body).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Unavailable("the disk is full".to_owned()));
    post(&server, OWN, &body).await.problem("unavailable");
    *server.owner.refusal.lock().expect("not poisoned") = None;
    assert_eq!(post(&server, OWN, &body).await.json(), nothing_but(&json!({"accepted": 2})));
}

#[tokio::test]
async fn a_scanner_speaks_for_itself_only() {
    let key = |name: &str| new_key(&Entropy::System, name, BTreeSet::from([Scope::Ingest]));
    let ((scanner, scanner_record), (phone, phone_record)) = (key("one scanner"), key("one phone"));
    let scanner_record = KeyRecord { scanner: Some("opera-1".parse().expect("an id")), ..scanner_record };
    let phone_record = KeyRecord { device: Some("phone".parse().expect("an id")), ..phone_record };
    let keys = vec![scanner_record, phone_record];
    let server = Server::start_with(Wanted { files: files(), keys, ..Wanted::default() }).await;
    let own = report("opera-1", 1, &[heard(3, 5)]).to_string();
    let others = report("rivoli-1", 1, &[heard(3, 5)]).to_string();
    let problem = post_as(&server, &scanner, OWN, others.clone()).await.problem("forbidden");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("opera-1") && detail.contains("rivoli-1"), "{detail}");
    post_as(&server, &phone, OWN, own.clone()).await.problem("forbidden");
    assert_eq!(post_as(&server, &scanner, OWN, own).await.json()["accepted"], 1);
    assert_eq!(post_as(&server, server.key(Scope::Ingest), OWN, others.clone()).await.json()["accepted"], 1);
    post_as(&server, server.key(Scope::Read), OWN, others.clone()).await.problem("forbidden");
    post_as(&server, "parvis_nobody", OWN, others).await.problem("unauthenticated");
    let reply = server.send(
        server.request(Method::GET, "/v1/fleet/scanners").header("authorization", format!("Bearer {scanner}")),
        "",
    );
    reply.await.problem("forbidden");
    let name = "parvis_scanner_reports_total{result=\"not_yours\"}";
    assert_eq!(server.metric(name).await, 1);
}

#[tokio::test]
async fn gateways_are_named_by_their_body_the_query_or_the_key() {
    let key = new_key(&Entropy::System, "ceiling", BTreeSet::from([Scope::Ingest]));
    let record = KeyRecord { scanner: Some("ceiling".parse().expect("an id")), ..key.1 };
    let server = Server::start_with(Wanted { files: files(), keys: vec![record], ..Wanted::default() }).await;
    let sample = include_str!("../../src/ingest/gateway/samples/minew.json");
    let reply = post_as(&server, server.key(Scope::Ingest), "/v1/ingest/scanners/minew", sample).await;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
    assert_eq!((&reply.json()["accepted"], &reply.json()["ignored"]), (&json!(1), &json!(3)));
    let raw = json!([{"mac": "DF51FD4A4CAF", "rssi": -60,
        "data": "0201061aff4c000215f7826da64fa24e988024bc5b71e0893e00010003c5"}]);
    let path = "/v1/ingest/scanners/raw";
    post(&server, path, &raw).await.problem("malformed");
    assert_eq!(
        post(&server, &format!("{path}?scanner=ceiling"), &raw).await.json(),
        nothing_but(&json!({"accepted": 1}))
    );
    assert_eq!(post_as(&server, &key.0, path, raw.to_string()).await.json(), nothing_but(&json!({"accepted": 1})));
    let contradiction = "/v1/ingest/scanners/minew?scanner=ceiling";
    post_as(&server, server.key(Scope::Ingest), contradiction, sample).await.problem("malformed");
    post_as(&server, &key.0, "/v1/ingest/scanners/minew", sample).await.problem("forbidden");
    post(&server, "/v1/ingest/scanners/zigbee", &raw).await.problem("malformed");
    post(&server, &format!("{path}?scaner=ceiling"), &raw).await.problem("malformed");
    post(&server, &format!("{path}?scanner=a%20b"), &raw).await.problem("malformed");
    post(&server, path, &json!("x")).await.problem("malformed");
}

#[tokio::test]
async fn unregistered_scanners_are_refused_shown_and_bounded() {
    let server = start().await;
    let reply = post(&server, OWN, &report("stranger", 1, &[heard(1, 5), heard(9, 5)])).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let problem = reply.problem("unknown_scanner");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("stranger")), "{problem}");
    let listed = get(&server, "/v1/fleet/scanners?state=quarantined").await;
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["store"]), (&json!("stranger"), &json!(null)));
    assert_eq!(get(&server, "/v1/fleet/unknown").await["items"], json!([]), "nothing of it is taken");
    assert_eq!(server.owner.observed.lock().expect("not poisoned").len(), 0);
    for number in 0..1_000 {
        post(&server, OWN, &report(&format!("s{number}"), 1, &[])).await.problem("unknown_scanner");
    }
    let listed = get(&server, "/v1/fleet/scanners?state=quarantined&limit=1000").await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(100));
    assert_eq!(server.metric("parvis_scanners{state=\"quarantined\"}").await, 100);
}

#[tokio::test]
async fn mistakes_are_named_by_their_place() {
    let server = start().await;
    for (field, value) in [
        ("scanner", json!("a b")),
        ("boot", json!("")),
        ("boot", json!("b".repeat(200))),
        ("sent_at", json!("yesterday")),
        ("seq", json!(-1)),
        ("heard", json!([{"age_ms": 5}])),
    ] {
        let mut body = report("opera-1", 1, &[]);
        body[field] = value.clone();
        let problem = post(&server, OWN, &body).await.problem("malformed");
        let pointer = problem["errors"][0]["pointer"].as_str().expect("a place");
        assert!(pointer.starts_with(&format!("/{field}")), "{field}: {problem}");
    }
    post_as(&server, server.key(Scope::Ingest), OWN, "no JSON").await.problem("malformed");
}

#[tokio::test]
async fn bodies_may_be_compressed_and_are_bounded() {
    let server = start().await;
    let body = report("opera-1", 1, &[heard(1, 5)]).to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).expect("memory");
    let zstd = zstd::encode_all(body.as_bytes(), 3).expect("memory");
    for (coding, body, repeat) in [("gzip", gzip.finish().expect("memory"), false), ("zstd", zstd, true)] {
        let request = server.request(Method::POST, OWN).header("authorization", server.bearer(Scope::Ingest));
        let reply = server.send(request.header("content-encoding", coding), body).await;
        assert_eq!(reply.json()["repeat"], repeat, "{coding}");
    }
    let large = Config { body_max: 1_000, ..Config::default() };
    let server = Server::start_with(Wanted { files: files(), config: large, ..Wanted::default() }).await;
    let many: Vec<Value> = (0..100).map(|minor| heard(minor, 5)).collect();
    post(&server, OWN, &report("opera-1", 1, &many)).await.problem("too_large");
}

#[tokio::test]
async fn the_list_of_rejections_is_bounded() {
    let config = Config { listed_max: 3, ..Config::default() };
    let server = Server::start_with(Wanted { files: files(), config, ..Wanted::default() }).await;
    let wrong = json!({"age_ms": 5, "uuid": UUID, "major": 1, "minor": 1, "rssi_dbm": 42});
    let answer = post(&server, OWN, &report("opera-1", 1, &vec![wrong; 10])).await.json();
    assert_eq!((answer["rejected"].as_array().map(Vec::len), &answer["omitted"]), (Some(3), &json!(7)));
}

#[tokio::test]
async fn a_beacon_in_two_shops_at_once_causes_nothing() {
    let server = start().await;
    let mut answers = Vec::new();
    for seq in 1..=3 {
        for scanner in ["opera-1", "rivoli-1"] {
            let both = [heard(1, 5), heard(3, 5)];
            answers.push(post(&server, OWN, &report(scanner, seq, &both)).await.json());
        }
    }
    assert_eq!(answers[..3], vec![nothing_but(&json!({"accepted": 2})); 3]);
    for answer in &answers[3..] {
        assert_eq!(answer["accepted"], 0);
        assert_eq!(answer["rejected"][0]["reason"], "cloned");
    }
    let listed = get(&server, "/v1/fleet/beacons?state=cloned").await;
    let ids: Vec<_> = listed["items"].as_array().expect("a list").iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["shelf", "tag"]);
    assert_eq!(server.metric("parvis_beacons{state=\"cloned\"}").await, 2);
    server.register("phone").await;
    let sighting =
        |minor: u16| json!({"kind": "sighting", "at": NOW, "uuid": UUID, "major": 1, "minor": minor, "rssi_dbm": -60});
    let body = json!({"device": "phone", "observations": [sighting(3), sighting(2)]});
    let answer = post(&server, "/v1/observations", &body).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["reason"]), (&json!(1), &json!("cloned")), "{answer}");
    assert_eq!(answer["rejected"][0]["index"], 0);
}

#[tokio::test]
async fn rotating_identities_are_told_by_the_beacon_behind_them() {
    let server = start().await;
    link(&server, "rotating").await;
    let began: Timestamp = BEGAN.parse().expect("a time");
    let clock_s = u32::try_from(now().since(began).as_secs()).expect("days");
    let eid = ephemeral(&IdentityKey::new([7; 16]), Exponent::try_from(10).expect("an exponent"), clock_s);
    let heard = |eid: String| json!({"age_ms": 5, "eid": eid, "rssi_dbm": -63});
    let both = [heard(eid.to_string()), heard("0011223344556677".to_owned())];
    let answer = post(&server, OWN, &report("opera-1", 1, &both)).await.json();
    assert_eq!(answer, nothing_but(&json!({"accepted": 1, "unknown": 1})));
    // A phone that hears one tells no more of it.
    server.register("phone").await;
    let sighting = json!({"kind": "sighting", "at": now(), "eid": eid.to_string(), "rssi_dbm": -63});
    post(&server, "/v1/observations", &json!({"device": "phone", "observations": [sighting]})).await;
    let observed = server.owner.observed.lock().expect("not poisoned").clone();
    assert_eq!(observed.len(), 2);
    for (_, _, observations) in observed {
        let Observation::Sighting(sighting) = &observations[0] else { panic!("a sighting") };
        assert_eq!(sighting.heard, Heard::Beacon { beacon: "rotating".parse().expect("an id") });
    }
}

#[tokio::test]
async fn the_fleet_is_listed_in_pages() {
    let server = start().await;
    let health = json!({"version": "0.1.0", "uptime_s": 60, "queued": 7, "dropped": 1, "adapters": [
        {"address": "00:1a:7d:da:71:13", "mode": "monitor", "rate_hz": 12.5, "restarts": 0}]});
    let mut body = report("opera-1", 5, &[heard(3, 5)]);
    (body["health"], body["sent_at"]) = (health, "2026-11-21T10:00:30Z".into());
    post(&server, OWN, &body).await;
    post(&server, OWN, &report("opera-1", 8, &[])).await;
    let mut ids = Vec::new();
    let mut path = "/v1/fleet/scanners?limit=3".to_owned();
    loop {
        let page = get(&server, &path).await;
        ids.extend(
            page["items"].as_array().expect("a list").iter().map(|it| it["id"].as_str().expect("an id").to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/fleet/scanners?limit=3&after={next}");
    }
    assert_eq!(ids, ["ac233fc001ea", "ceiling", "opera-1", "rivoli-1"]);
    let listed = get(&server, "/v1/fleet/scanners?store=opera&after=ceiling").await;
    let status = &listed["items"][0];
    assert_eq!((&status["state"], &status["version"], &status["queued"]), (&json!("ok"), &json!("0.1.0"), &json!(7)));
    assert_eq!((&status["missing"], &status["adapters"][0]["mode"]), (&json!(2), &json!("monitor")));
    assert!(status["clock_offset_s"].as_f64().is_some_and(|ahead| ahead > 0.0 && ahead <= 30.0), "{status}");
    let shelf = &get(&server, "/v1/fleet/beacons?state=ok").await["items"][0];
    assert_eq!(
        (&shelf["id"], &shelf["scanner"], &shelf["median_rssi_dbm"]),
        (&json!("shelf"), &json!("opera-1"), &json!(-63.0))
    );
    for path in ["/v1/fleet/beacons?state=lost", "/v1/fleet/scanners?colour=red"] {
        server.call(Scope::Read, Method::GET, path, &json!(null)).await.problem("malformed");
    }
    server.call(Scope::Ingest, Method::GET, "/v1/fleet/beacons", &json!(null)).await.problem("forbidden");
}

#[tokio::test]
async fn changes_are_told_on_the_stream() {
    let server = start().await;
    let request =
        server.request(Method::GET, "/v1/stream?type=scanner.").header("authorization", server.bearer(Scope::Read));
    let mut stream = server.open(request, Full::new(Bytes::new()).boxed()).await;
    assert_eq!(stream.status(), StatusCode::OK);
    post(&server, OWN, &report("stranger", 1, &[])).await;
    let mut text = String::new();
    let read = async {
        while !text.contains("\n\n") {
            let frame = stream.body_mut().frame().await.expect("not the end").expect("a frame");
            text += std::str::from_utf8(&frame.into_data().expect("data")).expect("text");
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("it comes");
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    let event: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&event["type"], &event["subject"]), (&json!("scanner.quarantined"), &json!("stranger")));
    assert_eq!(event["data"], json!({"scanner": "stranger", "from": "ok", "to": "quarantined"}));
}

#[tokio::test]
async fn a_thousand_scanners_report_at_once() {
    let mut files = files();
    let mut beacons = String::new();
    (0..1_000).for_each(|number| beacons += &format!("[[scanner]]\nid = \"s{number}\"\nstore = \"opera\"\n\n"));
    files[1].1 += &format!("\n{beacons}");
    let server = Server::start_with(Wanted { files, inbox: 4_096, ..Wanted::default() }).await;
    link(&server, "tag").await;
    let (server, body) = (&server, [heard(1, 5), heard(3, 5), heard(9, 5)]);
    let body = &body;
    let replies =
        (0..1_000).map(|number| async move { post(server, OWN, &report(&format!("s{number}"), 1, body)).await });
    let replies = futures_util::future::join_all(replies).await;
    assert!(replies.iter().all(|reply| reply.json()["accepted"] == 2));
    let (ok, late) = ("parvis_scanners{state=\"ok\"}", "parvis_scanners{state=\"late\"}");
    assert_eq!(server.metric(ok).await + server.metric(late).await, 1_004);
    assert_eq!(server.owner.observed.lock().expect("not poisoned").len(), 1_000);
    let unknown = get(server, "/v1/fleet/unknown").await;
    assert_eq!((&unknown["items"][0]["count"], unknown["items"].as_array().map(Vec::len)), (&json!(1_000), Some(1)));
}
