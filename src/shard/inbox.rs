//! The door of the shards: hands an input to the shopper's owner, or refuses it at once.
//!
//! Must not wait for room on behalf of those who come from outside.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parvis_engine::id::ShopperId;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Input};

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The inbox is full: come back later.
    Full,
    /// The node is closing, or the shard waits for a store that is away.
    Unavailable(String),
}

/// An input on its way through a shard.
#[derive(Debug)]
pub struct Job {
    /// Whose it is.
    pub shopper: ShopperId,
    /// What is to be done.
    pub input: Input,
    /// Gets the answer after the commit.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// The way into a shard.
#[derive(Clone, Debug)]
pub struct Inbox {
    pub(super) jobs: mpsc::Sender<Job>,
    /// Whether the shard waits for the store.
    pub(super) stalled: Arc<AtomicBool>,
}

impl From<mpsc::Sender<Job>> for Inbox {
    fn from(jobs: mpsc::Sender<Job>) -> Inbox {
        Inbox { jobs, stalled: Arc::default() }
    }
}

/// The shards' inboxes. When the last handle is dropped, the shards finish what waits and end.
#[derive(Clone, Debug)]
pub struct Shards {
    inboxes: Arc<[Inbox]>,
}

impl Shards {
    /// Handles for these inboxes.
    pub fn new(inboxes: Vec<impl Into<Inbox>>) -> Shards {
        Shards { inboxes: inboxes.into_iter().map(Into::into).collect() }
    }

    /// Hands an input to the shopper's owner and waits until what it caused is durable.
    ///
    /// # Errors
    /// If it was not taken; then it had no effect.
    pub async fn ask(&self, shopper: ShopperId, input: Input) -> Result<Answer, Refusal> {
        self.submit(shopper, input)?.await.unwrap_or_else(|_| Err(closing()))
    }

    /// Hands an input to the shopper's owner; what comes back waits for the commit.
    ///
    /// # Errors
    /// If it was not taken; then it had no effect.
    pub fn submit(
        &self,
        shopper: ShopperId,
        input: Input,
    ) -> Result<oneshot::Receiver<Result<Answer, Refusal>>, Refusal> {
        let inbox = self.inbox(&shopper);
        // Whoever came before waits for the store already; who comes now is better told than kept waiting.
        if inbox.stalled.load(Ordering::Relaxed) {
            return Err(Refusal::Unavailable("the store is away".to_owned()));
        }
        let slot = inbox.jobs.try_reserve().map_err(|full| match full {
            mpsc::error::TrySendError::Full(()) => Refusal::Full,
            mpsc::error::TrySendError::Closed(()) => closing(),
        })?;
        let (reply, answer) = oneshot::channel();
        slot.send(Job { shopper, input, reply });
        Ok(answer)
    }

    /// Like [`Shards::ask`], but waits for room: for what comes from inside and must not be lost.
    ///
    /// # Errors
    /// If the node is closing.
    pub async fn tell(&self, shopper: ShopperId, input: Input) -> Result<Answer, Refusal> {
        let slot = self.inbox(&shopper).jobs.reserve().await.map_err(|_| closing())?;
        let (reply, answer) = oneshot::channel();
        slot.send(Job { shopper, input, reply });
        answer.await.unwrap_or_else(|_| Err(closing()))
    }

    /// How many jobs wait in all inboxes.
    pub fn waiting(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.jobs.max_capacity() - inbox.jobs.capacity()).sum()
    }

    fn inbox(&self, shopper: &ShopperId) -> &Inbox {
        let count = self.inboxes.len() as u64;
        &self.inboxes[usize::try_from(shopper.stable_hash() % count).unwrap_or(0)]
    }
}

fn closing() -> Refusal {
    Refusal::Unavailable("the node is closing".to_owned())
}
