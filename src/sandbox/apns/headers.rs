//! The header fields of a request, as "Sending notification requests to APNs" has them: topics and their suffixes, push
//! types, priorities, dates.

use std::sync::Arc;

use http::StatusCode;

use super::{
    super::{
        app::App,
        reply::Request,
        shared::Shared,
        target::{Kind, Target},
    },
    Refused,
    authorization::Authority,
};

const COLLAPSE_BYTES: usize = 64;
const TOPIC_BYTES: usize = 255;
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
const SINGLE: [&str; 9] = [
    "authorization",
    "apns-id",
    "apns-push-type",
    "apns-topic",
    "apns-expiration",
    "apns-priority",
    "apns-collapse-id",
    "apns-channel-id",
    "apns-request-id",
];

/// Whether each header comes at most once.
pub(super) fn check_single(request: &Request) -> Result<(), Refused> {
    if SINGLE.iter().any(|name| request.headers.get_all(*name).iter().count() > 1) {
        return Err(Refused::bad("DuplicateHeaders"));
    }
    Ok(())
}

/// The topic without its suffix, and the suffix.
pub(super) fn split_topic(topic: &str, is_known: impl Fn(&str) -> bool) -> Option<(&str, &'static str)> {
    let split = |suffix: &'static str| Some((topic.strip_suffix(suffix)?, suffix));
    PUSH_TYPES.iter().filter_map(|(_, suffix)| split(suffix)).find(|(bundle, _)| is_known(bundle))
}

/// The topic's suffix, if the topic is the target's app and the sender may speak for it.
pub(super) fn check_topic(
    shared: &Shared,
    authority: &Authority,
    target: &Target,
    request: &Request,
) -> Result<&'static str, Refused> {
    let topic = topic(authority, request)?;
    let is_topic = !topic.is_empty()
        && topic.len() <= TOPIC_BYTES
        && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if !is_topic {
        return Err(Refused::bad("BadTopic"));
    }
    let Kind::Apns { topic: own, .. } = &target.kind else { return Err(Refused::bad("BadDeviceToken")) };
    if let Some((_, suffix)) = split_topic(topic, |bundle| bundle == own) {
        let allowed = may_send(authority, &target.app, topic);
        return if allowed { Ok(suffix) } else { Err(Refused::bad("TopicDisallowed")) };
    }
    let of_sender =
        split_topic(topic, |bundle| shared.targets.owner(bundle).is_some_and(|app| may_send(authority, &app, topic)));
    Err(Refused::bad(if of_sender.is_some() { "DeviceTokenNotForTopic" } else { "TopicDisallowed" }))
}

/// The header may be absent, as for old apps; then the topic's suffix is not looked at.
pub(super) fn check_push_type(request: &Request, suffix: &str) -> Result<(), Refused> {
    if !request.headers.contains_key("apns-push-type") {
        return Ok(());
    }
    let sent = request.header("apns-push-type");
    let known = PUSH_TYPES.iter().any(|(name, expected)| Some(*name) == sent && *expected == suffix);
    if known { Ok(()) } else { Err(Refused::bad("InvalidPushType")) }
}

/// Priority, expiration, collapse id.
pub(super) fn check_delivery(request: &Request) -> Result<(), Refused> {
    let has = |name: &str| request.headers.contains_key(name);
    let priority = request.header("apns-priority");
    let background = request.header("apns-push-type") == Some("background");
    if has("apns-priority") && !matches!(priority, Some("1" | "5" | "10")) || background && priority == Some("10") {
        return Err(Refused::bad("BadPriority"));
    }
    if has("apns-expiration") && request.header("apns-expiration").and_then(expiration).is_none() {
        return Err(Refused::bad("BadExpirationDate"));
    }
    if request.headers.get("apns-collapse-id").is_some_and(|id| id.len() > COLLAPSE_BYTES) {
        return Err(Refused::bad("BadCollapseId"));
    }
    Ok(())
}

/// Seconds since the epoch.
pub(super) fn expiration(text: &str) -> Option<i64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

/// The canonical form: 8-4-4-4-12 hexadecimal digits.
pub(super) fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A certificate with one bundle id stands for it where nothing is said.
fn topic<'a>(authority: &'a Authority, request: &'a Request) -> Result<&'a str, Refused> {
    match (request.headers.get("apns-topic"), authority) {
        (Some(topic), _) => topic.to_str().map_err(|_| Refused::bad("BadTopic")),
        (None, Authority::Certificate(issued)) => {
            issued.topics.first().map(String::as_str).ok_or(Refused::bad("MissingTopic"))
        }
        (None, Authority::Token(_)) => Err(Refused::bad("MissingTopic")),
    }
}

/// A token is for every topic of its team, a certificate for those that stand in it.
fn may_send(authority: &Authority, owner: &Arc<App>, topic: &str) -> bool {
    match authority {
        Authority::Token(app) => app.name == owner.name,
        Authority::Certificate(issued) => issued.topics.iter().any(|own| own == topic),
    }
}

/// The refusal of a target that is gone.
pub(super) fn gone(since: parvis_engine::time::Timestamp, expired: bool) -> Refused {
    let reason = if expired { "ExpiredToken" } else { "Unregistered" };
    Refused { since: Some(since), ..Refused::new(StatusCode::GONE, reason) }
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
    fn a_date_is_a_number_of_seconds() {
        assert_eq!((expiration("0"), expiration("1800000000")), (Some(0), Some(1_800_000_000)));
        for bad in ["", "-1", "+1", "1.5", "tomorrow", "99999999999999999999"] {
            assert_eq!(expiration(bad), None, "{bad}");
        }
    }
}
