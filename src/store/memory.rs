//! The store in memory, for simulation and trials: deterministic, with faults on demand. Nothing outlives it.

mod faults;
mod moves;
mod outbox;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use parvis_engine::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    notification::{Channel, Notification},
    time::Timestamp,
};
use tokio::sync::watch;

pub use self::faults::{Fault, Faults};
use super::{
    Answer, Catalog, CatalogItem, Change, Claim, Commit, Committed, Cursor, DeadQuery, Durable, Error, Horizon,
    JournalQuery, Life, Loss, Note, Queue, Record, Settlement, Sizes, Step, Store,
    leases::{Leases, Place},
    life::Progress,
    note,
    rows::{Batch, Contents, Export},
    state::{Origin, Pending, Put, State},
    sums::Tally,
};
use crate::report::Event;

/// The store in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<State>,
    rest: Arc<Mutex<Rest>>,
    grew: watch::Sender<u64>,
    generation: watch::Sender<u64>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Rest {
    outbox: BTreeMap<Place, u32>,
    leases: Leases,
    messages: BTreeMap<NotificationId, (Notification, Progress)>,
    dead: BTreeSet<Cursor>,
    journal: BTreeMap<(Timestamp, u64), Event>,
    recorded: u64,
    catalog: BTreeMap<(String, String), String>,
    answers: BTreeMap<String, (Timestamp, Answer)>,
    spent: BTreeMap<CampaignId, u64>,
    notes: BTreeMap<String, Note>,
    tally: Tally,
    /// The import that has not ended, and how many rows of it are here.
    part: Option<(u64, u64)>,
    closed: bool,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory {
            state: Arc::new(State::new()),
            rest: Arc::default(),
            grew: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            faults: Faults::default(),
        }
    }

    /// The handle that makes calls fail.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Loses what a crash of the process would lose: tracks and leases.
    pub fn crash(&self) {
        self.state.forget_tracks();
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.leases.clear();
        rest.closed = false;
        drop(rest);
        self.bump();
        self.state.wakes_changed().send_modify(|count| *count += 1);
    }

    fn rest(&self) -> Result<MutexGuard<'_, Rest>, Error> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.closed { Err(Error::Unavailable("closed".to_owned())) } else { Ok(rest) }
    }

    fn bump(&self) {
        self.grew.send_modify(|count| *count += 1);
    }

    fn apply(&self, rest: &mut Rest, commit: Commit) {
        for change in commit.changes {
            self.change(rest, change);
        }
        let mut grew = false;
        for message in commit.outbox {
            grew |= rest.enqueue(message);
        }
        for event in commit.events {
            rest.recorded += 1;
            rest.journal.insert((event.recorded_at, rest.recorded), event);
        }
        if grew {
            self.bump();
        }
    }

    fn change(&self, rest: &mut Rest, change: Change) {
        match change.state {
            Durable::Unchanged => self.state.set_tracks(&change.id, change.version, change.tracks),
            Durable::Replaced { shopper, wake } => {
                let version = change.version + 1;
                let put = Put { version, shopper, tracks: change.tracks, wake, origin: Origin::default() };
                self.state.put(put);
            }
            Durable::Erased => {
                self.state.remove(&change.id);
                rest.erase(&change.id);
            }
        }
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

#[async_trait]
impl Store for Memory {
    async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error> {
        let spoilt = ids.iter().find(|id| self.faults.planned().unreadable.contains(*id));
        match spoilt {
            Some(id) => Err(Error::Corrupt(format!("shopper {id}: injected"))),
            None => Ok(ids.iter().map(|id| self.state.load(id)).collect()),
        }
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, Error> {
        let mut rest = self.rest()?;
        let fault = self.faults.planned().commits.pop_front();
        match fault {
            Some(Fault::Before) => return Err(Error::Unavailable("injected, before".to_owned())),
            Some(Fault::Corrupt) => return Err(Error::Corrupt("injected".to_owned())),
            Some(Fault::Conflict) if !commit.changes.is_empty() => {
                return Ok(Committed::Conflict(commit.changes.into_iter().map(|change| change.id).collect()));
            }
            Some(Fault::After | Fault::Conflict) | None => {}
        }
        let conflicts = self.state.conflicts(commit.changes.iter(), &commit.bonds, &Pending::default());
        commit.leave_out(&conflicts);
        self.apply(&mut rest, commit);
        match fault {
            Some(Fault::After) => Err(Error::Unavailable("injected, after".to_owned())),
            Some(Fault::Before | Fault::Corrupt | Fault::Conflict) | None => Ok(conflicts.into()),
        }
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        Ok(devices.iter().map(|device| self.state.owner(device)).collect())
    }

    async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error> {
        Ok(self.state.order_owner(order))
    }

    async fn claim(&self, queue: Queue, now: Timestamp, limit: usize, lease: Duration) -> Result<Claim, Error> {
        Ok(self.rest()?.claim(queue, now, limit, lease))
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        settlements.iter().for_each(Settlement::check);
        let mut rest = self.rest()?;
        let fault = self.faults.planned().settlements.pop_front();
        if fault == Some(Fault::Corrupt) {
            return Err(Error::Corrupt("injected".to_owned()));
        }
        if matches!(fault, Some(Fault::Before | Fault::Conflict)) {
            return Err(Error::Unavailable("injected, before".to_owned()));
        }
        let mut grew = false;
        for settlement in settlements {
            grew |= rest.settle(settlement);
        }
        drop(rest);
        if grew {
            self.bump();
        }
        if fault.is_some() { Err(Error::Unavailable("injected, after".to_owned())) } else { Ok(()) }
    }

    fn outbox_grew(&self) -> watch::Receiver<u64> {
        self.grew.subscribe()
    }

    async fn due_wakes(&self, now: Timestamp, limit: usize) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        Ok(self.state.due_wakes(now, limit))
    }

    fn wakes_changed(&self) -> watch::Receiver<u64> {
        self.state.wakes_changed().subscribe()
    }

    async fn lease_budget(&self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        let mut rest = self.rest()?;
        let spent = rest.spent.entry(campaign.clone()).or_default();
        let taken = want.min(total.saturating_sub(*spent));
        *spent += taken;
        Ok(taken)
    }

    async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error> {
        Ok(self.rest()?.messages.get(&id).map(|(message, progress)| progress.clone().of(message.clone())))
    }

    async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error> {
        let mut rest = self.rest()?;
        let Some((_, progress)) = rest.messages.get_mut(&id) else { return Ok(false) };
        progress.report(step);
        Ok(true)
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<Life>, Error> {
        Ok(self.rest()?.list_dead(&query))
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<Event>, Error> {
        let rest = self.rest()?;
        let from = (query.since.unwrap_or(Timestamp::MIN), 0);
        let to = query.until.map_or((Timestamp::MAX, u64::MAX), |until| (until, 0));
        if from >= to {
            return Ok(Vec::new());
        }
        let mut newest: Vec<_> = rest
            .journal
            .range(from..to)
            .rev()
            .map(|(_, event)| event)
            .filter(|event| query.shopper.as_ref().is_none_or(|shopper| event.shopper == *shopper))
            .take(query.limit)
            .cloned()
            .collect();
        newest.reverse();
        Ok(newest)
    }

    async fn prune(&self, horizon: Horizon) -> Result<(), Error> {
        let mut rest = self.rest()?;
        rest.journal.retain(|(at, _), _| *at >= horizon.rows);
        rest.answers.retain(|_, (at, _)| *at >= horizon.answers);
        rest.forget_ended(horizon.rows);
        Ok(())
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        let rest = self.rest()?;
        let item = |((kind, id), json): (&(String, String), &String)| CatalogItem {
            kind: kind.clone(),
            id: id.clone(),
            json: Some(json.clone()),
        };
        Ok(Catalog { generation: *self.generation.borrow(), items: rest.catalog.iter().map(item).collect() })
    }

    async fn put_catalog(&self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        let mut rest = self.rest()?;
        if *self.generation.borrow() != generation {
            return Ok(None);
        }
        for CatalogItem { kind, id, json } in items {
            match json {
                Some(json) => rest.catalog.insert((kind, id), json),
                None => rest.catalog.remove(&(kind, id)),
            };
        }
        self.generation.send_replace(generation + 1);
        Ok(Some(generation + 1))
    }

    fn catalog_changed(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    async fn answer(&self, key: &str) -> Result<Option<Answer>, Error> {
        Ok(self.rest()?.answers.get(key).map(|(_, answer)| answer.clone()))
    }

    async fn keep_answer(&self, key: &str, answer: Answer, at: Timestamp) -> Result<(), Error> {
        self.rest()?.answers.entry(key.to_owned()).or_insert((at, answer));
        Ok(())
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        Ok(self.rest()?.notes.get(name).cloned())
    }

    async fn keep_note(&self, name: &str, bytes: Vec<u8>, version: u64) -> Result<Option<u64>, Error> {
        note::check(name, &bytes)?;
        let mut rest = self.rest()?;
        if rest.notes.get(name).map_or(0, |note| note.version) != version {
            return Ok(None);
        }
        let version = version + 1;
        rest.notes.insert(name.to_owned(), Note { version, bytes });
        Ok(Some(version))
    }

    async fn export(&self) -> Result<Box<dyn Export>, Error> {
        self.rows().map(|rows| Box::new(rows) as Box<dyn Export>)
    }

    async fn contents(&self) -> Result<Contents, Error> {
        Ok(self.contents_of(&*self.rest()?))
    }

    async fn import(&self, batch: Batch) -> Result<(), Error> {
        self.take_in(batch)
    }

    fn crash_loss(&self) -> Loss {
        Loss::Everything
    }

    async fn sizes(&self) -> Result<Sizes, Error> {
        let rest = self.rest()?;
        let mut waiting: BTreeMap<_, _> = Channel::ALL.into_iter().map(|channel| (channel, 0)).collect();
        let mut queues = BTreeMap::new();
        for (queue, _, _) in rest.outbox.keys() {
            *waiting.entry(queue.channel).or_default() += 1;
            *queues.entry(*queue).or_default() += 1;
        }
        Ok(Sizes { shoppers: self.state.shoppers(), waiting, queues, sums: rest.tally.sums(), bytes: 0 })
    }

    async fn close(&self) -> Result<(), Error> {
        self.rest()?.closed = true;
        Ok(())
    }
}
