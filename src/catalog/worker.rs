//! Changes the catalog, one batch at a time: check, make durable, rebuild, publish, answer.
//!
//! Whatever waits is taken at once, so that a thousand puts are one write and one rebuild. Checking and rebuilding
//! take tens of milliseconds with a hundred thousand fences and so run off the runtime's workers. What other nodes
//! change is followed; who was slower than another node checks again what was asked, and never writes over it.

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parvis_engine::world::{self, World};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Config, EidKeys, Kind, Refusal,
    changes::{Asked, Change, Checked, Items, Verdict},
    objects::Objects,
    state::State,
};
use crate::{
    clock::Clock,
    document::Finding,
    store::{self, CatalogItem},
};

/// The most requests that share one write.
const BATCH_MAX: usize = 4_096;

/// How often a batch is checked again because another node was faster. Of all who write at once one is the first, so
/// that with three nodes nobody comes near it.
const TRIES_MAX: usize = 32;

/// The pauses between attempts to read a catalog that could not be read; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Does the catalog's work; ends when the last [`super::Catalog`] is gone.
pub struct Worker {
    state: State,
    store: Arc<dyn store::Store>,
    requests: mpsc::Receiver<Request>,
    published: Arc<ArcSwap<Published>>,
    generation: watch::Sender<u64>,
    /// The generation of what was read last.
    stored: u64,
    /// The generation that the store tells of.
    told: watch::Receiver<u64>,
    /// Set while what the store keeps could not be read.
    behind: Option<Behind>,
}

/// Waits before it is tried again to read.
struct Behind {
    pause: Duration,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Behind {
    fn new(pause: Duration) -> Behind {
        Behind { pause, over: Box::pin(async move { Clock::System.sleep(pause).await }) }
    }
}

/// What the worker does next.
enum Step {
    Answer,
    Follow,
    End,
}

/// What readers see.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) world: Arc<World>,
    pub(super) objects: Objects,
    pub(super) eid_keys: Arc<EidKeys>,
    pub(super) standing: Standing,
}

/// What nodes that work together should have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The generation of the control plane in the store.
    pub stored: u64,
    /// A hash of the files, the keys of beacons and the engine's settings.
    pub files: u64,
}

impl Published {
    fn of(state: &State, stored: u64) -> Published {
        let State { world, all, eid_keys, fingerprint, .. } = state;
        let standing = Standing { stored, files: *fingerprint };
        Published { world: world.clone(), objects: all.clone(), eid_keys: eid_keys.clone(), standing }
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
    let told = store.catalog_changed();
    let store::Catalog { generation: stored, items } = store.catalog().await.map_err(Error::Store)?;
    let read = move || {
        let mut state = State::default();
        state.take(items);
        state.reloaded(&sources)
    };
    let state = blocking(read).await.map_err(Error::Files)?;
    tracing::info!(files.hash = hex(state.fingerprint), "the catalog's files are read");
    let published = Arc::new(ArcSwap::from_pointee(Published::of(&state, stored)));
    let generation = watch::Sender::new(state.world.generation);
    Ok(Worker { state, store, requests, published, generation, stored, told, behind: None })
}

/// A hash as people compare it.
fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

impl Worker {
    pub(super) fn published(&self) -> (Arc<ArcSwap<Published>>, watch::Receiver<u64>) {
        (self.published.clone(), self.generation.subscribe())
    }

    /// Works until the last [`super::Catalog`] is gone; everything that was asked before is answered.
    pub async fn run(mut self) {
        let mut waiting = Vec::new();
        loop {
            match self.next(&mut waiting).await {
                Step::Answer => self.answer(&mut waiting).await,
                Step::Follow => self.follow().await,
                Step::End => return,
            }
        }
    }

    async fn next(&mut self, waiting: &mut Vec<Request>) -> Step {
        let pausing = self.behind.is_some();
        let pause = async {
            match &mut self.behind {
                Some(behind) => behind.over.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            taken = self.requests.recv_many(waiting, BATCH_MAX) => if taken == 0 { Step::End } else { Step::Answer },
            () = pause => Step::Follow,
            Ok(()) = self.told.changed(), if !pausing => Step::Follow,
        }
    }

    async fn answer(&mut self, waiting: &mut Vec<Request>) {
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

    async fn change(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let compile = || changes.into_iter().map(Change::compiled).unzip::<_, _, Vec<_>, Vec<_>>();
        let (asked, waiting) = blocking(compile).await;
        let (verdicts, refusal) = self.write(asked).await;
        for (waiting, verdict) in waiting.into_iter().zip(verdicts) {
            waiting.tell(verdict, refusal.as_ref());
        }
    }

    /// Judges and writes until no other node is faster. The refusal is for whatever was to be written.
    async fn write(&mut self, asked: Vec<Asked>) -> (Vec<Verdict>, Option<Refusal>) {
        let (asked, mut sure, mut verdicts) = (Arc::new(asked), false, Vec::new());
        for _ in 0..TRIES_MAX {
            let (state, changes) = (self.state.clone(), asked.clone());
            let checked = blocking(move || Checked::new(state, &changes)).await;
            verdicts = checked.verdicts;
            let refused = |(change, verdict): (&Asked, &Verdict)| change.depends_on_others() && *verdict != Ok(true);
            // What the others are may have been changed through another node just now.
            if !sure && asked.iter().zip(&verdicts).any(refused) {
                sure = true;
                match self.catch_up().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        let refusal = self.unsure(&error);
                        let told = asked.iter().zip(verdicts);
                        let told = told.map(|it| if refused((it.0, &it.1)) { Err(refusal.clone()) } else { it.1 });
                        return (told.collect(), Some(refusal));
                    }
                }
            }
            if checked.items.is_empty() {
                return (verdicts, None);
            }
            match self.store.put_catalog(to_store(&checked.items), self.stored).await {
                Ok(Some(generation)) => {
                    let kinds: Vec<Kind> = changed(&checked.items);
                    let state = checked.state;
                    let state = blocking(move || state.rebuilt(&kinds)).await;
                    self.stored = generation;
                    self.publish(state);
                    return (verdicts, None);
                }
                Ok(None) => {
                    if let Err(error) = self.catch_up().await {
                        return (verdicts, Some(self.unsure(&error)));
                    }
                }
                Err(error) => return (verdicts, Some(self.unsure(&error))),
            }
        }
        (verdicts, Some(Refusal::Unavailable("other nodes change the catalog all the time".to_owned())))
    }

    /// Refuses, and reads soon: what was written may have taken effect although the store could not say so.
    fn unsure(&mut self, error: &store::Error) -> Refusal {
        self.behind.get_or_insert_with(|| Behind::new(PAUSES.0));
        Refusal::Unavailable(error.to_string())
    }

    /// Takes over what the store keeps, whoever has put it.
    async fn follow(&mut self) {
        if self.behind.is_none() && *self.told.borrow_and_update() == self.stored {
            return;
        }
        match self.catch_up().await {
            Ok(_) => {}
            Err(error) => {
                let pause = self.behind.as_ref().map(|behind| behind.pause);
                if pause.is_none() {
                    tracing::warn!("what other nodes put into the catalog can't be read, trying again: {error}");
                }
                self.behind = Some(Behind::new(pause.map_or(PAUSES.0, |pause| (pause * 2).min(PAUSES.1))));
            }
        }
    }

    /// Reads what the store keeps, and publishes it if it is news; true if it is.
    async fn catch_up(&mut self) -> Result<bool, store::Error> {
        let store::Catalog { generation, items } = self.store.catalog().await?;
        if self.behind.take().is_some() {
            tracing::info!("the catalog could be read again");
        }
        if generation == self.stored {
            return Ok(false);
        }
        let state = self.state.clone();
        let state = blocking(move || state.followed(items)).await;
        self.stored = generation;
        self.publish(state);
        Ok(true)
    }

    async fn reload(&mut self, sources: Box<Sources>, answer: oneshot::Sender<Result<(), Vec<Finding>>>) {
        let state = self.state.clone();
        let before = self.state.fingerprint;
        let result = blocking(move || state.reloaded(&sources)).await.map(|state| self.publish(state));
        if self.state.fingerprint != before {
            tracing::info!(files.hash = hex(self.state.fingerprint), "the catalog's files have changed");
        }
        // Nobody waits for the answer any more: then nobody needs it.
        drop(answer.send(result));
    }

    fn publish(&mut self, state: State) {
        let generation = state.world.generation;
        self.published.store(Arc::new(Published::of(&state, self.stored)));
        self.state = state;
        self.generation.send_replace(generation);
    }
}

fn changed(items: &Items) -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| items.keys().any(|(of, _)| of == kind)).collect()
}

fn to_store(items: &Items) -> Vec<CatalogItem> {
    let item = |((kind, id), json): (&(Kind, Arc<str>), &Option<Arc<str>>)| CatalogItem {
        kind: kind.name().to_owned(),
        id: id.to_string(),
        json: json.as_ref().map(ToString::to_string),
    };
    items.iter().map(item).collect()
}

/// Runs what takes long off the runtime's workers. A panic goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
