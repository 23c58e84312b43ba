//! One decided message for one device, and what becomes of it.

use serde::{Deserialize, Serialize};

mod body;
mod recipient;
mod written;

pub use self::{
    body::{Body, Content, Custom, Fact, Live, LiveEvent, LiveState, Priority, PushKind},
    recipient::{Address, Recipient},
};
use crate::{
    id::{AppId, CampaignId, DeviceId, NotificationId, OrderId, RegionId, ShopperId},
    matching::TransitionKind,
    order::OrderState,
    time::Timestamp,
};

/// How a message leaves: a push service, or a call to the retailer's own systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
    /// Web Push.
    WebPush,
    /// A webhook of the retailer's.
    Webhook,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Channel; 4] = [Channel::Apns, Channel::Fcm, Channel::WebPush, Channel::Webhook];

    /// Those that reach people.
    pub const PUSH: [Channel; 3] = [Channel::Apns, Channel::Fcm, Channel::WebPush];

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Apns => "apns",
            Channel::Fcm => "fcm",
            Channel::WebPush => "webpush",
            Channel::Webhook => "webhook",
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

/// Where a message comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A campaign that answered something.
    Campaign {
        /// The campaign.
        campaign: CampaignId,
        /// Offer or order news.
        purpose: Purpose,
        /// What it answers.
        cause: Cause,
    },
    /// A back end that handed in the message as it is.
    Request {
        /// What the back end calls its request.
        request: String,
        /// Offer or order news, as the back end says.
        purpose: Purpose,
    },
    /// Something has happened that a webhook is to tell.
    Event {
        /// The name of its kind, such as `order.shipped`.
        event: String,
    },
}

/// One message for one recipient.
///
/// It is kept and shown with `device`, `address` or `endpoint` for its recipient, with `campaign` and `cause`, `request`,
/// or `event` for its origin, and with `content`, `live`, `custom` or `fact` for its body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "written::Written", into = "written::Written")]
pub struct Notification {
    /// Derived from the cause; the same decision gives the same id.
    pub id: NotificationId,
    /// For whom, or whom it is about.
    pub shopper: ShopperId,
    /// Where it goes.
    pub recipient: Recipient,
    /// Through which service.
    pub channel: Channel,
    /// In the name of which app.
    pub app: AppId,
    /// Where it comes from.
    pub origin: Origin,
    /// The message that was given up and that this one tries anew.
    pub replays: Option<NotificationId>,
    /// What it says.
    pub body: Body,
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

impl Notification {
    /// The device, if it is for a registered one.
    pub fn device(&self) -> Option<&DeviceId> {
        match &self.recipient {
            Recipient::Device(device) => Some(device),
            Recipient::Address(_) | Recipient::Endpoint(_) => None,
        }
    }

    /// The campaign, if it comes from one.
    pub fn campaign(&self) -> Option<&CampaignId> {
        match &self.origin {
            Origin::Campaign { campaign, .. } => Some(campaign),
            Origin::Request { .. } | Origin::Event { .. } => None,
        }
    }

    /// What it answers, if it comes from a campaign.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.origin {
            Origin::Campaign { cause, .. } => Some(cause),
            Origin::Request { .. } | Origin::Event { .. } => None,
        }
    }

    /// Offer or order news; none of what the shopper never sees.
    pub fn purpose(&self) -> Option<Purpose> {
        match self.origin {
            Origin::Campaign { purpose, .. } | Origin::Request { purpose, .. } => Some(purpose),
            Origin::Event { .. } => None,
        }
    }

    /// What the shopper reads, if anything.
    pub fn content(&self) -> Option<&Content> {
        self.body.content()
    }
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
