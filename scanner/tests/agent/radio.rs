//! From the air to reports.

use std::time::Duration;

use parvis_beacons::Identity;

use crate::{
    rig::{APPLE, HCI0, HCI1, Options, ibeacon},
    scene::{Scene, TAG, UUID, identity, minor},
};

const WITH_MONITOR: Options = Options { monitor: true, after_5_87: false, two_adapters: false };

#[tokio::test]
async fn an_advertisement_becomes_a_report() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    let heard = scene.is_heard(1).await;
    assert_eq!((heard.rssi_dbm, heard.measured_power_dbm), (-63.0, Some(-59.0)));
    assert!(heard.age_ms < 60_000);
    let report = scene.book.reports().pop().expect("one");
    assert_eq!((report.scanner.as_str(), scene.book.last_key().as_deref()), ("opera-3", Some("Bearer the-key")));
    let sent_at: Option<jiff::Timestamp> = report.sent_at.and_then(|text| text.parse().ok());
    assert!(sent_at.is_some());
    let health = scene.until("health", |scene| scene.book.reports().into_iter().rev().find_map(|report| report.health));
    let health = health.await;
    assert_eq!(health.version, env!("CARGO_PKG_VERSION"));
    let filter = scene.rig.stats("hci0")["filters"][0].clone();
    assert_eq!((&filter["RSSI"], &filter["Transport"]), (&"-127".into(), &"le".into()));
}

#[tokio::test]
async fn only_named_beacons_leave_the_host() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    let stranger = ibeacon([0xee; 16], 7, 99);
    let nearby = [0x10, 0x06, 0x1f, 0x19, 0x78, 0xd8];
    let cut = &ibeacon(UUID, 7, 98)[..20];
    scene
        .until("all are on the air", |scene| {
            let told = scene.rig.advertise(TAG, (APPLE, &stranger), Some(-50));
            (told
                && scene.rig.advertise(TAG, (APPLE, &nearby), Some(-50))
                && scene.rig.advertise(TAG, (APPLE, cut), Some(-50)))
            .then_some(())
        })
        .await;
    scene.is_heard(1).await;
    assert!(scene.book.heard().iter().all(|heard| heard.identity == identity(1)));
}

#[tokio::test]
async fn strengths_that_are_missing_or_absurd_are_not_told() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    for rssi in [None, Some(127), Some(42), Some(0), Some(-120)] {
        let told = |scene: &mut Scene| scene.rig.advertise(TAG, (APPLE, &ibeacon(UUID, 7, 99)), rssi).then_some(());
        scene.until("it is on the air", told).await;
    }
    scene.is_heard(1).await;
    assert!(scene.book.heard().iter().all(|heard| minor(heard) == 1));
}

#[tokio::test]
async fn a_battery_is_told_with_the_beacon_of_the_same_address() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    let telemetry = [0x20, 0, 0x0b, 0x54, 0x15, 0, 0, 0, 0, 9, 0, 0, 0, 9];
    let volts = scene
        .until("a battery", |scene| {
            scene.rig.advertise_eddystone(TAG, &telemetry, -60);
            scene.rig.advertise(TAG, (APPLE, &ibeacon(UUID, 7, 1)), Some(-63));
            scene.book.heard().into_iter().find_map(|heard| heard.battery_v)
        })
        .await;
    assert!((volts - 2.9).abs() < 1e-9);
}

#[tokio::test]
async fn eddystones_are_told_by_namespace() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.agent = None;
    let config = scene.rig.folder().join("scanner.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, text.replace("[beacons]", "[beacons]\nnamespaces = [\"00112233445566778899\"]"))
        .expect("written");
    scene.start_agent();
    let ours = [0x00, 0xe7, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 10, 11, 12, 13, 14, 15, 0, 0];
    let heard = scene
        .until("an Eddystone", |scene| {
            scene.rig.advertise_eddystone(TAG, &ours, -66);
            scene.book.heard().into_iter().next()
        })
        .await;
    assert!(matches!(heard.identity, Identity::Eddystone { .. }));
    assert_eq!((heard.rssi_dbm, heard.measured_power_dbm), (-66.0, Some(-66.0)));
}

/// After 5.87 BlueZ tells a strength only if it changed by 8 dB, unless somebody's filter names a strength.
#[tokio::test]
async fn every_strength_is_told_also_by_later_versions_of_bluez() {
    let mut scene = Scene::start(Options { after_5_87: true, ..Options::default() }, "", "").await;
    scene.is_heard(1).await;
    for step in 0..6_i16 {
        let rssi_dbm = -70 + step;
        let told = |scene: &mut Scene| {
            scene.advertise(1, rssi_dbm);
            scene.book.heard().into_iter().rev().find(|heard| (heard.rssi_dbm - f64::from(rssi_dbm)).abs() < 0.1)
        };
        scene.until("the new strength", told).await;
    }
}

#[tokio::test]
async fn a_monitor_keeps_the_filter_of_duplicates_off() {
    let mut scene = Scene::start(WITH_MONITOR, "", "").await;
    scene.rig.filter_duplicates(true);
    scene.is_heard(1).await;
    let registered = |scene: &mut Scene| {
        let monitors = scene.rig.stats("hci0")["monitors"][0].clone();
        monitors.as_array().is_some_and(|patterns| !patterns.is_empty()).then_some(monitors)
    };
    let patterns = scene.until("a monitor", registered).await;
    assert_eq!(patterns, serde_json::json!([[0, 0xff, "4c000215"], [0, 0x16, "aafe"]]));
    assert!(scene.advertise(1, -63) && scene.advertise(1, -63), "duplicates pass");
    let mode = |scene: &mut Scene| {
        let health = scene.book.reports().into_iter().rev().find_map(|report| report.health)?;
        health.adapters.into_iter().find(|adapter| adapter.mode == "monitor")
    };
    let adapter = scene.until("the mode", mode).await;
    assert_eq!(adapter.address, HCI0.parse().expect("an address"));
}

#[tokio::test]
async fn a_radio_that_filters_duplicates_is_cycled() {
    let mut scene = Scene::start(Options::default(), "judge_after = \"4s\"\ncycle = \"300ms\"", "").await;
    scene.rig.filter_duplicates(true);
    scene.is_heard(1).await;
    // The controller's silence about what it told once is broken now and then, as the kernel does every ten seconds.
    let mut attempts = 0;
    let cycling = |scene: &mut Scene| {
        attempts += 1;
        if attempts % 100 == 0 {
            scene.rig.filter_duplicates(false);
            scene.advertise(1, -63);
            scene.rig.filter_duplicates(true);
        }
        let health = scene.book.reports().into_iter().rev().find_map(|report| report.health)?;
        health.adapters.into_iter().find(|adapter| adapter.mode == "cycling")
    };
    let adapter = scene.until("cycling", cycling).await;
    assert!(adapter.reference_rate_hz.is_some(), "{adapter:?}");
    assert!(scene.agent().log().contains("hears its reference too seldom"));
    let before = scene.book.heard().len();
    let more = |scene: &mut Scene| {
        scene.advertise(1, -63);
        (scene.book.heard().len() >= before + 4).then_some(())
    };
    scene.until("advertisements in each cycle", more).await;
    assert!(scene.rig.stats("hci0")["stop"].as_u64() > Some(3));
}

#[tokio::test]
async fn adapters_are_chosen_by_their_addresses() {
    let two = Options { two_adapters: true, ..Options::default() };
    let mut scene = Scene::start(two, &format!("adapters = [\"{HCI1}\"]"), "").await;
    let tag = ibeacon(UUID, 7, 1);
    let heard = |scene: &mut Scene| {
        scene.rig.advertise_to("hci1", TAG, (APPLE, &tag), Some(-63));
        scene.book.heard().into_iter().next()
    };
    scene.until("hci1 hears", heard).await;
    assert!(!scene.rig.advertise(TAG, (APPLE, &tag), Some(-63)), "hci0 does not scan");
    assert_eq!(scene.rig.stats("hci0")["start"], 0);
}

#[tokio::test]
async fn all_adapters_are_used_if_none_is_named() {
    let mut scene = Scene::start(Options { two_adapters: true, ..Options::default() }, "", "").await;
    for (adapter, minor) in [("hci0", 1), ("hci1", 2)] {
        let heard = |scene: &mut Scene| {
            scene.rig.advertise_to(adapter, TAG, (APPLE, &ibeacon(UUID, 7, minor)), Some(-63));
            scene.book.heard().into_iter().find(|heard| heard.identity == identity(minor))
        };
        scene.until(adapter, heard).await;
    }
}

#[tokio::test]
async fn a_probe_tells_what_the_radios_are() {
    let mut scene = Scene::start(WITH_MONITOR, "", "").await;
    scene.agent = None;
    scene.rig.storm("f7826da64fa24e988024bc5b71e0893e", 5, 100);
    let probed = tokio::process::Command::new(env!("CARGO_BIN_EXE_parvis-scanner"))
        .args(["probe", "--seconds", "3", "--config"])
        .arg(scene.rig.folder().join("scanner.toml"))
        .env("DBUS_SYSTEM_BUS_ADDRESS", scene.rig.bus_address())
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), probed).await.expect("it ends").expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("00:1a:7d:da:71:13 is hci0, powered on; BlueZ 5.66"), "{text}");
    assert!(text.contains("scans as \"monitor\", advertisement monitor registered"), "{text}");
    assert!(!text.contains("\n0 advertisements"), "{text}");
}
