//! What is counted and timed while load runs. It must not send anything, and never asks what time it is.

pub(crate) mod arrivals;
pub(crate) mod process;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Waits beyond an hour count as an hour, microseconds.
const WAIT_MAX_US: u64 = 3_600_000_000;
/// Three digits of every wait are kept.
const DIGITS: u8 = 3;
/// So many kinds of failures are kept by their words; there are seldom more, and bodies may differ without end.
const FAILURES_MAX: usize = 8;

/// What became of the pings of one stretch. `sent` is the sum of `accepted`, `rejected`, `refused` and `failed` once all
/// requests are answered.
pub(crate) struct Tally {
    /// Requests, without their repetitions.
    pub(crate) requests: u64,
    /// Pings in those requests.
    pub(crate) sent: u64,
    /// Taken, and durable.
    pub(crate) accepted: u64,
    /// Read and not believed, such as a fix that is too inaccurate.
    pub(crate) rejected: u64,
    /// Sent back (429 or 503) until the stretch was over.
    pub(crate) refused: u64,
    /// Neither: broken connections and answers that nobody expected.
    pub(crate) failed: u64,
    /// Answers that sent a request back.
    pub(crate) refusals: u64,
    /// From the due time to the answer, for each ping that was accepted or rejected.
    pub(crate) answer: Histogram<u64>,
    /// The same since the last [`Tally::second`].
    recent: Histogram<u64>,
    /// How much after its due time a request was sent the first time: the connections were busy, or the timer was late.
    pub(crate) late: Histogram<u64>,
    /// The first kinds of failures and refusals, in their own words, and how often.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) series: Vec<Second>,
    accepted_before: u64,
    at_before_us: u64,
}

/// One line of progress.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Second {
    /// Seconds since the stretch began.
    pub(crate) at_s: f64,
    /// Pings accepted in a second.
    pub(crate) per_s: f64,
    /// Median of the waits that ended in it, milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile of them.
    pub(crate) p99_ms: f64,
    /// Pings that were due and not answered at its end.
    pub(crate) backlog: u64,
}

/// What one answer means for the pings of its request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
    /// What the failure says of itself.
    pub(crate) why: Option<String>,
}

/// An empty histogram of waits, microseconds.
///
/// # Panics
/// Never: the bounds are constants.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(WAIT_MAX_US, DIGITS).expect("the bounds are sound")
}

/// A percentile in milliseconds.
pub(crate) fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1_000.0
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            requests: 0,
            sent: 0,
            accepted: 0,
            rejected: 0,
            refused: 0,
            failed: 0,
            refusals: 0,
            answer: histogram(),
            recent: histogram(),
            late: histogram(),
            failures: BTreeMap::new(),
            series: Vec::new(),
            accepted_before: 0,
            at_before_us: 0,
        }
    }

    /// A request goes out for the first time.
    pub(crate) fn sending(&mut self, pings: u64, late_us: u64) {
        self.requests += 1;
        self.sent += pings;
        self.late.saturating_record(late_us);
    }

    /// A request was answered after this time.
    pub(crate) fn answered(&mut self, verdict: Verdict, wait_us: u64) {
        self.accepted += verdict.accepted;
        self.rejected += verdict.rejected;
        self.failed += verdict.failed;
        let timed = verdict.accepted + verdict.rejected;
        // Recording a wait of nobody would raise the maximum.
        if timed > 0 {
            self.answer.saturating_record_n(wait_us, timed);
            self.recent.saturating_record_n(wait_us, timed);
        }
        if let Some(why) = verdict.why {
            self.note(why);
        }
    }

    /// A request was sent back.
    pub(crate) fn sent_back(&mut self, why: String) {
        self.refusals += 1;
        self.note(why);
    }

    /// Pings that are settled.
    pub(crate) fn settled(&self) -> u64 {
        self.accepted + self.rejected + self.refused + self.failed
    }

    /// Ends a line of progress.
    pub(crate) fn second(&mut self, at_us: u64, backlog: u64) -> Second {
        let span_s = at_us.saturating_sub(self.at_before_us).max(1) as f64 / 1e6;
        let second = Second {
            at_s: at_us as f64 / 1e6,
            per_s: (self.accepted - self.accepted_before) as f64 / span_s,
            p50_ms: quantile_ms(&self.recent, 0.5),
            p99_ms: quantile_ms(&self.recent, 0.99),
            backlog,
        };
        self.series.push(second);
        self.recent.reset();
        (self.accepted_before, self.at_before_us) = (self.accepted, at_us);
        second
    }

    fn note(&mut self, why: String) {
        if self.failures.len() < FAILURES_MAX || self.failures.contains_key(&why) {
            *self.failures.entry(why).or_default() += 1;
        } else {
            *self.failures.entry("others".to_owned()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ping_is_settled_once() {
        let mut tally = Tally::new();
        tally.sending(100, 0);
        tally.answered(Verdict { accepted: 97, rejected: 3, ..Verdict::default() }, 1_500);
        tally.sending(100, 20);
        tally.answered(Verdict { failed: 100, why: Some("500".to_owned()), ..Verdict::default() }, 9_000);
        assert_eq!((tally.requests, tally.sent, tally.settled()), (2, 200, 200));
        assert_eq!((tally.answer.len(), tally.answer.max() / 10), (100, 150), "what failed has no time of an answer");
        assert_eq!(tally.failures["500"], 1);
    }

    #[test]
    fn a_second_tells_of_itself_alone() {
        let mut tally = Tally::new();
        tally.answered(Verdict { accepted: 10, ..Verdict::default() }, 8_000);
        let first = tally.second(1_000_000, 3);
        tally.answered(Verdict { accepted: 30, ..Verdict::default() }, 2_000);
        let second = tally.second(2_000_000, 0);
        assert_eq!((first.per_s, second.per_s), (10.0, 30.0));
        assert!((7.9..8.1).contains(&first.p99_ms) && (1.9..2.1).contains(&second.p99_ms), "{first:?} {second:?}");
    }

    #[test]
    fn kinds_of_failures_are_bounded() {
        let mut tally = Tally::new();
        (0..1_000).for_each(|index| tally.sent_back(format!("reason {index}")));
        assert_eq!(tally.failures.len(), FAILURES_MAX + 1);
        assert_eq!(tally.failures["others"], 1_000 - FAILURES_MAX as u64);
    }
}
