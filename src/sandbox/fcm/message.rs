//! What FCM checks in a message that has the right shape, and what the device would show of it.

use serde_json::{Map, Value, json};

use super::{
    super::{record::Message, shared::Shared, target::Kind},
    BAD_REQUEST, FCM_ERROR, Refused, condition, shape,
};

const PAYLOAD_BYTES: usize = 4_096;
/// Four weeks.
const TTL_MAX_S: f64 = 2_419_200.0;

/// Writes the target down and checks everything.
pub(super) fn check(shared: &Shared, message: &Map<String, Value>, target: &mut String) -> Result<(), Refused> {
    let text = |name: &str| message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let device = text("token").map(|token| (token, "message.token", is_token(token)));
    let device = device.or_else(|| text("fid").map(|id| (id, "message.fid", is_installation(id))));
    if let Some((id, field, valid)) = device {
        id.clone_into(target);
        if !valid {
            let what = if field == "message.token" { "registration token" } else { "installation id" };
            return Err(Refused::field(field, &format!("The {what} is not a valid FCM {what}")));
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
            return Err(malformed());
        }
    } else {
        return Err(Refused::field("message", "Recipient of the message is not set."));
    }
    check_content(message)?;
    if device.is_some() { check_registration(shared, target) } else { Ok(()) }
}

/// The refusal of a message that is too large.
pub(super) fn too_large() -> Refused {
    Refused {
        code: 400,
        message: "Message is too large. The maximum is 4K (4096 bytes).".to_owned(),
        details: vec![json!({ "@type": BAD_REQUEST }), json!({ "@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT" })],
        reason: "INVALID_ARGUMENT".to_owned(),
    }
}

/// What the device would show.
pub(super) fn read(message: &Map<String, Value>, seen: &mut Message) {
    let message = Value::Object(message.clone());
    let first =
        |pointers: &[&str]| pointers.iter().find_map(|pointer| message.pointer(pointer)?.as_str()).map(str::to_owned);
    seen.title = first(&["/android/notification/title", "/notification/title", "/data/title"]);
    seen.body = first(&["/android/notification/body", "/notification/body", "/data/body"]);
    seen.deep_link = first(&["/data/deep_link", "/data/url", "/data/link", "/webpush/fcm_options/link"]);
    seen.collapse = first(&["/android/notification/tag", "/android/collapse_key", "/apns/headers/apns-collapse-id"]);
}

/// The envelope without details that the real service gives for a condition it cannot read.
fn malformed() -> Refused {
    Refused {
        code: 400,
        message: "Request contains an invalid argument.".to_owned(),
        details: Vec::new(),
        reason: "INVALID_ARGUMENT".to_owned(),
    }
}

fn check_registration(shared: &Shared, target: &str) -> Result<(), Refused> {
    let known = shared.targets.find(target).filter(|known| matches!(known.kind, Kind::Fcm));
    if known.is_some_and(|known| known.gone_since().is_none()) {
        Ok(())
    } else {
        Err(Refused::code(404, "UNREGISTERED", "Requested entity was not found."))
    }
}

fn check_content(message: &Map<String, Value>) -> Result<(), Refused> {
    let at = |section: &str, name: &str| message.get(section).and_then(|section| section.get(name));
    let ttl = at("android", "ttl").and_then(Value::as_str).and_then(shape::seconds);
    if ttl.is_some_and(|ttl| !(0.0..=TTL_MAX_S).contains(&ttl)) {
        let text = "TTL must be between 0 and 2419200 seconds.";
        return Err(Refused::field("message.android.ttl", text));
    }
    let browser_ttl = at("webpush", "headers").and_then(|headers| headers.get("TTL")).and_then(Value::as_str);
    if browser_ttl.is_some_and(|ttl| ttl.parse::<u32>().is_err()) {
        return Err(Refused::field("message.webpush.headers.TTL", "TTL must be a non-negative integer."));
    }
    let maps = [("message.data", message.get("data")), ("message.android.data", at("android", "data"))];
    for (field, data) in maps {
        let reserved = data.and_then(Value::as_object).and_then(|data| data.keys().find(|key| is_reserved(key)));
        if let Some(key) = reserved {
            return Err(Refused::field(field, &format!("Invalid data payload key: {key}")));
        }
    }
    let sections = ["data", "notification"].map(|name| message.get(name));
    let android = ["data", "notification"].map(|name| at("android", name));
    let bytes: usize = sections.iter().chain(&android).filter_map(|section| *section).map(bytes).sum();
    if bytes > PAYLOAD_BYTES { Err(too_large()) } else { Ok(()) }
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
