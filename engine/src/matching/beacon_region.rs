//! In which beacon regions a phone is: by what it hears, and by what its operating system notices.

use parvis_beacons::ranging::Proximity;

use super::{
    TransitionCause,
    round::{CROSSING_CONFIDENCE, Round, seen},
    timer,
    told::Told,
    zone::counts,
};
use crate::{
    observation::{Crossing, Edge},
    registry::BeaconRegion,
    shopper::{Source, SourceName, Witness},
};

/// The phone's operating system has noticed that a beacon region was entered or left. What comes late is no news if
/// something newer was heard since.
pub(super) fn crossed(round: &mut Round<'_>, crossing: &Crossing) {
    let world = round.world;
    let Some(region) = world.registry.beacon_region(&crossing.region).map(|region| &region.region) else { return };
    let known = round.presence(&region.id).map(|presence| (presence.since, seen(presence, round.track)));
    let silence = timer::silence(world, region, Witness::Phone);
    let mut told = Told { round, at: crossing.at, witness: Witness::System, cause: TransitionCause::Crossing };
    match (crossing.edge, known) {
        (Edge::Enter, None) => told.enter(region, CROSSING_CONFIDENCE),
        // The operating system watches over a presence that sightings had told, if it is the same visit.
        (Edge::Enter, Some((since, _))) if since.since(crossing.at) <= silence => {
            if let Some(presence) = told.round.presence_mut(&region.id) {
                presence.witness = Witness::System;
                presence.seen = presence.seen.max(crossing.at);
            }
        }
        (Edge::Exit, Some((_, seen))) if seen <= crossing.at => told.exit(region, CROSSING_CONFIDENCE),
        (Edge::Enter | Edge::Exit, Some(_)) | (Edge::Exit, None) => {}
    }
}

/// Enters or leaves a beacon region by what one of its beacons has become. No single sighting does.
pub(super) fn weigh(told: &mut Told<'_, '_>, region: &BeaconRegion, source: &Source) {
    let near = |proximity: Proximity| region.spec.proximity.is_none_or(|most| proximity <= most);
    if !source.level.is_supported() || !counts(told.round.world, &region.region, &source.level, told.at) {
        return;
    }
    match told.inside(&region.region.id).map(|presence| presence.witness) {
        None if near(source.proximity) => told.enter(&region.region, 1.0),
        Some(Witness::Phone) if !near(source.proximity) && !is_near_another(told, region, near) => {
            told.exit(&region.region, 1.0);
        }
        Some(_) | None => {}
    }
}

fn is_near_another(told: &mut Told<'_, '_>, region: &BeaconRegion, near: impl Fn(Proximity) -> bool) -> bool {
    let (world, at) = (told.round.world, told.at);
    told.radio().sources.iter().any(|source| {
        let SourceName::Beacon(beacon) = &source.name else { return false };
        let identity = world.registry.beacon(beacon).and_then(|beacon| beacon.identity);
        let heard = near(source.proximity) && counts(world, &region.region, &source.level, at);
        heard && identity.is_some_and(|identity| region.covers(&identity))
    })
}
