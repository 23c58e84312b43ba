//! An order that a phone shows all the time, on services as they are: one activity from its registration to the door.

use parvis::sandbox::{Behaviour, Received};
use parvis_engine::shopper::ApnsEnvironment;
use serde_json::{Value, json};

use crate::rig::{self, Rig, TOPIC, ago};

const EVENTS: &str = "/v1/orders/A-1/events";

/// A daemon that tells some states by words, and a shopper with an iPhone whose app has reported its start token.
async fn open() -> (Rig, String, String) {
    let rig = Rig::start().await;
    for state in ["registered", "shipped", "delivered"] {
        let campaign = json!({ "purpose": "order", "on": { "order": [state] },
            "content": { "en": { "title": state, "body": "Order {{ order.id }}" } } });
        rig.put(&format!("/v1/campaigns/order-{state}"), campaign).await;
    }
    let target = rig.apns();
    let device = target["token"].as_str().expect("a token").to_owned();
    rig.put_guest("C-1", "phone", target).await;
    let start = new_token(&rig);
    rig.put("/v1/devices/phone/live-activities/start-token", json!({ "token": start })).await;
    (rig, device, start)
}

fn new_token(rig: &Rig) -> String {
    rig.sandbox.register_apns(TOPIC, ApnsEnvironment::Production)
}

/// Tells what became of the order, and waits until everything about it is done.
async fn becomes(rig: &Rig, state: &str, count: usize) -> Value {
    let at = ago(100 - count as u64);
    let event = json!({ "event": format!("E-{state}"), "at": at, "state": state, "shopper": "C-1",
        "fulfilment": "delivery" });
    let taken = rig.post(EVENTS, event).await;
    assert_eq!(taken["notifications"].as_array().map(Vec::len), Some(1), "{state}: {taken}");
    let life = rig.ended_lives("C-1", count).await.pop().expect("one at least");
    assert_eq!(rig::terminal(&life), ["accepted"], "{state}: {life}");
    life
}

/// What came to a token, as Apple would pass it on.
fn pushes(rig: &Rig, token: &str) -> Vec<Value> {
    let came = rig.accepted().into_iter().filter(|received| received.target == token);
    let aps = |received: &Received| {
        let payload: Value = serde_json::from_str(&received.message.payload).expect("JSON");
        payload["aps"].clone()
    };
    came.map(|received| aps(&received)).collect()
}

#[tokio::test]
async fn an_order_moves_one_activity_from_registered_to_delivered() {
    let (rig, device, start) = open().await;
    becomes(&rig, "registered", 1).await;
    let begun = pushes(&rig, &start);
    assert_eq!(
        (begun.len(), &begun[0]["event"], &begun[0]["alert"]["title"]),
        (1, &json!("start"), &json!("registered"))
    );
    assert_eq!((&begun[0]["attributes"]["order"], &begun[0]["content-state"]["step"]), (&json!("A-1"), &json!(0)));

    // The phone has begun it, and its app reports by what it is changed.
    let activity = new_token(&rig);
    rig.put("/v1/devices/phone/live-activities/A-1", json!({ "token": activity })).await;
    for (count, state) in ["confirmed", "shipped", "out_for_delivery", "delivered"].into_iter().enumerate() {
        becomes(&rig, state, count + 2).await;
    }
    let shown = pushes(&rig, &activity);
    let told: Vec<_> =
        shown.iter().map(|aps| (&aps["event"], &aps["content-state"]["state"], &aps["alert"]["title"])).collect();
    let null = Value::Null;
    assert_eq!(
        told,
        [
            (&json!("update"), &json!("confirmed"), &null),
            (&json!("update"), &json!("shipped"), &json!("shipped")),
            (&json!("update"), &json!("out_for_delivery"), &null),
            (&json!("end"), &json!("delivered"), &json!("delivered")),
        ]
    );
    let steps: Vec<_> = shown.iter().map(|aps| aps["content-state"]["step"].as_u64()).collect();
    assert_eq!(steps, [1, 3, 4, 5].map(Some));
    assert!(shown[3]["dismissal-date"].is_number() && shown[0]["stale-date"].is_number(), "{shown:?}");
    assert!(pushes(&rig, &device).is_empty(), "told once: with the activity");
    let live = rig.get("/v1/orders/A-1").await["live"]["phone"].clone();
    assert!(live["ended_at"].is_string() && live["shown"]["state"] == "delivered", "{live}");
}

#[tokio::test]
async fn words_whose_activity_is_gone_go_to_the_phone() {
    let (rig, device, _) = open().await;
    becomes(&rig, "registered", 1).await;
    let activity = new_token(&rig);
    rig.put("/v1/devices/phone/live-activities/A-1", json!({ "token": activity })).await;
    assert!(rig.sandbox.set_behaviour(&activity, Behaviour::Unregistered { since: None }));
    let life = becomes(&rig, "shipped", 2).await;
    assert_eq!(life["attempts"], 2, "{life}");
    let plain = pushes(&rig, &device);
    assert_eq!((plain.len(), &plain[0]["alert"]["title"], &plain[0]["event"]), (1, &json!("shipped"), &Value::Null));
    becomes(&rig, "delivered", 3).await;
    assert_eq!(pushes(&rig, &device).len(), 2, "and so does what comes after");
    assert!(pushes(&rig, &activity).is_empty());
}
