//! What Apple's service is given to pass on: alerts, Live Activities, and what back ends wrote themselves.
//!
//! Source: Apple, "Generating a remote notification" and "Starting and updating Live Activities with ActivityKit push
//! notifications". Members without a value are left out: phones drop an activity with a `null` in silence.

use parvis_engine::{
    notification::{Body, Content, Custom, Live, LiveEvent, LiveState, Notification, Priority, PushKind},
    retry::Outcome,
    shopper::ACTIVITY_SUFFIX,
};
use serde_json::{Map, Value, json};

use super::super::{app_data, epoch_s, rejected, thread};

/// A payload and how it is sent.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) kind: PushKind,
    pub(super) priority: Priority,
    pub(super) payload: String,
}

/// For a device; or, with `is_activity`, for the token of a Live Activity or one that begins activities.
pub(super) fn for_device(
    notification: &Notification,
    is_activity: bool,
    attributes_type: &str,
) -> Result<Push, Outcome> {
    let push = match &notification.body {
        Body::Content(content) => alert(notification, content),
        Body::Live(live) if is_activity => activity(notification, live, attributes_type)?,
        // Without a token of its own the news are told as any other.
        Body::Live(live) => {
            let content = live.alert.as_ref().ok_or_else(|| rejected("no_live_token"))?;
            alert(notification, content)
        }
        Body::Custom(custom) => custom_push(notification, custom)?,
        Body::Fact(_) => return Err(rejected("no_content")),
    };
    if is_activity && push.kind != PushKind::LiveActivity {
        return Err(rejected("no_device_token"));
    }
    Ok(push)
}

/// For everybody who follows a broadcast channel. Activities can't begin that way.
pub(super) fn for_channel(notification: &Notification, attributes_type: &str) -> Result<Push, Outcome> {
    let cannot_start = || rejected("broadcast_cannot_start");
    match &notification.body {
        Body::Live(live) if live.event == LiveEvent::Start => Err(cannot_start()),
        Body::Live(live) => activity(notification, live, attributes_type),
        Body::Custom(custom) if custom.push == PushKind::LiveActivity => {
            let starts =
                custom.apns.as_ref().and_then(|given| given.get("aps")).is_some_and(|aps| aps["event"] == "start");
            if starts { Err(cannot_start()) } else { custom_push(notification, custom) }
        }
        Body::Content(_) | Body::Custom(_) | Body::Fact(_) => Err(rejected("not_a_live_activity")),
    }
}

fn alert(notification: &Notification, content: &Content) -> Push {
    let payload = json!({
        "aps": {
            "alert": { "title": content.title, "body": content.body },
            "sound": "default",
            "thread-id": thread(notification),
        },
        "data": app_data(notification),
    });
    Push { kind: PushKind::Alert, priority: Priority::High, payload: payload.to_string() }
}

fn activity(notification: &Notification, live: &Live, attributes_type: &str) -> Result<Push, Outcome> {
    let mut aps = Map::new();
    // The phone ignores what is older than what it shows, so retries must not become younger.
    aps.insert("timestamp".to_owned(), json!(epoch_s(notification.decided_at)));
    aps.insert("event".to_owned(), json!(live.event.name()));
    aps.insert("content-state".to_owned(), content_state(&live.state));
    // Of several activities the phone puts that on top which is nearest to its end.
    let (step, steps) = (u32::from(live.state.step), u32::from(live.state.steps.max(1)));
    aps.insert("relevance-score".to_owned(), json!((step * 100 / steps).min(100)));
    let dates = [("stale-date", live.stale_at), ("dismissal-date", live.dismiss_at)];
    for (name, at) in dates {
        if let Some(at) = at {
            aps.insert(name.to_owned(), json!(epoch_s(at)));
        }
    }
    if let Some(alert) = &live.alert {
        let alert = json!({ "title": alert.title, "body": alert.body, "sound": "default" });
        aps.insert("alert".to_owned(), alert);
    }
    if live.event == LiveEvent::Start {
        if live.alert.is_none() {
            return Err(rejected("no_alert"));
        }
        aps.insert("attributes-type".to_owned(), json!(attributes_type));
        aps.insert("attributes".to_owned(), attributes(live));
        aps.insert("input-push-token".to_owned(), json!(1));
    }
    let priority = if live.urgent { Priority::High } else { Priority::Normal };
    Ok(Push { kind: PushKind::LiveActivity, priority, payload: json!({ "aps": aps }).to_string() })
}

/// What does not change while the activity lives.
fn attributes(live: &Live) -> Value {
    let mut attributes = Map::new();
    attributes.insert("order".to_owned(), json!(live.order));
    optional(&mut attributes, "fulfilment", live.state.fulfilment.map(|fulfilment| json!(fulfilment)));
    optional(&mut attributes, "store", live.state.store.as_ref().map(|store| json!(store)));
    Value::Object(attributes)
}

/// Times are whole seconds since 1970, for a Swift `Int`: ActivityKit's decoder takes a number for a `Date` as seconds
/// since 2001, and no text at all.
fn content_state(state: &LiveState) -> Value {
    let mut shown = Map::new();
    shown.insert("state".to_owned(), json!(state.state));
    shown.insert("step".to_owned(), json!(state.step));
    shown.insert("steps".to_owned(), json!(state.steps));
    optional(&mut shown, "fulfilment", state.fulfilment.map(|fulfilment| json!(fulfilment)));
    optional(&mut shown, "eta", state.eta.map(|eta| json!(epoch_s(eta))));
    optional(&mut shown, "store", state.store.as_ref().map(|store| json!(store)));
    shown.insert("at".to_owned(), json!(epoch_s(state.at)));
    Value::Object(shown)
}

fn optional(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        members.insert(name.to_owned(), value);
    }
}

fn custom_push(notification: &Notification, custom: &Custom) -> Result<Push, Outcome> {
    let payload = match &custom.apns {
        Some(given) => {
            check(custom.push, given)?;
            serde_json::to_string(given).map_err(|_| rejected("no_payload"))?
        }
        None => made(notification, custom)?,
    };
    Ok(Push { kind: custom.push, priority: custom.priority, payload })
}

/// A payload for a back end that left it to us.
fn made(notification: &Notification, custom: &Custom) -> Result<String, Outcome> {
    let payload = match custom.push {
        PushKind::Alert => {
            let content = custom.content.as_ref().ok_or_else(|| rejected("no_content"))?;
            return Ok(alert(notification, content).payload);
        }
        PushKind::Background => json!({ "aps": { "content-available": 1 }, "data": app_data(notification) }),
        PushKind::Location => json!({ "aps": {} }),
        PushKind::Voip | PushKind::PushToTalk | PushKind::Complication => {
            json!({ "aps": {}, "data": app_data(notification) })
        }
        PushKind::Widgets | PushKind::Controls => json!({ "aps": { "content-changed": true } }),
        PushKind::FileProvider | PushKind::Mdm | PushKind::LiveActivity => return Err(rejected("no_payload")),
    };
    Ok(payload.to_string())
}

/// Refuses what Apple refuses, and what phones drop in silence although Apple takes it.
fn check(kind: PushKind, given: &Map<String, Value>) -> Result<(), Outcome> {
    let aps = match kind {
        PushKind::Mdm if given.contains_key("mdm") => return Ok(()),
        PushKind::FileProvider if !given.is_empty() => return Ok(()),
        PushKind::Alert
        | PushKind::Background
        | PushKind::Location
        | PushKind::Voip
        | PushKind::Complication
        | PushKind::FileProvider
        | PushKind::Mdm
        | PushKind::LiveActivity
        | PushKind::PushToTalk
        | PushKind::Widgets
        | PushKind::Controls => given.get("aps").and_then(Value::as_object),
    };
    let aps = aps.ok_or_else(|| rejected("PayloadEmpty"))?;
    let (fits, reason) = if kind == PushKind::Background {
        let shows = ["alert", "badge", "sound"].iter().any(|name| aps.contains_key(*name));
        (aps.get("content-available") == Some(&json!(1)) && !shows, "not_a_background_payload")
    } else if kind == PushKind::LiveActivity {
        (is_complete_activity(aps), "not_a_live_activity_payload")
    } else {
        (true, "")
    };
    if fits { Ok(()) } else { Err(rejected(reason)) }
}

fn is_complete_activity(aps: &Map<String, Value>) -> bool {
    let needed: &[&str] = match aps.get("event").and_then(Value::as_str) {
        Some("start") => &["content-state", "attributes-type", "attributes", "alert"],
        Some("update") => &["content-state"],
        Some("end") => &[],
        Some(_) | None => return false,
    };
    aps.get("timestamp").is_some_and(Value::is_i64) && needed.iter().all(|name| aps.contains_key(*name))
}

/// Whether a target's topic says that its token is a Live Activity's.
pub(super) fn is_activity(topic: &str) -> bool {
    topic.ends_with(ACTIVITY_SUFFIX)
}
