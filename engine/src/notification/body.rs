//! What a message says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    id::OrderId,
    order::{Fulfilment, OrderState},
    time::Timestamp,
};

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Something for the shopper to read.
    Content(Content),
    /// Where an order stands, for what the phone shows all the time: a Live Activity, or a notification with progress
    /// that the app draws from a data message.
    Live(Box<Live>),
    /// What a back end handed in.
    Custom(Box<Custom>),
    /// What has happened, for a webhook.
    Fact(Box<Fact>),
}

impl Body {
    /// What the shopper reads, if anything.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Body::Content(content) => Some(content),
            Body::Live(live) => live.alert.as_ref(),
            Body::Custom(custom) => custom.content.as_ref(),
            Body::Fact(_) => None,
        }
    }
}

/// What the shopper reads, rendered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// First line.
    pub title: String,
    /// The text.
    pub body: String,
    /// What opens on a tap: an `https:` or app URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep_link: Option<String>,
    /// For the app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// BCP 47 tag of the language that was chosen.
    #[serde(default)]
    pub locale: String,
}

/// What becomes of what the phone shows all the time about an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Of which order.
    pub order: OrderId,
    /// Begins, changes or ends it.
    pub event: LiveEvent,
    /// What it shows.
    pub state: LiveState,
    /// From then on it is marked as old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_at: Option<Timestamp>,
    /// When an ended one goes from the screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismiss_at: Option<Timestamp>,
    /// Whether it is to be shown at once; the phone's system gives a budget for that. Otherwise when it suits the phone.
    #[serde(default)]
    pub urgent: bool,
    /// What is said beside it, if the shopper is to be told by words and sound. Whatever begins has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Content>,
}

/// What happens to a Live Activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveEvent {
    /// It begins.
    Start,
    /// It changes.
    Update,
    /// It ends.
    End,
}

impl LiveEvent {
    /// The name in the API and at push services.
    pub fn name(self) -> &'static str {
        match self {
            LiveEvent::Start => "start",
            LiveEvent::Update => "update",
            LiveEvent::End => "end",
        }
    }
}

/// Where an order stands, as an app draws it: the `content-state` of a Live Activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveState {
    /// What the order has become.
    pub state: OrderState,
    /// How far it is, from 0 to `steps`.
    pub step: u8,
    /// How many steps there are.
    pub steps: u8,
    /// How it reaches the shopper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fulfilment: Option<Fulfilment>,
    /// When it is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// The store's name, where it is fetched from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// When it became so.
    pub at: Timestamp,
}

/// A message that a back end handed in: text, or what a push service is to be told word by word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// What the app's system is to do with it.
    #[serde(default)]
    pub push: PushKind,
    /// How soon the phone is to be woken for it.
    #[serde(default)]
    pub priority: Priority,
    /// What the shopper reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Apple's payload as a whole, instead of one made from `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apns: Option<Map<String, Value>>,
    /// What is changed in FCM's `message` as made from the rest: a JSON Merge Patch (RFC 7396), so that `null` removes a
    /// member. The target and `data.notification_id` can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fcm: Option<Map<String, Value>>,
    /// What a browser gets word by word, instead of what is made from `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webpush: Option<Map<String, Value>>,
}

/// What an app's system is to do with a message: the push types of Apple's service. Others know `alert` and
/// `background` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PushKind {
    /// Show it.
    #[default]
    Alert,
    /// Wake the app, show nothing.
    Background,
    /// Ask the app where it is.
    Location,
    /// Ring.
    Voip,
    /// Bring a watch's complication up to date.
    Complication,
    /// Tell of changed files.
    FileProvider,
    /// Wake a managed device.
    Mdm,
    /// A Live Activity.
    LiveActivity,
    /// A walkie-talkie.
    PushToTalk,
    /// Bring widgets up to date.
    Widgets,
    /// Bring controls up to date.
    Controls,
}

impl PushKind {
    /// Every kind.
    pub const ALL: [PushKind; 11] = [
        PushKind::Alert,
        PushKind::Background,
        PushKind::Location,
        PushKind::Voip,
        PushKind::Complication,
        PushKind::FileProvider,
        PushKind::Mdm,
        PushKind::LiveActivity,
        PushKind::PushToTalk,
        PushKind::Widgets,
        PushKind::Controls,
    ];

    /// The name in the API and at Apple.
    pub fn name(self) -> &'static str {
        match self {
            PushKind::Alert => "alert",
            PushKind::Background => "background",
            PushKind::Location => "location",
            PushKind::Voip => "voip",
            PushKind::Complication => "complication",
            PushKind::FileProvider => "fileprovider",
            PushKind::Mdm => "mdm",
            PushKind::LiveActivity => "liveactivity",
            PushKind::PushToTalk => "pushtotalk",
            PushKind::Widgets => "widgets",
            PushKind::Controls => "controls",
        }
    }
}

/// How soon a phone is to be woken for a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// At once.
    #[default]
    High,
    /// When it suits the phone's battery.
    Normal,
    /// When the phone is in use anyway.
    Low,
}

/// Something that has happened, for the retailer's own systems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// When.
    pub at: Timestamp,
    /// What of it is told.
    pub data: Value,
}
