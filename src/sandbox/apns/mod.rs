//! APNs' provider API as Apple documents it ("Sending notification requests to APNs", "Handling notification responses
//! from APNs"): one request, the checks in their order, one reason.
//!
//! Not here: broadcast channels, and what a device does with a Live Activity.

mod authorization;

use http::StatusCode;
use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};
use serde_json::{Map, Value, json};

pub(super) use self::authorization::Apns;
use super::{
    record::Message,
    reply::{Judged, Reply, Request, status},
    shared::{Connection, Shared},
    target::{Kind, Target, hex},
};

const PATH: &str = "/3/device/";
const PAYLOAD_BYTES: usize = 4_096;
const VOIP_PAYLOAD_BYTES: usize = 5_120;
const COLLAPSE_BYTES: usize = 64;
/// Device tokens have 64 digits today, those of Live Activities more; Apple promises no length.
const TOKEN_DIGITS: std::ops::RangeInclusive<usize> = 64..=400;
/// Each push type and what its topic ends with.
const PUSH_TYPES: [(&str, &str); 11] = [
    ("alert", ""),
    ("background", ""),
    ("mdm", ""),
    ("voip", ".voip"),
    ("pushtotalk", ".voip-ptt"),
    ("complication", ".complication"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("location", ".location-query"),
    ("liveactivity", ".push-type.liveactivity"),
    ("widgets", ".push-type.widgets"),
    ("controls", ".push-type.controls"),
];
const SINGLE_HEADERS: [&str; 7] = [
    "authorization",
    "apns-id",
    "apns-push-type",
    "apns-topic",
    "apns-expiration",
    "apns-priority",
    "apns-collapse-id",
];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    reason: &'static str,
    /// Since when the target is gone.
    since: Option<Timestamp>,
}

impl Refused {
    const fn new(status: StatusCode, reason: &'static str) -> Refused {
        Refused { status, reason, since: None }
    }

    const fn bad(reason: &'static str) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, reason)
    }
}

pub(super) fn judge(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
) -> Judged {
    let token = request.path.strip_prefix(PATH).unwrap_or_default().to_ascii_lowercase();
    let sent_id = request.header("apns-id").filter(|id| is_uuid(id));
    let id = sent_id.map_or_else(|| uuid(shared), str::to_owned);
    let message = message(&id, request);
    match check(shared, environment, connection, request, &token) {
        Ok(()) => {
            let mut reply = Reply::empty(StatusCode::OK).with("apns-id", &id);
            if environment == ApnsEnvironment::Sandbox {
                reply = reply.with("apns-unique-id", &uuid(shared));
            }
            Judged::Valid { target: token, message, reply }
        }
        Err(refused) => {
            let reply = refusal(refused.status, refused.reason, refused.since).with("apns-id", &id);
            Judged::Refused { target: token, message, reply, reason: refused.reason.to_owned() }
        }
    }
}

/// The answer for a status that was asked for.
pub(super) fn refuse(code: u16, reason: Option<&str>, now: Timestamp) -> (Reply, String) {
    let reason = reason.unwrap_or(match code {
        403 => "Forbidden",
        404 => "BadPath",
        405 => "MethodNotAllowed",
        410 => "Unregistered",
        413 => "PayloadTooLarge",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        0..500 => "BadDeviceToken",
        500.. => "InternalServerError",
    });
    (refusal(status(code), reason, (code == 410).then_some(now)), reason.to_owned())
}

fn refusal(status: StatusCode, reason: &str, since: Option<Timestamp>) -> Reply {
    match since {
        Some(since) => Reply::json(status, &json!({ "reason": reason, "timestamp": since.as_millis() })),
        None => Reply::json(status, &json!({ "reason": reason })),
    }
}

fn check(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    token: &str,
) -> Result<(), Refused> {
    check_line(request)?;
    shared.apns.authorize(request, environment, connection, shared.clock.now())?;
    let target = find(shared, environment, token)?;
    if let Some(since) = target.gone_since() {
        return Err(Refused { since: Some(since), ..Refused::new(StatusCode::GONE, "Unregistered") });
    }
    let suffix = check_topic(shared, &target, request)?;
    if request.headers.contains_key("apns-id") && !request.header("apns-id").is_some_and(is_uuid) {
        return Err(Refused::bad("BadMessageId"));
    }
    check_push_type(request, suffix)?;
    check_delivery(request)?;
    check_payload(request)
}

fn check_line(request: &Request) -> Result<(), Refused> {
    let Some(token) = request.path.strip_prefix(PATH) else {
        return Err(Refused::new(StatusCode::NOT_FOUND, "BadPath"));
    };
    if token.contains('/') {
        return Err(Refused::new(StatusCode::NOT_FOUND, "BadPath"));
    }
    if request.method != http::Method::POST {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
    }
    if SINGLE_HEADERS.iter().any(|name| request.headers.get_all(*name).iter().count() > 1) {
        return Err(Refused::bad("DuplicateHeaders"));
    }
    Ok(())
}

fn find(shared: &Shared, environment: ApnsEnvironment, token: &str) -> Result<std::sync::Arc<Target>, Refused> {
    if token.is_empty() {
        return Err(Refused::bad("MissingDeviceToken"));
    }
    let is_token = TOKEN_DIGITS.contains(&token.len())
        && token.len().is_multiple_of(2)
        && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bad = Refused::bad("BadDeviceToken");
    let target = shared.targets.find(token).filter(|_| is_token).ok_or(bad)?;
    match &target.kind {
        Kind::Apns { environment: own, .. } if *own == environment => Ok(target),
        Kind::Apns { .. } | Kind::Fcm | Kind::WebPush(_) => Err(bad),
    }
}

/// The topic's suffix, if the topic is the target's app.
fn check_topic(shared: &Shared, target: &Target, request: &Request) -> Result<&'static str, Refused> {
    let topic = match request.headers.get("apns-topic") {
        None => return Err(Refused::bad("MissingTopic")),
        Some(topic) => topic.to_str().map_err(|_| Refused::bad("BadTopic"))?,
    };
    let is_bundle_id = !topic.is_empty()
        && topic.len() <= 255
        && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if !is_bundle_id {
        return Err(Refused::bad("BadTopic"));
    }
    let Kind::Apns { topic: own, .. } = &target.kind else { return Err(Refused::bad("BadDeviceToken")) };
    let suffixes = PUSH_TYPES.iter().map(|(_, suffix)| *suffix);
    if let Some(suffix) = suffixes.clone().find(|suffix| topic.strip_suffix(suffix) == Some(own)) {
        return Ok(suffix);
    }
    let of_team = suffixes.filter_map(|suffix| topic.strip_suffix(suffix)).any(|app| shared.targets.has_topic(app));
    Err(Refused::bad(if of_team { "DeviceTokenNotForTopic" } else { "TopicDisallowed" }))
}

/// The header may be absent, as for old apps; then the topic's suffix is not looked at.
fn check_push_type(request: &Request, suffix: &str) -> Result<(), Refused> {
    if !request.headers.contains_key("apns-push-type") {
        return Ok(());
    }
    let sent = request.header("apns-push-type");
    let known = PUSH_TYPES.iter().any(|(name, expected)| Some(*name) == sent && *expected == suffix);
    if known { Ok(()) } else { Err(Refused::bad("InvalidPushType")) }
}

fn check_delivery(request: &Request) -> Result<(), Refused> {
    let has = |name: &str| request.headers.contains_key(name);
    let priority = request.header("apns-priority");
    let background = request.header("apns-push-type") == Some("background");
    if has("apns-priority") && !matches!(priority, Some("1" | "5" | "10")) || background && priority == Some("10") {
        return Err(Refused::bad("BadPriority"));
    }
    let expiration = request.header("apns-expiration");
    if has("apns-expiration") && !expiration.is_some_and(|at| is_digits(at) && at.parse::<i64>().is_ok()) {
        return Err(Refused::bad("BadExpirationDate"));
    }
    if request.headers.get("apns-collapse-id").is_some_and(|id| id.len() > COLLAPSE_BYTES) {
        return Err(Refused::bad("BadCollapseId"));
    }
    Ok(())
}

fn check_payload(request: &Request) -> Result<(), Refused> {
    let push_type = request.header("apns-push-type");
    let limit = if push_type == Some("voip") { VOIP_PAYLOAD_BYTES } else { PAYLOAD_BYTES };
    if request.overlong || request.body.len() > limit {
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge"));
    }
    let payload: Map<String, Value> =
        serde_json::from_slice(&request.body).map_err(|_| Refused::bad("PayloadEmpty"))?;
    let content = if push_type == Some("mdm") { "mdm" } else { "aps" };
    if payload.contains_key(content) { Ok(()) } else { Err(Refused::bad("PayloadEmpty")) }
}

fn message(id: &str, request: &Request) -> Message {
    let payload: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let alert = &payload["aps"]["alert"];
    let links = ["deep_link", "url", "link"].iter().find_map(|key| text(&payload[key]));
    Message {
        id: id.to_owned(),
        collapse: request.header("apns-collapse-id").map(str::to_owned),
        title: text(&alert["title"]),
        body: text(&alert["body"]).or_else(|| text(alert)),
        deep_link: links,
        payload: String::from_utf8_lossy(&request.body).into_owned(),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The canonical form: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A random UUID (version 4) in upper case, as Apple writes its own.
fn uuid(shared: &Shared) -> String {
    let digits = hex::<16>(&shared.entropy).to_ascii_uppercase();
    let variant = ["8", "9", "A", "B"][usize::from(digits.as_bytes()[16]) % 4];
    format!("{}-{}-4{}-{variant}{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_canonical_form() {
        assert!(is_uuid("eabeae54-14a8-11e5-b60b-1697f925ec7b"));
        assert!(!is_uuid("eabeae5414a811e5b60b1697f925ec7b"));
        assert!(!is_uuid("gabeae54-14a8-11e5-b60b-1697f925ec7b"));
    }

    #[test]
    fn each_status_has_its_usual_reason() {
        let reason = |code| refuse(code, None, Timestamp::from_millis(5)).1;
        assert_eq!(reason(429), "TooManyRequests");
        assert_eq!(reason(503), "ServiceUnavailable");
        assert_eq!(reason(502), "InternalServerError");
        let (reply, reason) = refuse(410, Some("ExpiredToken"), Timestamp::from_millis(5));
        assert_eq!(reason, "ExpiredToken");
        assert_eq!(&reply.body[..], br#"{"reason":"ExpiredToken","timestamp":5}"#);
    }
}
