//! What every part of the store on Redis works with: the link, the keys, and what this node remembers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use parvis_engine::time::Timestamp;
use redis::{FromRedisValue, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    call::Call,
    config::Config,
    durability::Promise,
    hints::Hints,
    link::Link,
    lock::Suspect,
    partition::{Keys, Partition},
    reply,
    tracks::Tracks,
    unsure::Unsure,
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    store::{Error, Queue},
};

/// How often is looked, and how long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After this, a partition is asked again whether other nodes have put something into its queues.
    pub recheck: Duration,
    /// So long a wake that was given to one node is not given to another.
    pub wake_hold: Duration,
    /// After this, whoever holds a lock is taken for dead.
    pub lock_patience: Duration,
    /// Between looks at the generation of the catalog.
    pub poll: Duration,
    /// Between looks for what dead nodes have left.
    pub sweep: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            recheck: Duration::from_secs(1),
            wake_hold: Duration::from_secs(10),
            lock_patience: Duration::from_secs(3),
            poll: Duration::from_millis(500),
            sweep: Duration::from_secs(5),
        }
    }
}

/// What is asked of the servers, where a test can cut it short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Shoppers who change alone.
    Commit,
    /// The stages of a transfer.
    Prepare,
    /// See above.
    Decide,
    /// See above.
    Finish,
    /// See above.
    Forget,
    /// Leases of entries and wakes.
    Claim,
    /// Ends of leases.
    Settle,
}

/// The node loses its connection in this stage, after so many of its calls have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When.
    pub stage: Stage,
    /// How many calls are still sent; their answers are lost too.
    pub calls: usize,
}

/// Makes coming calls fail, for tests of what is left then.
#[derive(Debug, Default)]
pub struct Faults(Mutex<VecDeque<Cut>>);

impl Faults {
    /// Plans a cut; those planned earlier come first.
    pub fn cut(&self, cut: Cut) {
        self.planned().push_back(cut);
    }

    fn next(&self, stage: Stage) -> Option<Cut> {
        self.planned().pop_front_if(|cut| cut.stage == stage)
    }

    fn planned(&self) -> MutexGuard<'_, VecDeque<Cut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) promise: Promise,
    pub(super) keys: Keys,
    pub(super) pace: Pace,
    pub(super) entropy: Entropy,
    pub(super) clock: Clock,
    pub(super) tracks: Tracks,
    /// Of each queue that this node has claimed from; there are 2048 for each channel.
    outbox: Mutex<BTreeMap<Queue, Arc<Hints>>>,
    pub(super) wakes: Hints,
    pub(super) grew: watch::Sender<u64>,
    pub(super) wakes_changed: watch::Sender<u64>,
    /// Of the catalog.
    pub(super) generation: watch::Sender<u64>,
    pub(super) faults: Faults,
    pub(super) unsure: Unsure,
    suspects: Mutex<Vec<Suspect>>,
}

impl Shared {
    pub(super) async fn open(config: &Config, pace: Pace) -> Result<Shared, Error> {
        let link = Link::open(config).await?;
        let shared = Shared {
            promise: Promise::demand(&link).await?,
            link,
            keys: Keys::new(&config.prefix),
            pace,
            entropy: Entropy::System,
            clock: Clock::System,
            tracks: Tracks::new(),
            outbox: Mutex::default(),
            wakes: Hints::new(pace.recheck),
            grew: watch::Sender::new(0),
            wakes_changed: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            faults: Faults::default(),
            unsure: Unsure::default(),
            suspects: Mutex::default(),
        };
        shared.check_layout().await?;
        shared.poll_generation().await?;
        Ok(shared)
    }

    /// Sends calls all at once; their answers, or the first error.
    pub(super) async fn ask(&self, calls: &[Call]) -> Result<Vec<Value>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        self.link.send(calls).await.into_iter().collect()
    }

    /// The same, where a test may have planned a fault.
    pub(super) async fn ask_in(&self, stage: Stage, calls: &[Call]) -> Result<Vec<Value>, Error> {
        if let Some(cut) = self.faults.next(stage) {
            self.ask(&calls[..cut.calls.min(calls.len())]).await?;
            return Err(Error::Unavailable("cut".to_owned()));
        }
        self.ask(calls).await
    }

    /// One call whose answer is what it should be; `what` names it if not.
    pub(super) async fn ask_one<T: FromRedisValue>(&self, call: Call, what: &str) -> Result<T, Error> {
        let answer = self.ask(&[call]).await?.pop();
        reply::read(answer.unwrap_or(Value::Nil), what)
    }

    /// This node's own transfers of which it is not known how they ended.
    pub(super) fn suspects(&self) -> MutexGuard<'_, Vec<Suspect>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who met a lock comes back a little later, and not in step with others.
    pub(super) async fn pause(&self) {
        const MIN_MS: u64 = 2;
        const SPREAD_MS: u64 = 8;
        self.clock.sleep(Duration::from_millis(MIN_MS + self.entropy.bits() % SPREAD_MS)).await;
    }

    /// What is remembered of a queue, from the first claim on.
    pub(super) fn hints(&self, queue: Queue) -> Arc<Hints> {
        let mut known = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(queue).or_insert_with(|| Arc::new(Hints::new(self.pace.recheck))).clone()
    }

    /// The queues that this node has claimed from.
    pub(super) fn claimed(&self) -> Vec<Queue> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// This node has put something into a queue. Who has never claimed from it asks every partition anyway.
    pub(super) fn lower(&self, queue: Queue, partition: Partition, due: Timestamp) {
        let known = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hints) = known.get(&queue) {
            hints.lower(partition, due);
        }
    }
}

/// Looks now and then for what nobody tells, until the store is closed.
pub(super) async fn watch(shared: Arc<Shared>, shutdown: CancellationToken) {
    let rounds = (shared.pace.sweep.as_millis() / shared.pace.poll.as_millis().max(1)).max(1);
    let mut round: u128 = 0;
    loop {
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = shared.clock.sleep(shared.pace.poll) => {}
        }
        round += 1;
        let result = match round.is_multiple_of(rounds) {
            true => {
                shared.poll_generation().await.and(shared.sweep().await).and(shared.promise.look(&shared.link).await)
            }
            false => shared.poll_generation().await,
        };
        if let Err(error) = result {
            tracing::debug!("can't look for what other nodes do, trying again: {error}");
        }
    }
}
