//! Tests of [`super`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    fixture::*,
    id::{DeviceId, OrderId},
    matching::TransitionKind,
    schedule::{self, QuietAction, QuietHours},
    shopper::PresenceState,
};

fn quiet_nights() -> QuietHours {
    let time = |text: &str| text.parse().expect("a time");
    QuietHours { from: time("21:00"), to: time("08:00"), action: QuietAction::Defer }
}

fn wanted(world: &World, shopper: &Shopper, message: &Notification, now: Timestamp) -> &'static str {
    match still_wanted(world, shopper, message, now) {
        Wanted::Yes => "yes",
        Wanted::NotBefore(_) => "later",
        Wanted::No(reason) => reason.name(),
    }
}

#[test]
fn nothing_costs_nothing() {
    let world = world(vec![offer("c", "")]);
    let mut shopper = shopper("C-1");
    let before = Arc::as_ptr(&shopper);
    let decided = campaigns(&world, &mut shopper, &[], &mut Budgets::new(), at(NOON));
    assert_eq!((decided, Arc::as_ptr(&shopper)), (Decided::default(), before));
}

#[test]
fn the_most_important_wins_and_the_losers_are_named() {
    let refused = offer("a", r#","priority":9,"audience":{"segment":"staff"}"#);
    let world = world(vec![refused, offer("b", r#","priority":5"#), offer("c", r#","priority":5"#), offer("d", "")]);
    let mut shopper = shopper("C-1");
    let decisions = decide(&world, &mut shopper, at(NOON));
    let expected = [("a", "not_in_audience"), ("b", "send"), ("c", "outranked"), ("d", "outranked")];
    assert_eq!(verdicts(&decisions), expected.map(|(id, name)| (id.to_owned(), name)).into());
    let by = "b".parse().expect("an id");
    assert_eq!(decisions[2].verdict, Verdict::Suppress(Suppression::Outranked { by }));
    assert_eq!(shopper.sends.len(), 1);
}

#[test]
fn losers_are_judged_by_the_state_before_the_winner() {
    let cap = r#","caps":[{"count":1,"per":"day"}]"#;
    let world = world(vec![offer("a", cap), offer("b", cap)]);
    assert_eq!(verdicts(&decide(&world, &mut shopper("C-1"), at(NOON)))["b"], "outranked");
}

#[test]
fn replayed_transitions_and_removed_regions_notify_nobody() {
    let world = world(vec![offer("c", "")]);
    let replayed = Transition { replayed: true, ..enters("rivoli", at(NOON)) };
    let removed = Transition { cause: TransitionCause::Removed, ..enters("rivoli", at(NOON)) };
    let decided = campaigns(&world, &mut shopper("C-1"), &[replayed, removed], &mut Budgets::new(), at(NOON));
    assert_eq!(decided, Decided::default());
}

#[test]
fn a_visit_that_is_over_when_it_is_told_costs_nothing() {
    let pickup = compiled(
        r#"{"id":"p","purpose":"order","on":{"pickup":"enter"},"content":{"en":{"title":"Welcome","body":"It waits"}}}"#,
    );
    let world = world(vec![offer("c", r#","caps":[{"count":1,"per":"day"}]"#), pickup]);
    let mut shopper = shopper("C-1");
    let ready =
        serde_json::json!({"event":"e1","at":NOON,"state":"ready_for_pickup","shopper":"C-1","store":"paris-1"});
    let ready = serde_json::from_value(ready).expect("well formed");
    order(&world, &mut shopper, &"o-1".parse().expect("an id"), &ready, at(NOON));
    let exit = |entered_at| Transition { entered_at, ..transition(TransitionKind::Exit, "rivoli", at(NOON)) };
    let enter = enters("rivoli", at(NOON));
    let mut decide = |transitions: &[Transition]| {
        let decided = campaigns(&world, &mut shopper, transitions, &mut Budgets::new(), at(NOON));
        (verdicts(&decided.decisions)["c"], decided.arrivals.len())
    };
    assert_eq!(decide(&[enter.clone(), exit(enter.entered_at)]), ("left", 0));
    let before = exit(Some(at(NOON).minus(hours(1))));
    assert_eq!(decide(&[enter.clone(), before]), ("send", 1), "the end of another visit");
    let again = enters("rivoli", at(NOON).plus(hours(1)));
    assert_eq!(decide(&[again]), ("frequency_cap", 0), "only the second has counted");
}

#[test]
fn deciding_twice_gives_the_same_and_counts_once() {
    let world = world(vec![offer("c", r#","budget":{"total":9}"#)]);
    let mut shopper = shopper("C-1");
    let mut budgets = Budgets::from([("c".parse().expect("an id"), 5)]);
    let mut go =
        |shopper: &mut Arc<Shopper>| campaigns(&world, shopper, &[enters("rivoli", at(NOON))], &mut budgets, at(NOON));
    let (first, second) = (go(&mut shopper), go(&mut shopper));
    assert_eq!(first, second);
    assert_eq!(shopper.sends.len(), 1);
    assert_eq!(budgets.values().copied().collect::<Vec<_>>(), [4]);
    let tomorrow = at(NOON).plus(hours(24));
    let third = campaigns(&world, &mut shopper, &[enters("rivoli", tomorrow)], &mut budgets, tomorrow);
    assert_ne!(message(&third.decisions).id, message(&first.decisions).id, "another visit");
}

#[test]
fn a_deferred_offer_counts_at_once() {
    let settings = Settings { quiet_hours: Some(quiet_nights()), ..Settings::default() };
    let world = world_with(vec![offer("c", r#","ttl":"24h","caps":[{"count":1,"per":"24h"}]"#)], settings);
    let mut shopper = shopper("C-1");
    let night = at("2026-11-21T23:00:00+01:00");
    assert_eq!(verdicts(&decide(&world, &mut shopper, night))["c"], "defer");
    assert_eq!(verdicts(&decide(&world, &mut shopper, night.plus(hours(1))))["c"], "frequency_cap");
}

#[test]
fn sends_are_forgotten_when_no_cap_looks_back_so_far_but_never_the_newest() {
    let world = world(vec![offer("c", r#","caps":[{"count":200,"per":"24h"}]"#)]);
    let mut shopper = shopper("C-1");
    for minute in 0..120 {
        decide(&world, &mut shopper, at(NOON).plus(Duration::from_secs(minute * 60)));
    }
    assert_eq!(shopper.sends.len(), 120);
    decide(&world, &mut shopper, at(NOON).plus(hours(48)));
    assert_eq!(shopper.sends.len(), 50);
}

#[test]
fn order_news_is_exempt_from_marketing_and_not_from_consent() {
    let settings = Settings {
        quiet_hours: Some(quiet_nights()),
        caps: vec![Cap { count: 1, per: Per::Day }],
        holdout_percent: 100.0,
        ..Settings::default()
    };
    let world = world_with(vec![news("shipped", r#""shipped""#), news("ready", r#""ready_for_pickup""#)], settings);
    let mut shopper = shopper("C-1");
    let id: OrderId = "O-1".parse().expect("an id");
    let night = "2026-11-21T23:00:00+01:00";
    let first = order(&world, &mut shopper, &id, &event("E-1", night, "shipped"), at(night));
    assert_eq!(verdicts(&first.decisions)["shipped"], "send");
    let second = event("E-2", "2026-11-21T23:00:01+01:00", "ready_for_pickup");
    Arc::make_mut(&mut shopper).profile.consents.orders = None;
    let refused = order(&world, &mut shopper, &id, &second, at(night));
    assert_eq!(verdicts(&refused.decisions)["ready"], "no_consent");
}

#[test]
fn order_news_goes_to_the_preferred_device_that_can_be_reached() {
    let world = world(vec![news("n", r#"["registered","confirmed","shipped"]"#)]);
    let mut shopper = shopper("C-1");
    let id: OrderId = "O-1".parse().expect("an id");
    let tell = |shopper: &mut Arc<Shopper>, name: &str, state: &str| {
        let taken = order(&world, shopper, &id, &event(name, NOON, state), at(NOON));
        taken.decisions[0].device.as_ref().map(DeviceId::to_string)
    };
    let devices = |shopper: &mut Arc<Shopper>, id: &str, change: &dyn Fn(&mut crate::shopper::Device)| {
        let known = &mut Arc::make_mut(shopper).devices;
        let mut altered = known.get(id).cloned().unwrap_or_else(|| device(id, "2026-11-20T00:00:00Z"));
        change(&mut altered);
        known.insert(id.parse().expect("an id"), altered);
    };
    devices(&mut shopper, "tablet", &|_| ());
    assert_eq!(tell(&mut shopper, "E-1", "registered").as_deref(), Some("phone"), "registered last");
    devices(&mut shopper, "tablet", &|device| device.preferred = true);
    assert_eq!(tell(&mut shopper, "E-2", "confirmed").as_deref(), Some("tablet"));
    devices(&mut shopper, "tablet", &|device| device.target = None);
    assert_eq!(tell(&mut shopper, "E-3", "shipped").as_deref(), Some("phone"));
    Arc::make_mut(&mut shopper).devices.clear();
    let none = order(&world, &mut shopper, &"O-2".parse().expect("an id"), &event("E", NOON, "shipped"), at(NOON));
    assert_eq!((verdicts(&none.decisions)["n"], none.decisions[0].device.clone()), ("no_device", None));
}

#[test]
fn an_offer_may_answer_an_order_beside_its_news() {
    let coupon = compiled(
        r#"{"id":"coupon","purpose":"offer","on":{"order":"delivered"},"cooldown":"7d",
            "content":{"en":{"title":"Thank you","body":"10 % on your next order"}}}"#,
    );
    let world = world(vec![coupon, news("delivered", r#""delivered""#)]);
    let mut shopper = shopper("C-1");
    let mut deliver = |id: &str, when: &str| {
        let taken = order(&world, &mut shopper, &id.parse().expect("an id"), &event("E", when, "delivered"), at(when));
        verdicts(&taken.decisions)
    };
    let first = deliver("O-1", NOON);
    assert_eq!((first["coupon"], first["delivered"]), ("send", "send"));
    let second = deliver("O-2", "2026-11-22T12:00:00+01:00");
    assert_eq!((second["coupon"], second["delivered"]), ("cooldown", "send"));
}

#[test]
fn a_stored_offer_is_wanted_as_long_as_nothing_has_changed() {
    let campaign = offer("c", r#","ttl":"24h","schedule":{"store_hours":true}"#);
    let world = world_with(vec![campaign], Settings { quiet_hours: Some(quiet_nights()), ..Settings::default() });
    let mut shopper = shopper("C-1");
    inside(&mut shopper, "rivoli", at(NOON));
    let message = message(&decide(&world, &mut shopper, at(NOON)));
    let soon = at(NOON).plus(hours(1));
    assert_eq!(wanted(&world, &shopper, &message, soon), "yes");

    let changed = |change: &dyn Fn(&mut Shopper)| {
        let mut changed = Shopper::clone(&shopper);
        change(&mut changed);
        wanted(&world, &changed, &message, soon)
    };
    let phone = "phone".parse::<DeviceId>().expect("an id");
    assert_eq!(changed(&|shopper| shopper.profile.consents.offers = None), "no_consent");
    assert_eq!(changed(&|shopper| shopper.profile.consents.location = None), "no_consent");
    assert_eq!(changed(&|shopper| shopper.devices.clear()), "no_device");
    assert_eq!(changed(&|shopper| shopper.devices.get_mut(&phone).expect("there").target = None), "no_target");
    assert_eq!(changed(&|shopper| shopper.devices.get_mut(&phone).expect("there").presences.clear()), "left");
    let near = |shopper: &mut Shopper| {
        shopper.devices.get_mut(&phone).expect("there").presences[0].state = PresenceState::Near;
    };
    assert_eq!(changed(&near), "left");
    let back = |shopper: &mut Shopper| {
        shopper.devices.get_mut(&phone).expect("there").presences[0].since = message.observed_at.plus(hours(1) / 60);
    };
    assert_eq!(changed(&back), "left", "another visit has its own message");
    assert_eq!(wanted(&world, &shopper, &message, at(NOON).plus(hours(24))), "expired");
    assert_eq!(wanted(&world, &shopper, &message, at(NOON).plus(hours(7))), "outside_schedule", "the store is closed");
    assert_eq!(wanted(&crate::fixture::world(Vec::new()), &shopper, &message, soon), "withdrawn");
    let over = offer("c", r#","active":{"until":"2026-11-21T12:30:00+01:00"}"#);
    assert_eq!(wanted(&crate::fixture::world(vec![over]), &shopper, &message, soon), "inactive");
}

#[test]
fn a_stored_offer_waits_when_quiet_hours_have_begun() {
    let settings = Settings { quiet_hours: Some(quiet_nights()), ..Settings::default() };
    let world = world_with(vec![offer("c", r#","ttl":"24h""#)], settings);
    let mut shopper = shopper("C-1");
    inside(&mut shopper, "rivoli", at(NOON));
    let message = message(&decide(&world, &mut shopper, at(NOON)));
    let later = still_wanted(&world, &shopper, &message, at("2026-11-21T21:00:00+01:00"));
    assert_eq!(later, Wanted::NotBefore(at("2026-11-22T08:00:00+01:00")));
}

#[test]
fn order_news_is_not_wanted_once_the_order_has_moved_on() {
    let world = world(vec![news("n", r#"["shipped","delivered"]"#)]);
    let mut shopper = shopper("C-1");
    let id: OrderId = "O-1".parse().expect("an id");
    let shipped = message(&order(&world, &mut shopper, &id, &event("E-1", NOON, "shipped"), at(NOON)).decisions);
    let later = "2026-11-21T13:00:00+01:00";
    let silent = event("E-2", later, "out_for_delivery");
    assert_eq!(order(&world, &mut shopper, &id, &silent, at(later)).decisions, []);
    assert_eq!(wanted(&world, &shopper, &shipped, at(later)), "yes", "nobody tells of that state");
    let delivered = event("E-3", "2026-11-21T14:00:00+01:00", "delivered");
    let delivered = message(&order(&world, &mut shopper, &id, &delivered, at(later)).decisions);
    assert_eq!(wanted(&world, &shopper, &shipped, at(later)), "order_moved_on");
    assert_eq!(wanted(&world, &shopper, &delivered, at(later)), "yes");
}

#[test]
fn every_reason_has_its_name() {
    let reasons = [
        Suppression::NoConsent { to: String::new() },
        Suppression::Withdrawn,
        Suppression::Budget { total: 1 },
        Suppression::Holdout { scope: String::new(), percent: 1.0 },
    ];
    for reason in reasons {
        let json = serde_json::to_value(&reason).expect("serialises");
        assert_eq!(json["reason"], reason.name());
        assert!(Suppression::NAMES.contains(&reason.name()));
    }
}

/// The times at which the shopper was reached by offers of each campaign.
fn reached(world: &World, steps: &[(u64, bool)]) -> BTreeMap<String, Vec<Timestamp>> {
    let mut shopper = shopper("C-1");
    let mut now = at("2026-10-20T00:00:00+02:00");
    let mut times: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for (minutes, dwell) in steps {
        now = now.plus(Duration::from_secs(minutes * 60));
        let kind = if *dwell { TransitionKind::Dwell } else { TransitionKind::Enter };
        let transitions = [transition(kind, "rivoli", now)];
        for decision in campaigns(world, &mut shopper, &transitions, &mut Budgets::new(), now).decisions {
            if let Verdict::Send(message) = decision.verdict {
                times.entry(decision.campaign.to_string()).or_default().push(message.not_before);
            }
        }
    }
    times
}

proptest! {
    /// Over the nights in which clocks change, with deferrals, and with a global cap over two campaigns.
    #[test]
    fn caps_are_never_exceeded(steps in prop::collection::vec((0_u64..900, any::<bool>()), 1..60)) {
        let caps = vec![Cap { count: 3, per: Per::Rolling(hours(24)) }, Cap { count: 2, per: Per::Day }];
        let settings = Settings { quiet_hours: Some(quiet_nights()), caps, ..Settings::default() };
        let dwell = compiled(
            r#"{"id":"b","purpose":"offer","on":{"transition":"dwell"},"ttl":"24h","quiet_hours":"off",
                "cooldown":"3h","content":{"en":{"title":"a","body":"b"}}}"#,
        );
        let world = world_with(vec![offer("a", r#","ttl":"24h","caps":[{"count":1,"per":"6h"}]"#), dwell], settings);
        let times = reached(&world, &steps);
        let mut all: Vec<Timestamp> = times.values().flatten().copied().collect();
        all.sort();
        let zone = jiff::tz::TimeZone::get("Europe/Paris").expect("bundled");
        for one in &all {
            let window = all.iter().filter(|other| *other >= one && other.since(*one) < hours(24)).count();
            prop_assert!(window <= 3, "{window} in 24 hours from {one}: {all:?}");
            let day = |at: &Timestamp| schedule::day_start(*at, &zone);
            prop_assert!(all.iter().filter(|other| day(other) == day(one)).count() <= 2);
        }
        for (campaign, span) in [("a", hours(6)), ("b", hours(3))] {
            let mut own = times.get(campaign).cloned().unwrap_or_default();
            own.sort();
            prop_assert!(own.windows(2).all(|pair| pair[1].since(pair[0]) >= span), "{campaign}: {own:?}");
        }
        for at in times.get("a").into_iter().flatten() {
            prop_assert_eq!(quiet_nights().until(*at, &zone), None, "in quiet hours");
        }
    }

    #[test]
    fn deciding_is_deterministic(steps in prop::collection::vec((0_u64..900, any::<bool>()), 1..20)) {
        let world = world(vec![offer("a", r#","holdout_percent":50"#), offer("b", r#","cooldown":"1h""#)]);
        prop_assert_eq!(reached(&world, &steps), reached(&world, &steps));
    }
}
