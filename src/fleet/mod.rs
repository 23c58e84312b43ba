//! How scanners and beacons fare: who is silent, deaf, moved or copied, and whose battery is weak.
//!
//! Lives in memory and begins anew with the process. Decides nothing about a shopper, but says which beacons are not to
//! be believed.

mod beacon;
pub mod cli;
mod config;
mod core;
mod rate;
mod rotating;
mod scanner;
mod serial;
mod status;
#[cfg(test)]
mod tests;
mod unknown;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use parvis_beacons::{Ephemeral, Identity};
use parvis_engine::{
    beacons as parvis_beacons,
    id::{BeaconId, ScannerId},
    time::Timestamp,
    world::World,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::{
    config::Config,
    core::{Admission, Noted, Part, Report, Sighting},
    serial::Serial,
    status::{BeaconState, BeaconStatus, Change, Changed, Counts, ScannerState, ScannerStatus},
    unknown::Unknown,
};
use crate::{
    catalog::{Catalog, eid_keys::EidKeys},
    clock::Clock,
    report::Reporter,
};

/// The fleet. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Fleet {
    core: Arc<Mutex<core::Core>>,
    /// Told when something may be due sooner than was thought.
    woken: Arc<Notify>,
    /// Whether some beacon may be cloned, so that the many who ask need not wait for each other.
    has_cloned: Arc<AtomicBool>,
}

impl Fleet {
    /// A fleet of which nothing is known yet.
    pub fn new(config: Config) -> Fleet {
        Fleet { core: Arc::new(Mutex::new(core::Core::new(config))), woken: Arc::default(), has_cloned: Arc::default() }
    }

    /// Learns what is registered now; cheap if that is no news.
    pub fn renew(&self, world: &World, keys: &EidKeys, now: Timestamp) {
        if self.lock().renew(world, keys, now) {
            self.woken.notify_one();
        }
    }

    /// Which beacons called themselves so, and when.
    pub fn resolve(&self, heard: &[(Ephemeral, Timestamp)], now: Timestamp) -> Vec<Option<BeaconId>> {
        let mut core = self.lock();
        heard.iter().map(|(eid, at)| core.resolve(*eid, *at, now).cloned()).collect()
    }

    /// Whether a report may be taken; an unregistered scanner is remembered as quarantined. With it comes what changed.
    pub fn admit(&self, scanner: &ScannerId, serial: Option<&Serial>, now: Timestamp) -> (Admission, Option<Change>) {
        self.lock().admit(scanner, serial, now)
    }

    /// Notes what a report of a registered scanner says, and judges which of its beacons are believed.
    pub fn note(&self, report: &Report<'_>, now: Timestamp) -> Noted {
        let noted = self.lock().note(report, now);
        if noted.cloned.contains(&true) {
            self.has_cloned.store(true, Ordering::Relaxed);
        }
        if noted.newly_heard || !noted.changes.is_empty() {
            self.woken.notify_one();
        }
        noted
    }

    /// A report is durable: from now on it is a repeat.
    pub fn take(&self, scanner: &ScannerId, serial: &Serial) {
        self.lock().take(scanner, serial);
    }

    /// Of unregistered beacons those that say they are the retailer's: by a UUID or a namespace of the registry.
    pub fn ours(&self, strangers: Vec<Identity>) -> Vec<Identity> {
        let core = self.lock();
        strangers.into_iter().filter(|identity| core.is_ours(identity)).collect()
    }

    /// Whether it is worth while to ask of a beacon whether it is cloned.
    pub fn has_cloned(&self) -> bool {
        self.has_cloned.load(Ordering::Relaxed)
    }

    /// Whether a beacon is heard in two places at once.
    pub fn is_cloned(&self, beacon: &BeaconId, now: Timestamp) -> bool {
        self.lock().is_cloned(beacon, now)
    }

    /// What has changed because time has passed, and when time alone may change something again.
    pub fn settle(&self, now: Timestamp) -> (Vec<Change>, Option<Timestamp>) {
        let mut core = self.lock();
        let settled = core.settle(now);
        self.has_cloned.store(core.has_cloned(), Ordering::Relaxed);
        settled
    }

    /// Scanners by id.
    pub fn scanners(&self, part: &Part<'_, ScannerState>, now: Timestamp) -> Vec<ScannerStatus> {
        self.lock().scanners(part, now)
    }

    /// Registered beacons by id.
    pub fn beacons(&self, part: &Part<'_, BeaconState>, now: Timestamp) -> Vec<BeaconStatus> {
        self.lock().beacons(part, now)
    }

    /// Unregistered beacons that say they are the retailer's, most heard first.
    pub fn unknown(&self) -> Vec<Unknown> {
        self.lock().unknown()
    }

    /// How many are in which state.
    pub fn counts(&self, now: Timestamp) -> Counts {
        self.lock().counts(now)
    }

    fn lock(&self) -> MutexGuard<'_, core::Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices what changes without anybody reporting. Runs until the node is closing.
pub async fn run(fleet: Fleet, catalog: Catalog, reporter: Reporter, clock: Clock, shutdown: CancellationToken) {
    /// However much becomes due one after the other, it is looked at no more often.
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
    let mut changed = catalog.changed();
    while !shutdown.is_cancelled() {
        changed.mark_unchanged();
        let now = clock.now();
        fleet.renew(&catalog.world(), &catalog.eid_keys(), now);
        let (changes, due) = fleet.settle(now);
        changes.into_iter().for_each(|change| reporter.fleet(change));
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = clock.sleep(PAUSE) => {}
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            changed = changed.changed() => if changed.is_err() { return },
            () = fleet.woken.notified() => {}
            () = clock.sleep_until(due) => {}
        }
    }
}
