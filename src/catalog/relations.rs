//! What must hold between objects that name each other: who speaks for a zone belongs to its store, and zones are no
//! parts of themselves.
//!
//! Names that lead nowhere are told by [`Objects::unknown_names`] and passed over here.

use std::collections::BTreeSet;

use parvis_engine::{
    id::{RegionId, StoreId},
    problem::Problem,
};

use super::{
    Kind,
    objects::{Compiled, Entry, Objects},
};

/// What does not fit between an object and what it names.
pub(super) fn problems(objects: &Objects, entry: &Entry) -> Vec<Problem> {
    let Some((pointer, zone)) = entry.compiled.zone() else { return Vec::new() };
    let elsewhere = objects.zone(zone.as_str()).and_then(|known| foreign(&known.spec.store, &entry.compiled));
    let mut problems: Vec<Problem> = Vec::new();
    if let Some((theirs, own)) = elsewhere {
        let message = format!("zone {:?} belongs to store {:?}, this to {own}", zone.as_str(), theirs.as_str());
        problems.push(Problem::new(pointer, message));
    }
    if let Compiled::Zone(part) = &entry.compiled {
        problems.extend(cycle(objects, &part.spec.id, zone));
    }
    problems
}

/// Who would no longer fit to a zone that has come to another store.
pub(super) fn left_behind(objects: &Objects, id: &str, entry: &Entry) -> Vec<Problem> {
    let (Compiled::Zone(_), Some(store)) = (&entry.compiled, entry.compiled.store()) else { return Vec::new() };
    let mut problems = Vec::new();
    for kind in [Kind::Beacon, Kind::Scanner, Kind::Zone] {
        for (other, entry) in objects.of(kind).iter() {
            let names_it = entry.compiled.zone().is_some_and(|(_, zone)| zone.as_str() == id);
            if let Some((_, own)) = foreign(store, &entry.compiled).filter(|_| names_it) {
                problems.push(Problem::new("/store", format!("{kind} {other:?} names this zone and belongs to {own}")));
            }
        }
    }
    problems
}

/// The store of a zone and, in words, the other one of what names it, if they differ.
fn foreign<'a>(store: &'a StoreId, compiled: &Compiled) -> Option<(&'a StoreId, String)> {
    match compiled.store() {
        Some(own) if own == store => None,
        Some(own) => Some((store, format!("store {:?}", own.as_str()))),
        None => Some((store, "none".to_owned())),
    }
}

fn cycle(objects: &Objects, id: &RegionId, group: &RegionId) -> Option<Problem> {
    let mut way = vec![group];
    let mut met = BTreeSet::from([group]);
    while let Some(next) = way.last().and_then(|last| objects.zone(last.as_str())?.spec.group.as_ref()) {
        if next == id {
            let through: Vec<String> = way.iter().map(|zone| format!("{:?}", zone.as_str())).collect();
            let message = format!("zone {:?} would be a part of itself, through {}", id.as_str(), through.join(", "));
            return Some(Problem::new("/group", message));
        }
        if !met.insert(next) {
            return None;
        }
        way.push(next);
    }
    None
}
