//! The shapes of handed-in messages.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::Target;

/// One message for many targets.
#[derive(ToSchema)]
pub(crate) struct Submission {
    /// Names the request, so that repeats are harmless; the `Idempotency-Key` if absent.
    #[schema(max_length = 128)]
    request: Option<String>,
    /// A registered device's own app, or `default`, if absent.
    app: Option<String>,
    /// `order` or `offer`: which consent a shopper's devices need.
    #[schema(default = "order", required = false)]
    purpose: String,
    /// When what it tells of happened; when the request first came if absent.
    #[schema(format = DateTime)]
    at: Option<String>,
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// How long it is of use, from `at` or `not_before` on; 3 days, offers 1 hour, if absent.
    #[schema(example = "2h")]
    ttl: Option<String>,
    /// Instead of `ttl`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Messages with the same key replace one another on the device.
    #[schema(max_length = 32)]
    collapse: Option<String>,
    message: Message,
    #[schema(max_items = 10000)]
    targets: Vec<SubmitTarget>,
}

/// What a message says.
#[derive(ToSchema)]
pub(crate) struct Message {
    title: Option<String>,
    body: Option<String>,
    /// What opens on a tap: an `https:` or app URL.
    deep_link: Option<String>,
    /// For the app.
    #[schema(required = false)]
    data: BTreeMap<String, String>,
    /// BCP 47.
    #[schema(required = false)]
    locale: String,
    /// Apple's push type; others know `alert` and `background` only.
    #[schema(default = "alert", required = false)]
    push: String,
    /// `high`, `normal` or `low`.
    #[schema(default = "high", required = false)]
    priority: String,
    /// Apple's payload as a whole, instead of one made from the text.
    apns: Option<Value>,
    /// A JSON Merge Patch (RFC 7396) of FCM's `message` as made from the text; the target is not for it to say.
    fcm: Option<Value>,
    /// What a browser gets, instead of what is made from the text.
    webpush: Option<Value>,
}

/// One recipient: exactly one of the fields but `devices`.
#[derive(ToSchema)]
pub(crate) struct SubmitTarget {
    /// A registered device.
    device: Option<String>,
    /// A person: on the device that order news goes to.
    shopper: Option<String>,
    /// With `shopper`: `preferred`, or `all` devices that can be reached.
    devices: Option<String>,
    /// An installation that nobody registered.
    target: Option<Target>,
    fcm_topic: Option<String>,
    /// Such as `'a' in topics && 'b' in topics`.
    fcm_condition: Option<String>,
    /// Every Live Activity that follows a broadcast channel.
    apns_channel: Option<ApnsChannel>,
}

/// A broadcast channel of Apple's.
#[derive(ToSchema)]
pub(crate) struct ApnsChannel {
    /// The app's bundle id.
    bundle: String,
    /// The channel's id, as Apple gave it.
    channel: String,
    /// `production` or `sandbox`.
    environment: Option<String>,
    /// Whether the channel keeps its last message for phones that are away.
    #[schema(required = false)]
    stored: bool,
}

/// Why a target gets nothing.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum SubmitReason {
    Malformed,
    Invalid,
    UnknownDevice,
    UnknownShopper,
    NoConsent,
    NoTarget,
    OtherApp,
    NotConfigured,
    Refused,
}
