//! The sections of the process itself: shutdown, shards, lanes.

use std::time::Duration;

use parvis_engine::{problem::Problem, time::duration};
use serde::{Deserialize, Serialize};

/// This process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// What logs and metrics call it.
    pub name: String,
    /// How long open requests and sends may take to finish after a signal.
    #[serde(with = "duration")]
    pub shutdown_deadline: Duration,
}

impl Default for Node {
    fn default() -> Node {
        Node { name: "parvis".to_owned(), shutdown_deadline: Duration::from_secs(30) }
    }
}

impl Node {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            problems.push(Problem::new("/name", "must not be empty"));
        }
        if self.shutdown_deadline.is_zero() {
            problems.push(Problem::new("/shutdown_deadline", "must be longer than 0s"));
        }
        problems
    }
}

/// The tasks that own shoppers and decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shards {
    /// How many; 0 for one per core.
    pub count: usize,
    /// The most inputs that wait for one shard; beyond it callers are told to come back.
    pub inbox_max: usize,
    /// The most inputs that share one commit.
    pub batch_max: usize,
}

impl Default for Shards {
    fn default() -> Shards {
        Shards { count: 0, inbox_max: 4_096, batch_max: 512 }
    }
}

impl Shards {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: String| {
            if !holds {
                problems.push(Problem::new(path, message));
            }
        };
        require(self.count <= 1_024, "/count", format!("{} must be at most 1024", self.count));
        require(self.inbox_max > 0, "/inbox_max", "must be at least 1".to_owned());
        require(self.batch_max > 0, "/batch_max", "must be at least 1".to_owned());
        let message = format!("{} must be at most inbox_max ({})", self.batch_max, self.inbox_max);
        require(self.batch_max <= self.inbox_max, "/batch_max", message);
        problems
    }
}

/// The tasks that deliver, one for each channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lanes {
    /// The most requests of a channel that are under way at once.
    pub window: usize,
    /// How long a claimed entry belongs to its lane.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long a provider may take to answer.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes { window: 512, lease: Duration::from_secs(60), deadline: Duration::from_secs(10) }
    }
}

impl Lanes {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.window == 0 {
            problems.push(Problem::new("/window", "must be at least 1"));
        }
        if self.deadline.is_zero() {
            problems.push(Problem::new("/deadline", "must be longer than 0s"));
        }
        if self.lease <= self.deadline {
            let deadline = duration::format(self.deadline);
            let message = format!("must be longer than deadline ({deadline}), or an entry would be sent twice");
            problems.push(Problem::new("/lease", message));
        }
        problems
    }
}
