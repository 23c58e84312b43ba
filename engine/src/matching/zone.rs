//! From readings to zones: in which zone a device is, in which beacon regions, and for how long.
//!
//! Of all zones a device is in one at most, and in the groups that this one is a part of. It enters a zone when the zone
//! is stronger than the one before by a margin and it is sure enough that it is this one; until then only the group is
//! told. It leaves by being stronger elsewhere, or by silence, which is the timer's to tell. Dwelling is told by
//! sightings and never by a timer alone, because it takes confidence; once on each visit of the shop, however often
//! somebody comes back to the aisle.

use parvis_beacons::ranging::{self, Choice, Level, Proximity};

use super::{TransitionCause, TransitionKind, round::Round, verdict::rounded};
use crate::{
    id::RegionId,
    observation::{Crossing, Edge},
    region::{Region, RegionKind},
    registry::BeaconRegion,
    shopper::{Presence, PresenceState, Radio, Source, SourceName, Witness},
    time::Timestamp,
    track::{NOMINAL_DBM, Reading},
    world::World,
};

/// The most sources that are remembered of one device; beyond it the one that was heard longest ago goes.
const SOURCES_MAX: usize = 64;

/// How deep zones are nested at most: what the catalog refuses anyhow would otherwise never end.
const GROUPS_MAX: usize = 8;

/// A beacon was heard by the device, or the device by a scanner.
pub(super) fn heard(round: &mut Round<'_>, reading: &Reading) {
    let world = round.world;
    let settings = world.ranging(reading.store.as_ref());
    let radio = round.track.radio.get_or_insert_default();
    let Some((newest, source)) = take(radio, reading, settings) else { return };
    let witness = match reading.source {
        SourceName::Beacon(_) => Witness::Phone,
        SourceName::Scanner(_) => Witness::Scanners,
    };
    let mut told = Told { round, at: newest, witness, cause: TransitionCause::Sighting };
    for region in reading.identity.iter().flat_map(|identity| world.registry.beacon_regions_of(identity)) {
        told.confirm(&region.region.id, reading.at);
        told.weigh_region(region, &source);
    }
    if let Some(zone) = &reading.zone {
        chain(world, zone).for_each(|zone| told.confirm(zone, reading.at));
        if let Some(choice) = told.choose(settings) {
            told.move_to(&choice, settings);
            told.dwell(&choice, settings);
        }
    }
    told.forget_unheard();
}

/// A code was read in a zone: the device is there, whatever its radio says, and it is there on purpose.
pub(super) fn scanned(round: &mut Round<'_>, zone: &RegionId, at: Timestamp) {
    let settings = round.world.ranging(None).clone();
    let mut told = Told { round, at, witness: Witness::Phone, cause: TransitionCause::Scan };
    let sure = Choice { zone: zone.clone(), confidence: 1.0, runner_up: None };
    let world = told.round.world;
    chain(world, zone).for_each(|zone| told.confirm(zone, at));
    told.round.track.radio.get_or_insert_default().chosen = Some(zone.clone());
    told.move_to(&sure, &settings);
    if let Some(region) = world.registry.zone(zone).map(|zone| &zone.region) {
        told.tell_dwell(region, 1.0);
    }
}

/// The phone's operating system has noticed that a beacon region was entered or left.
pub(super) fn crossed(round: &mut Round<'_>, crossing: &Crossing) {
    let world = round.world;
    let Some(region) = world.registry.beacon_region(&crossing.region) else { return };
    let since = round.presence(&crossing.region).map(|presence| presence.since);
    let mut told = Told { round, at: crossing.at, witness: Witness::System, cause: TransitionCause::Crossing };
    match (crossing.edge, since) {
        (Edge::Enter, None) => told.enter(&region.region, super::round::CROSSING_CONFIDENCE),
        (Edge::Enter, Some(_)) => told.watch(&crossing.region),
        (Edge::Exit, Some(since)) if since <= crossing.at => {
            told.exit(&region.region, super::round::CROSSING_CONFIDENCE)
        }
        (Edge::Exit, Some(_) | None) => {}
    }
}

/// A zone and what it is a part of, the smallest first.
fn chain<'a>(world: &'a World, zone: &'a RegionId) -> impl Iterator<Item = &'a RegionId> {
    let group = |zone: &&'a RegionId| world.registry.zone(zone).and_then(|zone| zone.spec.group.as_ref());
    std::iter::successors(Some(zone), group).take(GROUPS_MAX)
}

/// Takes a reading into its source; gives the newest time of all sources and the source, or nothing if the reading is a
/// repeat, late or no signal strength.
fn take(radio: &mut Radio, reading: &Reading, settings: &ranging::Settings) -> Option<(Timestamp, Source)> {
    let at_ms = reading.at.as_millis();
    let place = radio.sources.binary_search_by(|source| source.name.cmp(&reading.source));
    let known = place.ok().map(|place| &radio.sources[place]);
    let before = known.map(|source| source.level);
    let level = ranging::smoothed(before, reading.rssi_dbm, at_ms, settings).filter(|level| Some(*level) != before)?;
    let level = level.summing_up(reading.count);
    let exponent = settings.path_loss_exponent;
    let distance_m = reading.distance_m.unwrap_or_else(|| ranging::distance_m(level.value_dbm, NOMINAL_DBM, exponent));
    let proximity = ranging::proximity(known.map(|source| source.proximity), distance_m, settings);
    let source = Source { name: reading.source.clone(), level, proximity };
    match place {
        Ok(place) => radio.sources[place] = source.clone(),
        Err(place) => radio.sources.insert(place, source.clone()),
    }
    if radio.sources.len() > SOURCES_MAX {
        let oldest = radio.sources.iter().map(|source| source.level.at_ms).min()?;
        radio.sources.retain(|source| source.level.at_ms > oldest);
    }
    let newest = radio.sources.iter().map(|source| source.level.at_ms).max().unwrap_or(at_ms);
    Some((Timestamp::from_millis(newest), source))
}

/// One moment in which transitions are told.
struct Told<'r, 'a> {
    round: &'r mut Round<'a>,
    at: Timestamp,
    witness: Witness,
    cause: TransitionCause,
}

impl Told<'_, '_> {
    fn radio(&mut self) -> &mut Radio {
        self.round.track.radio.get_or_insert_default()
    }

    fn confirm(&mut self, region: &RegionId, at: Timestamp) {
        let radio = self.radio();
        match radio.heard.iter_mut().find(|(known, _)| known == region) {
            Some((_, heard)) => *heard = at.max(*heard),
            None => radio.heard.push((region.clone(), at)),
        }
    }

    /// What was heard of regions in which the device is not need not be remembered.
    fn forget_unheard(&mut self) {
        let mut heard = std::mem::take(&mut self.radio().heard);
        heard.retain(|(region, _)| self.inside(region).is_some());
        self.radio().heard = heard;
    }

    fn inside(&self, region: &RegionId) -> Option<&Presence> {
        self.round.presence(region).filter(|presence| presence.state == PresenceState::Inside)
    }

    /// Whether a beacon region is entered or left by what one of its beacons has become.
    fn weigh_region(&mut self, region: &BeaconRegion, source: &Source) {
        let near = |proximity: Proximity| region.spec.proximity.is_none_or(|most| proximity <= most);
        let inside = self.inside(&region.region.id).map(|presence| presence.witness);
        match inside {
            None if source.level.is_supported() && near(source.proximity) => self.enter(&region.region, 1.0),
            Some(Witness::Phone) if !near(source.proximity) && !self.is_near_another(region, near) => {
                self.exit(&region.region, 1.0);
            }
            Some(_) | None => {}
        }
    }

    fn is_near_another(&mut self, region: &BeaconRegion, near: impl Fn(Proximity) -> bool) -> bool {
        let world = self.round.world;
        let settings = world.ranging(region.region.store.as_ref());
        let at_ms = self.at.as_millis();
        self.radio().sources.iter().any(|source| {
            let SourceName::Beacon(beacon) = &source.name else { return false };
            let identity = world.registry.beacon(beacon).and_then(|beacon| beacon.identity);
            let heard = source.level.is_live(at_ms, settings) && near(source.proximity);
            heard && identity.is_some_and(|identity| region.covers(&identity))
        })
    }

    fn choose(&mut self, settings: &ranging::Settings) -> Option<Choice<RegionId>> {
        let (world, at_ms, witness) = (self.round.world, self.at.as_millis(), self.witness);
        let incumbent = self.incumbent();
        let radio = self.radio();
        let live: Vec<(&SourceName, RegionId, Level)> = radio
            .sources
            .iter()
            .filter(|source| source.level.is_live(at_ms, settings))
            .filter_map(|source| Some((&source.name, zone_of(world, &source.name)?.clone(), source.level)))
            .collect();
        let hears = |zone: &RegionId| live.iter().filter(|(_, of, _)| of == zone).count();
        let silent = |zone: &RegionId| match witness {
            Witness::Scanners => world.registry.scanners_of(zone).len().saturating_sub(hears(zone)),
            Witness::Position | Witness::Phone | Witness::System => 0,
        };
        let sources = live.iter().map(|(_, zone, level)| (zone.clone(), *level));
        let mut scores = ranging::scores(sources, silent, at_ms, settings);
        let floor = |zone: &RegionId| world.registry.zone(zone).and_then(|zone| zone.spec.floor_dbm);
        scores.retain(|score| {
            incumbent.as_ref() == Some(&score.zone) || floor(&score.zone).is_none_or(|floor| score.level_dbm >= floor)
        });
        let choice = ranging::choose(incumbent.as_ref(), &scores, settings)?;
        self.radio().chosen = Some(choice.zone.clone());
        Some(choice)
    }

    /// The zone that was chosen last; after a restart, the smallest one that the device is known to be in.
    fn incumbent(&mut self) -> Option<RegionId> {
        if let Some(chosen) = &self.radio().chosen {
            return Some(chosen.clone());
        }
        let inside: Vec<RegionId> = self.zones_inside();
        let groups = |zone: &RegionId| {
            inside.iter().any(|other| other != zone && chain(self.round.world, other).any(|it| it == zone))
        };
        inside.iter().find(|zone| !groups(zone)).cloned()
    }

    fn zones_inside(&self) -> Vec<RegionId> {
        let world = self.round.world;
        let inside = self.round.presences().iter().filter(|presence| presence.state == PresenceState::Inside);
        inside.map(|presence| presence.region.clone()).filter(|region| world.registry.zone(region).is_some()).collect()
    }

    /// Leaves the zones that the chosen one is no part of, and enters those that it is; itself only if that is sure
    /// enough.
    fn move_to(&mut self, choice: &Choice<RegionId>, settings: &ranging::Settings) {
        let world = self.round.world;
        let sure = choice.confidence >= settings.zone_confidence || self.inside(&choice.zone).is_some();
        let wanted: Vec<&RegionId> = chain(world, &choice.zone).skip(usize::from(!sure)).collect();
        for zone in self.zones_inside() {
            if let Some(zone) = world.registry.zone(&zone).filter(|_| !wanted.contains(&&zone)) {
                self.exit(&zone.region, choice.confidence);
            }
        }
        for zone in wanted.into_iter().rev() {
            if let Some(zone) = world.registry.zone(zone).filter(|zone| self.inside(&zone.spec.id).is_none()) {
                let of_group = zone.spec.id != choice.zone;
                self.enter(&zone.region, if of_group { 1.0 } else { choice.confidence });
            }
        }
    }

    /// Tells who has stayed long enough, if it is sure enough where. Groups need no confidence of their own: whichever of
    /// their zones it is, it is the group.
    fn dwell(&mut self, choice: &Choice<RegionId>, settings: &ranging::Settings) {
        let world = self.round.world;
        for zone in chain(world, &choice.zone) {
            let confidence = if *zone == choice.zone { choice.confidence } else { 1.0 };
            let Some(zone) = world.registry.zone(zone) else { continue };
            let Some(since) = self.inside(&zone.spec.id).map(|presence| presence.since) else { continue };
            let dwell_s = zone.region.dwell.map_or(settings.offer_dwell_s, |dwell| dwell.as_secs_f64());
            if confidence >= settings.offer_confidence && self.at.since(since).as_secs_f64() >= dwell_s {
                self.tell_dwell(&zone.region, confidence);
            }
        }
    }

    fn tell_dwell(&mut self, region: &Region, confidence: f64) {
        let Some(presence) = self.round.presence_mut(&region.id) else { return };
        if std::mem::replace(&mut presence.dwelled, true) {
            return;
        }
        let since = presence.since;
        self.tell(region, TransitionKind::Dwell, confidence, since);
    }

    /// Into a region; whoever has dwelt there on this visit of the shop is not to be told again.
    fn enter(&mut self, region: &Region, confidence: f64) {
        let dwelled = self.round.presence(&region.id).is_some_and(|presence| presence.dwelled);
        self.round.forget(&region.id);
        let (at, witness) = (self.at, self.witness);
        let presence = self.round.put(region, PresenceState::Inside, at);
        (presence.dwelled, presence.witness) = (dwelled, witness);
        self.tell(region, TransitionKind::Enter, confidence, at);
    }

    fn exit(&mut self, region: &Region, confidence: f64) {
        let Some(presence) = self.inside(&region.id).cloned() else { return };
        self.round.forget(&region.id);
        if presence.dwelled && region.kind == RegionKind::Zone {
            let left = self.round.put(region, PresenceState::Left, self.at);
            (left.dwelled, left.witness) = (true, presence.witness);
        }
        self.tell(region, TransitionKind::Exit, confidence, presence.since);
    }

    /// The operating system watches over a presence that sightings had told.
    fn watch(&mut self, region: &RegionId) {
        if let Some(presence) = self.round.presence_mut(region) {
            presence.witness = Witness::System;
            presence.seen = presence.seen.max(self.at);
        }
    }

    fn tell(&mut self, region: &Region, kind: TransitionKind, confidence: f64, since: Timestamp) {
        let old = self.round.now.since(self.at) > self.round.world.settings.presence.sighting_age_max;
        let (at, cause) = (self.at, self.cause);
        let told = self.round.tell(region, kind, at);
        (told.cause, told.confidence, told.entered_at) = (cause, rounded(confidence), Some(since));
        told.replayed = old && cause == TransitionCause::Sighting;
    }
}

/// The zone that a source speaks for.
fn zone_of<'a>(world: &'a World, source: &SourceName) -> Option<&'a RegionId> {
    match source {
        SourceName::Beacon(beacon) => world.registry.beacon(beacon)?.spec.zone.as_ref(),
        SourceName::Scanner(scanner) => world.registry.scanner(scanner)?.spec.zone.as_ref(),
    }
}
