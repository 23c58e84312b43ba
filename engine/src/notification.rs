//! One decided message for one device, and what becomes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{CampaignId, DeviceId, NotificationId, OrderId, RegionId, ShopperId},
    matching::TransitionKind,
    order::OrderState,
    time::Timestamp,
};

/// A push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
    /// Web Push.
    WebPush,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Channel; 3] = [Channel::Apns, Channel::Fcm, Channel::WebPush];

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Apns => "apns",
            Channel::Fcm => "fcm",
            Channel::WebPush => "webpush",
        }
    }
}

/// Why a message is sent. Gates for marketing do not hold for order news; consent holds for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// An offer.
    Offer,
    /// News about an order.
    Order,
}

/// What a message is an answer to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// A device and a region.
    Transition {
        /// Which transition.
        transition: TransitionKind,
        /// The region.
        region: RegionId,
    },
    /// An order that changed.
    Order {
        /// The order.
        order: OrderId,
        /// What it became.
        state: OrderState,
    },
    /// A shopper who comes for an order that is ready.
    Pickup {
        /// The order.
        order: OrderId,
        /// Approach or enter.
        transition: TransitionKind,
        /// The store's region.
        region: RegionId,
    },
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
    pub locale: String,
}

/// One decided message for one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Derived from the cause; the same decision gives the same id.
    pub id: NotificationId,
    /// For whom.
    pub shopper: ShopperId,
    /// On which device.
    pub device: DeviceId,
    /// Through which service.
    pub channel: Channel,
    /// Offer or order news.
    pub purpose: Purpose,
    /// The campaign that it came from.
    pub campaign: CampaignId,
    /// What it answers.
    pub cause: Cause,
    /// What the shopper reads.
    pub content: Content,
    /// Messages with the same key replace one another on the device; at most 32 base64url characters, so
    /// that every service takes it.
    pub collapse: String,
    /// When the cause happened.
    pub observed_at: Timestamp,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Not to be sent before (quiet hours).
    pub not_before: Timestamp,
    /// Worthless afterwards.
    pub expires_at: Timestamp,
}

/// A step in a notification's life. `accepted`, `unregistered`, `dead`, `expired` and `suppressed` end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// The cause happened.
    Observed,
    /// The message was decided.
    Decided,
    /// The decision is durable.
    Stored,
    /// A provider was asked.
    Attempted,
    /// The provider took it.
    Accepted,
    /// The provider said that the target does not exist.
    Unregistered,
    /// Given up; the detail says why.
    Dead,
    /// Not sent in time.
    Expired,
    /// No longer wanted when its turn came; the detail says why.
    Suppressed,
    /// The app reported that it was opened.
    Opened,
    /// The app reported that it was dismissed.
    Dismissed,
    /// The app or the till reported that the offer was redeemed.
    Redeemed,
}

impl Milestone {
    /// Every milestone, in the order of a life.
    pub const ALL: [Milestone; 12] = [
        Milestone::Observed,
        Milestone::Decided,
        Milestone::Stored,
        Milestone::Attempted,
        Milestone::Accepted,
        Milestone::Unregistered,
        Milestone::Dead,
        Milestone::Expired,
        Milestone::Suppressed,
        Milestone::Opened,
        Milestone::Dismissed,
        Milestone::Redeemed,
    ];

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Milestone::Observed => "observed",
            Milestone::Decided => "decided",
            Milestone::Stored => "stored",
            Milestone::Attempted => "attempted",
            Milestone::Accepted => "accepted",
            Milestone::Unregistered => "unregistered",
            Milestone::Dead => "dead",
            Milestone::Expired => "expired",
            Milestone::Suppressed => "suppressed",
            Milestone::Opened => "opened",
            Milestone::Dismissed => "dismissed",
            Milestone::Redeemed => "redeemed",
        }
    }

    /// Whether nothing more will be done to deliver the message.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Milestone::Accepted
                | Milestone::Unregistered
                | Milestone::Dead
                | Milestone::Expired
                | Milestone::Suppressed
        )
    }
}
