//! From what a device says to what is trusted.

use std::time::Duration;

use parvis_beacons::ranging;
use serde::{Deserialize, Serialize};

use crate::{
    id::DeviceId,
    observation::{Fix, Observation, Rejected, Rejection, Sighting},
    registry::Role,
    time::Timestamp,
    world::World,
};

/// Which observations are believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How late an observation may arrive.
    #[serde(with = "crate::time::duration")]
    pub lateness_max: Duration,
    /// How far a device's clock may be ahead.
    #[serde(with = "crate::time::duration")]
    pub skew_max: Duration,
    /// The poorest accuracy of a fix that is of any use, metres. It bounds how many fences one fix can be about.
    pub accuracy_max_m: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { lateness_max: Duration::from_secs(600), skew_max: Duration::from_secs(120), accuracy_max_m: 5_000.0 }
    }
}

/// Checks one observation. What comes back can be processed without further checks.
///
/// # Errors
/// The reason by name, and a sentence for the sender.
pub fn observation(
    world: &World,
    device: &DeviceId,
    raw: Observation,
    now: Timestamp,
) -> Result<Observation, Rejected> {
    let settings = &world.settings.observations;
    check_time(raw.at(), now, settings)?;
    match raw {
        Observation::Fix(raw) => fix(raw, settings).map(Observation::Fix),
        Observation::Crossing(crossing) => match world.region(&crossing.region) {
            Some(_) => Ok(Observation::Crossing(crossing)),
            None => Err(rejected(Rejection::UnknownRegion, format!("no region has the id {:?}", crossing.region))),
        },
        Observation::Sighting(raw) => sighting(world, device, raw).map(Observation::Sighting),
        Observation::Scan(scan) => match world.registry.zone_of_code(&scan.tag) {
            Some(_) => Ok(Observation::Scan(scan)),
            None => Err(rejected(Rejection::UnknownTag, format!("no zone has the code {:?}", scan.tag))),
        },
    }
}

fn rejected(reason: Rejection, detail: impl Into<String>) -> Rejected {
    Rejected { reason, detail: detail.into() }
}

fn check_time(at: Timestamp, now: Timestamp, settings: &Settings) -> Result<(), Rejected> {
    let late = now.since(at);
    if late > settings.lateness_max {
        let detail = format!("at is {} s old; at most {} s are taken", late.as_secs(), settings.lateness_max.as_secs());
        return Err(rejected(Rejection::Stale, detail));
    }
    let ahead = at.since(now);
    if ahead > settings.skew_max {
        let detail = format!(
            "at is {} s in the future; at most {} s are taken, so check the device's clock",
            ahead.as_secs(),
            settings.skew_max.as_secs()
        );
        return Err(rejected(Rejection::Future, detail));
    }
    Ok(())
}

/// Speed and course below zero or without a value are how phones say that they do not know.
fn fix(raw: Fix, settings: &Settings) -> Result<Fix, Rejected> {
    let invalid = |detail: String| Err(rejected(Rejection::Invalid, detail));
    let within = |value: f64, most: f64| (-most..=most).contains(&value);
    if !within(raw.position.lat, 90.0) {
        return invalid("lat is a number of degrees from -90 to 90".to_owned());
    }
    if !within(raw.position.lon, 180.0) {
        return invalid("lon is a number of degrees from -180 to 180".to_owned());
    }
    if !(0.0..=settings.accuracy_max_m).contains(&raw.accuracy_m) {
        return invalid(format!(
            "accuracy_m is {}; it is a number of metres from 0 to {}, beyond which a fix tells nothing of a fence",
            raw.accuracy_m, settings.accuracy_max_m
        ));
    }
    let known = |value: &f64| value.is_finite() && *value >= 0.0;
    Ok(Fix { speed_mps: raw.speed_mps.filter(known), course_deg: raw.course_deg.filter(known), ..raw })
}

/// A phone hears what hangs in a shop; a scanner hears the tag that this device is.
fn sighting(world: &World, device: &DeviceId, raw: Sighting) -> Result<Sighting, Rejected> {
    let Some(beacon) = world.registry.heard(&raw.heard) else {
        return Err(rejected(Rejection::UnknownBeacon, format!("no beacon is registered as {}", raw.heard)));
    };
    let (id, role) = (&beacon.spec.id, beacon.spec.role);
    match &raw.observer {
        None if role != Role::Fixed => {
            return Err(rejected(Rejection::WrongRole, format!("{id} does not hang in a shop for phones to hear")));
        }
        Some(_) if role != Role::Tag || id.as_str() != device.as_str() => {
            return Err(rejected(Rejection::WrongRole, format!("what a scanner hears is the tag itself, not {id}")));
        }
        Some(scanner) if world.registry.scanner(scanner).is_none() => {
            return Err(rejected(Rejection::UnknownScanner, format!("no scanner is registered as {scanner:?}")));
        }
        None | Some(_) => {}
    }
    if !ranging::usable(raw.rssi_dbm) {
        let detail = format!("rssi_dbm is {}; a signal strength is from -100 to below 0 dBm", raw.rssi_dbm);
        return Err(rejected(Rejection::Invalid, detail));
    }
    if raw.measured_power_dbm.is_some_and(|power| !(-100.0..=20.0).contains(&power)) {
        return Err(rejected(Rejection::Invalid, "measured_power_dbm is from -100 to 20 dBm"));
    }
    let known = |distance_m: &f64| distance_m.is_finite() && *distance_m >= 0.0;
    Ok(Sighting { distance_m: raw.distance_m.filter(known), ..raw })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::{Crossing, Edge, Position},
        world,
    };

    const NOW: i64 = 1_700_000_000_000;

    fn world() -> World {
        World::new(1, Vec::new(), Vec::new(), Vec::new(), world::Settings::default())
    }

    fn phone() -> DeviceId {
        "phone".parse().expect("an id")
    }

    fn judged(change: impl FnOnce(&mut Fix)) -> Result<Observation, Rejection> {
        let mut fix = Fix {
            at: Timestamp::from_millis(NOW),
            position: Position { lat: 48.85, lon: 2.35 },
            accuracy_m: 10.0,
            speed_mps: None,
            course_deg: None,
            floor: None,
        };
        change(&mut fix);
        observation(&world(), &phone(), Observation::Fix(fix), Timestamp::from_millis(NOW))
            .map_err(|rejected| rejected.reason)
    }

    #[test]
    fn sound_fixes_pass_and_others_are_refused_by_name() {
        assert!(judged(|_| ()).is_ok());
        assert_eq!(judged(|fix| fix.position.lat = 90.1), Err(Rejection::Invalid));
        assert_eq!(judged(|fix| fix.position.lon = f64::NAN), Err(Rejection::Invalid));
        assert_eq!(judged(|fix| fix.accuracy_m = -1.0), Err(Rejection::Invalid));
        assert_eq!(judged(|fix| fix.accuracy_m = f64::INFINITY), Err(Rejection::Invalid));
        assert_eq!(judged(|fix| fix.at = Timestamp::from_millis(NOW - 600_001)), Err(Rejection::Stale));
        assert_eq!(judged(|fix| fix.at = Timestamp::from_millis(NOW + 120_001)), Err(Rejection::Future));
        assert!(judged(|fix| fix.at = Timestamp::from_millis(NOW + 120_000)).is_ok());
    }

    #[test]
    fn unknown_speed_and_course_are_dropped() {
        let Ok(Observation::Fix(fix)) = judged(|fix| (fix.speed_mps, fix.course_deg) = (Some(-1.0), Some(90.0))) else {
            panic!("a sound fix was refused");
        };
        assert_eq!((fix.speed_mps, fix.course_deg), (None, Some(90.0)));
    }

    #[test]
    fn a_crossing_needs_a_known_region() {
        let crossing =
            Crossing { at: Timestamp::from_millis(NOW), region: "nowhere".parse().expect("an id"), edge: Edge::Enter };
        let refused = observation(&world(), &phone(), Observation::Crossing(crossing), Timestamp::from_millis(NOW));
        assert_eq!(refused.map_err(|rejected| rejected.reason), Err(Rejection::UnknownRegion));
    }
}
