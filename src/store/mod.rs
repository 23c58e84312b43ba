//! The durable side: shoppers, outbox, timers, journal, catalog. One trait, one contract, several engines.
//!
//! What an engine must do is written down once, in the contract suite (`tests/store`).

mod codec;
mod config;
mod embedded;
mod leases;
mod life;
mod loss;
pub mod memory;
pub mod note;
mod outbox;
pub mod redis;
pub mod rows;
mod state;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    notification::{Channel, Notification},
    per_device::PerDevice,
    shopper::{Shopper, Track},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::rows::{Batch, Contents, Export};
pub use self::{
    config::{Config, Kind},
    embedded::Embedded,
    loss::Loss,
    note::Note,
    outbox::{Claim, Cursor, DeadQuery, End, Entry, Life, Queue, Settlement, Step},
};
use crate::report::Event;

/// Why the store did not do what it was asked. A conflict is not an error but a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not now: full, unreachable, closing. What takes effect as a whole has taken effect and will be seen, or has not.
    Unavailable(String),
    /// What is stored can't be read; an operator is needed.
    Corrupt(String),
}

/// One shopper as it was loaded.
#[derive(Clone, Debug)]
pub struct Record {
    /// Grows with every commit; 0 if nothing is stored. Where several nodes write, an erasure does not make it begin anew.
    pub version: u64,
    /// The durable side.
    pub shopper: Arc<Shopper>,
    /// The volatile side, by device.
    pub tracks: PerDevice<Track>,
}

/// What one shopper became.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that was loaded.
    pub version: u64,
    /// Who.
    pub id: ShopperId,
    /// The new durable state.
    pub state: Durable,
    /// The new volatile state; replaces all tracks of the shopper.
    pub tracks: PerDevice<Track>,
}

/// What becomes of a shopper's durable state.
#[derive(Clone, Debug)]
pub enum Durable {
    /// Stays as it is; only volatile state changed, and nothing is written.
    Unchanged,
    /// Is replaced.
    Replaced {
        /// By this.
        shopper: Arc<Shopper>,
        /// When the shopper is to be woken, if no observation comes before; replaces what was set.
        wake: Option<Timestamp>,
    },
    /// Is erased, with its outbox entries, notification records and journal rows. Kept answers do not tell whose they are:
    /// they stay until [`Store::prune`] forgets them.
    Erased,
}

/// One batch. What is said of one shopper takes effect as a whole or not at all: the change, the messages, the events.
/// So does what is said of shoppers who are bound to one another.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Changed shoppers; each at most once, or it conflicts with itself.
    pub changes: Vec<Change>,
    /// Decided messages. One whose id is stored already is left out, whatever became of it.
    pub outbox: Vec<Notification>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// Shoppers who change together, because a device passes between them. Nobody is in two of these.
    pub bonds: Vec<Vec<ShopperId>>,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable.
    Done,
    /// It is durable but for what is said of these shoppers, of which nothing was done: they have changed since they were
    /// loaded, come twice, take a device from a shopper who is not bound to them and gives it away, or are bound to one
    /// of these.
    Conflict(Vec<ShopperId>),
}

/// Which journal rows are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JournalQuery {
    /// Only this shopper's.
    pub shopper: Option<ShopperId>,
    /// Recorded at or after.
    pub since: Option<Timestamp>,
    /// Recorded before.
    pub until: Option<Timestamp>,
    /// At most so many, the newest.
    pub limit: usize,
}

/// Everything of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Counts the changes; 0 if there was none.
    pub generation: u64,
    /// Every object.
    pub items: Vec<CatalogItem>,
}

/// One object of the control plane, kept as the JSON that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogItem {
    /// The kind, such as `geofence`.
    pub kind: String,
    /// The id within the kind.
    pub id: String,
    /// The object; none deletes it.
    pub json: Option<String>,
}

/// The first answer to a write, kept so that a repeat with the same `Idempotency-Key` gets it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
    /// A hash of the request, so that another request under the same key is noticed.
    pub request_hash: u64,
}

/// Up to when is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Journal rows recorded before it, and lives of notifications that ended before it.
    pub rows: Timestamp,
    /// Answers kept before it.
    pub answers: Timestamp,
}

/// Sizes, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Known shoppers.
    pub shoppers: u64,
    /// Entries waiting or leased, by channel.
    pub waiting: BTreeMap<Channel, u64>,
    /// The same by queue, without empty ones; where nodes share a store, of the queues that this one has claimed from.
    pub queues: BTreeMap<Queue, u64>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The durable side of everything.
#[async_trait]
pub trait Store: Send + Sync {
    /// The shoppers with these ids, in the same order; one that is not stored comes as new, version 0.
    async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error>;

    /// Makes a batch durable, as far as nobody else was faster. Answers when it is.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error>;

    /// Which shopper owns each device, in the same order.
    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error>;

    /// Whose order it is: of several shoppers the least id's; once that one gives it up, the next or, till a start, nobody.
    async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error>;

    /// Leases due entries of a queue to the caller until `now + lease`. Expired leases are due again.
    async fn claim(&self, queue: Queue, now: Timestamp, limit: usize, lease: Duration) -> Result<Claim, Error>;

    /// Ends claims, each for itself with what follows from it. Answers when it is durable.
    ///
    /// # Panics
    /// If what follows from a settlement is for another shopper.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error>;

    /// Changes whenever entries were added or became due earlier.
    fn outbox_grew(&self) -> watch::Receiver<u64>;

    /// Shoppers whose wake time has come, earliest first; and when to ask again. Of several nodes, one has each for 10 s.
    async fn due_wakes(&self, now: Timestamp, limit: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error>;

    /// Changes whenever a wake time was set.
    fn wakes_changed(&self) -> watch::Receiver<u64>;

    /// Takes up to `want` from what is left of a campaign's budget of `total`. What a crash loses of it stays spent.
    async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error>;

    /// A notification's life.
    async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error>;

    /// Adds a milestone that was reported from outside; false if there is no such notification. A repeat is harmless.
    async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error>;

    /// Lives that ended with the milestone dead, newest end first.
    async fn dead(&self, query: DeadQuery) -> Result<Vec<Life>, Error>;

    /// Journal rows, oldest first.
    async fn journal(&self, query: JournalQuery) -> Result<Vec<Event>, Error>;

    /// Forgets what is old.
    async fn prune(&self, horizon: Horizon) -> Result<(), Error>;

    /// Every object of the control plane.
    async fn catalog(&self) -> Result<Catalog, Error>;

    /// Puts or deletes objects of the control plane, as a whole, if nobody has changed it since this generation. Gives
    /// the new generation when it is durable, or none if somebody was faster.
    async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error>;

    /// Changes to the newest known generation of the control plane, whoever has changed it.
    fn catalog_changed(&self) -> watch::Receiver<u64>;

    /// The answer kept under an idempotency key.
    async fn answer(&self, key: &str) -> Result<Option<Answer>, Error>;

    /// Keeps an answer. Answers when it is durable.
    async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error>;

    /// A small named value.
    async fn note(&self, name: &str) -> Result<Option<Note>, Error>;

    /// Keeps a small named value if it still has this version; 0 if there must be none. Gives the new version when it is
    /// durable, or none if somebody was faster. Longer ones than [`note::BYTES_MAX`] are refused.
    async fn keep_note(&self, name: &str, bytes: Vec<u8>, version: u64) -> Result<Option<u64>, Error>;

    /// Everything that is durable, to be read row by row while commits go on.
    async fn export(&self) -> Result<Box<dyn Export>, Error>;

    /// What is there, for who wants to import.
    async fn contents(&self) -> Result<Contents, Error>;

    /// Takes in rows of an export. The first batch needs an empty store; each further one begins where the last has ended,
    /// and nothing else may be called before the last is in. Answers when the batch is durable. An engine that can't
    /// take a batch as a whole takes a repeat of it without harm: rows have names, and events have numbers.
    async fn import(&self, batch: Batch) -> Result<(), Error>;

    /// Sizes, for metrics.
    async fn sizes(&self) -> Result<Sizes, Error>;

    /// What of acknowledged writes a crash of the machine that keeps them can lose, by the newest that is known.
    fn crash_loss(&self) -> Loss {
        Loss::Unknown
    }

    /// Writes what is still to be written. Nothing may be called afterwards.
    async fn close(&self) -> Result<(), Error>;
}

/// Opens the store that the configuration names, to work with it.
///
/// # Errors
/// If the file can't be read, is used by another process, was written by a newer version, or holds a part of an import.
pub async fn open(config: Config) -> Result<Arc<dyn Store>, Error> {
    let store = open_to_import(config).await?;
    if let Contents::Part { rows, .. } = store.contents().await? {
        store.close().await?;
        let why =
            format!("it holds {rows} rows of an import that has not ended: repeat it, or begin with an empty store");
        return Err(Error::Unavailable(why));
    }
    Ok(store)
}

/// Opens the store that the configuration names, even if it holds only a part of an import.
///
/// # Errors
/// If the file can't be read, is used by another process, or was written by a newer version.
pub async fn open_to_import(config: Config) -> Result<Arc<dyn Store>, Error> {
    match config.kind {
        Kind::Embedded => Ok(Arc::new(Embedded::open(config).await?)),
        Kind::Memory => Ok(Arc::new(memory::Memory::new())),
        Kind::Redis => Ok(Arc::new(redis::Redis::open(&config.redis).await?)),
    }
}

impl Commit {
    /// Leaves out what is said of these shoppers.
    fn leave_out(&mut self, shoppers: &[ShopperId]) {
        if shoppers.is_empty() {
            return;
        }
        self.changes.retain(|change| !shoppers.contains(&change.id));
        self.outbox.retain(|message| !shoppers.contains(&message.shopper));
        self.events.retain(|event| !shoppers.contains(&event.shopper));
    }
}

impl From<Vec<ShopperId>> for Committed {
    fn from(conflicts: Vec<ShopperId>) -> Committed {
        if conflicts.is_empty() { Committed::Done } else { Committed::Conflict(conflicts) }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Unavailable(why) => write!(f, "the store is unavailable: {why}"),
            Error::Corrupt(why) => write!(f, "the store is corrupt: {why}"),
        }
    }
}

impl std::error::Error for Error {}
