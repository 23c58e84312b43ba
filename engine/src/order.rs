//! The one truth about an order: its states, its history, and what each event means for the shopper.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IntoDeserializer, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use crate::{
    id::{DeviceId, EventId, OrderId, ShopperId, StoreId},
    matching::{Transition, TransitionKind},
    problem::Problem,
    shopper::Shopper,
    time::Timestamp,
    world::World,
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

/// The most lines of an order.
const LINES_MAX: usize = 200;
/// The longest line, in bytes of JSON.
const LINE_MAX: usize = 2_048;
/// The longest name of an adviser, in bytes.
const ADVISER_MAX: usize = 128;
/// The most events that are remembered of one order; the oldest go first.
const EVENTS_MAX: usize = 200;
/// The most orders that are remembered of one shopper; those without news for longest go first.
const ORDERS_MAX: usize = 200;

impl Fulfilment {
    /// The name in files and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Fulfilment::Delivery => "delivery",
            Fulfilment::Pickup => "pickup",
        }
    }
}

impl OrderEvent {
    /// What is wrong with the event.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.lines.len() > LINES_MAX {
            problems.push(Problem::new("/lines", format!("at most {LINES_MAX} lines")));
        }
        for (at, line) in self.lines.iter().take(LINES_MAX).enumerate() {
            if line.to_string().len() > LINE_MAX {
                problems.push(Problem::new(format!("/lines/{at}"), format!("at most {LINE_MAX} bytes")));
            }
        }
        if self.adviser.as_ref().is_some_and(|adviser| adviser.len() > ADVISER_MAX) {
            problems.push(Problem::new("/adviser", format!("at most {ADVISER_MAX} bytes")));
        }
        problems
    }

    fn rank(&self) -> Rank {
        (self.at, self.state, self.event.clone())
    }
}

impl Order {
    /// What each line is called: a text as it is, of an object its `name`, `title` or `sku`.
    pub fn line_names(&self) -> Vec<String> {
        let name = |line: &serde_json::Value| {
            let of_object = ["name", "title", "sku"].iter().find_map(|key| line.get(key)?.as_str());
            line.as_str().or(of_object).map(str::to_owned)
        };
        self.lines.iter().filter_map(name).collect()
    }

    /// When the shopper was told what the order is now, if that is no longer news. A delay to another time is news.
    pub(crate) fn told_already(&self) -> Option<Timestamp> {
        let told = self.told.get(&self.state)?;
        let news = self.state == OrderState::Delayed && self.eta != told.eta;
        (!news).then_some(told.at)
    }

    /// Remembers that the shopper is told what the order is now.
    pub(crate) fn tell(&mut self) {
        self.told.insert(self.state, Told { at: self.at, eta: self.eta });
    }

    /// The newest news that was told of events after this moment.
    pub(crate) fn told_after(&self, moment: Timestamp) -> Option<(OrderState, Timestamp)> {
        let told = self.told.iter().map(|(state, told)| (*state, told.at));
        told.filter(|(_, at)| *at > moment).max_by_key(|(state, at)| (*at, *state))
    }

    fn new(id: OrderId, event: &OrderEvent) -> Order {
        Order {
            id,
            state: event.state,
            at: event.at,
            fulfilment: None,
            store: None,
            eta: None,
            lines: Vec::new(),
            adviser: None,
            events: BTreeMap::new(),
            newest: None,
            sources: BTreeMap::new(),
            told: BTreeMap::new(),
            arrived: None,
        }
    }

    /// Each detail comes from the newest event that gives it, in whatever order events arrive.
    fn complete(&mut self, event: &OrderEvent) {
        let (rank, sources) = (event.rank(), &mut self.sources);
        let mut newest = |detail: &str, given: bool| {
            let newest = given && sources.get(detail).is_none_or(|known| *known < rank);
            if newest {
                sources.insert(detail.to_owned(), rank.clone());
            }
            newest
        };
        if newest("fulfilment", event.fulfilment.is_some()) {
            self.fulfilment = event.fulfilment;
        }
        if newest("store", event.store.is_some()) {
            self.store.clone_from(&event.store);
        }
        if newest("eta", event.eta.is_some()) {
            self.eta = event.eta;
        }
        if newest("lines", !event.lines.is_empty()) {
            self.lines.clone_from(&event.lines);
        }
        if newest("adviser", event.adviser.is_some()) {
            self.adviser.clone_from(&event.adviser);
        }
    }
}

/// Takes an event into a shopper's orders.
pub(crate) fn take(shopper: &mut Arc<Shopper>, id: &OrderId, event: &OrderEvent) -> Change {
    if shopper.orders.get(id).is_some_and(|order| order.events.contains_key(&event.event)) {
        return Change::Duplicate;
    }
    let orders = &mut Arc::make_mut(shopper).orders;
    let order = orders.entry(id.clone()).or_insert_with(|| Order::new(id.clone(), event));
    order.events.insert(event.event.clone(), (event.state, event.at));
    while order.events.len() > EVENTS_MAX {
        let oldest = order.events.iter().min_by_key(|(_, (_, at))| *at).map(|(id, _)| id.clone());
        oldest.and_then(|oldest| order.events.remove(&oldest));
    }
    order.complete(event);
    let rank = event.rank();
    if order.newest.as_ref().is_some_and(|newest| *newest > rank) {
        return Change::Older;
    }
    order.newest = Some(rank);
    order.state = event.state;
    order.at = event.at;
    Change::New
}

/// Forgets orders that are done for this long, and open ones without news for four times as long; never `current`.
pub(crate) fn prune(shopper: &mut Arc<Shopper>, current: &OrderId, memory: Duration, now: Timestamp) {
    let old = |order: &Order| {
        let memory = if order.state.is_final() { memory } else { memory.saturating_mul(4) };
        order.id != *current && now.since(order.at) > memory
    };
    if shopper.orders.len() <= ORDERS_MAX && !shopper.orders.values().any(old) {
        return;
    }
    let orders = &mut Arc::make_mut(shopper).orders;
    orders.retain(|_, order| !old(order));
    while orders.len() > ORDERS_MAX {
        let others = orders.values().filter(|order| order.id != *current);
        let Some(oldest) = others.min_by_key(|order| order.at).map(|order| order.id.clone()) else { return };
        orders.remove(&oldest);
    }
}

/// The orders that a shopper comes for with this transition. Approaching and entering are each announced once a
/// visit, and not again by a second phone or a second fence of the store.
pub(crate) fn arrivals(
    world: &World,
    shopper: &mut Arc<Shopper>,
    transition: &Transition,
    now: Timestamp,
) -> Vec<Arrival> {
    if shopper.orders.is_empty() || !matches!(transition.kind, TransitionKind::Approach | TransitionKind::Enter) {
        return Vec::new();
    }
    let of_fence = || world.regions.get(&transition.region).and_then(|fence| fence.store.clone());
    let Some(store) = transition.store.clone().or_else(of_fence) else { return Vec::new() };
    let pause = world.settings.marketing.arrival_pause;
    let announced = |order: &Order| {
        order.arrived.is_some_and(|arrived| {
            let covers = arrived.transition == TransitionKind::Enter || arrived.transition == transition.kind;
            covers && now.since(arrived.at) < pause
        })
    };
    let waits = |order: &Order| order.state == OrderState::ReadyForPickup && order.store.as_ref() == Some(&store);
    let ids: Vec<OrderId> =
        shopper.orders.values().filter(|order| waits(order) && !announced(order)).map(|order| order.id.clone()).collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let shopper = Arc::make_mut(shopper);
    let mut arrivals = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(order) = shopper.orders.get_mut(&id) else { continue };
        order.arrived = Some(Arrived { transition: transition.kind, at: now });
        arrivals.push(Arrival {
            order: id,
            store: store.clone(),
            shopper: shopper.id.clone(),
            device: transition.device.clone(),
            at: transition.at,
            transition: transition.kind,
            lines: order.lines.clone(),
            adviser: order.adviser.clone(),
        });
    }
    arrivals
}

#[cfg(test)]
mod tests;
