//! Scanners that hear a carried tag, from the report to the zone, and the fleet as an operator sees it.

use std::fs;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Rig, run, text};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

fn report(scanner: &str, seq: u64, rssi_dbm: f64) -> Value {
    let heard = (0..10_u64).rev().map(|second| {
        json!({"age_ms": second * 1_000, "uuid": UUID, "major": 1, "minor": 7, "rssi_dbm": rssi_dbm, "count": 3})
    });
    json!({"scanner": scanner, "boot": "b1", "seq": seq, "heard": heard.collect::<Vec<_>>()})
}

/// Which zones a shopper is told to have entered.
async fn entered(rig: &Rig, shopper: &str) -> Vec<String> {
    let held = rig.get(&format!("/v1/shoppers/{shopper}")).await;
    let journal = held["journal"].as_array().expect("a journal").iter().map(|row| &row["data"]);
    let entered = journal.filter(|data| data["transition"] == "enter");
    entered.map(|data| data["region"].as_str().expect("a region").to_owned()).collect()
}

#[tokio::test]
async fn a_tag_that_is_heard_is_in_its_zone_even_after_a_crash() {
    let mut rig = Rig::start().await;
    rig.put("/v1/stores/opera", json!({"name": "Opera", "time_zone": "Europe/Paris"})).await;
    for aisle in ["tv", "radio"] {
        rig.put(&format!("/v1/zones/{aisle}"), json!({"store": "opera"})).await;
        rig.put(&format!("/v1/scanners/over-{aisle}"), json!({"store": "opera", "zone": aisle})).await;
    }
    rig.put("/v1/beacons/cart", json!({"role": "tag", "uuid": UUID, "major": 1, "minor": 7})).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let path = "/v1/ingest/scanners/parvis";
    assert_eq!(rig.post(path, report("over-tv", 1, -60.0)).await["unlinked"], 10);
    rig.put("/v1/beacons/cart/link", json!({"shopper": "C-1"})).await;
    let (near, far) = (report("over-tv", 2, -60.0), report("over-radio", 1, -80.0));
    assert_eq!(rig.post(path, far).await["accepted"], 10);
    assert_eq!(rig.post(path, near.clone()).await["accepted"], 10);
    assert_eq!(rig.post(path, near.clone()).await["repeat"], true);
    assert_eq!(entered(&rig, "C-1").await.last().map(String::as_str), Some("tv"));
    let before = entered(&rig, "C-1").await;
    rig.kill().await;
    rig.boot().await;
    assert_eq!(entered(&rig, "C-1").await, before, "what was answered is there");
    let again = rig.call(Method::POST, path, &near).await;
    assert_eq!(again.status, StatusCode::OK, "a repeat that is no longer known as one does no harm");
    assert_eq!(entered(&rig, "C-1").await, before);
}

#[tokio::test]
async fn the_fleet_is_a_table() {
    let rig = Rig::start().await;
    rig.put("/v1/stores/opera", json!({"name": "Opera", "time_zone": "Europe/Paris"})).await;
    rig.put("/v1/scanners/over-tv", json!({"store": "opera"})).await;
    rig.put("/v1/beacons/shelf", json!({"store": "opera", "uuid": UUID, "major": 1, "minor": 7})).await;
    rig.post("/v1/ingest/scanners/parvis", report("over-tv", 1, -60.0)).await;
    let stranger = rig.call(Method::POST, "/v1/ingest/scanners/parvis", &report("stranger", 1, -60.0)).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    let key_file = rig.folder.path().join("key");
    fs::write(&key_file, format!("{}\n", rig.key)).expect("writable");
    let (url, key_file) = (format!("http://{}", rig.address()), key_file.to_str().expect("plain letters").to_owned());
    let table = async |more: &[&str]| {
        let output = run(&[&["fleet"], more, &["--url", &url, "--key-file", &key_file]].concat()).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
        lines.into_iter().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let scanners = table(&[]).await;
    assert_eq!(scanners[0][..4], ["id", "store", "zone", "state"]);
    assert_eq!(
        (&scanners[1][..2], &scanners[2][..4]),
        (&["over-tv", "opera"].map(str::to_owned)[..], &["stranger", "-", "-", "quarantined"].map(str::to_owned)[..])
    );
    assert_eq!(table(&["scanners", "--state", "quarantined"]).await.len(), 2);
    let beacons = table(&["beacons", "--store", "opera"]).await;
    assert_eq!(beacons[1][..2], ["shelf", "fixed"]);
    assert_eq!(table(&["unknown"]).await.len(), 1, "only the heading");
    let output = run(&["fleet", "--state", "lost", "--url", &url, "--key-file", &key_file]).await;
    assert!(!output.status.success() && text(&output.stderr).contains("400"), "{}", text(&output.stderr));
}
