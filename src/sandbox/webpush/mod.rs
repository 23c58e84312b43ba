//! A push service for browsers (RFC 8030, 8188, 8291, 8292) that answers errors as Mozilla's does.
//!
//! Unlike a real one it holds the browser's private key too: a message that the browser could not decrypt is refused
//! with 400 instead of being lost in silence.

mod decrypt;
mod vapid;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

pub(super) use self::vapid::WebPush;
use super::{
    record::Message,
    reply::{Judged, Reply, Request, status},
    shared::Shared,
    target::{Browser, Kind, hex},
};

const BODY_BYTES: usize = 4_096;
/// Mozilla's bound, seconds: 30 days.
const TTL_MAX_S: u64 = 2_592_000;
const TOPIC_CHARACTERS: usize = 32;

/// Why a request is refused: HTTP status, Mozilla's error number, its text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    number: u16,
    text: String,
}

fn refused(code: u16, number: u16, text: impl Into<String>) -> Refused {
    Refused { status: status(code), number, text: text.into() }
}

pub(super) fn judge(shared: &Shared, request: &Request) -> Judged {
    let target = format!("{}{}", shared.endpoints.webpush, request.path);
    let id = hex::<16>(&shared.entropy);
    let mut message = Message { id: id.clone(), ..Message::default() };
    message.collapse = request.header("topic").map(str::to_owned);
    match check(shared, request, &target) {
        Ok((plaintext, ttl_s)) => {
            read(&mut message, &plaintext);
            let location = format!("{}/message/{id}", shared.endpoints.webpush);
            let reply = Reply::empty(StatusCode::CREATED).with("location", &location).with("ttl", &ttl_s.to_string());
            Judged::Valid { target, message, reply }
        }
        Err(refused) => {
            let reply = refusal(refused.status, refused.number, &refused.text);
            Judged::Refused { target, message, reply, reason: format!("{}: {}", refused.number, refused.text) }
        }
    }
}

/// The answer for a status that was asked for.
pub(super) fn refuse(code: u16, reason: Option<&str>) -> (Reply, String) {
    let (number, usual) = match code {
        401 | 403 => (109, "the token is not valid for this subscription"),
        404 => (102, "there is no such subscription"),
        410 => (103, "the subscription has ended"),
        413 => (104, "the message is too large"),
        429 => (202, "too many messages"),
        503 => (201, "try again later"),
        0..=400 | 402 | 405..=409 | 411 | 412 | 414..=428 | 430..=502 | 504.. => (999, "unknown error"),
    };
    let text = reason.unwrap_or(usual);
    (refusal(status(code), number, text), format!("{number}: {text}"))
}

fn refusal(status: StatusCode, number: u16, text: &str) -> Reply {
    let error = status.canonical_reason().unwrap_or("Unknown");
    Reply::json(status, &json!({ "code": status.as_u16(), "errno": number, "error": error, "message": text }))
}

/// The decrypted message and how long it would be kept.
fn check(shared: &Shared, request: &Request, target: &str) -> Result<(Vec<u8>, u64), Refused> {
    let known = shared.targets.find(target).ok_or_else(|| refused(404, 102, "there is no such subscription"))?;
    let Kind::WebPush(browser) = &known.kind else {
        return Err(refused(404, 102, "there is no such subscription"));
    };
    if request.method != Method::POST {
        return Err(refused(405, 999, "a message is sent with POST"));
    }
    let ttl_s = check_headers(request)?;
    shared.webpush.authorize(
        request.header("authorization"),
        &shared.identity.vapid_public,
        &shared.endpoints.webpush,
        shared.clock.now(),
    )?;
    if known.gone_since().is_some() {
        return Err(refused(410, 103, "the subscription has ended"));
    }
    if request.overlong || request.body.len() > BODY_BYTES {
        return Err(refused(413, 104, format!("the body is larger than {BODY_BYTES} bytes")));
    }
    Ok((decrypted(browser, request)?, ttl_s))
}

fn check_headers(request: &Request) -> Result<u64, Refused> {
    let ttl = request.headers.get("ttl").ok_or_else(|| refused(400, 112, "TTL: the header is missing"))?;
    let ttl = ttl.to_str().ok().filter(|ttl| ttl.bytes().all(|byte| byte.is_ascii_digit()));
    let ttl_s: u64 =
        ttl.and_then(|ttl| ttl.parse().ok()).ok_or_else(|| refused(400, 112, "TTL: not a whole number of seconds"))?;
    if ttl_s > TTL_MAX_S {
        return Err(refused(400, 112, format!("TTL: more than {TTL_MAX_S} seconds")));
    }
    let urgency = request.header("urgency");
    if request.headers.contains_key("urgency") && !matches!(urgency, Some("very-low" | "low" | "normal" | "high")) {
        return Err(refused(400, 999, "Urgency: not one of very-low, low, normal, high"));
    }
    let is_topic = |topic: &str| {
        (1..=TOPIC_CHARACTERS).contains(&topic.len())
            && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if request.headers.contains_key("topic") && !request.header("topic").is_some_and(is_topic) {
        return Err(refused(400, 113, "Topic: not 1 to 32 base64url characters"));
    }
    Ok(ttl_s)
}

/// A message may be empty; then it only wakes the browser up.
fn decrypted(browser: &Browser, request: &Request) -> Result<Vec<u8>, Refused> {
    if request.body.is_empty() {
        return Ok(Vec::new());
    }
    match request.header("content-encoding") {
        None => Err(refused(400, 110, "Content-Encoding: the header is missing")),
        Some("aes128gcm") => decrypt::message(browser, &request.body).map_err(|why| refused(400, 110, why)),
        Some(_) => Err(refused(400, 110, "Content-Encoding: not aes128gcm")),
    }
}

/// Reads a Declarative Web Push message, or the same fields from any other JSON document.
fn read(message: &mut Message, plaintext: &[u8]) {
    message.payload = String::from_utf8_lossy(plaintext).into_owned();
    let Ok(document) = serde_json::from_slice::<Map<String, Value>>(plaintext) else {
        return;
    };
    let text = |from: &Map<String, Value>, name: &str| from.get(name).and_then(Value::as_str).map(str::to_owned);
    if document.get("web_push").and_then(Value::as_u64) == Some(8_030) {
        let Some(Value::Object(notification)) = document.get("notification") else { return };
        let (title, navigate) = (text(notification, "title"), text(notification, "navigate"));
        // A browser shows nothing by itself without both.
        if title.as_ref().is_some_and(|title| !title.is_empty()) && navigate.is_some() {
            message.title = title;
            message.body = text(notification, "body");
            message.deep_link = navigate;
            message.collapse = text(notification, "tag").or(message.collapse.take());
        }
        return;
    }
    // What a service worker would show: workers find it at the top or under `notification`.
    let shown = document.get("notification").and_then(Value::as_object).unwrap_or(&document);
    message.title = text(shown, "title");
    message.body = text(shown, "body");
    message.deep_link = ["deep_link", "url", "link"].iter().find_map(|name| text(shown, name));
    message.collapse = text(shown, "tag").or(message.collapse.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: &Value) -> Message {
        let mut message = Message { collapse: Some("topic".to_owned()), ..Message::default() };
        read(&mut message, document.to_string().as_bytes());
        message
    }

    #[test]
    fn a_declarative_message_needs_title_and_navigate() {
        let mut document = json!({
            "web_push": 8030,
            "notification": { "title": "Order ready", "body": "Bay 3", "navigate": "https://shop.example/o/1", "tag": "o-1" },
        });
        let message = shown(&document);
        assert_eq!(message.title.as_deref(), Some("Order ready"));
        assert_eq!(message.deep_link.as_deref(), Some("https://shop.example/o/1"));
        assert_eq!(message.collapse.as_deref(), Some("o-1"));
        document["notification"].as_object_mut().expect("an object").remove("navigate");
        assert_eq!(shown(&document).title, None);
    }

    #[test]
    fn any_other_document_is_read_too() {
        let message = shown(&json!({ "title": "Hello", "body": "you", "url": "https://shop.example" }));
        assert_eq!(message.title.as_deref(), Some("Hello"));
        assert_eq!(message.deep_link.as_deref(), Some("https://shop.example"));
        assert_eq!(message.collapse.as_deref(), Some("topic"));
    }
}
