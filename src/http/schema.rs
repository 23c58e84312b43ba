//! The shapes of the engine as the OpenAPI document shows them. The engine knows nothing of OpenAPI; that both say
//! the same is shown by tests.

#![allow(dead_code, reason = "these types are read by the document's derive only")]

mod observation;

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

pub(crate) use self::observation::*;

/// Why an observation was not taken.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Rejection {
    Invalid,
    Stale,
    Future,
    UnknownDevice,
    NoConsent,
    UnknownRegion,
    UnknownBeacon,
    UnknownTag,
    UnknownScanner,
    WrongRole,
    Elsewhere,
    UnlinkedTag,
    Cloned,
}

/// Something happened between a device and a region.
#[derive(ToSchema)]
pub(crate) struct Transition {
    transition: TransitionKind,
    device: String,
    region: String,
    region_kind: RegionKind,
    store: Option<String>,
    #[schema(format = DateTime)]
    at: String,
    #[schema(format = DateTime)]
    received_at: String,
    /// How sure we are, 0 to 1.
    confidence: f64,
    cause: TransitionCause,
    #[schema(format = DateTime)]
    entered_at: Option<String>,
    /// Late, and undone by what is already known.
    replayed: bool,
}

/// What happened.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum TransitionKind {
    Approach,
    Enter,
    Dwell,
    Exit,
    Pass,
}

/// The kinds of regions.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum RegionKind {
    Geofence,
    BeaconRegion,
    Zone,
}

/// What told us.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum TransitionCause {
    Fix,
    Crossing,
    Sighting,
    Scan,
    Silence,
    Timer,
    Timeout,
    Removed,
}

/// What is said of a device.
#[derive(ToSchema)]
pub(crate) struct Registration {
    /// Whose it is; without it the device is its own anonymous shopper.
    shopper: Option<String>,
    #[schema(example = "ios")]
    platform: String,
    target: Option<Target>,
    /// BCP 47.
    #[schema(example = "fr-FR")]
    locale: Option<String>,
    /// IANA.
    #[schema(example = "Europe/Paris")]
    time_zone: Option<String>,
    /// Order news go to this device rather than to others.
    #[schema(required = false)]
    preferred: bool,
    /// Of an anonymous shopper.
    consents: Option<Consents>,
}

/// Where messages go.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[serde(tag = "channel")]
pub(crate) enum Target {
    Apns { token: String, topic: String, environment: Option<String> },
    Fcm { token: Option<String>, fid: Option<String> },
    WebPush { subscription: Value },
}

/// What the retailer says of a shopper.
#[derive(ToSchema)]
pub(crate) struct Profile {
    locale: Option<String>,
    time_zone: Option<String>,
    #[schema(required = false)]
    segments: Vec<String>,
    /// Flags, numbers or texts.
    #[schema(required = false)]
    attributes: BTreeMap<String, Value>,
    loyalty: Option<Loyalty>,
    #[schema(required = false)]
    consents: Consents,
}

/// Standing in the loyalty programme.
#[derive(ToSchema)]
pub(crate) struct Loyalty {
    tier: Option<String>,
    points: i64,
}

/// What a shopper allowed. Nothing said means no.
#[derive(ToSchema)]
pub(crate) struct Consents {
    location: Option<Consent>,
    offers: Option<Consent>,
    orders: Option<Consent>,
}

/// One answer to one question.
#[derive(ToSchema)]
pub(crate) struct Consent {
    granted: bool,
    #[schema(format = DateTime)]
    at: String,
    /// The version of the text that the shopper saw.
    text: Option<String>,
}

/// An interest shown elsewhere.
#[derive(ToSchema)]
pub(crate) struct Signal {
    #[schema(example = "tv")]
    interest: String,
    #[schema(default = 1.0, required = false)]
    weight: f64,
    #[schema(example = "newsletter")]
    source: Option<String>,
    #[schema(format = DateTime)]
    at: String,
}

/// One thing that happened to an order.
#[derive(ToSchema)]
pub(crate) struct OrderEvent {
    /// Names the event within the order; a repeat is harmless.
    event: String,
    #[schema(format = DateTime)]
    at: String,
    state: OrderState,
    shopper: String,
    fulfilment: Option<Fulfilment>,
    store: Option<String>,
    #[schema(format = DateTime)]
    eta: Option<String>,
    #[schema(required = false)]
    lines: Vec<Value>,
    adviser: Option<String>,
}

/// Where an order stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OrderState {
    Registered,
    Confirmed,
    Preparing,
    Shipped,
    OutForDelivery,
    ReadyForPickup,
    Delivered,
    PickedUp,
    AttemptFailed,
    Delayed,
    Cancelled,
    Returned,
}

/// What an event meant for its order.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OrderChange {
    New,
    Duplicate,
    Older,
}

/// How an order reaches the shopper.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Fulfilment {
    Delivery,
    Pickup,
}

/// An order as every channel shows it.
#[derive(ToSchema)]
pub(crate) struct Order {
    id: String,
    state: OrderState,
    #[schema(format = DateTime)]
    at: String,
    fulfilment: Option<Fulfilment>,
    store: Option<String>,
    #[schema(format = DateTime)]
    eta: Option<String>,
    #[schema(required = false)]
    lines: Vec<Value>,
    adviser: Option<String>,
    /// Every event that was taken, by its id: the state and the time.
    events: BTreeMap<String, Value>,
}

/// A message and its life so far.
#[derive(ToSchema)]
pub(crate) struct Life {
    notification: Value,
    milestones: Vec<Step>,
    /// How often a provider was asked.
    attempts: u32,
}

/// One reached milestone.
#[derive(ToSchema)]
pub(crate) struct Step {
    milestone: String,
    #[schema(format = DateTime)]
    at: String,
    detail: Option<String>,
}

/// A GeoJSON Feature (RFC 7946): Point with `radius_m`, Polygon or MultiPolygon; properties `store`, `tags`,
/// `dwell_s`, `approach_m`, `hours`.
#[derive(ToSchema)]
pub(crate) struct Feature {
    #[schema(example = "Feature")]
    r#type: String,
    id: Option<String>,
    geometry: Value,
    properties: Value,
}

/// A GeoJSON FeatureCollection.
#[derive(ToSchema)]
pub(crate) struct FeatureCollection {
    #[schema(example = "FeatureCollection")]
    r#type: String,
    features: Vec<Feature>,
    /// Where a list goes on.
    next: Option<String>,
}

/// A shop.
#[derive(ToSchema)]
pub(crate) struct Store {
    id: Option<String>,
    /// What shoppers call it.
    name: String,
    #[schema(example = "Europe/Paris")]
    time_zone: String,
}

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
