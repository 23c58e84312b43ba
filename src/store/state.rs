//! The shoppers in memory, with what can be derived from them: directories and wake times. Shared by the engines that
//! are their shoppers' only writer. It does no I/O and decides nothing about durability.
//!
//! There may be millions of shoppers, so each byte here counts.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parvis_engine::{
    id::{DeviceId, OrderId, ShopperId, stable_hash},
    per_device::PerDevice,
    shopper::{Shopper, Track},
    time::Timestamp,
};
use tokio::sync::watch;

use super::{Change, Durable, Record};

/// So that shards rarely wait for one another; a power of two well above the number of cores.
const SHARDS: usize = 64;

/// Everything about shoppers that is answered without I/O.
#[derive(Debug)]
pub(super) struct State {
    /// In boxes, because a third to a half of the places in a table are empty.
    shards: Vec<RwLock<HashMap<ShopperId, Box<Held>>>>,
    devices: Vec<RwLock<HashMap<DeviceId, ShopperId>>>,
    orders: RwLock<HashMap<OrderId, ShopperId>>,
    wakes: Mutex<BTreeSet<(Timestamp, ShopperId)>>,
    wakes_changed: watch::Sender<u64>,
    shoppers: AtomicU64,
}

#[derive(Debug)]
struct Held {
    version: u64,
    shopper: Arc<Shopper>,
    tracks: PerDevice<Track>,
    wake: Option<Timestamp>,
    origin: Origin,
}

/// Where a shopper's newest record lies in the log; all zero where there is no log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The row.
    pub(super) row: u64,
    /// The record's bytes.
    pub(super) len: u64,
}

/// A durable shopper to be put in place.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) version: u64,
    pub(super) shopper: Arc<Shopper>,
    pub(super) tracks: PerDevice<Track>,
    pub(super) wake: Option<Timestamp>,
    pub(super) origin: Origin,
}

/// What is to be said of changes before they are made.
#[derive(Debug)]
pub(super) struct Judged {
    /// Who was decided from something old, sorted.
    pub(super) conflicts: Vec<ShopperId>,
    /// Devices that come to one of the others.
    pub(super) taken: Vec<(DeviceId, ShopperId)>,
}

/// What changes that are being made durable say, and memory does not yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Versions of shoppers; 0 for those that are erased.
    pub(super) versions: HashMap<ShopperId, u64>,
    /// New owners of devices.
    pub(super) owners: HashMap<DeviceId, ShopperId>,
}

impl State {
    pub(super) fn new() -> State {
        State {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            devices: (0..SHARDS).map(|_| RwLock::default()).collect(),
            orders: RwLock::default(),
            wakes: Mutex::default(),
            wakes_changed: watch::Sender::new(0),
            shoppers: AtomicU64::new(0),
        }
    }

    pub(super) fn load(&self, id: &ShopperId) -> Record {
        let shard = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
        match shard.get(id) {
            Some(held) => Record { version: held.version, shopper: held.shopper.clone(), tracks: held.tracks.clone() },
            None => Record { version: 0, shopper: Arc::new(Shopper::new(id.clone())), tracks: PerDevice::new() },
        }
    }

    pub(super) fn version(&self, id: &ShopperId) -> u64 {
        let shard = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(id).map_or(0, |held| held.version)
    }

    /// Whose record in this row it is, if it is still somebody's newest.
    pub(super) fn whose(&self, id: &str, version: u64, row: u64) -> Option<ShopperId> {
        let shard = self.shard_of(stable_hash(&[id])).read().unwrap_or_else(PoisonError::into_inner);
        let (id, held) = shard.get_key_value(id)?;
        (held.origin.row == row && held.version == version).then(|| id.clone())
    }

    /// The shoppers among these that were decided without knowing of something newer.
    pub(super) fn conflicts<'c>(
        &self,
        changes: impl Iterator<Item = &'c Change> + Clone,
        bonds: &[Vec<ShopperId>],
        pending: &Pending,
    ) -> Vec<ShopperId> {
        self.judge(changes, bonds, pending).conflicts
    }

    /// Who was decided without knowing of something newer: a change of their own, be it in the same commit, or that
    /// another shopper has a device that they take and is not bound to give it away. And those who are bound to one of
    /// them.
    pub(super) fn judge<'c>(
        &self,
        changes: impl Iterator<Item = &'c Change> + Clone,
        bonds: &[Vec<ShopperId>],
        pending: &Pending,
    ) -> Judged {
        let is_free = |device: &DeviceId, taker: &ShopperId| {
            let owner = pending.owners.get(device).cloned().or_else(|| self.owner(device));
            let gives = |owner: &ShopperId| {
                let bound = bonds.iter().any(|bond| bond.contains(taker) && bond.contains(owner));
                bound && changes.clone().any(|it| it.id == *owner && !keeps(it, device))
            };
            owner.is_none_or(|owner| owner == *taker || gives(&owner))
        };
        // Shards hand in their shoppers in order, and then nobody can be among them twice.
        let in_order = changes.clone().is_sorted_by(|one, next| one.id < next.id);
        let (mut seen, mut taken, mut conflicts) = (HashSet::new(), Vec::new(), Vec::new());
        for change in changes.clone() {
            let is_repeated = !in_order && !seen.insert(&change.id);
            let (known, takes) = self.known(change);
            let is_current = pending.versions.get(&change.id).copied().unwrap_or(known) == change.version;
            if is_repeated || !is_current || !takes.iter().all(|device| is_free(device, &change.id)) {
                conflicts.push(change.id.clone());
            } else {
                taken.extend(takes.into_iter().map(|device| (device.clone(), change.id.clone())));
            }
        }
        for bond in bonds {
            if bond.iter().any(|id| conflicts.contains(id)) {
                conflicts.extend_from_slice(bond);
            }
        }
        conflicts.sort_unstable();
        conflicts.dedup();
        taken.retain(|(_, id)| conflicts.binary_search(id).is_err());
        Judged { conflicts, taken }
    }

    /// Replaces the tracks, unless the shopper has changed meanwhile: then newer ones are there.
    pub(super) fn set_tracks(&self, id: &ShopperId, version: u64, tracks: PerDevice<Track>) {
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(id) {
            Some(held) if held.version == version => held.tracks = tracks,
            Some(_) => {}
            None if version == 0 && !tracks.is_empty() => {
                let shopper = Arc::new(Shopper::new(id.clone()));
                let held = Held { version, shopper, tracks, wake: None, origin: Origin::default() };
                shard.insert(id.clone(), Box::new(held));
            }
            None => {}
        }
    }

    /// Puts a shopper in place and gives back where the record lay that is now worthless.
    pub(super) fn put(&self, put: Put) -> Origin {
        let Put { version, shopper, tracks, wake, origin } = put;
        let held = Held { version, shopper: shopper.clone(), tracks, wake, origin };
        let mut shard = self.shard(&shopper.id).write().unwrap_or_else(PoisonError::into_inner);
        let old = match shard.get_mut(&shopper.id) {
            Some(known) => Some(std::mem::replace(&mut **known, held)),
            None => {
                shard.insert(shopper.id.clone(), Box::new(held));
                None
            }
        };
        drop(shard);
        if old.as_ref().is_none_or(|old| old.version == 0) {
            self.shoppers.fetch_add(1, Ordering::Relaxed);
        }
        let before = old.as_ref().map(|old| &*old.shopper);
        self.index(&shopper.id, before, Some(&shopper));
        self.set_wake(&shopper.id, old.as_ref().and_then(|old| old.wake), wake);
        old.map_or(Origin::default(), |old| old.origin)
    }

    /// Removes a shopper and gives back where the record lay that is now worthless.
    pub(super) fn remove(&self, id: &ShopperId) -> Origin {
        let old = self.shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(id);
        let Some(old) = old else { return Origin::default() };
        if old.version > 0 {
            self.shoppers.fetch_sub(1, Ordering::Relaxed);
        }
        self.index(id, Some(&old.shopper), None);
        self.set_wake(id, old.wake, None);
        old.origin
    }

    /// The record was copied to another row.
    pub(super) fn moved(&self, id: &ShopperId, origin: Origin) {
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = shard.get_mut(id) {
            held.origin = origin;
        }
    }

    pub(super) fn owner(&self, device: &DeviceId) -> Option<ShopperId> {
        self.devices_like(device).read().unwrap_or_else(PoisonError::into_inner).get(device).cloned()
    }

    pub(super) fn order_owner(&self, order: &OrderId) -> Option<ShopperId> {
        self.orders.read().unwrap_or_else(PoisonError::into_inner).get(order).cloned()
    }

    pub(super) fn due_wakes(&self, now: Timestamp, limit: usize) -> (Vec<ShopperId>, Option<Timestamp>) {
        let wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<_> = wakes.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, id)| id.clone()).collect();
        let next = wakes.iter().nth(due.len()).map(|(at, _)| *at);
        (due, next)
    }

    pub(super) fn wakes_changed(&self) -> &watch::Sender<u64> {
        &self.wakes_changed
    }

    pub(super) fn shoppers(&self) -> u64 {
        self.shoppers.load(Ordering::Relaxed)
    }

    /// Every durable shopper with version and wake time, by id.
    pub(super) fn all(&self) -> Vec<(u64, Option<Timestamp>, Arc<Shopper>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let durable = shard.values().filter(|held| held.version > 0);
            all.extend(durable.map(|held| (held.version, held.wake, held.shopper.clone())));
        }
        all.sort_unstable_by(|left, right| left.2.id.cmp(&right.2.id));
        all
    }

    /// Loses what a crash would lose.
    pub(super) fn forget_tracks(&self) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, held| held.version > 0);
            shard.values_mut().for_each(|held| held.tracks.clear());
        }
    }

    /// The version in memory, and the devices that a change gives to a shopper who does not have them there.
    fn known<'c>(&self, change: &'c Change) -> (u64, Vec<&'c DeviceId>) {
        let shard = self.shard(&change.id).read().unwrap_or_else(PoisonError::into_inner);
        let known = shard.get(&change.id);
        let version = known.map_or(0, |held| held.version);
        let Durable::Replaced { shopper, .. } = &change.state else { return (version, Vec::new()) };
        let has = |device: &DeviceId| known.is_some_and(|held| held.shopper.devices.contains_key(device));
        (version, shopper.devices.keys().filter(|device| !has(device)).collect())
    }

    fn shard(&self, id: &ShopperId) -> &RwLock<HashMap<ShopperId, Box<Held>>> {
        self.shard_of(id.stable_hash())
    }

    fn shard_of(&self, hash: u64) -> &RwLock<HashMap<ShopperId, Box<Held>>> {
        &self.shards[hash as usize % SHARDS]
    }

    fn devices_like(&self, device: &DeviceId) -> &RwLock<HashMap<DeviceId, ShopperId>> {
        &self.devices[stable_hash(&[device.as_str()]) as usize % SHARDS]
    }

    fn index(&self, id: &ShopperId, before: Option<&Shopper>, after: Option<&Shopper>) {
        let lacks = |shopper: Option<&Shopper>, device: &DeviceId| {
            shopper.is_none_or(|shopper| !shopper.devices.contains_key(device))
        };
        // A device passes from shopper to shopper, and the store sees to it that only one has it.
        for device in before.into_iter().flat_map(|it| it.devices.keys()).filter(|it| lacks(after, it)) {
            leave(self.devices_like(device), device, id);
        }
        for device in after.into_iter().flat_map(|it| it.devices.keys()).filter(|it| lacks(before, it)) {
            enter(self.devices_like(device), device, id, |_| true);
        }
        let lacks = |shopper: Option<&Shopper>, order: &OrderId| {
            shopper.is_none_or(|shopper| !shopper.orders.contains_key(order))
        };
        // An order that two shoppers have leads to the same one whoever was first, and after a restart.
        for order in before.into_iter().flat_map(|it| it.orders.keys()).filter(|it| lacks(after, it)) {
            leave(&self.orders, order, id);
        }
        for order in after.into_iter().flat_map(|it| it.orders.keys()).filter(|it| lacks(before, it)) {
            enter(&self.orders, order, id, |owner| id < owner);
        }
    }

    fn set_wake(&self, id: &ShopperId, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = before {
            wakes.remove(&(at, id.clone()));
        }
        if let Some(at) = after {
            wakes.insert((at, id.clone()));
            drop(wakes);
            self.wakes_changed.send_modify(|count| *count += 1);
        }
    }
}

fn keeps(change: &Change, device: &DeviceId) -> bool {
    match &change.state {
        Durable::Unchanged => true,
        Durable::Replaced { shopper, .. } => shopper.devices.contains_key(device),
        Durable::Erased => false,
    }
}

/// Takes an entry out of a directory, unless it has passed to another shopper in the same commit.
fn leave<K: Hash + Eq>(directory: &RwLock<HashMap<K, ShopperId>>, key: &K, id: &ShopperId) {
    let mut directory = directory.write().unwrap_or_else(PoisonError::into_inner);
    if directory.get(key) == Some(id) {
        directory.remove(key);
    }
}

fn enter<K: Clone + Hash + Eq>(
    directory: &RwLock<HashMap<K, ShopperId>>,
    key: &K,
    id: &ShopperId,
    displaces: impl Fn(&ShopperId) -> bool,
) {
    let mut directory = directory.write().unwrap_or_else(PoisonError::into_inner);
    if directory.get(key).is_none_or(displaces) {
        directory.insert(key.clone(), id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the shopper itself, whose size the engine watches.
    #[test]
    fn a_shopper_who_is_held_costs_little_memory() {
        assert!(size_of::<Held>() <= 64);
        assert!(size_of::<(DeviceId, ShopperId)>() <= 16 && size_of::<(ShopperId, Box<Held>)>() <= 16);
    }
}
