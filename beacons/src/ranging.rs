//! From signal strengths to the zone that somebody is in.
//!
//! A source is who tells signals apart by place: the beacon that a phone hears, or the scanner that hears a tag. Each
//! source has a smoothed level, each zone the mean of the levels of its sources, and the strongest zone wins by a
//! margin. Times are milliseconds since an epoch of the caller's; nothing here asks for the time or keeps anything.

mod proximity;
mod settings;
mod zone;

use serde::{Deserialize, Serialize};

pub use proximity::{Proximity, distance_m, proximity};
pub use settings::Settings;
pub use zone::{Choice, Score, choose, scores};

/// Sightings that are at least this far apart support a choice.
const SUPPORT_SPAN_MS: i64 = 1_000;
/// So many advertisements support a choice however close they are.
const SUPPORT_COUNT: u32 = 3;

/// The smoothed signal strength of one source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The smoothed signal strength, dBm.
    pub value_dbm: f64,
    /// When the newest reading in it was heard.
    pub at_ms: i64,
    /// When the oldest reading since the last gap was heard.
    pub since_ms: i64,
    /// How many advertisements have been heard since the last gap.
    pub count: u32,
}

impl Level {
    /// The same level, if its newest reading sums up so many advertisements instead of one.
    #[must_use]
    pub fn summing_up(self, advertisements: u32) -> Level {
        Level { count: self.count.saturating_add(advertisements.saturating_sub(1)), ..self }
    }

    /// Whether this rests on more than a single sighting: on two that are a second apart, or on three advertisements.
    /// What does not is left out of every score, so that one forged or reflected advertisement causes nothing.
    pub fn is_supported(&self) -> bool {
        self.count >= SUPPORT_COUNT || (self.count > 1 && self.at_ms.saturating_sub(self.since_ms) >= SUPPORT_SPAN_MS)
    }

    /// Whether the source counts as heard at this moment.
    pub fn is_live(&self, at_ms: i64, settings: &Settings) -> bool {
        at_ms.saturating_sub(self.at_ms) < settings::millis(settings.live_s)
    }
}

/// Whether a number can be a signal strength in dBm: at least -100 and below 0. Platforms use 0, 127 and -127 for what
/// was not measured, and real adapters have been seen to report values far above 0.
pub fn usable(rssi_dbm: f64) -> bool {
    (-100.0..0.0).contains(&rssi_dbm)
}

/// Takes a reading into the level of its source.
///
/// The level is an exponential moving average for irregular times: after `t` seconds a reading weighs
/// `1 - exp(-t / smoothing_s)`, or `1 - exp(-rise_weight * t / smoothing_s)` if it is above the level. The first
/// reading, and the first after a gap of more than `gap_s`, is the level. A reading that is not [`usable`] changes
/// nothing, and neither does one that is not newer than the level: repeats are counted once, and of several readings
/// with the same time only the first counts.
pub fn smoothed(level: Option<Level>, rssi_dbm: f64, at_ms: i64, settings: &Settings) -> Option<Level> {
    if !usable(rssi_dbm) {
        return level;
    }
    let first = Level { value_dbm: rssi_dbm, at_ms, since_ms: at_ms, count: 1 };
    let Some(level) = level else { return Some(first) };
    let span_ms = at_ms.saturating_sub(level.at_ms);
    if span_ms <= 0 {
        return Some(level);
    }
    if span_ms > settings::millis(settings.gap_s) {
        return Some(first);
    }
    let step_db = rssi_dbm - level.value_dbm;
    let haste = if step_db > 0.0 { settings.rise_weight } else { 1.0 };
    let weight = 1.0 - (-haste * span_ms as f64 / 1_000.0 / settings.smoothing_s).exp();
    let value_dbm = level.value_dbm + weight * step_db;
    Some(Level { value_dbm, at_ms, since_ms: level.since_ms, count: level.count.saturating_add(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn settled(readings: &[(i64, f64)], settings: &Settings) -> Option<Level> {
        readings.iter().fold(None, |level, (at_ms, rssi_dbm)| smoothed(level, *rssi_dbm, *at_ms, settings))
    }

    #[test]
    fn what_radios_send_for_nothing_is_not_usable() {
        for rssi_dbm in [0.0, 20.0, 42.0, 127.0, -100.1, -127.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!usable(rssi_dbm), "{rssi_dbm}");
        }
        for rssi_dbm in [-100.0, -59.0, -1.0, -0.5] {
            assert!(usable(rssi_dbm), "{rssi_dbm}");
        }
    }

    #[test]
    fn one_sighting_supports_nothing() {
        let settings = Settings::default();
        let one = settled(&[(0, -60.0)], &settings).expect("a level");
        assert!(!one.is_supported());
        assert!(!settled(&[(0, -60.0), (0, -60.0), (0, -61.0)], &settings).expect("a level").is_supported(), "repeats");
        assert!(!settled(&[(0, -60.0), (999, -60.0)], &settings).expect("a level").is_supported(), "too close");
        assert!(settled(&[(0, -60.0), (1_000, -60.0)], &settings).expect("a level").is_supported());
        assert!(!settled(&[(0, -60.0), (20_000, -60.0)], &settings).expect("a level").is_supported(), "a gap");
        assert!(!one.summing_up(2).is_supported());
        assert!(one.summing_up(3).is_supported());
    }

    #[test]
    fn a_source_lives_until_its_time_is_over() {
        let settings = Settings::default();
        let level = settled(&[(5_000, -60.0)], &settings).expect("a level");
        assert!(level.is_live(5_000, &settings) && level.is_live(14_999, &settings));
        assert!(!level.is_live(15_000, &settings));
        assert!(!level.is_live(i64::MAX, &settings));
    }

    fn walk() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let steps = prop::collection::vec((1_i64..10_000, -99.9_f64..-1.0), 1..40);
        steps.prop_map(|steps| {
            let mut at_ms = 0;
            steps
                .into_iter()
                .map(|(span_ms, rssi_dbm)| {
                    at_ms += span_ms;
                    (at_ms, rssi_dbm)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_level_is_the_exponentially_weighted_mean(readings in walk()) {
            let settings = Settings { rise_weight: 1.0, ..Settings::default() };
            let level = settled(&readings, &settings).expect("a level");
            // Closed form: a reading's weight is what the next time step leaves of it, times what later steps leave.
            let end_ms = level.at_ms;
            let left = |at_ms: i64| (-((end_ms - at_ms) as f64) / 1_000.0 / settings.smoothing_s).exp();
            let mut expected = readings[0].1 * left(readings[0].0);
            for pair in readings.windows(2) {
                expected += pair[1].1 * (left(pair[1].0) - left(pair[0].0));
            }
            prop_assert!((level.value_dbm - expected).abs() < 1e-9, "{} {expected}", level.value_dbm);
            prop_assert_eq!(level.count as usize, readings.len());
            prop_assert_eq!(level.since_ms, readings[0].0);
        }

        #[test]
        fn a_level_stays_within_its_readings_and_rises_are_never_slower(readings in walk()) {
            let even = Settings { rise_weight: 1.0, ..Settings::default() };
            let hasty = Settings { rise_weight: 2.0, ..Settings::default() };
            let (even, hasty) = (settled(&readings, &even).expect("a level"), settled(&readings, &hasty).expect("a level"));
            let low = readings.iter().map(|(_, rssi_dbm)| *rssi_dbm).fold(0.0, f64::min);
            let high = readings.iter().map(|(_, rssi_dbm)| *rssi_dbm).fold(-100.0, f64::max);
            prop_assert!(low - 1e-9 <= even.value_dbm && hasty.value_dbm <= high + 1e-9);
            prop_assert!(hasty.value_dbm >= even.value_dbm - 1e-9);
        }

        #[test]
        fn old_repeated_and_absurd_readings_change_nothing(
            readings in walk(),
            back_ms in 0_i64..100_000,
            rssi_dbm in -100.0_f64..0.0,
            absurd in prop_oneof![Just(f64::NAN), Just(127.0), Just(42.0), 0.0_f64..500.0, -500.0_f64..-100.1],
        ) {
            let settings = Settings::default();
            let level = settled(&readings, &settings).expect("a level");
            prop_assert_eq!(smoothed(Some(level), rssi_dbm, level.at_ms - back_ms, &settings), Some(level));
            prop_assert_eq!(smoothed(Some(level), absurd, level.at_ms + 1_000, &settings), Some(level));
            prop_assert_eq!(smoothed(None, absurd, 0, &settings), None);
        }

        #[test]
        fn a_gap_starts_anew(readings in walk(), gap_ms in 10_001_i64..10_000_000, rssi_dbm in -100.0_f64..0.0) {
            let settings = Settings::default();
            let level = settled(&readings, &settings).expect("a level");
            let at_ms = level.at_ms + gap_ms;
            prop_assert_eq!(smoothed(Some(level), rssi_dbm, at_ms, &settings), smoothed(None, rssi_dbm, at_ms, &settings));
        }
    }
}
