//! The control plane: files and API in, snapshots of the world out.

use std::{fmt, str::FromStr, sync::Arc};

use arc_swap::ArcSwap;
use parvis_engine::{problem::Problem, world::World};
use serde_json::Value;

/// The kinds of objects that the control plane keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A GeoJSON Feature.
    Geofence,
    /// A shop.
    Store,
    /// A campaign.
    Campaign,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Geofence, Kind::Store, Kind::Campaign];

    /// The name in paths and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Geofence => "geofence",
            Kind::Store => "store",
            Kind::Campaign => "campaign",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("there is no kind {text:?}"))
    }
}

/// Why a change of the catalog was not taken; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What was put is wrong.
    Invalid(Vec<Problem>),
    /// The object stands in a file, and only there can it be changed or deleted.
    InFile {
        /// Which file.
        path: String,
    },
    /// The store does not take it now.
    Unavailable(String),
}

/// The control plane.
#[derive(Clone, Debug)]
pub struct Catalog {
    world: Arc<ArcSwap<World>>,
}

impl Catalog {
    /// The newest snapshot.
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Puts objects, each as its JSON with an `id`; all or none. When it returns, they are durable and decide.
    ///
    /// # Errors
    /// Everything that is wrong with them, or why they could not be kept.
    #[allow(clippy::unused_async, reason = "the signature that the HTTP side is written against")]
    pub async fn put(&self, _kind: Kind, _objects: Vec<Value>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Deletes an object; false if there is none.
    ///
    /// # Errors
    /// If it stands in a file, or the store does not take it now.
    #[allow(clippy::unused_async, reason = "the signature that the HTTP side is written against")]
    pub async fn delete(&self, _kind: Kind, _id: &str) -> Result<bool, Refusal> {
        Ok(false)
    }

    /// One object, as it was put.
    pub fn get(&self, _kind: Kind, _id: &str) -> Option<Value> {
        None
    }

    /// Objects of a kind by id, at most `limit`, beginning after `after`.
    pub fn list(&self, _kind: Kind, _after: Option<&str>, _limit: usize) -> Vec<Value> {
        Vec::new()
    }
}
