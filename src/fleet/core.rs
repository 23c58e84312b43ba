//! All that is known of scanners and beacons. Pure: time is an argument, changes are results.

use std::{collections::BTreeMap, sync::Arc};

use parvis_beacons::{Ephemeral, Identity, report::Health};
use parvis_engine::{
    beacons as parvis_beacons,
    id::{BeaconId, ScannerId, StoreId},
    registry::{Beacon, Registry, Role},
    time::Timestamp,
    world::World,
};

use super::{
    Config,
    beacon::{self, Circumstances},
    rotating::Rotating,
    scanner,
    serial::{Serial, Standing},
    status::{BeaconState, BeaconStatus, Change, Changed, Counts, ScannerState, ScannerStatus},
    unknown::{Strangers, Unknown},
};
use crate::catalog::eid_keys::EidKeys;

/// What a report is allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new.
    Taken,
    /// The same report was taken before.
    Repeat,
    /// It is older than what was taken, so it is no repeat for want of an answer.
    Replayed,
    /// Nobody registered the scanner.
    Quarantined,
}

/// One report of a registered scanner, as far as the fleet's health is concerned.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Who sent it.
    pub scanner: &'a ScannerId,
    /// Which of its reports it is, if it counts them.
    pub serial: Option<&'a Serial>,
    /// Its own clock when it was sent.
    pub sent_at: Option<Timestamp>,
    /// How it says that it fares.
    pub health: Option<&'a Health>,
    /// What it heard of registered beacons.
    pub sightings: &'a [Sighting],
    /// What else it heard.
    pub strangers: &'a [Identity],
}

/// One sighting of a registered beacon.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Which beacon.
    pub beacon: Arc<Beacon>,
    /// When.
    pub at: Timestamp,
    /// How strong, dBm.
    pub rssi_dbm: f64,
    /// The battery's voltage, if it was told.
    pub battery_v: Option<f64>,
}

/// What a report told of the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noted {
    /// For each sighting in the order given: whether its beacon is not believed.
    pub cloned: Vec<bool>,
    /// What changed.
    pub changes: Vec<Change>,
    /// Whether a beacon was heard for the first time.
    pub newly_heard: bool,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct Part<'a, State> {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this shop.
    pub store: Option<&'a StoreId>,
    /// Only those behind this id.
    pub after: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
}

/// The fleet.
#[derive(Debug)]
pub(super) struct Core {
    config: Config,
    generation: u64,
    registry: Arc<Registry>,
    scanners: BTreeMap<ScannerId, scanner::Entry>,
    beacons: BTreeMap<BeaconId, beacon::Entry>,
    strangers: Strangers,
    rotating: Rotating,
}

impl Core {
    pub(super) fn new(config: Config) -> Core {
        Core {
            config,
            generation: 0,
            registry: Arc::default(),
            scanners: BTreeMap::new(),
            beacons: BTreeMap::new(),
            strangers: Strangers::default(),
            rotating: Rotating::default(),
        }
    }

    /// Learns what is registered now. True if that is news.
    pub(super) fn renew(&mut self, world: &World, keys: &EidKeys, now: Timestamp) -> bool {
        if world.generation <= self.generation {
            return false;
        }
        self.generation = world.generation;
        self.rotating.renew(world, keys, now);
        if Arc::ptr_eq(&self.registry, &world.registry) {
            return false;
        }
        let registry = world.registry.clone();
        self.beacons.retain(|id, entry| match registry.beacon(id) {
            Some(beacon) => {
                entry.beacon.clone_from(beacon);
                true
            }
            None => false,
        });
        self.strangers.renew(&registry);
        let references = references(&registry);
        self.scanners.retain(|id, entry| entry.registered.is_none() || registry.scanner(id).is_some());
        for scanner in registry.scanners() {
            let id = &scanner.spec.id;
            let entry =
                self.scanners.entry(id.clone()).or_insert_with(|| scanner::Entry::new(Some(scanner.clone()), now));
            entry.registered = Some(scanner.clone());
            let reference = scanner.spec.zone.as_ref().and_then(|zone| references.get(&(&scanner.spec.store, zone)));
            let known = entry.reference.as_ref().map(|(beacon, _)| beacon);
            if reference.is_some() && known != reference.copied() {
                entry.reference = reference.map(|beacon| ((*beacon).clone(), now));
            } else if known.is_some_and(|beacon| registry.beacon(beacon).is_none()) {
                entry.reference = None;
            }
        }
        self.registry = registry;
        true
    }

    /// Which beacon called itself so.
    pub(super) fn resolve(&mut self, eid: Ephemeral, at: Timestamp, now: Timestamp) -> Option<&BeaconId> {
        self.rotating.resolve(eid, at, now)
    }

    /// Whether a report may be taken.
    pub(super) fn admit(
        &mut self,
        scanner: &ScannerId,
        serial: Option<&Serial>,
        now: Timestamp,
    ) -> (Admission, Option<Change>) {
        if self.registry.scanner(scanner).is_none() {
            return (Admission::Quarantined, self.quarantine(scanner, now));
        }
        let standing = serial.zip(self.scanners.get(scanner)).map(|(serial, entry)| entry.serials.judge(serial));
        let admission = match standing {
            None | Some(Standing::New) => Admission::Taken,
            Some(Standing::Repeat) => Admission::Repeat,
            Some(Standing::Old) => Admission::Replayed,
        };
        (admission, None)
    }

    /// Notes what a report that may be taken says. The same report again is noted once, but judged each time.
    pub(super) fn note(&mut self, report: &Report<'_>, now: Timestamp) -> Noted {
        let mut noted = Noted::default();
        let Core { config, registry, scanners, beacons, strangers, .. } = self;
        let Some(registered) = registry.scanner(report.scanner) else {
            noted.cloned = vec![false; report.sightings.len()];
            return noted;
        };
        let entry = scanners
            .entry(report.scanner.clone())
            .or_insert_with(|| scanner::Entry::new(Some(registered.clone()), now));
        let fresh = entry.report(report.serial, now, config);
        if fresh {
            entry.tell(report.sent_at, report.health, now);
            entry.heard(report.sightings.len() + report.strangers.len(), now);
            for sighting in report.sightings {
                let spec = &sighting.beacon.spec;
                if spec.role == Role::Reference && spec.store.as_ref() == Some(&registered.spec.store) {
                    entry.heard_reference(&spec.id, now);
                }
            }
            for identity in report.strangers {
                strangers.add(*identity, report.scanner, now, config.unknown_max);
            }
        }
        let listens = |id: &ScannerId| scanners.get(id).is_some_and(|it| it.listens(now, config));
        let when = Circumstances { now, config, registry, listens: &listens };
        for Sighting { beacon, at, rssi_dbm, battery_v } in report.sightings {
            let id = &beacon.spec.id;
            if !beacons.contains_key(id) {
                beacons.insert(id.clone(), beacon::Entry::new(beacon.clone(), now));
                noted.newly_heard = true;
            }
            let Some(entry) = beacons.get_mut(id) else { continue };
            if fresh {
                let sighting =
                    beacon::Sighting { scanner: registered, at: *at, rssi_dbm: *rssi_dbm, battery_v: *battery_v };
                entry.hear(sighting, when);
                noted.changes.extend(judge_beacon(entry, when));
            }
            noted.cloned.push(entry.is_cloned(now, config));
        }
        noted.changes.extend(self.judge_scanner(report.scanner, now));
        noted
    }

    /// A report is durable: from now on it is a repeat.
    pub(super) fn take(&mut self, scanner: &ScannerId, serial: &Serial) {
        if let Some(entry) = self.scanners.get_mut(scanner) {
            entry.serials.take(serial);
        }
    }

    /// What has changed because time has passed, and when time alone may change something again.
    pub(super) fn settle(&mut self, now: Timestamp) -> (Vec<Change>, Option<Timestamp>) {
        self.rotating.keep_time(now);
        let mut changes = Vec::new();
        let ids: Vec<ScannerId> = self.scanners.keys().cloned().collect();
        for id in &ids {
            changes.extend(self.judge_scanner(id, now));
        }
        let Core { config, registry, scanners, beacons, .. } = self;
        let listens = |id: &ScannerId| scanners.get(id).is_some_and(|it| it.listens(now, config));
        let when = Circumstances { now, config, registry, listens: &listens };
        for entry in beacons.values_mut() {
            changes.extend(judge_beacon(entry, when));
        }
        let scanners = scanners.values().filter_map(|entry| entry.due(now, config));
        let due = scanners.chain(beacons.values().filter_map(|entry| entry.due(now, config))).min();
        (changes, due)
    }

    /// Whether a beacon was in two places at once until lately.
    pub(super) fn is_cloned(&self, beacon: &BeaconId, now: Timestamp) -> bool {
        self.beacons.get(beacon).is_some_and(|entry| entry.is_cloned(now, &self.config))
    }

    /// Whether some beacon was told to be cloned and not yet that it no longer is.
    pub(super) fn has_cloned(&self) -> bool {
        self.beacons.values().any(|entry| entry.told == BeaconState::Cloned)
    }

    /// Whether a stranger says that it is the retailer's.
    pub(super) fn is_ours(&self, identity: &Identity) -> bool {
        self.strangers.is_ours(identity)
    }

    pub(super) fn scanners(&self, part: &Part<'_, ScannerState>, now: Timestamp) -> Vec<ScannerStatus> {
        let wanted = |status: &ScannerStatus| {
            part.state.is_none_or(|state| status.state == state)
                && part.store.is_none_or(|store| status.store.as_ref() == Some(store))
        };
        let behind = self.scanners.iter().filter(|(id, _)| part.after.is_none_or(|after| id.as_str() > after));
        behind.map(|(id, entry)| entry.status(id, now, &self.config)).filter(wanted).take(part.limit).collect()
    }

    pub(super) fn beacons(&self, part: &Part<'_, BeaconState>, now: Timestamp) -> Vec<BeaconStatus> {
        let behind = self.registry.beacons().filter(|it| part.after.is_none_or(|after| it.spec.id.as_str() > after));
        let there = behind.filter(|it| part.store.is_none_or(|store| it.spec.store.as_ref() == Some(store)));
        let entries = there.map(|beacon| (beacon, self.beacons.get(&beacon.spec.id)));
        let judged = entries.map(|(beacon, entry)| {
            let state = entry.map_or(BeaconState::Unheard, |entry| self.state(entry, now));
            (beacon, entry, state)
        });
        let wanted = judged.filter(|(_, _, state)| part.state.is_none_or(|wanted| wanted == *state)).take(part.limit);
        wanted
            .map(|(beacon, entry, state)| entry.map_or_else(|| beacon::unheard(beacon), |it| it.status(state, now)))
            .collect()
    }

    pub(super) fn unknown(&self) -> Vec<Unknown> {
        self.strangers.list()
    }

    pub(super) fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts { unknown: self.strangers.list().len() as u64, ..Counts::default() };
        for entry in self.scanners.values() {
            counts.scanners[entry.state(now, &self.config) as usize] += 1;
            counts.deaf += u64::from(entry.deaf);
        }
        for entry in self.beacons.values() {
            counts.beacons[self.state(entry, now) as usize] += 1;
        }
        let unheard = self.registry.beacons().count().saturating_sub(self.beacons.len());
        counts.beacons[BeaconState::Unheard as usize] += unheard as u64;
        counts
    }

    fn state(&self, entry: &beacon::Entry, now: Timestamp) -> BeaconState {
        let listens = |id: &ScannerId| self.scanners.get(id).is_some_and(|it| it.listens(now, &self.config));
        entry.state(Circumstances { now, config: &self.config, registry: &self.registry, listens: &listens })
    }

    /// Remembers a scanner that nobody registered; the one that was heard longest ago makes way. Who takes the
    /// place of one that still reports is listed but not told: names can be made up faster than anybody reads.
    fn quarantine(&mut self, scanner: &ScannerId, now: Timestamp) -> Option<Change> {
        if !self.scanners.contains_key(scanner) {
            let mut entry = scanner::Entry::new(None, now);
            let strangers = || self.scanners.iter().filter(|(_, entry)| entry.registered.is_none());
            if strangers().count() >= self.config.quarantined_max {
                let oldest = strangers().map(|(id, entry)| (entry.last(), id)).min();
                if let Some((last, id)) = oldest.map(|(last, id)| (last, id.clone())) {
                    self.scanners.remove(&id);
                    if now.since(last) <= self.config.scanner_silent_after {
                        entry.told = ScannerState::Quarantined;
                    }
                }
            }
            self.scanners.insert(scanner.clone(), entry);
        }
        let entry = self.scanners.get_mut(scanner)?;
        entry.report(None, now, &self.config);
        self.judge_scanner(scanner, now).pop()
    }

    fn judge_scanner(&mut self, id: &ScannerId, now: Timestamp) -> Vec<Change> {
        let Core { config, scanners, beacons, .. } = self;
        let Some(entry) = scanners.get_mut(id) else { return Vec::new() };
        let store = entry.registered.as_ref().map(|scanner| scanner.spec.store.clone());
        let mut changes = Vec::new();
        let to = entry.state(now, config);
        // Being late is seen in the list and in metrics; told it would be noise.
        if to != ScannerState::Late && to != entry.told {
            let from = std::mem::replace(&mut entry.told, to);
            let what = Changed::Scanner { scanner: id.clone(), store: store.clone(), from, to };
            changes.push(Change { at: now, what });
        }
        let deaf = to == ScannerState::Ok && is_deaf(entry, beacons, now, config);
        // Of one that does not report nothing is known.
        if deaf != entry.deaf && to == ScannerState::Ok {
            entry.deaf = deaf;
            changes.push(Change { at: now, what: Changed::Hearing { scanner: id.clone(), store, deaf } });
        }
        changes
    }
}

/// The reference beacon of each zone.
fn references(registry: &Registry) -> BTreeMap<(&StoreId, &parvis_engine::id::RegionId), &BeaconId> {
    let references = registry.beacons().filter(|beacon| beacon.spec.role == Role::Reference);
    references
        .filter_map(|beacon| Some(((beacon.spec.store.as_ref()?, beacon.spec.zone.as_ref()?), &beacon.spec.id)))
        .collect()
}

/// Whether a scanner no longer hears the beacon near it, though that beacon still sends: others hear it. If nobody
/// does, the beacon may be the one that is broken, unless the scanner hears nothing else either.
fn is_deaf(
    entry: &scanner::Entry,
    beacons: &BTreeMap<BeaconId, beacon::Entry>,
    now: Timestamp,
    config: &Config,
) -> bool {
    let Some((reference, at)) = &entry.reference else { return false };
    if now.since(*at) <= config.deaf_after {
        return false;
    }
    let sends = beacons.get(reference).is_some_and(|beacon| now.since(beacon.heard_at()) <= config.deaf_after);
    sends || entry.hears_nothing(config.deaf_after, now)
}

fn judge_beacon(entry: &mut beacon::Entry, when: Circumstances<'_>) -> Option<Change> {
    let now = when.now;
    let to = entry.state(when);
    let from = std::mem::replace(&mut entry.told, to);
    // That a tag comes and goes is its purpose.
    let ordinary = |state| matches!(state, BeaconState::Ok | BeaconState::Unheard);
    if from == to || (ordinary(from) && ordinary(to)) {
        return None;
    }
    let spec = &entry.beacon.spec;
    let scanner = entry.scanner(now).cloned();
    let what = Changed::Beacon { beacon: spec.id.clone(), store: spec.store.clone(), scanner, from, to };
    Some(Change { at: now, what })
}
