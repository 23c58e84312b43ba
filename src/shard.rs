//! Owns a part of the shoppers: takes what waits, decides all, commits once, then answers.
//!
//! A shard keeps no shopper from one batch to the next; caching is the store's business.

mod batch;
mod inbox;
#[cfg(test)]
mod lost_answers;
mod work;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parvis_engine::{
    change::{Registration, Signal, live},
    decide::{Budgets, Suppression, Verdict},
    id::{DeviceId, NotificationId, OrderId, ShopperId},
    matching::Transition,
    observation::{Observation, Rejected},
    order::{self, OrderEvent},
    problem::{Problem, Requirements},
    shopper::{Profile, PushTarget},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::{
    batch::{Batch, nobody},
    inbox::{Answers, Inbox, Job, Refusal, Reply, Shards},
    work::Work,
};
use crate::{
    catalog::Catalog,
    clock::Clock,
    report::Reporter,
    store::{self, Committed, Store},
    webhook::Webhooks,
};

/// How shards work; section `[shards]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many shards there are.
    pub count: usize,
    /// How many jobs may wait in one inbox.
    pub inbox_max: usize,
    /// How many jobs are decided and committed at once.
    pub batch_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { count: 8, inbox_max: 4096, batch_max: 512 }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        must.require((1..=1_024).contains(&self.count), "/count", "must be from 1 to 1024");
        must.require(self.inbox_max > 0, "/inbox_max", "must be at least 1");
        must.require(self.batch_max > 0, "/batch_max", "must be at least 1");
        must.require(self.batch_max <= self.inbox_max, "/batch_max", "must be at most inbox_max");
        must.into_problems()
    }
}

/// Something to be done for one shopper, in the order of arrival.
#[derive(Clone, Debug)]
pub enum Input {
    /// A device reported.
    Observed {
        /// Which device.
        device: DeviceId,
        /// What it reported, in any order.
        observations: Vec<Observation>,
    },
    /// A timer of this shopper is due.
    Wake,
    /// An order changed.
    Order {
        /// Which order.
        order: OrderId,
        /// What happened.
        event: OrderEvent,
    },
    /// A device is registered for this shopper, whoever owned it before.
    Register {
        /// Which device.
        device: DeviceId,
        /// What is said about it.
        registration: Registration,
    },
    /// A device is no longer to be known.
    Deregister {
        /// Which device.
        device: DeviceId,
    },
    /// An app says how its phone shows orders all the time.
    Live {
        /// Which device.
        device: DeviceId,
        /// What it says.
        report: live::Report,
    },
    /// The retailer says who the shopper is.
    Profile(Profile),
    /// An interest was shown.
    Signal(Signal),
    /// Everything about the shopper is to be forgotten.
    Erase,
    /// A provider says that a target is gone.
    Unregistered {
        /// Whose.
        device: DeviceId,
        /// Which.
        target: PushTarget,
        /// Since when, if the provider knows.
        since: Option<Timestamp>,
    },
}

/// The answer to [`Input::Observed`], after the commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// For each observation in the order given: taken, or why not.
    pub results: Vec<Result<(), Rejected>>,
    /// What they caused, oldest first.
    pub transitions: Vec<Transition>,
    /// A distance from the last fix within which nothing can change, metres.
    pub safe_radius_m: Option<f64>,
}

impl Observed {
    /// Everything taken, nothing caused.
    pub fn new(count: usize) -> Observed {
        Observed { results: vec![Ok(()); count], transitions: Vec::new(), safe_radius_m: None }
    }
}

/// The answer to an input, after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To an observation.
    Observed(Observed),
    /// To an order event.
    Order {
        /// What it meant for the order.
        change: order::Change,
        /// The messages that it caused.
        notifications: Vec<NotificationId>,
    },
    /// To a report about what is shown all the time: taken, or why not.
    Live(Result<(), live::Refusal>),
    /// Whether there was something to delete.
    Deleted(bool),
    /// To anything else.
    Done,
}

/// What a shard works with.
#[derive(Clone)]
pub struct Tools {
    /// Where shoppers live.
    pub store: Arc<dyn Store>,
    /// Where the world comes from.
    pub catalog: Catalog,
    /// What time it is.
    pub clock: Clock,
    /// Who is told what happened.
    pub reporter: Reporter,
    /// The retailer's own systems that are told.
    pub webhooks: Webhooks,
    /// Cancelled when waiting for a store that is away must end.
    pub abandon: CancellationToken,
}

/// The owner of a part of the shoppers.
pub struct Shard {
    inbox: mpsc::Receiver<Job>,
    stalled: Arc<AtomicBool>,
    next: Vec<Job>,
    batch_max: usize,
    tools: Tools,
    budgets: Budgets,
    /// Totals of campaigns of which nothing was left: asking again would cost every batch a synchronisation of the disk.
    spent: Budgets,
}

impl Shard {
    /// A shard and the way into it.
    pub fn new(config: &Config, tools: Tools) -> (Inbox, Shard) {
        let (sender, jobs) = mpsc::channel(config.inbox_max);
        let (budgets, spent) = (Budgets::new(), Budgets::new());
        let inbox = Inbox::from(sender);
        let stalled = inbox.stalled.clone();
        (inbox, Shard { inbox: jobs, stalled, next: Vec::new(), batch_max: config.batch_max, tools, budgets, spent })
    }

    /// What waits, at most a batch; none when the last handle is gone and the inbox is empty.
    pub async fn take(&mut self) -> Option<Vec<Job>> {
        let mut jobs = std::mem::take(&mut self.next);
        if jobs.is_empty() && self.inbox.recv_many(&mut jobs, self.batch_max).await == 0 {
            return None;
        }
        // An erasure ends its batch, so that what comes after it is a new beginning.
        if let Some(at) = jobs.iter().position(|job| matches!(job.input, Input::Erase)) {
            self.next = jobs.split_off(at + 1);
        }
        Some(jobs)
    }

    /// The shoppers that these jobs touch, as they are now. Jobs that touch one who can't be read are refused.
    pub async fn load(&self, jobs: &mut Vec<Job>) -> Batch {
        loop {
            match self.try_load(jobs).await {
                Ok(batch) => {
                    self.go_on();
                    return batch;
                }
                // Many nodes may share this store: to end the process would end one after the other.
                Err(store::Error::Corrupt(_)) => self.refuse_unreadable(jobs).await,
                Err(error @ store::Error::Unavailable(_)) => self.wait_out("load", error).await,
            }
        }
    }

    /// Takes more of the budgets that ran dry in this batch; true if it got some, so that the batch is worth deciding again.
    pub async fn lease_budgets(&mut self, batch: &Batch) -> bool {
        let mut got_some = false;
        for (campaign, (total, missed)) in batch.dry_budgets() {
            if self.spent.get(&campaign) == Some(&total) {
                continue;
            }
            // What is missed, or a 256th: few round trips, and little lies idle in other shards when the end is near.
            let want = (total / 256).clamp(1, 100).max(missed);
            let leased = loop {
                match self.tools.store.lease_budget(&campaign, total, want).await {
                    Ok(leased) => break leased,
                    Err(error) => self.wait_out("lease_budget", error).await,
                }
            };
            self.go_on();
            if leased == 0 {
                self.spent.insert(campaign, total);
                continue;
            }
            *self.budgets.entry(campaign).or_insert(0) += leased;
            got_some = true;
        }
        got_some
    }

    /// Commits what a batch became, but for shoppers with whom another writer was faster: those leave the batch.
    pub async fn commit(&mut self, batch: &mut Batch) -> Committed {
        batch.tell(&self.tools.webhooks);
        let mut commit = batch.commit();
        if commit.changes.is_empty() && commit.outbox.is_empty() && commit.events.is_empty() {
            return Committed::Done;
        }
        let mut unsure = false;
        let committed = loop {
            match self.tools.store.commit(commit).await {
                Ok(committed) => break committed,
                Err(error) => self.wait_out("commit", error).await,
            }
            unsure = true;
            commit = batch.commit();
        };
        self.go_on();
        if let Committed::Conflict(shoppers) = &committed {
            self.tools.reporter.conflict();
            let withdrawn = batch.withdraw(shoppers);
            // The conflict may be with the first try, whose answer was lost: what it took of budgets stays spent.
            if !unsure {
                withdrawn
                    .into_iter()
                    .for_each(|(campaign, count)| *batch.budgets.entry(campaign).or_insert(0) += count);
            }
        }
        committed
    }

    /// Answers what is committed, and gives back the jobs that are to be decided again.
    pub fn answer(
        &mut self,
        jobs: Vec<Job>,
        answers: Vec<Answer>,
        mut batch: Batch,
        committed: &Committed,
    ) -> Vec<Job> {
        self.budgets = std::mem::take(&mut batch.budgets);
        batch.report(&self.tools.reporter);
        let mut again = Vec::new();
        for (job, answer) in jobs.into_iter().zip(answers) {
            if matches!(committed, Committed::Conflict(shoppers) if shoppers.contains(&job.shopper)) {
                again.push(job);
            } else {
                job.reply.send(Ok(answer));
            }
        }
        again
    }

    async fn try_load(&self, jobs: &[Job]) -> Result<Batch, store::Error> {
        let Tools { store, catalog, clock, .. } = &self.tools;
        let devices: Vec<DeviceId> = jobs.iter().filter_map(Job::registers).cloned().collect();
        let owners = if devices.is_empty() { Vec::new() } else { store.owners(&devices).await? };
        let mut ids: Vec<ShopperId> =
            jobs.iter().map(|job| &job.shopper).chain(owners.iter().flatten()).cloned().collect();
        // In their order, so that a store sees at a glance that nobody is among them twice.
        ids.sort_unstable();
        ids.dedup();
        let records = store.load(&ids).await?;
        let owners = devices.into_iter().zip(owners).filter_map(|(device, owner)| Some((device, owner?)));
        Ok(Batch::new(catalog.world(), records, owners.collect(), self.budgets.clone(), clock.now()))
    }

    /// Whoever can't be read waits for an operator; the others do not.
    async fn refuse_unreadable(&self, jobs: &mut Vec<Job>) {
        for job in std::mem::take(jobs) {
            let why = loop {
                match self.try_load(std::slice::from_ref(&job)).await {
                    Ok(_) => break None,
                    Err(store::Error::Corrupt(why)) => break Some(why),
                    Err(error @ store::Error::Unavailable(_)) => self.wait_out("load", error).await,
                }
            };
            match why {
                None => jobs.push(job),
                Some(why) => {
                    tracing::error!("an input is refused, and an operator is needed: {why}");
                    let told = "what is stored of this shopper can't be read; an operator is needed".to_owned();
                    job.reply.send(Err(Refusal::Unavailable(told)));
                }
            }
        }
    }

    /// Waits before the store is asked again. Meanwhile new inputs are refused at the door; what is inside waits.
    async fn wait_out(&self, operation: &str, error: store::Error) {
        const PAUSE: Duration = Duration::from_millis(200);
        match error {
            store::Error::Corrupt(_) => panic!("{operation}: {error}"),
            store::Error::Unavailable(why) => {
                if !self.stalled.swap(true, Ordering::Relaxed) {
                    tracing::warn!(store.operation = operation, "the store is unavailable, trying again: {why}");
                }
            }
        }
        tokio::select! { biased;
            () = self.tools.abandon.cancelled() => std::future::pending().await,
            () = self.tools.clock.sleep(PAUSE) => {}
        }
    }

    fn go_on(&self) {
        if self.stalled.swap(false, Ordering::Relaxed) {
            tracing::info!("the store is back");
        }
    }
}

impl Job {
    fn registers(&self) -> Option<&DeviceId> {
        if let Input::Register { device, .. } = &self.input { Some(device) } else { None }
    }
}

/// The campaign whose budget a verdict missed, and its total.
fn missed_budget(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Suppress(Suppression::Budget { total }) => Some(*total),
        Verdict::Send(_) | Verdict::Suppress(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::{
        observation::{Fix, Position},
        shopper::{Consent, Device, Shopper},
        world,
    };
    use serde_json::json;

    use super::*;
    use crate::{
        catalog::{self, Kind, Sources},
        report,
        store::{Change, Commit, Durable, memory::Memory},
    };

    const NOW: i64 = 1_700_000_000_000;

    fn visitor(number: u32) -> Change {
        let now = Timestamp::from_millis(NOW);
        let mut shopper = Shopper::new(format!("C-{number}").parse().expect("an id"));
        let yes = Some(Consent { granted: true, at: now, text: None });
        (shopper.profile.consents.location, shopper.profile.consents.offers) = (yes.clone(), yes);
        let target = PushTarget::Fcm { token: Some("token".into()), fid: None };
        let device = Device::new("android".to_owned(), Some(target), now);
        shopper.devices.insert(format!("phone-{number}").parse().expect("an id"), device);
        let (id, shopper) = (shopper.id.clone(), Arc::new(shopper));
        Change { version: 0, id, state: Durable::Replaced { shopper, wake: None }, tracks: Default::default() }
    }

    fn enters(number: u32) -> Job {
        let fix = Fix {
            at: Timestamp::from_millis(NOW),
            position: Position { lat: 48.86, lon: 2.35 },
            accuracy_m: 5.0,
            speed_mps: None,
            course_deg: None,
            floor: None,
        };
        let device = format!("phone-{number}").parse().expect("an id");
        let input = Input::Observed { device, observations: vec![Observation::Fix(fix)] };
        Job { shopper: format!("C-{number}").parse().expect("an id"), input, reply: Reply::alone().0 }
    }

    /// A campaign of three messages, a store that knows ten people, and one shard.
    async fn shop() -> (Memory, Shard) {
        let memory = Memory::new();
        let changes = (0..10).map(visitor).collect();
        let known = memory.commit(Commit { changes, ..Commit::default() }).await;
        assert_eq!(known, Ok(Committed::Done));
        let folder = tempfile::tempdir().expect("a folder");
        let sources = Sources {
            folder: folder.path().to_owned(),
            config: catalog::Config::default(),
            settings: world::Settings::default(),
        };
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let (catalog, worker) = Catalog::open(sources, store.clone()).await.expect("an empty catalog");
        tokio_util::task::TaskTracker::new().spawn(worker.run());
        let fence = json!({"type": "Feature", "id": "shop", "properties": {"radius_m": 500.0},
            "geometry": {"type": "Point", "coordinates": [2.35, 48.86]}});
        let campaign = json!({"id": "few", "purpose": "offer", "on": {"transition": "enter"}, "budget": {"total": 3},
            "content": {"en": {"title": "Few", "body": "First come"}}});
        catalog.put(Kind::Geofence, vec![fence]).await.expect("a sound fence");
        catalog.put(Kind::Campaign, vec![campaign]).await.expect("a sound campaign");
        let tools = Tools {
            store,
            catalog,
            clock: Clock::simulated(Timestamp::from_millis(NOW)),
            reporter: Reporter::new(&report::Config::default()),
            webhooks: Webhooks::default(),
            abandon: CancellationToken::new(),
        };
        (memory, Shard::new(&Config::default(), tools).1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_leased_as_needed_and_asked_for_once_when_it_is_spent() {
        let (memory, mut shard) = shop().await;
        let mut jobs: Vec<Job> = (0..5).map(enters).collect();
        let mut batch = shard.load(&mut jobs).await;
        batch.decide(&jobs);
        assert!(shard.lease_budgets(&batch).await, "all that is left in one go");
        let mut batch = shard.load(&mut jobs).await;
        batch.decide(&jobs);
        assert_eq!(batch.commit().outbox.len(), 3);
        assert!(!shard.lease_budgets(&batch).await, "nothing is left");
        memory.close().await.expect("closes");
        assert!(!shard.lease_budgets(&batch).await, "and the store is not asked again");
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_was_changed_by_another_writer_is_decided_again() {
        let (memory, mut shard) = shop().await;
        let mut jobs: Vec<Job> = (0..2).map(enters).collect();
        let mut batch = shard.load(&mut jobs).await;
        batch.decide(&jobs);
        assert!(shard.lease_budgets(&batch).await);
        let mut batch = shard.load(&mut jobs).await;
        let answers = batch.decide(&jobs);
        let left = *batch.budgets.values().next().expect("leased");
        let other = Commit { changes: vec![Change { version: 1, ..visitor(0) }], ..Commit::default() };
        assert_eq!(memory.commit(other).await, Ok(Committed::Done));
        let committed = shard.commit(&mut batch).await;
        assert_eq!(committed, Committed::Conflict(vec![jobs[0].shopper.clone()]));
        let again = shard.answer(jobs, answers, batch, &committed);
        assert_eq!(again.iter().map(|job| job.shopper.as_str()).collect::<Vec<_>>(), ["C-0"]);
        assert_eq!(shard.budgets.values().sum::<u64>(), left + 1, "what the withdrawn decision took is there again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_can_not_be_read_is_refused_and_the_others_are_served() {
        let (memory, shard) = shop().await;
        memory.faults().spoil("C-1".parse().expect("an id"));
        let mut jobs: Vec<Job> = (0..3).map(enters).collect();
        let (reply, refused) = Reply::alone();
        jobs[1].reply = reply;
        let mut batch = shard.load(&mut jobs).await;
        assert_eq!(jobs.iter().map(|job| job.shopper.as_str()).collect::<Vec<_>>(), ["C-0", "C-2"]);
        assert!(matches!(refused.one().await, Err(Refusal::Unavailable(_))));
        assert_eq!(batch.decide(&jobs).len(), 2);
    }
}
