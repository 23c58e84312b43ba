//! One channel's way out: claims due entries under lease, keeps a rolling window of attempts, settles in groups.

use std::{sync::Arc, time::Duration};

use parvis_engine::{
    decide::Suppression,
    id::ShopperId,
    notification::{Address, Channel, Milestone, Notification, Recipient},
    problem::{Problem, Requirements},
    retry::{Next, Patience},
    shopper::Shopper,
    time::Timestamp,
    world::World,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    catalog::Catalog,
    clock::Clock,
    delivery::Couriers,
    entropy::Entropy,
    pipeline,
    report::Reporter,
    shard::{Input, Shards},
    store::{self, Claim, End, Entry, Record, Settlement, Store},
};

/// How lanes work; section `[lanes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many attempts of one channel may be under way.
    pub window: usize,
    /// How long a claim holds; longer than the deadline of a request, or a message would be sent twice.
    #[serde(with = "parvis_engine::time::duration")]
    pub lease: Duration,
    /// How patiently a message is tried.
    pub patience: Patience,
}

impl Default for Config {
    fn default() -> Config {
        Config { window: 512, lease: Duration::from_secs(60), patience: Patience::default() }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        must.require((1..=100_000).contains(&self.window), "/window", "must be from 1 to 100000");
        must.require(self.patience.attempts_max > 0, "/patience/attempts_max", "must be at least 1");
        let Patience { backoff_min, backoff_max, .. } = self.patience;
        must.require(!backoff_min.is_zero(), "/patience/backoff_min", "must be longer than 0s");
        must.require(backoff_min <= backoff_max, "/patience/backoff_max", "must not be shorter than backoff_min");
        must.into_problems()
    }
}

/// What a lane works with.
#[derive(Clone)]
pub struct Tools {
    /// Where entries wait.
    pub store: Arc<dyn Store>,
    /// Where the world comes from.
    pub catalog: Catalog,
    /// The way to the providers.
    pub couriers: Arc<Couriers>,
    /// The shoppers' owners.
    pub shards: Shards,
    /// Who is told what happened.
    pub reporter: Reporter,
    /// What time it is.
    pub clock: Clock,
    /// Chance, for jitter.
    pub entropy: Entropy,
}

/// One channel's way out.
#[derive(Clone)]
pub struct Lane {
    /// The way to the providers.
    pub couriers: Arc<Couriers>,
    /// Who is told what happened.
    pub reporter: Reporter,
    /// What time it is.
    pub clock: Clock,
    /// Chance, for jitter.
    pub entropy: Entropy,
    /// How patiently a message is tried.
    pub patience: Patience,
    channel: Channel,
    lease: Duration,
    store: Arc<dyn Store>,
    catalog: Catalog,
    shards: Shards,
    window: Arc<Semaphore>,
    attempts: TaskTracker,
    settled: mpsc::Sender<Settlement>,
    grew: Arc<Mutex<watch::Receiver<u64>>>,
    shutdown: CancellationToken,
}

/// A claimed entry with what it is judged by.
#[derive(Debug)]
pub struct Leased {
    /// The entry.
    pub entry: Entry,
    /// Its shopper, as of the claim.
    pub shopper: Arc<Shopper>,
    /// The world, as of the claim.
    pub world: Arc<World>,
    _permit: OwnedSemaphorePermit,
}

impl Leased {
    /// Where the message goes.
    pub fn address(&self) -> Option<Address> {
        let notification = &self.entry.notification;
        let address = match &notification.recipient {
            Recipient::Device(device) => Address::Target(self.shopper.devices.get(device)?.target.clone()?),
            Recipient::Address(address) => (**address).clone(),
            Recipient::Endpoint(_) => return None,
        };
        (address.channel() == notification.channel).then_some(address)
    }
}

/// What came of an entry.
#[derive(Debug)]
pub enum Verdict {
    /// No longer wanted.
    Suppressed(Suppression),
    /// Not yet.
    Postponed(Timestamp),
    /// A provider was asked.
    Tried(Next),
}

impl Lane {
    /// A lane, and the task that settles what it has done; that task ends after [`Lane::finish`].
    pub fn new(channel: Channel, config: &Config, tools: Tools, shutdown: CancellationToken) -> (Lane, Settler) {
        let (settled, results) = mpsc::channel(config.window.max(1) * 2);
        let settler = Settler {
            results,
            store: tools.store.clone(),
            clock: tools.clock.clone(),
            reporter: tools.reporter.clone(),
        };
        let lane = Lane {
            couriers: tools.couriers,
            reporter: tools.reporter,
            clock: tools.clock,
            entropy: tools.entropy,
            patience: config.patience.clone(),
            channel,
            lease: config.lease,
            grew: Arc::new(Mutex::new(tools.store.outbox_grew())),
            store: tools.store,
            catalog: tools.catalog,
            shards: tools.shards,
            window: Arc::new(Semaphore::new(config.window)),
            attempts: TaskTracker::new(),
            settled,
            shutdown,
        };
        (lane, settler)
    }

    /// Waits until something is due and there is room in the window; none when the node is closing.
    pub async fn claim(&self) -> Option<Vec<Leased>> {
        let mut grew = self.grew.lock().await;
        loop {
            let first = tokio::select! { biased;
                () = self.shutdown.cancelled() => return None,
                permit = self.window.clone().acquire_owned() => permit.ok()?,
            };
            let mut permits = vec![first];
            permits.extend(std::iter::from_fn(|| self.window.clone().try_acquire_owned().ok()));
            grew.mark_unchanged();
            let now = self.clock.now();
            match self.store.claim(self.channel, now, permits.len(), self.lease).await {
                Ok(Claim::Entries(entries)) => match self.leased(entries, permits).await {
                    Ok(leased) => return Some(leased),
                    Err(error) => self.pause(&error).await,
                },
                Ok(Claim::NothingUntil(due)) => {
                    drop(permits);
                    tokio::select! { biased;
                        () = self.shutdown.cancelled() => return None,
                        _ = grew.changed() => {}
                        () = self.clock.sleep_until(due) => {}
                    }
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Starts one attempt in the window.
    pub fn deliver_soon(&self, leased: Leased) {
        let lane = self.clone();
        self.attempts.spawn(async move {
            let verdict = pipeline::deliver(&lane, &leased).await;
            let settlement = lane.settlement(&leased, verdict).await;
            // The settler outlives every attempt.
            let _ = lane.settled.send(settlement).await;
        });
    }

    /// Waits for the attempts that are under way.
    pub async fn finish(self) {
        self.attempts.close();
        self.attempts.wait().await;
    }

    async fn leased(
        &self,
        entries: Vec<Entry>,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<Vec<Leased>, store::Error> {
        let ids: Vec<ShopperId> = entries.iter().map(|entry| entry.notification.shopper.clone()).collect();
        let shoppers = readable(&*self.store, &ids).await?;
        let world = self.catalog.world();
        let leased = entries.into_iter().zip(shoppers).zip(permits);
        Ok(leased
            .filter_map(|((entry, record), permit)| {
                let shopper = record?.shopper;
                Some(Leased { entry, shopper, world: world.clone(), _permit: permit })
            })
            .collect())
    }

    async fn settlement(&self, leased: &Leased, verdict: Verdict) -> Settlement {
        let Notification { id, shopper, channel, .. } = &leased.entry.notification;
        let tried = leased.entry.attempts + 1;
        let over = |milestone, detail, attempts| End::Terminal { milestone, detail, attempts };
        let end = match verdict {
            Verdict::Postponed(at) => End::Again { at, attempts: leased.entry.attempts, detail: None },
            Verdict::Suppressed(why) => {
                let milestone =
                    if matches!(why, Suppression::Expired { .. }) { Milestone::Expired } else { Milestone::Suppressed };
                over(milestone, Some(why.name().to_owned()), leased.entry.attempts)
            }
            Verdict::Tried(Next::Accepted) => over(Milestone::Accepted, None, tried),
            Verdict::Tried(Next::Again { at, reason }) => End::Again { at, attempts: tried, detail: Some(reason) },
            Verdict::Tried(Next::Dead { reason }) => over(Milestone::Dead, Some(reason), tried),
            Verdict::Tried(Next::Expired { reason }) => over(Milestone::Expired, Some(reason), tried),
            Verdict::Tried(Next::Unregistered { since, reason }) => {
                self.remove_target(leased, since).await;
                over(Milestone::Unregistered, Some(reason), tried)
            }
        };
        Settlement {
            shopper: shopper.clone(),
            channel: *channel,
            id: *id,
            lease: leased.entry.lease,
            at: self.clock.now(),
            end,
        }
    }

    /// A target that is gone is removed before its message is settled, so that a crash in between repeats both.
    async fn remove_target(&self, leased: &Leased, since: Option<Timestamp>) {
        let Notification { shopper, .. } = &leased.entry.notification;
        let Some(device) = leased.entry.notification.device() else { return };
        let Some(Address::Target(target)) = leased.address() else { return };
        let input = Input::Unregistered { device: device.clone(), target, since };
        if self.shards.tell(shopper.clone(), input).await.is_err() {
            tracing::info!(device.id = %device, "the node is closing; a gone target stays until its next message");
        }
    }

    async fn pause(&self, error: &store::Error) {
        tracing::warn!(channel = self.channel.name(), "can't claim, trying again: {error}");
        tokio::select! { biased;
            () = self.shutdown.cancelled() => {}
            () = self.clock.sleep(Duration::from_secs(1)) => {}
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

/// Settles what a lane has done, all that waits at once.
pub struct Settler {
    results: mpsc::Receiver<Settlement>,
    store: Arc<dyn Store>,
    clock: Clock,
    reporter: Reporter,
}

impl Settler {
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
    use parvis_engine::id::NotificationId;

    use super::*;
    use crate::store::memory::{Fault, Memory};

    fn settler(fault: Fault) -> Settler {
        let store = Memory::new();
        store.faults().fail_settle(fault);
        let (settled, results) = mpsc::channel(1);
        let shopper = "A".parse().expect("a valid id");
        let id = NotificationId::derive(Timestamp::MIN, &shopper, &[]);
        let end = End::Terminal { milestone: Milestone::Accepted, detail: None, attempts: 1 };
        let settlement = Settlement { shopper, channel: Channel::Fcm, id, lease: 1, at: Timestamp::MIN, end };
        settled.try_send(settlement).expect("there is room");
        let clock = Clock::simulated(Timestamp::MIN);
        Settler { results, store: Arc::new(store), clock, reporter: Reporter::new(&Default::default()) }
    }

    #[tokio::test]
    async fn a_shopper_who_can_not_be_read_keeps_no_other_from_being_served() {
        let store = Memory::new();
        let ids: [ShopperId; 3] = ["A", "B", "C"].map(|id| id.parse().expect("an id"));
        store.faults().spoil(ids[1].clone());
        let records = readable(&store, &ids).await.expect("available");
        let found: Vec<_> = records.iter().map(|record| record.as_ref().map(|it| it.shopper.id.as_str())).collect();
        assert_eq!(found, [Some("A"), None, Some("C")]);
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
