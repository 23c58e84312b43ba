//! What devices report. These are the shapes of the native wire format, so what is written here is the contract.

use serde::{Deserialize, Serialize};

use parvis_beacons::Identity;

use crate::{
    id::{BeaconId, RegionId, ScannerId},
    time::Timestamp,
};

/// A WGS 84 position in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

/// A position with its time and horizontal accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fix {
    /// When the device was there.
    pub at: Timestamp,
    /// Where it was.
    #[serde(flatten)]
    pub position: Position,
    /// Radius within which the device is with 68 % probability, in metres; 0 takes the position at its word.
    #[serde(default)]
    pub accuracy_m: f64,
    /// Ground speed, metres per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
    /// Direction of travel, degrees clockwise from north.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course_deg: Option<f64>,
    /// Storey of a building, 0 for the ground floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<i32>,
}

/// What matching reads of a fix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// When the device was there.
    pub at: Timestamp,
    /// Where it was.
    pub position: Position,
    /// Radius within which the device is with 68 % probability, in metres.
    pub accuracy_m: f64,
}

impl From<Fix> for Place {
    fn from(fix: Fix) -> Place {
        Place { at: fix.at, position: fix.position, accuracy_m: fix.accuracy_m }
    }
}

/// Which beacon was heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Heard {
    /// By the name that it has here.
    Beacon {
        /// Its id in the registry.
        beacon: BeaconId,
    },
    /// By what it says on the air.
    Identity(Identity),
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Heard::Beacon { beacon } => beacon.fmt(f),
            Heard::Identity(identity) => identity.fmt(f),
        }
    }
}

impl From<Identity> for Heard {
    fn from(identity: Identity) -> Heard {
        Heard::Identity(identity)
    }
}

/// One heard beacon advertisement, or what was heard of one beacon within a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// When it was heard.
    pub at: Timestamp,
    /// Which beacon.
    #[serde(flatten)]
    pub heard: Heard,
    /// Received signal strength, dBm.
    pub rssi_dbm: f64,
    /// Signal strength at one metre that the beacon announces, dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_power_dbm: Option<f64>,
    /// How many advertisements this sums up; one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How far away the phone takes the beacon to be, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    /// The scanner host that heard it; the device itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<ScannerId>,
}

/// Which way a border was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Into the region.
    Enter,
    /// Out of the region.
    Exit,
}

/// A border crossing that the phone's own operating system noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// When it was noticed.
    pub at: Timestamp,
    /// The region, by the id that it has here.
    pub region: RegionId,
    /// In or out.
    pub edge: Edge,
}

/// A QR code or NFC tag read in an aisle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// When it was read.
    pub at: Timestamp,
    /// What was read.
    pub tag: String,
}

/// What arrived from a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Observation {
    /// A position.
    Fix(Fix),
    /// A heard beacon.
    Sighting(Sighting),
    /// A border crossing noticed by the phone.
    Crossing(Crossing),
    /// A tag that was read.
    Scan(Scan),
}

impl Observation {
    /// When it happened, by the device's clock.
    pub fn at(&self) -> Timestamp {
        match self {
            Observation::Fix(fix) => fix.at,
            Observation::Sighting(sighting) => sighting.at,
            Observation::Crossing(crossing) => crossing.at,
            Observation::Scan(scan) => scan.at,
        }
    }
}

/// Why an observation was not processed. The name is part of the API and of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// A field is missing, has the wrong type or is out of range.
    Invalid,
    /// Older than the accepted lateness.
    Stale,
    /// Further in the future than clocks may differ.
    Future,
    /// The device is not registered.
    UnknownDevice,
    /// The shopper has not consented to the use of locations.
    NoConsent,
    /// No region has this id.
    UnknownRegion,
    /// No beacon of the registry has this identity.
    UnknownBeacon,
    /// No zone has a code of this value.
    UnknownTag,
    /// No scanner of the registry has this name.
    UnknownScanner,
    /// Phones hear beacons that hang in a shop, scanners hear tags that are carried, and not the other way round.
    WrongRole,
    /// It places the device where it can't be: too far from where it was just now.
    Elsewhere,
    /// Nobody carries this tag, or the time for which it was linked is over.
    UnlinkedTag,
    /// The beacon is heard in two places at once, so one of the two is a copy.
    Cloned,
}

impl Rejection {
    /// Every rejection, in the order of the enum.
    pub const ALL: [Rejection; 13] = [
        Rejection::Invalid,
        Rejection::Stale,
        Rejection::Future,
        Rejection::UnknownDevice,
        Rejection::NoConsent,
        Rejection::UnknownRegion,
        Rejection::UnknownBeacon,
        Rejection::UnknownTag,
        Rejection::UnknownScanner,
        Rejection::WrongRole,
        Rejection::Elsewhere,
        Rejection::UnlinkedTag,
        Rejection::Cloned,
    ];

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Rejection::Invalid => "invalid",
            Rejection::Stale => "stale",
            Rejection::Future => "future",
            Rejection::UnknownDevice => "unknown_device",
            Rejection::NoConsent => "no_consent",
            Rejection::UnknownRegion => "unknown_region",
            Rejection::UnknownBeacon => "unknown_beacon",
            Rejection::UnknownTag => "unknown_tag",
            Rejection::UnknownScanner => "unknown_scanner",
            Rejection::WrongRole => "wrong_role",
            Rejection::Elsewhere => "elsewhere",
            Rejection::UnlinkedTag => "unlinked_tag",
            Rejection::Cloned => "cloned",
        }
    }
}

/// A rejection with the sentence that tells the sender what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The stable name.
    pub reason: Rejection,
    /// What was wrong with this one.
    pub detail: String,
}
