//! Phones with the apps of others: what they really send, moved to the shop and to the present.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    caller,
    rig::{self, Rig, SHOP, ago, north},
};

const LOCATION: &str = include_str!("../http/samples/owntracks/valid_location_message_with_topic.json");
const EXTENDED: &str = include_str!("../http/samples/owntracks/location_deserialize_extended.json");
const TRANSITION: &str = include_str!("../http/samples/owntracks/transition_message.json");
const CARD: &str = include_str!("../http/samples/owntracks/valid_card_message.json");

async fn open() -> Rig {
    let rig = Rig::start().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    rig
}

/// A recorded message, as it would have been sent there and then.
fn moved(sample: &str, seconds_ago: u64, (lat, lon): (f64, f64)) -> Value {
    let mut message: Value = serde_json::from_str(sample).expect("a sample");
    message["tst"] = (ago(seconds_ago).as_millis() / 1_000).into();
    message["lat"] = lat.into();
    message["lon"] = lon.into();
    message
}

async fn came_in(rig: &Rig, shopper: &str, device: &str) {
    let life = rig.ended_lives(shopper, 1).await.remove(0);
    assert_eq!(rig::terminal(&life), ["accepted"], "{device}");
    assert_eq!(rig.get(&format!("/v1/devices/{device}")).await["presences"][0]["region"], "shop");
}

#[tokio::test]
async fn an_owntracks_phone_walks_in() {
    let rig = open().await;
    rig.put_guest("C-1", "device", rig.apns()).await;
    let headers = [("content-type", "application/json"), ("x-limit-u", "jane"), ("x-limit-d", "device")];
    for (message, events) in [
        (moved(LOCATION, 60, north(400.0)), 0),
        (serde_json::from_str(CARD).expect("a sample"), 0),
        (moved(LOCATION, 10, SHOP), 1),
        (moved(EXTENDED, 5, SHOP), 1),
    ] {
        let reply = rig.caller().send(Method::POST, "/v1/ingest/owntracks", &headers, message.to_string()).await;
        let reply = reply.expect("an answer");
        assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!([])), "{message}");
        assert_eq!(rig.metric(r#"parvis_transitions_total{kind="enter"}"#).await, f64::from(events));
    }
    came_in(&rig, "C-1", "device").await;
    // As the app sends it: any user, and the key as the password.
    let basic = BASE64_STANDARD.encode(format!("jane:{}", rig.key));
    let request = Request::post(format!("http://{}/v1/ingest/owntracks", rig.address()))
        .header("authorization", format!("Basic {basic}"))
        .body(Full::new(Bytes::from(moved(LOCATION, 3, SHOP).to_string())));
    let reply = caller::connections().request(request.expect("a request")).await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_owntracks_phone_says_itself_that_it_came_in() {
    let rig = open().await;
    rig.put_guest("C-1", "phone", rig.fcm()).await;
    let mut message = moved(TRANSITION, 5, SHOP);
    (message["desc"], message["event"]) = ("shop".into(), "enter".into());
    let path = "/v1/ingest/owntracks?device=phone";
    assert_eq!(rig.post(path, message.clone()).await, json!([]));
    assert_eq!(rig.post(path, json!([message, message])).await, json!([]), "repeats are harmless");
    came_in(&rig, "C-1", "phone").await;
}

#[tokio::test]
async fn an_overland_batch_is_walked_in_order() {
    let rig = open().await;
    rig.put_guest("C-1", "iphone", rig.webpush()).await;
    // The documented payload of the app, field for field.
    let point = |seconds_ago: u64, (lat, lon): (f64, f64)| {
        json!({ "type": "Feature", "geometry": { "type": "Point", "coordinates": [lon, lat] },
            "properties": { "timestamp": ago(seconds_ago), "altitude": 35, "speed": 1.4, "horizontal_accuracy": 12,
                "vertical_accuracy": 4, "motion": ["walking"], "pauses": false, "activity": "other_navigation",
                "desired_accuracy": 100, "deferred": 1000, "significant_change": "disabled",
                "locations_in_payload": 3, "battery_state": "unplugged", "battery_level": 0.89,
                "device_id": "iphone", "wifi": "" } })
    };
    let batch = json!({
        "locations": [point(10, north(0.0)), point(120, north(500.0)), point(60, north(300.0))],
        "current": point(10, north(0.0)), "trip": { "mode": "walk" },
    });
    for _ in 0..2 {
        assert_eq!(rig.post("/v1/ingest/overland", batch.clone()).await, json!({ "result": "ok" }));
    }
    came_in(&rig, "C-1", "iphone").await;
    let held = rig.get("/v1/shoppers/C-1").await;
    assert_eq!(rig::rows(&held, "transition").len(), 1, "{held}");
}

#[tokio::test]
async fn the_clients_of_others_walk_in_too() {
    let rig = open().await;
    for device in ["traccar", "osmand", "amazon"] {
        rig.put_guest(&format!("C-{device}"), device, rig.apns()).await;
    }
    let at = ago(5);
    let traccar = json!({ "device_id": "traccar", "location": { "timestamp": at,
        "coords": { "latitude": SHOP.0, "longitude": SHOP.1, "accuracy": 5, "speed": 0, "heading": -1 } } });
    rig.post("/v1/ingest/transistorsoft", traccar).await;
    let query = format!("id=osmand&lat={}&lon={}&timestamp={}&accuracy=5", SHOP.0, SHOP.1, at.as_millis() / 1_000);
    rig.get(&format!("/v1/ingest/osmand?{query}")).await;
    let amazon = json!({ "DevicePositionUpdates": [{ "DeviceId": "amazon", "Position": [SHOP.1, SHOP.0],
        "SampleTime": at, "Accuracy": { "Horizontal": 5 } }] });
    assert_eq!(rig.post("/v1/ingest/amazon", amazon).await, json!({ "Errors": [] }));
    for device in ["traccar", "osmand", "amazon"] {
        came_in(&rig, &format!("C-{device}"), device).await;
    }
}
