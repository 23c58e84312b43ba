//! What each event means for an order, in whatever order events arrive, and who comes for one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Arrival, Arrived, Change, Order, OrderEvent, OrderState, Rank, Told};
use crate::{
    decide::Suppression,
    id::OrderId,
    matching::{Transition, TransitionKind},
    notification::{Notification, Purpose},
    problem::Problem,
    shopper::Shopper,
    time::Timestamp,
    world::World,
};

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

    /// Remembers what the shopper is told of what the order is now.
    pub(crate) fn tell(&mut self, messages: &[&Notification]) {
        let Some((_, _, event)) = &self.newest else { return };
        if messages.is_empty() {
            return;
        }
        self.notifications.insert(event.clone(), messages.iter().map(|message| message.id).collect());
        let known = self.told.get(&self.state);
        let told_before = known.is_some_and(|known| !known.offer_only && known.eta == self.eta);
        let offer_only = !told_before && messages.iter().all(|message| message.purpose() == Some(Purpose::Offer));
        self.told.insert(self.state, Told { at: self.at, eta: self.eta, offer_only });
    }

    /// The newest news that was told of events after this moment.
    pub(crate) fn told_after(&self, moment: Timestamp) -> Option<(OrderState, Timestamp)> {
        let news = self.told.iter().filter(|(_, told)| !told.offer_only);
        let told = news.map(|(state, told)| (*state, told.at));
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
            notifications: BTreeMap::new(),
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

/// "Each state is told once." A delay to another time is news; an offer is not the news.
pub(crate) fn already_told(order: &Order, purpose: Purpose) -> Option<Suppression> {
    let told = order.told.get(&order.state).filter(|told| purpose == Purpose::Offer || !told.offer_only)?;
    let news = order.state == OrderState::Delayed && order.eta != told.eta;
    (!news).then_some(Suppression::AlreadyTold { state: order.state, at: told.at })
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
        let Some(oldest) = oldest else { break };
        order.events.remove(&oldest);
        order.notifications.remove(&oldest);
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
    let of_region = || world.region(&transition.region).and_then(|region| region.store.clone());
    let Some(store) = transition.store.clone().or_else(of_region) else { return Vec::new() };
    let pause = world.settings.marketing.arrival_pause;
    let announced = |order: &Order| {
        order.arrived.is_some_and(|arrived| {
            let covers = arrived.transition == TransitionKind::Enter || arrived.transition == transition.kind;
            covers && now.since(arrived.at) < pause
        })
    };
    let waits = |order: &Order| order.state == OrderState::ReadyForPickup && order.store.as_ref() == Some(&store);
    let ids: Vec<OrderId> = shopper
        .orders
        .values()
        .filter(|order| waits(order) && !announced(order))
        .map(|order| order.id.clone())
        .collect();
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
