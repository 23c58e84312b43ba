//! An order through all its states, told once each, and the arrival of whoever fetches one.

use parvis_engine::{order::OrderState, time::Timestamp};
use serde_json::{Value, json};

use crate::rig::{self, Rig, ago, north};

fn name(state: OrderState) -> String {
    serde_json::to_value(state).expect("a name").as_str().expect("text").to_owned()
}

async fn open() -> Rig {
    let rig = Rig::start().await;
    rig.put("/v1/stores/opera", json!({ "name": "Opéra", "time_zone": "Europe/Paris" })).await;
    rig.put_shop(json!({ "store": "opera", "tags": ["store"] })).await;
    for state in OrderState::ALL.map(name) {
        let campaign = json!({ "purpose": "order", "on": { "order": [state] },
            "content": { "en": { "title": state, "body": "Order {{ order.id }}" } } });
        rig.put(&format!("/v1/campaigns/order-{}", state.replace('_', "-")), campaign).await;
    }
    let arrival = json!({ "purpose": "order", "on": { "pickup": "enter" },
        "content": { "en": { "title": "we saw you", "body": "Order {{ order.id }}: {{ store.name }}" } } });
    rig.put("/v1/campaigns/arrival", arrival).await;
    rig
}

fn event(id: &str, state: &str, at: Timestamp, fulfilment: &str) -> Value {
    let store = (fulfilment == "pickup").then_some("opera");
    json!({ "event": id, "at": at, "state": state, "shopper": "C-1", "fulfilment": fulfilment, "store": store,
        "lines": [{ "sku": "tv-55", "name": "Television" }], "adviser": "desk 3" })
}

fn titles(rig: &Rig) -> Vec<String> {
    rig.accepted().iter().map(|received| received.message.title.clone().expect("a title")).collect()
}

#[tokio::test]
async fn each_state_is_told_once_and_in_order() {
    let rig = open().await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let states = [
        "registered",
        "confirmed",
        "preparing",
        "shipped",
        "out_for_delivery",
        "attempt_failed",
        "delayed",
        "ready_for_pickup",
        "delivered",
        "returned",
    ];
    for (index, state) in states.into_iter().enumerate() {
        let path = "/v1/orders/A-1/events";
        let body = event(&format!("E-{index}"), state, ago(500 - index as u64), "delivery");
        let first = rig.post(path, body.clone()).await;
        assert_eq!((&first["change"], first["notifications"].as_array().map(Vec::len)), (&json!("new"), Some(1)));
        assert_eq!(rig.post(path, body).await, first, "a repeat gets the first answer");
        // A message about a state that the order has left is not sent, so each is waited for.
        let lives = rig.ended_lives("C-1", index + 1).await;
        assert_eq!(rig::terminal(&lives[index]), ["accepted"], "{state}: {}", lives[index]);
    }
    let older = event("E-late", "confirmed", ago(505), "delivery");
    assert_eq!(rig.post("/v1/orders/A-1/events", older).await["change"], "older");
    let order = rig.get("/v1/orders/A-1").await;
    assert_eq!((&order["state"], &order["adviser"]), (&json!("returned"), &json!("desk 3")));
    assert_eq!(order["events"].as_object().map(serde_json::Map::len), Some(states.len() + 1), "{order}");
    for (id, state) in [("E-1", "cancelled"), ("E-2", "picked_up")] {
        let order = format!("B-{id}");
        rig.post(&format!("/v1/orders/{order}/events"), event(id, state, ago(5), "delivery")).await;
    }
    rig.ended_lives("C-1", states.len() + 2).await;
    assert_eq!(titles(&rig)[..states.len()], states);
    let mut all = titles(&rig);
    all.sort_unstable();
    let mut every = OrderState::ALL.map(name).to_vec();
    every.sort_unstable();
    assert_eq!(all, every, "every state, each once");
    // The same state once more, from another system: new to the order, and no news to the shopper.
    let again = rig.post("/v1/orders/A-1/events", event("F-1", "returned", ago(2), "delivery")).await;
    assert_eq!((&again["change"], &again["notifications"]), (&json!("new"), &json!([])));
    let mut stolen = event("E-99", "delivered", ago(1), "delivery");
    stolen["shopper"] = "C-2".into();
    rig.call(http::Method::POST, "/v1/orders/A-1/events", &stolen).await.problem("conflict");
}

#[tokio::test]
async fn who_fetches_an_order_is_seen_by_the_staff() {
    let mut rig = open().await;
    rig.put_guest("C-1", "phone", rig.fcm()).await;
    let path = "/v1/orders/A-2/events";
    rig.post(path, event("E-1", "registered", ago(300), "pickup")).await;
    rig.ended_lives("C-1", 1).await;
    rig.post(path, event("E-2", "ready_for_pickup", ago(290), "pickup")).await;
    rig.ended_lives("C-1", 2).await;
    // The order waits in the store, not in a process.
    rig.kill().await;
    rig.boot().await;
    let stream = rig.caller().follow("?type=shopper.arrived_for_pickup,order.").await;
    assert!(rig.ping("phone", ago(60), north(400.0)).await.is_empty());
    assert_eq!(rig.ping("phone", ago(10), north(0.0)).await, ["enter shop"]);
    let arrival = stream.wait_for("shopper.arrived_for_pickup", 1).await.remove(0);
    let data = &arrival["data"];
    assert_eq!((&data["order"], &data["store"], &data["device"]), (&json!("A-2"), &json!("opera"), &json!("phone")));
    assert_eq!((&data["adviser"], &data["lines"][0]["name"]), (&json!("desk 3"), &json!("Television")), "{arrival}");
    rig.ended_lives("C-1", 3).await;
    rig.post(path, event("E-3", "picked_up", ago(1), "pickup")).await;
    rig.ended_lives("C-1", 4).await;
    assert_eq!(titles(&rig), ["registered", "ready_for_pickup", "we saw you", "picked_up"]);
    assert_eq!(stream.wait_for("order.state_changed", 1).await.len(), 1);
    assert_eq!(stream.of("shopper.arrived_for_pickup").len(), 1);
}
