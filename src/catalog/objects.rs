//! The objects that the catalog holds: compiled, with the JSON that they were put as and what they name.
//!
//! Knows neither files nor the store.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use parvis_engine::{campaign::Campaign, problem::Problem, region::Geofence, store::Store};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Kind, geojson};
use crate::document;

/// Objects of one kind, by id.
pub type Map = BTreeMap<Arc<str>, Arc<Entry>>;

/// One object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What decides.
    pub compiled: Compiled,
    /// As it was put.
    pub json: Arc<str>,
    /// The file it stands in, if it stands in one.
    pub file: Option<Arc<Path>>,
    /// What it names.
    pub names: Vec<Name>,
    /// The tags that it carries, if it is a geofence.
    pub tags: Vec<Box<str>>,
}

/// A checked object.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// A geofence.
    Geofence(Arc<Geofence>),
    /// A shop.
    Store(Arc<Store>),
    /// A campaign.
    Campaign(Arc<Campaign>),
}

/// Another object or a tag that an object names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Where it names it.
    pub pointer: Cow<'static, str>,
    /// What kind of thing it names.
    pub target: Target,
    /// Its id.
    pub id: Box<str>,
}

/// What can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A shop.
    Store,
    /// A geofence.
    Region,
    /// A tag that some geofence carries.
    Tag,
}

/// Where objects name others: the kind, the pointer (a list of names counts as each of them), and what is named.
const NAMES: [(Kind, &str, Target); 5] = [
    (Kind::Geofence, "/properties/store", Target::Store),
    (Kind::Campaign, "/trigger/store", Target::Store),
    (Kind::Campaign, "/trigger/stores", Target::Store),
    (Kind::Campaign, "/trigger/regions", Target::Region),
    (Kind::Campaign, "/trigger/tags", Target::Tag),
];

/// Objects of every kind. Cloning shares all of them.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    geofences: Arc<Map>,
    stores: Arc<Map>,
    campaigns: Arc<Map>,
}

impl Objects {
    /// Those of a kind.
    pub fn of(&self, kind: Kind) -> &Arc<Map> {
        match kind {
            Kind::Geofence => &self.geofences,
            Kind::Store => &self.stores,
            Kind::Campaign => &self.campaigns,
        }
    }

    /// Those of a kind, to be changed; copies the map if others share it.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Map {
        Arc::make_mut(match kind {
            Kind::Geofence => &mut self.geofences,
            Kind::Store => &mut self.stores,
            Kind::Campaign => &mut self.campaigns,
        })
    }

    /// These objects, and those of `others` whose ids are not among these.
    #[must_use]
    pub fn over(&self, others: &Objects) -> Objects {
        let mut all = self.clone();
        for kind in Kind::ALL {
            if others.of(kind).is_empty() {
                continue;
            }
            let map = all.of_mut(kind);
            for (id, entry) in others.of(kind).iter() {
                map.entry(id.clone()).or_insert_with(|| entry.clone());
            }
        }
        all
    }

    /// Every tag that a geofence carries.
    pub fn tags(&self) -> BTreeSet<&str> {
        self.geofences.values().flat_map(|entry| entry.tags.iter().map(Box::as_ref)).collect()
    }

    /// What an object names that is not there. `tags` are those of [`Objects::tags`].
    pub fn unknown_names(&self, entry: &Entry, tags: &BTreeSet<&str>) -> Vec<Problem> {
        let unknown = |name: &&Name| match name.target {
            Target::Store => !self.stores.contains_key(&*name.id),
            Target::Region => !self.geofences.contains_key(&*name.id),
            Target::Tag => !tags.contains(&*name.id),
        };
        let problem = |name: &Name| {
            let message = match name.target {
                Target::Store => format!("there is no store {:?}", name.id),
                Target::Region => format!("there is no geofence {:?}", name.id),
                Target::Tag => format!("no geofence has the tag {:?}", name.id),
            };
            Problem::new(name.pointer.clone(), message)
        };
        entry.names.iter().filter(unknown).map(problem).collect()
    }

    /// Which objects name this one, as people say it.
    pub fn who_names(&self, kind: Kind, id: &str) -> Vec<String> {
        let (target, kinds): (Target, &[Kind]) = match kind {
            Kind::Store => (Target::Store, &[Kind::Geofence, Kind::Campaign]),
            Kind::Geofence => (Target::Region, &[Kind::Campaign]),
            Kind::Campaign => return Vec::new(),
        };
        let mut who = Vec::new();
        for kind in kinds {
            for (other, entry) in self.of(*kind).iter() {
                if entry.names.iter().any(|name| name.target == target && *name.id == *id) {
                    who.push(format!("{kind} {other:?}"));
                }
            }
        }
        who
    }
}

impl Entry {
    /// Checks an object that was put; its id comes with it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(kind: Kind, value: Value, file: Option<Arc<Path>>) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        let json = value.to_string();
        Entry::compile_as(kind, value, json, file)
    }

    /// The same, where the JSON is kept as it is written.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile_as(
        kind: Kind,
        value: Value,
        json: String,
        file: Option<Arc<Path>>,
    ) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        let names = names(kind, &value);
        let tags = match kind {
            Kind::Geofence => texts(value.pointer("/properties/tags")).map(Box::from).collect(),
            Kind::Store | Kind::Campaign => Vec::new(),
        };
        let (id, compiled): (Arc<str>, Compiled) = match kind {
            Kind::Geofence => {
                let fence = geojson::compile_geofence(value)?;
                (fence.id.as_str().into(), Compiled::Geofence(fence))
            }
            Kind::Store => {
                let store = checked(value, Store::compile)?;
                (store.spec.id.as_str().into(), Compiled::Store(Arc::new(store)))
            }
            Kind::Campaign => {
                let campaign = checked(value, Campaign::compile)?;
                (campaign.spec.id.as_str().into(), Compiled::Campaign(Arc::new(campaign)))
            }
        };
        Ok((id, Entry { compiled, json: json.into(), file, names, tags }))
    }

    /// The object as it was put.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// The id that an object says it has, whatever else is wrong with it.
pub fn id(kind: Kind, value: &Value) -> Option<Cow<'_, str>> {
    match kind {
        Kind::Geofence => geojson::id(value),
        Kind::Store | Kind::Campaign => value.get("id").and_then(Value::as_str).map(Cow::from),
    }
}

/// Turns a tree into a specification and compiles it; tells the problems of both.
fn checked<S: DeserializeOwned, T>(
    value: Value,
    compile: impl FnOnce(S) -> Result<T, Vec<Problem>>,
) -> Result<T, Vec<Problem>> {
    let document::Typed { value, mut problems } = document::typed::<S>(value, &mut BTreeMap::new());
    match value.map(compile) {
        Some(Ok(compiled)) if problems.is_empty() => Ok(compiled),
        Some(Ok(_)) | None => Err(problems),
        Some(Err(more)) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

fn names(kind: Kind, value: &Value) -> Vec<Name> {
    let mut names = Vec::new();
    for (_, pointer, target) in NAMES.into_iter().filter(|(of, _, _)| *of == kind) {
        match value.pointer(pointer) {
            Some(Value::String(id)) => names.push(Name { pointer: pointer.into(), target, id: id.as_str().into() }),
            Some(Value::Array(ids)) => {
                for (index, id) in ids.iter().enumerate() {
                    if let Some(id) = id.as_str() {
                        names.push(Name { pointer: format!("{pointer}/{index}").into(), target, id: id.into() });
                    }
                }
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
        }
    }
    names
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
