//! From the radio in the aisle to the phone: a tag's advertisements on a message bus, the scanner's own program, the
//! daemon, and the push service.

#[path = "../../scanner/tests/rig/mod.rs"]
mod bluez;

use std::{fs, path::PathBuf};

use serde_json::json;

use self::bluez::{APPLE, Agent, Options};
use crate::rig::{self, Rig};

const UUID: [u8; 16] = [0xf7, 0x82, 0x6d, 0xa6, 0x4f, 0xa2, 0x4e, 0x98, 0x80, 0x24, 0xbc, 0x5b, 0x71, 0xe0, 0x89, 0x3e];

/// The scanner's program, which stands beside the daemon's when the whole workspace is built.
fn program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_parvis")).with_file_name("parvis-scanner");
    assert!(program.exists(), "the scanner's program is missing: `cargo build -p parvis-scanner` makes it");
    program
}

#[tokio::test]
async fn an_advertisement_becomes_an_accepted_notification() {
    let rig = Rig::start().await;
    rig.put("/v1/stores/opera", json!({ "name": "Opera", "time_zone": "Europe/Paris" })).await;
    rig.put("/v1/zones/tv", json!({ "store": "opera", "tags": ["screens"], "dwell_s": 2 })).await;
    rig.put("/v1/scanners/opera-3", json!({ "store": "opera", "zone": "tv" })).await;
    let uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
    rig.put("/v1/beacons/cart", json!({ "role": "tag", "uuid": uuid, "major": 7, "minor": 1 })).await;
    let phone = rig.apns();
    rig.put_guest("C-1", "phone", phone.clone()).await;
    rig.put("/v1/beacons/cart/link", json!({ "shopper": "C-1" })).await;
    rig.put("/v1/campaigns/screens", rig::greeting("dwell")).await;

    let mut air = bluez::Rig::start(Options { monitor: true, ..Options::default() });
    fs::write(air.folder().join("key"), rig.new_scanner_key("opera-3").await).expect("the folder is writable");
    let config = air.folder().join("scanner.toml");
    let text = format!(
        r#"
        scanner = {{ id = "opera-3" }}
        server = {{ url = "http://{}/", key_file = "key", retry_min = "50ms", retry_max = "400ms", refused_wait = "200ms" }}
        beacons = {{ uuids = ["{uuid}"] }}
        reports = {{ every = "1s", health_every = "1s" }}
        queue = {{ folder = "queue" }}
        "#,
        rig.address()
    );
    fs::write(&config, text).expect("the folder is writable");
    let agent = Agent::start(&program(), &config, &air);

    let accepted = rig::try_until(async || {
        air.advertise("C6:A5:B9:E0:AD:06", (APPLE, &bluez::ibeacon(UUID, 7, 1)), Some(-58));
        rig.accepted().first().cloned()
    });
    let accepted = accepted.await.unwrap_or_else(|| panic!("nothing was accepted\n{}\n{:?}", agent.log(), rig.log()));
    assert_eq!(phone["token"], accepted.target, "the tag's shopper is told, on the phone");
    let life = rig.ended_lives("C-1", 1).await.remove(0);
    assert_eq!(rig::terminal(&life), ["accepted"]);
    let held = rig.get("/v1/shoppers/C-1").await;
    let told: Vec<_> = rig::rows(&held, "transition");
    assert_eq!(told.len(), 2, "in, and stayed: {told:?}");
    let scanners = rig.get("/v1/fleet/scanners").await;
    assert_eq!(scanners["items"][0]["state"], "ok", "{scanners}");
    assert!(agent.terminate().success());
}
