//! What becomes of messages in memory: enqueued, claimed, settled, given up, forgotten.

use std::{collections::BTreeSet, time::Duration};

use parvis_engine::{
    id::{NotificationId, ShopperId},
    notification::Notification,
    time::Timestamp,
};

use super::Rest;
use crate::store::{Claim, DeadQuery, End, Entry, Life, Queue, Settlement, life::Progress, sums::Left};

impl Rest {
    /// False if the message is known.
    pub(super) fn enqueue(&mut self, message: Notification) -> bool {
        if self.messages.contains_key(&message.id) {
            return false;
        }
        let place = (Queue::of(&message), message.not_before, message.id);
        self.outbox.insert(place, 0);
        self.tally.entered(message.channel, 1);
        self.leases.freed(place);
        let progress = Progress::begin(&message);
        self.messages.insert(message.id, (message, progress));
        true
    }

    pub(super) fn erase(&mut self, shopper: &ShopperId) {
        let ids: BTreeSet<_> =
            self.messages.iter().filter(|(_, (message, _))| message.shopper == *shopper).map(|(id, _)| *id).collect();
        for (place, _) in self.outbox.extract_if(.., |(_, _, id), _| ids.contains(id)) {
            self.tally.left(place.0.channel, Left::Erased);
        }
        self.dead.retain(|dead| !ids.contains(&dead.id));
        for id in ids {
            self.messages.remove(&id);
            self.leases.end(id);
        }
        self.journal.retain(|_, event| event.shopper != *shopper);
    }

    /// True if an entry was added, or is due earlier than its lease would have ended.
    pub(super) fn settle(&mut self, settlement: Settlement) -> bool {
        let Some(place) = self.leases.settle(settlement.id, settlement.lease) else { return false };
        self.leases.end(settlement.id);
        self.outbox.remove(&place);
        let Some((_, progress)) = self.messages.get_mut(&settlement.id) else { return false };
        progress.settle(settlement.at, &settlement.end);
        self.dead.extend(progress.dead(settlement.id));
        let mut grew = false;
        match settlement.end {
            End::Terminal { milestone, .. } => self.tally.left(place.0.channel, Left::Ended(milestone)),
            End::Again { at, attempts, .. } => {
                self.outbox.insert((place.0, at, place.2), attempts);
                self.leases.freed((place.0, at, place.2));
                grew = true;
            }
        }
        for message in settlement.then {
            grew |= self.enqueue(message);
        }
        grew
    }

    pub(super) fn claim(&mut self, queue: Queue, now: Timestamp, limit: usize, lease: Duration) -> Claim {
        let mut entries = Vec::new();
        let mut next = None;
        let from = self.leases.first_free(queue, now);
        let mut reached = from;
        let to = (queue, Timestamp::MAX, NotificationId::from_u128(u128::MAX));
        for (place, attempts) in self.outbox.range(from..=to) {
            reached = *place;
            if place.1 > now {
                next = Some(place.1);
                break;
            }
            if entries.len() == limit {
                break;
            }
            let Some((message, _)) = self.messages.get(&place.2) else { continue };
            if self.leases.is_free(place.2, now) {
                let lease = self.leases.grant(*place, now, lease);
                entries.push(Entry { notification: message.clone(), attempts: *attempts, lease });
            }
        }
        self.leases.passed(reached);
        if entries.is_empty() && limit > 0 {
            Claim::NothingUntil(next.into_iter().chain(self.leases.next_end(queue)).min())
        } else {
            Claim::Entries(entries)
        }
    }

    pub(super) fn list_dead(&self, query: &DeadQuery) -> Vec<Life> {
        let dead = self.dead.iter().rev().skip_while(|dead| query.before.is_some_and(|before| **dead >= before));
        let lives = dead.filter_map(|dead| self.messages.get(&dead.id)).filter(|(message, _)| query.wants(message));
        lives.take(query.limit).map(|(message, progress)| progress.clone().of(message.clone())).collect()
    }

    /// Forgets lives that ended before this time.
    pub(super) fn forget_ended(&mut self, until: Timestamp) {
        self.messages.retain(|_, (_, progress)| progress.idle_since().is_none_or(|at| at >= until));
        self.dead.retain(|dead| self.messages.contains_key(&dead.id));
    }
}
