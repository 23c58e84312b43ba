//! What Apple's replies mean. The list of reasons is open: one that is not known counts as its status.
//!
//! Source: Apple, "Handling notification responses from APNs" and "Handling error responses from Apple Push Notification
//! service", which adds the reasons of broadcasts.

use std::time::Duration;

use http::StatusCode;
use parvis_engine::time::Timestamp;
use serde::Deserialize;

use super::super::{
    Reply,
    reply::{Blame, Meaning, reason, retry_after},
};

/// A connection that has seen too many provider tokens takes no more until a new token would be allowed, which is every
/// 20 minutes.
const TOKEN_UPDATES_WAIT: Duration = Duration::from_secs(20 * 60);
/// One device gets too much; Apple names no time.
const DEVICE_WAIT: Duration = Duration::from_secs(60);

/// Unknown and missing members are fine.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    reason: Option<String>,
    timestamp: Option<i64>,
}

/// What a reply means; `server_error_wait` is the least wait after a server error.
pub(super) fn read(reply: &Reply, now: Timestamp, server_error_wait: Duration) -> Meaning {
    if reply.status.is_success() {
        return Meaning::accepted();
    }
    let refusal: Refusal = serde_json::from_slice(&reply.body).unwrap_or_default();
    let asked = retry_after(&reply.headers, now);
    let word = refusal.reason.as_deref();
    let reason = reason(word, reply.status);
    match (reply.status.as_u16(), word.unwrap_or_default()) {
        // It can never work, in the environment that the device itself named.
        (400, "BadDeviceToken") | (400 | 404, "BadChannelId" | "ChannelNotRegistered") => Meaning::gone(None, reason),
        (410, _) => Meaning::gone(refusal.timestamp.map(Timestamp::from_millis), reason),
        // The key, the certificate or the account does not cover an app, a feature or an environment.
        (400 | 403, "BadTopic" | "MissingTopic" | "TopicDisallowed" | "FeatureNotEnabled")
        | (403, "BadCertificateEnvironment" | "BadEnvironmentKeyIdInToken") => {
            Meaning::unavailable(Blame::Setup, asked, reason)
        }
        (400, "IdleTimeout") => Meaning::unavailable(Blame::Provider, asked, reason),
        (403, "Forbidden") => Meaning::rejected(reason),
        (429, "TooManyProviderTokenUpdates") => {
            let wait = asked.unwrap_or_default().max(TOKEN_UPDATES_WAIT);
            Meaning::unavailable(Blame::Operator, Some(wait), reason)
        }
        (429, "TooManyRequests") => Meaning::throttled(Blame::Message, asked.or(Some(DEVICE_WAIT)), reason),
        // That server is going away, others are not.
        (503, "Shutdown") => Meaning::unavailable(Blame::Provider, asked, reason),
        (500..=599, _) => {
            let least = Some(server_error_wait).filter(|wait| !wait.is_zero());
            Meaning::unavailable(Blame::Provider, asked.or(least), reason)
        }
        _ => Meaning::of_status(reply.status, asked, reason),
    }
}

/// Apple's word, if there is one.
pub(super) fn word(reply: &Reply) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(&reply.body).unwrap_or_default();
    refusal.reason
}

/// Whether the token is too old for Apple.
pub(super) fn is_expired_token(reply: &Reply) -> bool {
    reply.status == StatusCode::FORBIDDEN && word(reply).as_deref() == Some("ExpiredProviderToken")
}
