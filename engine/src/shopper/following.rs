//! What a device shows of orders all the time, as far as it is known here. What is to be sent is decided elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{CampaignId, OrderId},
    notification::LiveState,
    time::Timestamp,
};

/// How a device shows orders all the time, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Following {
    /// What begins a Live Activity by a push; iOS 17.2 and later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<LiveToken>,
    /// Whether the app draws the progress of orders itself, from data messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
    /// What is shown of each order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub orders: BTreeMap<OrderId, Activity>,
}

impl Following {
    /// The most orders of one device.
    pub const ORDERS_MAX: usize = 20;

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.start.is_none() && !self.progress && self.orders.is_empty()
    }

    /// Makes room for one more order, by forgetting one that is over, the oldest first. Says whether there is room.
    pub fn make_room(&mut self) -> bool {
        while self.orders.len() >= Following::ORDERS_MAX {
            let over = self.orders.iter().filter(|(_, activity)| activity.is_over());
            let Some(oldest) = over.min_by_key(|(_, it)| it.began_at).map(|(order, _)| order.clone()) else {
                return false;
            };
            self.orders.remove(&oldest);
        }
        true
    }
}

/// A token for Live Activities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveToken {
    /// Hexadecimal.
    pub token: String,
    /// When the app reported it.
    pub registered_at: Timestamp,
}

/// What a device shows of one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// When its beginning was decided, or when the app reported one that it had begun itself.
    pub began_at: Timestamp,
    /// What changes and ends it, once the app has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<LiveToken>,
    /// In whose name it is changed: the campaign that spoke of the order last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// The newest state that was decided to be shown; none if the app began it and has not been sent anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<LiveState>,
    /// When something urgent was decided, as far back as the budget looks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urgent: Vec<Timestamp>,
    /// When its end was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When the shopper has put it away, as far as the app or the service said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismissed_at: Option<Timestamp>,
}

impl Activity {
    /// One that shows nothing that we know of.
    pub fn new(began_at: Timestamp) -> Activity {
        Activity {
            began_at,
            token: None,
            campaign: None,
            shown: None,
            urgent: Vec::new(),
            ended_at: None,
            dismissed_at: None,
        }
    }

    /// Whether nothing more is to be shown.
    pub fn is_over(&self) -> bool {
        self.ended_at.is_some() || self.dismissed_at.is_some()
    }
}
