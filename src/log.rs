//! Structured logs on standard error.

use parvis_engine::problem::Problem;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How logs are written; section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which lines, such as `info` or `parvis=debug,warn`. Coordinates and tokens never stand above `debug`.
    pub filter: String,
    /// As JSON, one object a line; or as text for people.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { filter: "info".to_owned(), json: true }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        match EnvFilter::try_new(&self.filter) {
            Ok(_) => Vec::new(),
            Err(error) => vec![Problem::new("/filter", format!("{:?} is no filter: {error}", self.filter))],
        }
    }
}

/// Starts writing logs; once in a process.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.json { lines.json().init() } else { lines.init() }
}
