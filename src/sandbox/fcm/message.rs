//! What FCM checks in a message that has the right shape, and what the device would show of it.

use serde_json::{Map, Value};

use super::{
    super::{
        app::App,
        record::{ActivityPush, Message},
        shared::Shared,
        target::Kind,
    },
    blocks, condition,
    error::{Refused, unregistered},
};

pub(super) const PAYLOAD_BYTES: usize = 4_096;
const TOPIC_PAYLOAD_BYTES: usize = 2_048;

/// Writes the target down and checks everything.
pub(super) fn check(
    shared: &Shared,
    app: &App,
    message: &Map<String, Value>,
    target: &mut String,
) -> Result<(), Refused> {
    let text = |name: &str| message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let device = text("token").map(|token| (token, "message.token", is_token(token)));
    let device = device.or_else(|| text("fid").map(|id| (id, "message.fid", is_installation(id))));
    if let Some((id, field, valid)) = device {
        id.clone_into(target);
        if !valid {
            let what = if field == "message.token" { "registration token" } else { "installation id" };
            return Err(Refused::field(field, &format!("The {what} is not a valid FCM {what}")).reversed());
        }
    } else if let Some(topic) = text("topic") {
        let topic = topic.strip_prefix("/topics/").unwrap_or(topic);
        *target = format!("topics/{topic}");
        if !condition::is_topic(topic) {
            return Err(Refused::field("message", "Topic name contains invalid characters."));
        }
    } else if let Some(condition) = text("condition") {
        condition.clone_into(target);
        if !condition::is_valid(condition) {
            return Err(Refused::bare());
        }
    } else {
        return Err(Refused::field("message", "Recipient of the message is not set."));
    }
    blocks::check(message)?;
    check_content(message, if device.is_some() { PAYLOAD_BYTES } else { TOPIC_PAYLOAD_BYTES })?;
    if device.is_some() { check_registration(shared, app, target) } else { Ok(()) }
}

/// The refusal of a message that is too large.
pub(super) fn too_large(bytes_max: usize) -> Refused {
    Refused::whole(&format!("Message is too large. The maximum is {}K ({bytes_max} bytes).", bytes_max / 1_024))
}

/// What the device would show.
pub(super) fn read(message: &Map<String, Value>, seen: &mut Message) {
    let message = Value::Object(message.clone());
    let first =
        |pointers: &[&str]| pointers.iter().find_map(|pointer| message.pointer(pointer)?.as_str()).map(str::to_owned);
    seen.title =
        first(&["/android/notification/title", "/notification/title", "/apns/payload/aps/alert/title", "/data/title"]);
    seen.body =
        first(&["/android/notification/body", "/notification/body", "/apns/payload/aps/alert/body", "/data/body"]);
    seen.deep_link = first(&["/data/deep_link", "/data/url", "/data/link", "/webpush/fcm_options/link"]);
    seen.collapse = first(&["/android/notification/tag", "/android/collapse_key", "/apns/headers/apns-collapse-id"]);
    seen.topic = first(&["/topic"]).map(|topic| topic.strip_prefix("/topics/").unwrap_or(&topic).to_owned());
    seen.activity = activity(&message);
}

/// An activity is told by its own token.
fn activity(message: &Value) -> Option<ActivityPush> {
    let card = message.pointer("/apns/live_activity_token")?.as_str()?;
    let aps = message.pointer("/apns/payload/aps")?;
    Some(ActivityPush {
        card: card.to_owned(),
        event: aps["event"].as_str()?.to_owned(),
        timestamp: aps["timestamp"].as_i64()?,
        attributes_type: aps["attributes-type"].as_str().map(str::to_owned),
        attributes: aps["attributes"].clone(),
        state: aps["content-state"].clone(),
        stale_date: aps["stale-date"].as_i64(),
        dismissal_date: aps["dismissal-date"].as_i64(),
    })
}

fn check_registration(shared: &Shared, app: &App, target: &str) -> Result<(), Refused> {
    let known = shared.targets.find(target).filter(|known| matches!(known.kind, Kind::Fcm));
    match known {
        Some(known) if known.app.name != app.name => Err(Refused::code(403, "SENDER_ID_MISMATCH", "SenderId mismatch")),
        Some(known) if known.gone().is_none() => Ok(()),
        Some(_) | None => Err(unregistered()),
    }
}

fn check_content(message: &Map<String, Value>, bytes_max: usize) -> Result<(), Refused> {
    let at = |section: &str, name: &str| message.get(section).and_then(|section| section.get(name));
    let maps = [("message.data", message.get("data")), ("message.android.data", at("android", "data"))];
    for (field, data) in maps {
        let reserved = data.and_then(Value::as_object).and_then(|data| data.keys().find(|key| is_reserved(key)));
        if let Some(key) = reserved {
            return Err(Refused::field(field, &format!("Invalid data payload key: {key}")));
        }
    }
    let sizes = |names: &[(&str, &str)]| -> usize {
        let found = names.iter().filter_map(|(section, name)| match *section {
            "" => message.get(*name),
            section => at(section, name),
        });
        found.map(bytes).sum()
    };
    // Each platform gets the common part and its own.
    let common = sizes(&[("", "data"), ("", "notification")]);
    let own = [
        sizes(&[("android", "data"), ("android", "notification")]),
        sizes(&[("apns", "payload")]),
        sizes(&[("webpush", "data"), ("webpush", "notification")]),
    ];
    let largest = common + own.into_iter().max().unwrap_or(0);
    // Beyond both limits the real service names the larger one, to whomever the message goes.
    let told = if largest > PAYLOAD_BYTES { PAYLOAD_BYTES } else { bytes_max };
    if largest > bytes_max { Err(too_large(told)) } else { Ok(()) }
}

/// Names and values together, without JSON's own characters.
fn bytes(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string().len(),
    }
}

fn is_reserved(key: &str) -> bool {
    key == "from" || key == "message_type" || key.starts_with("google.") || key.starts_with("gcm.notification.")
}

/// An installation id, a colon and a long text.
fn is_token(token: &str) -> bool {
    token.split_once(':').is_some_and(|(id, rest)| is_installation(id) && rest.len() >= 100 && is_base64url(rest))
}

fn is_installation(id: &str) -> bool {
    id.len() == 22 && id.starts_with(['c', 'd', 'e', 'f']) && is_base64url(id)
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
