//! From single fixes to movement: which fix is newest, which is late, which jump is not to be believed yet.
//!
//! Fixes that are plausible relative to each other may come in any order: the newest of them ends up as
//! [`Track::last`]. An implausible jump is believed when a second fix agrees with it, so there the order counts.

mod radio;

use std::{cmp::Ordering, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    id::RegionId,
    observation::{Crossing, Fix, Observation, Place, Rejected},
    region::distance_m,
    shopper::Track,
    time::Timestamp,
    world::World,
};

pub(crate) use self::radio::NOMINAL_DBM;
pub use self::radio::Reading;

/// What a device did, as far as one observation tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Movement {
    /// Said before; changes nothing.
    Repeat,
    /// Too far from the last fix to be believed alone; waits for a second one.
    Held,
    /// The newest fix, and the one before it if the way between them is plausible.
    Advanced {
        /// Where it was.
        from: Option<Place>,
        /// Where it is.
        to: Place,
    },
    /// A jump that a second fix has confirmed: both are new, oldest first.
    Confirmed {
        /// The older fix.
        held: Place,
        /// The newer fix.
        to: Place,
    },
    /// Older than the newest fix.
    Late {
        /// Where it was then.
        fix: Place,
    },
    /// The phone noticed a border.
    Crossed(Crossing),
    /// A beacon was heard.
    Heard(Reading),
    /// A code was read.
    Scanned {
        /// When.
        at: Timestamp,
        /// The zone that it hangs in.
        zone: RegionId,
    },
}

/// Which jumps are believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The fastest that a shopper is believed to travel, metres per second.
    pub speed_max_mps: f64,
    /// The longest time between two fixes for which the straight way between them counts as passed.
    #[serde(with = "crate::time::duration")]
    pub pass_gap_max: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { speed_max_mps: 100.0, pass_gap_max: Duration::from_secs(300) }
    }
}

/// Takes one trusted observation into the track.
///
/// # Errors
/// If a sighting places the device where it can't be.
pub fn movement(world: &World, track: &mut Track, trusted: Observation) -> Result<Movement, Rejected> {
    match trusted {
        Observation::Fix(fix) => Ok(advance(track, fix, &world.settings.track)),
        Observation::Crossing(crossing) => Ok(Movement::Crossed(crossing)),
        Observation::Sighting(sighting) => radio::reading(world, track, &sighting),
        Observation::Scan(scan) => Ok(match world.registry.zone_of_code(&scan.tag) {
            Some(zone) => Movement::Scanned { at: scan.at, zone: zone.spec.id.clone() },
            None => Movement::Repeat,
        }),
    }
}

/// Takes one trusted fix into the track.
pub fn advance(track: &mut Track, fix: Fix, settings: &Settings) -> Movement {
    let fix = Place::from(fix);
    let Some(last) = track.last else {
        track.last = Some(fix);
        return Movement::Advanced { from: None, to: fix };
    };
    let repeats = |known: &Place| order(known, &fix).is_eq();
    if repeats(&last) || track.held.as_deref().is_some_and(repeats) {
        return Movement::Repeat;
    }
    if plausible(&last, &fix, settings) {
        track.held.take_if(|held| held.at <= fix.at);
        if order(&last, &fix).is_gt() {
            return Movement::Late { fix };
        }
        track.last = Some(fix);
        return Movement::Advanced { from: Some(last), to: fix };
    }
    match track.held.take_if(|held| plausible(held, &fix, settings)) {
        Some(held) => {
            let (held, to) = if order(&held, &fix).is_gt() { (fix, *held) } else { (*held, fix) };
            if order(&last, &to).is_lt() {
                track.last = Some(to);
            }
            Movement::Confirmed { held, to }
        }
        None => {
            track.held = Some(Box::new(fix));
            Movement::Held
        }
    }
}

/// Added to the time between two fixes: devices round their times, and two sensors may answer at once.
const SLACK: Duration = Duration::from_secs(1);

fn plausible(one: &Place, other: &Place, settings: &Settings) -> bool {
    let between = one.at.since(other.at).max(other.at.since(one.at)) + SLACK;
    let apart_m = distance_m(one.position, other.position) - one.accuracy_m - other.accuracy_m;
    apart_m <= settings.speed_max_mps * between.as_secs_f64()
}

/// The newer fix is greater; of two at the same time the more accurate one; the rest only makes the order total, so
/// that the order of arrival cannot matter.
fn order(one: &Place, other: &Place) -> Ordering {
    one.at
        .cmp(&other.at)
        .then(other.accuracy_m.total_cmp(&one.accuracy_m))
        .then(one.position.lat.total_cmp(&other.position.lat))
        .then(one.position.lon.total_cmp(&other.position.lon))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{observation::Position, time::Timestamp};

    fn fix(second: i64, lon: f64) -> Fix {
        Fix {
            at: Timestamp::from_millis(1_700_000_000_000 + second * 1_000),
            position: Position { lat: 48.0, lon },
            accuracy_m: 10.0,
            speed_mps: None,
            course_deg: None,
            floor: None,
        }
    }

    fn place(second: i64, lon: f64) -> Place {
        fix(second, lon).into()
    }

    #[test]
    fn newer_advances_older_is_late_and_the_same_is_a_repeat() {
        let (mut track, settings) = (Track::default(), Settings::default());
        assert_eq!(advance(&mut track, fix(0, 2.0), &settings), Movement::Advanced { from: None, to: place(0, 2.0) });
        let moved = Movement::Advanced { from: Some(place(0, 2.0)), to: place(10, 2.001) };
        assert_eq!(advance(&mut track, fix(10, 2.001), &settings), moved);
        assert_eq!(advance(&mut track, fix(10, 2.001), &settings), Movement::Repeat);
        assert_eq!(advance(&mut track, fix(5, 2.0005), &settings), Movement::Late { fix: place(5, 2.0005) });
        assert_eq!(track.last, Some(place(10, 2.001)));
    }

    #[test]
    fn a_jump_waits_for_a_second_fix() {
        let (mut track, settings) = (Track::default(), Settings::default());
        advance(&mut track, fix(0, 2.0), &settings);
        assert_eq!(advance(&mut track, fix(5, 3.0), &settings), Movement::Held);
        assert_eq!(advance(&mut track, fix(5, 3.0), &settings), Movement::Repeat, "a repeat confirms nothing");
        let confirmed = Movement::Confirmed { held: place(5, 3.0), to: place(10, 3.001) };
        assert_eq!(advance(&mut track, fix(10, 3.001), &settings), confirmed);
        assert_eq!(track.last, Some(place(10, 3.001)));
        assert_eq!(track.held, None);
    }

    #[test]
    fn a_jump_is_forgotten_when_the_next_fix_agrees_with_the_last() {
        let (mut track, settings) = (Track::default(), Settings::default());
        advance(&mut track, fix(0, 2.0), &settings);
        advance(&mut track, fix(5, 3.0), &settings);
        let moved = Movement::Advanced { from: Some(place(0, 2.0)), to: place(10, 2.001) };
        assert_eq!(advance(&mut track, fix(10, 2.001), &settings), moved);
        assert_eq!(track.held, None);
    }
}
