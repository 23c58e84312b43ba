//! What FCM's replies mean. Details of an error come in any order and may be missing; a bare 404 removes no target,
//! because a wrong base URL gives one too.
//!
//! Source: Firebase, "ErrorCode" of the FCM REST reference, and answers that were recorded.

use std::time::Duration;

use http::StatusCode;
use parvis_engine::time::Timestamp;
use serde_json::Value;

use super::super::{
    Reply,
    reply::{Blame, Meaning, reason, retry_after},
};

/// What Google asks for when a quota is used up and no `Retry-After` says otherwise.
const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// The first retry after a server error, says Google, comes no sooner.
const SERVER_ERROR_WAIT: Duration = Duration::from_secs(10);

/// What a reply means.
pub(super) fn read(reply: &Reply, now: Timestamp) -> Meaning {
    if reply.status.is_success() {
        return Meaning::accepted();
    }
    let refusal = Refusal::read(&reply.body);
    let asked = retry_after(&reply.headers, now);
    let code = refusal.code.as_deref();
    let reason = reason(code.or(refusal.status.as_deref()), reply.status);
    let at_least = |wait: Duration| Some(asked.unwrap_or_default().max(wait));
    match code {
        Some("UNREGISTERED" | "SENDER_ID_MISMATCH") => Meaning::gone(None, reason),
        Some("INVALID_ARGUMENT") if refusal.names_target => Meaning::gone(None, reason),
        Some("INVALID_ARGUMENT") => Meaning::rejected(reason),
        // What Firebase is to show Apple or a browser's push service is missing or wrong; Android is not concerned.
        Some("THIRD_PARTY_AUTH_ERROR") => Meaning::unavailable(Blame::Setup, asked, reason),
        Some("QUOTA_EXCEEDED") => Meaning::throttled(refusal.quota, at_least(QUOTA_WAIT), reason),
        Some("UNAVAILABLE" | "INTERNAL") => Meaning::unavailable(Blame::Provider, at_least(SERVER_ERROR_WAIT), reason),
        Some(_) | None if reply.status == StatusCode::TOO_MANY_REQUESTS => {
            Meaning::throttled(refusal.quota, at_least(QUOTA_WAIT), reason)
        }
        Some(_) | None if reply.status.is_server_error() => {
            Meaning::unavailable(Blame::Provider, at_least(SERVER_ERROR_WAIT), reason)
        }
        Some(_) | None => Meaning::of_status(reply.status, asked, reason),
    }
}

/// Whether FCM itself refused, and not what stands before it.
pub(super) fn has_code(reply: &Reply) -> bool {
    Refusal::read(&reply.body).code.is_some()
}

/// What an error document says, as far as it matters here.
#[derive(Debug)]
struct Refusal {
    /// `error.status`, one of Google's general codes.
    status: Option<String>,
    /// The `errorCode` of FCM's own detail.
    code: Option<String>,
    /// Whether a field violation names the target.
    names_target: bool,
    /// Whose quota is used up: the project's, unless a violation names the device or the topic.
    quota: Blame,
}

impl Refusal {
    fn read(body: &[u8]) -> Refusal {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        // Some of Google's front ends wrap the document in a list.
        let error = &document.get(0).unwrap_or(&document)["error"];
        let status = error["status"].as_str().map(str::to_owned);
        let mut refusal = Refusal { status, code: None, names_target: false, quota: Blame::Provider };
        for detail in error["details"].as_array().into_iter().flatten() {
            let kind = detail["@type"].as_str().unwrap_or_default();
            if kind.ends_with("google.firebase.fcm.v1.FcmError") {
                refusal.code = detail["errorCode"].as_str().map(str::to_owned);
            }
            let violations = detail["fieldViolations"].as_array().into_iter().flatten();
            let mut fields = violations.filter_map(|violation| violation["field"].as_str());
            refusal.names_target |= fields.any(|field| matches!(field, "message.token" | "message.fid"));
            let violations = detail["violations"].as_array().into_iter().flatten();
            let mut words = violations.flat_map(|it| [it["subject"].as_str(), it["description"].as_str()]).flatten();
            if words.any(names_one) {
                refusal.quota = Blame::Message;
            }
        }
        refusal
    }
}

/// Google's words for what is counted are "message rate", "device message rate" and "topic message rate".
fn names_one(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("device") || words.contains("topic")
}
