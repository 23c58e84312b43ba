//! One way out: claims due entries of a channel and an app under lease, keeps a rolling window of attempts, settles in
//! groups.
//!
//! Order news go before offers, and a provider in trouble is left alone: then nothing is claimed, and what waits stays in
//! the store.

use std::{sync::Arc, time::Duration};

use parvis_engine::{
    decide::{self, Suppression},
    notification::{Address, Milestone, Notification, Purpose},
    problem::{Problem, Requirements},
    retry::{Next, Outcome, Patience},
    shopper::Shopper,
    time::Timestamp,
    world::World,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod budget;
mod claim;
mod health;
pub mod lanes;
mod settler;
mod window;

use self::{
    health::{Health, Pass},
    window::{Place, Window},
};
pub use self::{lanes::Lanes, settler::Settler};
use crate::{
    catalog::Catalog,
    clock::Clock,
    delivery::{Couriers, Route, breaker},
    entropy::Entropy,
    pipeline,
    report::{Event, Reporter},
    shard::{Input, Shards},
    store::{End, Entry, Queue, Settlement, Store},
    webhook::Webhooks,
};

/// How lanes work; section `[lanes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many attempts of one lane may be under way.
    pub window: usize,
    /// How long a claim holds; longer than the deadline of a request, or a message would be sent twice.
    #[serde(with = "parvis_engine::time::duration")]
    pub lease: Duration,
    /// How patiently a message is tried.
    pub patience: Patience,
    /// When a provider is left alone.
    pub breaker: breaker::Config,
    /// How many attempts may be repetitions.
    pub retries: budget::Config,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            window: 512,
            lease: Duration::from_secs(60),
            patience: Patience::default(),
            breaker: breaker::Config::default(),
            retries: budget::Config::default(),
        }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        must.require((2..=100_000).contains(&self.window), "/window", "must be from 2 to 100000");
        must.require(self.patience.attempts_max > 0, "/patience/attempts_max", "must be at least 1");
        let Patience { backoff_min, backoff_max, .. } = self.patience;
        must.require(!backoff_min.is_zero(), "/patience/backoff_min", "must be longer than 0s");
        must.require(backoff_min <= backoff_max, "/patience/backoff_max", "must not be shorter than backoff_min");
        let mut problems = must.into_problems();
        problems.extend(self.breaker.problems().into_iter().map(|problem| problem.under("/breaker")));
        problems.extend(self.retries.problems().into_iter().map(|problem| problem.under("/retries")));
        problems
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
    /// The retailer's own systems that are told.
    pub webhooks: Webhooks,
    /// What time it is.
    pub clock: Clock,
    /// Chance, for jitter.
    pub entropy: Entropy,
}

/// One way out: a channel in the name of an app.
#[derive(Clone)]
pub struct Lane {
    /// What it works with.
    pub tools: Tools,
    patience: Patience,
    queues: Queues,
    lease: Duration,
    window: Arc<Window>,
    health: Arc<Health>,
    attempts: TaskTracker,
    settled: mpsc::Sender<Settlement>,
    grew: Arc<Mutex<watch::Receiver<u64>>>,
    shutdown: CancellationToken,
}

/// What a lane claims from, the first before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    orders: Queue,
    offers: Queue,
}

impl Queues {
    /// What goes out this way.
    pub fn of(route: &Route) -> Queues {
        let queue = |purpose| Queue::new(route.channel, route.app.as_str(), Some(purpose));
        Queues { orders: queue(Purpose::Order), offers: queue(Purpose::Offer) }
    }

    /// A single queue.
    pub fn only(queue: Queue) -> Queues {
        Queues { orders: queue, offers: queue }
    }

    /// Whether a queue is one of these.
    pub fn contain(&self, queue: Queue) -> bool {
        self.orders == queue || self.offers == queue
    }
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
    queue: Queue,
    _place: Place,
}

impl Leased {
    /// Where the message goes.
    pub fn address(&self) -> Option<Address> {
        decide::address(&self.shopper, &self.entry.notification)
    }

    /// Whether the message can go elsewhere once its address is gone: words that were to go with a Live Activity go to
    /// the device.
    fn has_other_way(&self) -> bool {
        let notification = &self.entry.notification;
        let device = notification.device().and_then(|device| self.shopper.devices.get(device));
        let own = device.and_then(|device| device.target.clone()).map(Address::Target);
        notification.content().is_some() && own.is_some() && self.address() != own
    }
}

/// What came of an entry.
#[derive(Debug)]
pub enum Verdict {
    /// No longer wanted.
    Suppressed(Suppression),
    /// Not yet; no provider was asked.
    Postponed(Timestamp),
    /// A provider was asked.
    Tried(Next),
}

impl Lane {
    /// The lane of a route, and the task that settles what it has done; that task ends after [`Lane::finish`].
    pub fn new(route: &Route, config: &Config, tools: Tools, shutdown: CancellationToken) -> (Lane, Settler) {
        Lane::over(Queues::of(route), Some(route), config, tools, shutdown)
    }

    /// A lane that claims from these queues; without a route there is no provider for what is in them.
    fn over(
        queues: Queues,
        route: Option<&Route>,
        config: &Config,
        tools: Tools,
        shutdown: CancellationToken,
    ) -> (Lane, Settler) {
        let concurrency = route.map_or(0, |route| tools.couriers.concurrency(route));
        // More than the courier takes would only wait for it, under lease.
        let size = if concurrency == 0 { config.window } else { config.window.min(concurrency) };
        let (settled, results) = mpsc::channel(size.max(1) * 2);
        let settler = Settler::new(results, &tools);
        let lane = Lane {
            patience: config.patience.clone(),
            queues,
            lease: config.lease,
            window: Window::new(size),
            health: Arc::new(Health::new(route.cloned(), config, tools.reporter.clone(), shutdown.clone())),
            attempts: TaskTracker::new(),
            settled,
            grew: Arc::new(Mutex::new(tools.store.outbox_grew())),
            tools,
            shutdown,
        };
        (lane, settler)
    }

    /// How patiently a message is tried, as it is configured now.
    pub fn patience(&self) -> Patience {
        let own = self.health.route().and_then(|route| self.tools.couriers.patience(route));
        own.unwrap_or_else(|| self.patience.clone())
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

    /// Whether a provider may be asked now to deliver an entry.
    ///
    /// # Errors
    /// When it is to be asked for again.
    pub fn permit(&self, leased: &Leased, address: &Address) -> Result<Pass, Timestamp> {
        let Entry { notification, attempts, .. } = &leased.entry;
        let (now, jitter) = (self.tools.clock.now(), self.tools.entropy.unit());
        let quota =
            self.tools.couriers.take(&notification.app, address).inspect_err(|_| self.health.postponed("quota"));
        let at = match quota.and_then(|()| self.health.permit(*attempts, now, jitter)) {
            Ok(pass) => return Ok(pass),
            Err(at) => at,
        };
        // Half of what is left of its life at most, so that it gets another chance.
        Err(at.min(now.plus(notification.expires_at.since(now) / 2)))
    }

    /// Has a provider asked, and takes in what it says.
    pub async fn deliver(&self, pass: Pass, leased: &Leased, address: &Address) -> Outcome {
        let Tools { couriers, reporter, clock, entropy, .. } = &self.tools;
        let notification = &leased.entry.notification;
        let attempted = couriers.attempt(notification, address).await;
        let now = clock.now();
        self.health.record(pass, &attempted, now, entropy.unit());
        reporter.outcome(notification, &attempted.outcome, now);
        attempted.outcome
    }

    /// Waits for the attempts that are under way.
    pub async fn finish(self) {
        self.attempts.close();
        self.attempts.wait().await;
    }

    async fn settlement(&self, leased: &Leased, verdict: Verdict) -> Settlement {
        let Notification { id, shopper, .. } = &leased.entry.notification;
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
                if leased.has_other_way() && tried < self.patience().attempts_max {
                    End::Again { at: self.tools.clock.now(), attempts: tried, detail: Some(reason) }
                } else {
                    over(Milestone::Unregistered, Some(reason), tried)
                }
            }
        };
        let at = self.tools.clock.now();
        let settlement = Settlement {
            shopper: shopper.clone(),
            queue: leased.queue,
            id: *id,
            lease: leased.entry.lease,
            at,
            end,
            then: Vec::new(),
        };
        let then = self.tools.webhooks.tell(&Event::settled(&settlement));
        Settlement { then, ..settlement }
    }

    /// A target that is gone is removed before its message is settled, so that a crash in between repeats both.
    async fn remove_target(&self, leased: &Leased, since: Option<Timestamp>) {
        let Notification { shopper, .. } = &leased.entry.notification;
        let Some(device) = leased.entry.notification.device() else { return };
        let Some(Address::Target(target)) = leased.address() else { return };
        let input = Input::Unregistered { device: device.clone(), target, since };
        if self.tools.shards.tell(shopper.clone(), input).await.is_err() {
            tracing::info!(device.id = %device, "the node is closing; a gone target stays until its next message");
        }
    }
}
