//! How the services misbehave, by request of whoever tests against them.

use parvis_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How a service answers for one target. `times` counts otherwise valid requests; without it there is no end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Normal,
    /// The app is gone: APNs 410 Unregistered, FCM 404 UNREGISTERED, Web Push 410.
    Unregistered {
        /// Since when; since now if absent.
        #[serde(default)]
        since: Option<Timestamp>,
    },
    /// Accepts, and answers late.
    Slow {
        /// How late, milliseconds.
        delay_ms: u64,
    },
    /// Refuses with 429.
    Throttled {
        /// How often.
        #[serde(default)]
        times: Option<u32>,
        /// The answer's `Retry-After`, seconds.
        #[serde(default)]
        retry_after_s: Option<u32>,
    },
    /// Refuses with a status of the tester's choice.
    Failing {
        /// HTTP status, 400 to 599.
        status: u16,
        /// APNs' `reason`, FCM's `errorCode` or Web Push's `message`; the status' usual one if absent.
        #[serde(default)]
        reason: Option<String>,
        /// How often.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Accepts, and never answers.
    Silent {
        /// How often.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Accepts, and resets the stream in the middle of the answer.
    Reset {
        /// How often.
        #[serde(default)]
        times: Option<u32>,
    },
}

/// How a service answers everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Added to every answer, milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// Every request is refused with this status, 400 to 599, before it is looked at.
    #[serde(default)]
    pub failing: Option<u16>,
    /// The `Retry-After` of those refusals, seconds.
    #[serde(default)]
    pub retry_after_s: Option<u32>,
    /// Announced to new HTTP/2 connections.
    #[serde(default)]
    pub max_concurrent_streams: Option<u32>,
}

/// What happens to one valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Answer,
    Delay { delay_ms: u64 },
    Refuse { status: u16, reason: Option<String>, retry_after_s: Option<u32> },
    Silence,
    Reset,
}

impl Behaviour {
    /// What the next valid request gets; counts it, and turns normal after the last time.
    pub(super) fn next(&mut self) -> Effect {
        let (effect, times) = match self {
            Behaviour::Normal | Behaviour::Unregistered { .. } => return Effect::Answer,
            Behaviour::Slow { delay_ms } => return Effect::Delay { delay_ms: *delay_ms },
            Behaviour::Throttled { times, retry_after_s } => {
                (Effect::Refuse { status: 429, reason: None, retry_after_s: *retry_after_s }, times)
            }
            Behaviour::Failing { status, reason, times } => {
                (Effect::Refuse { status: *status, reason: reason.clone(), retry_after_s: None }, times)
            }
            Behaviour::Silent { times } => (Effect::Silence, times),
            Behaviour::Reset { times } => (Effect::Reset, times),
        };
        match times {
            None => effect,
            Some(0) => {
                *self = Behaviour::Normal;
                Effect::Answer
            }
            Some(left) => {
                *left -= 1;
                effect
            }
        }
    }

    /// Why this cannot be asked for.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Behaviour::Failing { status, .. } if !(400..=599).contains(status) => {
                Some(format!("status: {status} is not between 400 and 599"))
            }
            Behaviour::Normal
            | Behaviour::Unregistered { .. }
            | Behaviour::Slow { .. }
            | Behaviour::Throttled { .. }
            | Behaviour::Failing { .. }
            | Behaviour::Silent { .. }
            | Behaviour::Reset { .. } => None,
        }
    }
}

impl Conditions {
    /// Why this cannot be asked for.
    pub(super) fn problem(&self) -> Option<String> {
        let status = self.failing.filter(|status| !(400..=599).contains(status))?;
        Some(format!("failing: {status} is not between 400 and 599"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_behaviour_ends_and_an_uncounted_one_does_not() {
        let mut twice = Behaviour::Reset { times: Some(2) };
        let effects: Vec<Effect> = (0..4).map(|_| twice.next()).collect();
        assert_eq!(effects, [Effect::Reset, Effect::Reset, Effect::Answer, Effect::Answer]);
        assert_eq!(twice, Behaviour::Normal);
        let mut always = Behaviour::Silent { times: None };
        assert!((0..9).all(|_| always.next() == Effect::Silence));
    }

    #[test]
    fn only_statuses_of_errors_can_be_asked_for() {
        let failing = |status| Behaviour::Failing { status, reason: None, times: None };
        assert_eq!(failing(200).problem().as_deref(), Some("status: 200 is not between 400 and 599"));
        assert_eq!(failing(503).problem(), None);
    }
}
