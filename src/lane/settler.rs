//! Makes durable what a lane has done, all that waits at once.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::Tools;
use crate::{
    clock::Clock,
    report::Reporter,
    store::{self, Settlement, Store},
};

/// Settles what a lane has done, all that waits at once.
pub struct Settler {
    results: mpsc::Receiver<Settlement>,
    store: Arc<dyn Store>,
    clock: Clock,
    reporter: Reporter,
}

impl Settler {
    pub(super) fn new(results: mpsc::Receiver<Settlement>, tools: &Tools) -> Settler {
        let Tools { store, clock, reporter, .. } = tools;
        Settler { results, store: Arc::clone(store), clock: clock.clone(), reporter: reporter.clone() }
    }

    /// Runs until the lane and its attempts are gone.
    ///
    /// # Panics
    /// If the store's file is corrupt, which ends the process. To go on would mean to send again, with every lease that
    /// ends, what was accepted long ago; the next start says what is wrong with the file.
    pub async fn run(mut self) {
        const GROUP_MAX: usize = 512;
        let mut group = Vec::new();
        while self.results.recv_many(&mut group, GROUP_MAX).await > 0 {
            // An entry whose settlement can't be stored is claimed again when its lease ends: sent twice, never lost.
            while let Err(error) = self.store.settle(group.clone()).await {
                assert!(
                    matches!(error, store::Error::Unavailable(_)),
                    "can't settle, and an operator is needed: {error}"
                );
                tracing::warn!("can't settle, trying again: {error}");
                self.clock.sleep(Duration::from_millis(200)).await;
            }
            for settlement in group.drain(..) {
                self.reporter.settled(&settlement);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::{
        id::NotificationId,
        notification::{Channel, Milestone, Purpose},
        time::Timestamp,
    };

    use super::*;
    use crate::store::{
        End, Queue,
        memory::{Fault, Memory},
    };

    fn settler(fault: Fault) -> Settler {
        let store = Memory::new();
        store.faults().fail_settle(fault);
        let (settled, results) = mpsc::channel(1);
        let shopper = "A".parse().expect("a valid id");
        let id = NotificationId::derive(Timestamp::MIN, &shopper, &[]);
        let end = End::Terminal { milestone: Milestone::Accepted, detail: None, attempts: 1 };
        let settlement = Settlement {
            shopper,
            queue: Queue::new(Channel::Fcm, "default", Some(Purpose::Offer)),
            id,
            lease: 1,
            at: Timestamp::MIN,
            end,
            then: Vec::new(),
        };
        settled.try_send(settlement).expect("there is room");
        let clock = Clock::simulated(Timestamp::MIN);
        Settler { results, store: Arc::new(store), clock, reporter: Reporter::new(&Default::default()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_asked_again() {
        settler(Fault::Before).run().await;
    }

    #[tokio::test]
    #[should_panic(expected = "an operator is needed")]
    async fn a_corrupt_store_ends_the_process() {
        settler(Fault::Corrupt).run().await;
    }
}
