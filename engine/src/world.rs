//! The immutable snapshot that decisions are made in.

use std::{collections::BTreeMap, sync::Arc};

use parvis_beacons::ranging;
use serde::{Deserialize, Serialize};

use crate::{
    campaign::{Campaign, Campaigns},
    decide,
    id::{RegionId, StoreId},
    matching, normalise,
    region::{Geofence, Region, Regions},
    registry::Registry,
    store::Store,
    track,
};

/// What an operator can tune in the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which times are believed.
    pub observations: normalise::Settings,
    /// Which jumps are believed.
    pub track: track::Settings,
    /// When somebody is inside.
    pub presence: matching::Settings,
    /// How signal strengths become zones, where a shop does not say otherwise.
    pub ranging: ranging::Settings,
    /// Rules that hold for every campaign.
    pub marketing: decide::Settings,
    /// What phones show of orders all the time.
    pub live: decide::live::Settings,
}

/// Everything that observations are judged by: regions, stores, campaigns and settings at one moment.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Counts up with every change.
    pub generation: u64,
    /// Geofences, indexed.
    pub regions: Arc<Regions>,
    /// Beacons, scanners, zones and beacon regions, indexed.
    pub registry: Arc<Registry>,
    /// Campaigns, indexed by what triggers them.
    pub campaigns: Arc<Campaigns>,
    /// Shops, by id.
    pub stores: Arc<BTreeMap<StoreId, Arc<Store>>>,
    /// What the operator tuned.
    pub settings: Arc<Settings>,
}

impl World {
    /// A world of checked parts.
    pub fn new(
        generation: u64,
        fences: Vec<Arc<Geofence>>,
        campaigns: Vec<Arc<Campaign>>,
        stores: Vec<Arc<Store>>,
        settings: Settings,
    ) -> World {
        World {
            generation,
            regions: Arc::new(Regions::new(fences)),
            registry: Arc::default(),
            campaigns: Arc::new(Campaigns::new(campaigns)),
            stores: Arc::new(stores.into_iter().map(|store| (store.spec.id.clone(), store)).collect()),
            settings: Arc::new(settings),
        }
    }

    /// The same world with these beacons.
    #[must_use]
    pub fn with_registry(self, registry: Registry) -> World {
        World { registry: Arc::new(registry), ..self }
    }

    /// How ranging is tuned in a shop.
    pub fn ranging(&self, store: Option<&StoreId>) -> &ranging::Settings {
        let own = store.and_then(|store| self.stores.get(store)).and_then(|store| store.spec.ranging.as_ref());
        own.unwrap_or(&self.settings.ranging)
    }

    /// What is said of a region of any kind.
    pub fn region(&self, id: &RegionId) -> Option<&Region> {
        self.regions.get(id).map(|fence| &fence.region).or_else(|| self.registry.region(id))
    }
}
