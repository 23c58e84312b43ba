//! The one truth about an order: its states, its history, and what each event means for the shopper.

mod progress;
mod taking;

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IntoDeserializer, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

pub(crate) use self::{
    progress::progress,
    taking::{already_told, arrivals, prune, take},
};
use crate::{
    id::{DeviceId, EventId, NotificationId, OrderId, ShopperId, StoreId},
    matching::TransitionKind,
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

impl OrderState {
    /// Every state.
    pub const ALL: [OrderState; 12] = [
        OrderState::Registered,
        OrderState::Confirmed,
        OrderState::Preparing,
        OrderState::Shipped,
        OrderState::OutForDelivery,
        OrderState::ReadyForPickup,
        OrderState::Delivered,
        OrderState::PickedUp,
        OrderState::AttemptFailed,
        OrderState::Delayed,
        OrderState::Cancelled,
        OrderState::Returned,
    ];

    /// The name in files and in the API.
    pub fn name(self) -> &'static str {
        match self {
            OrderState::Registered => "registered",
            OrderState::Confirmed => "confirmed",
            OrderState::Preparing => "preparing",
            OrderState::Shipped => "shipped",
            OrderState::OutForDelivery => "out_for_delivery",
            OrderState::ReadyForPickup => "ready_for_pickup",
            OrderState::Delivered => "delivered",
            OrderState::PickedUp => "picked_up",
            OrderState::AttemptFailed => "attempt_failed",
            OrderState::Delayed => "delayed",
            OrderState::Cancelled => "cancelled",
            OrderState::Returned => "returned",
        }
    }

    /// Whether nothing more is expected to happen.
    pub fn is_final(self) -> bool {
        matches!(self, OrderState::Delivered | OrderState::PickedUp | OrderState::Cancelled | OrderState::Returned)
    }
}

/// One state or several: `"shipped"` or `["shipped", "delayed"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(pub Vec<OrderState>);

impl Serialize for States {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for States {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<States, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = States;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an order state or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<States, E> {
                OrderState::deserialize(text.into_deserializer()).map(|state| States(vec![state]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<States, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(States)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
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
    /// The messages that events led to, by the event's id, so that a repeat gets the same answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notifications: BTreeMap<EventId, Vec<NotificationId>>,
    /// The newest event, which the state comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Rank>,
    /// Which event each detail comes from, by the detail's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Rank>,
    /// What the shopper has been told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<OrderState, Told>,
    /// The last arrival that was announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Arrived>,
}

/// The order of events: by time; of the same time the later state; of the same state by id.
pub type Rank = (Timestamp, OrderState, EventId);

/// News that the shopper has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The time of the event.
    pub at: Timestamp,
    /// What was expected then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// Only an offer was made of it: the news itself has not been told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offer_only: bool,
}

/// An arrival that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Approach or enter.
    pub transition: TransitionKind,
    /// When.
    pub at: Timestamp,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is the newest of its order.
    New,
    /// It was taken before; nothing changed.
    Duplicate,
    /// Newer ones are known: it went into the history, and nobody is told.
    Older,
}

/// A shopper who comes for an order that is ready: news for the staff.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// The order.
    pub order: OrderId,
    /// Where it waits.
    pub store: StoreId,
    /// Who comes.
    pub shopper: ShopperId,
    /// The device that was located.
    pub device: DeviceId,
    /// When.
    pub at: Timestamp,
    /// Approach (is coming) or enter (is here).
    pub transition: TransitionKind,
    /// What was ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<serde_json::Value>,
    /// The seller who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adviser: Option<String>,
}

impl Fulfilment {
    /// The name in files and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Fulfilment::Delivery => "delivery",
            Fulfilment::Pickup => "pickup",
        }
    }
}

#[cfg(test)]
mod tests;
