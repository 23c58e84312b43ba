//! What comes out at the other end: messages that a provider takes, events that a subscriber hears. Each is matched with
//! the newest ping of its phone that was sent before it came.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hdrhistogram::Histogram;

use super::histogram;

/// No ping of the phone was sent yet.
const NONE: u64 = u64::MAX;

/// When each phone's newest ping was due, and the waits of what came of them. Shared by whoever sends and whoever takes.
pub(crate) struct Arrivals {
    due_us: Vec<AtomicU64>,
    taken: Mutex<Taken>,
}

/// What arrived.
pub(crate) struct Taken {
    /// From the due time of the ping to the arrival, microseconds.
    pub(crate) waits: Histogram<u64>,
    /// All that arrived, also what names no phone that sent anything.
    pub(crate) count: u64,
    /// Those that name no phone of the city, or one that sent nothing.
    pub(crate) unknown: u64,
}

impl Arrivals {
    pub(crate) fn new(phones: usize) -> Arrivals {
        let due_us = (0..phones).map(|_| AtomicU64::new(NONE)).collect();
        Arrivals { due_us, taken: Mutex::new(Taken::new()) }
    }

    /// A ping of the phone goes out that was due then.
    pub(crate) fn sending(&self, phone: u32, due_us: u64) {
        if let Some(slot) = self.due_us.get(phone as usize) {
            slot.store(due_us, Ordering::Relaxed);
        }
    }

    /// When the newest ping of the phone that was sent so far was due.
    pub(crate) fn cause(&self, phone: u32) -> Option<u64> {
        let due_us = self.due_us.get(phone as usize)?.load(Ordering::Relaxed);
        (due_us != NONE).then_some(due_us)
    }

    /// Something arrived that was caused by a ping that was due then.
    pub(crate) fn arrived(&self, cause: Option<u64>, at_us: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.count += 1;
        match cause {
            Some(due_us) => taken.waits.saturating_record(at_us.saturating_sub(due_us)),
            None => taken.unknown += 1,
        }
    }

    /// How many arrived since the last [`Arrivals::take`].
    pub(crate) fn count(&self) -> u64 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// What arrived; counting begins anew.
    pub(crate) fn take(&self) -> Taken {
        std::mem::replace(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner), Taken::new())
    }
}

impl Taken {
    fn new() -> Taken {
        Taken { waits: histogram(), count: 0, unknown: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_timed_from_the_newest_ping_of_its_phone() {
        let arrivals = Arrivals::new(2);
        arrivals.sending(1, 1_000);
        arrivals.sending(1, 5_000);
        arrivals.arrived(arrivals.cause(1), 7_000);
        arrivals.arrived(arrivals.cause(0), 7_000);
        arrivals.arrived(arrivals.cause(9), 7_000);
        let taken = arrivals.take();
        assert_eq!((taken.count, taken.unknown, taken.waits.max()), (3, 2, 2_000));
        assert_eq!(arrivals.count(), 0);
    }
}
