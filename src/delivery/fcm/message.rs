//! The `message` that FCM is given, without its target.
//!
//! Source: Firebase, "projects.messages". What reaches a phone by way of Apple or a browser's push service has a block of
//! its own, so that it lives as long and is grouped as it would be there.

use parvis_engine::{
    notification::{Body, Content, Custom, Live, Notification, Priority, Purpose, PushKind},
    retry::Outcome,
    time::Timestamp,
};
use serde_json::{Map, Value, json};

use super::super::{app_data, epoch_s, rejected, thread};

/// Google's limit: four weeks.
const TTL_MS_MAX: u128 = 2_419_200_000;
/// What a custom message cannot say.
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];
/// What `data.kind` says in news about an order that the app draws itself.
const ORDER_PROGRESS: &str = "order_progress";

/// What an operator wants of all messages to Android.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    pub(super) package: Option<String>,
    pub(super) direct_boot: bool,
    pub(super) offer_channel: Option<String>,
    pub(super) order_channel: Option<String>,
}

/// The message without its target.
pub(super) fn of(notification: &Notification, style: &Style, now: Timestamp) -> Result<Map<String, Value>, Outcome> {
    let message = match &notification.body {
        Body::Content(content) => shown(notification, content, Priority::High, (style, now)),
        Body::Live(live) => progress(notification, live, (style, now)),
        Body::Custom(custom) => custom_message(notification, custom, (style, now))?,
        Body::Fact(_) => return Err(rejected("no_content")),
    };
    let data = message.get("data").and_then(Value::as_object);
    if data.is_some_and(|data| data.keys().any(|key| is_reserved(key))) {
        return Err(rejected("reserved_data_key"));
    }
    if data.is_some_and(|data| data.values().any(|value| !value.is_string())) {
        return Err(rejected("data_not_text"));
    }
    Ok(message)
}

/// What counts towards Google's limit: names and values of what one platform gets.
pub(super) fn bytes(message: &Map<String, Value>) -> usize {
    let common: usize = ["data", "notification"].iter().filter_map(|name| message.get(*name)).map(weight).sum();
    let of = |platform: &str, names: &[&str]| -> usize {
        let block = message.get(platform);
        names.iter().filter_map(|name| block?.get(*name)).map(weight).sum()
    };
    let own =
        [of("android", &["data", "notification"]), of("apns", &["payload"]), of("webpush", &["data", "notification"])];
    common + own.into_iter().max().unwrap_or(0)
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) => value.to_string().len(),
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + weight(value)).sum(),
    }
}

/// Words that the phone shows without the app's doing.
fn shown(
    notification: &Notification,
    content: &Content,
    priority: Priority,
    (style, now): (&Style, Timestamp),
) -> Map<String, Value> {
    let mut android = android(notification, priority == Priority::High, style, now);
    let mut look = Map::new();
    let channel = match notification.purpose() {
        Some(Purpose::Offer) => style.offer_channel.as_ref(),
        Some(Purpose::Order) => style.order_channel.as_ref(),
        None => None,
    };
    if let Some(channel) = channel {
        look.insert("channel_id".to_owned(), json!(channel));
    }
    if !notification.collapse.is_empty() {
        // The collapse key replaces what waits at Google, the tag what the phone already shows.
        look.insert("tag".to_owned(), json!(notification.collapse));
    }
    if !look.is_empty() {
        android.insert("notification".to_owned(), Value::Object(look));
    }
    let aps = json!({ "sound": "default", "thread-id": thread(notification) });
    let mut message = Map::new();
    message.insert("notification".to_owned(), json!({ "title": content.title, "body": content.body }));
    message.insert("data".to_owned(), json!(app_data(notification)));
    message.insert("android".to_owned(), Value::Object(android));
    message.insert("apns".to_owned(), apns(notification, apns_priority(priority), "alert", aps));
    message.insert("webpush".to_owned(), webpush(notification, content, priority, now));
    message
}

/// Where an order stands, for an app that draws a notification with progress. It is silent: what is to be heard, the app
/// lets be heard.
fn progress(notification: &Notification, live: &Live, (style, now): (&Style, Timestamp)) -> Map<String, Value> {
    let text = |value: Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let state = &live.state;
    let mut data = app_data(notification);
    data.insert("kind", ORDER_PROGRESS.to_owned());
    data.insert("order", live.order.to_string());
    data.insert("event", live.event.name().to_owned());
    data.insert("state", state.state.name().to_owned());
    data.insert("step", state.step.to_string());
    data.insert("steps", state.steps.to_string());
    data.insert("at", epoch_s(state.at).to_string());
    let optional = [
        ("eta", state.eta.map(|at| epoch_s(at).to_string())),
        ("store", state.store.clone()),
        ("fulfilment", state.fulfilment.map(|fulfilment| text(json!(fulfilment)))),
        ("stale_at", live.stale_at.map(|at| epoch_s(at).to_string())),
        ("dismiss_at", live.dismiss_at.map(|at| epoch_s(at).to_string())),
        ("title", live.alert.as_ref().map(|alert| alert.title.clone())),
        ("body", live.alert.as_ref().map(|alert| alert.body.clone())),
    ];
    data.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
    silent(notification, json!(data), live.urgent, (style, now))
}

/// Data alone. Apple wakes an app for it at priority 5 only.
fn silent(
    notification: &Notification,
    data: Value,
    is_high: bool,
    (style, now): (&Style, Timestamp),
) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("data".to_owned(), data);
    message.insert("android".to_owned(), Value::Object(android(notification, is_high, style, now)));
    message.insert("apns".to_owned(), apns(notification, "5", "background", json!({ "content-available": 1 })));
    message
}

fn custom_message(
    notification: &Notification,
    custom: &Custom,
    at: (&Style, Timestamp),
) -> Result<Map<String, Value>, Outcome> {
    let mut message = match (custom.push, &custom.content) {
        (PushKind::Alert, Some(content)) => shown(notification, content, custom.priority, at),
        // The patch has the words.
        (PushKind::Alert, None) if custom.fcm.is_some() => {
            silent(notification, json!(app_data(notification)), custom.priority == Priority::High, at)
        }
        (PushKind::Alert, None) => return Err(rejected("no_content")),
        (PushKind::Background, _) => silent(notification, json!(app_data(notification)), false, at),
        (
            PushKind::Location
            | PushKind::Voip
            | PushKind::Complication
            | PushKind::FileProvider
            | PushKind::Mdm
            | PushKind::LiveActivity
            | PushKind::PushToTalk
            | PushKind::Widgets
            | PushKind::Controls,
            _,
        ) => return Err(rejected("push_type_of_apple")),
    };
    if let Some(patch) = &custom.fcm {
        if patch.keys().any(|key| TARGETS.contains(&key.as_str())) {
            return Err(rejected("target_in_message"));
        }
        merge(&mut message, patch);
        if let Some(data) = message.get_mut("data").and_then(Value::as_object_mut) {
            data.insert("notification_id".to_owned(), json!(notification.id.to_string()));
        }
    }
    Ok(message)
}

/// JSON Merge Patch (RFC 7396).
fn merge(whole: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(whole.remove(name)),
            Value::Object(patch) => {
                let member = whole.entry(name).or_insert_with(|| json!({}));
                if !member.is_object() {
                    *member = json!({});
                }
                if let Some(member) = member.as_object_mut() {
                    merge(member, patch);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                whole.insert(name.clone(), value.clone());
            }
        }
    }
}

fn android(notification: &Notification, is_high: bool, style: &Style, now: Timestamp) -> Map<String, Value> {
    let mut android = Map::new();
    android.insert("priority".to_owned(), json!(if is_high { "HIGH" } else { "NORMAL" }));
    android.insert("ttl".to_owned(), json!(ttl(notification, now)));
    if !notification.collapse.is_empty() {
        android.insert("collapse_key".to_owned(), json!(notification.collapse));
    }
    if let Some(package) = &style.package {
        android.insert("restricted_package_name".to_owned(), json!(package));
    }
    if style.direct_boot {
        android.insert("direct_boot_ok".to_owned(), json!(true));
    }
    android
}

/// For installations on Apple's devices.
fn apns(notification: &Notification, priority: &str, push_type: &str, aps: Value) -> Value {
    let mut headers = Map::new();
    headers.insert("apns-push-type".to_owned(), json!(push_type));
    headers.insert("apns-priority".to_owned(), json!(priority));
    headers.insert("apns-expiration".to_owned(), json!(epoch_s(notification.expires_at).max(1).to_string()));
    if !notification.collapse.is_empty() {
        headers.insert("apns-collapse-id".to_owned(), json!(notification.collapse));
    }
    json!({ "headers": headers, "payload": { "aps": aps } })
}

fn apns_priority(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "10",
        Priority::Normal => "5",
        Priority::Low => "1",
    }
}

/// For installations in browsers.
fn webpush(notification: &Notification, content: &Content, priority: Priority, now: Timestamp) -> Value {
    let urgency = match (notification.purpose(), priority) {
        (_, Priority::Low) => "low",
        (_, Priority::Normal) | (Some(Purpose::Offer), Priority::High) => "normal",
        (Some(Purpose::Order) | None, Priority::High) => "high",
    };
    let life_s = (notification.expires_at.since(now).as_millis().min(TTL_MS_MAX)) / 1_000;
    let mut block = json!({ "headers": { "TTL": life_s.to_string(), "Urgency": urgency } });
    if let Some(link) = content.deep_link.as_ref().filter(|link| link.starts_with("https://")) {
        block["fcm_options"] = json!({ "link": link });
    }
    block
}

/// Seconds with up to three digits after the point, as protobuf's JSON has durations.
fn ttl(notification: &Notification, now: Timestamp) -> String {
    let life_ms = notification.expires_at.since(now).as_millis().min(TTL_MS_MAX);
    let (seconds, rest_ms) = (life_ms / 1_000, life_ms % 1_000);
    if rest_ms == 0 {
        return format!("{seconds}s");
    }
    format!("{}s", format!("{seconds}.{rest_ms:03}").trim_end_matches('0'))
}

fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || key.starts_with("google.") || key.starts_with("gcm.notification.")
}
