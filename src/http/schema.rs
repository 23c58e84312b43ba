//! The shapes of the engine as the OpenAPI document shows them. The engine knows nothing of OpenAPI; that both say
//! the same is shown by tests.

#![allow(dead_code, reason = "these types are read by the document's derive only")]

use std::collections::BTreeMap;

use serde_json::Value;
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

/// One heard beacon advertisement.
#[derive(ToSchema)]
pub(crate) struct Sighting {
    #[schema(example = "sighting")]
    kind: String,
    #[schema(format = DateTime)]
    at: String,
    #[schema(format = "uuid")]
    uuid: String,
    major: u16,
    minor: u16,
    rssi_dbm: f64,
    /// What the beacon announces for one metre.
    measured_power_dbm: Option<f64>,
    /// The scanner that heard it; the device itself if absent.
    observer: Option<String>,
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
    Cloned,
}

/// Something happened between a device and a region.
#[derive(ToSchema)]
pub(crate) struct Transition {
    transition: TransitionKind,
    device: String,
    region: String,
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

/// What told us.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum TransitionCause {
    Fix,
    Crossing,
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
