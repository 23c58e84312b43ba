//! Geofences and their geometry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    id::{RegionId, StoreId},
    problem::Problem,
};

/// A fence.
#[derive(Clone, Debug)]
pub struct Geofence {
    /// Its id.
    pub id: RegionId,
    /// The store that it belongs to.
    pub store: Option<StoreId>,
    /// What campaigns know it by.
    pub tags: BTreeSet<String>,
    /// Its own opening hours, which override the store's.
    pub hours: Option<serde_json::Value>,
}

/// A GeoJSON Feature that describes a geofence.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Feature {
    /// The geofence's id.
    pub id: Option<RegionId>,
    /// What it means.
    #[serde(default)]
    pub properties: Properties,
}

/// What a geofence means.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Properties {
    /// The store that it belongs to.
    pub store: Option<StoreId>,
    /// What campaigns know it by.
    pub tags: BTreeSet<String>,
    /// Its own opening hours.
    pub hours: Option<serde_json::Value>,
}

impl Geofence {
    /// Checks a feature.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(feature: Feature) -> Result<Geofence, Vec<Problem>> {
        let Some(id) = feature.id else { return Err(vec![Problem::new("/id", "an id is missing")]) };
        let Properties { store, tags, hours } = feature.properties;
        Ok(Geofence { id, store, tags, hours })
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
