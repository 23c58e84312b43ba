//! From transitions and order news to decisions: who is asked, who wins, what is remembered. Whether a campaign may
//! speak is said by the [`crate::gates`]; nothing is sent from here.

mod contest;
mod memory;
pub(crate) mod message;
mod result;
pub(crate) mod settings;
mod suppression;

use std::{collections::BTreeMap, sync::Arc};

pub use self::{
    result::{Decided, Decision, OrderTaken, Verdict, Wanted},
    settings::{Cap, Per, Settings},
    suppression::Suppression,
};
use crate::{
    gates::{self, Answer, Case, Gate},
    id::{CampaignId, NotificationId, OrderId},
    matching::{Transition, TransitionCause, TransitionKind},
    notification::{Notification, Origin, Purpose},
    order::{self, Change, Order, OrderEvent},
    shopper::Shopper,
    time::Timestamp,
    world::World,
};
pub(crate) use contest::outranked;
use contest::{contest, refuse};
use message::Round;

/// What may still be sent of each campaign that has a budget: the slices that this shard has leased.
pub type Budgets = BTreeMap<CampaignId, u64>;

/// Decides for all campaigns that these transitions trigger. Sends are remembered in the shopper.
pub fn campaigns(
    world: &World,
    shopper: &mut Arc<Shopper>,
    transitions: &[Transition],
    budgets: &mut Budgets,
    now: Timestamp,
) -> Decided {
    let mut decided = Decided::default();
    // Of a region that was taken out of the catalog nobody has gone.
    let happened = |transition: &Transition| !transition.replayed && transition.cause != TransitionCause::Removed;
    for (at, transition) in transitions.iter().enumerate().filter(|(_, transition)| happened(transition)) {
        let region = world.region(&transition.region);
        let selected = world.campaigns.on_transition(transition, region);
        let over = is_over(transition, &transitions[at + 1..]);
        if !selected.is_empty() {
            let round = Round::of_transition(world, shopper, transition, now);
            decided.decisions.extend(if over {
                refuse(&round, &selected, &gates::left(&transition.region))
            } else {
                contest(&round, shopper, &selected, budgets)
            });
        }
        if over {
            continue;
        }
        for arrival in order::arrivals(world, shopper, transition, now) {
            let selected = world.campaigns.on_pickup(transition.kind, &arrival.store);
            let round = Round::of_arrival(world, shopper, transition, &arrival, now);
            decided.decisions.extend(contest(&round, shopper, &selected, budgets));
            decided.arrivals.push(arrival);
        }
    }
    decided
}

/// Takes an order event into the shopper's orders and decides who is to be told. A time to come is taken as now: it would
/// make everything that really happens until then look old.
pub fn order(
    world: &World,
    shopper: &mut Arc<Shopper>,
    order: &OrderId,
    event: &OrderEvent,
    now: Timestamp,
) -> OrderTaken {
    let event = &OrderEvent { at: event.at.min(now), ..event.clone() };
    let change = order::take(shopper, order, event);
    if change != Change::New {
        let known = shopper.orders.get(order).and_then(|order| order.notifications.get(&event.event));
        return OrderTaken { change, decisions: Vec::new(), notifications: known.cloned().unwrap_or_default() };
    }
    order::prune(shopper, order, world.settings.marketing.order_memory, now);
    let decisions =
        shopper.orders.get(order).cloned().map(|taken| tell(world, shopper, &taken, now)).unwrap_or_default();
    let messages: Vec<&Notification> = decisions.iter().filter_map(|decision| decision.verdict.message()).collect();
    let notifications: Vec<NotificationId> = messages.iter().map(|message| message.id).collect();
    if !messages.is_empty()
        && let Some(taken) = Arc::make_mut(shopper).orders.get_mut(order)
    {
        taken.tell(&messages);
    }
    OrderTaken { change, decisions, notifications }
}

/// Whether a stored message is still to be sent when its turn has come. Caps, cooldown, holdout and budget were
/// settled when it was decided.
pub fn still_wanted(world: &World, shopper: &Shopper, notification: &Notification, now: Timestamp) -> Wanted {
    let (campaign, cause) = match &notification.origin {
        Origin::Campaign { campaign, cause, .. } => (world.campaigns.get(campaign), cause),
        Origin::Request { purpose, .. } => return requested(shopper, notification, *purpose, now),
        Origin::Event { .. } => return in_time(notification, now),
    };
    let Some(campaign) = campaign else { return Wanted::No(Suppression::Withdrawn) };
    let round = Round::of_notification(world, shopper, (notification, cause), now);
    let case = Case { expires_at: notification.expires_at, ..round.case(shopper, campaign, &Budgets::new()) };
    match gates::judge(&case, |gate: &Gate| gate.when_sent) {
        Answer::Pass => Wanted::Yes,
        Answer::Defer(until) => Wanted::NotBefore(until),
        Answer::Suppress(reason) => Wanted::No(reason),
    }
}

/// Whether what a back end handed in is still to be sent. For whom it names by an address it answers itself; a
/// registered device is a shopper's, and the shopper's word counts.
fn requested(shopper: &Shopper, notification: &Notification, purpose: Purpose, now: Timestamp) -> Wanted {
    if notification.device().is_some() && !shopper.profile.consents.allow(purpose) {
        return Wanted::No(gates::no_consent(gates::consent_to(purpose)));
    }
    in_time(notification, now)
}

fn in_time(notification: &Notification, now: Timestamp) -> Wanted {
    let Notification { not_before, expires_at, .. } = *notification;
    match gates::expired(expires_at, now) {
        Some(expired) => Wanted::No(expired),
        None if now < not_before => Wanted::NotBefore(not_before),
        None => Wanted::Yes,
    }
}

/// Whether the visit that a transition tells of has ended by what came along with it: a message would reach nobody
/// there, so none is decided that would count.
fn is_over(transition: &Transition, later: &[Transition]) -> bool {
    // What was heard is in order: its exits are true however old they are.
    let heard = |it: &Transition| matches!(it.cause, TransitionCause::Sighting | TransitionCause::Silence);
    let same = |it: &Transition| {
        it.device == transition.device && it.region == transition.region && it.entered_at == transition.entered_at
    };
    let ends = |it: &Transition| it.kind == TransitionKind::Exit && (!it.replayed || heard(it)) && same(it);
    matches!(transition.kind, TransitionKind::Enter | TransitionKind::Dwell) && later.iter().any(ends)
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

#[cfg(test)]
mod tests;
