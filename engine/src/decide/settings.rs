//! Rules that hold for every campaign, and how long things are remembered.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{problem::Problem, schedule::QuietHours, time::duration};

/// The most that a cap may allow: it is counted in what is remembered of a shopper.
const CAP_COUNT_MAX: u32 = 200;
/// The longest time that a cap or a cooldown may look back.
pub(crate) const LOOK_BACK_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Rules that hold for every campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// When no offer is sent, on the shopper's own clock. A campaign may have its own, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// How many offers of all campaigns together one shopper gets.
    pub caps: Vec<Cap>,
    /// The share of shoppers who get no offer at all, 0 to 100.
    pub holdout_percent: f64,
    /// After what time half of an interest is left.
    #[serde(with = "duration")]
    pub interest_half_life: Duration,
    /// How long an order is remembered after its last news.
    #[serde(with = "duration")]
    pub order_memory: Duration,
    /// How long after an arrival for an order another one is not announced again.
    #[serde(with = "duration")]
    pub arrival_pause: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        const DAY_S: u64 = 86_400;
        Settings {
            quiet_hours: None,
            caps: Vec::new(),
            holdout_percent: 0.0,
            interest_half_life: Duration::from_secs(14 * DAY_S),
            order_memory: Duration::from_secs(90 * DAY_S),
            arrival_pause: Duration::from_secs(30 * 60),
        }
    }
}

impl Settings {
    /// What is wrong with the settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(quiet) = &self.quiet_hours {
            problems.extend(quiet.problems().into_iter().map(|problem| problem.under("/quiet_hours")));
        }
        problems.extend(cap_problems(&self.caps));
        problems.extend(percent_problem("/holdout_percent", self.holdout_percent));
        if self.interest_half_life.is_zero() {
            problems.push(Problem::new("/interest_half_life", "must be longer than 0"));
        }
        problems
    }
}

/// At most so many in so much time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// The most that are sent.
    pub count: u32,
    /// In what time.
    pub per: Per,
}

/// The time that a cap looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The calendar day on the shopper's clock.
    Day,
    /// A span that ends now.
    Rolling(Duration),
}

impl Per {
    /// A time that is never shorter than what this looks back; a calendar day has up to 25 hours, and a shopper who
    /// travels west makes it longer.
    pub(crate) fn reach(self) -> Duration {
        match self {
            Per::Day => Duration::from_secs(52 * 3600),
            Per::Rolling(span) => span,
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Per::Day => f.write_str("day"),
            Per::Rolling(span) => f.write_str(&duration::format(*span)),
        }
    }
}

impl FromStr for Per {
    type Err = String;

    fn from_str(text: &str) -> Result<Per, String> {
        if text == "day" {
            return Ok(Per::Day);
        }
        let span = duration::parse(text).map_err(|reason| format!("{reason}, or \"day\" for the calendar day"))?;
        Ok(Per::Rolling(span))
    }
}

impl Serialize for Per {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Per {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Per, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is wrong with caps.
pub(crate) fn cap_problems(caps: &[Cap]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, cap) in caps.iter().enumerate() {
        if cap.count == 0 || cap.count > CAP_COUNT_MAX {
            problems.push(Problem::new(format!("/caps/{at}/count"), format!("must be 1 to {CAP_COUNT_MAX}")));
        }
        if let Per::Rolling(span) = cap.per
            && (span.is_zero() || span > LOOK_BACK_MAX)
        {
            problems.push(Problem::new(format!("/caps/{at}/per"), "must be longer than 0 and at most 366 days"));
        }
    }
    if caps.len() > 8 {
        problems.push(Problem::new("/caps", "at most 8 caps"));
    }
    problems
}

/// What is wrong with a share.
pub(crate) fn percent_problem(path: &str, percent: f64) -> Option<Problem> {
    (!(0.0..=100.0).contains(&percent)).then(|| Problem::new(path, "must be 0 to 100"))
}
