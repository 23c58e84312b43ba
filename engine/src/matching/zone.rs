//! From readings to zones: in which zone a device is, and for how long.
//!
//! Of all zones a device is in one at most, and in the groups that this one is a part of. It enters a zone when the zone
//! is stronger than the one before by a margin and it is sure enough that it is this one; until then only the group is
//! told. It leaves by being stronger elsewhere, or by silence, which is the timer's to tell. Dwelling is told by
//! sightings and never by a timer alone, because it takes confidence; once on each visit of the shop, however often
//! somebody comes back to the aisle.

use std::time::Duration;

use parvis_beacons::ranging::{self, Choice, Level, Score};

use super::{TransitionCause, beacon_region, round::Round, told::Told};
use crate::{
    id::RegionId,
    region::Region,
    shopper::{Presence, PresenceState, Radio, Source, SourceName, Whereabouts, Witness},
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
    let Some(source) = take(radio, reading, settings) else { return };
    if source.level.is_supported() && radio.last.as_ref().is_none_or(|last| last.at <= reading.at) {
        let (at, store, position) = (reading.at, reading.store.clone(), reading.position);
        radio.last = Some(Whereabouts { at, store, position });
    }
    let witness = match reading.source {
        SourceName::Beacon(_) => Witness::Phone,
        SourceName::Scanner(_) => Witness::Scanners,
    };
    let at = newest(round).max(reading.at);
    let mut told = Told { round, at, witness, cause: TransitionCause::Sighting };
    for region in reading.identity.iter().flat_map(|identity| world.registry.beacon_regions_of(identity)) {
        told.confirm(&region.region.id, reading.at);
        beacon_region::weigh(&mut told, region, &source);
    }
    if let Some(zone) = &reading.zone {
        chain(world, zone).for_each(|zone| told.confirm(zone, reading.at));
        if let Some(choice) = told.choose(settings) {
            told.move_to(&choice, settings);
            told.linger(&choice, settings);
        }
    }
    told.forget_unheard();
}

/// A code was read in a zone: the device is there, whatever its radio says, and it is there on purpose. A code that was
/// read so long ago that the radio may know better moves nobody.
pub(super) fn scanned(round: &mut Round<'_>, zone: &RegionId, at: Timestamp) {
    let world = round.world;
    let Some(region) = world.registry.zone(zone).map(|zone| &zone.region) else { return };
    let settings = world.ranging(region.store.as_ref());
    let now = newest(round).max(at);
    let mut told = Told { round, at: now, witness: Witness::Phone, cause: TransitionCause::Scan };
    chain(world, zone).for_each(|zone| told.confirm(zone, at));
    let is_news = told.radio().scanned_at < Some(at);
    if is_news && now.since(at).as_secs_f64() < settings.live_s {
        told.radio().chosen = Some(zone.clone());
        told.radio().scanned_at = Some(at);
        told.move_to(&Choice { zone: zone.clone(), confidence: 1.0, runner_up: None }, settings);
        told.dwell(region, 1.0);
    }
    told.forget_unheard();
}

/// A zone and what it is a part of, the smallest first.
pub(super) fn chain<'a>(world: &'a World, zone: &'a RegionId) -> impl Iterator<Item = &'a RegionId> {
    let group = |zone: &&'a RegionId| world.registry.zone(zone).and_then(|zone| zone.spec.group.as_ref());
    std::iter::successors(Some(zone), group).take(GROUPS_MAX)
}

/// Whether what was heard of a region still tells that somebody is there.
pub(super) fn counts(world: &World, region: &Region, level: &Level, at: Timestamp) -> bool {
    let settings = world.ranging(region.store.as_ref());
    let age = at.since(Timestamp::from_millis(level.at_ms));
    level.is_live(at.as_millis(), settings) && world.registry.exit_after(&region.id).is_none_or(|after| age < after)
}

/// The newest moment that is known by radio; nothing is told of a time before it.
fn newest(round: &Round<'_>) -> Timestamp {
    let sources = round.track.radio.iter().flat_map(|radio| &radio.sources);
    let heard = sources.map(|source| Timestamp::from_millis(source.level.at_ms));
    let by_radio = |presence: &&Presence| matches!(presence.witness, Witness::Phone | Witness::Scanners);
    let since = round.presences().iter().filter(by_radio).map(|presence| presence.since);
    let silent = round.track.radio.iter().filter_map(|radio| radio.silent_at);
    heard.chain(since).chain(silent).max().unwrap_or(Timestamp::MIN)
}

/// Takes a reading into its source, and gives it; nothing if the reading is a repeat, late or no signal strength.
fn take(radio: &mut Radio, reading: &Reading, settings: &ranging::Settings) -> Option<Source> {
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
        let oldest = radio.sources.iter().enumerate().min_by_key(|(_, source)| source.level.at_ms);
        oldest.map(|(oldest, _)| oldest).map(|oldest| radio.sources.remove(oldest));
    }
    Some(source)
}

impl Told<'_, '_> {
    fn choose(&mut self, settings: &ranging::Settings) -> Option<Choice<RegionId>> {
        let (world, live) = (self.round.world, Duration::from_secs_f64(settings.live_s));
        let mut scores = self.scores(settings);
        let scored = |zone: &RegionId| scores.iter().any(|score| score.zone == *zone);
        let incumbent = self.incumbent().filter(|zone| scored(zone) || self.inside(zone).is_some());
        let heard = incumbent.as_ref().is_none_or(scored);
        let at = self.at;
        let radio = self.radio();
        radio.chosen.clone_from(&incumbent);
        // What is in memory only since a restart does not say what can't be heard.
        let first = radio.sources.iter().map(|source| Timestamp::from_millis(source.level.since_ms)).min();
        let listens = first.is_some_and(|first| at.since(first) >= live);
        let read = radio.scanned_at.is_some_and(|read| at.since(read) < live);
        if read || !heard && !listens {
            return None;
        }
        let floor = |zone: &RegionId| world.registry.zone(zone).and_then(|zone| zone.spec.floor_dbm);
        scores.retain(|score| {
            incumbent.as_ref() == Some(&score.zone) || floor(&score.zone).is_none_or(|floor| score.level_dbm >= floor)
        });
        let choice = ranging::choose(incumbent.as_ref(), &scores, settings)?;
        self.radio().chosen = Some(choice.zone.clone());
        Some(choice)
    }

    /// How strongly each zone is heard.
    fn scores(&mut self, settings: &ranging::Settings) -> Vec<Score<RegionId>> {
        let (world, at, witness) = (self.round.world, self.at, self.witness);
        let sources = &self.radio().sources;
        let live: Vec<(&Source, &Region)> = sources
            .iter()
            .filter_map(|source| Some((source, &world.registry.zone(zone_of(world, &source.name)?)?.region)))
            .filter(|(source, zone)| counts(world, zone, &source.level, at))
            .collect();
        let hears = |zone: &RegionId| {
            let scans = |source: &Source| matches!(source.name, SourceName::Scanner(_));
            live.iter().filter(|(source, of)| of.id == *zone && scans(source)).count()
        };
        let silent = |zone: &RegionId| match witness {
            Witness::Scanners => world.registry.scanners_of(zone).len().saturating_sub(hears(zone)),
            Witness::Position | Witness::Phone | Witness::System => 0,
        };
        let sources = live.iter().map(|(source, zone)| (zone.id.clone(), source.level));
        ranging::scores(sources, silent, at.as_millis(), settings)
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
    fn linger(&mut self, choice: &Choice<RegionId>, settings: &ranging::Settings) {
        let world = self.round.world;
        for zone in chain(world, &choice.zone) {
            let confidence = if *zone == choice.zone { choice.confidence } else { 1.0 };
            let Some(zone) = world.registry.zone(zone) else { continue };
            let Some(since) = self.inside(&zone.spec.id).map(|presence| presence.since) else { continue };
            let dwell_s = zone.region.dwell.map_or(settings.offer_dwell_s, |dwell| dwell.as_secs_f64());
            if confidence >= settings.offer_confidence && self.at.since(since).as_secs_f64() >= dwell_s {
                self.dwell(&zone.region, confidence);
            }
        }
    }
}

/// The zone that a source speaks for.
fn zone_of<'a>(world: &'a World, source: &SourceName) -> Option<&'a RegionId> {
    match source {
        SourceName::Beacon(beacon) => world.registry.beacon(beacon)?.spec.zone.as_ref(),
        SourceName::Scanner(scanner) => world.registry.scanner(scanner)?.spec.zone.as_ref(),
    }
}
