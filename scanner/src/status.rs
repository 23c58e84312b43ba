//! What the parts of the agent know of each other: how each radio fares and what was lost. Written by those who see it,
//! read for the health report, by the watchdogs and by `probe`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use parvis_beacons::{Identity, Mac, report};

use crate::{clock::Moment, tally::Tally};

/// How a radio scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does not, just now.
    #[default]
    Idle,
    /// Discovery, with an advertisement monitor that keeps the controller's filter of duplicates off.
    Monitor,
    /// Discovery alone.
    Discovery,
    /// Discovery that is stopped and started all the time, because the controller filters duplicates.
    Cycling,
}

impl Mode {
    /// As reports have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Idle => "idle",
            Mode::Monitor => "monitor",
            Mode::Discovery => "discovery",
            Mode::Cycling => "cycling",
        }
    }
}

/// Why something that was heard does not reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Advertisements that came faster than they were taken.
    Overrun,
    /// Advertisements without a signal strength that can be believed.
    Rssi,
    /// Advertisements of beacons that were too many to be remembered.
    Crowd,
    /// Reports that a full queue gave up, oldest first.
    QueueFull,
    /// Reports that the disk gave back damaged.
    Damaged,
    /// Reports that the server does not want.
    Refused,
    /// Reports of an earlier boot whose age can't be told, or that are too old.
    Ageless,
}

/// A reference that was not heard for so long is gone. The strictest filters of duplicates let one advertisement pass
/// about every ten seconds.
const REFERENCE_GONE_AFTER: Duration = Duration::from_secs(15);

/// Shared; a clone is the same status.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    adapters: BTreeMap<Mac, Adapter>,
    losses: BTreeMap<Loss, u64>,
    queued: u64,
}

#[derive(Debug)]
struct Adapter {
    mode: Mode,
    tally: Tally,
    restarts: u64,
    last: Option<Moment>,
    references: BTreeMap<Identity, Tally>,
}

/// The most beacons whose rate is watched to judge a radio.
const REFERENCES_MAX: usize = 32;

impl Status {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A radio heard an advertisement, of whatever kind.
    pub fn heard(&self, adapter: Mac, at: Moment) {
        let mut inner = self.lock();
        let adapter = inner.adapter(adapter, at);
        adapter.tally.count(at);
        adapter.last = Some(at);
    }

    /// A radio heard a beacon by which it can be judged.
    pub fn heard_reference(&self, adapter: Mac, identity: Identity, at: Moment) {
        let mut inner = self.lock();
        let references = &mut inner.adapter(adapter, at).references;
        if references.len() < REFERENCES_MAX || references.contains_key(&identity) {
            references.entry(identity).or_insert_with(|| Tally::new(at)).count(at);
        }
    }

    /// Begins to judge a radio anew.
    pub fn forget_references(&self, adapter: Mac) {
        if let Some(adapter) = self.lock().adapters.get_mut(&adapter) {
            adapter.references.clear();
        }
    }

    /// The best rate of any reference beacon that has been watched for `span` and is still there; none if there is no
    /// such beacon.
    pub fn reference_rate_hz(&self, adapter: Mac, span: Duration, now: Moment) -> Option<f64> {
        let mut inner = self.lock();
        let references = inner.adapters.get_mut(&adapter)?.references.values_mut();
        references
            .filter(|tally| tally.span(now) >= span && now.since(tally.last()) <= REFERENCE_GONE_AFTER)
            .map(|tally| tally.rate_hz(now))
            .reduce(f64::max)
    }

    /// How a radio scans now.
    pub fn scans(&self, adapter: Mac, mode: Mode, now: Moment) {
        self.lock().adapter(adapter, now).mode = mode;
    }

    /// How a radio scans.
    pub fn mode(&self, adapter: Mac) -> Mode {
        self.lock().adapters.get(&adapter).map(|adapter| adapter.mode).unwrap_or_default()
    }

    /// Scanning had to be started anew.
    pub fn restarted(&self, adapter: Mac, now: Moment) {
        self.lock().adapter(adapter, now).restarts += 1;
    }

    /// When a radio last heard anything.
    pub fn last_heard(&self, adapter: Mac) -> Option<Moment> {
        self.lock().adapters.get(&adapter)?.last
    }

    /// When any radio last heard anything.
    pub fn last_heard_by_any(&self) -> Option<Moment> {
        self.lock().adapters.values().filter_map(|adapter| adapter.last).max()
    }

    /// Something is lost.
    pub fn lose(&self, loss: Loss, count: u64) {
        if count > 0 {
            *self.lock().losses.entry(loss).or_default() += count;
        }
    }

    /// How much was lost for this reason.
    pub fn lost(&self, loss: Loss) -> u64 {
        self.lock().losses.get(&loss).copied().unwrap_or(0)
    }

    /// So many reports wait on disk.
    pub fn queue(&self, reports: u64) {
        self.lock().queued = reports;
    }

    /// The health report.
    pub fn health(&self, uptime: Duration, now: Moment) -> report::Health {
        let mut inner = self.lock();
        let adapters = inner.adapters.iter_mut().map(|(address, adapter)| report::Adapter {
            address: *address,
            mode: adapter.mode.as_str().to_owned(),
            rate_hz: adapter.tally.rate_hz(now),
            reference_rate_hz: adapter.references.values_mut().map(|tally| tally.rate_hz(now)).reduce(f64::max),
            restarts: adapter.restarts,
        });
        let adapters = adapters.collect();
        let of_reports = [Loss::QueueFull, Loss::Damaged, Loss::Refused, Loss::Ageless];
        report::Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: uptime.as_secs(),
            adapters,
            queued: inner.queued,
            dropped: of_reports.iter().filter_map(|loss| inner.losses.get(loss)).sum(),
        }
    }
}

impl Inner {
    fn adapter(&mut self, address: Mac, now: Moment) -> &mut Adapter {
        self.adapters.entry(address).or_insert_with(|| Adapter {
            mode: Mode::Idle,
            tally: Tally::new(now),
            restarts: 0,
            last: None,
            references: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAPTER: Mac = Mac([0, 0x1a, 0x7d, 0xda, 0x71, 0x13]);

    #[test]
    fn a_radio_is_judged_by_the_reference_it_hears_best_once_it_was_watched_long_enough() {
        let status = Status::default();
        let (fast, slow) = (Identity::Mac { mac: Mac([1; 6]) }, Identity::Mac { mac: Mac([2; 6]) });
        for second in 0..30 {
            status.heard_reference(ADAPTER, slow, Moment(second * 10_000));
            status.heard_reference(ADAPTER, fast, Moment(second * 10_000));
            status.heard_reference(ADAPTER, fast, Moment(second * 10_000 + 5_000));
        }
        let rate = |span| status.reference_rate_hz(ADAPTER, Duration::from_secs(span), Moment(295_000));
        assert!((rate(60).expect("watched") - 0.2).abs() < 0.02, "{:?}", rate(60));
        assert_eq!(rate(1_000), None);
        status.forget_references(ADAPTER);
        assert_eq!(rate(0), None);
    }

    #[test]
    fn health_counts_lost_reports_and_not_lost_advertisements() {
        let status = Status::default();
        status.lose(Loss::Overrun, 5);
        status.lose(Loss::Refused, 2);
        status.lose(Loss::QueueFull, 1);
        status.scans(ADAPTER, Mode::Cycling, Moment(0));
        let health = status.health(Duration::from_secs(61), Moment(61_000));
        assert_eq!((health.dropped, health.uptime_s), (3, 61));
        assert_eq!((health.adapters[0].mode.as_str(), health.adapters[0].reference_rate_hz), ("cycling", None));
    }
}
