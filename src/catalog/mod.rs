//! The control plane: files and API in, snapshots of the world out.
//!
//! Objects in files are changed only there, objects put through the API only through it. Never changes a snapshot:
//! every change publishes a new one.

use std::{
    fmt,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parvis_engine::{problem::Problem, world::World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

mod changes;
mod claims;
pub mod csv;
pub mod eid_keys;
pub mod files;
pub mod geojson;
mod kind;
pub mod objects;
mod relations;
mod state;
mod worker;

pub use eid_keys::EidKeys;
pub use kind::Kind;
pub use worker::{Error, Sources, Standing, Worker};

use crate::{document::Finding, store};

/// Why a change of the catalog was not taken; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What was put is wrong.
    Invalid(Vec<Problem>),
    /// The object stands in a file, and only there can it be changed or deleted.
    InFile {
        /// Which file.
        path: String,
    },
    /// The store does not take it now.
    Unavailable(String),
}

/// Which files the catalog reads. Names are relative to the folder of `parvis.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// GeoJSON files of geofences.
    pub geofences: Vec<PathBuf>,
    /// TOML files of `[[store]]`.
    pub stores: Vec<PathBuf>,
    /// TOML files of `[[campaign]]`.
    pub campaigns: Vec<PathBuf>,
    /// TOML files of `[[beacon]]`, `[[scanner]]`, `[[zone]]` and `[[beacon_region]]`, and CSV files of beacons.
    pub beacons: Vec<PathBuf>,
    /// The file with the keys of beacons that change their identity.
    pub eid_keys: PathBuf,
    /// The most changes that wait for the one being made.
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            geofences: vec!["geofences.geojson".into()],
            stores: vec!["stores.toml".into()],
            campaigns: vec!["campaigns.toml".into()],
            beacons: vec!["beacons.toml".into()],
            eid_keys: "eid-keys.toml".into(),
            waiting_max: 1_024,
        }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        if self.waiting_max == 0 { vec![Problem::new("/waiting_max", "must be at least 1")] } else { Vec::new() }
    }

    /// Every list of files, in the order in which they are read.
    fn lists(&self) -> [List<'_>; 4] {
        [
            List { kinds: &[Kind::Store], paths: &self.stores, default: "stores.toml" },
            List { kinds: &[Kind::Geofence], paths: &self.geofences, default: "geofences.geojson" },
            List { kinds: &Kind::REGISTRY, paths: &self.beacons, default: "beacons.toml" },
            List { kinds: &[Kind::Campaign], paths: &self.campaigns, default: "campaigns.toml" },
        ]
    }
}

/// Files and the kinds of objects that they may hold.
struct List<'a> {
    kinds: &'static [Kind],
    paths: &'a [PathBuf],
    default: &'static str,
}

impl List<'_> {
    /// Whether a file has the name that is looked for when nobody names one; only then may it be missing.
    fn may_lack(&self, path: &Path) -> bool {
        path == Path::new(self.default)
    }
}

/// The control plane. Clones are the same one.
#[derive(Clone)]
pub struct Catalog {
    published: Arc<ArcSwap<worker::Published>>,
    generation: watch::Receiver<u64>,
    requests: mpsc::Sender<worker::Request>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("generation", &*self.generation.borrow()).finish_non_exhaustive()
    }
}

/// The world of the files alone, for those who need no store.
///
/// # Errors
/// Everything that is wrong in the files.
pub fn world_of_files(sources: &Sources) -> Result<Arc<World>, Vec<Finding>> {
    worker::of_files(sources)
}

impl Catalog {
    /// Reads the files and what the store kept. Changes are made by the [`Worker`], which is to be run.
    ///
    /// # Errors
    /// Everything that is wrong in the files, or the store's refusal.
    pub async fn open(sources: Sources, store: Arc<dyn store::Store>) -> Result<(Catalog, Worker), Error> {
        let (requests, receiver) = mpsc::channel(sources.config.waiting_max.max(1));
        let worker = worker::open(sources, store, receiver).await?;
        let (published, generation) = worker.published();
        Ok((Catalog { published, generation, requests }, worker))
    }

    /// The newest snapshot.
    pub fn world(&self) -> Arc<World> {
        self.published.load().world.clone()
    }

    /// The keys of beacons that change their identity.
    pub fn eid_keys(&self) -> Arc<EidKeys> {
        self.published.load().eid_keys.clone()
    }

    /// What the other nodes should have in common with this one.
    pub fn standing(&self) -> Standing {
        self.published.load().standing
    }

    /// Changes to the generation of each new snapshot, after it can be seen.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// Puts objects, each as its JSON with an `id`; all or none. When it returns, they are durable and decide.
    ///
    /// Problems point into the one object that was put, or, of several, into `/features/{index}` for geofences and
    /// `/{index}` for others.
    ///
    /// # Errors
    /// Everything that is wrong with them, or why they could not be kept.
    pub async fn put(&self, kind: Kind, objects: Vec<Value>) -> Result<(), Refusal> {
        self.ask(|answer| worker::Request::Put { kind, objects, answer }).await?
    }

    /// Deletes an object; false if there is none.
    ///
    /// # Errors
    /// If it stands in a file, if others name it, or the store does not take it now.
    pub async fn delete(&self, kind: Kind, id: &str) -> Result<bool, Refusal> {
        let id = id.to_owned();
        self.ask(|answer| worker::Request::Delete { kind, id, answer }).await?
    }

    /// Reads the files again and takes new settings. If anything is wrong in them, everything stays as it is.
    ///
    /// # Errors
    /// Everything that is wrong in the files.
    pub async fn reload(&self, sources: Sources) -> Result<(), Error> {
        let sources = Box::new(sources);
        let asked = self.ask(|answer| worker::Request::Reload { sources, answer }).await;
        match asked {
            Ok(result) => result.map_err(Error::Files),
            Err(_) => Err(Error::Store(store::Error::Unavailable("the node is closing".to_owned()))),
        }
    }

    /// One object, as it was put.
    pub fn get(&self, kind: Kind, id: &str) -> Option<Value> {
        self.published.load().objects.of(kind).get(id).map(|entry| entry.value())
    }

    /// Objects of a kind by id, at most `limit`, beginning after `after`.
    pub fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> Vec<Value> {
        let published = self.published.load();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = published.objects.of(kind).range::<str, _>((begin, Bound::Unbounded));
        objects.take(limit).map(|(_, entry)| entry.value()).collect()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> worker::Request) -> Result<T, Refusal> {
        let closing = || Refusal::Unavailable("the node is closing".to_owned());
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| closing())?;
        answered.await.map_err(|_| closing())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Files(findings) => {
                let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Error::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
