//! APNs' provider API as Apple documents it ("Sending notification requests to APNs", "Handling notification responses
//! from APNs"): one request, the checks in their order, one reason.

mod activity;
mod authorization;
mod certificate;
mod channel;
mod headers;
mod payload;

use std::sync::Arc;

use http::StatusCode;
use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};
use serde_json::json;

use self::headers::is_uuid;
pub use self::{activity::LiveActivity, certificate::ApnsCertificate};
pub(super) use self::{
    authorization::{Apns, Sender},
    certificate::{AnyCertificate, Presented},
};
use super::{
    record::Message,
    reply::{Judged, Reply, Request, status},
    shared::{Connection, Shared},
    target::{Kind, Target, TokenPurpose, hex},
};

const PATH: &str = "/3/device/";
/// Device tokens have 64 digits today, those of Live Activities more; Apple promises no length.
const TOKEN_DIGITS: std::ops::RangeInclusive<usize> = 64..=400;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    reason: &'static str,
    /// Since when the target is gone.
    since: Option<Timestamp>,
    /// What the sandbox says beyond the reason, where it is stricter than the real service.
    detail: Option<String>,
}

impl Refused {
    const fn new(status: StatusCode, reason: &'static str) -> Refused {
        Refused { status, reason, since: None, detail: None }
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
    if channel::is_meant(&request.path) {
        return channel::judge(shared, environment, connection, request);
    }
    let token = request.path.strip_prefix(PATH).unwrap_or_default().to_ascii_lowercase();
    let sent_id = request.header("apns-id").filter(|id| is_uuid(id));
    let id = sent_id.map_or_else(|| uuid(shared), str::to_owned);
    let mut message = message(shared, &id, request, &token);
    match check(shared, environment, connection, request, &token) {
        Ok(()) => {
            if request.header("apns-push-type") == Some("liveactivity") {
                message.activity = activity::read(&payload::json_of(request), &token);
            }
            let mut reply = Reply::empty(StatusCode::OK).with("apns-id", &id);
            if environment == ApnsEnvironment::Sandbox {
                reply = reply.with("apns-unique-id", &uuid(shared));
            }
            Judged::Valid { target: token, message: Box::new(message), reply }
        }
        Err(refused) => {
            let reply = refusal(&refused).with("apns-id", &id);
            Judged::Refused { target: token, message: Box::new(message), reply, reason: refused.reason.to_owned() }
        }
    }
}

/// Lets phones do what was accepted.
pub(super) fn accepted(shared: &Shared, target: &str, message: &mut Message) {
    if let Some(push) = &mut message.activity {
        activity::apply(shared, target, &message.payload, push);
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
    (answer(status(code), reason, (code == 410).then_some(now), None), reason.to_owned())
}

/// The answer for a target that is gone.
pub(super) fn gone(since: Timestamp, expired: bool) -> (Reply, String) {
    let refused = headers::gone(since, expired);
    (refusal(&refused), refused.reason.to_owned())
}

fn refusal(refused: &Refused) -> Reply {
    answer(refused.status, refused.reason, refused.since, refused.detail.as_deref())
}

fn answer(status: StatusCode, reason: &str, since: Option<Timestamp>, detail: Option<&str>) -> Reply {
    let mut body = json!({ "reason": reason });
    if let Some(since) = since {
        body["timestamp"] = since.as_millis().into();
    }
    if let Some(detail) = detail {
        body["detail"] = detail.into();
    }
    Reply::json(status, &body)
}

fn check(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    token: &str,
) -> Result<(), Refused> {
    check_line(request)?;
    headers::check_single(request)?;
    let authority = shared.apns.authorize(request, environment, connection, shared.clock.now())?;
    connection.welcome();
    let target = find(shared, environment, token)?;
    if let Some((since, expired)) = target.gone() {
        return Err(headers::gone(since, expired));
    }
    let suffix = headers::check_topic(shared, &authority, &target, request)?;
    if request.headers.contains_key("apns-id") && !request.header("apns-id").is_some_and(is_uuid) {
        return Err(Refused::bad("BadMessageId"));
    }
    headers::check_push_type(request, suffix)?;
    headers::check_delivery(request)?;
    let payload = payload::check(request)?;
    let Kind::Apns { purpose, .. } = &target.kind else { return Err(Refused::bad("BadDeviceToken")) };
    if request.header("apns-push-type") == Some("liveactivity") {
        activity::check(&payload, Some(*purpose))?;
    } else if *purpose != TokenPurpose::Device {
        return Err(Refused::bad("InvalidPushType"));
    }
    Ok(())
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
    Ok(())
}

fn find(shared: &Shared, environment: ApnsEnvironment, token: &str) -> Result<Arc<Target>, Refused> {
    if token.is_empty() {
        return Err(Refused::bad("MissingDeviceToken"));
    }
    let is_token = TOKEN_DIGITS.contains(&token.len())
        && token.len().is_multiple_of(2)
        && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bad = Refused::bad("BadDeviceToken");
    let target = shared.targets.find(token).filter(|_| is_token).ok_or(bad.clone())?;
    match &target.kind {
        Kind::Apns { environment: own, .. } if *own == environment => Ok(target),
        Kind::Apns { .. } | Kind::Fcm | Kind::WebPush { .. } => Err(bad),
    }
}

fn message(shared: &Shared, id: &str, request: &Request, token: &str) -> Message {
    let mut message = payload::message(id, request);
    let topic = request.header("apns-topic");
    let bundle = topic.and_then(|topic| headers::split_topic(topic, |bundle| shared.targets.owner(bundle).is_some()));
    message.topic = bundle.map(|(bundle, _)| bundle).or(topic).map(str::to_owned);
    let owner = message.topic.as_deref().and_then(|topic| shared.targets.owner(topic));
    let app = shared.targets.find(token).map(|target| Arc::clone(&target.app)).or(owner);
    message.app = app.map(|app| app.name.clone());
    message
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
