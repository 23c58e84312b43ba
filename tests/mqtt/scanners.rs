//! Scanners over a broker: every format, each scanner for itself, and a tag that is carried to a shelf.

use parvis_engine::time::Timestamp;
use serde_json::{Value, json};

use crate::{
    broker::Broker,
    listening, messages, prepared,
    rig::{Rig, ago, greeting, now, until},
};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
/// The tag's advertisement: an iBeacon with that UUID, major 1 and minor 1.
const ADVERTISEMENT: &str = "0201061aff4c000215f7826da64fa24e988024bc5b71e0893e00010001c5";

/// Where each format is published, with the subscription.
const FEEDS: [(&str, &str); 6] = [
    ("theengs", "home/+/BTtoMQTT/+"),
    ("minew", "gw/+/status"),
    ("ruuvi", "ruuvi/#"),
    ("espresense", "espresense/devices/#"),
    ("raw", "air/+"),
    ("parvis", "scanners/+"),
];

fn connection(broker: &Broker) -> String {
    let head = format!(
        "\n[[mqtt.connection]]\nurl = \"mqtt://127.0.0.1:{}\"\nclient_id = \"node\"\nbackoff_min = \"50ms\"\n",
        broker.port
    );
    let feed = |(format, topic): (&str, &str)| {
        format!("[[mqtt.connection.subscription]]\ntopic = \"{topic}\"\nformat = \"{format}\"\n")
    };
    head + &FEEDS.map(feed).concat()
}

/// A shop with two scanners at a shelf, and a tag that a shopper with a phone carries.
async fn open(broker: &Broker) -> Rig {
    let mut rig = prepared(&connection(broker), &[]).await;
    let stores = "[[store]]\nid = \"opera\"\nname = \"Opera\"\ntime_zone = \"Europe/Paris\"\n";
    let mut beacons = "[[zone]]\nid = \"shelf\"\nstore = \"opera\"\ndwell_s = 5\n\n".to_owned();
    for scanner in ["door", "ac233fc001ea", "c8252d8e9c2c"] {
        beacons += &format!("[[scanner]]\nid = \"{scanner}\"\nstore = \"opera\"\nzone = \"shelf\"\n\n");
    }
    beacons += &format!("[[beacon]]\nid = \"tag\"\nrole = \"tag\"\nuuid = \"{UUID}\"\nmajor = 1\nminor = 1\n");
    for (name, text) in [("stores.toml", stores), ("beacons.toml", beacons.as_str())] {
        std::fs::write(rig.folder.path().join(name), text).expect("the folder is writable");
    }
    rig.boot().await;
    rig.put("/v1/campaigns/hello", greeting("dwell")).await;
    rig.put_guest("C-0", "phone", rig.fcm()).await;
    rig.put("/v1/beacons/tag/link", json!({ "shopper": "C-0" })).await;
    listening(&rig).await;
    rig
}

async fn sightings(rig: &Rig, result: &str) -> f64 {
    rig.metric(&format!("parvis_scanner_sightings_total{{result=\"{result}\"}}")).await
}

async fn until_done(rig: &Rig, format: &str, result: &str, count: f64) {
    let done = async || (messages(rig, format, result).await == count).then_some(());
    until(&format!("{count} messages of {format} {result}"), done).await;
}

fn report(scanner: &str, seq: u64) -> Value {
    let heard = json!({ "age_ms": 5, "uuid": UUID, "major": 1, "minor": 1, "rssi_dbm": -63, "count": 1 });
    json!({ "scanner": scanner, "boot": "b1", "seq": seq, "heard": [heard] })
}

fn advertised(at: Timestamp) -> Value {
    json!({ "mac": "C6:A5:B9:E0:AD:06", "rssi": -60, "data": ADVERTISEMENT, "ts": at.as_millis() })
}

#[tokio::test]
async fn every_format_is_taken_and_acknowledged() {
    let broker = Broker::start().await;
    let rig = open(&broker).await;
    let theengs = json!({ "id": "60:87:57:4C:9B:C2", "rssi": -60, "model_id": "IBEACON",
        "uuid": UUID.replace('-', ""), "major": 1, "minor": 1, "txpower": -59 });
    let minew = json!([{ "timestamp": now(), "type": "Gateway", "mac": "AC233FC001EA" },
        { "timestamp": now(), "type": "Unknown", "mac": "C6A5B9E0AD06", "rssi": -60, "rawData": ADVERTISEMENT }]);
    let ruuvi = json!({ "gw_mac": "C8:25:2D:8E:9C:2C", "rssi": -60, "data": ADVERTISEMENT,
        "ts": (now().as_millis() / 1_000).to_string() });
    let espresense = json!({ "mac": "c6a5b9e0ad06", "id": format!("iBeacon:{UUID}-1-1"), "rssi": -60.5 });
    let all = [
        ("home/door/BTtoMQTT/6087574C9BC2", theengs),
        ("gw/ac233fc001ea/status", minew),
        ("ruuvi/C8:25:2D:8E:9C:2C/C6:A5:B9:E0:AD:06", ruuvi),
        ("espresense/devices/iBeacon:x/door", espresense),
        ("air/door", json!([advertised(now())])),
        ("scanners/door", report("door", 1)),
    ];
    for (count, ((topic, message), (format, _))) in (1..).zip(all.into_iter().zip(FEEDS)) {
        broker.publish(topic, &message.to_string()).await;
        until_done(&rig, format, "taken", 1.0).await;
        assert_eq!(sightings(&rig, "accepted").await, f64::from(count), "{format}");
    }
}

#[tokio::test]
async fn a_tag_that_stays_at_a_shelf_becomes_an_accepted_push() {
    let broker = Broker::start().await;
    let rig = open(&broker).await;
    let heard: Vec<Value> = (0..15).rev().map(|seconds| advertised(ago(seconds))).collect();
    broker.publish("air/door", &Value::from(heard).to_string()).await;
    let lives = rig.ended_lives("C-0", 1).await;
    assert_eq!(crate::life::terminal(&lives[0]), ["accepted"]);
    assert_eq!(rig.accepted().len(), 1);
}

#[tokio::test]
async fn a_scanner_speaks_under_its_own_topic_only() {
    let broker = Broker::start().await;
    let rig = open(&broker).await;
    broker.publish("scanners/ac233fc001ea", &report("door", 1).to_string()).await;
    broker.publish("scanners/stranger", &report("stranger", 1).to_string()).await;
    until_done(&rig, "parvis", "rejected", 2.0).await;
    broker.publish("scanners/door", "nonsense").await;
    until_done(&rig, "parvis", "unreadable", 1.0).await;
    for result in ["not_yours", "unknown_scanner"] {
        assert_eq!(rig.metric(&format!("parvis_scanner_reports_total{{result=\"{result}\"}}")).await, 1.0, "{result}");
    }
    assert_eq!(sightings(&rig, "accepted").await, 0.0);
}

#[tokio::test]
async fn what_does_not_tell_its_age_is_never_news_of_the_past() {
    let broker = Broker::start().await;
    broker.publish_as("scanners/door", &report("door", 1).to_string(), &["-r"]).await;
    let mut rig = open(&broker).await;
    until_done(&rig, "parvis", "retained", 1.0).await;
    rig.stop().await;
    broker.publish("scanners/door", &report("door", 2).to_string()).await;
    rig.boot().await;
    listening(&rig).await;
    broker.publish("scanners/door", &report("door", 3).to_string()).await;
    until_done(&rig, "parvis", "taken", 1.0).await;
    assert_eq!(sightings(&rig, "accepted").await, 1.0, "what waited for the node was not kept");
}
