//! Live Activities as Apple documents them ("Starting and updating Live Activities with ActivityKit push
//! notifications"), and the phones on which they run.
//!
//! The real service takes any payload and phones ignore what they can't read in silence. Here a fault is refused, by a
//! reason of the sandbox's own.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;
use parvis_engine::shopper::ApnsEnvironment;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    super::{
        record::ActivityPush,
        shared::Shared,
        target::{Installed, Kind, TokenPurpose},
    },
    Refused,
};

/// How many activities are remembered; the oldest is forgotten first.
const REMEMBERED: usize = 1_024;

/// One Live Activity on a phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveActivity {
    /// What it was started with.
    pub start_token: String,
    /// What the app on the phone tells its back end; none if it was started without `input-push-token`.
    pub update_token: Option<String>,
    /// The broadcast channel that it listens to.
    pub channel: Option<String>,
    /// The app's bundle id.
    pub topic: String,
    /// Which APNs.
    pub environment: ApnsEnvironment,
    /// The name of its attributes' type.
    pub attributes_type: String,
    /// Its last content.
    pub state: Value,
    /// Which moment the content is of, seconds since the epoch; older ones are ignored.
    pub timestamp: i64,
    /// Whether it was ended.
    pub ended: bool,
}

/// The activities that were started, oldest first.
#[derive(Debug, Default)]
pub(in super::super) struct Activities {
    started: Mutex<VecDeque<LiveActivity>>,
}

impl Activities {
    pub(in super::super) fn all(&self) -> Vec<LiveActivity> {
        self.started().iter().cloned().collect()
    }

    fn started(&self) -> MutexGuard<'_, VecDeque<LiveActivity>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a payload is one that a phone would take, for a token of this purpose or, without one, a broadcast.
pub(super) fn check(payload: &Map<String, Value>, purpose: Option<TokenPurpose>) -> Result<(), Refused> {
    let aps = payload.get("aps").and_then(Value::as_object).ok_or(Refused::bad("PayloadEmpty"))?;
    faults(aps, purpose).map_err(|detail| Refused {
        detail: Some(detail),
        ..Refused::new(StatusCode::BAD_REQUEST, "InvalidLiveActivity")
    })
}

/// What a payload says about an activity; `card` is what it belongs to.
pub(super) fn read(payload: &Value, card: &str) -> Option<ActivityPush> {
    let aps = &payload["aps"];
    let number = |name: &str| aps[name].as_i64();
    Some(ActivityPush {
        card: card.to_owned(),
        event: aps["event"].as_str()?.to_owned(),
        timestamp: number("timestamp")?,
        attributes_type: aps["attributes-type"].as_str().map(str::to_owned),
        attributes: aps["attributes"].clone(),
        state: aps["content-state"].clone(),
        stale_date: number("stale-date"),
        dismissal_date: number("dismissal-date"),
    })
}

/// Lets the phones do what an accepted push says; one that starts an activity gives it a token of its own.
pub(super) fn apply(shared: &Shared, target: &str, payload: &str, push: &mut ActivityPush) {
    if push.event == "start" {
        start(shared, target, payload, push);
        return;
    }
    let channel = target.strip_prefix(super::channel::TARGET_PREFIX);
    let mut started = shared.apns.activities.started();
    for activity in started.iter_mut().filter(|activity| !activity.ended) {
        let is_meant = match channel {
            Some(channel) => {
                activity.channel.as_ref().is_some_and(|own| channel.split_once('/') == Some((&activity.topic, own)))
            }
            None => activity.update_token.as_deref() == Some(target),
        };
        if is_meant && activity.timestamp <= push.timestamp {
            activity.timestamp = push.timestamp;
            activity.ended = push.event == "end";
            if !push.state.is_null() {
                activity.state = push.state.clone();
            }
        }
    }
}

fn start(shared: &Shared, target: &str, payload: &str, push: &mut ActivityPush) {
    let Some(known) = shared.targets.find(target) else { return };
    let Kind::Apns { topic, environment, purpose: TokenPurpose::ActivityStart } = &known.kind else { return };
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let update_token = (payload["aps"]["input-push-token"] == 1).then(|| {
        let own = Installed { topic, environment: *environment, purpose: TokenPurpose::ActivityUpdate };
        shared.targets.register_apns(&shared.entropy, &known.app, own)
    });
    if let Some(token) = &update_token {
        push.card.clone_from(token);
    }
    let mut started = shared.apns.activities.started();
    if started.len() == REMEMBERED {
        started.pop_front();
    }
    started.push_back(LiveActivity {
        start_token: target.to_owned(),
        update_token,
        channel: payload["aps"]["input-push-channel"].as_str().map(str::to_owned),
        topic: topic.clone(),
        environment: *environment,
        attributes_type: push.attributes_type.clone().unwrap_or_default(),
        state: push.state.clone(),
        timestamp: push.timestamp,
        ended: false,
    });
}

fn faults(aps: &Map<String, Value>, purpose: Option<TokenPurpose>) -> Result<(), String> {
    let is = |name: &str, fits: fn(&Value) -> bool| aps.get(name).is_some_and(fits);
    let need = |name: &str, fits: fn(&Value) -> bool, what: &str| {
        if is(name, fits) { Ok(()) } else { Err(format!("{name}: missing, or not {what}")) }
    };
    let allow = |name: &str, fits: fn(&Value) -> bool, what: &str| {
        if aps.contains_key(name) { need(name, fits, what) } else { Ok(()) }
    };
    need("timestamp", Value::is_i64, "a whole number of seconds")?;
    let event = aps.get("event").and_then(Value::as_str).unwrap_or_default();
    let allowed: &[&str] = match purpose {
        Some(TokenPurpose::Device) => &["start", "update", "end"],
        Some(TokenPurpose::ActivityStart) => &["start"],
        Some(TokenPurpose::ActivityUpdate) | None => &["update", "end"],
    };
    if !allowed.contains(&event) {
        return Err(format!("event: not one of {}", allowed.join(", ")));
    }
    if event != "end" {
        need("content-state", Value::is_object, "an object")?;
    }
    allow("content-state", Value::is_object, "an object")?;
    if event == "start" {
        need("attributes-type", |value| value.as_str().is_some_and(|name| !name.is_empty()), "a name")?;
        need("attributes", Value::is_object, "an object")?;
        need("alert", Value::is_object, "an object")?;
        allow("input-push-token", |value| *value == 1, "1")?;
        allow("input-push-channel", |value| value.as_str().is_some_and(super::channel::is_id), "a channel's id")?;
        if aps.contains_key("input-push-token") && aps.contains_key("input-push-channel") {
            return Err("input-push-channel: not together with input-push-token".to_owned());
        }
    }
    for name in ["stale-date", "dismissal-date"] {
        allow(name, Value::is_i64, "a whole number of seconds")?;
    }
    allow("relevance-score", Value::is_number, "a number")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(change: impl FnOnce(&mut Map<String, Value>), purpose: Option<TokenPurpose>) -> Option<String> {
        let payload = json!({ "aps": {
            "timestamp": 1_800_000_000, "event": "start", "content-state": { "step": 1 }, "attributes-type": "Order",
            "attributes": { "order": "O-1" }, "alert": { "title": "Order", "body": "registered" }, "input-push-token": 1,
        } });
        let Value::Object(mut payload) = payload else { panic!("an object") };
        change(payload["aps"].as_object_mut().expect("an object"));
        check(&payload, purpose).err().map(|refused| refused.detail.expect("a detail"))
    }

    #[test]
    fn a_start_needs_everything() {
        let device = Some(TokenPurpose::Device);
        assert_eq!(problem(|_| {}, device), None);
        for name in ["timestamp", "event", "content-state", "attributes-type", "attributes", "alert"] {
            let detail = problem(|aps| drop(aps.remove(name)), device).expect("a problem");
            assert!(detail.starts_with(&format!("{name}: ")), "{name}: {detail}");
        }
        for (name, value) in [
            ("timestamp", json!("1800000000")),
            ("timestamp", json!(1.5)),
            ("event", json!("begin")),
            ("content-state", json!("x")),
            ("attributes-type", json!("")),
            ("alert", json!("x")),
            ("stale-date", json!("x")),
            ("dismissal-date", json!(true)),
            ("relevance-score", json!("x")),
            ("input-push-token", json!(true)),
            ("input-push-channel", json!("dHN0LXNyY2gtY2hubA==")),
        ] {
            let detail = problem(|aps| drop(aps.insert(name.to_owned(), value.clone())), device).expect("a problem");
            assert!(detail.starts_with(&format!("{name}: ")), "{name} {value}: {detail}");
        }
    }

    #[test]
    fn each_token_takes_its_events() {
        let event =
            |event: &'static str| move |aps: &mut Map<String, Value>| drop(aps.insert("event".into(), json!(event)));
        assert_eq!(problem(event("start"), Some(TokenPurpose::ActivityStart)), None);
        assert_eq!(problem(event("update"), Some(TokenPurpose::ActivityUpdate)), None);
        assert_eq!(problem(event("end"), None), None);
        let start = problem(event("start"), Some(TokenPurpose::ActivityUpdate));
        assert_eq!(start.as_deref(), Some("event: not one of update, end"));
        let update = problem(event("update"), Some(TokenPurpose::ActivityStart));
        assert_eq!(update.as_deref(), Some("event: not one of start"));
        assert_eq!(problem(event("start"), None).as_deref(), Some("event: not one of update, end"));
    }
}
