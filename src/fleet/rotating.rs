//! Beacons that change what they say on the air, and who they are.

use std::{collections::BTreeMap, time::Duration};

use parvis_beacons::{
    Ephemeral,
    eid::{Exponent, IdentityKey, Registration, Resolver},
};
use parvis_engine::{beacons as parvis_beacons, id::BeaconId, registry::Rotation, time::Timestamp, world::World};

use crate::catalog::eid_keys::EidKeys;

/// Knows rotating beacons by what they say now.
pub(super) struct Rotating {
    lateness: Duration,
    resolver: Resolver<BeaconId>,
    /// What is known to the resolver, so that what it learned of clocks outlives changes of others.
    known: BTreeMap<BeaconId, ([u8; 16], Rotation)>,
}

impl std::fmt::Debug for Rotating {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.known.keys()).finish()
    }
}

impl Default for Rotating {
    fn default() -> Rotating {
        Rotating { lateness: Duration::ZERO, resolver: Resolver::new(Duration::ZERO), known: BTreeMap::new() }
    }
}

impl Rotating {
    /// Learns which beacons rotate, and how.
    pub(super) fn renew(&mut self, world: &World, keys: &EidKeys, now: Timestamp) {
        let lateness = world.settings.observations.lateness_max;
        if lateness != self.lateness {
            *self = Rotating { lateness, resolver: Resolver::new(lateness), known: BTreeMap::new() };
        }
        self.resolver.refresh(now.as_millis());
        let mut wanted = BTreeMap::new();
        for (id, key) in keys.iter() {
            if let Some(rotation) = world.registry.beacon(id).and_then(|beacon| beacon.spec.eid) {
                wanted.insert(id.clone(), (*key, rotation));
            }
        }
        for id in self.known.keys().filter(|id| !wanted.contains_key(*id)) {
            self.resolver.remove(id);
        }
        for (id, (key, rotation)) in &wanted {
            if self.known.get(id) == Some(&(*key, *rotation)) {
                continue;
            }
            if let Ok(exponent) = Exponent::try_from(rotation.exponent) {
                let identity_key = IdentityKey::new(*key);
                let began_at_ms = rotation.started_at.as_millis();
                self.resolver.insert(id.clone(), Registration { identity_key, exponent, began_at_ms });
            }
        }
        self.known = wanted;
    }

    /// Which beacon called itself so.
    pub(super) fn resolve(&mut self, eid: Ephemeral, at: Timestamp, now: Timestamp) -> Option<&BeaconId> {
        if self.known.is_empty() {
            return None;
        }
        self.resolver.refresh(now.as_millis());
        self.resolver.resolve(eid, at.as_millis())
    }
}
