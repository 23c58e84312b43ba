//! How often something happens. Pure: time is an argument.

use std::time::Duration;

use crate::clock::Moment;

const SECONDS: usize = 60;

/// Counts by second over the last minute.
#[derive(Clone, Debug)]
pub struct Tally {
    counts: [u32; SECONDS],
    /// The second that `counts[second % 60]` belongs to is at most this one.
    latest: u64,
    since: Moment,
    last: Moment,
}

impl Tally {
    /// Begins to count.
    pub fn new(now: Moment) -> Tally {
        Tally { counts: [0; SECONDS], latest: now.second(), since: now, last: now }
    }

    /// One more.
    pub fn count(&mut self, at: Moment) {
        self.advance(at);
        self.last = self.last.max(at);
        self.counts[slot(self.latest)] = self.counts[slot(self.latest)].saturating_add(1);
    }

    /// How many a second over the last minute, or since the beginning if that is less.
    pub fn rate_hz(&mut self, now: Moment) -> f64 {
        self.advance(now);
        let seconds = self.span(now).as_secs_f64().clamp(1.0, SECONDS as f64);
        self.counts.iter().map(|count| f64::from(*count)).sum::<f64>() / seconds
    }

    /// How long it has been counting.
    pub fn span(&self, now: Moment) -> Duration {
        now.since(self.since)
    }

    /// When it last counted, or began to.
    pub fn last(&self) -> Moment {
        self.last
    }

    fn advance(&mut self, now: Moment) {
        let second = now.second();
        let from = self.latest.max(second.saturating_sub(SECONDS as u64)) + 1;
        for passed in from..=second {
            self.counts[slot(passed)] = 0;
        }
        self.latest = self.latest.max(second);
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_what_was_observed_and_forgets_after_a_minute() {
        let mut tally = Tally::new(Moment(5_000));
        for beat in 0..40 {
            tally.count(Moment(5_000 + beat * 250));
        }
        assert!((tally.rate_hz(Moment(15_000)) - 4.0).abs() < 1e-9);
        assert!((tally.rate_hz(Moment(65_000)) - 36.0 / 60.0).abs() < 1e-9, "{}", tally.rate_hz(Moment(65_000)));
        assert!(tally.rate_hz(Moment(500_000)).abs() < 1e-9);
    }

    #[test]
    fn late_news_counts_for_now() {
        let mut tally = Tally::new(Moment(100_000));
        tally.count(Moment(99_000));
        assert!((tally.rate_hz(Moment(101_000)) - 1.0).abs() < 1e-9);
    }
}
