//! A call's head: everything but the targets. Its name makes it idempotent.

use std::time::Duration;

use aws_lc_rs::digest;
use parvis_engine::{
    id::AppId,
    notification::Purpose,
    problem::{Problem, Requirements},
    time::{Timestamp, duration},
};
use serde::{Deserialize, Serialize};

use super::Message;

/// The longest name of a request, in bytes; as long as an `Idempotency-Key`.
const NAME_BYTES_MAX: usize = 128;
/// So that every service takes it (Web Push's `Topic`, RFC 8030).
const COLLAPSE_BYTES_MAX: usize = 32;
/// FCM keeps nothing for longer than four weeks.
const SPAN_MAX: Duration = Duration::from_secs(28 * 86_400);
const TTL_MIN: Duration = Duration::from_secs(10);
/// An offer is worth little later, as with campaigns.
const OFFER_TTL: Duration = Duration::from_secs(3_600);
/// A phone may be off over the weekend, as with campaigns.
const ORDER_TTL: Duration = Duration::from_secs(3 * 86_400);
/// Clocks of a back end and a node may differ by so much.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Everything that a call says but for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// What the back end calls this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// In the name of which app; a registered device's own, or the default app, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// Offer or order news; whichever consent a shopper's devices need.
    #[serde(default = "order")]
    pub purpose: Purpose,
    /// When what it tells of happened; when the request first came if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Not to be sent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How long it is of use, from `at` or `not_before` on, whichever is later.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub ttl: Option<Duration>,
    /// Worthless afterwards; instead of `ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Messages with the same key replace one another on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<String>,
    /// What it says.
    pub message: Message,
}

fn order() -> Purpose {
    Purpose::Order
}

/// A call whose name and time are settled. The same name of the same caller gives the same ids.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who calls.
    pub caller: String,
    /// What they call it.
    pub name: String,
    /// When what it tells of happened.
    pub at: Timestamp,
    /// What it says.
    pub head: Head,
}

impl Head {
    /// The name of the request: the one in the body, else the header's.
    ///
    /// # Errors
    /// If there is none, or it is none.
    pub fn name(&self, header: Option<&str>) -> Result<String, Problem> {
        let Some(name) = self.request.as_deref().or(header) else {
            let message = "name the request, so that a repeat of it is known: `request`, or an Idempotency-Key";
            return Err(Problem::new("/request", message));
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let message = format!("must have 1 to {NAME_BYTES_MAX} bytes and no control characters");
            return Err(Problem::new("/request", message));
        }
        Ok(name.to_owned())
    }

    /// What is wrong with it when it first comes.
    pub fn problems(&self, now: Timestamp) -> Vec<Problem> {
        let mut must = Requirements::default();
        let at = self.at.unwrap_or(now);
        must.require(at <= now.plus(AHEAD_MAX), "/at", "must not be in the future");
        must.require(now.since(at) <= SPAN_MAX, "/at", "must not be longer ago than 28 days");
        must.require(self.ttl.is_none() || self.expires_at.is_none(), "/ttl", "goes only without `expires_at`");
        must.require(self.ttl.is_none_or(|ttl| (TTL_MIN..=SPAN_MAX).contains(&ttl)), "/ttl", "must be 10 s to 28 days");
        let not_before = self.not_before.unwrap_or(at);
        must.require(not_before.since(now) <= SPAN_MAX, "/not_before", "must be within 28 days");
        let path = if self.expires_at.is_some() { "/expires_at" } else { "/ttl" };
        let expires_at = self.expires_at(at);
        must.require(expires_at > now, path, "is over already; nothing would be sent");
        must.require(expires_at > not_before, path, "must be after `not_before`");
        must.require(expires_at.since(now.max(not_before)) <= SPAN_MAX, path, "must be within 28 days");
        let is_collapse = |key: &String| {
            (1..=COLLAPSE_BYTES_MAX).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        must.require(
            self.collapse.as_ref().is_none_or(is_collapse),
            "/collapse",
            format!("must have 1 to {COLLAPSE_BYTES_MAX} letters, digits, `-` or `_`"),
        );
        let mut problems = must.into_problems();
        problems.extend(self.message.problems().into_iter().map(|problem| problem.under("/message")));
        problems
    }

    /// When it is worthless, if it happened at `at`.
    pub fn expires_at(&self, at: Timestamp) -> Timestamp {
        let ttl = self.ttl.unwrap_or(match self.purpose {
            Purpose::Offer => OFFER_TTL,
            Purpose::Order => ORDER_TTL,
        });
        self.expires_at.unwrap_or_else(|| self.not_before.map_or(at, |not_before| not_before.max(at)).plus(ttl))
    }

    /// Tells this head from another one under the same name.
    pub fn hash(&self) -> u64 {
        let nameless = Head { request: None, ..self.clone() };
        let text = serde_json::to_vec(&nameless).unwrap_or_default();
        let mut first = [0; 8];
        first.copy_from_slice(&digest::digest(&digest::SHA256, &text).as_ref()[..8]);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().expect("a time")
    }

    fn head(mut more: Value) -> Head {
        if more["message"].is_null() {
            more["message"] = json!({ "title": "T" });
        }
        serde_json::from_value(more).expect("a head")
    }

    fn paths(more: Value) -> Vec<String> {
        head(more).problems(now()).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn times_fit_together() {
        assert!(paths(json!({})).is_empty());
        let table = [
            (json!({ "at": "2026-11-22T11:00:00Z" }), vec!["/at"]),
            (json!({ "at": "2026-10-01T11:00:00Z", "ttl": "28d" }), vec!["/at", "/ttl"]),
            (json!({ "ttl": "9s" }), vec!["/ttl"]),
            (json!({ "ttl": "29d" }), vec!["/ttl", "/ttl"]),
            (json!({ "ttl": "1h", "expires_at": "2026-11-22T11:00:00Z" }), vec!["/ttl"]),
            (json!({ "expires_at": "2026-11-22T10:00:00Z" }), vec!["/expires_at", "/expires_at"]),
            (json!({ "expires_at": "2027-11-22T10:00:00Z" }), vec!["/expires_at"]),
            (
                json!({ "not_before": "2026-11-22T12:00:00Z", "expires_at": "2026-11-22T11:00:00Z" }),
                vec!["/expires_at"],
            ),
            (json!({ "not_before": "2027-11-22T12:00:00Z" }), vec!["/not_before"]),
            (json!({ "collapse": "a b" }), vec!["/collapse"]),
            (json!({ "collapse": "x".repeat(33) }), vec!["/collapse"]),
            (json!({ "message": {} }), vec!["/message"]),
        ];
        for (more, expected) in table {
            assert_eq!(paths(more.clone()), expected, "{more}");
        }
    }

    #[test]
    fn what_waits_lives_from_its_turn_on() {
        let head = head(json!({ "not_before": "2026-11-23T10:00:00Z", "ttl": "1h" }));
        assert_eq!(head.expires_at(now()), "2026-11-23T11:00:00Z".parse().expect("a time"));
    }

    #[test]
    fn a_request_is_named_by_its_body_or_by_its_header() {
        let named = head(json!({ "request": "body" }));
        assert_eq!(named.name(Some("header")).expect("a name"), "body");
        assert_eq!(head(json!({})).name(Some("header")).expect("a name"), "header");
        for odd in
            [json!({}), json!({ "request": "" }), json!({ "request": "a\nb" }), json!({ "request": "x".repeat(129) })]
        {
            assert_eq!(head(odd).name(None).expect_err("no name").path, "/request");
        }
    }

    #[test]
    fn the_name_is_no_part_of_what_is_said() {
        let (one, other) = (head(json!({ "request": "a" })), head(json!({ "request": "b" })));
        assert_eq!(one.hash(), other.hash());
        assert_ne!(one.hash(), head(json!({ "purpose": "offer" })).hash());
    }
}
