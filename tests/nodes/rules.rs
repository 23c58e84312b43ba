//! The rules of one shopper and of one campaign hold however the pings are spread over the nodes.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::Method;
use parvis_engine::time::Timestamp;
use serde_json::{Value, json};

use crate::{
    nodes::{Nodes, on_server, rounds},
    rig::{self, Rig, circle, north},
    server::Server,
};

const DEVICES: usize = 4;
const CAPPED: &str = "[{ count = 3, per = \"24h\" }]";
const QUIET: &str = "{ from = \"00:00\", to = \"06:00\", action = \"drop\" }";

/// A time zone in which it is about this hour now.
fn zone_at(hour: i64) -> String {
    let now = i64::try_from(rig::now().since(Timestamp::from_millis(0)).as_secs() / 3_600).expect("small") % 24;
    let ahead = (hour - now + 12).rem_euclid(24) - 12;
    // In these names what lies ahead of Greenwich has a minus.
    if ahead > 0 { format!("Etc/GMT-{ahead}") } else { format!("Etc/GMT+{}", -ahead) }
}

async fn guest(rig: &Rig, shopper: &str, zone: &str, devices: usize) {
    let mut profile = rig::profile("en-GB");
    profile["time_zone"] = zone.into();
    rig.put(&format!("/v1/shoppers/{shopper}"), profile).await;
    for device in 0..devices {
        let body = json!({ "shopper": shopper, "platform": "ios", "target": rig.apns() });
        rig.put(&format!("/v1/devices/{shopper}-{device}"), body).await;
    }
}

/// All devices of a shopper report the same at the same moment, each to another node.
async fn all_report(nodes: &Nodes, shopper: &str, observation: Value) {
    let report = async |device: usize| {
        let body = json!({ "device": format!("{shopper}-{device}"), "observations": [observation] });
        let answer = nodes.must(device % nodes.count(), Method::POST, "/v1/observations", &body).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
    };
    join_all((0..DEVICES).map(report)).await;
}

fn fix((lat, lon): (f64, f64)) -> Value {
    json!({ "kind": "fix", "at": rig::now(), "lat": lat, "lon": lon, "accuracy_m": 5.0 })
}

fn offer(on: Value, more: Value) -> Value {
    let mut offer =
        json!({ "purpose": "offer", "on": on, "content": { "en": { "title": "Hello", "body": "Come in." } } });
    offer.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    offer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caps_and_quiet_hours_are_the_shoppers_on_all_nodes() {
    let server = Server::start(&[]).await;
    let settings = [("engine.marketing.caps", CAPPED), ("engine.marketing.quiet_hours", QUIET)];
    let nodes = Nodes::start(on_server(&server, 3), &settings).await;
    let rig = &nodes.rig;
    for fence in 0..6 {
        rig.put(&format!("/v1/geofences/hall-{fence}"), circle(rig::SHOP, 100.0, json!({}))).await;
        let on = json!({ "transition": "enter", "regions": [format!("hall-{fence}")] });
        rig.put(&format!("/v1/campaigns/hall-{fence}"), offer(on, json!({}))).await;
    }
    for node in 0..nodes.count() {
        nodes.shown(node, "/v1/campaigns/hall-5").await;
    }
    let shoppers: Vec<String> = (0..rounds(8)).map(|number| format!("C-{number}")).collect();
    for (number, shopper) in shoppers.iter().enumerate() {
        guest(rig, shopper, &zone_at(if number % 4 == 3 { 3 } else { 15 }), DEVICES).await;
    }
    join_all(shoppers.iter().map(|shopper| all_report(&nodes, shopper, fix(rig::SHOP)))).await;
    for (number, shopper) in shoppers.iter().enumerate() {
        let expected = if number % 4 == 3 { 0 } else { 3 };
        let lives = rig.ended_lives(shopper, expected).await;
        let why: BTreeSet<String> = rig::rows(&rig.get(&format!("/v1/shoppers/{shopper}")).await, "decision")
            .iter()
            .filter_map(|row| row["suppressed"].to_string().into())
            .collect();
        assert_eq!(lives.len(), expected, "{shopper}: {why:?}");
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aisle_is_told_once_on_a_visit_whichever_node_hears_of_it() {
    let server = Server::start(&[]).await;
    let nodes = Nodes::start(on_server(&server, 3), &[]).await;
    let rig = &nodes.rig;
    rig.put("/v1/stores/opera", json!({ "name": "Opéra", "time_zone": "Europe/Paris" })).await;
    rig.put("/v1/zones/tv", json!({ "store": "opera", "codes": ["q-1"] })).await;
    let on = json!({ "transition": "dwell", "regions": ["tv"] });
    rig.put("/v1/campaigns/aisle", offer(on, json!({ "quiet_hours": "off" }))).await;
    for node in 0..nodes.count() {
        nodes.shown(node, "/v1/campaigns/aisle").await;
    }
    let shoppers: Vec<String> = (0..rounds(8)).map(|number| format!("C-{number}")).collect();
    for shopper in &shoppers {
        guest(rig, shopper, "Europe/Paris", DEVICES).await;
    }
    let scan = json!({ "kind": "scan", "at": rig::now(), "tag": "q-1" });
    join_all(shoppers.iter().map(|shopper| all_report(&nodes, shopper, scan.clone()))).await;
    for shopper in &shoppers {
        rig.ended_lives(shopper, 1).await;
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_spent_to_the_last_and_not_beyond() {
    const TOTAL: usize = 25;
    const GUESTS: usize = 60;
    let server = Server::start(&[]).await;
    let nodes = Nodes::start(on_server(&server, 3), &[]).await;
    let rig = &nodes.rig;
    rig.put_shop(json!({})).await;
    for round in 0..rounds(1) {
        let on = json!({ "transition": "enter" });
        let few = json!({ "budget": { "total": TOTAL }, "quiet_hours": "off", "priority": round });
        rig.put(&format!("/v1/campaigns/few-{round}"), offer(on, few)).await;
        for node in 0..nodes.count() {
            nodes.shown(node, &format!("/v1/campaigns/few-{round}")).await;
        }
        let guests: Vec<String> = (0..GUESTS).map(|number| format!("C-{round}-{number}")).collect();
        join_all(guests.iter().map(|shopper| guest(rig, shopper, "Europe/Paris", 1))).await;
        let enter = async |(number, shopper): (usize, &String)| {
            let body = json!({ "device": format!("{shopper}-0"), "observations": [fix(rig::SHOP)] });
            nodes.must(number % nodes.count(), Method::POST, "/v1/observations", &body).await;
        };
        join_all(guests.iter().enumerate().map(enter)).await;
        let mut sent = 0;
        for shopper in &guests {
            let lives = rig.lives(shopper).await;
            let of_round = lives.iter().filter(|life| life["notification"]["campaign"] == format!("few-{round}"));
            sent += of_round.count();
        }
        assert_eq!(sent, TOTAL);
        // Or the next round's guests would spend what is left of nothing.
        rig.must(Method::DELETE, &format!("/v1/campaigns/few-{round}"), &Value::Null).await;
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_two_claim_at_once_ends_with_one_of_them() {
    let server = Server::start(&[]).await;
    let nodes = Nodes::start(on_server(&server, 3), &[]).await;
    let rig = &nodes.rig;
    rig.put_shop(json!({})).await;
    for node in 0..nodes.count() {
        nodes.shown(node, "/v1/geofences/shop").await;
    }
    let names = ["A", "B", "C"];
    for name in names {
        rig.put(&format!("/v1/shoppers/{name}"), rig::profile("en-GB")).await;
    }
    let (mut moved, mut last) = (0, String::new());
    for round in 0..rounds(15) {
        let target = rig.apns();
        let claim = async |(node, name): (usize, &str)| {
            let body = json!({ "shopper": name, "platform": "ios", "target": target });
            nodes.must(node, Method::PUT, "/v1/devices/phone", &body).await
        };
        let told = join_all(names.into_iter().enumerate().map(claim)).await;
        assert_eq!(told.iter().map(|it| it["shopper"].as_str().expect("text")).collect::<Vec<_>>(), names);
        let body = rig::report("phone", rig::now(), north(if round % 2 == 0 { 0.0 } else { 350.0 }));
        let answer = nodes.must(round % 3, Method::POST, "/v1/observations", &body).await;
        assert_eq!(
            answer["accepted"].as_u64().unwrap_or(0) + answer["rejected"].as_array().map_or(0, Vec::len) as u64,
            1
        );
        for node in 0..nodes.count() {
            let known = nodes.must(node, Method::GET, "/v1/devices/phone", &Value::Null).await;
            let owner = known["shopper"].as_str().expect("text").to_owned();
            let mut holders = Vec::new();
            for name in names {
                let held = nodes.must(node, Method::GET, &format!("/v1/shoppers/{name}"), &Value::Null).await;
                if held["shopper"]["devices"].get("phone").is_some() {
                    holders.push(name);
                }
            }
            assert_eq!(holders, [owner.as_str()], "node {node}, round {round}");
            moved += usize::from(owner != last);
            last = owner;
        }
    }
    eprintln!("the device changed hands {moved} times");
    nodes.end().await;
}
