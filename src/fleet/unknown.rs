//! Beacons that are heard but not registered: those that are heard most, in bounded memory.
//!
//! Only what says that it is the retailer's comes here. Never people's own devices.

use std::collections::{BTreeMap, BTreeSet};

use parvis_beacons::{Identity, Namespace, Uuid};
use parvis_engine::{beacons as parvis_beacons, id::ScannerId, registry::Registry, time::Timestamp};
use serde::Serialize;

/// A beacon that is not registered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unknown {
    /// Who it says it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// How often it was heard; more than that at most by `overestimate`.
    pub count: u64,
    /// How much of the count may belong to others that are forgotten.
    pub overestimate: u64,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// Who heard it last.
    pub scanner: ScannerId,
}

/// The most heard of those that bear the retailer's names, after Metwally, Agrawal, El Abbadi: Efficient computation of frequent and top-k elements in data
/// streams (2005): when there is no room the least heard makes way, and who comes inherits its count.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    entries: BTreeMap<Identity, Unknown>,
    uuids: BTreeSet<Uuid>,
    namespaces: BTreeSet<Namespace>,
}

impl Strangers {
    /// Learns what the retailer's beacons are called, and forgets those that are no longer strangers.
    pub(super) fn renew(&mut self, registry: &Registry) {
        let known: BTreeSet<Identity> = registry.beacons().filter_map(|beacon| beacon.identity).collect();
        self.uuids = registry.beacon_regions().map(|region| region.spec.uuid).collect();
        self.namespaces = BTreeSet::new();
        for identity in &known {
            match identity {
                Identity::Ibeacon(ibeacon) => {
                    self.uuids.insert(ibeacon.uuid);
                }
                Identity::Eddystone { namespace, .. } => {
                    self.namespaces.insert(*namespace);
                }
                Identity::Ephemeral { .. } | Identity::Mac { .. } => {}
            }
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|identity, _| self.is_ours(identity) && !known.contains(identity));
        self.entries = entries;
    }

    /// Whether a stranger says that it is the retailer's.
    pub(super) fn is_ours(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Ibeacon(ibeacon) => self.uuids.contains(&ibeacon.uuid),
            Identity::Eddystone { namespace, .. } => self.namespaces.contains(namespace),
            Identity::Ephemeral { .. } | Identity::Mac { .. } => false,
        }
    }

    pub(super) fn add(&mut self, identity: Identity, scanner: &ScannerId, now: Timestamp, room: usize) {
        if room == 0 {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&identity) {
            entry.count += 1;
            entry.heard_at = now;
            entry.scanner.clone_from(scanner);
            return;
        }
        let mut inherited = 0;
        while self.entries.len() >= room {
            let Some((least, count)) =
                self.entries.iter().min_by_key(|(_, it)| (it.count, it.heard_at)).map(|(id, it)| (*id, it.count))
            else {
                break;
            };
            self.entries.remove(&least);
            inherited = count;
        }
        let count = inherited + 1;
        let unknown = Unknown { identity, count, overestimate: inherited, heard_at: now, scanner: scanner.clone() };
        self.entries.insert(identity, unknown);
    }

    /// Most heard first.
    pub(super) fn list(&self) -> Vec<Unknown> {
        let mut list: Vec<Unknown> = self.entries.values().cloned().collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then(a.identity.cmp(&b.identity)));
        list
    }
}

#[cfg(test)]
mod tests {
    use parvis_beacons::{Ibeacon, Uuid};
    use proptest::prelude::*;

    use super::*;

    fn identity(minor: u16) -> Identity {
        Identity::Ibeacon(Ibeacon { uuid: Uuid([7; 16]), major: 1, minor })
    }

    proptest! {
        #[test]
        fn who_is_heard_often_is_kept_and_the_table_is_bounded(noise in prop::collection::vec(2_u16..500, 0..300)) {
            let scanner: ScannerId = "s".parse().expect("an id");
            let mut table = Strangers::default();
            for minor in noise {
                for minor in [1, minor] {
                    table.add(identity(minor), &scanner, Timestamp::default(), 8);
                }
            }
            let list = table.list();
            prop_assert!(list.len() <= 8);
            prop_assert!(list.is_empty() || list[0].identity == identity(1) || list[0].overestimate > 0);
            prop_assert!(list.is_empty() || list.iter().any(|it| it.identity == identity(1)));
            prop_assert!(list.iter().all(|it| it.count > it.overestimate));
        }
    }
}
