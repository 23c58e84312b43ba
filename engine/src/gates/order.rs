//! Whether a message about an order is still about what the order is.

use super::{Answer, Case, Notes};
use crate::{
    decide::Suppression,
    notification::{Cause, Live, LiveEvent},
    order::{Order, OrderState},
    time::Timestamp,
};

/// "Not once the order has moved on."
pub(super) fn order(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Some(order) = case.order else {
        notes.add(|| "about no order".to_owned());
        return Answer::Pass;
    };
    notes.add(|| format!("order {} is {} since {}", order.id, order.state.name(), order.at));
    let newer = match (case.live, case.cause) {
        (Some(live), _) => shown_since(case, order, live),
        (None, Cause::Pickup { .. }) => (order.state != OrderState::ReadyForPickup).then_some((order.state, order.at)),
        (None, Cause::Order { .. }) => order.told_after(case.observed_at),
        (None, Cause::Transition { .. }) => None,
    };
    newer.map_or(Answer::Pass, |(state, at)| Answer::Suppress(Suppression::OrderMovedOn { state, at }))
}

/// What makes something worthless that is to be shown all the time. Without words: that another state was decided to be
/// shown. With words: that newer news was told; but a beginning is wanted until the order is done, for without it there
/// would be nothing to show that news in, and an end always, for without it the order would be shown for ever.
fn shown_since(case: &Case<'_>, order: &Order, live: &Live) -> Option<(OrderState, Timestamp)> {
    if live.alert.is_some() {
        let worthless = match live.event {
            LiveEvent::Start => order.state.is_final(),
            LiveEvent::Update => true,
            LiveEvent::End => false,
        };
        return order.told_after(case.observed_at).filter(|_| worthless);
    }
    let following = case.device.and_then(|device| device.live.as_ref());
    let shown = following.and_then(|following| following.orders.get(&live.order)?.shown.as_ref());
    shown.filter(|shown| **shown != live.state).map(|shown| (shown.state, shown.at))
}
