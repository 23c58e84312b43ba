//! The store as one node meets it: slow, failing on demand, and a place where crashes happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use parvis::store::{
    Answer, Catalog, CatalogItem, Claim, Commit, Committed, DeadQuery, Durable, Error, Horizon, JournalQuery, Life,
    Note, Queue, Record, Settlement, Sizes, Step, Store,
    memory::Fault,
    rows::{Batch, Contents, Export},
};
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    per_device::PerDevice,
    shopper::Track,
    time::Timestamp,
};
use tokio::sync::watch;

use crate::{
    chance::Dice,
    log::What,
    power::Power,
    shared::{Bells, Shared, Versioned},
    storm::Storm,
};

/// A node's way to the store; what is in it outlives the node.
pub(crate) struct Disk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) dice: Dice,
    pub(crate) power: Power,
    pub(crate) storm: Arc<Storm>,
    /// Of what this node has committed.
    pub(crate) tracks: Mutex<Versioned>,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    Of(Fault),
    /// A part of a commit has taken effect.
    Halfway,
}

impl Disk {
    /// Before a call takes effect.
    async fn begin(&self, call: &'static str) -> Result<(), Error> {
        self.power.pass().await;
        self.work().await;
        if self.storm.store_is_away(self.shared.clock.now()) {
            self.shared.log.add(What::Failed { call, how: "away" });
            return Err(Error::Unavailable("away".to_owned()));
        }
        Ok(())
    }

    /// After a call has taken effect and before its caller knows.
    async fn finish(&self) {
        self.shared.news(&self.bells);
        self.power.pass().await;
        self.work().await;
    }

    async fn work(&self) {
        let slow = self.storm.store_is_slow(self.shared.clock.now());
        let (how_often, longest_s) = if slow { (0.8, 1.5) } else { (0.3, 0.02) };
        if self.dice.chance(how_often) {
            self.shared.clock.sleep(self.dice.span(0.0, longest_s)).await;
        }
    }

    fn mishap(&self, call: &'static str) -> Option<Mishap> {
        if !self.dice.chance(self.storm.store_fault_rate(self.shared.clock.now())) {
            return None;
        }
        let (mishap, how) = *self.dice.pick(&[
            (Mishap::Of(Fault::Before), "before"),
            (Mishap::Of(Fault::After), "after"),
            (Mishap::Halfway, "halfway"),
            (Mishap::Of(Fault::Conflict), "conflict"),
        ]);
        self.shared.log.add(What::Failed { call, how });
        Some(mishap)
    }

    /// A node that has the store for itself: as it is, tracks included.
    async fn commit_alone(&self, commit: Commit, mishap: Option<Mishap>) -> Result<Committed, Error> {
        match mishap {
            Some(Mishap::Of(fault)) => self.shared.memory.faults().fail_commit(fault),
            Some(Mishap::Halfway) => self.shared.memory.faults().fail_commit(Fault::After),
            None => {}
        }
        let before = self.shared.before(&commit).await;
        let committed = self.shared.memory.commit(commit.clone()).await;
        self.shared.after(before, &commit).await;
        if let (Ok(Committed::Conflict(shoppers)), None) = (&committed, mishap) {
            self.shared.log.add(What::Conflict { shoppers: shoppers.len() });
        }
        committed
    }

    /// One of several nodes: what is volatile stays here, and what was done already is not done again.
    async fn commit_shared(&self, mut commit: Commit, mishap: Option<Mishap>) -> Result<Committed, Error> {
        if let Some(Mishap::Of(Fault::Before)) = mishap {
            return Err(Error::Unavailable("before".to_owned()));
        }
        if let Some(Mishap::Of(Fault::Conflict)) = mishap {
            return Ok(Committed::Conflict(commit.changes.into_iter().map(|change| change.id).collect()));
        }
        let (volatile, durable) =
            commit.changes.into_iter().partition(|change| matches!(change.state, Durable::Unchanged));
        commit.changes = durable;
        let mut done = BTreeSet::new();
        for change in &commit.changes {
            if self.shared.is_done(change, &commit).await {
                done.insert(change.id.clone());
            }
        }
        leave_out(&mut commit, |id| done.contains(id));
        if mishap == Some(Mishap::Halfway) {
            let bonds = commit.bonds.clone();
            let bound =
                |id: &ShopperId| bonds.iter().find(|bond| bond.contains(id)).map_or(id, |bond| &bond[0]).clone();
            let lost = |id: &ShopperId| bound(id).stable_hash() % 2 == 0;
            leave_out(&mut commit, lost);
        }
        let before = self.shared.before(&commit).await;
        let committed = self.shared.memory.commit(commit.clone()).await?;
        let effective = self.shared.after(before, &commit).await;
        for change in commit.changes.into_iter().filter(|change| effective.contains(&change.id)) {
            let version = self.shared.load_one(&change.id).await.version;
            self.shared.keep_tracks(&change.id, version, change.tracks.clone());
            self.keep_tracks(change.id, version, change.tracks);
        }
        if mishap.is_some() {
            return Err(Error::Unavailable("the answer is lost".to_owned()));
        }
        if let Committed::Conflict(shoppers) = &committed {
            self.shared.log.add(What::Conflict { shoppers: shoppers.len() });
        }
        for change in volatile {
            if change.tracks.values().any(|track| track.held.is_some()) {
                self.shared.keep_tracks(&change.id, change.version, change.tracks.clone());
            }
            self.keep_tracks(change.id, change.version, change.tracks);
        }
        Ok(committed)
    }

    fn keep_tracks(&self, id: ShopperId, version: u64, tracks: PerDevice<Track>) {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (version, tracks));
    }

    /// The newer of the tracks that this node and the others have kept at the version.
    fn known_tracks(&self, record: &Record) -> PerDevice<Track> {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let own = tracks.get(&record.shopper.id).filter(|(version, _)| *version == record.version);
        let own = own.map(|(_, tracks)| tracks.clone());
        let newest = |tracks: &PerDevice<Track>| {
            tracks.values().filter_map(|track| track.last.as_ref()).map(|last| last.at).max()
        };
        own.into_iter().chain(self.shared.tracks(record)).max_by_key(newest).unwrap_or_default()
    }
}

/// Leaves out what is said of some shoppers.
fn leave_out(commit: &mut Commit, is_out: impl Fn(&ShopperId) -> bool) {
    commit.changes.retain(|change| !is_out(&change.id));
    commit.outbox.retain(|message| !is_out(&message.shopper));
    commit.events.retain(|event| !is_out(&event.shopper));
}

#[async_trait]
impl Store for Disk {
    async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error> {
        self.begin("load").await?;
        let mut loaded = self.shared.memory.load(ids).await;
        if !self.shared.exclusive {
            for record in loaded.iter_mut().flatten() {
                record.tracks = self.known_tracks(record);
            }
        }
        self.finish().await;
        loaded
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.begin("commit").await?;
        let mishap = self.mishap("commit");
        let committed = if self.shared.exclusive {
            self.commit_alone(commit, mishap).await
        } else {
            self.commit_shared(commit, mishap).await
        };
        self.finish().await;
        committed
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        self.begin("owners").await?;
        let mut owners = self.shared.memory.owners(devices).await?;
        if !self.shared.exclusive {
            for (device, owner) in devices.iter().zip(&mut owners) {
                *owner = self.shared.stale_owner(device, owner.take());
            }
        }
        self.finish().await;
        Ok(owners)
    }

    async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error> {
        self.begin("order_owner").await?;
        self.shared.memory.order_owner(order).await
    }

    async fn claim(&self, queue: Queue, now: Timestamp, limit: usize, lease: Duration) -> Result<Claim, Error> {
        self.begin("claim").await?;
        let claimed = self.shared.memory.claim(queue, now, limit, lease).await;
        if let Ok(Claim::Entries(entries)) = &claimed {
            self.shared.leased(entries, now, lease);
        }
        self.finish().await;
        claimed
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        self.begin("settle").await?;
        let fault = self.mishap("settle").map(|mishap| match mishap {
            Mishap::Of(fault) => fault,
            Mishap::Halfway => Fault::After,
        });
        if let Some(fault) = fault {
            self.shared.memory.faults().fail_settle(fault);
        }
        let memory = &self.shared.memory;
        let effective = !matches!(fault, Some(Fault::Before | Fault::Conflict));
        let mut lives = BTreeMap::new();
        for settlement in self.shared.unlease(&settlements, effective) {
            lives.insert(settlement.id, memory.life(settlement.id).await);
        }
        let settled = memory.settle(settlements.clone()).await;
        for (id, life) in lives {
            if memory.life(id).await != life {
                self.shared.log.add(What::Wrong(format!("{id} was settled without a lease")));
            }
        }
        if settled.is_ok() {
            settlements.into_iter().for_each(|it| self.shared.log.add(What::Settled { id: it.id, end: it.end }));
        }
        self.finish().await;
        settled
    }

    fn outbox_grew(&self) -> watch::Receiver<u64> {
        self.bells.lane()
    }

    async fn due_wakes(&self, now: Timestamp, limit: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        self.begin("due_wakes").await?;
        if self.shared.exclusive {
            return self.shared.memory.due_wakes(now, limit).await;
        }
        let (due, next) = self.shared.memory.due_wakes(now, usize::MAX).await?;
        match self.shared.give_wakes(due, limit) {
            Ok(due) => Ok((due, next)),
            Err(until) => Ok((Vec::new(), until.map(|span| now.plus(span)).into_iter().chain(next).min())),
        }
    }

    fn wakes_changed(&self) -> watch::Receiver<u64> {
        self.bells.wakes()
    }

    async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        self.begin("lease_budget").await?;
        let leased = self.shared.memory.lease_budget(campaign, total, want).await;
        self.finish().await;
        leased
    }

    async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error> {
        self.shared.memory.life(id).await
    }

    async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error> {
        self.shared.memory.report(id, step).await
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<Life>, Error> {
        self.shared.memory.dead(query).await
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        self.shared.memory.note(name).await
    }

    async fn keep_note(&self, name: &str, bytes: Vec<u8>, version: u64) -> Result<Option<u64>, Error> {
        self.begin("keep_note").await?;
        let kept = self.shared.memory.keep_note(name, bytes, version).await;
        self.finish().await;
        kept
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<parvis::report::Event>, Error> {
        self.shared.memory.journal(query).await
    }

    async fn prune(&self, horizon: Horizon) -> Result<(), Error> {
        self.shared.memory.prune(horizon).await
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        self.shared.memory.catalog().await
    }

    async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        self.shared.memory.put_catalog(items, generation).await
    }

    fn catalog_changed(&self) -> watch::Receiver<u64> {
        self.bells.catalog()
    }

    async fn answer(&self, key: &str) -> Result<Option<Answer>, Error> {
        self.shared.memory.answer(key).await
    }

    async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error> {
        self.shared.memory.keep_answer(key, answer, at).await
    }

    async fn export(&self) -> Result<Box<dyn Export>, Error> {
        self.shared.memory.export().await
    }

    async fn contents(&self) -> Result<Contents, Error> {
        self.shared.memory.contents().await
    }

    async fn import(&self, batch: Batch) -> Result<(), Error> {
        self.shared.memory.import(batch).await
    }

    async fn sizes(&self) -> Result<Sizes, Error> {
        self.shared.memory.sizes().await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
