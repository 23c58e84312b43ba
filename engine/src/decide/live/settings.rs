//! What an operator can tune about what phones show of orders all the time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    problem::{Problem, Requirements},
    time::duration,
};

/// The longest that iOS leaves an ended Live Activity on the screen.
/// Source: Apple, "Starting and updating Live Activities with ActivityKit push notifications".
const DISMISS_MAX: Duration = Duration::from_secs(4 * 3_600);
const STALE_MAX: Duration = Duration::from_secs(28 * 86_400);

/// What phones show of orders all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether orders are shown by Live Activities and progress messages at all.
    pub enabled: bool,
    /// After what time without news it is marked as old, where nobody has said when the order is expected.
    #[serde(with = "duration")]
    pub stale_after: Duration,
    /// How long the end of an order stays on the screen.
    #[serde(with = "duration")]
    pub dismiss_after: Duration,
    /// How many changes of one activity in an hour are urgent.
    pub urgent_per_hour: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enabled: true,
            stale_after: Duration::from_secs(4 * 3_600),
            dismiss_after: DISMISS_MAX,
            urgent_per_hour: 6,
        }
    }
}

impl Settings {
    /// What is wrong with the settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        let stale = !self.stale_after.is_zero() && self.stale_after <= STALE_MAX;
        must.require(stale, "/stale_after", "must be longer than 0 and at most 28 days");
        let message = "must be at most 4 hours, after which iOS takes it away";
        must.require(self.dismiss_after <= DISMISS_MAX, "/dismiss_after", message);
        must.require(self.urgent_per_hour <= 60, "/urgent_per_hour", "must be at most 60");
        must.into_problems()
    }
}
