//! What an operator can tune in ranging, for each site. Where the defaults come from is in `docs/ranging.md`.

use serde::{Deserialize, Serialize};

/// What an operator can tune in ranging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The time constant of smoothing, seconds: after it, a step in signal strength is followed to 63 %.
    pub smoothing_s: f64,
    /// How many times faster rises are followed than falls; 1 follows both alike. Bodies and shelves only ever weaken
    /// a signal.
    pub rise_weight: f64,
    /// After a silence of more than this, smoothing starts anew, seconds.
    pub gap_s: f64,
    /// A source that was heard less than this ago counts as heard, seconds.
    pub live_s: f64,
    /// A zone is entered only at this level or above, dBm.
    pub floor_dbm: f64,
    /// What a healthy scanner counts as that belongs to a heard zone and hears nothing, dBm.
    pub silent_dbm: f64,
    /// By how much another zone must be stronger to take over, dB.
    pub margin_db: f64,
    /// The level difference at which one of two zones is taken to be 2.7 times as likely as the other, dB.
    pub spread_db: f64,
    /// Below this confidence, from 0 to 1, only the group of zones is told.
    pub zone_confidence: f64,
    /// Offers need at least this confidence, from 0 to 1.
    pub offer_confidence: f64,
    /// Offers need so much time in the zone, seconds.
    pub offer_dwell_s: f64,
    /// A phone that has heard nothing for so long has left, seconds.
    pub exit_after_s: f64,
    /// A tag that no scanner has heard for so long has left, seconds.
    pub tag_exit_after_s: f64,
    /// How signal strength falls with distance: 2 in free space, more between shelves.
    pub path_loss_exponent: f64,
    /// Nearer than this is immediate, metres.
    pub immediate_m: f64,
    /// Nearer than this is near, metres.
    pub near_m: f64,
    /// A proximity zone is left for a farther one only beyond its border times this.
    pub leave_factor: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            smoothing_s: 2.0,
            rise_weight: 2.0,
            gap_s: 10.0,
            live_s: 10.0,
            floor_dbm: -85.0,
            silent_dbm: -95.0,
            margin_db: 3.0,
            spread_db: 3.5,
            zone_confidence: 0.6,
            offer_confidence: 0.7,
            offer_dwell_s: 6.0,
            exit_after_s: 30.0,
            tag_exit_after_s: 12.0,
            path_loss_exponent: 2.7,
            immediate_m: 0.5,
            near_m: 3.0,
            leave_factor: 1.3,
        }
    }
}

impl Settings {
    /// What can't work: where, as a JSON pointer, and why.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        const HOUR_S: f64 = 3_600.0;
        let bounds = [
            ("/smoothing_s", self.smoothing_s, 0.1, 60.0),
            ("/rise_weight", self.rise_weight, 1.0, 10.0),
            ("/gap_s", self.gap_s, 1.0, HOUR_S),
            ("/live_s", self.live_s, 1.0, HOUR_S),
            ("/floor_dbm", self.floor_dbm, -100.0, -30.0),
            ("/silent_dbm", self.silent_dbm, -120.0, -60.0),
            ("/margin_db", self.margin_db, 0.0, 30.0),
            ("/spread_db", self.spread_db, 0.1, 30.0),
            ("/zone_confidence", self.zone_confidence, 0.0, 1.0),
            ("/offer_confidence", self.offer_confidence, 0.0, 1.0),
            ("/offer_dwell_s", self.offer_dwell_s, 0.0, HOUR_S),
            ("/exit_after_s", self.exit_after_s, 1.0, HOUR_S),
            ("/tag_exit_after_s", self.tag_exit_after_s, 1.0, HOUR_S),
            ("/path_loss_exponent", self.path_loss_exponent, 1.0, 8.0),
            ("/immediate_m", self.immediate_m, 0.05, 10.0),
            ("/near_m", self.near_m, 0.1, 100.0),
            ("/leave_factor", self.leave_factor, 1.0, 10.0),
        ];
        let mut problems: Vec<_> = bounds
            .into_iter()
            .filter(|(_, number, low, high)| !(low..=high).contains(&number))
            .map(|(path, number, low, high)| (path, format!("{number} must be from {low} to {high}")))
            .collect();
        let mut require = |holds: bool, path, message: &str| {
            if !holds {
                problems.push((path, message.to_owned()));
            }
        };
        require(self.silent_dbm <= self.floor_dbm, "/silent_dbm", "must not be above floor_dbm: silence is no entry");
        require(self.live_s <= self.exit_after_s, "/exit_after_s", "must not be less than live_s");
        require(self.live_s <= self.tag_exit_after_s, "/tag_exit_after_s", "must not be less than live_s");
        require(self.immediate_m < self.near_m, "/near_m", "must be more than immediate_m");
        problems
    }
}

/// Whole milliseconds of a number of seconds.
pub(super) fn millis(seconds: f64) -> i64 {
    (seconds * 1_000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_work_and_are_written_as_they_are_read() {
        let settings = Settings::default();
        assert_eq!(settings.problems(), []);
        let text = serde_json::to_string(&settings).expect("text");
        assert_eq!(serde_json::from_str::<Settings>(&text).expect("settings"), settings);
        let some: Settings = serde_json::from_str(r#"{"smoothing_s":1.5}"#).expect("settings");
        assert_eq!(some, Settings { smoothing_s: 1.5, ..settings });
        let unknown = serde_json::from_str::<Settings>(r#"{"smoothing":1.5}"#).expect_err("a mistake");
        assert!(unknown.to_string().contains("smoothing_s"), "{unknown}");
    }

    #[test]
    fn what_can_not_work_is_told_all_at_once() {
        let settings = Settings {
            smoothing_s: 0.0,
            margin_db: f64::NAN,
            silent_dbm: -80.0,
            live_s: 20.0,
            near_m: 0.5,
            ..Settings::default()
        };
        let paths: Vec<&str> = settings.problems().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/smoothing_s", "/margin_db", "/silent_dbm", "/tag_exit_after_s", "/near_m"]);
    }
}
