//! Changes the catalog, one batch at a time: check, make durable, rebuild, publish, answer.
//!
//! Whatever waits is taken at once, so that a thousand puts are one write and one rebuild. Checking and rebuilding
//! take tens of milliseconds with a hundred thousand fences and so run off the runtime's workers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parvis_engine::{
    campaign::{Campaign, Campaigns},
    problem::Problem,
    region::{Geofence, Regions},
    store::Store,
    world::{self, World},
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Config, Kind, Refusal, files,
    objects::{Compiled, Entry, Objects},
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
}

/// What readers see.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) world: Arc<World>,
    pub(super) objects: Objects,
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

#[derive(Clone, Debug, Default)]
struct State {
    /// What stands in files.
    files: Objects,
    /// What was put through the API; hidden where a file holds the same id.
    api: Objects,
    /// Both.
    all: Objects,
    world: Arc<World>,
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
    let items = store.catalog().await.map_err(Error::Store)?;
    let state = blocking(move || {
        let api = recovered(items);
        State { api, ..State::default() }.reloaded(&sources)
    });
    let state = state.await.map_err(Error::Files)?;
    let published = Published { world: state.world.clone(), objects: state.all.clone() };
    let generation = watch::Sender::new(state.world.generation);
    Ok(Worker { state, store, requests, published: Arc::new(ArcSwap::from_pointee(published)), generation })
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
        let Checked { state, items, verdicts } = checked;
        if items.is_empty() {
            return verdicts.into_iter().for_each(|verdict| verdict.tell(None));
        }
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| items.keys().any(|(of, _)| of == kind)).collect();
        let items = items.into_iter().map(|((kind, id), json)| CatalogItem {
            kind: kind.name().to_owned(),
            id: id.to_string(),
            json: json.map(|json| json.to_string()),
        });
        if let Err(error) = self.store.put_catalog(items.collect()).await {
            let refusal = Refusal::Unavailable(error.to_string());
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
        self.published.store(Arc::new(Published { world: state.world.clone(), objects: state.all.clone() }));
        self.state = state;
        self.generation.send_replace(generation);
    }
}

enum Change {
    Put { kind: Kind, objects: Vec<Value>, answer: oneshot::Sender<Result<(), Refusal>> },
    Delete { kind: Kind, id: String, answer: oneshot::Sender<Result<bool, Refusal>> },
}

/// An answer that waits until the batch is durable.
enum Verdict {
    Put(Result<(), Refusal>, oneshot::Sender<Result<(), Refusal>>),
    Delete(Result<bool, Refusal>, oneshot::Sender<Result<bool, Refusal>>),
}

impl Verdict {
    /// Answers; a change that was to be made is refused instead if there is a refusal of the whole batch.
    fn tell(self, refusal: Option<&Refusal>) {
        let refuse = |()| refusal.cloned().map_or(Ok(()), Err);
        match self {
            Verdict::Put(result, answer) => drop(answer.send(result.and_then(refuse))),
            Verdict::Delete(Ok(true), answer) => drop(answer.send(refuse(()).map(|()| true))),
            Verdict::Delete(result, answer) => drop(answer.send(result)),
        }
    }
}

type Items = BTreeMap<(Kind, Arc<str>), Option<Arc<str>>>;

/// A batch after its check: the state as it will be, and what is to be written for it.
struct Checked {
    state: State,
    items: Items,
    verdicts: Vec<Verdict>,
}

impl Checked {
    fn new(state: State, changes: Vec<Change>) -> Checked {
        let mut checked = Checked { state, items: BTreeMap::new(), verdicts: Vec::new() };
        for change in changes {
            let verdict = match change {
                Change::Put { kind, objects, answer } => Verdict::Put(checked.put(kind, objects), answer),
                Change::Delete { kind, id, answer } => Verdict::Delete(checked.delete(kind, &id), answer),
            };
            checked.verdicts.push(verdict);
        }
        checked
    }

    fn put(&mut self, kind: Kind, objects: Vec<Value>) -> Result<(), Refusal> {
        let many = objects.len() > 1;
        let mut problems = Vec::new();
        let mut entries: BTreeMap<Arc<str>, Entry> = BTreeMap::new();
        let tags = if kind == Kind::Campaign { self.state.all.tags() } else { Default::default() };
        for (index, object) in objects.into_iter().enumerate() {
            let prefix = if many { prefix(kind, index) } else { String::new() };
            let (id, entry) = match Entry::compile(kind, object, None) {
                Ok(compiled) => compiled,
                Err(wrong) => {
                    problems.extend(wrong.into_iter().map(|problem| problem.under(&prefix)));
                    continue;
                }
            };
            if let Some(file) = self.file(kind, &id) {
                return Err(Refusal::InFile { path: file.display().to_string() });
            }
            let unknown = self.state.all.unknown_names(&entry, &tags);
            problems.extend(unknown.into_iter().map(|problem| problem.under(&prefix)));
            if entries.insert(id, entry).is_some() {
                problems.push(Problem::new(format!("{prefix}/id"), "the same id stands here twice"));
            }
        }
        if !problems.is_empty() {
            return Err(Refusal::Invalid(problems));
        }
        for (id, entry) in entries {
            if self.state.all.of(kind).get(&id).is_some_and(|known| known.json == entry.json) {
                continue;
            }
            self.items.insert((kind, id.clone()), Some(entry.text()));
            let entry = Arc::new(entry);
            self.state.api.of_mut(kind).insert(id.clone(), entry.clone());
            self.state.all.of_mut(kind).insert(id, entry);
        }
        Ok(())
    }

    fn delete(&mut self, kind: Kind, id: &str) -> Result<bool, Refusal> {
        if let Some(file) = self.file(kind, id) {
            return Err(Refusal::InFile { path: file.display().to_string() });
        }
        let Some((id, _)) = self.state.api.of(kind).get_key_value(id) else { return Ok(false) };
        let id = id.clone();
        let who = self.state.all.who_names(kind, &id);
        if let Some(first) = who.first() {
            let others = if who.len() > 1 { format!(" and {} more", who.len() - 1) } else { String::new() };
            let message = format!("{first}{others} name this {kind}: change or delete them first");
            return Err(Refusal::Invalid(vec![Problem::new("", message)]));
        }
        self.state.api.of_mut(kind).remove(&id);
        self.state.all.of_mut(kind).remove(&id);
        self.items.insert((kind, id), None);
        Ok(true)
    }

    fn file(&self, kind: Kind, id: &str) -> Option<Arc<Path>> {
        self.state.files.of(kind).get(id).and_then(|entry| entry.file.clone())
    }
}

/// Several objects are asked for as a FeatureCollection or as a list.
fn prefix(kind: Kind, index: usize) -> String {
    match kind {
        Kind::Geofence => format!("/features/{index}"),
        Kind::Store | Kind::Campaign => format!("/{index}"),
    }
}

impl State {
    /// The state after the files were read again.
    fn reloaded(mut self, sources: &Sources) -> Result<State, Vec<Finding>> {
        let (files, findings) = files::read(&sources.config, &sources.folder);
        if !findings.is_empty() {
            return Err(findings);
        }
        self.all = files.over(&self.api);
        self.files = files;
        warn_of_dangling(&self);
        let world = World { settings: Arc::new(sources.settings.clone()), ..World::clone(&self.world) };
        self.world = Arc::new(world);
        Ok(self.rebuilt(&Kind::ALL))
    }

    /// The state with a new world, in which only what depends on these kinds is built anew.
    fn rebuilt(mut self, kinds: &[Kind]) -> State {
        let mut world = World::clone(&self.world);
        world.generation += 1;
        for kind in kinds {
            match kind {
                Kind::Geofence => world.regions = Arc::new(Regions::new(self.fences())),
                Kind::Store => world.stores = Arc::new(self.stores().into_iter().map(by_id).collect()),
                Kind::Campaign => world.campaigns = Arc::new(Campaigns::new(self.campaigns())),
            }
        }
        self.world = Arc::new(world);
        self
    }

    fn fences(&self) -> Vec<Arc<Geofence>> {
        self.compiled(Kind::Geofence, |compiled| match compiled {
            Compiled::Geofence(fence) => Some(fence.clone()),
            Compiled::Store(_) | Compiled::Campaign(_) => None,
        })
    }

    fn stores(&self) -> Vec<Arc<Store>> {
        self.compiled(Kind::Store, |compiled| match compiled {
            Compiled::Store(store) => Some(store.clone()),
            Compiled::Geofence(_) | Compiled::Campaign(_) => None,
        })
    }

    fn campaigns(&self) -> Vec<Arc<Campaign>> {
        self.compiled(Kind::Campaign, |compiled| match compiled {
            Compiled::Campaign(campaign) => Some(campaign.clone()),
            Compiled::Geofence(_) | Compiled::Store(_) => None,
        })
    }

    fn compiled<T>(&self, kind: Kind, pick: impl Fn(&Compiled) -> Option<T>) -> Vec<T> {
        self.all.of(kind).values().filter_map(|entry| pick(&entry.compiled)).collect()
    }
}

fn by_id(store: Arc<Store>) -> (parvis_engine::id::StoreId, Arc<Store>) {
    (store.spec.id.clone(), store)
}

/// The objects that the store kept. One that this version does not take any more is left out but stays stored.
fn recovered(items: Vec<CatalogItem>) -> Objects {
    let mut objects = Objects::default();
    for item in items {
        let (Ok(kind), Some(json)) = (item.kind.parse::<Kind>(), &item.json) else { continue };
        let value = serde_json::from_str(json).map_err(|error| vec![Problem::new("", error.to_string())]);
        match value.and_then(|value| Entry::compile(kind, value, None)) {
            Ok((id, entry)) => {
                objects.of_mut(kind).insert(id, Arc::new(entry));
            }
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let problems = problems.join("; ");
                tracing::error!(object.kind = %kind, object.id = item.id, "stored {kind} {:?} is left out: {problems}", item.id);
            }
        }
    }
    objects
}

/// Files may change below what was put through the API; that must not keep the daemon from starting.
fn warn_of_dangling(state: &State) {
    let tags = state.all.tags();
    for kind in Kind::ALL {
        for (id, entry) in state.api.of(kind).iter() {
            if state.files.of(kind).contains_key(id) {
                tracing::warn!(object.kind = %kind, object.id = %id, "{kind} {id:?} of the API is hidden by the one in a file");
            }
            for problem in state.all.unknown_names(entry, &tags) {
                tracing::warn!(object.kind = %kind, object.id = %id, "{kind} {id:?} of the API: {problem}");
            }
        }
    }
}

/// Runs what takes long off the runtime's workers. A panic goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
