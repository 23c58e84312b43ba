//! The objects that the catalog holds: compiled, with the JSON that they were put as and what they name.
//!
//! Knows neither files nor the store.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use parvis_engine::{campaign::Campaign, id::StoreId, problem::Problem, region::Geofence, store::Store};
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
    /// As it was put. None for a geofence of a file, whose text would be larger than what it compiles to.
    pub json: Option<Arc<str>>,
    /// The file it stands in, if it stands in one.
    pub file: Option<Arc<Path>>,
    /// What it names.
    pub names: Vec<Name>,
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

/// Where a campaign lists what it names.
const CAMPAIGN_NAMES: [(&str, Target); 3] =
    [("/on/stores", Target::Store), ("/on/regions", Target::Region), ("/on/tags", Target::Tag)];

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
        let mut tags = BTreeSet::new();
        for entry in self.geofences.values() {
            if let Compiled::Geofence(fence) = &entry.compiled {
                tags.extend(fence.region.tags.iter().map(String::as_str));
            }
        }
        tags
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
    /// Checks an object that was put or stands in a TOML file; its id comes with it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(kind: Kind, value: Value, file: Option<Arc<Path>>) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        let json = Some(Arc::from(value.to_string()));
        match kind {
            Kind::Geofence => Ok(Entry::of_geofence(geojson::compile(value)?, json, file)),
            Kind::Store => {
                let store = checked(value, Store::compile)?;
                let id = store.spec.id.as_str().into();
                Ok((id, Entry { compiled: Compiled::Store(Arc::new(store)), json, file, names: Vec::new() }))
            }
            Kind::Campaign => {
                let names = campaign_names(&value);
                let campaign = checked(value, Campaign::compile)?;
                let id = campaign.spec.id.as_str().into();
                Ok((id, Entry { compiled: Compiled::Campaign(Arc::new(campaign)), json, file, names }))
            }
        }
    }

    /// Checks a geofence that stands in a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile_feature(text: &str, file: Arc<Path>) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        Ok(Entry::of_geofence(geojson::compile_text(text)?, None, Some(file)))
    }

    fn of_geofence(fence: Geofence, json: Option<Arc<str>>, file: Option<Arc<Path>>) -> (Arc<str>, Entry) {
        let pointer = Cow::Borrowed("/properties/store");
        let name = |id: &StoreId| Name { pointer, target: Target::Store, id: id.as_str().into() };
        let names = fence.region.store.as_ref().map(name).into_iter().collect();
        (fence.region.id.as_str().into(), Entry { compiled: Compiled::Geofence(Arc::new(fence)), json, file, names })
    }

    /// The object as it was put, as text.
    pub fn text(&self) -> Arc<str> {
        self.json.clone().unwrap_or_else(|| self.value().to_string().into())
    }

    /// The object as it was put.
    pub fn value(&self) -> Value {
        match (&self.json, &self.compiled) {
            (Some(json), _) => serde_json::from_str(json).unwrap_or_default(),
            (None, Compiled::Geofence(fence)) => serde_json::to_value(fence).unwrap_or_default(),
            (None, Compiled::Store(store)) => serde_json::to_value(&store.spec).unwrap_or_default(),
            (None, Compiled::Campaign(campaign)) => serde_json::to_value(&campaign.spec).unwrap_or_default(),
        }
    }
}

/// The id that an object says it has, whatever else is wrong with it.
pub fn id(kind: Kind, value: &Value) -> Option<Cow<'_, str>> {
    match kind {
        Kind::Geofence => geojson::id(value),
        Kind::Store | Kind::Campaign => value.get("id").and_then(Value::as_str).map(Cow::from),
    }
}

/// Turns a tree into a specification and compiles it; tells the problems of both. What could be read only in part is
/// not compiled, because what is missing then is not what its author left out.
pub(super) fn checked<S: DeserializeOwned, T>(
    value: Value,
    compile: impl FnOnce(S) -> Result<T, Vec<Problem>>,
) -> Result<T, Vec<Problem>> {
    if !value.is_object() {
        return Err(vec![Problem::new("", "must be an object")]);
    }
    let document::Typed { value, whole, mut problems } = document::typed::<S>(value, &mut BTreeMap::new());
    match value.filter(|_| whole).map(compile) {
        Some(Ok(compiled)) if problems.is_empty() => Ok(compiled),
        Some(Ok(_)) | None => Err(problems),
        Some(Err(more)) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

fn campaign_names(campaign: &Value) -> Vec<Name> {
    let mut names = Vec::new();
    for (list, target) in CAMPAIGN_NAMES {
        for (index, id) in campaign.pointer(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
            if let Some(id) = id.as_str() {
                names.push(Name { pointer: format!("{list}/{index}").into(), target, id: id.into() });
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_names_what_it_lists() {
        let campaign = serde_json::json!({"on": {"stores": ["a"], "regions": ["b", 5], "tags": ["c", "d"]}});
        let names: Vec<String> = campaign_names(&campaign)
            .iter()
            .map(|name| format!("{} {:?} {}", name.pointer, name.target, name.id))
            .collect();
        let expected = ["/on/stores/0 Store a", "/on/regions/0 Region b", "/on/tags/0 Tag c", "/on/tags/1 Tag d"];
        assert_eq!(names, expected);
    }

    #[test]
    fn unknown_names_are_told_where_they_stand() {
        let store = serde_json::json!({"id": "opera", "name": "Opéra", "time_zone": "Europe/Paris"});
        let mut objects = Objects::default();
        let (id, entry) = Entry::compile(Kind::Store, store, None).expect("valid");
        objects.of_mut(Kind::Store).insert(id, Arc::new(entry.clone()));
        let name = |pointer: &'static str, target, id: &str| Name { pointer: pointer.into(), target, id: id.into() };
        let names = vec![
            name("/on/stores/0", Target::Store, "opera"),
            name("/on/stores/1", Target::Store, "bastille"),
            name("/on/regions/0", Target::Region, "front"),
            name("/on/tags/0", Target::Tag, "flagship"),
            name("/on/tags/1", Target::Tag, "flagshop"),
        ];
        let entry = Entry { names, ..entry };
        let problems = objects.unknown_names(&entry, &BTreeSet::from(["flagship"]));
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "/on/stores/1: there is no store \"bastille\"",
            "/on/regions/0: there is no geofence \"front\"",
            "/on/tags/1: no geofence has the tag \"flagshop\"",
        ];
        assert_eq!(text, expected);
    }
}
