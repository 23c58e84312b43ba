//! What an order event means for its shopper: who is told by words, and what phones show of it.

use std::sync::Arc;

use super::{
    Budgets, Decision, OrderTaken,
    contest::{contest, refuse},
    live,
    message::Round,
};
use crate::{
    id::{NotificationId, OrderId},
    notification::{Notification, Purpose},
    order::{self, Change, Order, OrderEvent},
    shopper::Shopper,
    time::Timestamp,
    world::World,
};

/// Takes an order event into the shopper's orders and decides who is to be told. A time to come is taken as now: it would
/// make everything that really happens until then look old.
///
/// An older event tells nobody. What it completes is shown, on phones that show the order.
pub fn order(
    world: &World,
    shopper: &mut Arc<Shopper>,
    order: &OrderId,
    event: &OrderEvent,
    now: Timestamp,
) -> OrderTaken {
    let event = &OrderEvent { at: event.at.min(now), ..event.clone() };
    let change = order::take(shopper, order, event);
    if change == Change::Duplicate {
        let known = shopper.orders.get(order).and_then(|order| order.notifications.get(&event.event));
        return OrderTaken { change, decisions: Vec::new(), notifications: known.cloned().unwrap_or_default() };
    }
    let mut decisions = Vec::new();
    if change == Change::New {
        order::prune(shopper, order, world.settings.marketing.order_memory, now);
        let taken = shopper.orders.get(order).cloned();
        decisions = taken.map(|taken| tell(world, shopper, &taken, now)).unwrap_or_default();
    }
    live::follow(world, shopper, (order, &event.event), &mut decisions, now);
    let messages: Vec<&Notification> = decisions.iter().filter_map(|decision| decision.verdict.message()).collect();
    let notifications: Vec<NotificationId> = messages.iter().map(|message| message.id).collect();
    if !messages.is_empty()
        && let Some(taken) = Arc::make_mut(shopper).orders.get_mut(order)
    {
        let by_words: Vec<&Notification> = messages.into_iter().filter(|it| it.content().is_some()).collect();
        taken.tell(&by_words);
        taken.answer(&event.event, &notifications);
    }
    OrderTaken { change, decisions, notifications }
}

/// Decides who is told what an order has become: news and offers each once.
fn tell(world: &World, shopper: &mut Arc<Shopper>, taken: &Order, now: Timestamp) -> Vec<Decision> {
    let selected = world.campaigns.on_order(taken.state, taken.store.as_ref());
    let round = Round::of_order(world, shopper, taken, now);
    let mut decisions = Vec::with_capacity(selected.len());
    for purpose in [Purpose::Order, Purpose::Offer] {
        let selected: Vec<_> = selected.iter().filter(|it| it.spec.purpose == purpose).copied().collect();
        decisions.extend(match order::already_told(taken, purpose) {
            Some(known) => refuse(&round, &selected, &known),
            None => contest(&round, shopper, &selected, &mut Budgets::new()),
        });
    }
    decisions.sort_by_key(|decision| selected.iter().position(|it| it.spec.id == decision.campaign));
    decisions
}
