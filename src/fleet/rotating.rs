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
    /// The latest time that was told: a report that waited does not take it back.
    now: Timestamp,
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
        Rotating::new(Timestamp::default(), Duration::ZERO)
    }
}

impl Rotating {
    fn new(now: Timestamp, lateness: Duration) -> Rotating {
        Rotating { now, lateness, resolver: Resolver::new(lateness), known: BTreeMap::new() }
    }

    /// Learns what time it is, also if the clock was set back; then everything is computed anew.
    pub(super) fn keep_time(&mut self, now: Timestamp) {
        self.now = now;
        self.resolver.refresh(now.as_millis());
    }

    /// Learns which beacons rotate, and how.
    pub(super) fn renew(&mut self, world: &World, keys: &EidKeys, now: Timestamp) {
        let lateness = world.settings.observations.lateness_max;
        if lateness != self.lateness {
            *self = Rotating::new(self.now, lateness);
        }
        self.keep_time(self.now.max(now));
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
        self.keep_time(self.now.max(now));
        self.resolver.resolve(eid, at.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use parvis_beacons::eid::ephemeral;
    use parvis_engine::registry::{Parts, Registry};

    use super::*;

    #[test]
    fn a_report_that_waited_does_not_set_the_clock_back() {
        let began_at = Timestamp::from_millis(1_700_000_000_000);
        let cart = serde_json::json!({"id": "cart", "role": "tag", "eid": {"exponent": 4, "started_at": began_at}});
        let cart = parvis_engine::registry::Beacon::compile(serde_json::from_value(cart).expect("well formed"));
        let parts = Parts { beacons: vec![std::sync::Arc::new(cart.expect("sound"))], ..Parts::default() };
        let world = World::default().with_registry(Registry::new(parts));
        let keys = EidKeys::from_iter([("cart".parse().expect("an id"), [7; 16])]);
        let mut rotating = Rotating::default();
        let at = |second| began_at.plus(Duration::from_secs(second));
        rotating.renew(&world, &keys, at(3_600));
        let exponent = Exponent::try_from(4).expect("in range");
        let said = ephemeral(&IdentityKey::new([7; 16]), exponent, 3_600);
        assert!(rotating.resolve(said, at(3_600), at(3_600)).is_some());
        assert!(rotating.resolve(said, at(3_600), at(3_540)).is_some(), "nothing is computed anew");
        rotating.keep_time(at(3_540));
        assert!(rotating.resolve(said, at(3_600), at(3_540)).is_none(), "a clock that was set back is believed");
    }
}
