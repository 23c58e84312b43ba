//! The shapes of what devices report.

use utoipa::ToSchema;

/// One device's observations.
#[derive(ToSchema)]
pub(crate) struct Observations {
    /// Which device reports.
    #[schema(max_length = 128)]
    device: String,
    /// What it reports, in any order.
    #[schema(max_items = 10_000)]
    observations: Vec<Observation>,
}

/// What a device reports. Unknown fields are ignored.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(discriminator = "kind")]
pub(crate) enum Observation {
    Fix(Fix),
    Sighting(Sighting),
    EddystoneSighting(EddystoneSighting),
    EphemeralSighting(EphemeralSighting),
    MacSighting(MacSighting),
    NamedSighting(NamedSighting),
    Crossing(Crossing),
    Scan(Scan),
}

/// A position.
#[derive(ToSchema)]
pub(crate) struct Fix {
    #[schema(example = "fix")]
    kind: String,
    /// RFC 3339 with zone.
    #[schema(format = DateTime)]
    at: String,
    /// WGS 84 degrees.
    #[schema(minimum = -90, maximum = 90)]
    lat: f64,
    #[schema(minimum = -180, maximum = 180)]
    lon: f64,
    /// Radius of 68 % probability; a fix without it is taken at its word.
    #[schema(default = 0.0, minimum = 0)]
    #[schema(required = false)]
    accuracy_m: f64,
    speed_mps: Option<f64>,
    course_deg: Option<f64>,
    floor: Option<i32>,
}

macro_rules! sightings {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        pub(crate) struct $name {
            #[schema(example = "sighting")]
            kind: String,
            #[schema(format = DateTime)]
            at: String,
            $($(#[$about])* $field: $kind,)*
            #[schema(minimum = -100, maximum = 0)]
            rssi_dbm: f64,
            /// What the beacon announces for one metre.
            measured_power_dbm: Option<f64>,
            /// How many advertisements this sums up; 1 if absent.
            count: Option<u32>,
            /// How far away the phone takes the beacon to be, metres.
            distance_m: Option<f64>,
            /// The scanner that heard it; the device itself if absent.
            observer: Option<String>,
        }
    )*};
}

sightings! {
    /// A heard iBeacon or AltBeacon.
    Sighting {
        #[schema(format = "uuid")]
        uuid: String,
        major: u16,
        minor: u16,
    }
    /// A heard Eddystone-UID.
    EddystoneSighting {
        /// 20 hexadecimal digits.
        namespace: String,
        /// 12 hexadecimal digits.
        instance: String,
    }
    /// A heard Eddystone-EID.
    EphemeralSighting {
        /// 16 hexadecimal digits.
        eid: String,
    }
    /// A heard beacon that is known by its address.
    MacSighting {
        mac: String,
    }
    /// A heard beacon, by the name that it has in the registry.
    NamedSighting {
        #[schema(max_length = 128)]
        beacon: String,
    }
}

/// A border crossing that the phone's own system noticed.
#[derive(ToSchema)]
pub(crate) struct Crossing {
    #[schema(example = "crossing")]
    kind: String,
    #[schema(format = DateTime)]
    at: String,
    region: String,
    edge: Edge,
}

/// Into the region or out of it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Edge {
    Enter,
    Exit,
}

/// A QR code or NFC tag that was read.
#[derive(ToSchema)]
pub(crate) struct Scan {
    #[schema(example = "scan")]
    kind: String,
    #[schema(format = DateTime)]
    at: String,
    tag: String,
}
