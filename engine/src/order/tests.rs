//! Tests of [`super`].

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    decide::{self, Budgets, Verdict},
    fixture::*,
    matching::Transition,
    shopper::Shopper,
    world::World,
};

fn id() -> OrderId {
    "O-1".parse().expect("an id")
}

fn told(world: &World, shopper: &mut Arc<Shopper>, event: &OrderEvent) -> (Change, Vec<&'static str>) {
    let taken = decide::order(world, shopper, &id(), event, event.at);
    (taken.change, verdicts(&taken.decisions).into_values().collect())
}

fn ready(store: &str) -> OrderEvent {
    OrderEvent {
        store: Some(store.parse().expect("an id")),
        lines: vec!["Lamp".into(), serde_json::json!({"name": "Table"})],
        adviser: Some("Aicha".to_owned()),
        ..event("E-ready", NOON, "ready_for_pickup")
    }
}

#[test]
fn a_clock_that_is_ahead_does_not_silence_an_order() {
    let world = world(vec![news("n", r#"["shipped","delivered"]"#)]);
    let mut shopper = shopper("C-1");
    let ahead = event("E-1", "2026-11-22T12:00:00+01:00", "shipped");
    let first = decide::order(&world, &mut shopper, &id(), &ahead, at(NOON));
    assert_eq!(message(&first.decisions).observed_at, at(NOON));
    let later = event("E-2", "2026-11-21T13:00:00+01:00", "delivered");
    assert_eq!(told(&world, &mut shopper, &later), (Change::New, vec!["send"]));
}

#[test]
fn each_state_is_told_once() {
    let world = world(vec![news("n", r#"["registered","shipped"]"#)]);
    let mut shopper = shopper("C-1");
    let first = event("E-1", "2026-11-21T12:00:00Z", "shipped");
    assert_eq!(told(&world, &mut shopper, &first), (Change::New, vec!["send"]));
    let before = shopper.clone();
    assert_eq!(told(&world, &mut shopper, &first), (Change::Duplicate, vec![]));
    assert_eq!(shopper, before);
    let again = event("E-2", "2026-11-21T13:00:00Z", "shipped");
    assert_eq!(told(&world, &mut shopper, &again), (Change::New, vec!["already_told"]));
    let older = event("E-0", "2026-11-21T11:00:00Z", "registered");
    assert_eq!(told(&world, &mut shopper, &older), (Change::Older, vec![]));
    let order = &shopper.orders[&id()];
    assert_eq!((order.state, order.events.len()), (OrderState::Shipped, 3));
}

#[test]
fn a_delay_is_told_again_when_it_names_another_time() {
    let world = world(vec![news("n", r#""delayed""#)]);
    let mut shopper = shopper("C-1");
    let delayed = |name: &str, when: &str, eta: &str| OrderEvent { eta: Some(at(eta)), ..event(name, when, "delayed") };
    let (monday, tuesday) = ("2026-11-23T18:00:00Z", "2026-11-24T18:00:00Z");
    let mut tell = |event: OrderEvent| told(&world, &mut shopper, &event).1;
    assert_eq!(tell(delayed("E-1", "2026-11-21T12:00:00Z", monday)), ["send"]);
    assert_eq!(tell(delayed("E-2", "2026-11-21T13:00:00Z", monday)), ["already_told"]);
    assert_eq!(tell(delayed("E-3", "2026-11-21T14:00:00Z", tuesday)), ["send"]);
}

#[test]
fn two_delays_of_one_time_are_two_messages() {
    let world = world(vec![news("n", r#""delayed""#)]);
    let mut shopper = shopper("C-1");
    let mut tell = |name: &str, eta: &str| {
        let event = OrderEvent { eta: Some(at(eta)), ..event(name, NOON, "delayed") };
        message(&decide::order(&world, &mut shopper, &id(), &event, at(NOON)).decisions).id
    };
    assert_ne!(tell("E-1", "2026-11-23T18:00:00Z"), tell("E-2", "2026-11-24T18:00:00Z"));
}

#[test]
fn an_offer_about_an_order_is_not_the_news() {
    let offer = r#"{"id":"thanks","purpose":"offer","on":{"order":"delivered"},
        "content":{"en":{"title":"Thank you","body":"See you"}}}"#;
    let quiet = world(vec![news("n", r#""shipped""#), compiled(offer)]);
    let mut shopper = shopper("C-1");
    let shipped = decide::order(&quiet, &mut shopper, &id(), &event("E-1", NOON, "shipped"), at(NOON));
    let shipped = message(&shipped.decisions);
    let later = at(NOON).plus(hours(1));
    let delivered = OrderEvent { at: later, ..event("E-2", NOON, "delivered") };
    assert_eq!(told(&quiet, &mut shopper, &delivered).1, ["send"]);
    assert_eq!(decide::still_wanted(&quiet, &shopper, &shipped, later), decide::Wanted::Yes, "older news waits on");
    let both = world(vec![news("n", r#"["shipped","delivered"]"#), compiled(offer)]);
    let again = OrderEvent { at: later.plus(hours(1)), ..event("E-3", NOON, "delivered") };
    assert_eq!(told(&both, &mut shopper, &again).1, ["send", "already_told"], "the news, and no second offer");
}

#[test]
fn a_repeat_names_the_messages_of_the_first_time() {
    let world = world(vec![news("n", r#"["shipped","delivered"]"#)]);
    let mut shopper = shopper("C-1");
    let first = decide::order(&world, &mut shopper, &id(), &event("E-1", NOON, "shipped"), at(NOON));
    assert_eq!(first.notifications, [message(&first.decisions).id]);
    let later = at(NOON).plus(hours(1));
    decide::order(&world, &mut shopper, &id(), &OrderEvent { at: later, ..event("E-2", NOON, "delivered") }, later);
    let again = decide::order(&world, &mut shopper, &id(), &event("E-1", NOON, "shipped"), later);
    assert_eq!((again.change, again.notifications), (Change::Duplicate, first.notifications));
}

#[test]
fn news_that_could_not_be_told_is_told_by_the_next_event() {
    let world = world(vec![news("n", r#""shipped""#)]);
    let mut shopper = shopper("C-1");
    let yes = Arc::make_mut(&mut shopper).profile.consents.orders.take();
    assert_eq!(told(&world, &mut shopper, &event("E-1", NOON, "shipped")).1, ["no_consent"]);
    Arc::make_mut(&mut shopper).profile.consents.orders = yes;
    let again = event("E-2", "2026-11-21T13:00:00+01:00", "shipped");
    assert_eq!(told(&world, &mut shopper, &again).1, ["send"]);
}

#[test]
fn late_news_of_an_old_event_expires() {
    let world = world(vec![news("n", r#""shipped""#)]);
    let event = event("E-1", NOON, "shipped");
    let taken = decide::order(&world, &mut shopper("C-1"), &id(), &event, at(NOON).plus(hours(73)));
    assert_eq!(verdicts(&taken.decisions)["n"], "expired");
}

#[test]
fn a_pickup_is_announced_and_explained_once_a_visit() {
    let pickup = compiled(
        r#"{"id":"welcome","purpose":"order","on":{"pickup":"enter"},"content":{"en":{
            "title":"Your order {{ order.id }} is here",
            "body":"Go to {{ store.name }}, floor {{ store.attributes.floor | default(0) }}: {{ order.lines | join(', ') }}"}}}"#,
    );
    let world = world(vec![pickup]);
    let mut shopper = shopper("C-1");
    let go = |shopper: &mut Arc<Shopper>, transition: Transition| {
        let now = transition.at;
        decide::campaigns(&world, shopper, &[transition], &mut Budgets::new(), now)
    };
    assert!(go(&mut shopper, enters("rivoli", at(NOON))).arrivals.is_empty(), "nothing is ready");
    decide::order(&world, &mut shopper, &id(), &ready("paris-1"), at(NOON));
    let elsewhere = go(&mut shopper, enters("kiosk", at(NOON)));
    assert!(elsewhere.arrivals.is_empty(), "not that store");

    let near = go(&mut shopper, transition(TransitionKind::Approach, "rivoli", at(NOON)));
    assert_eq!((near.arrivals.len(), near.decisions.len()), (1, 0), "the staff hear of the approach");
    let here = go(&mut shopper, enters("rivoli", at(NOON).plus(hours(1) / 4)));
    let [arrival] = &here.arrivals[..] else { panic!("one arrival: {here:?}") };
    assert_eq!((arrival.transition, arrival.adviser.as_deref()), (TransitionKind::Enter, Some("Aicha")));
    assert_eq!(arrival.lines.len(), 2);
    let message = message(&here.decisions);
    let content = message.content().expect("words");
    assert_eq!(content.title, "Your order O-1 is here");
    assert_eq!(content.body, "Go to Rivoli, floor 2: Lamp, Table");

    let second_phone = go(&mut shopper, enters("rivoli", at(NOON).plus(hours(1) / 3)));
    assert_eq!((second_phone.arrivals.len(), second_phone.decisions.len()), (0, 0));
    let wanted = |shopper: &Shopper| decide::still_wanted(&world, shopper, &message, at(NOON).plus(hours(1)));
    assert_eq!(wanted(&shopper), decide::Wanted::Yes, "also after leaving");
    let fetched = event("E-3", "2026-11-21T12:30:00+01:00", "picked_up");
    decide::order(&world, &mut shopper, &id(), &fetched, fetched.at);
    assert!(matches!(wanted(&shopper), decide::Wanted::No(decide::Suppression::OrderMovedOn { .. })));
}

#[test]
fn done_orders_are_forgotten_after_their_time_and_never_without_limit() {
    let world = world(Vec::new());
    let mut shopper = shopper("C-1");
    let taken = |shopper: &mut Arc<Shopper>, id: &str, state: &str, when: Timestamp| {
        let event = OrderEvent { at: when, ..event("E", NOON, state) };
        decide::order(&world, shopper, &id.parse().expect("an id"), &event, when);
    };
    taken(&mut shopper, "done", "delivered", at(NOON));
    taken(&mut shopper, "open", "shipped", at(NOON));
    taken(&mut shopper, "new", "shipped", at(NOON).plus(hours(91 * 24)));
    assert_eq!(shopper.orders.keys().map(OrderId::as_str).collect::<Vec<_>>(), ["new", "open"]);
    for count in 0..300 {
        taken(&mut shopper, &format!("many-{count}"), "shipped", at(NOON).plus(hours(92 * 24 + count)));
    }
    assert_eq!(shopper.orders.len(), 200);
    for count in 0..300 {
        let event = event(&format!("E-{count}"), NOON, "shipped");
        decide::order(&world, &mut shopper, &id(), &event, at(NOON).plus(hours(92 * 24)));
    }
    assert_eq!(shopper.orders[&id()].events.len(), 200);
}

fn any_event() -> impl Strategy<Value = OrderEvent> {
    let states = prop::sample::select(OrderState::ALL.to_vec());
    let store = prop::option::of(prop::sample::select(vec!["paris-1", "lyon-1"]));
    (0_u64..6, states, store, prop::option::of(0_u64..9), any::<bool>()).prop_map(
        |(hour, state, store, eta, adviser)| OrderEvent {
            at: at(NOON).plus(hours(hour)),
            state,
            store: store.map(|store| store.parse().expect("an id")),
            eta: eta.map(|hour| at(NOON).plus(hours(hour))),
            adviser: adviser.then(|| format!("adviser {hour}")),
            ..event("E", NOON, "shipped")
        },
    )
}

proptest! {
    #[test]
    fn events_in_any_order_give_the_same_order(
        events in prop::collection::vec(any_event(), 1..12),
        seed in prop::collection::vec(any::<u32>(), 12),
    ) {
        let named: Vec<OrderEvent> = events.into_iter().enumerate().map(|(at, event)| OrderEvent {
            event: format!("E-{at}").parse().expect("an id"),
            ..event
        }).collect();
        let mut shuffled: Vec<(u32, OrderEvent)> = seed.into_iter().zip(named.clone()).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        let world = world(Vec::new());
        let run = |events: Vec<OrderEvent>| {
            let mut shopper = shopper("C-1");
            for event in events {
                decide::order(&world, &mut shopper, &id(), &event, at(NOON).plus(hours(9)));
            }
            shopper.orders[&id()].clone()
        };
        prop_assert_eq!(run(named), run(shuffled.into_iter().map(|(_, event)| event).collect()));
    }

    #[test]
    fn no_state_is_told_twice(events in prop::collection::vec(any_event(), 1..12)) {
        let all = serde_json::to_string(&OrderState::ALL).expect("serialises");
        let world = world(vec![news("n", &all)]);
        let mut shopper = shopper("C-1");
        let mut told = Vec::new();
        for (count, event) in events.into_iter().enumerate() {
            let event = OrderEvent { event: format!("E-{count}").parse().expect("an id"), ..event };
            for decision in decide::order(&world, &mut shopper, &id(), &event, at(NOON).plus(hours(6))).decisions {
                if matches!(decision.verdict, Verdict::Send(_)) {
                    prop_assert!(event.state == OrderState::Delayed || !told.contains(&event.state));
                    told.push(event.state);
                }
            }
        }
    }
}
