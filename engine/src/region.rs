//! Geofences and their geometry.

use std::{collections::BTreeMap, sync::Arc};

use crate::id::{RegionId, StoreId};

/// A fence.
#[derive(Clone, Debug)]
pub struct Geofence {
    /// Its id.
    pub id: RegionId,
    /// The store that it belongs to.
    pub store: Option<StoreId>,
    /// What campaigns know it by.
    pub tags: Vec<String>,
    /// Its own opening hours, which override the store's.
    pub hours: Option<serde_json::Value>,
}

impl Geofence {
    /// A fence for a test.
    pub fn named(id: &str, store: Option<&str>, tags: &[&str]) -> Geofence {
        Geofence {
            id: id.parse().expect("an id"),
            store: store.map(|store| store.parse().expect("an id")),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            hours: None,
        }
    }
}

/// All regions, indexed.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    fences: BTreeMap<RegionId, Arc<Geofence>>,
}

impl Regions {
    /// Indexes the fences.
    pub fn new(fences: Vec<Arc<Geofence>>) -> Regions {
        Regions { fences: fences.into_iter().map(|fence| (fence.id.clone(), fence)).collect() }
    }

    /// The fence with this id.
    pub fn get(&self, id: &RegionId) -> Option<&Arc<Geofence>> {
        self.fences.get(id)
    }

    /// Every fence, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Geofence>> {
        self.fences.values()
    }
}
