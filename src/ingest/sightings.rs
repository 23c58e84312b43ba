//! What is settled of the beacons that devices say they hear before the engine is asked: who is behind an identity that
//! changes, and who is not to be believed. Beyond that, judges nothing.

use parvis_engine::{
    beacons::{Ephemeral, Identity},
    observation::{Heard, Observation, Sighting},
    time::Timestamp,
};

use super::{Batch, scanners::refused_as_cloned};
use crate::{catalog::Catalog, fleet::Fleet};

/// Names the beacons behind identities that change, and takes out what is said of copied beacons.
pub fn settle(batch: &mut Batch, catalog: &Catalog, fleet: &Fleet, now: Timestamp) {
    name_rotating(batch, catalog, fleet, now);
    refuse_cloned(batch, catalog, fleet, now);
}

/// Names the beacons that devices have heard under identities that change.
fn name_rotating(batch: &mut Batch, catalog: &Catalog, fleet: &Fleet, now: Timestamp) {
    let mut rotating: Vec<(&mut Heard, (Ephemeral, Timestamp))> = Vec::new();
    for report in &mut batch.reports {
        if let Observation::Sighting(Sighting { at, heard, .. }) = &mut report.observation
            && let Heard::Identity(Identity::Ephemeral { eid }) = *heard
        {
            rotating.push((heard, (eid, *at)));
        }
    }
    if rotating.is_empty() {
        return;
    }
    fleet.renew(&catalog.world(), &catalog.eid_keys(), now);
    let asked: Vec<(Ephemeral, Timestamp)> = rotating.iter().map(|(_, asked)| *asked).collect();
    for ((heard, _), beacon) in rotating.into_iter().zip(fleet.resolve(&asked, now)) {
        if let Some(beacon) = beacon {
            *heard = Heard::Beacon { beacon };
        }
    }
}

/// Takes out of a batch what devices say of beacons that are heard in two places at once.
fn refuse_cloned(batch: &mut Batch, catalog: &Catalog, fleet: &Fleet, now: Timestamp) {
    if !fleet.has_cloned() {
        return;
    }
    let world = catalog.world();
    let Batch { reports, rejected, .. } = batch;
    reports.retain(|report| {
        let Observation::Sighting(sighting) = &report.observation else { return true };
        let beacon = world.registry.heard(&sighting.heard).map(|beacon| &beacon.spec.id);
        match beacon.filter(|beacon| fleet.is_cloned(beacon, now)) {
            Some(beacon) => {
                rejected.push((report.index, refused_as_cloned(beacon.as_str())));
                false
            }
            None => true,
        }
    });
}
