//! What the catalog holds at one moment: objects from files and from the API, and the world that is made of them.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;
use parvis_engine::{
    campaign::Campaigns,
    problem::Problem,
    region::Regions,
    registry::{Parts, Registry},
    world::{self, World},
};

use super::{
    Kind, Sources, claims,
    eid_keys::{self, EidKeys},
    files,
    objects::{Compiled, Entry, Map, Objects},
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
    /// Of what stands in the files, the keys and the settings: nodes that should decide alike have the same.
    pub(super) fingerprint: u64,
    /// What the store keeps and this version does not take, told once.
    left_out: BTreeMap<(Kind, String), String>,
}

impl State {
    /// The state with what the store keeps now, in which only what differs is built anew. An object that this version
    /// does not take is left out but stays stored.
    pub(super) fn followed(mut self, items: Vec<CatalogItem>) -> State {
        let before = self.clone();
        self.take(items);
        self.all = claims::over(&self.files, &self.api);
        let news = |kind: Kind, id: &str, entry: &Arc<Entry>| {
            !holds(&before.api, kind, id, entry) && !holds(&before.all, kind, id, entry)
        };
        warn_of_dangling(&self, news);
        let kinds = Kind::ALL.into_iter().filter(|kind| !same(self.all.of(*kind), before.all.of(*kind)));
        let kinds: Vec<Kind> = kinds.collect();
        if kinds.is_empty() { self } else { self.rebuilt(&kinds) }
    }

    /// Takes the objects that the store keeps for those of the API; what is known already is not compiled again.
    pub(super) fn take(&mut self, items: Vec<CatalogItem>) {
        let (mut api, mut left_out) = (Objects::default(), BTreeMap::new());
        for CatalogItem { kind, id, json } in items {
            let (Ok(kind), Some(json)) = (kind.parse::<Kind>(), json) else { continue };
            if let Some((id, entry)) =
                self.api.of(kind).get_key_value(id.as_str()).filter(|(_, it)| *it.text() == *json)
            {
                api.of_mut(kind).insert(id.clone(), entry.clone());
                continue;
            }
            let value = serde_json::from_str(&json).map_err(|error| vec![Problem::new("", error.to_string())]);
            match value.and_then(|value| Entry::compile(kind, value, None)) {
                Ok((id, entry)) => drop(api.of_mut(kind).insert(id, Arc::new(entry))),
                Err(problems) => {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    let problems = problems.join("; ");
                    if self.left_out.get(&(kind, id.clone())) != Some(&json) {
                        tracing::error!(object.kind = %kind, object.id = id, "stored {kind} {id:?} is left out: {problems}");
                    }
                    left_out.insert((kind, id), json);
                }
            }
        }
        (self.api, self.left_out) = (api, left_out);
    }

    /// The state after the files were read again.
    pub(super) fn reloaded(mut self, sources: &Sources) -> Result<State, Vec<Finding>> {
        let files::Read { objects, eid_keys, findings, contents, .. } = files::read(&sources.config, &sources.folder);
        if !findings.is_empty() {
            return Err(findings);
        }
        self.all = claims::over(&objects, &self.api);
        self.files = objects;
        self.eid_keys = eid_keys;
        warn_of_dangling(&self, |_, _, _| true);
        for id in eid_keys::without_beacon(&self.all, &self.eid_keys) {
            tracing::warn!(object.id = %id, "there is a key for {:?}, but no beacon of this name with eid", id.as_str());
        }
        self.fingerprint = fingerprint(contents, &self.eid_keys, &sources.settings);
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

/// Whether the same entry stands there.
fn holds(objects: &Objects, kind: Kind, id: &str, entry: &Arc<Entry>) -> bool {
    objects.of(kind).get(id).is_some_and(|held| Arc::ptr_eq(held, entry))
}

fn same(one: &Map, other: &Map) -> bool {
    let alike =
        one.iter().zip(other).all(|((id, entry), (id_there, there))| id == id_there && Arc::ptr_eq(entry, there));
    one.len() == other.len() && alike
}

/// A hash; the keys are secret, and so only their hash goes in.
fn fingerprint(contents: digest::Digest, keys: &EidKeys, settings: &world::Settings) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(contents.as_ref());
    for (beacon, key) in keys.iter() {
        hash.update(beacon.as_str().as_bytes());
        hash.update(digest::digest(&digest::SHA256, key).as_ref());
    }
    hash.update(&serde_json::to_vec(settings).unwrap_or_default());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finish().as_ref()[..8]);
    u64::from_be_bytes(first)
}

/// Files may change below what was put through the API, and other nodes may have other files; that must not keep the
/// daemon from starting. Tells of the objects of the API that are `news`.
fn warn_of_dangling(state: &State, news: impl Fn(Kind, &str, &Arc<Entry>) -> bool) {
    let (all, tags) = (&state.all, state.all.tags());
    for kind in Kind::ALL {
        for (id, entry) in state.api.of(kind).iter().filter(|(id, entry)| news(kind, id, entry)) {
            if !holds(all, kind, id, entry) {
                tracing::warn!(object.kind = %kind, object.id = %id, "{kind} {id:?} of the API is hidden by what stands in a file");
                continue;
            }
            for problem in all.unknown_names(entry, &tags).into_iter().chain(super::relations::problems(all, entry)) {
                tracing::warn!(object.kind = %kind, object.id = %id, "{kind} {id:?} of the API: {problem}");
            }
        }
    }
    for (id, _) in eid_keys::without_key(all, &state.eid_keys).filter(|(id, entry)| news(Kind::Beacon, id, entry)) {
        tracing::warn!(
            object.id = id,
            "beacon {id:?} changes its identity, and there is no key for it: it is not heard"
        );
    }
}
