//! Tests of [`super`]: one order after the other; random histories stand in `histories`.

mod histories;

use std::time::Duration;

use super::*;
use crate::{
    change::{
        live::{Report, Token, report},
        remove_target,
    },
    decide::{self, OrderTaken, Wanted, address},
    fixture::*,
    notification::{Address, Channel},
    order::{Change, OrderEvent},
    shopper::ApnsEnvironment,
};

const TOPIC: &str = "com.example.shop";
const ALL: &str = r#"["registered","confirmed","shipped","out_for_delivery","delivered","cancelled","returned"]"#;

fn id() -> OrderId {
    "O-1".parse().expect("an id")
}

fn phone() -> DeviceId {
    "phone".parse().expect("an id")
}

fn apns(token: &str) -> PushTarget {
    PushTarget::Apns { token: token.into(), topic: TOPIC.into(), environment: ApnsEnvironment::Sandbox }
}

fn live_target(token: &str) -> PushTarget {
    let topic = format!("{TOPIC}.push-type.liveactivity");
    PushTarget::Apns { token: token.into(), topic: topic.into(), environment: ApnsEnvironment::Sandbox }
}

fn token(token: &str) -> Token {
    Token { token: token.to_owned() }
}

/// A shopper with an iPhone whose app has reported a start token.
fn iphone() -> Arc<Shopper> {
    let mut shopper = shopper("C-1");
    Arc::make_mut(&mut shopper).devices.get_mut("phone").expect("a phone").target = Some(apns("d0"));
    tell(&mut shopper, Report::Start(token("a0")), at(NOON));
    shopper
}

/// A shopper with an Android phone whose app draws progress.
fn android() -> Arc<Shopper> {
    let mut shopper = shopper("C-1");
    let device = Arc::make_mut(&mut shopper).devices.get_mut("phone").expect("a phone");
    device.live = Some(Box::new(crate::shopper::Following { progress: true, ..Default::default() }));
    shopper
}

fn tell(shopper: &mut Arc<Shopper>, said: Report, now: Timestamp) {
    report(Arc::make_mut(shopper), &phone(), &said, now).expect("it can be of use");
}

/// So many minutes after noon.
fn minute(minutes: u64) -> Timestamp {
    at(NOON).plus(Duration::from_secs(minutes * 60))
}

fn becomes(state: &str, minutes: u64) -> OrderEvent {
    OrderEvent { at: minute(minutes), ..event(&format!("E-{minutes}"), NOON, state) }
}

fn take(world: &World, shopper: &mut Arc<Shopper>, event: &OrderEvent) -> OrderTaken {
    decide::order(world, shopper, &id(), event, event.at)
}

/// What an event leads to: a letter for each message, `s`, `u` or `e` for what happens to an activity, `p` for a plain
/// one; in capitals if it has words.
fn forms(taken: &OrderTaken) -> String {
    taken.decisions.iter().filter_map(|it| it.verdict.message()).map(form).collect()
}

fn form(message: &Notification) -> char {
    match &message.body {
        Body::Live(live) => {
            let letter = live.event.name().chars().next().expect("a name");
            if live.alert.is_some() { letter.to_ascii_uppercase() } else { letter }
        }
        Body::Content(_) | Body::Custom(_) | Body::Fact(_) => 'P',
    }
}

fn live_of(message: &Notification) -> Live {
    let Body::Live(live) = &message.body else { panic!("not to be shown all the time: {message:?}") };
    live.as_ref().clone()
}

fn activity(shopper: &Shopper) -> &Activity {
    &shopper.devices.get("phone").and_then(|device| device.live.as_ref()).expect("it follows").orders[&id()]
}

#[test]
fn one_activity_leads_an_order_from_its_registration_to_the_door() {
    let world = world(vec![news("n", r#"["registered","shipped","delivered"]"#)]);
    let mut shopper = iphone();
    let registered = take(&world, &mut shopper, &becomes("registered", 0));
    let start = message(&registered.decisions);
    assert_eq!((forms(&registered), start.channel), ("S".to_owned(), Channel::Apns));
    assert_eq!(live_of(&start).alert.expect("words").title, "Order O-1");
    assert_eq!(registered.notifications, [start.id]);
    assert_eq!(address(&shopper, &start), Some(Address::Target(live_target("a0"))));
    assert_eq!(take(&world, &mut shopper, &becomes("registered", 0)).change, Change::Duplicate);

    assert_eq!(forms(&take(&world, &mut shopper, &becomes("confirmed", 10))), "", "nobody can say so yet");
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(11));
    let late = catch_up(&world, &mut shopper, (&phone(), &id()), minute(11)).expect("it has moved on");
    let late = late.verdict.message().expect("a message").clone();
    assert_eq!((form(&late), live_of(&late).state.state, late.content()), ('u', OrderState::Confirmed, None));
    assert_eq!(address(&shopper, &late), Some(Address::Target(live_target("b0"))));
    assert_eq!(late.campaign().map(ToString::to_string).as_deref(), Some("n"), "in the name of who began it");

    let shipped = take(&world, &mut shopper, &becomes("shipped", 20));
    let silent = take(&world, &mut shopper, &becomes("out_for_delivery", 30));
    assert_eq!((forms(&shipped).as_str(), forms(&silent).as_str()), ("U", "u"));
    let (shipped, silent) = (live_of(&message(&shipped.decisions)), live_of(&message(&silent.decisions)));
    assert_eq!((shipped.urgent, silent.urgent), (false, true), "what is key is told at once");
    assert_eq!((shipped.state.step, silent.state.step, silent.state.steps), (3, 4, 5));
    assert_eq!(silent.stale_at, Some(minute(30).plus(hours(4))));

    let delivered = take(&world, &mut shopper, &becomes("delivered", 40));
    let end = live_of(&message(&delivered.decisions));
    assert_eq!((end.event, end.dismiss_at, end.stale_at), (LiveEvent::End, Some(minute(40).plus(hours(4))), None));
    assert!(end.alert.is_some() && activity(&shopper).is_over());
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("returned", 50))), "", "nothing after the end");
    let told: Vec<OrderState> = shopper.orders[&id()].told.keys().copied().collect();
    assert_eq!(told, [OrderState::Registered, OrderState::Shipped, OrderState::Delivered]);
}

#[test]
fn until_the_app_has_reported_its_token_news_are_plain() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    let mut go = |state, minutes| forms(&take(&world, &mut shopper, &becomes(state, minutes)));
    assert_eq!([go("registered", 0), go("shipped", 5), go("delivered", 9)], ["S", "P", "P"]);
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(10));
    let ends = catch_up(&world, &mut shopper, (&phone(), &id()), minute(10)).expect("it is done");
    assert_eq!(ends.verdict.message().map(form), Some('e'));
    assert_eq!(catch_up(&world, &mut shopper, (&phone(), &id()), minute(11)), None, "once");
}

#[test]
fn a_done_order_begins_nothing_and_without_a_start_token_all_is_plain() {
    let world = world(vec![news("n", ALL)]);
    let mut done = iphone();
    assert_eq!(forms(&take(&world, &mut done, &becomes("delivered", 0))), "P");
    let mut old = iphone();
    tell(&mut old, Report::NoStart, minute(0));
    assert_eq!(old.devices.get("phone").map(|device| device.live.is_none()), Some(true));
    assert_eq!(forms(&take(&world, &mut old, &becomes("registered", 0))), "P");
    let off = Settings { enabled: false, ..Settings::default() };
    let settings = crate::world::Settings { live: off, ..Default::default() };
    let off = World { settings: Arc::new(settings), ..world };
    assert_eq!(forms(&take(&off, &mut iphone(), &becomes("registered", 0))), "P");
}

#[test]
fn an_activity_that_the_app_began_is_changed_and_ended() {
    let world = world(vec![news("n", r#"["shipped","delivered"]"#)]);
    let mut shopper = iphone();
    tell(&mut shopper, Report::NoStart, minute(0));
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(0));
    assert_eq!(catch_up(&world, &mut shopper, (&phone(), &id()), minute(0)), None, "the order is not known yet");
    let mut go = |state, minutes| forms(&take(&world, &mut shopper, &becomes(state, minutes)));
    assert_eq!([go("registered", 1), go("shipped", 2), go("cancelled", 3)], ["u", "U", "e"]);
    let nobody = crate::fixture::world(Vec::new());
    let mut shopper = iphone();
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(0));
    assert_eq!(forms(&take(&nobody, &mut shopper, &becomes("shipped", 1))), "", "there is no one to say it");
}

#[test]
fn an_android_app_gets_every_event_to_draw() {
    let world = world(vec![news("n", r#"["shipped","delivered"]"#)]);
    let mut shopper = android();
    let mut go = |state, minutes| forms(&take(&world, &mut shopper, &becomes(state, minutes)));
    let forms = [go("registered", 0), go("shipped", 1), go("out_for_delivery", 2), go("delivered", 3)];
    assert_eq!(forms, ["s", "U", "u", "E"]);
    let taken = take(&world, &mut shopper, &becomes("returned", 4));
    assert_eq!(taken.decisions, [], "nothing after the end");
    let only = news("n", r#"["shipped"]"#);
    let mut spec = only.spec.clone();
    spec.audience = Some(serde_json::from_str(r#"{"segment":"gold"}"#).expect("well formed"));
    let for_gold = crate::fixture::world(vec![Arc::new(Campaign::compile(spec).expect("sound"))]);
    assert_eq!(super::tests::forms(&take(&for_gold, &mut android(), &becomes("registered", 0))), "", "for others only");
}

#[test]
fn what_begins_begins_where_news_are_read_and_goes_on_there() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = android();
    let tablet: DeviceId = "tablet".parse().expect("an id");
    let mut other = device("t2", "2026-11-20T00:00:00Z");
    other.live.clone_from(&shopper.devices.get("phone").expect("there").live);
    Arc::make_mut(&mut shopper).devices.insert(tablet.clone(), other);
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("registered", 0))), "S", "on the phone alone");
    Arc::make_mut(&mut shopper).devices.get_mut("tablet").expect("there").preferred = true;
    let both = take(&world, &mut shopper, &becomes("shipped", 1));
    let on: Vec<_> = both.decisions.iter().filter_map(|it| it.verdict.message()).collect();
    assert_eq!((form(on[0]), on[0].device()), ('S', Some(&tablet)), "told once, where it is preferred");
    assert_eq!((form(on[1]), on[1].device()), ('u', Some(&phone())), "and shown where it was begun");
}

#[test]
fn consent_that_is_withdrawn_freezes_what_is_shown() {
    let world = world(vec![news("n", r#"["registered"]"#)]);
    let mut shopper = iphone();
    take(&world, &mut shopper, &becomes("registered", 0));
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(1));
    let waiting = message(&take(&world, &mut shopper, &becomes("shipped", 2)).decisions);
    assert_eq!(decide::still_wanted(&world, &shopper, &waiting, minute(2)), Wanted::Yes);
    let yes = Arc::make_mut(&mut shopper).profile.consents.orders.take();
    let refused = decide::still_wanted(&world, &shopper, &waiting, minute(2));
    assert!(matches!(refused, Wanted::No(Suppression::NoConsent { .. })), "{refused:?}");
    let taken = take(&world, &mut shopper, &becomes("out_for_delivery", 3));
    assert_eq!(verdicts(&taken.decisions)["n"], "no_consent");
    assert_eq!(activity(&shopper).shown.as_ref().map(|it| it.state), Some(OrderState::Shipped));
    Arc::make_mut(&mut shopper).profile.consents.orders = yes;
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("out_for_delivery", 4))), "u");
}

#[test]
fn what_is_superseded_is_dropped_without_words_and_told_plainly_with_them() {
    let world = world(vec![news("n", r#"["registered","shipped"]"#)]);
    let mut shopper = iphone();
    let start = message(&take(&world, &mut shopper, &becomes("registered", 0)).decisions);
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(1));
    assert_eq!(address(&shopper, &start), Some(Address::Target(apns("d0"))), "the app was faster: nothing to begin");
    let silent = message(&take(&world, &mut shopper, &becomes("confirmed", 2)).decisions);
    let words = message(&take(&world, &mut shopper, &becomes("shipped", 3)).decisions);
    let moved = decide::still_wanted(&world, &shopper, &silent, minute(3));
    let expected = Suppression::OrderMovedOn { state: OrderState::Shipped, at: minute(3) };
    assert_eq!(moved, Wanted::No(expected));
    take(&world, &mut shopper, &becomes("out_for_delivery", 4));
    assert_eq!(
        decide::still_wanted(&world, &shopper, &words, minute(4)),
        Wanted::Yes,
        "nobody has told anything newer"
    );
    assert_eq!(address(&shopper, &words), Some(Address::Target(apns("d0"))), "the activity does not go back");
    assert_eq!(address(&shopper, &silent), None);
}

#[test]
fn a_beginning_outlives_newer_news_but_not_the_end() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    let start = message(&take(&world, &mut shopper, &becomes("registered", 0)).decisions);
    take(&world, &mut shopper, &becomes("confirmed", 1));
    assert_eq!(decide::still_wanted(&world, &shopper, &start, minute(1)), Wanted::Yes);
    assert_eq!(address(&shopper, &start), Some(Address::Target(live_target("a0"))));
    take(&world, &mut shopper, &becomes("cancelled", 2));
    let moved = decide::still_wanted(&world, &shopper, &start, minute(2));
    assert!(matches!(moved, Wanted::No(Suppression::OrderMovedOn { .. })), "{moved:?}");
    assert_eq!(address(&shopper, &start), Some(Address::Target(apns("d0"))));
}

#[test]
fn a_gone_token_leaves_words_to_the_device_and_the_shopper_in_peace() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    take(&world, &mut shopper, &becomes("registered", 0));
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(10));
    let words = message(&take(&world, &mut shopper, &becomes("shipped", 20)).decisions);
    let gone = |shopper: &mut Arc<Shopper>, token: &str, since| {
        remove_target(Arc::make_mut(shopper), &phone(), &live_target(token), since, minute(30))
    };
    assert!(!gone(&mut shopper, "b0", Some(minute(9))), "reported since then");
    assert!(!gone(&mut shopper, "b1", None), "not that one");
    assert!(gone(&mut shopper, "b0", Some(minute(21))));
    assert_eq!(address(&shopper, &words), Some(Address::Target(apns("d0"))));
    assert!(shopper.devices.get("phone").is_some_and(|device| device.target.is_some()), "the device itself is there");
    let mut later = shopper.clone();
    assert_eq!(forms(&take(&world, &mut later, &becomes("out_for_delivery", 40))), "P", "put away is put away");
    tell(&mut shopper, Report::Activity(id(), token("b2")), minute(50));
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("out_for_delivery", 60))), "U", "the app has begun another");
    let long_after = minute(60 * 9);
    assert!(remove_target(Arc::make_mut(&mut shopper), &phone(), &live_target("b2"), Some(long_after), long_after));
    let again = OrderEvent { at: long_after, ..event("E-again", NOON, "confirmed") };
    assert_eq!(forms(&take(&world, &mut shopper, &again)), "S", "iOS ended it, which is not the shopper's wish");
}

#[test]
fn a_gone_start_token_takes_along_what_it_may_never_have_begun() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    let start = message(&take(&world, &mut shopper, &becomes("registered", 0)).decisions);
    assert!(remove_target(Arc::make_mut(&mut shopper), &phone(), &live_target("a0"), None, minute(1)));
    assert_eq!(address(&shopper, &start), Some(Address::Target(apns("d0"))));
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("confirmed", 2))), "P");
    tell(&mut shopper, Report::Start(token("a1")), minute(3));
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("shipped", 4))), "S");
}

#[test]
fn what_the_shopper_put_away_is_neither_changed_nor_begun_again() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    take(&world, &mut shopper, &becomes("registered", 0));
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(1));
    tell(&mut shopper, Report::Dismissed(id()), minute(2));
    tell(&mut shopper, Report::Dismissed("O-9".parse().expect("an id")), minute(2));
    assert_eq!(forms(&take(&world, &mut shopper, &becomes("shipped", 3))), "P");
}

#[test]
fn urgent_changes_have_a_budget() {
    let world = world(vec![news("n", r#"["registered"]"#)]);
    let mut shopper = iphone();
    take(&world, &mut shopper, &becomes("registered", 0));
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(0));
    let mut urgent = |minutes: u64| {
        let eta = Some(minute(500 + minutes));
        let taken = take(&world, &mut shopper, &OrderEvent { eta, ..becomes("delayed", minutes) });
        let live = live_of(&message(&taken.decisions));
        assert_eq!(live.stale_at, eta, "until then it is as good as new");
        live.urgent
    };
    let first: Vec<bool> = (1..8).map(&mut urgent).collect();
    assert_eq!(first, [true, true, true, true, true, false, false], "the beginning was one of six");
    assert_eq!((urgent(59), urgent(60), urgent(61)), (false, true, true), "an hour later");
}

#[test]
fn a_late_event_shows_what_it_completes_and_tells_nobody() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    take(&world, &mut shopper, &becomes("shipped", 10));
    tell(&mut shopper, Report::Activity(id(), token("b0")), minute(11));
    let now = minute(20);
    let older = take_at(&world, &mut shopper, &becomes("confirmed", 5), now);
    assert_eq!((older.change, forms(&older)), (Change::Older, String::new()));
    let with_eta = OrderEvent { eta: Some(minute(600)), ..becomes("preparing", 6) };
    let older = take_at(&world, &mut shopper, &with_eta, now);
    assert_eq!((older.change, forms(&older)), (Change::Older, "u".to_owned()));
    let shown = live_of(&message(&older.decisions)).state;
    assert_eq!((shown.state, shown.eta, shown.at), (OrderState::Shipped, Some(minute(600)), minute(10)));
    let again = take_at(&world, &mut shopper, &with_eta, now);
    assert_eq!((again.change, again.notifications), (Change::Duplicate, older.notifications));
}

fn take_at(world: &World, shopper: &mut Arc<Shopper>, event: &OrderEvent, now: Timestamp) -> OrderTaken {
    decide::order(world, shopper, &id(), event, now)
}

#[test]
fn twenty_orders_are_shown_and_those_that_are_over_make_room() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    let mut go = |order: usize, state: &str, minutes| {
        let id = format!("O-{order}").parse().expect("an id");
        let event = becomes(state, minutes);
        forms(&decide::order(&world, &mut shopper, &id, &event, event.at))
    };
    let begun: String = (0..22).map(|order| go(order, "registered", 0)).collect();
    assert_eq!(begun, "S".repeat(20) + "PP");
    tell(&mut shopper, Report::Dismissed("O-3".parse().expect("an id")), minute(1));
    let event = becomes("registered", 2);
    let id = "O-30".parse().expect("an id");
    assert_eq!(forms(&decide::order(&world, &mut shopper, &id, &event, event.at)), "S");
    let shown = shopper.devices.get("phone").and_then(|device| device.live.as_ref()).expect("it follows");
    assert!(shown.orders.len() == 20 && !shown.orders.contains_key("O-3"));
}

#[test]
fn what_is_shown_of_a_forgotten_order_is_forgotten() {
    let world = world(vec![news("n", ALL)]);
    let mut shopper = iphone();
    take(&world, &mut shopper, &becomes("registered", 0));
    let later = at(NOON).plus(hours(24 * 400));
    let event = OrderEvent { at: later, ..event("E", NOON, "shipped") };
    decide::order(&world, &mut shopper, &"O-2".parse().expect("an id"), &event, later);
    let live = shopper.devices.get("phone").and_then(|device| device.live.as_ref()).expect("it follows");
    assert_eq!(live.orders.keys().map(OrderId::as_str).collect::<Vec<_>>(), ["O-2"]);
}
