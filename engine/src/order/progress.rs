//! How far an order is, in steps that a bar can show. From the order alone: the way that events took does not matter.

use super::{Fulfilment, Order, OrderState};

/// How far an order is, and how many steps there are.
///
/// | state | delivery, of 5 | pick-up, of 4 |
/// |---|--:|--:|
/// | registered | 0 | 0 |
/// | confirmed | 1 | 1 |
/// | preparing | 2 | 2 |
/// | shipped | 3 | 2: to the store |
/// | `out_for_delivery` | 4 | 2: to the store |
/// | `ready_for_pickup` | 4: at a pick-up point | 3 |
/// | delivered, `picked_up` | 5 | 4 |
///
/// The others are no steps: they keep the one that was reached before them. An order whose fulfilment nobody has told is
/// fetched if it names a store.
pub(crate) fn progress(order: &Order) -> (u8, u8) {
    let inferred = if order.store.is_some() { Fulfilment::Pickup } else { Fulfilment::Delivery };
    let fulfilment = order.fulfilment.unwrap_or(inferred);
    let steps = match fulfilment {
        Fulfilment::Delivery => 5,
        Fulfilment::Pickup => 4,
    };
    let reached = || {
        let walked =
            order.events.iter().filter_map(|(id, (state, at))| Some(((at, state, id), step(fulfilment, *state)?)));
        walked.max_by_key(|(rank, _)| *rank).map(|(_, step)| step)
    };
    (step(fulfilment, order.state).or_else(reached).unwrap_or(0), steps)
}

/// The step that a state is, if it is on the normal way.
fn step(fulfilment: Fulfilment, state: OrderState) -> Option<u8> {
    let (delivery, pickup) = match state {
        OrderState::Registered => (0, 0),
        OrderState::Confirmed => (1, 1),
        OrderState::Preparing => (2, 2),
        OrderState::Shipped => (3, 2),
        OrderState::OutForDelivery => (4, 2),
        OrderState::ReadyForPickup => (4, 3),
        OrderState::Delivered | OrderState::PickedUp => (5, 4),
        OrderState::AttemptFailed | OrderState::Delayed | OrderState::Cancelled | OrderState::Returned => return None,
    };
    Some(match fulfilment {
        Fulfilment::Delivery => delivery,
        Fulfilment::Pickup => pickup,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{decide, fixture::*, order::OrderEvent};

    const DELIVERY: [&str; 6] = ["registered", "confirmed", "preparing", "shipped", "out_for_delivery", "delivered"];
    const PICKUP: [&str; 6] = ["registered", "confirmed", "preparing", "shipped", "ready_for_pickup", "picked_up"];

    /// How far the order is after each of these states, an hour apart.
    fn steps(fulfilment: Fulfilment, states: &[&str]) -> Vec<(u8, u8)> {
        let (world, mut shopper) = (world(Vec::new()), shopper("C-1"));
        let id = "O-1".parse().expect("an id");
        let taken = states.iter().enumerate().map(|(hour, state)| {
            let when = at(NOON).plus(hours(hour as u64));
            let fulfilment = Some(fulfilment);
            let event = OrderEvent { at: when, fulfilment, ..event(&format!("E-{hour}"), NOON, state) };
            decide::order(&world, &mut shopper, &id, &event, when);
            progress(&Arc::clone(&shopper).orders[&id])
        });
        taken.collect()
    }

    #[test]
    fn the_normal_way_goes_up_and_to_the_end() {
        assert_eq!(steps(Fulfilment::Delivery, &DELIVERY), [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
        assert_eq!(steps(Fulfilment::Pickup, &PICKUP), [(0, 4), (1, 4), (2, 4), (2, 4), (3, 4), (4, 4)]);
    }

    #[test]
    fn what_goes_wrong_keeps_the_step_that_was_reached() {
        let states = ["shipped", "delayed", "out_for_delivery", "attempt_failed", "delayed", "returned"];
        let reached: Vec<u8> = steps(Fulfilment::Delivery, &states).into_iter().map(|(step, _)| step).collect();
        assert_eq!(reached, [3, 3, 4, 4, 4, 4]);
        assert_eq!(steps(Fulfilment::Pickup, &["cancelled"]), [(0, 4)], "nothing was reached");
    }
}
