//! What is known of one scanner. Time is an argument.

use std::{sync::Arc, time::Duration};

use parvis_beacons::report::Health;
use parvis_engine::{
    beacons as parvis_beacons,
    id::{BeaconId, ScannerId},
    registry::Scanner,
    time::Timestamp,
};

use super::{
    Config,
    rate::Rate,
    serial::{Serial, Serials},
    status::{ScannerState, ScannerStatus},
};

/// What is known of a scanner.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// None if nobody registered it.
    pub(super) registered: Option<Arc<Scanner>>,
    pub(super) serials: Serials,
    /// The reference beacon near it, and when it or its assignment was heard of last.
    pub(super) reference: Option<(BeaconId, Timestamp)>,
    /// What was told of it last.
    pub(super) told: ScannerState,
    pub(super) deaf: bool,
    since: Timestamp,
    reported_at: Option<Timestamp>,
    /// The last report that was noted, taken or not.
    noted: Option<Serial>,
    reports: Rate,
    sightings: Rate,
    clock_offset_s: Option<f64>,
    health: Option<Health>,
    heard_at: Option<Timestamp>,
}

impl Entry {
    pub(super) fn new(registered: Option<Arc<Scanner>>, now: Timestamp) -> Entry {
        Entry {
            registered,
            serials: Serials::default(),
            reference: None,
            told: ScannerState::Ok,
            deaf: false,
            since: now,
            reported_at: None,
            noted: None,
            reports: Rate::default(),
            sightings: Rate::default(),
            clock_offset_s: None,
            health: None,
            heard_at: None,
        }
    }

    /// A report came. False if it was noted before, and only comes again because it could not be taken.
    pub(super) fn report(&mut self, serial: Option<&Serial>, now: Timestamp, config: &Config) -> bool {
        let away = now.since(self.reported_at.unwrap_or(self.since));
        if let Some((_, at)) = self.reference.as_mut().filter(|_| away > config.scanner_late_after) {
            // Who was away heard nothing for that reason.
            *at = now;
        }
        self.reported_at = self.reported_at.max(Some(now));
        let fresh = serial.is_none() || self.noted.as_ref() != serial;
        if fresh {
            self.noted = serial.cloned();
            self.reports.add(1, now);
        }
        fresh
    }

    /// So many beacons were heard in a report; ours or not.
    pub(super) fn heard(&mut self, count: usize, now: Timestamp) {
        self.sightings.add(count, now);
        if count > 0 {
            self.heard_at = self.heard_at.max(Some(now));
        }
    }

    /// A reference beacon was heard.
    pub(super) fn heard_reference(&mut self, beacon: &BeaconId, now: Timestamp) {
        match &mut self.reference {
            Some((reference, at)) if reference == beacon => *at = now,
            Some(_) => {}
            None => self.reference = Some((beacon.clone(), now)),
        }
    }

    /// What the scanner says of itself.
    pub(super) fn tell(&mut self, sent_at: Option<Timestamp>, health: Option<&Health>, now: Timestamp) {
        if let Some(sent_at) = sent_at {
            self.clock_offset_s = Some((sent_at.as_millis() as f64 - now.as_millis() as f64) / 1_000.0);
        }
        if let Some(health) = health {
            self.health = Some(trimmed(health));
        }
    }

    pub(super) fn state(&self, now: Timestamp, config: &Config) -> ScannerState {
        if self.registered.is_none() {
            return ScannerState::Quarantined;
        }
        let away = now.since(self.reported_at.unwrap_or(self.since));
        if away > config.scanner_silent_after {
            ScannerState::Silent
        } else if away > config.scanner_late_after {
            ScannerState::Late
        } else {
            ScannerState::Ok
        }
    }

    /// Whether what it does not hear says that something does not reach its antenna.
    pub(super) fn listens(&self, now: Timestamp, config: &Config) -> bool {
        self.state(now, config) == ScannerState::Ok && !self.deaf
    }

    /// Whether it has heard nothing at all for so long.
    pub(super) fn hears_nothing(&self, span: Duration, now: Timestamp) -> bool {
        self.heard_at.is_none_or(|at| now.since(at) > span)
    }

    /// When it was last heard of.
    pub(super) fn last(&self) -> Timestamp {
        self.reported_at.unwrap_or(self.since)
    }

    /// When time alone may change what is told of it.
    pub(super) fn due(&self, now: Timestamp, config: &Config) -> Option<Timestamp> {
        self.registered.as_ref()?;
        let silent = Some(self.last().plus(config.scanner_silent_after));
        let deaf = self.reference.as_ref().map(|(_, at)| at.plus(config.deaf_after));
        // A span is over a moment after it ends.
        let after = |at: Timestamp| at.plus(Duration::from_millis(1));
        silent.into_iter().chain(deaf).map(after).filter(|at| *at > now).min()
    }

    pub(super) fn status(&self, id: &ScannerId, now: Timestamp, config: &Config) -> ScannerStatus {
        let spec = self.registered.as_ref().map(|scanner| &scanner.spec);
        let health = self.health.as_ref();
        ScannerStatus {
            id: id.clone(),
            store: spec.map(|spec| spec.store.clone()),
            zone: spec.and_then(|spec| spec.zone.clone()),
            state: self.state(now, config),
            deaf: self.deaf,
            reported_at: self.reported_at,
            reports_hz: rounded(self.reports.per_second(now)),
            sightings_hz: rounded(self.sightings.per_second(now)),
            clock_offset_s: self.clock_offset_s,
            version: health.map(|health| health.version.clone()),
            uptime_s: health.map(|health| health.uptime_s),
            adapters: health.map(|health| health.adapters.clone()).unwrap_or_default(),
            queued: health.map(|health| health.queued),
            dropped: health.map(|health| health.dropped),
            missing: self.serials.missing(),
        }
    }
}

/// To a hundredth: what is measured here is no finer.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// What a host says of itself is kept, so it must not be long.
fn trimmed(health: &Health) -> Health {
    const ADAPTERS_MAX: usize = 8;
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(40).collect::<String>();
    let mut health = Health {
        version: short(&health.version),
        adapters: health.adapters.iter().take(ADAPTERS_MAX).cloned().collect(),
        ..*health
    };
    health.adapters.iter_mut().for_each(|adapter| adapter.mode = short(&adapter.mode));
    health
}
