//! Messages of a real broker: the real binary listens to mosquitto, and providers behind TLS get what comes of it.
//!
//! Nothing here reaches into the daemon. What it did is seen through its API, its metrics and what the providers
//! received.

#![allow(clippy::print_stderr, reason = "figures are told to whoever runs the tests")]

mod broker;
#[allow(dead_code, reason = "shared with the black-box tests, which need more of it")]
#[path = "../blackbox/caller.rs"]
mod caller;
mod faults;
#[allow(dead_code, reason = "shared with the black-box tests, which need more of it")]
#[path = "../blackbox/life.rs"]
mod life;
mod load;
mod phones;
#[allow(dead_code, unused_imports, reason = "shared with the black-box tests, which need more of it")]
#[path = "../blackbox/rig.rs"]
mod rig;
mod scanners;
mod security;

use std::{fs::OpenOptions, io::Write};

use parvis_engine::time::Timestamp;
use serde_json::{Value, json};

use broker::Broker;
use rig::{Rig, SHOP, greeting, north, until};

/// The brokers of the daemon, as `[[mqtt.connection]]` says them.
fn connection(broker: &Broker, lines: &str) -> String {
    format!(
        "\n[[mqtt.connection]]\nurl = \"mqtt://127.0.0.1:{}\"\nclient_id = \"node\"\nkeep_alive = \"4s\"\n\
         backoff_min = \"50ms\"\nbackoff_max = \"200ms\"\n{lines}\n\
         [[mqtt.connection.subscription]]\ntopic = \"owntracks/#\"\nformat = \"owntracks\"\n",
        broker.port
    )
}

/// A daemon that is configured but not running.
async fn prepared(configuration: &str, settings: &[(&str, &str)]) -> Rig {
    let rig = Rig::prepare(&[], settings).await;
    let file = OpenOptions::new().append(true).open(rig.folder.path().join("parvis.toml"));
    file.expect("it is there").write_all(configuration.as_bytes()).expect("it is writable");
    rig
}

/// A running daemon with a shop that greets whoever enters, listening.
async fn open(configuration: &str) -> Rig {
    let mut rig = prepared(configuration, &[]).await;
    rig.boot().await;
    furnish(&rig).await;
    listening(&rig).await;
    rig
}

async fn furnish(rig: &Rig) {
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", greeting("enter")).await;
}

/// The phones `jane:phone-0` and so on, each of a shopper of their own, outside the shop.
async fn put_guests(rig: &Rig, count: usize) {
    for number in 0..count {
        let target = rig.fcm();
        rig.put_guest(&format!("C-{number}"), &format!("jane:phone-{number}"), target).await;
    }
}

async fn listening(rig: &Rig) {
    until("the daemon to listen", async || (connected(rig).await == 1.0).then_some(())).await;
}

async fn connected(rig: &Rig) -> f64 {
    rig.metric("parvis_mqtt_connected{client_id=\"node\"}").await
}

/// How many messages in OwnTracks' format came to this.
async fn became(rig: &Rig, result: &str) -> f64 {
    messages(rig, "owntracks", result).await
}

async fn messages(rig: &Rig, format: &str, result: &str) -> f64 {
    rig.metric(&format!("parvis_mqtt_messages_total{{format=\"{format}\",result=\"{result}\"}}")).await
}

async fn until_became(rig: &Rig, result: &str, count: f64) {
    until(&format!("{count} messages {result}"), async || (became(rig, result).await >= count).then_some(())).await;
    assert_eq!(became(rig, result).await, count);
}

fn location(at: Timestamp, (lat, lon): (f64, f64)) -> String {
    json!({ "_type": "location", "tst": at.as_millis() / 1_000, "lat": lat, "lon": lon, "acc": 5 }).to_string()
}

fn inside(at: Timestamp) -> String {
    location(at, SHOP)
}

fn outside(at: Timestamp) -> String {
    location(at, north(1_000.0))
}

fn phone(number: usize) -> String {
    format!("owntracks/jane/phone-{number}")
}

/// Each of these people has been told once, and no provider took anything twice.
async fn told_once(rig: &Rig, guests: std::ops::Range<usize>) {
    for number in guests.clone() {
        let lives: Vec<Value> = rig.ended_lives(&format!("C-{number}"), 1).await;
        assert_eq!(life::terminal(&lives[0]), ["accepted"], "{}", lives[0]);
    }
    assert_eq!(rig.accepted().len(), guests.len());
}
