//! The store under the node: the real memory store, slow, failing on demand, and a place where crashes happen.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use parvis::{
    clock::Clock,
    store::{
        Answer, Catalog, CatalogItem, Claim, Commit, Committed, Error, Horizon, JournalQuery, Life, Record, Settlement,
        Sizes, Step, Store,
        memory::{Fault, Memory},
        rows::{Batch, Contents, Export},
    },
};
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    notification::Channel,
    time::Timestamp,
};
use tokio::sync::watch;

use crate::{
    chance::Dice,
    log::{Log, What},
    power::Power,
    storm::Storm,
};

/// The store of one node; what is in it outlives the node.
pub(crate) struct Disk {
    pub(crate) memory: Memory,
    pub(crate) clock: Clock,
    pub(crate) dice: Dice,
    pub(crate) power: Power,
    pub(crate) storm: Arc<Storm>,
    pub(crate) log: Log,
    pub(crate) bells: Bells,
}

/// A bell for each lane. One watch channel with several receivers would wake them in an order that no seed decides.
pub(crate) struct Bells {
    grew: Mutex<watch::Receiver<u64>>,
    lanes: Mutex<Vec<watch::Sender<u64>>>,
}

impl Bells {
    /// Rings when this store has grown.
    pub(crate) fn new(memory: &Memory) -> Bells {
        Bells { grew: Mutex::new(memory.outbox_grew()), lanes: Mutex::default() }
    }

    fn add(&self) -> watch::Receiver<u64> {
        let (bell, heard) = watch::channel(0);
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(bell);
        heard
    }

    fn ring(&self) {
        let mut grew = self.grew.lock().unwrap_or_else(PoisonError::into_inner);
        if grew.has_changed().unwrap_or(false) {
            grew.mark_unchanged();
            let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.iter().for_each(|bell| bell.send_modify(|count| *count += 1));
        }
    }
}

impl Disk {
    /// Before a call takes effect.
    async fn begin(&self, call: &'static str) -> Result<(), Error> {
        self.power.pass().await;
        self.work().await;
        if self.storm.store_is_away(self.clock.now()) {
            self.log.add(What::Failed { call, how: "away" });
            return Err(Error::Unavailable("away".to_owned()));
        }
        Ok(())
    }

    /// After a call has taken effect and before its caller knows.
    async fn finish(&self) {
        self.power.pass().await;
        self.work().await;
    }

    async fn work(&self) {
        if self.dice.chance(0.3) {
            self.clock.sleep(self.dice.span(0.0, 0.02)).await;
        }
    }

    fn fault(&self, call: &'static str) -> Option<Fault> {
        if !self.dice.chance(self.storm.store_fault_rate(self.clock.now())) {
            return None;
        }
        let (fault, how) = *self.dice.pick(&[
            (Fault::Before, "before"),
            (Fault::After, "after"),
            (Fault::After, "after"),
            (Fault::Conflict, "conflict"),
        ]);
        self.log.add(What::Failed { call, how });
        Some(fault)
    }
}

#[async_trait]
impl Store for Disk {
    async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error> {
        self.begin("load").await?;
        let loaded = self.memory.load(ids).await;
        self.finish().await;
        loaded
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.begin("commit").await?;
        if let Some(fault) = self.fault("commit") {
            self.memory.faults().fail_commit(fault);
        }
        let committed = self.memory.commit(commit).await;
        self.bells.ring();
        self.finish().await;
        committed
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        self.begin("owners").await?;
        self.memory.owners(devices).await
    }

    async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error> {
        self.begin("order_owner").await?;
        self.memory.order_owner(order).await
    }

    async fn claim(&self, channel: Channel, now: Timestamp, limit: usize, lease: Duration) -> Result<Claim, Error> {
        self.begin("claim").await?;
        let claimed = self.memory.claim(channel, now, limit, lease).await;
        self.finish().await;
        claimed
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        self.begin("settle").await?;
        if let Some(fault) = self.fault("settle") {
            self.memory.faults().fail_settle(fault);
        }
        let ends: Vec<_> = settlements.iter().map(|settlement| (settlement.id, settlement.end.clone())).collect();
        let settled = self.memory.settle(settlements).await;
        self.bells.ring();
        if settled.is_ok() {
            ends.into_iter().for_each(|(id, end)| self.log.add(What::Settled { id, end }));
        }
        self.finish().await;
        settled
    }

    fn outbox_grew(&self) -> watch::Receiver<u64> {
        self.bells.add()
    }

    async fn due_wakes(&self, now: Timestamp, limit: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        self.begin("due_wakes").await?;
        self.memory.due_wakes(now, limit).await
    }

    fn wakes_changed(&self) -> watch::Receiver<u64> {
        self.memory.wakes_changed()
    }

    async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        self.begin("lease_budget").await?;
        let leased = self.memory.lease_budget(campaign, total, want).await;
        self.finish().await;
        leased
    }

    async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error> {
        self.memory.life(id).await
    }

    async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error> {
        self.memory.report(id, step).await
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<parvis::report::Event>, Error> {
        self.memory.journal(query).await
    }

    async fn prune(&self, horizon: Horizon) -> Result<(), Error> {
        self.memory.prune(horizon).await
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        self.memory.catalog().await
    }

    async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        self.memory.put_catalog(items, generation).await
    }

    fn catalog_changed(&self) -> watch::Receiver<u64> {
        self.memory.catalog_changed()
    }

    async fn answer(&self, key: &str) -> Result<Option<Answer>, Error> {
        self.memory.answer(key).await
    }

    async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error> {
        self.memory.keep_answer(key, answer, at).await
    }

    async fn export(&self) -> Result<Box<dyn Export>, Error> {
        self.memory.export().await
    }

    async fn contents(&self) -> Result<Contents, Error> {
        self.memory.contents().await
    }

    async fn import(&self, batch: Batch) -> Result<(), Error> {
        self.memory.import(batch).await
    }

    async fn sizes(&self) -> Result<Sizes, Error> {
        self.memory.sizes().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.memory.close().await
    }
}
