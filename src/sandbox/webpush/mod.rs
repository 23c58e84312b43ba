//! A push service for browsers (RFC 8030, 8188, 8291, 8292) that answers errors as Mozilla's does.
//!
//! Unlike a real one it holds the browser's private key too: a message that the browser could not decrypt is refused
//! with 400 instead of being lost in silence. What goes to a browser that is connected is passed on as it came.

mod declarative;
mod decrypt;
mod vapid;

use http::{Method, StatusCode};
use serde_json::json;

pub(super) use self::vapid::WebPush;
use super::{
    record::Message,
    reply::{Judged, Reply, Request, status},
    shared::Shared,
    target::{Browser, Kind, Subscriber, hex},
};

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
    let topic = request.header("topic").map(str::to_owned);
    let mut message = Box::new(Message {
        id: id.clone(),
        collapse: topic.clone(),
        topic,
        app: shared.targets.find(&target).map(|known| known.app.name.clone()),
        headers: request.told(),
        ..Message::default()
    });
    match check(shared, request, &target) {
        Ok((plaintext, ttl_s)) => {
            match plaintext {
                Some(plaintext) => declarative::read(&mut message, &plaintext),
                None => message.payload = format!("{} bytes for a browser that is connected", request.body.len()),
            }
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

/// Passes what was accepted on to the browser, if a connected one is meant.
pub(super) fn accepted(shared: &Shared, target: &str, request: &Request) {
    let Some(known) = shared.targets.find(target) else { return };
    if let Kind::WebPush { subscriber: Subscriber::Connected { channel_id }, .. } = &known.kind {
        shared.browsers.push(channel_id, request.header("content-encoding"), &request.body);
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

/// The answer for a subscription that is gone.
pub(super) fn gone() -> (Reply, String) {
    refuse(410, None)
}

fn refusal(status: StatusCode, number: u16, text: &str) -> Reply {
    let error = status.canonical_reason().unwrap_or("Unknown");
    Reply::json(status, &json!({ "code": status.as_u16(), "errno": number, "error": error, "message": text }))
}

/// The decrypted message, if the sandbox can read it, and how long it would be kept.
fn check(shared: &Shared, request: &Request, target: &str) -> Result<(Option<Vec<u8>>, u64), Refused> {
    let known = shared.targets.find(target).ok_or_else(|| refused(404, 102, "there is no such subscription"))?;
    let Kind::WebPush { subscriber, body_bytes_max } = &known.kind else {
        return Err(refused(404, 102, "there is no such subscription"));
    };
    if request.method != Method::POST {
        return Err(refused(405, 999, "a message is sent with POST"));
    }
    let ttl_s = check_headers(request)?;
    shared.webpush.authorize(
        request.header("authorization"),
        &known.app.vapid_public,
        &shared.endpoints.webpush,
        shared.clock.now(),
    )?;
    if known.gone().is_some() {
        return Err(refused(410, 103, "the subscription has ended"));
    }
    if request.overlong || request.body.len() > *body_bytes_max {
        return Err(refused(413, 104, format!("the body is larger than {body_bytes_max} bytes")));
    }
    check_encoding(request)?;
    let plaintext = match subscriber {
        Subscriber::Played(browser) => Some(decrypted(browser, request)?),
        Subscriber::Connected { .. } => None,
    };
    Ok((plaintext, ttl_s))
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
fn check_encoding(request: &Request) -> Result<(), Refused> {
    if request.body.is_empty() {
        return Ok(());
    }
    match request.header("content-encoding") {
        None => Err(refused(400, 110, "Content-Encoding: the header is missing")),
        Some("aes128gcm") => Ok(()),
        Some(_) => Err(refused(400, 110, "Content-Encoding: not aes128gcm")),
    }
}

fn decrypted(browser: &Browser, request: &Request) -> Result<Vec<u8>, Refused> {
    if request.body.is_empty() {
        return Ok(Vec::new());
    }
    decrypt::message(browser, &request.body).map_err(|why| refused(400, 110, why))
}
