//! From a movement to transitions.
//!
//! Each fix gives each region a word: inside, outside, or nothing if the probability lies between the two thresholds.
//! The state of a region is the word with the greatest (time, inside), whatever the order in which the words arrive.
//! What is kept for that is one [`crate::shopper::Mark`] for each region where the newest fix does not say it; for all
//! others the last word is (time of the newest fix, outside). A late fix therefore never changes what a newer one
//! decided; what it would have caused is given back as `replayed`. The promise holds for fixes that are plausible
//! relative to each other (see [`crate::track`]), while no presence times out between them, and for up to
//! [`MARKS_MAX`] undecided regions. It is about being inside: late fixes cause neither approach nor pass, and
//! `since` stays the time of the observation that a visit was told by, because it names the visit.

mod beacon_region;
mod calm;
mod round;
mod timer;
mod told;
mod verdict;
mod way;
mod zone;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, RegionId, StoreId},
    region::RegionKind,
    shopper::{Presence, Track},
    time::Timestamp,
    track::Movement,
    world::World,
};

use self::round::Round;
pub use self::timer::{elapsed, next_wake};

/// The most regions for which one device can be undecided at once; further ones are taken as if the fix had not been
/// about them. Only poor fixes among very many fences come near it.
pub const MARKS_MAX: usize = 256;

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
    /// How old a sighting may be to cause a message; what older ones cause is on record only.
    #[serde(with = "crate::time::duration")]
    pub sighting_age_max: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enter_probability: 0.7,
            exit_probability: 0.1,
            timeout: Duration::from_secs(30 * 60),
            sighting_age_max: Duration::from_secs(15),
        }
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
    /// Beacons that were heard.
    Sighting,
    /// A code that was read there.
    Scan,
    /// Nothing was heard by radio for as long as the zone allows.
    Silence,
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
    /// Of what kind it is; a geofence if it is no longer in the catalog.
    #[serde(default)]
    pub region_kind: RegionKind,
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
    /// When it last left a region, as far as that is durable.
    pub left_at: Option<Timestamp>,
    /// Its volatile side.
    pub track: &'a mut Track,
}

/// What a movement or a moment caused.
#[derive(Debug, Default, PartialEq)]
pub struct Matched {
    /// In order of time; of the same time exits first, then by region id.
    pub transitions: Vec<Transition>,
    /// The new durable presences, if they changed.
    pub presences: Option<Vec<Presence>>,
}

impl Matched {
    /// When the device last left a geofence, if this tells of it. It is to be kept with the presences.
    pub fn left_at(&self) -> Option<Timestamp> {
        let by_position = |it: &&Transition| {
            matches!(it.cause, TransitionCause::Fix | TransitionCause::Crossing | TransitionCause::Timeout)
        };
        let gone = |it: &&Transition| it.region_kind == RegionKind::Geofence && !it.replayed && by_position(it);
        let exits = self.transitions.iter().filter(|it| it.kind == TransitionKind::Exit);
        exits.filter(gone).map(|it| it.at).max()
    }
}

/// Matches one movement against the world.
///
/// A presence's `seen` is refreshed only when it is more than a quarter of the time-out old, so that a quiet shopper
/// costs few writes; after a crash a presence may therefore time out by that quarter too early, never more.
pub fn transitions(world: &World, subject: Subject<'_>, movement: &Movement, now: Timestamp) -> Matched {
    let mut round = Round::new(world, subject, now);
    match movement {
        Movement::Repeat | Movement::Held => {}
        Movement::Advanced { from, to } => {
            if calm::covers(round.track.calm.as_ref(), world.generation, to) {
                round.stay(to);
            } else {
                round.observe(to, true);
                if let Some(from) = from {
                    way::passes(&mut round, from, to);
                }
            }
        }
        Movement::Confirmed { held, to } => {
            let newest = round.track.last.as_ref() == Some(to);
            round.observe(held, false);
            round.observe(to, newest);
            if newest {
                way::passes(&mut round, held, to);
            }
        }
        Movement::Late { fix } => {
            if !calm::covers(round.track.calm.as_ref(), world.generation, fix) {
                round.observe(fix, false);
            }
        }
        Movement::Crossed(crossing) => round.crossed(crossing),
        Movement::Heard(reading) => zone::heard(&mut round, reading),
        Movement::Scanned { at, zone } => zone::scanned(&mut round, zone, *at),
    }
    round.finish()
}

/// A distance in metres from the device's last fix within which no further fix can change anything, if it is no less
/// accurate than the last one. 0 if a region or a jump is undecided.
pub fn safe_radius_m(world: &World, track: &Track) -> f64 {
    match (&track.last, &track.calm, &track.held) {
        (Some(last), Some(calm), None) if calm.generation == world.generation => calm::room_m(calm, last).max(0.0),
        _ => 0.0,
    }
}
