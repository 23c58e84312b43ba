//! Geofences and their geometry.

use std::sync::Arc;

use crate::id::RegionId;

/// A fence.
#[derive(Clone, Debug)]
pub struct Geofence {
    /// Its id.
    pub id: RegionId,
}

/// All regions, indexed.
#[derive(Clone, Debug, Default)]
pub struct Regions {}

impl Regions {
    /// Indexes the fences.
    pub fn new(_fences: Vec<Arc<Geofence>>) -> Regions {
        Regions {}
    }

    /// The fence with this id.
    pub fn get(&self, _id: &RegionId) -> Option<&Arc<Geofence>> {
        None
    }

    /// Every fence, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Geofence>> {
        std::iter::empty()
    }
}
