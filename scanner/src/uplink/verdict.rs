//! What an answer means for the report that it answers, and how long to wait. Pure: time and chance are arguments.

use std::time::Duration;

use crate::clock::Moment;

/// The longest wait that a server is granted.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server has it.
    Accepted,
    /// The server will never want it.
    Refused,
    /// The server does not take anything from this host, until somebody changes something.
    Misconfigured,
    /// Again later.
    Later {
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Judges an answer by its status and its `Retry-After` (RFC 9110, section 15).
pub fn judge(status: u16, retry_after: Option<Duration>) -> Verdict {
    match status {
        200..=299 => Verdict::Accepted,
        // The key, the path, or a proxy that asks for a login: nothing is wrong with the report.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 421 => Verdict::Misconfigured,
        408 | 425 | 429 => Verdict::Later { retry_after },
        400..=499 => Verdict::Refused,
        _ => Verdict::Later { retry_after },
    }
}

/// When the next attempt may be made.
#[derive(Clone, Debug)]
pub struct Link {
    retry_min: Duration,
    retry_max: Duration,
    refused_wait: Duration,
    failures: u32,
    ready_at: Moment,
}

impl Link {
    /// A link that is believed to work.
    pub fn new(retry_min: Duration, retry_max: Duration, refused_wait: Duration) -> Link {
        Link { retry_min, retry_max, refused_wait, failures: 0, ready_at: Moment::default() }
    }

    /// Whether the last attempt got through.
    pub fn works(&self) -> bool {
        self.failures == 0
    }

    /// When the next attempt may be made.
    pub fn ready_at(&self) -> Moment {
        self.ready_at
    }

    /// An attempt was answered, or not. `chance` is uniform in 0..1.
    pub fn settle(&mut self, verdict: Verdict, now: Moment, chance: f64) {
        let wait = match verdict {
            Verdict::Accepted | Verdict::Refused => {
                self.failures = 0;
                self.ready_at = now;
                return;
            }
            Verdict::Misconfigured => self.refused_wait,
            Verdict::Later { retry_after } => {
                let doubled = self.retry_min.saturating_mul(1 << self.failures.min(20)).min(self.retry_max);
                doubled.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
            }
        };
        self.failures = self.failures.saturating_add(1);
        // Hosts that lost the server together must not come back together.
        self.ready_at = now.plus(wait.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_status_says_what_becomes_of_a_report() {
        let again = Some(30 * SECOND);
        let verdicts = |statuses: &[u16], expected| {
            for status in statuses {
                assert_eq!(judge(*status, again), expected, "{status}");
            }
        };
        verdicts(&[200, 202, 204], Verdict::Accepted);
        verdicts(&[400, 409, 413, 415, 422], Verdict::Refused);
        verdicts(&[301, 401, 403, 404], Verdict::Misconfigured);
        verdicts(&[408, 425, 429, 500, 502, 503, 504, 100], Verdict::Later { retry_after: again });
    }

    #[test]
    fn waits_grow_with_a_spread_up_to_a_limit_and_end_with_success() {
        let mut link = Link::new(SECOND, 60 * SECOND, 300 * SECOND);
        let later = Verdict::Later { retry_after: None };
        let mut waits = Vec::new();
        for failure in 0..9 {
            link.settle(later, Moment(0), if failure % 2 == 0 { 0.0 } else { 1.0 });
            waits.push(link.ready_at().0 / 100);
        }
        assert_eq!(waits, [10, 30, 40, 120, 160, 480, 600, 900, 600]);
        assert!(!link.works());
        link.settle(Verdict::Accepted, Moment(5), 0.5);
        assert_eq!((link.works(), link.ready_at()), (true, Moment(5)));
        link.settle(Verdict::Misconfigured, Moment(0), 0.0);
        assert_eq!(link.ready_at(), Moment(300_000));
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_but_not_for_ever() {
        let mut link = Link::new(SECOND, 60 * SECOND, 300 * SECOND);
        link.settle(Verdict::Later { retry_after: Some(120 * SECOND) }, Moment(0), 0.0);
        assert_eq!(link.ready_at(), Moment(120_000));
        link.settle(Verdict::Later { retry_after: Some(86_400 * SECOND) }, Moment(0), 0.0);
        assert_eq!(link.ready_at(), Moment(600_000));
    }
}
