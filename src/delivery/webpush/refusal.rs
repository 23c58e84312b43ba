//! What the replies of push services mean: Apple says `reason`, Mozilla has numbers, Google and Microsoft have words.
//!
//! Sources: RFC 8030; Mozilla, autopush "Error Codes"; Apple, "Sending web push
//! notifications in web apps and browsers"; Microsoft, "Push notification service request and response headers".

use parvis_engine::time::Timestamp;
use serde_json::Value;

use super::super::{
    Reply,
    reply::{Blame, Meaning, reason, retry_after},
};

/// The reason in the journal where a subscription was made with another VAPID key than the one that signs now.
const KEY_MISMATCH: &str = "vapid_key_mismatch";
/// So much of a page is searched for the word that it holds.
const SEARCHED_BYTES_MAX: usize = 2048;

/// What a reply means.
pub(super) fn read(reply: &Reply, now: Timestamp) -> Meaning {
    if reply.status.is_success() {
        return Meaning::accepted();
    }
    let asked = retry_after(&reply.headers, now);
    let said = Said::read(&reply.body);
    let reason = reason(said.word.as_deref(), reply.status);
    match reply.status.as_u16() {
        404 | 410 => Meaning::gone(None, reason),
        400 | 401 | 403 if said.is_key_mismatch => {
            // The subscription works again when the old key comes back, and an operator may have changed it unawares.
            Meaning::unavailable(Blame::Setup, asked, KEY_MISMATCH.to_owned())
        }
        400 if said.is_token_fault => Meaning::unavailable(Blame::Operator, asked, reason),
        // Microsoft's word for too fast.
        406 => Meaning::throttled(Blame::Provider, asked, reason),
        413 => Meaning::rejected("payload_too_large".to_owned()),
        // No push service redirects; a target that does is not one.
        300..=399 | 405 => Meaning::rejected(reason),
        // The services limit what one subscription gets.
        429 => Meaning::throttled(Blame::Message, asked, reason),
        _ => Meaning::of_status(reply.status, asked, reason),
    }
}

/// What a body says, as far as it matters here.
struct Said {
    word: Option<String>,
    is_key_mismatch: bool,
    is_token_fault: bool,
}

impl Said {
    fn read(body: &[u8]) -> Said {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(SEARCHED_BYTES_MAX)]);
        let apple = document["reason"].as_str().map(str::to_owned);
        let mozilla = document["errno"].as_u64().map(|number| format!("errno_{number}"));
        // Google answers with a page that has the word for its title.
        let google = text.contains("UnauthorizedRegistration").then(|| "UnauthorizedRegistration".to_owned());
        let is_token_fault = google.is_some()
            || apple
                .as_deref()
                .is_some_and(|reason| ["Jwt", "Vapid", "ProviderToken"].iter().any(|it| reason.contains(it)));
        let is_key_mismatch = text.contains("do not correspond to the credentials used to create the subscription")
            || text.contains("VapidPkHashMismatch")
            || mozilla.is_some() && text.to_ascii_lowercase().contains("mismatch");
        Said { word: apple.or(mozilla).or(google), is_key_mismatch, is_token_fault }
    }
}
