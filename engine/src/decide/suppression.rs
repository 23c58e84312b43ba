//! Why a message is not sent. Every reason is made in exactly one place.

use serde::{Deserialize, Serialize};

use crate::{
    id::{CampaignId, RegionId, StoreId},
    order::OrderState,
    time::Timestamp,
};

/// Why a message is not sent. The name is part of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Suppression {
    /// The shopper did not consent to this.
    NoConsent {
        /// `location`, `offers` or `orders`.
        to: String,
    },
    /// The campaign has not begun or is over.
    Inactive {
        /// From when on it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
        /// Until when it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// It would come too late to be of use.
    Expired {
        /// When it lost its use.
        expires_at: Timestamp,
    },
    /// The shopper has no such device.
    NoDevice,
    /// The device cannot be reached.
    NoTarget,
    /// The text names the store, and there is none.
    NoStore {
        /// The store that is not in the catalog, if one was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<StoreId>,
    },
    /// The store is closed, or no time slot holds.
    OutsideSchedule {
        /// `store_hours` or `slots`.
        rule: String,
        /// The time on the store's clock.
        local: String,
    },
    /// The shopper is not whom the campaign is for.
    NotInAudience {
        /// The condition that failed, and what the shopper has.
        condition: String,
    },
    /// An offer for a zone waits until somebody stays there for sure.
    Unsettled {
        /// The zone.
        region: RegionId,
    },
    /// Another device of the shopper has dwelt in this zone on this visit, so its message has been decided.
    ToldHere {
        /// The zone.
        region: RegionId,
    },
    /// The shopper has gone.
    Left {
        /// From where.
        region: RegionId,
    },
    /// Newer news of the order has been told, or the order is no longer waiting.
    OrderMovedOn {
        /// What it has become.
        state: OrderState,
        /// When.
        at: Timestamp,
    },
    /// It is late where the shopper is, and the message does not wait or would be worthless afterwards.
    QuietHours {
        /// When they end.
        until: Timestamp,
    },
    /// The shopper has had enough.
    FrequencyCap {
        /// `global` or `campaign`.
        scope: String,
        /// The most that are sent.
        count: u32,
        /// In what time: `day` or a span.
        per: String,
        /// What counts against it.
        sent: u32,
    },
    /// This campaign has reached the shopper a short while ago.
    Cooldown {
        /// When it may again.
        until: Timestamp,
    },
    /// The shopper is one of those who get nothing, so that the effect can be measured.
    Holdout {
        /// `global` or `campaign`.
        scope: String,
        /// Their share.
        percent: f64,
    },
    /// The campaign's budget is spent.
    Budget {
        /// What it was.
        total: u64,
    },
    /// A more important campaign answered the same cause.
    Outranked {
        /// Which.
        by: CampaignId,
    },
    /// The shopper knows this state of the order.
    AlreadyTold {
        /// The state.
        state: OrderState,
        /// The time of the event that was told.
        at: Timestamp,
    },
    /// The text could not be made from this shopper's values.
    Unrenderable {
        /// Why.
        detail: String,
    },
    /// The campaign is no longer in the catalog.
    Withdrawn,
}

impl Suppression {
    /// Every name, in the order of the enum.
    pub const NAMES: [&'static str; 21] = [
        "no_consent",
        "inactive",
        "expired",
        "no_device",
        "no_target",
        "no_store",
        "outside_schedule",
        "not_in_audience",
        "unsettled",
        "told_here",
        "left",
        "order_moved_on",
        "quiet_hours",
        "frequency_cap",
        "cooldown",
        "holdout",
        "budget",
        "outranked",
        "already_told",
        "unrenderable",
        "withdrawn",
    ];

    /// The name in the API and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Suppression::NoConsent { .. } => "no_consent",
            Suppression::Inactive { .. } => "inactive",
            Suppression::Expired { .. } => "expired",
            Suppression::NoDevice => "no_device",
            Suppression::NoTarget => "no_target",
            Suppression::NoStore { .. } => "no_store",
            Suppression::OutsideSchedule { .. } => "outside_schedule",
            Suppression::NotInAudience { .. } => "not_in_audience",
            Suppression::Unsettled { .. } => "unsettled",
            Suppression::ToldHere { .. } => "told_here",
            Suppression::Left { .. } => "left",
            Suppression::OrderMovedOn { .. } => "order_moved_on",
            Suppression::QuietHours { .. } => "quiet_hours",
            Suppression::FrequencyCap { .. } => "frequency_cap",
            Suppression::Cooldown { .. } => "cooldown",
            Suppression::Holdout { .. } => "holdout",
            Suppression::Budget { .. } => "budget",
            Suppression::Outranked { .. } => "outranked",
            Suppression::AlreadyTold { .. } => "already_told",
            Suppression::Unrenderable { .. } => "unrenderable",
            Suppression::Withdrawn => "withdrawn",
        }
    }
}
