//! What the catalog holds at one moment: objects from files and from the API, and the world that is made of them.

use std::sync::Arc;

use parvis_engine::{
    campaign::Campaigns,
    problem::Problem,
    region::Regions,
    registry::{Parts, Registry},
    world::World,
};

use super::{
    Kind, Sources, claims,
    eid_keys::{self, EidKeys},
    files,
    objects::{Compiled, Entry, Objects},
};
use crate::{document::Finding, store::CatalogItem};

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// What stands in files.
    pub(super) files: Objects,
    /// What was put through the API; hidden where a file holds the same id, or what only one may have.
    pub(super) api: Objects,
    /// Both.
    pub(super) all: Objects,
    pub(super) eid_keys: Arc<EidKeys>,
    pub(super) world: Arc<World>,
}

impl State {
    /// The objects that the store kept. One that this version does not take any more is left out but stays stored.
    pub(super) fn recovered(items: Vec<CatalogItem>) -> State {
        let mut api = Objects::default();
        for item in items {
            let (Ok(kind), Some(json)) = (item.kind.parse::<Kind>(), &item.json) else { continue };
            let value = serde_json::from_str(json).map_err(|error| vec![Problem::new("", error.to_string())]);
            match value.and_then(|value| Entry::compile(kind, value, None)) {
                Ok((id, entry)) => {
                    api.of_mut(kind).insert(id, Arc::new(entry));
                }
                Err(problems) => {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    let problems = problems.join("; ");
                    tracing::error!(object.kind = %kind, object.id = item.id, "stored {kind} {:?} is left out: {problems}", item.id);
                }
            }
        }
        State { api, ..State::default() }
    }

    /// The state after the files were read again.
    pub(super) fn reloaded(mut self, sources: &Sources) -> Result<State, Vec<Finding>> {
        let files::Read { objects, eid_keys, findings, .. } = files::read(&sources.config, &sources.folder);
        if !findings.is_empty() {
            return Err(findings);
        }
        self.all = claims::over(&objects, &self.api);
        self.files = objects;
        self.eid_keys = eid_keys;
        warn_of_dangling(&self);
        let world = World { settings: Arc::new(sources.settings.clone()), ..World::clone(&self.world) };
        self.world = Arc::new(world);
        Ok(self.rebuilt(&Kind::ALL))
    }

    /// The state with a new world, in which only what depends on these kinds is built anew.
    pub(super) fn rebuilt(mut self, kinds: &[Kind]) -> State {
        let mut world = World::clone(&self.world);
        world.generation += 1;
        let changed = |kind: Kind| kinds.contains(&kind);
        if changed(Kind::Geofence) {
            world.regions = Arc::new(Regions::new(self.compiled(Kind::Geofence, fence)));
        }
        if changed(Kind::Store) {
            let stores = self.compiled(Kind::Store, shop);
            world.stores = Arc::new(stores.into_iter().map(|store| (store.spec.id.clone(), store)).collect());
        }
        if changed(Kind::Campaign) {
            world.campaigns = Arc::new(Campaigns::new(self.compiled(Kind::Campaign, campaign)));
        }
        if Kind::REGISTRY.into_iter().any(changed) {
            world.registry = Arc::new(self.registry());
        }
        self.world = Arc::new(world);
        self
    }

    fn registry(&self) -> Registry {
        Registry::new(Parts {
            beacons: self.compiled(Kind::Beacon, beacon),
            scanners: self.compiled(Kind::Scanner, scanner),
            zones: self.compiled(Kind::Zone, zone),
            regions: self.compiled(Kind::BeaconRegion, beacon_region),
        })
    }

    fn compiled<T>(&self, kind: Kind, pick: fn(&Compiled) -> Option<&Arc<T>>) -> Vec<Arc<T>> {
        self.all.of(kind).values().filter_map(|entry| pick(&entry.compiled).cloned()).collect()
    }
}

macro_rules! picks {
    ($($pick:ident: $variant:ident => $type:ty;)*) => {$(
        fn $pick(compiled: &Compiled) -> Option<&Arc<$type>> {
            if let Compiled::$variant(it) = compiled { Some(it) } else { None }
        }
    )*};
}

picks! {
    fence: Geofence => parvis_engine::region::Geofence;
    shop: Store => parvis_engine::store::Store;
    campaign: Campaign => parvis_engine::campaign::Campaign;
    beacon: Beacon => parvis_engine::registry::Beacon;
    scanner: Scanner => parvis_engine::registry::Scanner;
    zone: Zone => parvis_engine::registry::Zone;
    beacon_region: BeaconRegion => parvis_engine::registry::BeaconRegion;
}

/// Files may change below what was put through the API; that must not keep the daemon from starting.
fn warn_of_dangling(state: &State) {
    let (all, tags) = (&state.all, state.all.tags());
    for kind in Kind::ALL {
        for (id, entry) in state.api.of(kind).iter() {
            if !all.of(kind).get(id).is_some_and(|shown| Arc::ptr_eq(shown, entry)) {
                tracing::warn!(object.kind = %kind, object.id = %id, "{kind} {id:?} of the API is hidden by what stands in a file");
                continue;
            }
            for problem in all.unknown_names(entry, &tags).into_iter().chain(super::relations::problems(all, entry)) {
                tracing::warn!(object.kind = %kind, object.id = %id, "{kind} {id:?} of the API: {problem}");
            }
        }
    }
    for (id, _) in eid_keys::without_key(all, &state.eid_keys) {
        tracing::warn!(
            object.id = id,
            "beacon {id:?} changes its identity, and there is no key for it: it is not heard"
        );
    }
    for id in eid_keys::without_beacon(all, &state.eid_keys) {
        tracing::warn!(object.id = %id, "there is a key for {:?}, but no beacon of this name with eid", id.as_str());
    }
}
