//! After a crash the daemon goes on where it was: presences, timers, caps, and what is still to be sent.

use std::{collections::BTreeSet, time::Duration};

use parvis::sandbox::Conditions;
use parvis_engine::notification::Channel;
use serde_json::{Value, json};

use crate::rig::{self, Rig, ago, circle, north, now};

#[tokio::test]
async fn presences_and_caps_hold() {
    let mut rig = Rig::start().await;
    rig.put_shop(json!({ "tags": ["shop"] })).await;
    rig.put("/v1/geofences/arcade", circle(north(1_000.0), 100.0, json!({ "tags": ["shop"] }))).await;
    let mut hello = rig::greeting("enter");
    hello["caps"] = json!([{ "count": 1, "per": "24h" }]);
    rig.put("/v1/campaigns/hello", hello).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    assert_eq!(rig.ping("phone", ago(400), north(0.0)).await, ["enter shop"]);
    rig.ended_lives("C-1", 1).await;
    let before = rig.get("/v1/devices/phone").await;
    rig.kill().await;
    rig.boot().await;
    assert_eq!(rig.get("/v1/devices/phone").await, before);
    assert_eq!(rig.get("/v1/geofences/arcade").await["properties"]["tags"], json!(["shop"]));
    assert!(rig.ping("phone", ago(390), north(10.0)).await.is_empty(), "still inside");
    assert_eq!(rig.ping("phone", ago(350), north(500.0)).await, ["exit shop"]);
    assert_eq!(rig.ping("phone", ago(300), north(1_000.0)).await, ["enter arcade"]);
    let decisions = journal(&rig, "decision").await;
    assert_eq!(decisions.len(), 2);
    assert!(decisions[1]["suppressed"].to_string().contains("frequency_cap"), "the cap holds: {}", decisions[1]);
    rig.stop().await;
    rig.boot().await;
    assert_eq!(rig.ping("phone", ago(200), north(500.0)).await, ["exit arcade"]);
    assert_eq!(rig.accepted().len(), 1);
    let kinds: Vec<_> = journal(&rig, "transition").await.iter().map(|it| it["transition"].clone()).collect();
    assert_eq!(kinds, ["enter", "exit", "enter", "exit"]);
}

async fn journal(rig: &Rig, kind: &str) -> Vec<Value> {
    rig::rows(&rig.get("/v1/shoppers/C-1").await, kind)
}

#[tokio::test]
async fn a_dwell_is_told_by_the_next_process() {
    let mut rig = Rig::start().await;
    rig.put_shop(json!({ "dwell_s": 5 })).await;
    rig.put("/v1/campaigns/linger", rig::greeting("dwell")).await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let entered = now();
    assert_eq!(rig.ping("phone", entered, north(0.0)).await, ["enter shop"]);
    assert!(rig.lives("C-1").await.is_empty());
    rig.kill().await;
    rig.boot().await;
    let life = rig.ended_lives("C-1", 1).await.remove(0);
    assert_eq!(rig::terminal(&life), ["accepted"]);
    assert_eq!(life["notification"]["observed_at"], json!(entered.plus(Duration::from_secs(5))), "when it was due");
    let known = rig.get("/v1/devices/phone").await;
    assert_eq!(known["presences"][0]["dwelled"], true);
    assert_eq!(rig.accepted().len(), 1);
}

#[tokio::test]
async fn what_could_not_be_sent_before_is_sent_after() {
    let mut rig = Rig::start().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    let down = Conditions { failing: Some(503), ..Conditions::default() };
    for (channel, target) in [(Channel::Apns, rig.apns()), (Channel::WebPush, rig.webpush())] {
        rig.sandbox.set_conditions(channel, down.clone());
        let (shopper, device) = (format!("C-{}", channel.name()), format!("phone-{}", channel.name()));
        rig.put_guest(&shopper, &device, target).await;
        assert_eq!(rig.ping(&device, ago(5), north(0.0)).await, ["enter shop"]);
        rig::until("a second attempt", async || {
            let life = rig.lives(&shopper).await.remove(0);
            (life["attempts"].as_u64() >= Some(2)).then_some(())
        })
        .await;
    }
    rig.kill().await;
    rig.boot().await;
    for channel in [Channel::Apns, Channel::WebPush] {
        let shopper = format!("C-{}", channel.name());
        assert!(rig::terminal(&rig.lives(&shopper).await[0]).is_empty(), "still waiting");
        rig.sandbox.set_conditions(channel, Conditions::default());
        let life = rig.ended_lives(&shopper, 1).await.remove(0);
        assert_eq!(rig::terminal(&life), ["accepted"]);
        assert!(life["attempts"].as_u64() >= Some(3), "attempts are counted on: {life}");
    }
    let ids: BTreeSet<String> = rig.accepted().iter().map(|received| rig::carried(received)).collect();
    assert_eq!((ids.len(), rig.accepted().len()), (2, 2));
}

#[tokio::test]
async fn beacons_and_who_carries_them_are_there_again() {
    let mut rig = Rig::start().await;
    rig.put("/v1/stores/opera", json!({ "name": "Op\u{e9}ra", "time_zone": "Europe/Paris" })).await;
    rig.put("/v1/zones/tv", json!({ "store": "opera", "codes": ["q-1"], "tags": ["screens"] })).await;
    rig.put("/v1/scanners/ceiling", json!({ "store": "opera", "zone": "tv" })).await;
    let position = json!({ "lat": rig::SHOP.0, "lon": rig::SHOP.1 });
    let wall =
        json!({ "id": "wall", "store": "opera", "zone": "tv", "mac": "c4:be:84:1f:20:33", "position": position });
    let cart = json!({ "id": "cart", "role": "tag", "mac": "c4:be:84:1f:20:34" });
    rig.post("/v1/beacons", json!([wall, cart])).await;
    rig.put("/v1/beacon-regions/indoors", json!({ "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e" })).await;
    rig.put("/v1/beacons/cart/link", json!({ "shopper": "C-1" })).await;
    let around = format!("/v1/around?lat={}&lon={}", rig::SHOP.0, rig::SHOP.1);
    let paths = [
        "/v1/beacons",
        "/v1/scanners",
        "/v1/zones",
        "/v1/beacon-regions",
        "/v1/beacons/cart/link",
        "/v1/shoppers/C-1",
        &around,
    ];
    let mut before = Vec::new();
    for path in paths {
        before.push(rig.get(path).await);
    }
    assert_eq!(before[6]["items"][0]["id"], "wall", "{}", before[6]);
    rig.kill().await;
    rig.boot().await;
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(rig.get(path).await, before, "{path}");
    }
    rig.put("/v1/beacons/cart/link", json!({ "shopper": "C-2" })).await;
    assert_eq!(rig.get("/v1/beacons/cart/link").await["shopper"], "C-2");
    assert!(rig.get("/v1/shoppers/C-1").await["shopper"]["devices"].get("cart").is_none(), "a tag has one bearer");
    rig.must(http::Method::DELETE, "/v1/shoppers/C-2", &Value::Null).await;
    let gone = rig.call(http::Method::GET, "/v1/beacons/cart/link", &Value::Null).await;
    assert_eq!(gone.status, http::StatusCode::NOT_FOUND, "erased with the person");
    let observation =
        json!({ "kind": "sighting", "at": now(), "beacon": "cart", "rssi_dbm": -60, "observer": "ceiling" });
    let answer = rig.post("/v1/observations", json!({ "device": "cart", "observations": [observation] })).await;
    assert_eq!(answer["rejected"][0]["reason"], "unlinked_tag", "{answer}");
}
