//! How scanners and beacons fare, as it is told to others: lists, counts, changes.

use parvis_beacons::report::Adapter;
use parvis_engine::{
    beacons as parvis_beacons,
    id::{BeaconId, RegionId, ScannerId, StoreId},
    registry::Role,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a scanner fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScannerState {
    /// It reports.
    Ok,
    /// It has not reported for longer than usual.
    Late,
    /// It no longer reports.
    Silent,
    /// It reports but is not registered, so nothing of it is taken.
    Quarantined,
}

impl ScannerState {
    /// Every state.
    pub const ALL: [ScannerState; 4] =
        [ScannerState::Ok, ScannerState::Late, ScannerState::Silent, ScannerState::Quarantined];

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ScannerState::Ok => "ok",
            ScannerState::Late => "late",
            ScannerState::Silent => "silent",
            ScannerState::Quarantined => "quarantined",
        }
    }
}

/// How a beacon fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BeaconState {
    /// It is heard where it should be.
    Ok,
    /// It has not been heard since this process began, or is a tag that is out of reach.
    Unheard,
    /// It was heard before and should be.
    Silent,
    /// Its battery is to be changed.
    WeakBattery,
    /// It hangs in a shop but is heard best elsewhere.
    Moved,
    /// It is heard in two places at once, so one of the two is not the retailer's.
    Cloned,
}

impl BeaconState {
    /// Every state.
    pub const ALL: [BeaconState; 6] = [
        BeaconState::Ok,
        BeaconState::Unheard,
        BeaconState::Silent,
        BeaconState::WeakBattery,
        BeaconState::Moved,
        BeaconState::Cloned,
    ];

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            BeaconState::Ok => "ok",
            BeaconState::Unheard => "unheard",
            BeaconState::Silent => "silent",
            BeaconState::WeakBattery => "weak_battery",
            BeaconState::Moved => "moved",
            BeaconState::Cloned => "cloned",
        }
    }
}

/// One scanner.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ScannerStatus {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ScannerId,
    /// The shop that it hangs in; none if it is not registered.
    #[schema(value_type = Option<String>)]
    pub store: Option<StoreId>,
    /// The zone that it speaks for.
    #[schema(value_type = Option<String>)]
    pub zone: Option<RegionId>,
    /// How it fares.
    pub state: ScannerState,
    /// It reports, but does not hear the reference beacon near it.
    pub deaf: bool,
    /// When it reported last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reported_at: Option<Timestamp>,
    /// Reports a second, over about a minute.
    pub reports_hz: f64,
    /// Sightings a second, over about a minute.
    pub sightings_hz: f64,
    /// How far its clock is ahead, seconds; it does no harm to what is heard.
    pub clock_offset_s: Option<f64>,
    /// The program's version.
    pub version: Option<String>,
    /// How long the program has been running, seconds.
    pub uptime_s: Option<u64>,
    /// The radios.
    #[schema(value_type = Vec<Object>)]
    pub adapters: Vec<Adapter>,
    /// Reports that wait at the scanner.
    pub queued: Option<u64>,
    /// Reports that the scanner has thrown away since its boot.
    pub dropped: Option<u64>,
    /// Reports of this boot that have not arrived, though later ones have.
    pub missing: u64,
}

/// One beacon.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BeaconStatus {
    /// Its id.
    #[schema(value_type = String)]
    pub id: BeaconId,
    /// What it is there for: `fixed`, `tag`, `reference`.
    #[schema(value_type = String)]
    pub role: Role,
    /// The shop that it belongs to.
    #[schema(value_type = Option<String>)]
    pub store: Option<StoreId>,
    /// The zone that it speaks for.
    #[schema(value_type = Option<String>)]
    pub zone: Option<RegionId>,
    /// How it fares.
    pub state: BeaconState,
    /// When it was heard last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub heard_at: Option<Timestamp>,
    /// Who hears it best, or heard it last.
    #[schema(value_type = Option<String>)]
    pub scanner: Option<ScannerId>,
    /// Sightings a second by all scanners together, over about a minute.
    pub rate_hz: f64,
    /// The median of the last signal strengths, dBm.
    pub median_rssi_dbm: Option<f64>,
    /// The lowest voltage of the last hour, or the last that was told.
    pub battery_v: Option<f64>,
    /// How much stronger it is heard than usual by the same scanners, dB.
    pub drift_db: Option<f64>,
}

/// How many are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Scanners, in the order of [`ScannerState::ALL`].
    pub scanners: [u64; ScannerState::ALL.len()],
    /// Scanners that are deaf.
    pub deaf: u64,
    /// Beacons, in the order of [`BeaconState::ALL`].
    pub beacons: [u64; BeaconState::ALL.len()],
    /// Unregistered beacons that are remembered.
    pub unknown: u64,
}

/// Something changed for the worse, or for the better again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// When it was noticed.
    #[serde(skip)]
    pub at: Timestamp,
    /// What changed.
    #[serde(flatten)]
    pub what: Changed,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Changed {
    /// Whether a scanner reports.
    Scanner {
        /// Which.
        scanner: ScannerId,
        /// Where it hangs.
        #[serde(skip_serializing_if = "Option::is_none")]
        store: Option<StoreId>,
        /// What it was.
        from: ScannerState,
        /// What it is.
        to: ScannerState,
    },
    /// Whether a scanner hears.
    Hearing {
        /// Which.
        scanner: ScannerId,
        /// Where it hangs.
        #[serde(skip_serializing_if = "Option::is_none")]
        store: Option<StoreId>,
        /// Whether it is deaf now.
        deaf: bool,
    },
    /// How a beacon fares.
    Beacon {
        /// Which.
        beacon: BeaconId,
        /// Where it belongs.
        #[serde(skip_serializing_if = "Option::is_none")]
        store: Option<StoreId>,
        /// Who hears it best, or heard it last.
        #[serde(skip_serializing_if = "Option::is_none")]
        scanner: Option<ScannerId>,
        /// What it was.
        from: BeaconState,
        /// What it is.
        to: BeaconState,
    },
}

impl Change {
    /// Every name of a change.
    pub const KINDS: [&'static str; 11] = [
        "scanner.silent",
        "scanner.back",
        "scanner.quarantined",
        "scanner.deaf",
        "scanner.hearing",
        "beacon.silent",
        "beacon.back",
        "beacon.battery_low",
        "beacon.moved",
        "beacon.cloned",
        "beacon.unheard",
    ];

    /// Its name.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            Changed::Scanner { to: ScannerState::Silent, .. } => "scanner.silent",
            Changed::Scanner { to: ScannerState::Ok | ScannerState::Late, .. } => "scanner.back",
            Changed::Scanner { to: ScannerState::Quarantined, .. } => "scanner.quarantined",
            Changed::Hearing { deaf: true, .. } => "scanner.deaf",
            Changed::Hearing { deaf: false, .. } => "scanner.hearing",
            Changed::Beacon { to, .. } => match to {
                BeaconState::Ok => "beacon.back",
                BeaconState::Unheard => "beacon.unheard",
                BeaconState::Silent => "beacon.silent",
                BeaconState::WeakBattery => "beacon.battery_low",
                BeaconState::Moved => "beacon.moved",
                BeaconState::Cloned => "beacon.cloned",
            },
        }
    }

    /// Whom it concerns.
    pub fn subject(&self) -> &str {
        match &self.what {
            Changed::Scanner { scanner, .. } | Changed::Hearing { scanner, .. } => scanner.as_str(),
            Changed::Beacon { beacon, .. } => beacon.as_str(),
        }
    }
}
