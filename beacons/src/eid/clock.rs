//! What is known of a beacon's clock: between which two readings it must stand. Every identifier that is heard narrows
//! them, every hour without one widens them.

use super::Exponent;

/// What the specification lets a beacon's clock err, millionths.
const DRIFT_PPM: u64 = 150;
/// How much the time of a sighting may be wrong.
const SIGHTING_ERROR_MS: i64 = 5_000;
/// A beacon that was not heard for ever so long is looked for no further away than this many periods.
const DRIFT_PERIODS_MAX: i64 = 64;

/// A beacon's clock. Offsets are what it is ahead of our reckoning, milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    began_at_ms: i64,
    period_ms: i64,
    low_ms: i64,
    high_ms: i64,
    /// When `low_ms` and `high_ms` were so.
    known_at_ms: i64,
}

impl Clock {
    pub(super) fn new(began_at_ms: i64, exponent: Exponent) -> Clock {
        let period_ms = i64::from(exponent.period_s()) * 1_000;
        Clock { began_at_ms, period_ms, low_ms: -period_ms, high_ms: period_ms, known_at_ms: began_at_ms }
    }

    /// The least and the greatest offset that are possible.
    pub(super) fn offsets_ms(&self, at_ms: i64) -> (i64, i64) {
        let drift_ms = at_ms.abs_diff(self.known_at_ms).saturating_mul(DRIFT_PPM) / 1_000_000;
        let drift_ms = i64::try_from(drift_ms).unwrap_or(i64::MAX).min(DRIFT_PERIODS_MAX * self.period_ms);
        (self.low_ms - drift_ms, self.high_ms + drift_ms)
    }

    /// The first and the last period whose identifier the beacon can be sending; may be before its first.
    pub(super) fn periods(&self, at_ms: i64) -> (i64, i64) {
        let (low_ms, high_ms) = self.offsets_ms(at_ms);
        let nominal_ms = self.nominal_ms(at_ms);
        let period = |offset_ms| nominal_ms.saturating_add(offset_ms).div_euclid(self.period_ms);
        (period(low_ms - self.late_ms()), period(high_ms + SIGHTING_ERROR_MS))
    }

    /// When the last possible period will be another one.
    pub(super) fn next_ms(&self, at_ms: i64) -> i64 {
        let (_, high_ms) = self.offsets_ms(at_ms);
        let high_ms = high_ms + SIGHTING_ERROR_MS;
        let within_ms = self.nominal_ms(at_ms).saturating_add(high_ms).rem_euclid(self.period_ms);
        at_ms.saturating_add(self.period_ms - within_ms)
    }

    /// Learns from the identifier of `period` being heard. An offset is never pinned down to less than one period
    /// either way: so whoever sends old identifiers again moves it no faster than a clock could drift.
    pub(super) fn heard(&mut self, period: i64, at_ms: i64) {
        if at_ms < self.known_at_ms {
            return;
        }
        let (low_ms, high_ms) = self.offsets_ms(at_ms);
        let start_ms = period.saturating_mul(self.period_ms).saturating_sub(self.nominal_ms(at_ms));
        let least_ms = start_ms.saturating_sub(SIGHTING_ERROR_MS).max(low_ms);
        let most_ms = start_ms.saturating_add(self.period_ms + self.late_ms()).min(high_ms);
        let missing_ms = (2 * self.period_ms - (most_ms - least_ms)).max(0);
        let (below_ms, above_ms) = (least_ms - low_ms, high_ms - most_ms);
        let below_ms = (missing_ms / 2).max(missing_ms - above_ms).clamp(0, below_ms.max(0));
        (self.low_ms, self.high_ms) = (least_ms - below_ms, most_ms + (missing_ms - below_ms));
        self.known_at_ms = at_ms;
    }

    /// How long after a period its identifier can still be heard: a beacon may change it at any moment of the next.
    fn late_ms(&self) -> i64 {
        self.period_ms + SIGHTING_ERROR_MS
    }

    /// What the clock shows if it is right.
    fn nominal_ms(&self, at_ms: i64) -> i64 {
        at_ms.saturating_sub(self.began_at_ms)
    }
}
