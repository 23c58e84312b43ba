//! The volatile tracks of this node's own commits, in bounded memory. Valid only while the shopper has the version that
//! they were computed at; losing them costs sharpness, never a message.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parvis_engine::{id::ShopperId, per_device::PerDevice, shopper::Track};

/// How many shoppers' tracks are kept at most: twice this. A track takes about half a kilobyte.
const HALF: usize = 100_000;

/// The tracks.
#[derive(Debug)]
pub(super) struct Tracks {
    held: Mutex<Held>,
    half: usize,
}

/// When the young are many they become the old, and the old go: whoever is seen again in time stays.
#[derive(Debug, Default)]
struct Held {
    young: HashMap<ShopperId, (u64, PerDevice<Track>)>,
    old: HashMap<ShopperId, (u64, PerDevice<Track>)>,
}

impl Tracks {
    pub(super) fn new() -> Tracks {
        Tracks { held: Mutex::default(), half: HALF }
    }

    /// The tracks of a shopper who has this version.
    pub(super) fn of(&self, id: &ShopperId, version: u64) -> Option<PerDevice<Track>> {
        let held = self.held();
        let known = held.young.get(id).or_else(|| held.old.get(id));
        known.filter(|(known, _)| *known == version).map(|(_, tracks)| tracks.clone())
    }

    pub(super) fn keep(&self, id: ShopperId, version: u64, tracks: PerDevice<Track>) {
        if tracks.is_empty() {
            return self.forget(&id);
        }
        let mut held = self.held();
        held.young.insert(id, (version, tracks));
        if held.young.len() >= self.half {
            held.old = std::mem::take(&mut held.young);
        }
    }

    pub(super) fn forget(&self, id: &ShopperId) {
        let mut held = self.held();
        held.young.remove(id);
        held.old.remove(id);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_only_for_their_version() {
        let tracks = Tracks { half: 3, ..Tracks::new() };
        let id = |number: usize| -> ShopperId { format!("C-{number}").parse().expect("an id") };
        let one: PerDevice<Track> = [("phone".parse().expect("an id"), Track::default())].into_iter().collect();
        for number in 0..100 {
            tracks.keep(id(number), 7, one.clone());
            tracks.keep(id(0), 7, one.clone());
        }
        let held = (0..100).filter(|number| tracks.of(&id(*number), 7).is_some()).count();
        assert!((2..=6).contains(&held), "{held}");
        assert!(tracks.of(&id(0), 7).is_some() && tracks.of(&id(99), 7).is_some());
        assert_eq!(tracks.of(&id(99), 8), None);
        tracks.keep(id(99), 8, PerDevice::new());
        assert_eq!(tracks.of(&id(99), 7), None);
    }
}
