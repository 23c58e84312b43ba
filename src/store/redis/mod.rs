//! The store on Redis or Valkey, shared by any number of nodes. It has no leader and knows no other node: what nodes
//! must agree on, a script decides in the server that holds it.

mod address;
mod call;
mod catalog;
mod claim;
mod cluster;
mod commit;
mod config;
mod dead;
pub mod durability;
mod export;
mod hints;
mod import;
mod item;
mod layout;
mod link;
mod lock;
mod node;
mod note;
mod opener;
mod partition;
mod prune;
mod read;
mod record;
mod refusal;
mod reply;
mod score;
mod script;
mod scripts;
mod settle;
mod shared;
mod tally;
mod tracks;
mod transfer;
mod unsure;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    time::Timestamp,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::shared::Shared;
pub use self::{
    address::Address,
    call::Call,
    config::{Config, Demand, Topology},
    link::Link,
    script::Script,
    shared::{Cut, Faults, Pace, Stage},
};
use super::{
    Answer, Catalog, CatalogItem, Claim, Commit, Committed, DeadQuery, Error, Horizon, JournalQuery, Life, Loss, Note,
    Queue, Record, Settlement, Sizes, Step, Store,
    rows::{Batch, Contents, Export},
};
use crate::report::Event;

/// The store on Redis.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Redis {
    /// Connects, and looks whether what is there can be worked with.
    ///
    /// # Errors
    /// If nobody answers, what is there was written by a newer version, or a server promises less than is demanded.
    pub async fn open(config: &Config) -> Result<Redis, Error> {
        Redis::open_at_pace(config, Pace::default()).await
    }

    /// The same at another pace.
    ///
    /// # Errors
    /// As for [`Redis::open`].
    pub async fn open_at_pace(config: &Config, pace: Pace) -> Result<Redis, Error> {
        let shared = Arc::new(Shared::open(config, pace).await?);
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(shared::watch(shared.clone(), shutdown.clone()));
        Ok(Redis { shared, tasks, shutdown })
    }

    /// The handle that makes calls fail.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Finishes or takes back what other nodes have left half done. Done by itself every few seconds.
    ///
    /// # Errors
    /// If Redis is unavailable.
    pub async fn sweep(&self) -> Result<(), Error> {
        self.shared.sweep().await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[async_trait]
impl Store for Redis {
    async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error> {
        self.shared.load(ids).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.shared.commit(commit).await
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        self.shared.owners(devices).await
    }

    async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error> {
        self.shared.order_owner(order).await
    }

    async fn claim(&self, queue: Queue, now: Timestamp, limit: usize, lease: Duration) -> Result<Claim, Error> {
        self.shared.claim((queue, now), limit, lease).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        self.shared.settle(settlements).await
    }

    fn outbox_grew(&self) -> watch::Receiver<u64> {
        self.shared.grew.subscribe()
    }

    async fn due_wakes(&self, now: Timestamp, limit: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        self.shared.due_wakes(now, limit).await
    }

    fn wakes_changed(&self) -> watch::Receiver<u64> {
        self.shared.wakes_changed.subscribe()
    }

    async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        self.shared.lease_budget(campaign, total, want).await
    }

    async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error> {
        self.shared.life(id).await
    }

    async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error> {
        self.shared.report(id, step).await
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<Life>, Error> {
        self.shared.dead(query).await
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<Event>, Error> {
        self.shared.journal(query).await
    }

    async fn prune(&self, horizon: Horizon) -> Result<(), Error> {
        self.shared.prune(horizon).await
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        self.shared.catalog().await
    }

    async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        self.shared.put_catalog(items, generation).await
    }

    fn catalog_changed(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    async fn answer(&self, key: &str) -> Result<Option<Answer>, Error> {
        self.shared.answer(key).await
    }

    async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error> {
        self.shared.keep_answer(key, answer, at).await
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        self.shared.note(name).await
    }

    async fn keep_note(&self, name: &str, bytes: Vec<u8>, version: u64) -> Result<Option<u64>, Error> {
        self.shared.keep_note(name, &bytes, version).await
    }

    async fn export(&self) -> Result<Box<dyn Export>, Error> {
        Ok(Box::new(export::Reading::begin(self.shared.clone())))
    }

    async fn contents(&self) -> Result<Contents, Error> {
        self.shared.contents().await
    }

    async fn import(&self, batch: Batch) -> Result<(), Error> {
        self.shared.import(batch).await
    }

    async fn sizes(&self) -> Result<Sizes, Error> {
        self.shared.sizes().await
    }

    fn crash_loss(&self) -> Loss {
        self.shared.promise.loss()
    }

    async fn close(&self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        Ok(())
    }
}
