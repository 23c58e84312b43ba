//! Faults on demand, so that what follows from them can be tested. It decides nothing about when they come.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use parvis_engine::id::ShopperId;

/// Makes the next calls fail. Clones share what was planned.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Planned>>);

/// What goes wrong in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `Unavailable`, and nothing took effect.
    Before,
    /// `Corrupt`, and nothing took effect.
    Corrupt,
    /// `Unavailable`, and all of it took effect.
    After,
    /// For a commit: all its shoppers are said to have changed.
    Conflict,
}

#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) commits: VecDeque<Fault>,
    pub(super) settlements: VecDeque<Fault>,
    pub(super) unreadable: BTreeSet<ShopperId>,
}

impl Faults {
    /// Plans the fate of a coming commit; those planned earlier come first.
    pub fn fail_commit(&self, fault: Fault) {
        self.planned().commits.push_back(fault);
    }

    /// Plans the fate of a coming settlement; those planned earlier come first. A conflict counts as `Before`.
    pub fn fail_settle(&self, fault: Fault) {
        self.planned().settlements.push_back(fault);
    }

    /// From now on, loading this shopper gives `Corrupt`.
    pub fn spoil(&self, shopper: ShopperId) {
        self.planned().unreadable.insert(shopper);
    }

    /// Forgets what was planned.
    pub fn clear(&self) {
        *self.planned() = Planned::default();
    }

    pub(super) fn planned(&self) -> MutexGuard<'_, Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
