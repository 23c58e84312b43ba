//! What went in and what came out, in order. The oracle judges by it, and its hash is the trace of a run.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use parvis::{
    clock::Clock,
    shard::Answer,
    store::{End, Record},
};
use parvis_engine::{
    id::{NotificationId, stable_hash},
    notification::Channel,
    time::Timestamp,
};

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "some of it is there for the trace alone")]
pub(crate) enum What {
    /// A node has started.
    Started { node: usize },
    /// A node was cut off.
    Cut { node: usize },
    /// A node was told to end, and has ended.
    Stopped { node: usize },
    /// A node's clock was set.
    ClockSet { node: usize, ahead_ms: i64 },
    /// A person's step was handed to a node for the first time, or once more.
    Asked { person: usize, step: usize, node: usize },
    /// It was answered; the shopper is what the store shows at this moment.
    Answered { person: usize, step: usize, answer: Answer, seen: Seen },
    /// A request has reached a push service, when it was so late by the node's clock.
    Requested { request: Request, fate: Fate, node: usize, told: Timestamp },
    /// The node has the service's reply.
    Replied { request: Request, fate: Fate },
    /// The store took a settlement.
    Settled { id: NotificationId, end: End },
    /// The store failed, before or after the call took effect.
    Failed { call: &'static str, how: &'static str },
    /// So many shoppers were changed by somebody else since they were loaded.
    Conflict { shoppers: usize },
    /// The operator has changed the catalog through a node, asked at this time.
    Changed { change: Amendment, asked: Timestamp },
    /// How the messages stood, counted in the store.
    Counted { decided: usize, ended: usize, open: usize, waiting: u64 },
    /// Something was seen that must not be.
    Wrong(String),
}

/// A change of the catalog that has been answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amendment {
    /// The campaign that comes and goes speaks, or does not.
    Speaks(bool),
    /// The fence that wanders is at this place of its round.
    Stands(usize),
    /// The campaign whose budget changes may send so many.
    Allows(u64),
}

/// A message as a push service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) channel: Channel,
    pub(crate) target: String,
    pub(crate) id: NotificationId,
    pub(crate) collapse: String,
    pub(crate) campaign: String,
    pub(crate) body: String,
}

/// What a push service makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Taken, and said so.
    Accepted,
    /// Taken, but the answer is lost.
    AcceptedUnheard,
    /// Never arrived, or lost.
    Lost,
    /// The target is gone.
    Gone,
    /// Refused for good.
    Refused,
    /// Too fast; come back in so many seconds.
    Throttled(u64),
    /// Broken.
    Broken,
    /// The credential is too old.
    Stale,
}

impl Fate {
    /// Whether the phone shows the message.
    pub(crate) fn taken(self) -> bool {
        matches!(self, Fate::Accepted | Fate::AcceptedUnheard)
    }
}

/// A shopper as the store shows it; only its version goes into the trace.
#[derive(Clone)]
pub(crate) struct Seen(pub(crate) Record);

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}", self.0.version)
    }
}

/// The log of a run. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    clock: Option<Clock>,
    lines: Vec<Line>,
}

impl Log {
    /// From now on the time is this clock's.
    pub(crate) fn follow(&self, clock: &Clock) {
        self.written().clock = Some(clock.clone());
    }

    /// Adds a line.
    pub(crate) fn add(&self, what: What) {
        let mut written = self.written();
        let at = written.clock.as_ref().expect("a node has started").now();
        written.lines.push(Line { at, what });
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.written().lines.clone()
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line as it counts for the trace.
pub(crate) fn text(line: &Line) -> String {
    format!("{} {:?}", line.at, line.what)
}

/// A hash over all lines in order.
pub(crate) fn hash(lines: &[Line]) -> u64 {
    lines.iter().fold(0, |hash, line| stable_hash(&[&hash.to_string(), &text(line)]))
}
