//! Claims what a lane delivers next: order news first, offers with what is left of the window.
//!
//! While the provider is left alone nothing is claimed, so that what waits stays in the store and costs nothing.

use std::{sync::Arc, time::Duration};

use parvis_engine::{id::ShopperId, time::Timestamp};

use super::{Lane, Leased};
use crate::{
    delivery::breaker,
    store::{self, Claim, Entry, Queue, Record, Store},
};

/// What a look into the queues gave.
enum Looked {
    /// Entries, each with the queue it comes from.
    Entries(Vec<(Queue, Entry)>),
    /// Nothing: come back at this time, if any, or as soon as a place is free.
    Nothing {
        until: Option<Timestamp>,
        /// Or as soon as there is something new.
        listen: bool,
    },
}

impl Lane {
    /// Waits until something is due, there is room in the window, and the provider may be asked; none when the node is
    /// closing.
    pub async fn claim(&self) -> Option<Vec<Leased>> {
        let mut grew = self.grew.lock().await;
        while !self.shutdown.is_cancelled() {
            grew.mark_unchanged();
            let looked = match self.look().await {
                Ok(looked) => looked,
                Err(error) => {
                    self.pause(&error).await;
                    continue;
                }
            };
            match looked {
                Looked::Entries(entries) => match self.leased(entries).await {
                    Ok(leased) => return Some(leased),
                    Err(error) => self.pause(&error).await,
                },
                Looked::Nothing { until, listen } => tokio::select! { biased;
                    () = self.shutdown.cancelled() => return None,
                    _ = grew.changed(), if listen => {}
                    () = self.window.freed() => {}
                    () = self.tools.clock.sleep_until(until) => {}
                },
            }
        }
        None
    }

    async fn look(&self) -> Result<Looked, store::Error> {
        let now = self.tools.clock.now();
        let room = self.window.room();
        let allowed = self.health.room(now);
        let (any, offers) = match allowed {
            breaker::Room::Any => (room.any, room.offers),
            breaker::Room::NoneUntil(at) => return Ok(Looked::Nothing { until: Some(at), listen: false }),
            // What is under way comes first: a probe has the provider for itself.
            breaker::Room::One if !self.window.is_idle() => (0, 0),
            breaker::Room::One => {
                let probes = self.health.probes();
                (room.any.min(probes), room.offers.min(probes))
            }
        };
        if any == 0 {
            return Ok(Looked::Nothing { until: None, listen: false });
        }
        let mut entries = Vec::new();
        let orders_due = self.claim_from(self.queues.orders, any, &mut entries).await?;
        let left = offers.min(any - entries.len());
        let mut offers_due = None;
        if left > 0 && self.queues.offers != self.queues.orders {
            offers_due = match self.claim_from(self.queues.offers, left, &mut entries).await {
                Ok(due) => due,
                // The order news are leased by now.
                Err(_) if !entries.is_empty() => None,
                Err(error) => return Err(error),
            };
        }
        if allowed == breaker::Room::One {
            self.health.claimed_probes(entries.len());
        }
        if !entries.is_empty() {
            return Ok(Looked::Entries(entries));
        }
        // Offers that find no room wait for a place, not for their time.
        let until = [orders_due, offers_due].into_iter().flatten().min();
        Ok(Looked::Nothing { until, listen: true })
    }

    /// Claims from one queue; the time when something is due if nothing is.
    async fn claim_from(
        &self,
        queue: Queue,
        limit: usize,
        entries: &mut Vec<(Queue, Entry)>,
    ) -> Result<Option<Timestamp>, store::Error> {
        match self.tools.store.claim(queue, self.tools.clock.now(), limit, self.lease).await? {
            Claim::Entries(claimed) => {
                entries.extend(claimed.into_iter().map(|entry| (queue, entry)));
                Ok(None)
            }
            Claim::NothingUntil(due) => Ok(due),
        }
    }

    async fn leased(&self, entries: Vec<(Queue, Entry)>) -> Result<Vec<Leased>, store::Error> {
        let ids: Vec<ShopperId> = entries.iter().map(|(_, entry)| entry.notification.shopper.clone()).collect();
        let shoppers = readable(&*self.tools.store, &ids).await?;
        let world = self.tools.catalog.world();
        let leased = entries.into_iter().zip(shoppers);
        Ok(leased
            .filter_map(|((queue, entry), record)| {
                let (shopper, world) = (record?.shopper, Arc::clone(&world));
                let place = self.window.take(queue == self.queues.offers);
                Some(Leased { entry, shopper, world, queue, _place: place })
            })
            .collect())
    }

    async fn pause(&self, error: &store::Error) {
        let channel = self.queues.orders.channel.name();
        tracing::warn!(channel, "can't claim, trying again: {error}");
        tokio::select! { biased;
            () = self.shutdown.cancelled() => {}
            () = self.tools.clock.sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// These shoppers, in the same order. One who can't be read waits for an operator, and so do the messages; those that were
/// claimed with them do not.
async fn readable(store: &dyn Store, ids: &[ShopperId]) -> Result<Vec<Option<Record>>, store::Error> {
    match store.load(ids).await {
        Ok(records) => return Ok(records.into_iter().map(Some).collect()),
        Err(store::Error::Corrupt(_)) => {}
        Err(error @ store::Error::Unavailable(_)) => return Err(error),
    }
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.push(match store.load(std::slice::from_ref(id)).await {
            Ok(mut record) => record.pop(),
            Err(store::Error::Corrupt(why)) => {
                tracing::error!("a message is passed over, for its shopper can't be read: {why}");
                None
            }
            Err(error @ store::Error::Unavailable(_)) => return Err(error),
        });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    #[tokio::test]
    async fn a_shopper_who_can_not_be_read_keeps_no_other_from_being_served() {
        let store = Memory::new();
        let ids: [ShopperId; 3] = ["A", "B", "C"].map(|id| id.parse().expect("an id"));
        store.faults().spoil(ids[1].clone());
        let records = readable(&store, &ids).await.expect("available");
        let found: Vec<_> = records.iter().map(|record| record.as_ref().map(|it| it.shopper.id.as_str())).collect();
        assert_eq!(found, [Some("A"), None, Some("C")]);
    }
}
