//! The command line.

use std::{fs, path::Path, process::Stdio};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::rig::{self, Rig, ago, new_key, north, parvis, run, text};

const BROKEN_CAMPAIGNS: &str = r#"
[[campaign]]
id = "one"
purpose = "offer"
on = { transition = "teleport" }
[campaign.content.en]
title = "x"
body = "y"

[[campaign]]
id = "two"
purpose = "offer"
on = { transition = "enter", tags = ["nowhere"] }
[campaign.content.en]
title = "x"
body = "y"

[[campaign]]
id = "three"
purpose = "offer"
on = { transition = "enter" }
[campaign.content.en]
title = "{{ nothing }}"
body = "y"
"#;

fn path(folder: &Path) -> &str {
    folder.to_str().expect("plain letters")
}

fn file(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn check_names_every_problem_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("parvis.toml"), "[http]\nlisten = 7\n\n[lanes]\nwindow = 0\n").expect("writable");
    fs::write(folder.path().join("campaigns.toml"), BROKEN_CAMPAIGNS).expect("writable");
    let output = run(&["check", "--config", path(folder.path())]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    for place in ["parvis.toml:2", "parvis.toml:5", "campaigns.toml:5", "campaigns.toml:13", "campaigns.toml:23"] {
        assert!(told.contains(place), "{place} is missing in {told}");
    }
    for config in ["config", "config/demo"] {
        let output = run(&["check", "--config", &file(config)]).await;
        assert_eq!(output.status.code(), Some(0), "{config}: {}", text(&output.stdout));
    }
}

#[tokio::test]
async fn serve_does_not_start_on_what_is_wrong() {
    let mut rig = Rig::prepare(&[], &[]).await;
    rig.set("lanes.window", "0");
    rig.set("shards.count", "0");
    rig.set("http.colour", "red");
    let output = rig.serve_in_vain().await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    for name in ["lanes.window", "shards.count", "http.colour"] {
        assert!(told.contains(name), "{name} is missing in {told}");
    }
    let rig = Rig::prepare(&[("campaigns.toml", BROKEN_CAMPAIGNS)], &[]).await;
    let output = rig.serve_in_vain().await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    for place in ["campaigns.toml:5", "campaigns.toml:13", "campaigns.toml:23"] {
        assert!(told.contains(place), "{place} is missing in {told}");
    }
}

#[tokio::test]
async fn a_store_has_one_daemon() {
    let mut rig = Rig::start().await;
    let output = rig.serve_in_vain().await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("parvis.redb") && told.contains("another process"), "{told}");
    rig.get("/readyz").await;
    rig.stop().await;
    rig.boot().await;
}

#[tokio::test]
async fn keys_are_listed_without_the_keys() {
    let rig = Rig::prepare(&[], &[]).await;
    let config = path(rig.folder.path());
    let key = new_key(rig.folder.path(), "till", "orders,read").await;
    let output = run(&["keys", "list", "--config", config]).await;
    assert_eq!(text(&output.stdout), "tests admin\ntill orders,read\n");
    let kept = fs::read_to_string(rig.folder.path().join("keys.toml")).expect("it is there");
    assert!(!kept.contains(&key) && !kept.contains(&rig.key));
    let output = run(&["keys", "new", "--name", "till", "--scope", "read", "--config", config]).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let output = run(&["keys", "new", "--name", "other", "--scope", "everything", "--config", config]).await;
    assert!(!output.status.success() && text(&output.stderr).contains("everything"));
}

#[tokio::test]
async fn explain_says_what_every_gate_saw() {
    let rig = Rig::start().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let key_file = rig.folder.path().join("key");
    fs::write(&key_file, format!("{}\n", rig.key)).expect("writable");
    let url = format!("http://{}", rig.address());
    let asked = ["explain", "--url", &url, "--key-file", path(&key_file), "--shopper", "C-1", "--campaign", "hello"];
    let happening = ["--transition", r#"{"transition":"enter","region":"shop"}"#];
    let output = run(&[&asked[..], &happening[..]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["verdict"]["verdict"], "send");
    assert_eq!(answer["gates"].as_array().map(Vec::len), Some(parvis_engine::gates::GATES.len()));
    let nobody = ["explain", "--url", &url, "--key-file", path(&key_file), "--shopper", "C-9", "--campaign", "hello"];
    let output = run(&[&nobody[..], &happening[..]].concat()).await;
    assert!(!output.status.success() && text(&output.stderr).contains("404"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn replay_tells_what_the_daemon_told() {
    let rig = Rig::start().await;
    let shop = rig::circle(rig::SHOP, 100.0, json!({}));
    let mut feature = shop.clone();
    feature["id"] = "shop".into();
    rig.put("/v1/geofences/shop", shop).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let collection = json!({ "type": "FeatureCollection", "features": [feature] });
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("geofences.geojson"), collection.to_string()).expect("writable");
    let mut lines = String::new();
    let mut told = Vec::new();
    for (seconds_ago, north_m) in [(500, 400.0), (400, 20.0), (350, 0.0), (300, 250.0), (200, -90.0), (100, -300.0)] {
        let mut report = rig::report("phone", ago(seconds_ago), north(north_m));
        let answer = rig.post("/v1/observations", report.clone()).await;
        told.extend(rig::names(&answer["transitions"]));
        report["observations"][0]["device"] = "phone".into();
        lines.push_str(&format!("{}\n", report["observations"][0]));
    }
    let recorded = folder.path().join("day.ndjson");
    fs::write(&recorded, lines).expect("writable");
    let replay = ["replay", "--config", path(folder.path()), "--observations", path(&recorded)];
    let (first, second) = (run(&replay).await, run(&replay).await);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(first.stdout, second.stdout, "the same input gives the same bytes");
    let lines: Vec<Value> = text(&first.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rig::names(&json!(lines)), told);
    assert_eq!(told, ["enter shop", "exit shop", "enter shop", "exit shop"]);
}

#[tokio::test]
async fn the_sandbox_alone_serves_a_daemon() {
    let mut rig = Rig::prepare(&[], &[]).await;
    let folder = rig.folder.path().to_owned();
    let mut child = parvis(&["sandbox", "--port-base", "0", "--dir", path(&folder)])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut control = String::new();
    while let Some(line) = lines.next_line().await.expect("text") {
        if let Some(url) = line.strip_prefix("received messages") {
            url.trim().clone_into(&mut control);
        }
        if line.contains("ctrl-c") {
            break;
        }
    }
    fs::rename(folder.join("delivery.toml"), folder.join("parvis.toml")).expect("what it wrote");
    rig.boot().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    let sandbox = rig.caller().at(&control);
    for channel in ["apns", "fcm", "webpush"] {
        let wanted = json!({ "channel": channel, "topic": "com.example.shop" });
        let wanted = if channel == "apns" { wanted } else { json!({ "channel": channel }) };
        let target = sandbox.call(Method::POST, "/sandbox/targets", &wanted).await.expect("an answer");
        assert_eq!(target.status, StatusCode::CREATED, "{target:?}");
        rig.put_guest(channel, &format!("{channel}-phone"), target.json()).await;
        assert_eq!(rig.ping(&format!("{channel}-phone"), ago(5), north(0.0)).await, ["enter shop"]);
        assert_eq!(rig::terminal(&rig.ended_lives(channel, 1).await[0]), ["accepted"], "{channel}");
    }
}

#[tokio::test]
async fn the_demonstration_ends_well() {
    let output = run(&["demo", "--once", "--speed", "60"]).await;
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    assert!(told.contains("10 messages accepted, 10 expected."), "{told}");
}
