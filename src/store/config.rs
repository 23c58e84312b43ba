//! What an operator may set about the store.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use parvis_engine::problem::{Problem, Requirements};
use serde::{Deserialize, Serialize};

use super::redis;

/// The store's section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which engine.
    pub kind: Kind,
    /// Embedded: the file. Its folder is made if it is missing.
    pub path: PathBuf,
    /// Embedded: how many calls may wait for the writer before further ones wait outside, at least 1.
    pub queue_max: usize,
    /// Embedded: the most calls that share one disk synchronisation, at least 1.
    pub group_max: usize,
    /// Embedded: memory for pages of the file.
    pub cache_mib: usize,
    /// Embedded: whether every page's checksum is verified at each start, not only after a crash. Reads the whole file:
    /// some seconds a gigabyte. Without it, damage that came about while the node was down is noticed where it is read.
    pub verify_at_start: bool,
    /// How long journal rows and ended notifications are kept. The daemon prunes by it.
    #[serde(with = "parvis_engine::time::duration")]
    pub retention: Duration,
    /// How long answers are kept for repeated requests. Memory holds about 50 bytes for each, and an answer may outlive
    /// the erasure of the shopper it was about by so long.
    #[serde(with = "parvis_engine::time::duration")]
    pub answers_kept: Duration,
    /// Redis: where it is and what it must promise.
    pub redis: redis::Config,
}

/// The engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file of this process alone.
    #[default]
    Embedded,
    /// Nothing outlives the process: for trials and simulation.
    Memory,
    /// Redis or Valkey, shared by any number of nodes.
    Redis,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            kind: Kind::Embedded,
            path: PathBuf::from("parvis.redb"),
            queue_max: 1_024,
            group_max: 512,
            cache_mib: 64,
            verify_at_start: false,
            retention: Duration::from_secs(30 * 24 * 3600),
            answers_kept: Duration::from_secs(24 * 3600),
            redis: redis::Config::default(),
        }
    }
}

impl Config {
    /// The same, with file names that start from this folder.
    #[must_use]
    pub fn below(&self, folder: &Path) -> Config {
        Config { path: folder.join(&self.path), redis: self.redis.below(folder), ..self.clone() }
    }

    /// What can't work, given the folder that file names start from.
    pub fn problems(&self, folder: &Path) -> Vec<Problem> {
        let mut must = Requirements::default();
        must.require(self.queue_max > 0, "/queue_max", "must be at least 1");
        must.require(self.group_max > 0, "/group_max", "must be at least 1");
        must.require(!self.retention.is_zero(), "/retention", "must be longer than 0s");
        must.require(!self.answers_kept.is_zero(), "/answers_kept", "must be longer than 0s");
        let mut problems = must.into_problems();
        let mut redis = self.redis.values();
        if self.kind == Kind::Redis {
            redis.extend(self.redis.unreadable(folder));
        }
        problems.extend(redis.into_iter().map(|problem| problem.under("/redis")));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_given_and_refuses_what_it_does_not_know() {
        let config: Config = toml::from_str("kind = \"memory\"\nretention = \"7d\"").expect("valid");
        assert_eq!(config, Config { kind: Kind::Memory, retention: Duration::from_secs(604_800), ..Config::default() });
        let text = "kind = \"redis\"\n[redis]\npassword_file = \"secret\"\nconnections = 0";
        let config: Config = toml::from_str(text).expect("valid");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths: Vec<String> = config.problems(folder.path()).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["/redis/connections", "/redis/password_file"]);
        let error = toml::from_str::<Config>("pth = \"x\"").expect_err("unknown key");
        assert!(error.to_string().contains("pth"), "{error}");
    }
}
