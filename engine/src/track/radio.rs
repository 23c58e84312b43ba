//! From a sighting to a reading: who heard whom how strongly, and whether that can be.
//!
//! Two directions are kept apart: a phone hears beacons that hang somewhere, scanners that hang somewhere hear tags.
//! Either way what hangs places the device.

use std::time::Duration;

use parvis_beacons::Identity;

use super::Movement;
use crate::{
    id::{RegionId, StoreId},
    observation::{Place, Position, Rejected, Rejection, Sighting},
    region::distance_m,
    registry::Beacon,
    shopper::{SourceName, Track, Whereabouts},
    time::Timestamp,
    world::World,
};

/// The signal strength at one metre that readings are brought to, dBm, so that strong and weak beacons compare.
pub(crate) const NOMINAL_DBM: f64 = -59.0;

/// What is heard stays a signal strength, however strong the beacon is: it is not lost by being brought to the nominal.
const WEAKEST_DBM: f64 = -100.0;
const STRONGEST_DBM: f64 = -1.0;

/// How far a beacon is heard at most, metres: two that are heard at once may be twice as far apart.
const REACH_M: f64 = 60.0;

/// The fastest that somebody walks in a shop, metres per second.
const WALKING_MPS: f64 = 3.0;

/// How long it takes at least from one shop to the next, where nobody knows how far apart they are.
const BETWEEN_STORES: Duration = Duration::from_secs(60);

/// One reading of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// When it was heard.
    pub at: Timestamp,
    /// What places the device.
    pub source: SourceName,
    /// The zone that the source speaks for.
    pub zone: Option<RegionId>,
    /// The shop that the source hangs in.
    pub store: Option<StoreId>,
    /// Where the source hangs.
    pub position: Option<Position>,
    /// What a heard beacon says of itself; it may belong to beacon regions.
    pub identity: Option<Identity>,
    /// Signal strength as if every beacon had the same power and every radio the same sensitivity, dBm.
    pub rssi_dbm: f64,
    /// How many advertisements it sums up.
    pub count: u32,
    /// How far away the phone takes the beacon to be, metres.
    pub distance_m: Option<f64>,
}

/// Reads a trusted sighting.
///
/// # Errors
/// If it places the device where it can't be: too far from where it was just now.
pub(super) fn reading(world: &World, track: &Track, sighting: &Sighting) -> Result<Movement, Rejected> {
    let Some(beacon) = world.registry.heard(&sighting.heard) else { return Ok(Movement::Repeat) };
    let scanner = sighting.observer.as_ref().and_then(|observer| world.registry.scanner(observer));
    let position = scanner.map_or(beacon.spec.position, |scanner| scanner.spec.position);
    let store = scanner.map_or(beacon.spec.store.as_ref(), |scanner| Some(&scanner.spec.store));
    let whereabouts = Whereabouts { at: sighting.at, store: store.cloned(), position };
    check(world, track, &whereabouts)?;
    let (source, zone) = match scanner {
        Some(scanner) => (SourceName::Scanner(scanner.spec.id.clone()), scanner.spec.zone.clone()),
        None => (SourceName::Beacon(beacon.spec.id.clone()), beacon.spec.zone.clone()),
    };
    let offset_db = scanner.map_or(0.0, |scanner| scanner.spec.offset_db);
    Ok(Movement::Heard(Reading {
        at: sighting.at,
        source,
        zone,
        store: whereabouts.store,
        position,
        identity: beacon.identity.filter(|_| scanner.is_none()),
        rssi_dbm: (sighting.rssi_dbm + offset_db - excess_db(beacon, sighting)).clamp(WEAKEST_DBM, STRONGEST_DBM),
        count: sighting.count.unwrap_or(1).max(1),
        distance_m: sighting.distance_m,
    }))
}

/// By how much the beacon is stronger than the nominal one. What was measured on site counts for more than what the
/// beacon says of itself.
fn excess_db(beacon: &Beacon, sighting: &Sighting) -> f64 {
    let power = beacon.spec.measured_power_dbm.or(sighting.measured_power_dbm);
    power.map_or(0.0, |power| power - NOMINAL_DBM)
}

/// Who is heard in two places at once, or has come from one to the other faster than people do, is there twice: an
/// identity was copied. Who was first is believed, unless a fix says otherwise, and no longer than a visit lasts.
fn check(world: &World, track: &Track, here: &Whereabouts) -> Result<(), Rejected> {
    let speed_max_mps = world.settings.track.speed_max_mps;
    let elsewhere = |detail: String| Err(Rejected { reason: Rejection::Elsewhere, detail });
    let strayed = |there: &Whereabouts| strayed(track.last.as_ref()?, there, speed_max_mps);
    if let Some((gap_m, between)) = strayed(here) {
        let seconds = between.as_secs();
        return elsewhere(format!("the beacon hangs {gap_m:.0} m from where the device was {seconds} s before"));
    }
    let Some(last) = track.radio.as_ref().and_then(|radio| radio.last.as_ref()) else { return Ok(()) };
    let between = apart(last.at, here.at);
    if between > world.settings.presence.timeout || strayed(last).is_some() {
        return Ok(());
    }
    let same_store = last.store == here.store;
    let speed_mps = if same_store { WALKING_MPS } else { speed_max_mps };
    let gap_m = gap_m(last.position, here.position);
    let possible = gap_m.map_or(same_store || between >= BETWEEN_STORES, |gap_m| {
        gap_m <= 2.0 * REACH_M + speed_mps * between.as_secs_f64()
    });
    if possible {
        return Ok(());
    }
    let store = |at: &Whereabouts| at.store.as_ref().map_or("no store".to_owned(), |store| format!("store {store}"));
    let gap = gap_m.map_or(String::new(), |gap_m| format!(", {gap_m:.0} m away"));
    elsewhere(format!("heard in {} within {} s of {}{gap}", store(here), between.as_secs(), store(last)))
}

/// How far what hangs there is from a fix, and how long apart they are, if nobody can have come from one to the other.
fn strayed(fix: &Place, there: &Whereabouts, speed_max_mps: f64) -> Option<(f64, Duration)> {
    let between = apart(fix.at, there.at);
    let reach_m = fix.accuracy_m * 2.0 + REACH_M + speed_max_mps * between.as_secs_f64();
    let gap_m = gap_m(Some(fix.position), there.position)?;
    (gap_m > reach_m).then_some((gap_m, between))
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

fn gap_m(one: Option<Position>, other: Option<Position>) -> Option<f64> {
    Some(distance_m(one?, other?))
}
