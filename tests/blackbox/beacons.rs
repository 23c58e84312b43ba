//! A tag on a cart: heard by the scanners of an aisle, it speaks for who pushes the cart, and for nobody else.

use http::Method;
use parvis_engine::time::Timestamp;
use serde_json::{Value, json};

use crate::rig::{self, Rig, ago};

/// What the scanners of the aisle hear of the cart, a second apart.
async fn heard(rig: &Rig, seconds: std::ops::RangeInclusive<u64>) -> Value {
    let sighting = |at: Timestamp, scanner: &str| json!({ "kind": "sighting", "at": at, "beacon": "cart", "rssi_dbm": -58, "observer": scanner });
    let at = seconds.rev().map(ago);
    let observations: Vec<Value> = at.flat_map(|at| [sighting(at, "left"), sighting(at, "right")]).collect();
    rig.post("/v1/observations", json!({ "device": "cart", "observations": observations })).await
}

#[tokio::test]
async fn a_cart_speaks_for_who_pushes_it() {
    let rig = Rig::start().await;
    rig.put("/v1/stores/opera", json!({ "name": "Opera", "time_zone": "Europe/Paris" })).await;
    rig.put("/v1/zones/tv", json!({ "store": "opera", "tags": ["screens"] })).await;
    for scanner in ["left", "right"] {
        rig.put(&format!("/v1/scanners/{scanner}"), json!({ "store": "opera", "zone": "tv" })).await;
    }
    rig.put("/v1/beacons/cart", json!({ "role": "tag", "mac": "c4:be:84:1f:20:34" })).await;
    assert_eq!(heard(&rig, 9..=12).await["rejected"][0]["reason"], "unlinked_tag");

    rig.put("/v1/beacons/cart/link", json!({ "shopper": "C-1" })).await;
    assert_eq!(heard(&rig, 9..=12).await["rejected"][0]["reason"], "no_consent");
    rig.put("/v1/shoppers/C-1", rig::profile("en-GB")).await;
    let answer = heard(&rig, 6..=12).await;
    assert_eq!(answer["accepted"], 14, "{answer}");
    assert_eq!(rig::names(&answer["transitions"]), ["enter tv"], "{answer}");
    assert_eq!(rig.get("/v1/devices/cart").await["presences"][0]["region"], "tv");

    rig.put("/v1/shoppers/C-2", rig::profile("en-GB")).await;
    rig.put("/v1/beacons/cart/link", json!({ "shopper": "C-2" })).await;
    assert_eq!(rig.get("/v1/devices/cart").await["presences"], json!([]), "where C-1 was is no visit of C-2");
    let answer = heard(&rig, 0..=5).await;
    assert_eq!(rig::names(&answer["transitions"]), ["enter tv"], "{answer}");
    let told = rig::rows(&rig.get("/v1/shoppers/C-1").await, "transition");
    assert_eq!(told.len(), 1, "{told:?}");
    rig.must(Method::DELETE, "/v1/beacons/cart/link", &Value::Null).await;
    assert_eq!(heard(&rig, 0..=0).await["rejected"][0]["reason"], "unlinked_tag");
}
