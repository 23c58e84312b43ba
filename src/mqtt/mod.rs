//! Listens to MQTT brokers: a message is a request without an answer, acknowledged when what it caused is durable.
//!
//! Each connection is one task that owns its socket and everything that waits for it, so the configuration bounds what
//! it holds. It decides nothing and knows no format; a broker that is away does not make the node unready.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parvis_engine::problem::Problem;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod address;
#[cfg(test)]
mod any_bytes;
mod config;
mod frame;
mod link;
mod open;
mod reading;
mod session;
mod taking;
mod topic;
mod waiting;
mod wire;

pub use config::{Config, Connection, Format, Naming, Subscription, Version};

use crate::{
    catalog::Catalog, clock::Clock, entropy::Entropy, fleet::Fleet, report::Reporter, shard::Shards, store::Store,
};
use link::Link;
use open::Opener;

/// What connections work with.
#[derive(Clone)]
pub struct Tools {
    /// Who owns devices.
    pub store: Arc<dyn Store>,
    /// Which scanners and beacons there are.
    pub catalog: Catalog,
    /// Who decides.
    pub shards: Shards,
    /// How scanners and beacons fare.
    pub fleet: Fleet,
    /// Who is told what became of messages.
    pub reporter: Reporter,
    /// What time it is.
    pub clock: Clock,
    /// What waits are drawn from.
    pub entropy: Entropy,
}

/// The configured connections with their secrets, not open yet.
pub struct Links(Vec<(Connection, Secrets, Opener)>);

/// What stands in files.
struct Secrets {
    password: Option<Vec<u8>>,
}

impl Config {
    /// What can't work; the files that are named are read.
    pub fn problems(&self, base: &Path) -> Vec<Problem> {
        Links::read(self, base).err().unwrap_or_default()
    }
}

impl Links {
    /// Reads what the configuration names. Relative paths are below `base`.
    ///
    /// # Errors
    /// Everything that is wrong, with paths below the section.
    pub fn read(config: &Config, base: &Path) -> Result<Links, Vec<Problem>> {
        let mut problems = config.values();
        let mut links = Vec::with_capacity(config.connection.len());
        for (index, connection) in config.connection.iter().enumerate() {
            let mut found = Vec::new();
            let password = connection.password_file.as_ref().and_then(|file| password(base, file, &mut found));
            let opener = Opener::read(connection, base, &mut found);
            problems.extend(found.into_iter().map(|it| it.under(&format!("/connection/{index}"))));
            links.extend(opener.map(|opener| (connection.clone(), Secrets { password }, opener)));
        }
        if problems.is_empty() { Ok(Links(links)) } else { Err(problems) }
    }

    /// Keeps every connection open until `stop` is cancelled; then no task ends before what it has begun is done.
    pub fn start(self, tools: &Tools, tasks: &TaskTracker, stop: &CancellationToken) {
        for (config, secrets, opener) in self.0 {
            let link = Link { config, secrets, opener, tools: tools.clone() };
            tasks.spawn(link.run(stop.clone()));
        }
    }
}

/// A line break at the end is the editor's.
fn password(base: &Path, file: &PathBuf, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let mut bytes = contents(base, file, "/password_file", problems)?;
    while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() || bytes.len() > usize::from(u16::MAX) {
        let message = format!("{} must hold a password of 1 to 65535 bytes", file.display());
        problems.push(Problem::new("/password_file", message));
        return None;
    }
    Some(bytes)
}

fn contents(base: &Path, file: &PathBuf, path: &str, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    match std::fs::read(base.join(file)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            problems.push(Problem::new(path, format!("{} can't be read: {error}", file.display())));
            None
        }
    }
}
