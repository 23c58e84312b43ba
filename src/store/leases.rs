//! Who works on which outbox entry. Volatile on purpose: after a restart every entry is due again at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parvis_engine::{id::NotificationId, time::Timestamp};

use super::Queue;

/// Where an entry stands in the outbox: by queue, then by due time.
pub(super) type Place = (Queue, Timestamp, NotificationId);

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<NotificationId, Lease>,
    /// The leases that are not being settled, by their ends.
    ends: BTreeSet<(Queue, Timestamp, NotificationId)>,
    /// By queue: before this place nothing is free, so that a claim need not pass what is leased again and again.
    first_free: BTreeMap<Queue, Place>,
    given: u64,
}

#[derive(Debug)]
struct Lease {
    number: u64,
    until: Timestamp,
    place: Place,
    settling: bool,
}

impl Leases {
    /// Where a claim of a queue may begin.
    pub(super) fn first_free(&mut self, queue: Queue, now: Timestamp) -> Place {
        let least = NotificationId::from_u128(0);
        let from = (queue, Timestamp::MIN, least);
        let over: Vec<_> = self.ends.range(from..).take_while(|end| end.0 == queue && end.1 <= now).copied().collect();
        for end in over {
            self.ends.remove(&end);
            if let Some(place) = self.held.get(&end.2).map(|lease| lease.place) {
                self.freed(place);
            }
        }
        self.first_free.get(&queue).copied().unwrap_or(from)
    }

    /// A claim of the queue has found nothing free before this place.
    pub(super) fn passed(&mut self, place: Place) {
        self.first_free.insert(place.0, place);
    }

    /// An entry at this place is new or free again.
    pub(super) fn freed(&mut self, place: Place) {
        if let Some(first) = self.first_free.get_mut(&place.0) {
            *first = place.min(*first);
        }
    }

    /// Whether an entry can be claimed now.
    pub(super) fn is_free(&self, id: NotificationId, now: Timestamp) -> bool {
        self.held.get(&id).is_none_or(|lease| !lease.settling && lease.until <= now)
    }

    /// Leases an entry.
    pub(super) fn grant(&mut self, place: Place, now: Timestamp, span: Duration) -> u64 {
        self.given += 1;
        let lease = Lease { number: self.given, until: now.plus(span), place, settling: false };
        self.ends.insert(lease.end());
        if let Some(old) = self.held.insert(place.2, lease) {
            self.ends.remove(&old.end());
        }
        self.given
    }

    /// When the first lease of a queue ends.
    pub(super) fn next_end(&self, queue: Queue) -> Option<Timestamp> {
        let from = (queue, Timestamp::MIN, NotificationId::from_u128(0));
        self.ends.range(from..).next().filter(|end| end.0 == queue).map(|end| end.1)
    }

    /// Takes a lease for settling; none if it is not the caller's any more. Then [`Leases::end`] or
    /// [`Leases::keep`] must follow.
    pub(super) fn settle(&mut self, id: NotificationId, number: u64) -> Option<Place> {
        let lease = self.held.get_mut(&id).filter(|lease| lease.number == number && !lease.settling)?;
        lease.settling = true;
        self.ends.remove(&lease.end());
        Some(lease.place)
    }

    /// The settlement took effect, or the entry is gone.
    pub(super) fn end(&mut self, id: NotificationId) {
        if let Some(lease) = self.held.remove(&id) {
            self.ends.remove(&lease.end());
        }
    }

    /// The settlement did not take effect.
    pub(super) fn keep(&mut self, id: NotificationId) {
        if let Some(lease) = self.held.get_mut(&id) {
            lease.settling = false;
            self.ends.insert(lease.end());
        }
    }

    /// Forgets all of them, as a restart does.
    pub(super) fn clear(&mut self) {
        *self = Leases { given: self.given, ..Leases::default() };
    }
}

impl Lease {
    fn end(&self) -> (Queue, Timestamp, NotificationId) {
        (self.place.0, self.until, self.place.2)
    }
}
