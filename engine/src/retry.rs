//! What to do after a provider has answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A provider's answer to one attempt, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Accepted,
    /// The target does not exist (any more). With a time, only if it was registered before it.
    Unregistered {
        /// Since when the provider knows that.
        since: Option<Timestamp>,
        /// The provider's own word.
        reason: String,
    },
    /// This request can never succeed.
    Rejected {
        /// The provider's own word.
        reason: String,
    },
    /// Too fast.
    Throttled {
        /// When the provider asked to come back.
        retry_after: Option<Duration>,
        /// The provider's own word.
        reason: String,
    },
    /// The provider or the way to it is broken; or our credentials are, which an operator can mend.
    Unavailable {
        /// When the provider asked to come back.
        retry_after: Option<Duration>,
        /// What happened.
        reason: String,
    },
}

/// How patiently a channel tries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patience {
    /// The most attempts.
    pub attempts_max: u32,
    /// The first wait after a failure; it doubles with each further one.
    #[serde(with = "crate::time::duration")]
    pub backoff_min: Duration,
    /// The longest wait.
    #[serde(with = "crate::time::duration")]
    pub backoff_max: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { attempts_max: 10, backoff_min: Duration::from_secs(10), backoff_max: Duration::from_secs(15 * 60) }
    }
}

/// What becomes of an entry after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Accepted,
    /// Done, and the target is to be removed if it was registered before the time given.
    Unregistered {
        /// Since when the provider knows that.
        since: Option<Timestamp>,
        /// The provider's own word.
        reason: String,
    },
    /// Given up.
    Dead {
        /// Why.
        reason: String,
    },
    /// Once more.
    Again {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It would be too late for another attempt.
    Expired {
        /// What the last attempt said.
        reason: String,
    },
}

/// An attempt that has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How many there were, this one included.
    pub count: u32,
    /// When it ended.
    pub ended_at: Timestamp,
    /// When the message becomes worthless.
    pub expires_at: Timestamp,
}

/// Decides what becomes of an entry after an attempt; `jitter` is uniform in 0..1.
pub fn next(outcome: Outcome, attempt: Attempt, patience: &Patience, jitter: f64) -> Next {
    let (retry_after, reason) = match outcome {
        Outcome::Accepted => return Next::Accepted,
        Outcome::Unregistered { since, reason } => return Next::Unregistered { since, reason },
        Outcome::Rejected { reason } => return Next::Dead { reason },
        Outcome::Throttled { retry_after, reason } | Outcome::Unavailable { retry_after, reason } => {
            (retry_after, reason)
        }
    };
    if attempt.count >= patience.attempts_max {
        return Next::Dead { reason: format!("{reason} after {} attempts", attempt.count) };
    }
    let at = attempt.ended_at.plus(wait(attempt.count, retry_after, patience, jitter));
    if at >= attempt.expires_at { Next::Expired { reason } } else { Next::Again { at, reason } }
}

/// Exponential back-off, half of it jittered; never sooner than the provider asked.
fn wait(attempts: u32, retry_after: Option<Duration>, patience: &Patience, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let full = patience.backoff_min.saturating_mul(1 << doublings).min(patience.backoff_max);
    let jittered = full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
    // A provider's wish gets jitter on top, so that everyone it told does not come back at once.
    retry_after.map_or(jittered, |asked| asked.mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0)).max(jittered))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn again(attempts: u32, retry_after: Option<u64>, jitter: f64) -> Next {
        let outcome =
            Outcome::Throttled { retry_after: retry_after.map(Duration::from_secs), reason: "slow".to_owned() };
        let now = Timestamp::from_millis(NOW);
        let attempt = Attempt { count: attempts, ended_at: now, expires_at: now.plus(Duration::from_secs(3600)) };
        next(outcome, attempt, &Patience::default(), jitter)
    }

    fn wait_s(next: Next) -> u64 {
        let Next::Again { at, .. } = next else { panic!("expected another attempt, got {next:?}") };
        at.since(Timestamp::from_millis(NOW)).as_secs()
    }

    #[test]
    fn backs_off_with_doubling_and_jitter() {
        assert_eq!(wait_s(again(1, None, 0.0)), 5);
        assert_eq!(wait_s(again(1, None, 1.0)), 10);
        assert_eq!(wait_s(again(3, None, 1.0)), 40);
        assert_eq!(wait_s(again(9, None, 1.0)), 900, "the longest wait");
    }

    #[test]
    fn comes_back_no_sooner_than_asked() {
        assert_eq!(wait_s(again(1, Some(60), 0.0)), 60);
        assert_eq!(wait_s(again(5, Some(1), 0.0)), 80);
    }

    #[test]
    fn gives_up_by_name() {
        assert_eq!(again(10, None, 0.0), Next::Dead { reason: "slow after 10 attempts".to_owned() });
        assert_eq!(again(1, Some(7200), 0.0), Next::Expired { reason: "slow".to_owned() });
    }
}
