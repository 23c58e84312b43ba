//! How a push service reaches one installation.

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use crate::{notification::Channel, word::Word};

/// What the topic of an APNs target ends with whose token is a Live Activity's, or begins one; before it stands the app's
/// bundle id. Source: Apple, "Starting and updating Live Activities with ActivityKit push notifications".
pub const ACTIVITY_SUFFIX: &str = ".push-type.liveactivity";

/// Where a device's messages go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "lowercase", deny_unknown_fields)]
pub enum PushTarget {
    /// Apple Push Notification service.
    Apns {
        /// Device token, hexadecimal.
        token: ArcStr,
        /// The app's bundle id.
        topic: Word,
        /// Which of Apple's two environments issued the token.
        #[serde(default)]
        environment: ApnsEnvironment,
    },
    /// Firebase Cloud Messaging: exactly one of `token` and `fid`.
    Fcm {
        /// Registration token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<ArcStr>,
        /// Firebase installation id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fid: Option<ArcStr>,
    },
    /// A browser's subscription.
    WebPush {
        /// As `PushSubscription.toJSON()` gives it.
        subscription: Box<Subscription>,
    },
}

impl PushTarget {
    /// The channel that reaches this target.
    pub fn channel(&self) -> Channel {
        match self {
            PushTarget::Apns { .. } => Channel::Apns,
            PushTarget::Fcm { .. } => Channel::Fcm,
            PushTarget::WebPush { .. } => Channel::WebPush,
        }
    }
}

/// Apple's two environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApnsEnvironment {
    /// Apps from the store.
    #[default]
    Production,
    /// Development builds.
    Sandbox,
}

/// A browser's push subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The push service's URL for this browser.
    pub endpoint: String,
    /// When the browser will drop it, epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<i64>,
    /// The keys that messages are encrypted with.
    pub keys: SubscriptionKeys,
}

/// The keys of a push subscription, base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionKeys {
    /// The browser's P-256 public key, uncompressed.
    pub p256dh: String,
    /// The authentication secret, 16 bytes.
    pub auth: String,
}
