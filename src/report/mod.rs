//! What happened, as the journal keeps it, the stream tells it and the metrics count it.

use parvis_engine::{
    decide::Suppression,
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId, StoreId},
    matching::{Transition, TransitionKind},
    notification::{Cause, Milestone},
    order::OrderState,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// One thing that happened to one shopper. Carries no coordinates and no push targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// To whom.
    pub shopper: ShopperId,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// Something happened between a device and a region.
    Transition(Transition),
    /// A campaign was decided.
    Decision {
        /// Which campaign.
        campaign: CampaignId,
        /// For which device.
        device: DeviceId,
        /// What it answers.
        cause: Cause,
        /// The message, if one is to be sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notification: Option<NotificationId>,
        /// Not to be sent before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Timestamp>,
        /// Why not, if not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suppressed: Option<Suppression>,
    },
    /// A step in a notification's life.
    Milestone {
        /// Which notification.
        notification: NotificationId,
        /// Which step.
        milestone: Milestone,
        /// More about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// An order changed.
    Order {
        /// Which order.
        order: OrderId,
        /// What it became.
        state: OrderState,
    },
    /// Somebody comes to fetch an order: for the staff.
    Arrival {
        /// Which order.
        order: OrderId,
        /// Where.
        store: StoreId,
        /// With which device.
        device: DeviceId,
        /// Approach or enter.
        transition: TransitionKind,
        /// The seller who looks after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adviser: Option<String>,
    },
}
