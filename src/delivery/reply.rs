//! What replies of all push services have in common: `Retry-After`, reasons, the meaning of a bare status, and whose
//! fault it is.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use parvis_engine::{retry::Outcome, time::Timestamp};

/// Who has to act before the like can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody: it is this message, or its target. Others are not concerned.
    Message,
    /// The operator, for messages like this one: a topic, an environment, a platform that is not set up.
    Setup,
    /// The operator, for every message: credentials, or the service's address.
    Operator,
    /// The service: broken, overloaded, or slowing down everything that we send.
    Provider,
}

impl Blame {
    /// Whether the next message would fare the same, whatever it is: what a circuit breaker counts.
    pub fn trips(self) -> bool {
        match self {
            Blame::Message | Blame::Setup => false,
            Blame::Operator | Blame::Provider => true,
        }
    }
}

/// A reply, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What came of the message.
    pub outcome: Outcome,
    /// Whose fault a refusal is; none if the reply is a success.
    pub blame: Option<Blame>,
}

impl Meaning {
    pub(crate) fn accepted() -> Meaning {
        Meaning { outcome: Outcome::Accepted, blame: None }
    }

    pub(super) fn gone(since: Option<Timestamp>, reason: String) -> Meaning {
        Meaning { outcome: Outcome::Unregistered { since, reason }, blame: Some(Blame::Message) }
    }

    pub(crate) fn rejected(reason: String) -> Meaning {
        Meaning { outcome: Outcome::Rejected { reason }, blame: Some(Blame::Message) }
    }

    pub(crate) fn throttled(blame: Blame, retry_after: Option<Duration>, reason: String) -> Meaning {
        Meaning { outcome: Outcome::Throttled { retry_after, reason }, blame: Some(blame) }
    }

    pub(crate) fn unavailable(blame: Blame, retry_after: Option<Duration>, reason: String) -> Meaning {
        Meaning { outcome: Outcome::Unavailable { retry_after, reason }, blame: Some(blame) }
    }

    /// The meaning of a status where the provider's own word says nothing more. A redirect, 404, 405 and 421 point at a
    /// wrong base URL; 401, 403 and 407 are credentials: an operator can mend both.
    pub(super) fn of_status(status: StatusCode, retry_after: Option<Duration>, reason: String) -> Meaning {
        match status.as_u16() {
            200..=299 => Meaning::accepted(),
            429 => Meaning::throttled(Blame::Provider, retry_after, reason),
            300..=399 | 401 | 403 | 404 | 405 | 407 | 421 => Meaning::unavailable(Blame::Operator, retry_after, reason),
            408 | 425 => Meaning::unavailable(Blame::Provider, retry_after, reason),
            400..=499 => Meaning::rejected(reason),
            _ => Meaning::unavailable(Blame::Provider, retry_after, reason),
        }
    }
}

/// A longer wish is cut: a message that waits longer has usually lost its sense, and a wrong header must not stop a
/// channel for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Reasons go into the journal; longer words are not reasons.
const REASON_BYTES_MAX: usize = 64;

/// `Retry-After` in either form (RFC 9110, section 10.2.3), cut to an hour; a time that has passed is zero.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = jiff::fmt::rfc2822::parse(text).ok()?;
        Timestamp::from(at.timestamp()).since(now)
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

/// The provider's word if it is one, else the status: bodies may be pages of HTML or hold a target.
pub(super) fn reason(word: Option<&str>, status: StatusCode) -> String {
    let is_word = |word: &&str| {
        !word.is_empty()
            && word.len() <= REASON_BYTES_MAX
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'.')
    };
    word.filter(is_word).map_or_else(|| format!("http_{}", status.as_u16()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        let now = "1994-11-06T08:48:37Z".parse().expect("a time");
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).expect("a value"))]), now)
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(asked("7"), seconds(7));
        assert_eq!(asked("0"), seconds(0));
        assert_eq!(asked("99999999999999999999999999"), seconds(3600));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), seconds(60));
        assert_eq!(asked("Sun, 06 Nov 1994 08:47:37 GMT"), seconds(0));
        assert_eq!(asked("Sat, 06 Nov 2094 08:49:37 GMT"), seconds(3600));
        for odd in ["", "-1", "soon", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_words_are_reasons() {
        assert_eq!(reason(Some("BadTopic"), StatusCode::BAD_REQUEST), "BadTopic");
        assert_eq!(reason(Some("<html>"), StatusCode::BAD_GATEWAY), "http_502");
        assert_eq!(reason(Some(""), StatusCode::BAD_GATEWAY), "http_502");
        assert_eq!(reason(Some(&"x".repeat(65)), StatusCode::BAD_GATEWAY), "http_502");
        assert_eq!(reason(None, StatusCode::IM_A_TEAPOT), "http_418");
    }

    #[test]
    fn a_bare_status_has_a_meaning() {
        for status in 100..1000 {
            let status = StatusCode::from_u16(status).expect("in range");
            let Meaning { outcome, blame } = Meaning::of_status(status, None, "word".to_owned());
            assert_eq!(outcome == Outcome::Accepted, status.is_success(), "{status}");
            assert_eq!(blame.is_none(), status.is_success(), "{status}");
            assert!(!matches!(outcome, Outcome::Unregistered { .. }), "a bare status removes no target");
            let is_waiting = matches!(outcome, Outcome::Throttled { .. } | Outcome::Unavailable { .. });
            assert_eq!(blame.is_some_and(Blame::trips), is_waiting, "{status}");
        }
    }
}
