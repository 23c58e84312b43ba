//! What only one object may have: a region's id, what a beacon says on the air, a code that hangs somewhere.
//!
//! Must not know who put an object or why.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parvis_engine::beacons::Identity;
use parvis_engine::problem::Problem;

use super::{
    Kind,
    objects::{Compiled, Entry, Objects},
};

/// Who says what on the air, and which codes hang where.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(BTreeMap<Claim, BTreeSet<Arc<str>>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Air(Identity),
    Code(String),
}

impl Claims {
    /// Those of all beacons and zones.
    pub(super) fn of(objects: &Objects) -> Claims {
        let mut claims = Claims::default();
        for kind in [Kind::Beacon, Kind::Zone] {
            objects.of(kind).iter().for_each(|(id, entry)| claims.insert(id, entry));
        }
        claims
    }

    /// An object comes.
    pub(super) fn insert(&mut self, id: &Arc<str>, entry: &Entry) {
        for (_, claim) in claims(entry) {
            self.0.entry(claim).or_default().insert(id.clone());
        }
    }

    /// An object goes.
    pub(super) fn remove(&mut self, id: &Arc<str>, entry: &Entry) {
        for (_, claim) in claims(entry) {
            let Some(holders) = self.0.get_mut(&claim) else { continue };
            holders.remove(id);
            if holders.is_empty() {
                self.0.remove(&claim);
            }
        }
    }

    /// What an object has that another one has too.
    pub(super) fn problems(&self, id: &str, entry: &Entry) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (pointer, claim) in claims(entry) {
            let other = self.0.get(&claim).and_then(|holders| holders.iter().find(|holder| ***holder != *id));
            if let Some(other) = other {
                let message = match &claim {
                    Claim::Air(identity) => format!("beacon {other:?} says {identity} already"),
                    Claim::Code(code) => format!("the code {code:?} hangs in zone {other:?} already"),
                };
                problems.push(Problem::new(pointer, message));
            }
        }
        problems
    }
}

/// Whether a region's id is that of a region of another kind.
pub(super) fn region_problem(objects: &Objects, kind: Kind, id: &str) -> Option<Problem> {
    if !Kind::REGIONS.contains(&kind) {
        return None;
    }
    let others = Kind::REGIONS.into_iter().filter(|other| *other != kind);
    let other = others.into_iter().find(|other| objects.of(*other).contains_key(id))?;
    let message = format!("there is a {other} {id:?} already; geofences, zones and beacon regions share their names");
    Some(Problem::new("/id", message))
}

/// Objects of files, and those of the API that take nothing from them.
#[must_use]
pub(super) fn over(files: &Objects, api: &Objects) -> Objects {
    let mut all = files.clone();
    let claims = Claims::of(files);
    for kind in Kind::ALL {
        if api.of(kind).is_empty() {
            continue;
        }
        let hidden = |id: &str, entry: &Entry| {
            files.of(kind).contains_key(id)
                || region_problem(files, kind, id).is_some()
                || !claims.problems(id, entry).is_empty()
        };
        let shown = api.of(kind).iter().filter(|(id, entry)| !hidden(id, entry));
        all.of_mut(kind).extend(shown.map(|(id, entry)| (id.clone(), entry.clone())));
    }
    all
}

fn claims(entry: &Entry) -> Vec<(String, Claim)> {
    match &entry.compiled {
        Compiled::Beacon(beacon) => {
            let pointer = match &beacon.identity {
                Some(Identity::Ibeacon(_)) => "/uuid",
                Some(Identity::Eddystone { .. }) => "/namespace",
                Some(Identity::Mac { .. }) => "/mac",
                Some(Identity::Ephemeral { .. }) | None => "",
            };
            beacon.identity.into_iter().map(|identity| (pointer.to_owned(), Claim::Air(identity))).collect()
        }
        Compiled::Zone(zone) => {
            let codes = zone.spec.codes.iter().enumerate();
            codes.map(|(at, code)| (format!("/codes/{at}"), Claim::Code(code.clone()))).collect()
        }
        Compiled::Geofence(_)
        | Compiled::Store(_)
        | Compiled::Campaign(_)
        | Compiled::Scanner(_)
        | Compiled::BeaconRegion(_) => Vec::new(),
    }
}
