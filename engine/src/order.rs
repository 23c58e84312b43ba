//! The one truth about an order: its states, its history, and what each event means for the shopper.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{EventId, OrderId, ShopperId, StoreId},
    time::Timestamp,
};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Taken in.
    Registered,
    /// Accepted by the shop.
    Confirmed,
    /// Being picked and packed.
    Preparing,
    /// Handed to the carrier.
    Shipped,
    /// On the last leg.
    OutForDelivery,
    /// Waiting for the shopper in a store.
    ReadyForPickup,
    /// Handed over at the door.
    Delivered,
    /// Handed over in the store.
    PickedUp,
    /// The carrier did not find anybody.
    AttemptFailed,
    /// Will be later than said.
    Delayed,
    /// Will not come.
    Cancelled,
    /// Came back.
    Returned,
}

/// How the order reaches the shopper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fulfilment {
    /// Brought to the shopper.
    Delivery,
    /// Fetched by the shopper in a store.
    Pickup,
}

/// One thing that happened to an order, as the order system tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderEvent {
    /// Names this event within the order; a repeat is harmless.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What the order became.
    pub state: OrderState,
    /// Whose order it is.
    pub shopper: ShopperId,
    /// How it reaches the shopper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fulfilment: Option<Fulfilment>,
    /// Where it waits for pick-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// When it is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// What was ordered; kept as given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<serde_json::Value>,
    /// The seller who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adviser: Option<String>,
}

/// An order as every channel shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// The newest state, by the time of its event.
    pub state: OrderState,
    /// The time of that event.
    pub at: Timestamp,
    /// How it reaches the shopper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fulfilment: Option<Fulfilment>,
    /// Where it waits for pick-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// When it is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// What was ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<serde_json::Value>,
    /// The seller who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adviser: Option<String>,
    /// Every event that was taken, by its id.
    pub events: BTreeMap<EventId, (OrderState, Timestamp)>,
}
