//! The objects that the catalog holds: compiled, with the JSON that they were put as and what they name.
//!
//! Knows neither files nor the store.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use parvis_engine::{
    campaign::Campaign,
    id::{RegionId, StoreId},
    problem::Problem,
    region::{Geofence, Region},
    registry::{Beacon, BeaconRegion, Scanner, Zone},
    store::Store,
};
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
    /// A beacon.
    Beacon(Arc<Beacon>),
    /// A scanner.
    Scanner(Arc<Scanner>),
    /// A zone.
    Zone(Arc<Zone>),
    /// A beacon region.
    BeaconRegion(Arc<BeaconRegion>),
}

impl Compiled {
    /// What is said of it as a region, if it is one.
    pub fn region(&self) -> Option<&Region> {
        match self {
            Compiled::Geofence(fence) => Some(&fence.region),
            Compiled::Zone(zone) => Some(&zone.region),
            Compiled::BeaconRegion(region) => Some(&region.region),
            Compiled::Store(_) | Compiled::Campaign(_) | Compiled::Beacon(_) | Compiled::Scanner(_) => None,
        }
    }

    /// The store that it belongs to, if it belongs to one.
    pub fn store(&self) -> Option<&StoreId> {
        match self {
            Compiled::Beacon(beacon) => beacon.spec.store.as_ref(),
            Compiled::Scanner(scanner) => Some(&scanner.spec.store),
            Compiled::Geofence(_) | Compiled::Zone(_) | Compiled::BeaconRegion(_) => {
                self.region().and_then(|region| region.store.as_ref())
            }
            Compiled::Store(_) | Compiled::Campaign(_) => None,
        }
    }

    /// The zone that it speaks for or is a part of, and where it says so.
    pub fn zone(&self) -> Option<(&'static str, &RegionId)> {
        match self {
            Compiled::Beacon(beacon) => Some(("/zone", beacon.spec.zone.as_ref()?)),
            Compiled::Scanner(scanner) => Some(("/zone", scanner.spec.zone.as_ref()?)),
            Compiled::Zone(zone) => Some(("/group", zone.spec.group.as_ref()?)),
            Compiled::Geofence(_) | Compiled::Store(_) | Compiled::Campaign(_) | Compiled::BeaconRegion(_) => None,
        }
    }
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
    /// A geofence, a zone or a beacon region.
    Region,
    /// A zone.
    Zone,
    /// A tag that some region carries.
    Tag,
}

/// Where a campaign lists what it names.
const CAMPAIGN_NAMES: [(&str, Target); 3] =
    [("/on/stores", Target::Store), ("/on/regions", Target::Region), ("/on/tags", Target::Tag)];

/// Objects of every kind. Cloning shares all of them.
#[derive(Clone, Debug, Default)]
pub struct Objects([Arc<Map>; Kind::ALL.len()]);

impl Objects {
    /// Those of a kind.
    pub fn of(&self, kind: Kind) -> &Arc<Map> {
        &self.0[kind as usize]
    }

    /// Those of a kind, to be changed; copies the map if others share it.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Map {
        Arc::make_mut(&mut self.0[kind as usize])
    }

    /// The region with this id, and its kind.
    pub fn region(&self, id: &str) -> Option<(Kind, &Arc<Entry>)> {
        Kind::REGIONS.into_iter().find_map(|kind| Some((kind, self.of(kind).get(id)?)))
    }

    /// The zone with this id.
    pub fn zone(&self, id: &str) -> Option<&Arc<Zone>> {
        match &self.of(Kind::Zone).get(id)?.compiled {
            Compiled::Zone(zone) => Some(zone),
            Compiled::Geofence(_)
            | Compiled::Store(_)
            | Compiled::Campaign(_)
            | Compiled::Beacon(_)
            | Compiled::Scanner(_)
            | Compiled::BeaconRegion(_) => None,
        }
    }

    /// Every tag that a region carries.
    pub fn tags(&self) -> BTreeSet<&str> {
        let entries = Kind::REGIONS.into_iter().flat_map(|kind| self.of(kind).values());
        entries.filter_map(|entry| entry.compiled.region()).flat_map(|it| it.tags.iter().map(String::as_str)).collect()
    }

    /// What an object names that is not there. `tags` are those of [`Objects::tags`].
    pub fn unknown_names(&self, entry: &Entry, tags: &BTreeSet<&str>) -> Vec<Problem> {
        let unknown = |name: &&Name| match name.target {
            Target::Store => !self.of(Kind::Store).contains_key(&*name.id),
            Target::Region => self.region(&name.id).is_none(),
            Target::Zone => !self.of(Kind::Zone).contains_key(&*name.id),
            Target::Tag => !tags.contains(&*name.id),
        };
        let problem = |name: &Name| {
            let message = match name.target {
                Target::Store => format!("there is no store {:?}", name.id),
                Target::Region => format!("there is no geofence, zone or beacon region {:?}", name.id),
                Target::Zone => format!("there is no zone {:?}", name.id),
                Target::Tag => format!("no geofence, zone or beacon region has the tag {:?}", name.id),
            };
            Problem::new(name.pointer.clone(), message)
        };
        entry.names.iter().filter(unknown).map(problem).collect()
    }

    /// Which objects name this one, as people say it.
    pub fn who_names(&self, kind: Kind, id: &str) -> Vec<String> {
        let targets: &[Target] = match kind {
            Kind::Store => &[Target::Store],
            Kind::Zone => &[Target::Zone, Target::Region],
            Kind::Geofence | Kind::BeaconRegion => &[Target::Region],
            Kind::Campaign | Kind::Beacon | Kind::Scanner => return Vec::new(),
        };
        let mut who = Vec::new();
        for kind in Kind::ALL {
            for (other, entry) in self.of(kind).iter() {
                if entry.names.iter().any(|name| *name.id == *id && targets.contains(&name.target)) {
                    who.push(format!("{kind} {other:?}"));
                }
            }
        }
        who
    }
}

impl Entry {
    /// Checks an object that was put or stands in a file; its id comes with it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(kind: Kind, value: Value, file: Option<Arc<Path>>) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        let json = Some(Arc::from(value.to_string()));
        let compiled = match kind {
            Kind::Geofence => Compiled::Geofence(Arc::new(geojson::compile(value)?)),
            Kind::Store => Compiled::Store(Arc::new(checked(value, Store::compile)?)),
            Kind::Campaign => {
                let names = campaign_names(&value);
                let compiled = Compiled::Campaign(Arc::new(checked(value, Campaign::compile)?));
                return Ok(Entry { names, ..Entry::bare(compiled, json, file) }.with_id());
            }
            Kind::Beacon => Compiled::Beacon(Arc::new(checked(value, Beacon::compile)?)),
            Kind::Scanner => Compiled::Scanner(Arc::new(checked(value, Scanner::compile)?)),
            Kind::Zone => Compiled::Zone(Arc::new(checked(value, Zone::compile)?)),
            Kind::BeaconRegion => Compiled::BeaconRegion(Arc::new(checked(value, BeaconRegion::compile)?)),
        };
        Ok(Entry::bare(compiled, json, file).with_id())
    }

    /// Checks a geofence that stands in a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile_feature(text: &str, file: Arc<Path>) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        let compiled = Compiled::Geofence(Arc::new(geojson::compile_text(text)?));
        Ok(Entry::bare(compiled, None, Some(file)).with_id())
    }

    /// An entry that names what its compiled form says.
    fn bare(compiled: Compiled, json: Option<Arc<str>>, file: Option<Arc<Path>>) -> Entry {
        let pointer = if matches!(compiled, Compiled::Geofence(_)) { "/properties/store" } else { "/store" };
        let name = |pointer: &'static str, target, id: &str| Name { pointer: pointer.into(), target, id: id.into() };
        let store = compiled.store().map(|id| name(pointer, Target::Store, id.as_str()));
        let zone = compiled.zone().map(|(pointer, id)| name(pointer, Target::Zone, id.as_str()));
        let names = store.into_iter().chain(zone).collect();
        Entry { compiled, json, file, names }
    }

    fn with_id(self) -> (Arc<str>, Entry) {
        let id = match &self.compiled {
            Compiled::Geofence(fence) => fence.region.id.as_str(),
            Compiled::Store(store) => store.spec.id.as_str(),
            Compiled::Campaign(campaign) => campaign.spec.id.as_str(),
            Compiled::Beacon(beacon) => beacon.spec.id.as_str(),
            Compiled::Scanner(scanner) => scanner.spec.id.as_str(),
            Compiled::Zone(zone) => zone.spec.id.as_str(),
            Compiled::BeaconRegion(region) => region.spec.id.as_str(),
        };
        (id.into(), self)
    }

    /// The object as it was put, as text.
    pub fn text(&self) -> Arc<str> {
        self.json.clone().unwrap_or_else(|| self.value().to_string().into())
    }

    /// The object as it was put.
    pub fn value(&self) -> Value {
        if let Some(json) = &self.json {
            return serde_json::from_str(json).unwrap_or_default();
        }
        let value = match &self.compiled {
            Compiled::Geofence(fence) => serde_json::to_value(fence),
            Compiled::Store(store) => serde_json::to_value(&store.spec),
            Compiled::Campaign(campaign) => serde_json::to_value(&campaign.spec),
            Compiled::Beacon(beacon) => serde_json::to_value(&beacon.spec),
            Compiled::Scanner(scanner) => serde_json::to_value(&scanner.spec),
            Compiled::Zone(zone) => serde_json::to_value(&zone.spec),
            Compiled::BeaconRegion(region) => serde_json::to_value(&region.spec),
        };
        value.unwrap_or_default()
    }
}

/// The id that an object says it has, whatever else is wrong with it.
pub fn id(kind: Kind, value: &Value) -> Option<Cow<'_, str>> {
    match kind {
        Kind::Geofence => geojson::id(value),
        Kind::Store | Kind::Campaign | Kind::Beacon | Kind::Scanner | Kind::Zone | Kind::BeaconRegion => {
            value.get("id").and_then(Value::as_str).map(Cow::from)
        }
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
            "/on/regions/0: there is no geofence, zone or beacon region \"front\"",
            "/on/tags/1: no geofence, zone or beacon region has the tag \"flagshop\"",
        ];
        assert_eq!(text, expected);
    }
}
