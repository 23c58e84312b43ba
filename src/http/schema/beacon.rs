//! The shapes of what hangs in shops.

use serde_json::Value;
use utoipa::ToSchema;

/// A beacon. It says who it is in exactly one way: `uuid`, `major`, `minor`; `namespace`, `instance`; `mac`; or `eid`.
#[derive(ToSchema)]
pub(crate) struct Beacon {
    id: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// The store that it belongs to; a tag may belong to none.
    store: Option<String>,
    /// The zone that hearing it speaks for; none for a tag.
    zone: Option<String>,
    #[schema(required = false)]
    role: BeaconRole,
    #[schema(format = "uuid")]
    uuid: Option<String>,
    major: Option<u16>,
    minor: Option<u16>,
    /// 20 hexadecimal digits.
    namespace: Option<String>,
    /// 12 hexadecimal digits.
    instance: Option<String>,
    #[schema(example = "c4:be:84:1f:20:33")]
    mac: Option<String>,
    eid: Option<Rotation>,
    position: Option<Position>,
    plan: Option<Plan>,
    /// At one metre, as measured on site; what the beacon announces if absent.
    #[schema(minimum = -100, maximum = 20)]
    measured_power_dbm: Option<f64>,
}

/// What a beacon is there for: it hangs in a shop and is heard by phones; it is carried and heard by scanners; it hangs
/// near a scanner, whose health it shows.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum BeaconRole {
    Fixed,
    Tag,
    Reference,
}

/// How an Eddystone-EID changes what it says. Its key stands in the file of keys.
#[derive(ToSchema)]
pub(crate) struct Rotation {
    /// Every two to the power of so many seconds.
    #[schema(minimum = 0, maximum = 15)]
    exponent: u8,
    /// When the beacon's clock began at 0.
    #[schema(format = DateTime)]
    started_at: String,
}

/// A WGS 84 position in degrees.
#[derive(ToSchema)]
pub(crate) struct Position {
    #[schema(minimum = -90, maximum = 90)]
    lat: f64,
    #[schema(minimum = -180, maximum = 180)]
    lon: f64,
}

/// A place on a shop's floor plan.
#[derive(ToSchema)]
pub(crate) struct Plan {
    x_m: f64,
    y_m: f64,
    /// 0 for the ground floor.
    #[schema(required = false)]
    floor: i32,
}

/// A scanner host or gateway.
#[derive(ToSchema)]
pub(crate) struct Scanner {
    id: Option<String>,
    name: Option<String>,
    store: String,
    /// The zone that it speaks for when it hears a tag.
    zone: Option<String>,
    position: Option<Position>,
    plan: Option<Plan>,
    /// Added to every signal strength that it reports.
    #[schema(default = 0.0, required = false, minimum = -40, maximum = 40)]
    offset_db: f64,
}

/// One of several places of a shop, of which a device is in one at most.
#[derive(ToSchema)]
pub(crate) struct Zone {
    id: Option<String>,
    name: Option<String>,
    store: String,
    /// The zone that it is a part of.
    group: Option<String>,
    #[schema(required = false, max_items = 64)]
    tags: Vec<String>,
    #[schema(minimum = 1, maximum = 86_400)]
    dwell_s: Option<u32>,
    hours: Option<Value>,
    /// The weakest signal with which it is entered.
    #[schema(minimum = -110, maximum = -20)]
    floor_dbm: Option<f64>,
    #[schema(minimum = 1, maximum = 86_400)]
    exit_after_s: Option<u32>,
    /// QR codes and NFC tags that hang here.
    #[schema(required = false, max_items = 1_000)]
    codes: Vec<String>,
}

/// Wherever one of these beacons is heard.
#[derive(ToSchema)]
pub(crate) struct BeaconRegion {
    id: Option<String>,
    name: Option<String>,
    store: Option<String>,
    #[schema(format = "uuid")]
    uuid: String,
    major: Option<u16>,
    minor: Option<u16>,
    /// How near counts: `immediate`, `near` or `far`; hearing it if absent.
    proximity: Option<String>,
    #[schema(required = false, max_items = 64)]
    tags: Vec<String>,
    #[schema(minimum = 1, maximum = 86_400)]
    dwell_s: Option<u32>,
    hours: Option<Value>,
    #[schema(minimum = 1, maximum = 86_400)]
    exit_after_s: Option<u32>,
}
