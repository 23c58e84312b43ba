//! The kinds of objects that the control plane keeps, and what they are called.

use std::{fmt, str::FromStr};

/// The kinds of objects that the control plane keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A GeoJSON Feature.
    Geofence,
    /// A shop.
    Store,
    /// A campaign.
    Campaign,
    /// A beacon.
    Beacon,
    /// A scanner host or gateway.
    Scanner,
    /// One of several places of a shop, such as an aisle.
    Zone,
    /// Wherever one of some beacons is heard.
    BeaconRegion,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::Geofence, Kind::Store, Kind::Campaign, Kind::Beacon, Kind::Scanner, Kind::Zone, Kind::BeaconRegion];

    /// Those that are regions: they share their names.
    pub const REGIONS: [Kind; 3] = [Kind::Geofence, Kind::Zone, Kind::BeaconRegion];

    /// Those of which the registry is made; one file may hold all of them.
    pub const REGISTRY: [Kind; 4] = [Kind::Beacon, Kind::Scanner, Kind::Zone, Kind::BeaconRegion];

    /// The name in files and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Geofence => "geofence",
            Kind::Store => "store",
            Kind::Campaign => "campaign",
            Kind::Beacon => "beacon",
            Kind::Scanner => "scanner",
            Kind::Zone => "zone",
            Kind::BeaconRegion => "beacon_region",
        }
    }
}

/// As people read it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::BeaconRegion => f.write_str("beacon region"),
            Kind::Geofence | Kind::Store | Kind::Campaign | Kind::Beacon | Kind::Scanner | Kind::Zone => {
                f.write_str(self.name())
            }
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("there is no kind {text:?}"))
    }
}
