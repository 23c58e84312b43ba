//! From a movement to transitions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, RegionId, StoreId},
    shopper::{Presence, Track},
    time::Timestamp,
    track::Movement,
    world::World,
};

/// When somebody counts as inside. A fence may say otherwise for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Probability of being inside from which a device enters, 0.5 to 0.99.
    pub enter_probability: f64,
    /// Probability of being inside down to which a device exits, 0.01 to 0.5.
    pub exit_probability: f64,
    /// How long nothing may be heard of a device before it counts as gone.
    #[serde(with = "crate::time::duration")]
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { enter_probability: 0.7, exit_probability: 0.1, timeout: Duration::from_secs(30 * 60) }
    }
}

/// What happened between a device and a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// Came within `approach_m`.
    Approach,
    /// Came in.
    Enter,
    /// Has stayed for `dwell_s`.
    Dwell,
    /// Went out.
    Exit,
    /// Crossed it between two fixes, neither of which lies inside.
    Pass,
}

impl TransitionKind {
    /// The name in files and in the API.
    pub fn name(self) -> &'static str {
        match self {
            TransitionKind::Approach => "approach",
            TransitionKind::Enter => "enter",
            TransitionKind::Dwell => "dwell",
            TransitionKind::Exit => "exit",
            TransitionKind::Pass => "pass",
        }
    }
}

/// What told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionCause {
    /// A fix.
    Fix,
    /// A crossing that the phone noticed.
    Crossing,
    /// A timer.
    Timer,
    /// Nothing was heard for the presence time-out.
    Timeout,
    /// The region is no longer in the catalog.
    Removed,
}

/// Something happened between a device and a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// What happened.
    #[serde(rename = "transition")]
    pub kind: TransitionKind,
    /// Whose device.
    pub device: DeviceId,
    /// Which region.
    pub region: RegionId,
    /// The region's store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// When it happened.
    pub at: Timestamp,
    /// When we learnt of it.
    pub received_at: Timestamp,
    /// How sure we are, 0 to 1.
    pub confidence: f64,
    /// What told us.
    pub cause: TransitionCause,
    /// When the visit began: for enter, dwell and exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered_at: Option<Timestamp>,
    /// Late, and undone by what is already known: on record only, nobody is notified.
    #[serde(default)]
    pub replayed: bool,
}

/// One device as matching sees it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Which device.
    pub device: &'a DeviceId,
    /// Its durable presences.
    pub presences: &'a [Presence],
    /// Its volatile side.
    pub track: &'a mut Track,
}

/// What a movement or a moment caused.
#[derive(Debug, Default, PartialEq)]
pub struct Matched {
    /// In order of time, ties by region id.
    pub transitions: Vec<Transition>,
    /// The new durable presences, if they changed.
    pub presences: Option<Vec<Presence>>,
}

/// Matches one movement against the world.
pub fn transitions(_world: &World, _subject: Subject<'_>, _movement: &Movement, _now: Timestamp) -> Matched {
    Matched::default()
}

/// What time alone has caused up to and including `until`: dwell, presence time-out, removed regions.
pub fn elapsed(_world: &World, _subject: Subject<'_>, _until: Timestamp, _now: Timestamp) -> Matched {
    Matched::default()
}

/// When [`elapsed`] will next have something to say, if no observation comes.
pub fn next_wake(_world: &World, _presences: &[Presence]) -> Option<Timestamp> {
    None
}

/// A distance in metres from the device's last fix within which nothing can change.
pub fn safe_radius_m(_world: &World, _track: &Track) -> f64 {
    0.0
}
