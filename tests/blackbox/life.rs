//! Reads what the daemon tells of messages and transitions, and what the providers received.

use std::{collections::BTreeMap, sync::Arc};

use parvis::sandbox::Received;
use serde_json::Value;

/// Transitions as `kind region`.
pub(crate) fn names(transitions: &Value) -> Vec<String> {
    let name =
        |it: &Value| format!("{} {}", it["transition"].as_str().expect("text"), it["region"].as_str().expect("text"));
    transitions.as_array().expect("a list").iter().map(name).collect()
}

/// What a person's journal says of one kind of event.
pub(crate) fn rows(held: &Value, kind: &str) -> Vec<Value> {
    let rows = held["journal"].as_array().expect("a list");
    rows.iter().filter(|row| row["event"] == kind).map(|row| row["data"].clone()).collect()
}

/// The milestones that end a life.
pub(crate) fn terminal(life: &Value) -> Vec<String> {
    const ENDS: [&str; 5] = ["accepted", "unregistered", "dead", "expired", "suppressed"];
    milestones(life).into_iter().filter(|name| ENDS.contains(&name.as_str())).collect()
}

pub(crate) fn milestones(life: &Value) -> Vec<String> {
    let steps = life["milestones"].as_array().expect("a list");
    steps.iter().map(|step| step["milestone"].as_str().expect("text").to_owned()).collect()
}

pub(crate) fn id(life: &Value) -> String {
    life["notification"]["id"].as_str().expect("an id").to_owned()
}

/// The id that our message carries, as the app reads it.
pub(crate) fn carried(received: &Received) -> String {
    fn find(value: &Value) -> Option<&str> {
        match value {
            Value::Object(map) => {
                map.get("notification_id").and_then(Value::as_str).or_else(|| map.values().find_map(find))
            }
            Value::Array(list) => list.iter().find_map(find),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
    let payload: Value = serde_json::from_str(&received.message.payload).expect("JSON");
    find(&payload).unwrap_or_else(|| panic!("no id in {payload}")).to_owned()
}

/// How often each message reached a provider that took it.
pub(crate) fn tally(received: &[Arc<Received>]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for received in received {
        *tally.entry(carried(received)).or_insert(0) += 1;
    }
    tally
}
