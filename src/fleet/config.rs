//! What an operator can tune of the fleet's health; section `[fleet]`.

use std::time::Duration;

use parvis_engine::{
    problem::{Problem, Requirements},
    time::duration,
};
use serde::{Deserialize, Serialize};

/// When a scanner or a beacon counts as unwell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A scanner that has not reported for so long is late.
    #[serde(with = "duration")]
    pub scanner_late_after: Duration,
    /// A scanner that has not reported for so long is silent.
    #[serde(with = "duration")]
    pub scanner_silent_after: Duration,
    /// A scanner that reports, but has not heard its reference beacon for so long, is deaf.
    #[serde(with = "duration")]
    pub deaf_after: Duration,
    /// A beacon that hangs in a shop and was not heard for so long is silent.
    #[serde(with = "duration")]
    pub beacon_silent_after: Duration,
    /// A battery is weak below this, volts.
    pub battery_low_v: f64,
    /// A fixed beacon that is heard best elsewhere for so long has moved.
    #[serde(with = "duration")]
    pub moved_after: Duration,
    /// By so much it must be heard better elsewhere than at home, dB.
    pub moved_margin_db: f64,
    /// Two scanners that hear a beacon within this span hear it at the same time.
    #[serde(with = "duration")]
    pub together: Duration,
    /// No two scanners that are further apart hear the same beacon, metres.
    pub apart_max_m: f64,
    /// No beacon travels faster, metres per second.
    pub travel_max_mps: f64,
    /// So many times a beacon must seem to be in two places before it counts as cloned.
    pub clone_jumps: u32,
    /// A cloned beacon is believed again when it has been in one place for so long.
    #[serde(with = "duration")]
    pub clone_quiet: Duration,
    /// So many unregistered beacons are remembered, those that are heard most.
    pub unknown_max: usize,
    /// So many unregistered scanners are remembered.
    pub quarantined_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            scanner_late_after: Duration::from_secs(30),
            scanner_silent_after: Duration::from_secs(120),
            deaf_after: Duration::from_secs(120),
            beacon_silent_after: Duration::from_secs(600),
            battery_low_v: 2.3,
            moved_after: Duration::from_secs(300),
            moved_margin_db: 6.0,
            together: Duration::from_secs(10),
            apart_max_m: 200.0,
            travel_max_mps: 40.0,
            clone_jumps: 3,
            clone_quiet: Duration::from_secs(600),
            unknown_max: 100,
            quarantined_max: 100,
        }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        let spans = [
            ("/scanner_late_after", self.scanner_late_after),
            ("/deaf_after", self.deaf_after),
            ("/beacon_silent_after", self.beacon_silent_after),
            ("/moved_after", self.moved_after),
            ("/together", self.together),
            ("/clone_quiet", self.clone_quiet),
        ];
        for (path, span) in spans {
            must.require(span >= Duration::from_secs(1), path, "must be at least 1s");
        }
        let late_first = self.scanner_late_after <= self.scanner_silent_after;
        must.require(late_first, "/scanner_silent_after", "must not be shorter than scanner_late_after");
        must.require((0.0..=10.0).contains(&self.battery_low_v), "/battery_low_v", "must be from 0 to 10 volts");
        must.require((0.0..=60.0).contains(&self.moved_margin_db), "/moved_margin_db", "must be from 0 to 60 dB");
        must.require((1.0..=100_000.0).contains(&self.apart_max_m), "/apart_max_m", "must be from 1 to 100000 metres");
        must.require((1.0..=1_000.0).contains(&self.travel_max_mps), "/travel_max_mps", "must be from 1 to 1000 m/s");
        must.require((1..=1_000).contains(&self.clone_jumps), "/clone_jumps", "must be from 1 to 1000");
        must.require(self.unknown_max <= 10_000, "/unknown_max", "must be at most 10000");
        must.require((1..=10_000).contains(&self.quarantined_max), "/quarantined_max", "must be from 1 to 10000");
        must.into_problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(Config::default().problems(), []);
        let wrong = Config {
            scanner_silent_after: Duration::from_secs(5),
            deaf_after: Duration::ZERO,
            battery_low_v: f64::NAN,
            moved_margin_db: -1.0,
            apart_max_m: 0.0,
            travel_max_mps: f64::INFINITY,
            clone_jumps: 0,
            unknown_max: 1_000_000,
            quarantined_max: 0,
            ..Config::default()
        };
        let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
        let expected = [
            "/deaf_after",
            "/scanner_silent_after",
            "/battery_low_v",
            "/moved_margin_db",
            "/apart_max_m",
            "/travel_max_mps",
            "/clone_jumps",
            "/unknown_max",
            "/quarantined_max",
        ];
        assert_eq!(paths, expected);
    }
}
