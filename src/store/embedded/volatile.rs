//! What the embedded store keeps in memory, and the only place where a group that became durable changes it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parvis_engine::{
    id::{NotificationId, ShopperId},
    per_device::PerDevice,
    shopper::Track,
};
use tokio::sync::watch;

use crate::store::{
    Queue,
    leases::{Leases, Place},
    state::{Origin, Put, State},
};

/// The memory.
#[derive(Debug)]
pub(super) struct Volatile {
    pub(super) state: State,
    pub(super) leases: Mutex<Leases>,
    pub(super) grew: watch::Sender<u64>,
    /// Of the catalog.
    pub(super) generation: watch::Sender<u64>,
    /// How many entries wait in each queue that is not empty.
    waiting: Mutex<BTreeMap<Queue, u64>>,
    answers: Mutex<HashMap<u64, (i64, u64)>>,
    erased: RwLock<BTreeMap<u64, u64>>,
    /// The newest number whose effects on shoppers are here. The file may be one transaction ahead.
    known: AtomicU64,
}

/// What becomes of the memory once a group is durable.
#[derive(Debug)]
pub(super) enum Effect {
    Tracks {
        id: ShopperId,
        version: u64,
        tracks: PerDevice<Track>,
    },
    Put(Put),
    Remove(ShopperId),
    Moved(ShopperId, Origin),
    /// So many entries more, or fewer.
    Waiting(Queue, i64),
    Released(NotificationId),
    /// Everything about shoppers up to this number is here. Before `Grew`, so that whoever is woken finds them.
    Known(u64),
    /// Entries were added; the first of each queue.
    Grew(BTreeMap<Queue, Place>),
    Kept {
        hash: u64,
        place: (i64, u64),
    },
    Forgotten {
        hash: u64,
    },
    /// The catalog has this generation.
    Catalog(u64),
    Erased {
        mark: u64,
        sequence: u64,
    },
    Scrubbed {
        mark: u64,
        sequence: u64,
    },
    LogGrew(u64),
    LogShrank(u64),
    TailGrew(u64),
    TailShrank(u64),
}

/// Bytes of frames in the log, and those of them that count; entries of the index's tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) total: u64,
    pub(super) live: u64,
    pub(super) tail: u64,
}

impl Volatile {
    pub(super) fn new() -> Volatile {
        Volatile {
            state: State::new(),
            leases: Mutex::default(),
            grew: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            waiting: Mutex::default(),
            answers: Mutex::default(),
            erased: RwLock::default(),
            known: AtomicU64::new(0),
        }
    }

    /// Takes in what became durable.
    pub(super) fn apply(&self, effects: Vec<Effect>, extent: &mut Extent) {
        for effect in effects {
            self.apply_one(effect, extent);
        }
    }

    /// Gives back what a group that failed had taken.
    pub(super) fn undo(&self, effects: &[Effect]) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        for effect in effects {
            if let Effect::Released(id) = effect {
                leases.keep(*id);
            }
        }
    }

    /// How many entries wait in each queue that is not empty.
    pub(super) fn waiting(&self) -> BTreeMap<Queue, u64> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn answer_place(&self, hash: u64) -> Option<(i64, u64)> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).copied()
    }

    /// Whether the shoppers are here as they were when a row with this number was written, or newer.
    pub(super) fn knows(&self, sequence: u64) -> bool {
        sequence <= self.known.load(Ordering::Acquire)
    }

    /// The sequence before which rows with this mark are void; 0 if none are.
    pub(super) fn erased_before(&self, mark: u64) -> u64 {
        self.erased.read().unwrap_or_else(PoisonError::into_inner).get(&mark).copied().unwrap_or(0)
    }

    /// Every erasure whose rows are not yet all removed: mark and sequence.
    pub(super) fn erasures(&self) -> BTreeMap<u64, u64> {
        self.erased.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn apply_one(&self, effect: Effect, extent: &mut Extent) {
        match effect {
            Effect::Tracks { id, version, tracks } => self.state.set_tracks(&id, version, tracks),
            Effect::Put(put) => {
                extent.live += put.origin.len;
                extent.live -= self.state.put(put).len;
            }
            Effect::Remove(id) => extent.live -= self.state.remove(&id).len,
            Effect::Moved(id, origin) => self.state.moved(&id, origin),
            Effect::Waiting(queue, delta) => {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.remove(&queue).unwrap_or(0).saturating_add_signed(delta);
                if count > 0 {
                    waiting.insert(queue, count);
                }
            }
            Effect::Released(id) => self.leases.lock().unwrap_or_else(PoisonError::into_inner).end(id),
            Effect::Known(sequence) => self.known.store(sequence, Ordering::Release),
            Effect::Grew(places) => {
                let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
                places.into_values().for_each(|place| leases.freed(place));
                drop(leases);
                self.grew.send_modify(|count| *count += 1);
            }
            Effect::Kept { hash, place } => {
                self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, place);
            }
            Effect::Forgotten { hash } => {
                self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
            }
            Effect::Catalog(generation) => drop(self.generation.send_replace(generation)),
            Effect::Erased { mark, sequence } => {
                self.erased.write().unwrap_or_else(PoisonError::into_inner).insert(mark, sequence);
            }
            Effect::Scrubbed { mark, sequence } => {
                let mut erased = self.erased.write().unwrap_or_else(PoisonError::into_inner);
                if erased.get(&mark) == Some(&sequence) {
                    erased.remove(&mark);
                }
            }
            Effect::LogGrew(bytes) => extent.total += bytes,
            Effect::LogShrank(bytes) => extent.total -= bytes,
            Effect::TailGrew(entries) => extent.tail += entries,
            Effect::TailShrank(entries) => extent.tail -= entries,
        }
    }
}
