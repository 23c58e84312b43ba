//! The section of the process itself.

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
