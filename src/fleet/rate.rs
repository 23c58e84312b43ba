//! Numbers over the recent past, in few bytes: how often, how strong in the middle, how low.

use std::time::Duration;

use parvis_engine::time::Timestamp;

/// How often something happens, over about the last minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    minute: i64,
    now: u32,
    before: u32,
}

const MINUTE_MS: i64 = 60_000;

impl Rate {
    /// It happened so many times.
    pub(super) fn add(&mut self, times: usize, now: Timestamp) {
        let minute = now.as_millis().div_euclid(MINUTE_MS);
        if minute > self.minute {
            self.before = if minute == self.minute + 1 { self.now } else { 0 };
            (self.minute, self.now) = (minute, 0);
        }
        self.now = self.now.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
    }

    /// Times a second. The minute before counts by the share of it that is less than a minute ago.
    pub(super) fn per_second(&self, now: Timestamp) -> f64 {
        let (minute, into) = (now.as_millis().div_euclid(MINUTE_MS), now.as_millis().rem_euclid(MINUTE_MS));
        let share = 1.0 - into as f64 / MINUTE_MS as f64;
        let (current, before) = match minute - self.minute {
            0 => (self.now, self.before),
            1 => (0, self.now),
            _ => (0, 0),
        };
        (f64::from(current) + f64::from(before) * share) / 60.0
    }
}

/// The last few signal strengths.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    strengths: [f32; Recent::KEPT],
    count: u32,
}

impl Recent {
    const KEPT: usize = 15;

    pub(super) fn add(&mut self, rssi_dbm: f64) {
        self.strengths[self.count as usize % Recent::KEPT] = rssi_dbm as f32;
        // Goes round far below the type's end, and stays full when it does.
        self.count = if self.count >= 1_000 * Recent::KEPT as u32 { Recent::KEPT as u32 } else { self.count } + 1;
    }

    pub(super) fn median(&self) -> Option<f64> {
        let mut kept = self.strengths;
        let kept = &mut kept[..Recent::KEPT.min(self.count as usize)];
        kept.sort_by(f32::total_cmp);
        kept.get(kept.len() / 2).map(|median| f64::from(*median))
    }
}

/// The lowest voltage of the last hour.
#[derive(Clone, Debug, Default)]
pub(super) struct Battery {
    /// The lowest of each ten minutes.
    lows: Vec<(i64, f32)>,
    last: Option<f32>,
}

const SLOT_MS: i64 = 600_000;
const SLOTS: i64 = 6;

impl Battery {
    pub(super) fn add(&mut self, volts: f64, now: Timestamp) {
        let (slot, volts) = (now.as_millis().div_euclid(SLOT_MS), volts as f32);
        self.last = Some(volts);
        self.lows.retain(|(at, _)| slot - at < SLOTS && *at <= slot);
        match self.lows.iter_mut().find(|(at, _)| *at == slot) {
            Some((_, low)) => *low = low.min(volts),
            None => self.lows.push((slot, volts)),
        }
    }

    /// If it told nothing in the last hour, what it told last.
    pub(super) fn lowest(&self, now: Timestamp) -> Option<f64> {
        let slot = now.as_millis().div_euclid(SLOT_MS);
        let lows = self.lows.iter().filter(|(at, _)| slot - at < SLOTS).map(|(_, low)| *low);
        lows.min_by(f32::total_cmp).or(self.last).map(f64::from)
    }
}

/// A level that follows what comes in, as fast as time passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) value: f64,
    count: u32,
}

impl Level {
    pub(super) fn new(value: f64) -> Level {
        Level { value, count: 1 }
    }

    /// Exponential smoothing by time; while there is little to smooth, the plain mean.
    pub(super) fn follow(&mut self, value: f64, gap: Duration, tau: Duration) {
        self.count = self.count.saturating_add(1);
        let by_time = 1.0 - (-gap.as_secs_f64() / tau.as_secs_f64()).exp();
        self.value += by_time.max(1.0 / f64::from(self.count)).min(1.0) * (value - self.value);
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_040_000 + seconds * 1_000)
    }

    #[test]
    fn a_steady_rate_is_told_and_fades_within_two_minutes() {
        let mut rate = Rate::default();
        (0..180).for_each(|second| rate.add(3, at(second)));
        assert!((rate.per_second(at(180)) - 3.0).abs() < 0.1);
        assert!((rate.per_second(at(150)) - 3.0).abs() < 1.6);
        assert_eq!(rate.per_second(at(300)), 0.0);
    }

    #[test]
    fn a_battery_is_as_low_as_in_the_last_hour() {
        let mut battery = Battery::default();
        battery.add(2.1, at(0));
        battery.add(2.9, at(1_000));
        assert_eq!(battery.lowest(at(1_000)), Some(f64::from(2.1_f32)));
        assert_eq!(battery.lowest(at(3_700)), Some(f64::from(2.9_f32)));
        assert_eq!(battery.lowest(at(100_000)), Some(f64::from(2.9_f32)), "nothing newer was told");
    }

    proptest! {
        #[test]
        fn the_median_is_one_of_the_last(strengths in prop::collection::vec(-110_i32..0, 1..60)) {
            let mut recent = Recent::default();
            strengths.iter().for_each(|it| recent.add(f64::from(*it)));
            let mut last: Vec<_> = strengths.iter().rev().take(Recent::KEPT).copied().collect();
            last.sort_unstable();
            prop_assert_eq!(recent.median(), Some(f64::from(last[last.len() / 2])));
        }

        #[test]
        fn a_level_stays_between_what_came_in(values in prop::collection::vec((-110.0..0.0, 0_u64..100), 1..60)) {
            let mut level = Level::new(values[0].0);
            for (value, gap) in &values {
                level.follow(*value, Duration::from_secs(*gap), Duration::from_secs(60));
            }
            let (low, high) = values.iter().fold((0.0_f64, -110.0_f64), |(low, high), (it, _)| (low.min(*it), high.max(*it)));
            prop_assert!((low - 1e-9..=high + 1e-9).contains(&level.value));
        }
    }
}
