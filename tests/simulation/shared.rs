//! What the nodes have in common: the store's content, and what each of them hears of the others. With one node it is
//! the memory store as it is; with several it behaves like a server: it notices the others' work a little later, keeps
//! leases when a node dies, gives a wake to one node at a time, and keeps tracks only with what is durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parvis::{
    clock::Clock,
    report::Event,
    store::{Change, Commit, Durable, Entry, Record, Settlement, Store, memory::Memory},
};
use parvis_engine::{
    id::{DeviceId, NotificationId, ShopperId},
    per_device::PerDevice,
    shopper::Track,
    time::Timestamp,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    chance::Dice,
    log::{Log, What},
};

/// The work of others is found within this.
const NEWS_S: f64 = 1.0;
/// A wake that was given to a node is not given again before this has passed.
const WAKE_LEASE: Duration = Duration::from_secs(10);
/// A directory may tell of a device's last owner for so long.
const STALE: Duration = Duration::from_millis(300);

/// Tracks, valid at a version.
pub(crate) type Versioned = BTreeMap<ShopperId, (u64, PerDevice<Track>)>;

/// The store of all nodes.
pub(crate) struct Shared {
    pub(crate) memory: Memory,
    /// Whether one node has it for itself.
    pub(crate) exclusive: bool,
    pub(crate) clock: Clock,
    pub(crate) log: Log,
    dice: Dice,
    known: Mutex<Known>,
}

struct Known {
    grew: watch::Receiver<u64>,
    wakes: watch::Receiver<u64>,
    generation: watch::Receiver<u64>,
    nodes: Vec<Arc<Bells>>,
    given: BTreeMap<ShopperId, Timestamp>,
    tracks: Versioned,
    /// Whose a device was until when.
    moved: BTreeMap<DeviceId, (Option<ShopperId>, Timestamp)>,
    leases: BTreeMap<NotificationId, (u64, Timestamp)>,
    recorded: Vec<(Timestamp, Event)>,
    /// What the last commit of each shopper has recorded.
    last: BTreeMap<ShopperId, Vec<Event>>,
}

/// What a node listens to. One watch channel with several receivers would wake them in an order that no seed decides.
pub(crate) struct Bells {
    lanes: Mutex<Vec<watch::Sender<u64>>>,
    wakes: watch::Sender<u64>,
    catalog: watch::Sender<u64>,
    due: [AtomicBool; 3],
}

#[derive(Clone, Copy)]
enum Bell {
    Outbox,
    Wakes,
    Catalog,
}

impl Bells {
    pub(crate) fn lane(&self) -> watch::Receiver<u64> {
        let (bell, heard) = watch::channel(0);
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(bell);
        heard
    }

    pub(crate) fn wakes(&self) -> watch::Receiver<u64> {
        self.wakes.subscribe()
    }

    pub(crate) fn catalog(&self) -> watch::Receiver<u64> {
        self.catalog.subscribe()
    }

    fn ring(&self, bell: Bell, generation: u64) {
        let louder = |count: &mut u64| *count += 1;
        match bell {
            Bell::Outbox => {
                let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
                lanes.iter().for_each(|lane| lane.send_modify(louder));
            }
            Bell::Wakes => self.wakes.send_modify(louder),
            Bell::Catalog => drop(self.catalog.send_replace(generation)),
        }
    }
}

/// What a commit finds before it takes effect, so that one can tell afterwards what it has done.
pub(crate) struct Before {
    versions: BTreeMap<ShopperId, u64>,
    owners: BTreeMap<DeviceId, Option<ShopperId>>,
}

impl Shared {
    pub(crate) fn new(exclusive: bool, clock: Clock, log: Log, dice: Dice) -> Shared {
        let memory = Memory::new();
        let known = Known {
            grew: memory.outbox_grew(),
            wakes: memory.wakes_changed(),
            generation: memory.catalog_changed(),
            nodes: Vec::new(),
            given: BTreeMap::new(),
            tracks: BTreeMap::new(),
            moved: BTreeMap::new(),
            leases: BTreeMap::new(),
            recorded: Vec::new(),
            last: BTreeMap::new(),
        };
        Shared { memory, exclusive, clock, log, dice, known: Mutex::new(known) }
    }

    /// A node comes.
    pub(crate) fn join(&self) -> Arc<Bells> {
        let mut known = self.known();
        let (wakes, catalog) = (watch::Sender::new(0), watch::Sender::new(*known.generation.borrow()));
        let bells = Arc::new(Bells { lanes: Mutex::default(), wakes, catalog, due: Default::default() });
        known.nodes.push(Arc::clone(&bells));
        bells
    }

    /// A node is gone, and with it what only its memory held.
    pub(crate) fn leave(&self, bells: &Arc<Bells>) {
        let mut known = self.known();
        known.nodes.retain(|node| !Arc::ptr_eq(node, bells));
        if self.exclusive {
            known.leases.clear();
            drop(known);
            self.memory.crash();
        }
    }

    /// Rings what has news: for whoever caused it at once, for the others within a second.
    pub(crate) fn news(&self, own: &Arc<Bells>) {
        let mut known = self.known();
        let Known { grew, wakes, generation, .. } = &mut *known;
        let mut news = Vec::new();
        for (receiver, bell) in [(grew, Bell::Outbox), (wakes, Bell::Wakes), (generation, Bell::Catalog)] {
            if receiver.has_changed().unwrap_or(false) {
                receiver.mark_unchanged();
                news.push(bell);
            }
        }
        let generation = *known.generation.borrow();
        for node in &known.nodes {
            for bell in &news {
                if Arc::ptr_eq(node, own) { node.ring(*bell, generation) } else { self.ring_soon(node, *bell) }
            }
        }
    }

    /// What a node looks at again after its clock was set.
    pub(crate) fn ring(&self, bells: &Bells) {
        bells.ring(Bell::Outbox, 0);
        bells.ring(Bell::Wakes, 0);
    }

    fn ring_soon(&self, node: &Arc<Bells>, bell: Bell) {
        if node.due[bell as usize].swap(true, Ordering::Relaxed) {
            return;
        }
        let (clock, node, memory) = (self.clock.clone(), Arc::clone(node), self.memory.clone());
        let after = self.dice.span(0.0, NEWS_S);
        TaskTracker::new().spawn(async move {
            clock.sleep(after).await;
            node.due[bell as usize].store(false, Ordering::Relaxed);
            node.ring(bell, *memory.catalog_changed().borrow());
        });
    }

    /// The state of things before a commit.
    pub(crate) async fn before(&self, commit: &Commit) -> Before {
        let ids: Vec<ShopperId> = commit.changes.iter().map(|change| change.id.clone()).collect();
        let records = self.memory.load(&ids).await.expect("the memory is there");
        let mut devices: BTreeSet<DeviceId> = BTreeSet::new();
        for record in &records {
            devices.extend(record.shopper.devices.keys().cloned());
        }
        for change in &commit.changes {
            if let Durable::Replaced { shopper, .. } = &change.state {
                devices.extend(shopper.devices.keys().cloned());
            }
        }
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let owners = self.memory.owners(&devices).await.expect("the memory is there");
        let versions = ids.into_iter().zip(records.iter().map(|record| record.version)).collect();
        Before { versions, owners: devices.into_iter().zip(owners).collect() }
    }

    /// Notes what a commit has changed; gives those shoppers whose durable state it has.
    pub(crate) async fn after(&self, before: Before, commit: &Commit) -> BTreeSet<ShopperId> {
        let mut effective = BTreeSet::new();
        for (id, version) in before.versions {
            let now = self.load_one(&id).await.version;
            if now != version {
                effective.insert(id);
            }
        }
        let (devices, owners): (Vec<DeviceId>, Vec<_>) = before.owners.into_iter().unzip();
        let owners_now = self.memory.owners(&devices).await.expect("the memory is there");
        let now = self.clock.now();
        let mut known = self.known();
        for ((device, owner), owner_now) in devices.into_iter().zip(owners).zip(owners_now) {
            if owner != owner_now {
                known.moved.insert(device, (owner, now));
            }
        }
        for change in commit.changes.iter().filter(|change| effective.contains(&change.id)) {
            known.given.remove(&change.id);
            let events = commit.events.iter().filter(|event| event.shopper == change.id);
            known.last.insert(change.id.clone(), events.cloned().collect());
        }
        let recorded = commit.events.iter().filter(|event| effective.contains(&event.shopper));
        known.recorded.extend(recorded.map(|event| (now, event.clone())));
        effective
    }

    /// Keeps tracks with what is durable.
    pub(crate) fn keep_tracks(&self, id: &ShopperId, version: u64, tracks: PerDevice<Track>) {
        self.known().tracks.insert(id.clone(), (version, tracks));
    }

    /// The tracks at a version that somebody has kept.
    pub(crate) fn tracks(&self, record: &Record) -> Option<PerDevice<Track>> {
        let known = self.known();
        let kept = known.tracks.get(&record.shopper.id).filter(|(version, _)| *version == record.version);
        kept.map(|(_, tracks)| tracks.clone())
    }

    /// What the directory says, which may be a little late.
    pub(crate) fn stale_owner(&self, device: &DeviceId, owner: Option<ShopperId>) -> Option<ShopperId> {
        let known = self.known();
        match known.moved.get(device) {
            Some((before, at)) if self.clock.now().since(*at) < STALE && self.dice.chance(0.5) => before.clone(),
            Some(_) | None => owner,
        }
    }

    /// Those of these shoppers whose wake is not another node's now; or until when all are.
    pub(crate) fn give_wakes(&self, due: Vec<ShopperId>, limit: usize) -> Result<Vec<ShopperId>, Option<Duration>> {
        let now = self.clock.now();
        let mut known = self.known();
        let until = due.iter().filter_map(|id| known.given.get(id)).min().map(|until| until.since(now));
        let free = due.into_iter().filter(|id| known.given.get(id).is_none_or(|until| *until <= now));
        let free: Vec<ShopperId> = free.take(limit).collect();
        known.given.extend(free.iter().map(|id| (id.clone(), now.plus(WAKE_LEASE))));
        if free.is_empty() { Err(until) } else { Ok(free) }
    }

    /// Notes leases, and whether one was given while another held.
    pub(crate) fn leased(&self, entries: &[Entry], now: Timestamp, lease: Duration) {
        let mut known = self.known();
        for entry in entries {
            let id = entry.notification.id;
            let before = known.leases.insert(id, (entry.lease, now.plus(lease)));
            if let Some((_, until)) = before.filter(|(_, until)| *until > now) {
                self.log.add(What::Wrong(format!("{id} is leased until {until} and was given again at {now}")));
            }
        }
    }

    /// Ends leases; gives the settlements that hold none.
    pub(crate) fn unlease<'s>(&self, settlements: &'s [Settlement], effective: bool) -> Vec<&'s Settlement> {
        let mut known = self.known();
        let mut stale = Vec::new();
        for settlement in settlements {
            let holds = known.leases.get(&settlement.id).is_some_and(|(lease, _)| *lease == settlement.lease);
            if !holds {
                stale.push(settlement);
            } else if effective {
                known.leases.remove(&settlement.id);
            }
        }
        stale
    }

    /// Every event that was made durable, in the order of the commits, with the true time.
    pub(crate) fn recorded(&self) -> Vec<(Timestamp, Event)> {
        self.known().recorded.clone()
    }

    /// Whether an event was made durable, not long ago.
    pub(crate) fn is_recorded(&self, event: &Event) -> bool {
        self.known().recorded.iter().rev().take(1_000).any(|(_, known)| known == event)
    }

    /// Whether a change has been made already, by a call whose answer was lost.
    pub(crate) async fn is_done(&self, change: &Change, commit: &Commit) -> bool {
        let Durable::Replaced { shopper, .. } = &change.state else { return false };
        let record = self.load_one(&change.id).await;
        let known = self.known();
        let recorded = known.last.get(&change.id).map_or(&[][..], Vec::as_slice);
        // The versions of a shopper's lives have different upper halves.
        record.version as u32 == (change.version as u32).wrapping_add(1)
            && *record.shopper == **shopper
            && commit.events.iter().filter(|event| event.shopper == change.id).eq(recorded)
    }

    /// A shopper as the store has it.
    pub(crate) async fn load_one(&self, id: &ShopperId) -> Record {
        self.memory.load(std::slice::from_ref(id)).await.expect("the memory is there").remove(0)
    }

    /// Whose a device is.
    pub(crate) async fn owner(&self, device: &DeviceId) -> Option<ShopperId> {
        let owners = self.memory.owners(std::slice::from_ref(device)).await;
        owners.expect("the memory is there").remove(0)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
