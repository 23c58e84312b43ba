//! The JSON of a push: how much of it there may be, and what a phone would show of it.

use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    super::{record::Message, reply::Request},
    Refused,
};

pub(super) const BROADCAST_BYTES: usize = 5_120;
const BYTES: usize = 4_096;
const VOIP_BYTES: usize = 5_120;

/// The payload of a push to one device.
pub(super) fn check(request: &Request) -> Result<Map<String, Value>, Refused> {
    let push_type = request.header("apns-push-type");
    let payload = read(request, if push_type == Some("voip") { VOIP_BYTES } else { BYTES })?;
    let content = if push_type == Some("mdm") { "mdm" } else { "aps" };
    if payload.contains_key(content) { Ok(payload) } else { Err(Refused::bad("PayloadEmpty")) }
}

/// A payload of at most so many bytes.
pub(super) fn read(request: &Request, bytes_max: usize) -> Result<Map<String, Value>, Refused> {
    if request.overlong || request.body.len() > bytes_max {
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge"));
    }
    serde_json::from_slice(&request.body).map_err(|_| Refused::bad("PayloadEmpty"))
}

/// The payload as far as it is JSON.
pub(super) fn json_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// What a phone would show.
pub(super) fn message(id: &str, request: &Request) -> Message {
    let payload = json_of(request);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let alert = &payload["aps"]["alert"];
    let links = ["deep_link", "url", "link"].iter().find_map(|key| text(&payload[key]));
    Message {
        id: id.to_owned(),
        collapse: request.header("apns-collapse-id").map(str::to_owned),
        title: text(&alert["title"]),
        body: text(&alert["body"]).or_else(|| text(alert)),
        deep_link: links,
        headers: request.told(),
        payload: String::from_utf8_lossy(&request.body).into_owned(),
        ..Message::default()
    }
}
