//! Who works on which outbox entry. Volatile on purpose: after a restart every entry is due again at once.

use std::{collections::BTreeMap, time::Duration};

use parvis_engine::{id::NotificationId, notification::Channel, time::Timestamp};

/// Where an entry stands in the outbox: by channel, then by due time.
pub(super) type Place = (Channel, Timestamp, NotificationId);

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<NotificationId, Lease>,
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
    /// Whether an entry can be claimed now.
    pub(super) fn is_free(&self, id: NotificationId, now: Timestamp) -> bool {
        self.held.get(&id).is_none_or(|lease| !lease.settling && lease.until <= now)
    }

    /// Leases an entry.
    pub(super) fn grant(&mut self, place: Place, now: Timestamp, span: Duration) -> u64 {
        self.given += 1;
        let lease = Lease { number: self.given, until: now.plus(span), place, settling: false };
        self.held.insert(place.2, lease);
        self.given
    }

    /// When the first lease of a channel ends.
    pub(super) fn next_end(&self, channel: Channel) -> Option<Timestamp> {
        let running = self.held.values().filter(|lease| lease.place.0 == channel && !lease.settling);
        running.map(|lease| lease.until).min()
    }

    /// Takes a lease for settling; none if it is not the caller's any more. Then [`Leases::end`] or
    /// [`Leases::keep`] must follow.
    pub(super) fn settle(&mut self, id: NotificationId, number: u64) -> Option<Place> {
        let lease = self.held.get_mut(&id).filter(|lease| lease.number == number && !lease.settling)?;
        lease.settling = true;
        Some(lease.place)
    }

    /// The settlement took effect, or the entry is gone.
    pub(super) fn end(&mut self, id: NotificationId) {
        self.held.remove(&id);
    }

    /// The settlement did not take effect.
    pub(super) fn keep(&mut self, id: NotificationId) {
        if let Some(lease) = self.held.get_mut(&id) {
            lease.settling = false;
        }
    }

    /// Forgets all of them, as a restart does.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}
