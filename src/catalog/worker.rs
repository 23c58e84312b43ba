//! Changes the catalog, one batch at a time: check, make durable, rebuild, publish, answer.
//!
//! Whatever waits is taken at once, so that a thousand puts are one write and one rebuild. Checking and rebuilding
//! take tens of milliseconds with a hundred thousand fences and so run off the runtime's workers.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use parvis_engine::world::{self, World};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Config, EidKeys, Kind, Refusal,
    changes::{Change, Checked},
    objects::Objects,
    state::State,
};
use crate::{
    document::Finding,
    store::{self, CatalogItem},
};

/// The most requests that share one write.
const BATCH_MAX: usize = 4_096;

/// Does the catalog's work; ends when the last [`super::Catalog`] is gone.
pub struct Worker {
    state: State,
    store: Arc<dyn store::Store>,
    requests: mpsc::Receiver<Request>,
    published: Arc<ArcSwap<Published>>,
    generation: watch::Sender<u64>,
    /// Of what the store keeps.
    stored: u64,
}

/// What readers see.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) world: Arc<World>,
    pub(super) objects: Objects,
    pub(super) eid_keys: Arc<EidKeys>,
}

impl Published {
    fn of(state: &State) -> Published {
        let State { world, all, eid_keys, .. } = state;
        Published { world: world.clone(), objects: all.clone(), eid_keys: eid_keys.clone() }
    }
}

/// What the catalog is asked to do.
pub(super) enum Request {
    Put { kind: Kind, objects: Vec<Value>, answer: oneshot::Sender<Result<(), Refusal>> },
    Delete { kind: Kind, id: String, answer: oneshot::Sender<Result<bool, Refusal>> },
    Reload { sources: Box<Sources>, answer: oneshot::Sender<Result<(), Vec<Finding>>> },
}

/// Where the catalog's files are, and what else the world is made of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder that file names are relative to.
    pub folder: PathBuf,
    /// Which files.
    pub config: Config,
    /// What the operator tuned in the engine.
    pub settings: world::Settings,
}

/// Why the catalog could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something is wrong in the files.
    Files(Vec<Finding>),
    /// The store could not be read.
    Store(store::Error),
}

/// The world of the files alone.
pub(super) fn of_files(sources: &Sources) -> Result<Arc<World>, Vec<Finding>> {
    State::default().reloaded(sources).map(|state| state.world)
}

/// Reads everything once.
pub(super) async fn open(
    sources: Sources,
    store: Arc<dyn store::Store>,
    requests: mpsc::Receiver<Request>,
) -> Result<Worker, Error> {
    let store::Catalog { generation: stored, items } = store.catalog().await.map_err(Error::Store)?;
    let state = blocking(move || State::recovered(items).reloaded(&sources)).await.map_err(Error::Files)?;
    let published = Published::of(&state);
    let generation = watch::Sender::new(state.world.generation);
    Ok(Worker { state, store, requests, published: Arc::new(ArcSwap::from_pointee(published)), generation, stored })
}

impl Worker {
    pub(super) fn published(&self) -> (Arc<ArcSwap<Published>>, watch::Receiver<u64>) {
        (self.published.clone(), self.generation.subscribe())
    }

    /// Works until the last [`super::Catalog`] is gone; everything that was asked before is answered.
    pub async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.requests.recv_many(&mut waiting, BATCH_MAX).await > 0 {
            let mut changes = Vec::new();
            for request in waiting.drain(..) {
                match request {
                    Request::Put { kind, objects, answer } => changes.push(Change::Put { kind, objects, answer }),
                    Request::Delete { kind, id, answer } => changes.push(Change::Delete { kind, id, answer }),
                    Request::Reload { sources, answer } => {
                        self.change(std::mem::take(&mut changes)).await;
                        self.reload(sources, answer).await;
                    }
                }
            }
            self.change(changes).await;
        }
    }

    async fn change(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let state = self.state.clone();
        let checked = blocking(move || Checked::new(state, changes)).await;
        let Checked { state, items, verdicts, .. } = checked;
        if items.is_empty() {
            return verdicts.into_iter().for_each(|verdict| verdict.tell(None));
        }
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| items.keys().any(|(of, _)| of == kind)).collect();
        let items = items.into_iter().map(|((kind, id), json)| CatalogItem {
            kind: kind.name().to_owned(),
            id: id.to_string(),
            json: json.map(|json| json.to_string()),
        });
        let why = match self.store.put_catalog(items.collect(), self.stored).await {
            Ok(Some(generation)) => {
                self.stored = generation;
                None
            }
            Ok(None) => Some("somebody else changes the catalog".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            let refusal = Refusal::Unavailable(why);
            return verdicts.into_iter().for_each(|verdict| verdict.tell(Some(&refusal)));
        }
        let state = blocking(move || state.rebuilt(&kinds)).await;
        self.publish(state);
        verdicts.into_iter().for_each(|verdict| verdict.tell(None));
    }

    async fn reload(&mut self, sources: Box<Sources>, answer: oneshot::Sender<Result<(), Vec<Finding>>>) {
        let state = self.state.clone();
        let result = blocking(move || state.reloaded(&sources)).await.map(|state| self.publish(state));
        // Nobody waits for the answer any more: then nobody needs it.
        drop(answer.send(result));
    }

    fn publish(&mut self, state: State) {
        let generation = state.world.generation;
        self.published.store(Arc::new(Published::of(&state)));
        self.state = state;
        self.generation.send_replace(generation);
    }
}

/// Runs what takes long off the runtime's workers. A panic goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
