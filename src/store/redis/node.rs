//! The connections to one master: opened when needed, given up when they break, and not tried again at once.
//!
//! Nothing is sent a second time from here: what was on its way when a connection broke may have been done.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parvis_engine::time::Timestamp;
use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::sync::Mutex;

use super::{
    address::Address,
    config::Config,
    opener::{Opener, Target},
};
use crate::{clock::Clock, entropy::Entropy};

/// The way to one master.
#[derive(Debug)]
pub(super) struct Node {
    opener: Arc<Opener>,
    target: Target,
    lines: Vec<Mutex<Line>>,
    turn: AtomicUsize,
    /// Raised when all connections must be opened anew.
    epoch: AtomicUsize,
    /// Where the newest connection leads.
    leads_to: std::sync::Mutex<Option<Address>>,
    backoff: (Duration, Duration),
}

/// One connection, or why there is none.
#[derive(Debug, Default)]
struct Line {
    open: Option<Open>,
    /// Counts the connections, so that a failure is not laid to the next one.
    number: usize,
    failures: u32,
    why: String,
    not_before: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Open {
    connection: MultiplexedConnection,
    address: Address,
    number: usize,
    epoch: usize,
}

/// What came back from one exchange.
pub(super) struct Replies {
    /// One for each command.
    pub(super) values: Vec<Value>,
    /// Who answered.
    pub(super) address: Address,
}

impl Node {
    pub(super) fn new(opener: Arc<Opener>, target: Target, config: &Config) -> Node {
        let lines = (0..config.connections.max(1)).map(|_| Mutex::default()).collect();
        let backoff = (config.backoff_min, config.backoff_max);
        let (turn, epoch) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Node { opener, target, lines, turn, epoch, leads_to: std::sync::Mutex::default(), backoff }
    }

    /// Sends commands together and waits for their replies, refusals among them.
    ///
    /// # Errors
    /// A sentence, if there is no connection or it broke; some of the commands may have been done.
    pub(super) async fn exchange(&self, commands: &Pipeline) -> Result<Replies, String> {
        let line = &self.lines[self.turn.fetch_add(1, Ordering::Relaxed) % self.lines.len()];
        let mut open = self.connected(line).await?;
        match open.connection.send_packed_commands(commands, 0, commands.len()).await {
            Ok(values) if values.len() == commands.len() => Ok(Replies { values, address: open.address }),
            Ok(_) => {
                let why = format!("{} gave another number of answers than was asked", open.address);
                self.give_up(line, open.number, why.clone()).await;
                Err(why)
            }
            Err(error) => {
                let what = if error.is_timeout() { "did not answer in time" } else { "broke the connection" };
                let why = format!("{} {what}: {error}", open.address);
                self.give_up(line, open.number, why.clone()).await;
                Err(why)
            }
        }
    }

    /// All connections are to be opened anew: the server at their end is no longer the master.
    pub(super) fn renew(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    async fn connected(&self, line: &Mutex<Line>) -> Result<Open, String> {
        let mut line = line.lock().await;
        let epoch = self.epoch.load(Ordering::Relaxed);
        if let Some(open) = line.open.as_ref().filter(|open| open.epoch == epoch) {
            return Ok(open.clone());
        }
        line.open = None;
        let now = Clock::System.now();
        // A clock that was set back must not make the wait longer.
        if line.not_before.is_some_and(|at| now < at && at.since(now) <= self.backoff.1) {
            return Err(line.why.clone());
        }
        match self.opener.open(&self.target).await {
            Ok((connection, address)) => {
                if line.failures > 0 || line.number > 0 {
                    tracing::info!(redis.address = %address, "connected to Redis again");
                }
                line.number += 1;
                let epoch = self.arrived(&address);
                let open = Open { connection, address, number: line.number, epoch };
                (line.failures, line.not_before) = (0, None);
                line.open = Some(open.clone());
                Ok(open)
            }
            Err(why) => {
                if line.failures == 0 {
                    tracing::warn!("Redis: {why}");
                }
                line.failures = line.failures.saturating_add(1);
                line.not_before = Some(Clock::System.now().plus(self.pause(line.failures)));
                line.why.clone_from(&why);
                Err(why)
            }
        }
    }

    /// Notes where a connection leads, and gives the epoch that it belongs to. If it leads elsewhere than before, another
    /// server is master now. The old one may not know yet, and would take what comes over the other connections.
    fn arrived(&self, address: &Address) -> usize {
        let mut leads_to = self.leads_to.lock().unwrap_or_else(PoisonError::into_inner);
        if leads_to.replace(address.clone()).is_some_and(|before| before != *address) {
            self.renew();
        }
        self.epoch.load(Ordering::Relaxed)
    }

    async fn give_up(&self, line: &Mutex<Line>, number: usize, why: String) {
        let mut line = line.lock().await;
        if line.open.take_if(|open| open.number == number).is_some() {
            tracing::warn!("Redis: {why}");
            line.why = why;
        }
    }

    /// Doubles with each failure up to the longest; half of it by chance, so that nodes do not come back all at once.
    fn pause(&self, failures: u32) -> Duration {
        let (shortest, longest) = self.backoff;
        let whole = shortest.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        whole.mul_f64(0.5 + 0.5 * Entropy::System.unit())
    }
}
