//! The store in one file of this process: shoppers in memory and in a log, everything else in tables ordered by time.
//!
//! One thread writes; whatever waits for it shares one synchronisation. Memory changes only after the file has.

#[cfg(test)]
mod any_bytes;
mod calls;
mod codec;
mod dead;
mod disk;
mod erasure;
mod export;
mod file;
mod group;
mod import;
mod index;
mod log;
mod migration;
mod prepared;
mod read;
mod tables;
mod volatile;
mod writer;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    notification::Channel,
    time::Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    calls::{Call, Reply},
    erasure::Scrub,
    file::File,
    prepared::{Prepared, encode_all},
    volatile::{Counted, Effect, Extent, Volatile},
    writer::{Job, Writer},
};
use super::{
    Answer, Catalog, CatalogItem, Claim, Commit, Committed, Config, DeadQuery, Durable, Error, Horizon, JournalQuery,
    Life, Loss, Note, Queue, Record, Settlement, Sizes, Step, Store, note,
    rows::{Batch, Contents, Export},
    state::Pending,
};
use crate::report::Event;

/// The store in one file.
#[derive(Debug)]
pub struct Embedded {
    file: Arc<File>,
    volatile: Arc<Volatile>,
    jobs: mpsc::Sender<Job>,
}

impl Embedded {
    /// Opens or makes the file, reads the shoppers and starts the writer.
    ///
    /// # Errors
    /// If the file can't be read, is used by another process, or was written by a newer version.
    pub async fn open(config: Config) -> Result<Embedded, Error> {
        blocking(move || Embedded::start(&config, File::open(&config)?)).await
    }

    /// Whether another process has the file open.
    pub async fn is_in_use(config: &Config) -> bool {
        let path = config.path.clone();
        let used = move || Ok(File::is_in_use(&path));
        blocking(used).await.unwrap_or(false)
    }

    fn start(config: &Config, file: File) -> Result<Embedded, Error> {
        let file = Arc::new(file);
        let transaction = file.begin()?;
        migration::prepare(&transaction)?;
        transaction.commit()?;
        let volatile = Arc::new(Volatile::new());
        let (extent, durable) = file.read_first(|transaction| {
            index(transaction, &volatile)?;
            let mut extent = log::recover(transaction, &volatile)?;
            extent.tail = index::tail_entries(&transaction.open_table(tables::TAIL)?)?;
            Ok((extent, tables::sequence(transaction)?))
        })?;
        let (jobs, waiting) = mpsc::channel(config.queue_max.max(1));
        let writer = Writer {
            file: file.clone(),
            volatile: volatile.clone(),
            jobs: waiting,
            group_max: config.group_max.max(1),
            extent,
            durable,
            sequence: durable,
            scrub: Scrub::begin(volatile.erasures()),
            doubt: None,
            resting: false,
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(Embedded { file, volatile, jobs })
    }

    async fn ask(&self, call: Call) -> Result<Reply, Error> {
        let stopped = || Error::Unavailable("the writer has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { call, reply }).await.map_err(|_| stopped())?;
        let reply = answer.await.map_err(|_| stopped())??;
        if let Reply::Unreadable(error) = reply { Err(error) } else { Ok(reply) }
    }

    async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&redb::ReadTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = self.file.clone();
        let read = blocking(move || file.read(body)).await;
        self.mended(read).await
    }

    /// What was read. After an error the file refuses everything until the writer reopens it, which it does when it is
    /// told, not only when somebody has something to write.
    async fn mended<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        if matches!(read, Err(Error::Unavailable(_))) {
            drop(self.ask(Call::Mend).await);
        }
        read
    }
}

/// Reads what memory must know of tables other than the log.
fn index(transaction: &redb::ReadTransaction, volatile: &Volatile) -> Result<(), Error> {
    let generation = tables::catalog_generation(&transaction.open_table(tables::META)?)?;
    let mut effects = vec![Effect::Known(tables::sequence(transaction)?), Effect::Catalog(generation)];
    let erasures = tables::erasures(transaction)?;
    effects.extend(erasures.into_iter().map(|(mark, sequence)| Effect::Erased { mark, sequence }));
    for row in transaction.open_table(tables::ANSWERS)?.range::<(i64, u64)>(..)? {
        let (place, answer) = row?;
        effects.push(Effect::Kept { hash: answer.value().0, place: place.value() });
    }
    let outbox = transaction.open_table(tables::OUTBOX)?;
    let mut waiting: BTreeMap<Queue, u64> = BTreeMap::new();
    for row in outbox.range::<tables::Slot>(..)? {
        *waiting.entry(tables::place(row?.0.value())?.0).or_default() += 1;
    }
    effects.extend(waiting.into_iter().map(|(queue, count)| Effect::Entered(queue, count)));
    volatile.apply(effects, &mut Extent::default());
    Ok(())
}

fn is_volatile(commit: &Commit) -> bool {
    let unchanged = commit.changes.iter().all(|change| matches!(change.state, Durable::Unchanged));
    unchanged && commit.outbox.is_empty() && commit.events.is_empty()
}

async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(body).await;
    ended.unwrap_or_else(|error| Err(Error::Unavailable(format!("the store could not read: {error}"))))
}

fn mismatch() -> Error {
    Error::Unavailable("the writer answered another question".to_owned())
}

#[async_trait]
impl Store for Embedded {
    async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error> {
        Ok(ids.iter().map(|id| self.volatile.state.load(id)).collect())
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, Error> {
        if !is_volatile(&commit) {
            let reply = self.ask(Call::Commit(Prepared::encode(commit)?)).await?;
            return if let Reply::Committed(committed) = reply { Ok(committed) } else { Err(mismatch()) };
        }
        let state = &self.volatile.state;
        let conflicts = state.conflicts(commit.changes.iter(), &commit.bonds, &Pending::default());
        commit.leave_out(&conflicts);
        for change in commit.changes {
            state.set_tracks(&change.id, change.version, change.tracks);
        }
        Ok(conflicts.into())
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        Ok(devices.iter().map(|device| self.volatile.state.owner(device)).collect())
    }

    async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error> {
        Ok(self.volatile.state.order_owner(order))
    }

    async fn claim(&self, queue: Queue, now: Timestamp, limit: usize, lease: Duration) -> Result<Claim, Error> {
        let (file, volatile) = (self.file.clone(), self.volatile.clone());
        let claim = blocking(move || read::claim(&file, &volatile, (queue, now), limit, lease)).await;
        self.mended(claim).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        let prepare = |mut settlement: Settlement| {
            settlement.check();
            let then = encode_all(std::mem::take(&mut settlement.then))?;
            Ok((settlement, then))
        };
        let settlements = settlements.into_iter().map(prepare).collect::<Result<_, Error>>()?;
        self.ask(Call::Settle(settlements)).await.map(drop)
    }

    fn outbox_grew(&self) -> watch::Receiver<u64> {
        self.volatile.grew.subscribe()
    }

    async fn due_wakes(&self, now: Timestamp, limit: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        Ok(self.volatile.state.due_wakes(now, limit))
    }

    fn wakes_changed(&self) -> watch::Receiver<u64> {
        self.volatile.state.wakes_changed().subscribe()
    }

    async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        let reply = self.ask(Call::Budget { campaign: campaign.clone(), total, want }).await?;
        if let Reply::Taken(taken) = reply { Ok(taken) } else { Err(mismatch()) }
    }

    async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error> {
        self.read(move |transaction| read::life(transaction, id)).await
    }

    async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error> {
        let reply = self.ask(Call::Report(id, step)).await?;
        if let Reply::Known(known) = reply { Ok(known) } else { Err(mismatch()) }
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<Life>, Error> {
        self.read(move |transaction| dead::list(transaction, &query)).await
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<Event>, Error> {
        self.read(move |transaction| read::journal(transaction, &query)).await
    }

    async fn prune(&self, horizon: Horizon) -> Result<(), Error> {
        let mut from = Some(0);
        while let Some(at) = from {
            let Reply::Pruned(next) = self.ask(Call::Prune { horizon, from: at }).await? else {
                return Err(mismatch());
            };
            from = next;
        }
        Ok(())
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        self.read(read::catalog).await
    }

    async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        let reply = self.ask(Call::Catalog { items, generation }).await?;
        if let Reply::Generation(generation) = reply { Ok(generation) } else { Err(mismatch()) }
    }

    fn catalog_changed(&self) -> watch::Receiver<u64> {
        self.volatile.generation.subscribe()
    }

    async fn answer(&self, key: &str) -> Result<Option<Answer>, Error> {
        let Some(place) = read::answer_place(&self.volatile, key) else { return Ok(None) };
        let key = key.to_owned();
        self.read(move |transaction| read::answer(transaction, place, &key)).await
    }

    async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error> {
        self.ask(Call::Keep { key: key.to_owned(), answer, at }).await.map(drop)
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        let name = name.to_owned();
        self.read(move |transaction| read::note(transaction, &name)).await
    }

    async fn keep_note(&self, name: &str, bytes: Vec<u8>, version: u64) -> Result<Option<u64>, Error> {
        note::check(name, &bytes)?;
        let reply = self.ask(Call::Note { name: name.to_owned(), bytes, version }).await?;
        if let Reply::Noted(version) = reply { Ok(version) } else { Err(mismatch()) }
    }

    async fn export(&self) -> Result<Box<dyn Export>, Error> {
        let file = self.file.clone();
        let snapshot = blocking(move || file.pin()).await?;
        Ok(Box::new(export::Reading::begin(snapshot)))
    }

    async fn contents(&self) -> Result<Contents, Error> {
        let reply = self.ask(Call::Contents).await?;
        if let Reply::Contents(contents) = reply { Ok(contents) } else { Err(mismatch()) }
    }

    async fn import(&self, batch: Batch) -> Result<(), Error> {
        self.ask(Call::Import(batch)).await.map(drop)
    }

    async fn sizes(&self) -> Result<Sizes, Error> {
        let mut waiting: BTreeMap<_, _> = Channel::ALL.into_iter().map(|channel| (channel, 0)).collect();
        let Counted { waiting: queues, tally } = self.volatile.counted();
        queues.iter().for_each(|(queue, count)| *waiting.entry(queue.channel).or_default() += count);
        let (shoppers, bytes) = (self.volatile.state.shoppers(), self.file.bytes());
        Ok(Sizes { shoppers, waiting, queues, sums: tally.sums(), bytes })
    }

    fn crash_loss(&self) -> Loss {
        Loss::Nothing
    }

    async fn close(&self) -> Result<(), Error> {
        self.ask(Call::Close).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
