//! A store that keeps the catalog's objects and counts the writes; of all else the catalog has no need.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use parvis::{
    report::Event,
    store::{
        Answer, Catalog, CatalogItem, Claim, Commit, Committed, DeadQuery, Error, Horizon, JournalQuery, Life, Note,
        Queue, Record, Settlement, Sizes, Step, Store,
        rows::{Batch, Contents, Export},
    },
};
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    time::Timestamp,
};
use tokio::sync::watch;

type Items = BTreeMap<(String, String), String>;

/// Keeps catalog objects in memory.
pub(crate) struct Ledger {
    /// How often it was written to.
    pub(crate) writes: AtomicUsize,
    /// Whether it refuses to be written to.
    pub(crate) unavailable: AtomicBool,
    /// How often it was read.
    pub(crate) reads: AtomicUsize,
    /// How often it still refuses to be read.
    pub(crate) unreadable: AtomicUsize,
    /// Whether it keeps changes to itself.
    pub(crate) silent: AtomicBool,
    /// Whether somebody else is always faster.
    pub(crate) rival: AtomicBool,
    items: Mutex<(u64, Items)>,
    generation: watch::Sender<u64>,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger {
            writes: AtomicUsize::new(0),
            unavailable: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            unreadable: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            rival: AtomicBool::new(false),
            items: Mutex::default(),
            generation: watch::Sender::new(0),
        }
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.items.lock().expect("no test has panicked").1.keys().map(|(kind, id)| format!("{kind} {id}")).collect()
    }

    /// Tells of the newest generation, whatever it kept to itself.
    pub(crate) fn tell(&self) {
        self.generation.send_replace(self.items.lock().expect("no test has panicked").0);
    }
}

fn not_here<T>() -> Result<T, Error> {
    Err(Error::Unavailable("the ledger keeps only the catalog".to_owned()))
}

#[async_trait]
impl Store for Ledger {
    async fn catalog(&self) -> Result<Catalog, Error> {
        self.reads.fetch_add(1, SeqCst);
        if self.unreadable.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::Unavailable("nobody answers".to_owned()));
        }
        let items = self.items.lock().expect("no test has panicked");
        let item = |((kind, id), json): (&(String, String), &String)| CatalogItem {
            kind: kind.clone(),
            id: id.clone(),
            json: Some(json.clone()),
        };
        Ok(Catalog { generation: items.0, items: items.1.iter().map(item).collect() })
    }

    async fn put_catalog(&self, changed: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        self.writes.fetch_add(1, SeqCst);
        if self.unavailable.load(SeqCst) {
            return Err(Error::Unavailable("the disk is full".to_owned()));
        }
        let mut items = self.items.lock().expect("no test has panicked");
        if self.rival.load(SeqCst) {
            items.0 += 1;
        }
        if items.0 != generation {
            return Ok(None);
        }
        for CatalogItem { kind, id, json } in changed {
            match json {
                Some(json) => items.1.insert((kind, id), json),
                None => items.1.remove(&(kind, id)),
            };
        }
        items.0 += 1;
        if !self.silent.load(SeqCst) {
            self.generation.send_replace(items.0);
        }
        Ok(Some(items.0))
    }

    fn catalog_changed(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    async fn load(&self, _: &[ShopperId]) -> Result<Vec<Record>, Error> {
        not_here()
    }
    async fn commit(&self, _: Commit) -> Result<Committed, Error> {
        not_here()
    }
    async fn owners(&self, _: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        not_here()
    }
    async fn order_owner(&self, _: &OrderId) -> Result<Option<ShopperId>, Error> {
        not_here()
    }
    async fn claim(&self, _: Queue, _: Timestamp, _: usize, _: Duration) -> Result<Claim, Error> {
        not_here()
    }
    async fn settle(&self, _: Vec<Settlement>) -> Result<(), Error> {
        not_here()
    }
    fn outbox_grew(&self) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }
    async fn due_wakes(&self, _: Timestamp, _: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        not_here()
    }
    fn wakes_changed(&self) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }
    async fn lease_budget(&self, _: &CampaignId, _: u64, _: u64) -> Result<u64, Error> {
        not_here()
    }
    async fn life(&self, _: NotificationId) -> Result<Option<Life>, Error> {
        not_here()
    }
    async fn report(&self, _: NotificationId, _: Step) -> Result<bool, Error> {
        not_here()
    }
    async fn dead(&self, _: DeadQuery) -> Result<Vec<Life>, Error> {
        not_here()
    }
    async fn note(&self, _: &str) -> Result<Option<Note>, Error> {
        not_here()
    }
    async fn keep_note(&self, _: &str, _: Vec<u8>, _: u64) -> Result<Option<u64>, Error> {
        not_here()
    }
    async fn journal(&self, _: JournalQuery) -> Result<Vec<Event>, Error> {
        not_here()
    }
    async fn prune(&self, _: Horizon) -> Result<(), Error> {
        not_here()
    }
    async fn answer(&self, _: &str) -> Result<Option<Answer>, Error> {
        not_here()
    }
    async fn keep_answer(&self, _: &str, _: Answer, _: Timestamp) -> Result<(), Error> {
        not_here()
    }
    async fn export(&self) -> Result<Box<dyn Export>, Error> {
        not_here()
    }

    async fn contents(&self) -> Result<Contents, Error> {
        not_here()
    }

    async fn import(&self, _: Batch) -> Result<(), Error> {
        not_here()
    }

    async fn sizes(&self) -> Result<Sizes, Error> {
        not_here()
    }
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
