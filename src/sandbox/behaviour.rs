//! How the services misbehave, by request of whoever tests against them.

use parvis_engine::{notification::Channel, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;

/// The longest delay that can be asked for, milliseconds: an hour.
const DELAY_MAX_MS: u64 = 3_600_000;
/// The longest body that can be asked for.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// More requests a minute than anybody sends to one device.
const PER_MINUTE_MAX: u32 = 10_000;

/// How a service answers. `times` counts otherwise valid requests; without it there is no end.
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
    /// The token has expired: APNs 410 ExpiredToken; FCM and Web Push know no such word and say that the app is gone.
    Expired {
        /// Since when; since now if absent.
        #[serde(default)]
        since: Option<Timestamp>,
    },
    /// Accepts, and answers late.
    Slow {
        /// How late, milliseconds.
        delay_ms: u64,
    },
    /// Accepts, and answers late, each time by another time of the range.
    Varying {
        /// At least so late, milliseconds.
        from_ms: u64,
        /// At most so late, milliseconds.
        to_ms: u64,
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
    /// Refuses with 503.
    Unavailable {
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
    /// Refuses with a body that is not the service's own, as something between it and the client would.
    Garbled {
        /// HTTP status, 400 to 599.
        status: u16,
        /// The body, sent as HTML.
        #[serde(default)]
        body: String,
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
    /// Resets the stream as refused (RFC 9113, section 8.7): the message was not looked at and may be sent again. Over
    /// HTTP/1.1 the connection ends instead.
    RefusedStream {
        /// How often.
        #[serde(default)]
        times: Option<u32>,
    },
}

/// Which requests something is about. Each part that is given must fit; an empty scope fits every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The service.
    #[serde(default)]
    pub channel: Option<Channel>,
    /// The app that the target belongs to, or whose project, bundle or topic it is.
    #[serde(default)]
    pub app: Option<String>,
    /// APNs' topic without the push type's suffix, FCM's topic, or Web Push's `Topic`.
    #[serde(default)]
    pub topic: Option<String>,
    /// What the target begins with: a device token, a registration token, an endpoint.
    #[serde(default)]
    pub target: Option<String>,
}

/// A behaviour towards some requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Towards which.
    #[serde(default)]
    pub scope: Scope,
    /// How.
    pub behaviour: Behaviour,
}

/// Whether a service's port takes connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reachable {
    /// It does.
    #[default]
    Open,
    /// Nothing listens, and what was open is cut.
    Refused,
    /// Connections are taken and cut at once, as is what was open.
    Closed,
}

/// How a service answers everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Added to every answer, milliseconds.
    pub latency_ms: u64,
    /// With it, each answer's latency is somewhere between `latency_ms` and this, milliseconds.
    pub latency_max_ms: Option<u64>,
    /// Every request is refused with this status, 400 to 599, before it is looked at.
    pub failing: Option<u16>,
    /// The `Retry-After` of those refusals, seconds.
    pub retry_after_s: Option<u32>,
    /// Announced to new HTTP/2 connections.
    pub max_concurrent_streams: Option<u32>,
    /// APNs only: announced to new connections and held to, until a token or certificate was accepted on them.
    pub streams_before_token: Option<u32>,
    /// A connection gets GOAWAY after so many requests.
    pub goaway_after: Option<u32>,
    /// The `reason` of those GOAWAYs' JSON; without it they carry nothing.
    pub goaway_reason: Option<String>,
    /// A connection without requests for so long gets GOAWAY with the reason `IdleTimeout`, milliseconds.
    pub idle_timeout_ms: Option<u64>,
    /// One target gets no more than this; above, the answer is 429.
    pub target_requests_per_minute: Option<u32>,
    /// Whether connections are taken.
    pub reachable: Reachable,
    /// All of this ends by itself after so long, milliseconds.
    pub for_ms: Option<u64>,
}

/// What happens to one valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Answer,
    Delay { delay_ms: u64 },
    Refuse { status: u16, reason: Option<String>, retry_after_s: Option<u32> },
    Gone { since: Option<Timestamp>, expired: bool },
    Garble { status: u16, body: String },
    Silence,
    Reset,
    RefuseStream,
}

impl Behaviour {
    /// What the next valid request gets; counts it, and turns normal after the last time.
    pub(super) fn next(&mut self, entropy: &Entropy) -> Effect {
        let refuse = |status, retry_after_s: &Option<u32>| Effect::Refuse {
            status,
            reason: None,
            retry_after_s: *retry_after_s,
        };
        let (effect, times) = match self {
            Behaviour::Normal => return Effect::Answer,
            Behaviour::Unregistered { since } => return Effect::Gone { since: *since, expired: false },
            Behaviour::Expired { since } => return Effect::Gone { since: *since, expired: true },
            Behaviour::Slow { delay_ms } => return Effect::Delay { delay_ms: *delay_ms },
            Behaviour::Varying { from_ms, to_ms } => {
                return Effect::Delay { delay_ms: between(*from_ms, *to_ms, entropy) };
            }
            Behaviour::Throttled { times, retry_after_s } => (refuse(429, retry_after_s), times),
            Behaviour::Unavailable { times, retry_after_s } => (refuse(503, retry_after_s), times),
            Behaviour::Failing { status, reason, times } => {
                (Effect::Refuse { status: *status, reason: reason.clone(), retry_after_s: None }, times)
            }
            Behaviour::Garbled { status, body, times } => {
                (Effect::Garble { status: *status, body: body.clone() }, times)
            }
            Behaviour::Silent { times } => (Effect::Silence, times),
            Behaviour::Reset { times } => (Effect::Reset, times),
            Behaviour::RefusedStream { times } => (Effect::RefuseStream, times),
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

    /// Since when the target is gone, and whether it is because its token has expired.
    pub(super) fn gone(&self) -> Option<(Timestamp, bool)> {
        match self {
            Behaviour::Unregistered { since } => Some((since.unwrap_or_default(), false)),
            Behaviour::Expired { since } => Some((since.unwrap_or_default(), true)),
            Behaviour::Normal
            | Behaviour::Slow { .. }
            | Behaviour::Varying { .. }
            | Behaviour::Throttled { .. }
            | Behaviour::Unavailable { .. }
            | Behaviour::Failing { .. }
            | Behaviour::Garbled { .. }
            | Behaviour::Silent { .. }
            | Behaviour::Reset { .. }
            | Behaviour::RefusedStream { .. } => None,
        }
    }

    /// The same with the time at which it began.
    pub(super) fn begun(mut self, now: Timestamp) -> Behaviour {
        if let Behaviour::Unregistered { since } | Behaviour::Expired { since } = &mut self {
            since.get_or_insert(now);
        }
        self
    }

    /// Why this cannot be asked for.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Behaviour::Garbled { body, .. } if body.len() > BODY_BYTES_MAX => {
                Some(format!("body: longer than {BODY_BYTES_MAX} bytes"))
            }
            Behaviour::Failing { status, .. } | Behaviour::Garbled { status, .. } => bad_status("status", *status),
            Behaviour::Slow { delay_ms } => too_late("delay_ms", *delay_ms),
            Behaviour::Varying { from_ms, to_ms } if from_ms > to_ms => {
                Some(format!("from_ms: {from_ms} is more than to_ms, which is {to_ms}"))
            }
            Behaviour::Varying { to_ms, .. } => too_late("to_ms", *to_ms),
            Behaviour::Normal
            | Behaviour::Unregistered { .. }
            | Behaviour::Expired { .. }
            | Behaviour::Throttled { .. }
            | Behaviour::Unavailable { .. }
            | Behaviour::Silent { .. }
            | Behaviour::Reset { .. }
            | Behaviour::RefusedStream { .. } => None,
        }
    }
}

impl Conditions {
    /// How late the next answer is, milliseconds.
    pub(super) fn delay_ms(&self, entropy: &Entropy) -> u64 {
        self.latency_max_ms.map_or(self.latency_ms, |most| between(self.latency_ms, most, entropy))
    }

    /// Why this cannot be asked for.
    pub(super) fn problem(&self) -> Option<String> {
        let zero = |name: &str, value: Option<u32>| {
            value.filter(|value| *value == 0).map(|_| format!("{name}: must be more than 0"))
        };
        let latency_max_ms = self.latency_max_ms.unwrap_or(self.latency_ms);
        let backwards = (latency_max_ms < self.latency_ms)
            .then(|| format!("latency_max_ms: {latency_max_ms} is less than latency_ms, which is {}", self.latency_ms));
        let per_minute = self.target_requests_per_minute.filter(|most| *most > PER_MINUTE_MAX);
        self.failing
            .and_then(|status| bad_status("failing", status))
            .or(backwards)
            .or_else(|| too_late("latency_max_ms", latency_max_ms))
            .or_else(|| zero("streams_before_token", self.streams_before_token))
            .or_else(|| zero("goaway_after", self.goaway_after))
            .or_else(|| {
                self.idle_timeout_ms.filter(|ms| *ms == 0).map(|_| "idle_timeout_ms: must be more than 0".into())
            })
            .or_else(|| per_minute.map(|_| format!("target_requests_per_minute: more than {PER_MINUTE_MAX}")))
    }
}

fn bad_status(field: &str, status: u16) -> Option<String> {
    (!(400..=599).contains(&status)).then(|| format!("{field}: {status} is not between 400 and 599"))
}

fn too_late(field: &str, delay_ms: u64) -> Option<String> {
    (delay_ms > DELAY_MAX_MS).then(|| format!("{field}: more than {DELAY_MAX_MS}"))
}

/// Uniform, both ends included.
fn between(from: u64, to: u64, entropy: &Entropy) -> u64 {
    let span = to.saturating_sub(from).saturating_add(1);
    from.saturating_add((entropy.unit() * span as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_behaviour_ends_and_an_uncounted_one_does_not() {
        let entropy = Entropy::seeded(1);
        let mut twice = Behaviour::Reset { times: Some(2) };
        let effects: Vec<Effect> = (0..4).map(|_| twice.next(&entropy)).collect();
        assert_eq!(effects, [Effect::Reset, Effect::Reset, Effect::Answer, Effect::Answer]);
        assert_eq!(twice, Behaviour::Normal);
        let mut always = Behaviour::Silent { times: None };
        assert!((0..9).all(|_| always.next(&entropy) == Effect::Silence));
    }

    #[test]
    fn varying_delays_stay_in_their_range_and_reach_both_ends() {
        let entropy = Entropy::seeded(1);
        let mut varying = Behaviour::Varying { from_ms: 3, to_ms: 6 };
        let mut seen: Vec<Effect> = (0..200).map(|_| varying.next(&entropy)).collect();
        seen.sort_by_key(|effect| format!("{effect:?}"));
        seen.dedup();
        assert_eq!(seen, [3, 4, 5, 6].map(|delay_ms| Effect::Delay { delay_ms }));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let failing = |status| Behaviour::Failing { status, reason: None, times: None };
        let long = Behaviour::Garbled { status: 502, body: "x".repeat(BODY_BYTES_MAX + 1), times: None };
        for (behaviour, problem) in [
            (failing(200), Some("status: 200 is not between 400 and 599")),
            (failing(503), None),
            (long, Some("body: longer than 65536 bytes")),
            (Behaviour::Varying { from_ms: 2, to_ms: 1 }, Some("from_ms: 2 is more than to_ms, which is 1")),
            (Behaviour::Slow { delay_ms: 3_600_001 }, Some("delay_ms: more than 3600000")),
        ] {
            assert_eq!(behaviour.problem().as_deref(), problem, "{behaviour:?}");
        }
        let none = Conditions::default;
        for (conditions, problem) in [
            (none(), None),
            (Conditions { failing: Some(99), ..none() }, Some("failing: 99 is not between 400 and 599")),
            (
                Conditions { latency_ms: 5, latency_max_ms: Some(4), ..none() },
                Some("latency_max_ms: 4 is less than latency_ms, which is 5"),
            ),
            (Conditions { latency_ms: 3_600_001, ..none() }, Some("latency_max_ms: more than 3600000")),
            (Conditions { goaway_after: Some(0), ..none() }, Some("goaway_after: must be more than 0")),
            (Conditions { streams_before_token: Some(0), ..none() }, Some("streams_before_token: must be more than 0")),
            (Conditions { idle_timeout_ms: Some(0), ..none() }, Some("idle_timeout_ms: must be more than 0")),
            (
                Conditions { target_requests_per_minute: Some(10_001), ..none() },
                Some("target_requests_per_minute: more than 10000"),
            ),
        ] {
            assert_eq!(conditions.problem().as_deref(), problem, "{conditions:?}");
        }
    }
}
