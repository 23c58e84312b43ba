//! What is known of one beacon that is heard by scanners. Time is an argument.

use std::{sync::Arc, time::Duration};

use parvis_engine::{
    id::ScannerId,
    region::distance_m,
    registry::{Beacon, Registry, Role, Scanner},
    time::Timestamp,
};

use super::{
    Config,
    rate::{Battery, Level, Rate, Recent},
    scanner::rounded,
    status::{BeaconState, BeaconStatus},
};

/// What is known of a beacon that was heard.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) beacon: Arc<Beacon>,
    /// What was told of it last.
    pub(super) told: BeaconState,
    heard_at: Timestamp,
    rate: Rate,
    recent: Recent,
    battery: Battery,
    hearers: Vec<Hearer>,
    /// Since when it is heard best where it should not be.
    elsewhere_since: Option<Timestamp>,
    /// Who heard it last, in the order of arrival.
    last: Option<Stretch>,
    /// How often it was in two places, and when that was noticed last.
    jumps: u32,
    jumped_at: Timestamp,
}

/// One who hears it.
#[derive(Clone, Debug)]
struct Hearer {
    scanner: Arc<Scanner>,
    heard_at: Timestamp,
    level: Level,
    usual: Level,
}

/// A time over which one scanner heard it without a long pause, and from which no other scanner told of it.
#[derive(Clone, Debug)]
struct Stretch {
    scanner: Arc<Scanner>,
    from: Timestamp,
    to: Timestamp,
}

/// One sighting by a registered scanner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting<'a> {
    pub(super) scanner: &'a Arc<Scanner>,
    pub(super) at: Timestamp,
    pub(super) rssi_dbm: f64,
    pub(super) battery_v: Option<f64>,
}

/// What a beacon is judged by.
#[derive(Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a Config,
    pub(super) registry: &'a Registry,
    /// Whether a scanner would hear what is near it.
    pub(super) listens: &'a dyn Fn(&ScannerId) -> bool,
}

/// So many of those who hear a beacon are told apart.
const HEARERS_MAX: usize = 8;
/// Who has not heard it for so long says nothing of where it is now; what is older comes out of a scanner's queue.
const LIVE: Duration = Duration::from_secs(60);
const LEVEL_TAU: Duration = Duration::from_secs(60);
const USUAL_TAU: Duration = Duration::from_secs(86_400);
/// From so many sightings by one scanner on there is something usual to drift from.
const USUAL_FROM: u32 = 600;
/// A battery that was weak must have risen so far above the limit, volts: cold nights are no new batteries.
const BATTERY_GAP_V: f64 = 0.1;

impl Entry {
    pub(super) fn new(beacon: Arc<Beacon>, now: Timestamp) -> Entry {
        Entry {
            beacon,
            told: BeaconState::Unheard,
            heard_at: now,
            rate: Rate::default(),
            recent: Recent::default(),
            battery: Battery::default(),
            hearers: Vec::new(),
            elsewhere_since: None,
            last: None,
            jumps: 0,
            jumped_at: now,
        }
    }

    /// It was heard.
    pub(super) fn hear(&mut self, sighting: Sighting<'_>, when: Circumstances<'_>) {
        let Circumstances { now, config, .. } = when;
        let at = sighting.at.min(now);
        self.heard_at = self.heard_at.max(at);
        self.follow(sighting.scanner, at, now, config);
        if let Some(volts) = sighting.battery_v.filter(|volts| volts.is_finite()) {
            self.battery.add(volts, now);
        }
        if now.since(at) > LIVE || !(-120.0..0.0).contains(&sighting.rssi_dbm) {
            return;
        }
        self.rate.add(1, now);
        self.recent.add(sighting.rssi_dbm);
        self.hearer(sighting.scanner, at, sighting.rssi_dbm + sighting.scanner.spec.offset_db);
        if self.beacon.spec.role != Role::Tag {
            self.elsewhere_since = self.is_elsewhere(when).then(|| self.elsewhere_since.unwrap_or(now));
        }
    }

    pub(super) fn heard_at(&self) -> Timestamp {
        self.heard_at
    }

    /// How it fares.
    pub(super) fn state(&self, when: Circumstances<'_>) -> BeaconState {
        let Circumstances { now, config, listens, .. } = when;
        if self.is_cloned(now, config) {
            return BeaconState::Cloned;
        }
        if now.since(self.heard_at) > config.beacon_silent_after {
            return match self.beacon.spec.role {
                Role::Tag => BeaconState::Unheard,
                Role::Fixed | Role::Reference => {
                    let missed = self.hearers.iter().any(|hearer| listens(&hearer.scanner.spec.id));
                    if missed { BeaconState::Silent } else { self.told }
                }
            };
        }
        let weak = config.battery_low_v + if self.told == BeaconState::WeakBattery { BATTERY_GAP_V } else { 0.0 };
        if self.elsewhere_since.is_some_and(|since| now.since(since) >= config.moved_after) {
            BeaconState::Moved
        } else if self.battery.lowest(now).is_some_and(|volts| volts < weak) {
            BeaconState::WeakBattery
        } else {
            BeaconState::Ok
        }
    }

    /// Whether it was in two places at once until lately.
    pub(super) fn is_cloned(&self, now: Timestamp, config: &Config) -> bool {
        self.jumps >= config.clone_jumps && !self.is_quiet(now, config)
    }

    /// When time alone may change what is told of it.
    pub(super) fn due(&self, now: Timestamp, config: &Config) -> Option<Timestamp> {
        let silent = self.heard_at.plus(config.beacon_silent_after);
        let quiet = (self.jumps >= config.clone_jumps).then(|| self.jumped_at.plus(config.clone_quiet));
        // A span is over a moment after it ends.
        let after = |at: Timestamp| at.plus(Duration::from_millis(1));
        [Some(silent), quiet].into_iter().flatten().map(after).filter(|at| *at > now).min()
    }

    /// Who hears it best, or heard it last.
    pub(super) fn scanner(&self, now: Timestamp) -> Option<&ScannerId> {
        let best = self.live(now).max_by(|a, b| a.level.value.total_cmp(&b.level.value));
        best.map(|hearer| &hearer.scanner.spec.id).or(self.last.as_ref().map(|last| &last.scanner.spec.id))
    }

    pub(super) fn status(&self, state: BeaconState, now: Timestamp) -> BeaconStatus {
        BeaconStatus {
            state,
            heard_at: Some(self.heard_at),
            scanner: self.scanner(now).cloned(),
            rate_hz: rounded(self.rate.per_second(now)),
            median_rssi_dbm: self.recent.median().map(rounded),
            battery_v: self.battery.lowest(now).map(rounded),
            drift_db: self.drift_db(now).map(rounded),
            ..unheard(&self.beacon)
        }
    }

    fn is_quiet(&self, now: Timestamp, config: &Config) -> bool {
        now.since(self.jumped_at) > config.clone_quiet
    }

    /// Notices when it is here and there at once. Who is carried from one place to another jumps once at most, even if
    /// the scanners' clocks differ; a copy makes it jump to and fro.
    fn follow(&mut self, scanner: &Arc<Scanner>, at: Timestamp, now: Timestamp, config: &Config) {
        match &mut self.last {
            Some(last) if last.scanner.spec.id == scanner.spec.id && last.gap(at) <= LIVE => {
                (last.from, last.to) = (last.from.min(at), last.to.max(at));
            }
            last => {
                if last.as_ref().is_some_and(|last| last.contradicts(scanner, at, config)) {
                    let is_first = now.since(self.jumped_at) > config.clone_quiet;
                    self.jumps = if is_first { 1 } else { self.jumps.saturating_add(1) };
                    self.jumped_at = now;
                }
                *last = Some(Stretch { scanner: scanner.clone(), from: at, to: at });
            }
        }
    }

    fn hearer(&mut self, scanner: &Arc<Scanner>, at: Timestamp, level_dbm: f64) {
        if let Some(hearer) = self.hearers.iter_mut().find(|it| it.scanner.spec.id == scanner.spec.id) {
            let gap = at.since(hearer.heard_at);
            hearer.level.follow(level_dbm, gap, LEVEL_TAU);
            hearer.usual.follow(level_dbm, gap, USUAL_TAU);
            hearer.heard_at = hearer.heard_at.max(at);
            hearer.scanner.clone_from(scanner);
            return;
        }
        if self.hearers.len() >= HEARERS_MAX {
            let oldest = self.hearers.iter().enumerate().min_by_key(|(_, it)| it.heard_at).map_or(0, |(at, _)| at);
            self.hearers.swap_remove(oldest);
        }
        let level = Level::new(level_dbm);
        self.hearers.push(Hearer { scanner: scanner.clone(), heard_at: at, level, usual: level });
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Hearer> {
        self.hearers.iter().filter(move |hearer| now.since(hearer.heard_at) <= LIVE)
    }

    /// Whether it is heard best, and clearly so, by a scanner of another shop or zone.
    fn is_elsewhere(&self, when: Circumstances<'_>) -> bool {
        let Circumstances { now, config, registry, listens } = when;
        let (mut home, mut next_door, mut abroad) = (None, None, None);
        for hearer in self.live(now) {
            let side = match place(&self.beacon, &hearer.scanner, registry) {
                Place::Home => &mut home,
                Place::OtherZone => &mut next_door,
                Place::OtherShop => &mut abroad,
            };
            *side = Some(side.map_or(hearer.level.value, |best: f64| best.max(hearer.level.value)));
        }
        let is_better = |there: Option<f64>| match (home, there) {
            (Some(home), Some(there)) => there - home >= config.moved_margin_db,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let listeners = self.beacon.spec.zone.as_ref().map_or(&[][..], |zone| registry.scanners_of(zone));
        // While nobody listens at home it is always heard best next door.
        let would_be_heard = || home.is_some() || listeners.iter().any(|scanner| listens(&scanner.spec.id));
        is_better(abroad) || (is_better(next_door) && would_be_heard())
    }

    fn drift_db(&self, now: Timestamp) -> Option<f64> {
        let known = self.live(now).filter(|hearer| hearer.usual.count() >= USUAL_FROM);
        let (sum, count) =
            known.fold((0.0, 0_u32), |(sum, count), it| (sum + it.level.value - it.usual.value, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }
}

/// A beacon that was not heard.
pub(super) fn unheard(beacon: &Beacon) -> BeaconStatus {
    BeaconStatus {
        id: beacon.spec.id.clone(),
        role: beacon.spec.role,
        store: beacon.spec.store.clone(),
        zone: beacon.spec.zone.clone(),
        state: BeaconState::Unheard,
        heard_at: None,
        scanner: None,
        rate_hz: 0.0,
        median_rssi_dbm: None,
        battery_v: None,
        drift_db: None,
    }
}

impl Stretch {
    /// How far a moment is from it; zero within.
    fn gap(&self, at: Timestamp) -> Duration {
        self.from.since(at).max(at.since(self.to))
    }

    /// Whether nothing can have been heard here and then there. Where both places are known, the way between them
    /// decides; otherwise nobody is in two shops at the same time.
    fn contradicts(&self, scanner: &Scanner, at: Timestamp, config: &Config) -> bool {
        let (here, there) = (&self.scanner.spec, &scanner.spec);
        let gap = self.gap(at);
        match (here.position, there.position) {
            (Some(from), Some(to)) => {
                distance_m(from, to) > config.apart_max_m + config.travel_max_mps * gap.as_secs_f64()
            }
            (_, _) => here.store != there.store && gap <= config.together,
        }
    }
}

/// Where a scanner hangs, seen from a beacon.
enum Place {
    Home,
    OtherZone,
    OtherShop,
}

/// As far as it can be told: of a zone, what it is a part of and what is a part of it count as the same place.
fn place(beacon: &Beacon, scanner: &Scanner, registry: &Registry) -> Place {
    if beacon.spec.store.as_ref() != Some(&scanner.spec.store) {
        return Place::OtherShop;
    }
    let (Some(its), Some(theirs)) = (&beacon.spec.zone, &scanner.spec.zone) else { return Place::Home };
    let group = |zone| registry.zone(zone).and_then(|zone| zone.spec.group.as_ref());
    if its == theirs || group(its) == Some(theirs) || group(theirs) == Some(its) {
        Place::Home
    } else {
        Place::OtherZone
    }
}
