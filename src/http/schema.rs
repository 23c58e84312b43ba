//! The shapes of the engine as the OpenAPI document shows them. The engine knows nothing of OpenAPI; that both say
//! the same is shown by tests.

#![allow(dead_code, reason = "these types are read by the document's derive only")]

mod beacon;
mod observation;

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

pub(crate) use self::{beacon::*, observation::*};

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
    /// The app that is installed, as the configuration names it; `default` if absent.
    app: Option<String>,
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
    /// The app draws the progress of orders itself, from data messages; FCM only.
    #[schema(required = false)]
    progress: bool,
}

/// A token for Live Activities.
#[derive(ToSchema)]
#[schema(as = LiveToken)]
pub(crate) struct Token {
    /// As ActivityKit gives it, in hexadecimal.
    token: String,
}

/// Where an order stands, as an app draws it.
#[derive(ToSchema)]
pub(crate) struct LiveState {
    state: OrderState,
    /// How far it is, from 0 to `steps`.
    step: u8,
    steps: u8,
    fulfilment: Option<Fulfilment>,
    #[schema(format = DateTime)]
    eta: Option<String>,
    /// The store's name.
    store: Option<String>,
    #[schema(format = DateTime)]
    at: String,
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
    /// The devices that show the order all the time.
    #[schema(required = false)]
    live: BTreeMap<String, super::live::Shown>,
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
