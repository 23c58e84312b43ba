//! The volatile side of a device. Losing it in a crash costs sharpness (a pass, a late fix), never a message.

use parvis_beacons::ranging::{Level, Proximity};
use serde::{Deserialize, Serialize};

use crate::{
    id::{BeaconId, RegionId, ScannerId, StoreId},
    observation::{Place, Position},
    rare::Rare,
    time::Timestamp,
};

/// The volatile side of a device: what sharpens the next decision and need not survive a crash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Track {
    /// The newest accepted fix.
    pub last: Option<Place>,
    /// A fix that is too far from `last` to be believed alone.
    pub held: Option<Box<Place>>,
    /// What the last decisive observation said, for each region where `last` does not settle it.
    pub marks: Rare<Vec<Mark>>,
    /// The disc in which nothing can change, if there is one.
    pub calm: Option<Calm>,
    /// The time of the newest fix that was matched: every region without a mark and without a presence is known to be
    /// left, or not yet entered, at this time.
    pub settled_at: Option<Timestamp>,
    /// What is on record of the recent past, so that late fixes do not record it again.
    pub past: Rare<Vec<Stretch>>,
    /// What was heard of late: by a phone of beacons, or of a tag by scanners.
    pub radio: Option<Box<Radio>>,
}

/// What was heard of late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Radio {
    /// Who was heard, or who has heard, in the order of their names.
    pub sources: Vec<Source>,
    /// The zone that was chosen last, told or not.
    pub chosen: Option<RegionId>,
    /// When a code was read last: for a while that counts for more than signals.
    pub scanned_at: Option<Timestamp>,
    /// When a silence was last over that has ended a presence: no visit begins before it.
    pub silent_at: Option<Timestamp>,
    /// When each zone and beacon region in which the device is was last confirmed.
    pub heard: Vec<(RegionId, Timestamp)>,
    /// Where the last sighting that does not stand alone places the device.
    pub last: Option<Whereabouts>,
}

impl Radio {
    /// When a region was last confirmed.
    pub fn heard_at(&self, region: &RegionId) -> Option<Timestamp> {
        self.heard.iter().find(|(known, _)| known == region).map(|(_, at)| *at)
    }
}

/// One beacon that a phone hears, or one scanner that hears a tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Which one.
    pub name: SourceName,
    /// How strongly, smoothed.
    pub level: Level,
    /// How near.
    pub proximity: Proximity,
}

/// What tells signals apart by place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// A beacon that hangs somewhere.
    Beacon(BeaconId),
    /// A scanner that hangs somewhere.
    Scanner(ScannerId),
}

/// Where a sighting places a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// When.
    pub at: Timestamp,
    /// In which shop.
    pub store: Option<StoreId>,
    /// Where the beacon or the scanner hangs.
    pub position: Option<Position>,
}

/// The last decisive word on one region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The region.
    pub region: RegionId,
    /// The time of the observation that decided.
    pub decided_at: Timestamp,
    /// What it decided.
    pub inside: bool,
}

/// A stretch of time about which a transition is on record: a visit that has ended, or what late fixes told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// The region.
    pub region: RegionId,
    /// Whether the device was inside.
    pub inside: bool,
    /// The first observation that says so.
    pub from: Timestamp,
    /// The last observation that says so.
    pub to: Timestamp,
}

/// A disc around a fix that no border of any region crosses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calm {
    /// Its centre.
    pub center: Position,
    /// Its radius, metres.
    pub radius_m: f64,
    /// The generation of the world for which this holds.
    pub generation: u64,
}
