//! What is wrong with something that a person wrote. Problems are collected, then all are shown at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where: a JSON pointer into the document (`/features/3/geometry`), or empty for the whole of it.
    pub path: String,
    /// What is wrong and what to do, in a sentence.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), message: message.into() }
    }

    /// The same problem seen from a document that contains this one at `prefix`.
    #[must_use]
    pub fn under(self, prefix: &str) -> Problem {
        Problem { path: format!("{prefix}{}", self.path), message: self.message }
    }
}

/// What must hold of something; collects what does not.
#[derive(Debug, Default)]
pub struct Requirements(Vec<Problem>);

impl Requirements {
    /// Notes a problem at a place unless `holds`.
    pub fn require(&mut self, holds: bool, path: &str, message: impl Into<String>) {
        if !holds {
            self.0.push(Problem::new(path, message));
        }
    }

    /// Everything that does not hold.
    pub fn into_problems(self) -> Vec<Problem> {
        self.0
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}
