//! What FCM checks in the blocks of a message for one platform each.

use serde_json::{Map, Value};

use super::{error::Refused, shape};

/// Four weeks.
const TTL_MAX_S: f64 = 2_419_200.0;
const COLLAPSE_BYTES: usize = 64;
const COLOR_DIGITS: usize = 6;

pub(super) fn check(message: &Map<String, Value>) -> Result<(), Refused> {
    let block = |name: &str| message.get(name).and_then(Value::as_object);
    block("android").map_or(Ok(()), android)?;
    block("webpush").map_or(Ok(()), webpush)?;
    block("apns").map_or(Ok(()), |apns| check_apns(apns, message))
}

fn android(android: &Map<String, Value>) -> Result<(), Refused> {
    let ttl = android.get("ttl").and_then(Value::as_str).and_then(shape::seconds);
    if ttl.is_some_and(|ttl| !(0.0..=TTL_MAX_S).contains(&ttl)) {
        return Err(Refused::field("message.android.ttl", "TTL must be between 0 and 2419200 seconds."));
    }
    let notification = android.get("notification").and_then(Value::as_object);
    let color = notification.and_then(|notification| notification.get("color")).and_then(Value::as_str);
    let is_color = |color: &str| {
        let digits = color.strip_prefix('#').unwrap_or_default();
        digits.len() == COLOR_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if color.is_some_and(|color| !is_color(color)) {
        return Err(Refused::field("message.android.notification.color", "Color must be in the form #RRGGBB."));
    }
    Ok(())
}

fn webpush(webpush: &Map<String, Value>) -> Result<(), Refused> {
    let header = |name: &str| text_in(webpush, "headers", name);
    if header("TTL").is_some_and(|ttl| ttl.parse::<u32>().is_err()) {
        return Err(Refused::field("message.webpush.headers.TTL", "TTL must be a non-negative integer."));
    }
    if header("Urgency").is_some_and(|urgency| !["very-low", "low", "normal", "high"].contains(&urgency)) {
        let text = "Urgency must be one of very-low, low, normal, high.";
        return Err(Refused::field("message.webpush.headers.Urgency", text));
    }
    if text_in(webpush, "fcm_options", "link").is_some_and(|link| !link.starts_with("https://")) {
        return Err(Refused::field("message.webpush.fcm_options.link", "Link must be an HTTPS URL."));
    }
    Ok(())
}

fn check_apns(apns: &Map<String, Value>, message: &Map<String, Value>) -> Result<(), Refused> {
    let header = |name: &str| text_in(apns, "headers", name);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let faults = [
        ("apns-priority", header("apns-priority").is_some_and(|priority| !["1", "5", "10"].contains(&priority))),
        ("apns-expiration", header("apns-expiration").is_some_and(|at| !is_number(at))),
        ("apns-collapse-id", header("apns-collapse-id").is_some_and(|id| id.len() > COLLAPSE_BYTES)),
    ];
    if let Some((name, _)) = faults.iter().find(|(_, faulty)| *faulty) {
        let field = format!("message.apns.headers.{name}");
        return Err(Refused::field(&field, &format!("Invalid value of the header {name}.")));
    }
    let aps = apns.get("payload").and_then(|payload| payload.get("aps"));
    if aps.is_some_and(|aps| !aps.is_object()) {
        return Err(Refused::field("message.apns.payload.aps", "aps must be an object."));
    }
    if apns.contains_key("live_activity_token") {
        live_activity(aps, message)?;
    }
    Ok(())
}

/// The token of an activity goes with the token of its app, and with an event.
fn live_activity(aps: Option<&Value>, message: &Map<String, Value>) -> Result<(), Refused> {
    if !message.contains_key("token") && !message.contains_key("fid") {
        let text = "A Live Activity needs a registration token.";
        return Err(Refused::field("message.apns.live_activity_token", text));
    }
    let event = aps.and_then(|aps| aps.get("event")).and_then(Value::as_str);
    let known = event.is_some_and(|event| ["start", "update", "end"].contains(&event));
    let has_time = aps.and_then(|aps| aps.get("timestamp")).is_some_and(Value::is_i64);
    let has_state = event == Some("end") || aps.and_then(|aps| aps.get("content-state")).is_some_and(Value::is_object);
    let faults = [("event", known), ("timestamp", has_time), ("content-state", has_state)];
    match faults.iter().find(|(_, good)| !good) {
        Some((name, _)) => {
            let field = format!("message.apns.payload.aps.{name}");
            Err(Refused::field(&field, &format!("A Live Activity needs {name}.")))
        }
        None => Ok(()),
    }
}

fn text_in<'a>(block: &'a Map<String, Value>, section: &str, name: &str) -> Option<&'a str> {
    block.get(section)?.get(name)?.as_str()
}
