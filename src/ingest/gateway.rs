//! Gateways: types, until the readers are there.

use parvis_beacons::{Identity, Mac};
use parvis_engine::{beacons as parvis_beacons, id::ScannerId, observation::Rejected, time::Timestamp};

/// What a message of a gateway was read as.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Who sent it, if it says so.
    pub scanner: Option<ScannerId>,
    /// What it heard.
    pub sightings: Vec<Heard>,
    /// What can't be read, by place.
    pub rejected: Vec<(usize, Rejected)>,
    /// What is none of our business.
    pub ignored: usize,
}

/// One sighting.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Its place.
    pub index: usize,
    /// Which beacon.
    pub identity: Identity,
    /// How strong, dBm.
    pub rssi_dbm: f64,
    /// At one metre, dBm.
    pub measured_power_dbm: Option<f64>,
    /// Volts.
    pub battery_v: Option<f64>,
    /// When, if the gateway says so.
    pub at: Option<Timestamp>,
    /// By which address.
    pub mac: Option<Mac>,
}
