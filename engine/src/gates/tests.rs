//! Gates one by one, through the decision that they lead to.

use super::*;
use crate::{
    decide::{Budgets, Decision, Settings, Verdict},
    fixture::*,
    shopper::{Attribute, Send, Shopper},
};
use std::{sync::Arc, time::Duration};

fn only(more: &str, now: &str, change: impl FnOnce(&mut Shopper)) -> Decision {
    only_with(Settings::default(), more, now, change)
}

fn only_with(settings: Settings, more: &str, now: &str, change: impl FnOnce(&mut Shopper)) -> Decision {
    let world = world_with(vec![offer("c", more)], settings);
    let mut shopper = shopper("C-1");
    change(Arc::make_mut(&mut shopper));
    let mut decisions = decide(&world, &mut shopper, at(now));
    assert_eq!(decisions.len(), 1);
    decisions.remove(0)
}

fn refusal(decision: Decision) -> Suppression {
    let Verdict::Suppress(reason) = decision.verdict else { panic!("expected a refusal: {decision:?}") };
    reason
}

fn passes(decision: &Decision) -> bool {
    matches!(&decision.verdict, Verdict::Send(message) if message.not_before == message.decided_at)
}

fn sent(campaign: &str, when: &str) -> Send {
    Send {
        at: at(when),
        not_before: at(when),
        notification: crate::id::NotificationId::derive(at(when), &"C-1".parse().expect("an id"), &[campaign]),
        campaign: campaign.parse().expect("an id"),
        purpose: Purpose::Offer,
    }
}

#[test]
fn consent_is_asked_for_offers_and_for_locations() {
    assert!(passes(&only("", NOON, |_| ())));
    let none = only("", NOON, |shopper| shopper.profile.consents.offers = None);
    assert_eq!(refusal(none), Suppression::NoConsent { to: "offers".to_owned() });
    let withdrawn = only("", NOON, |shopper| {
        shopper.profile.consents.location.as_mut().expect("given").granted = false;
    });
    assert_eq!(refusal(withdrawn), Suppression::NoConsent { to: "location".to_owned() });
}

#[test]
fn active_begins_and_ends_to_the_millisecond() {
    let more = r#","active":{"from":"2026-11-21T12:00:00+01:00","until":"2026-11-21T13:00:00+01:00"}"#;
    assert!(passes(&only(more, NOON, |_| ())));
    for outside in ["2026-11-21T11:59:59.999+01:00", "2026-11-21T13:00:00+01:00"] {
        assert_eq!(refusal(only(more, outside, |_| ())).name(), "inactive", "{outside}");
    }
}

#[test]
fn schedule_follows_the_store_and_its_clock() {
    let more = r#","schedule":{"store_hours":true,"slots":[{"days":["sat"],"from":"09:00","to":"12:30"}]}"#;
    assert!(passes(&only(more, NOON, |_| ())));
    let abroad = |shopper: &mut Shopper| shopper.profile.time_zone = Some("Asia/Tokyo".into());
    assert!(passes(&only(more, NOON, abroad)), "the store's clock counts, not the shopper's");
    for (now, rule) in [
        ("2026-11-21T09:30:00+01:00", "store_hours"),
        ("2026-11-21T12:30:00+01:00", "slots"),
        ("2026-11-22T12:00:00+01:00", "store_hours"),
    ] {
        let Suppression::OutsideSchedule { rule: seen, local } = refusal(only(more, now, |_| ())) else {
            panic!("expected the schedule at {now}")
        };
        assert_eq!(seen, rule, "{now}");
        assert!(local.contains(&now[11..16]), "{local}");
    }
}

#[test]
fn schedule_takes_the_fences_hours_before_the_stores_and_unknown_hours_as_closed() {
    let campaign = offer("c", r#","schedule":{"store_hours":true}"#);
    let own = serde_json::json!({
        "type": "Feature", "id": "rivoli", "geometry": {"type": "Point", "coordinates": [2.35, 48.86]},
        "properties": {"radius_m": 100.0, "store": "paris-1", "tags": ["tv"], "hours": {"sat": [["20:00", "23:00"]]}},
    });
    let own = crate::region::Geofence::compile(serde_json::from_value(own).expect("well formed")).expect("sound");
    let mut world = world(vec![campaign]);
    let at_noon = |world: &crate::world::World, region: &str| {
        let transition = enters(region, at(NOON));
        let decided =
            crate::decide::campaigns(world, &mut shopper("C-1"), &[transition], &mut Budgets::new(), at(NOON));
        verdicts(&decided.decisions)["c"]
    };
    assert_eq!(at_noon(&world, "rivoli"), "send");
    assert_eq!(at_noon(&world, "kiosk"), "outside_schedule", "nobody knows its hours");
    world.regions = Arc::new(crate::region::Regions::new(vec![Arc::new(own)]));
    assert_eq!(at_noon(&world, "rivoli"), "outside_schedule");
}

#[test]
fn audience_names_the_condition_that_failed() {
    let more = r#","audience":{"attribute":{"name":"children","at_least":2}}"#;
    let with = |count: f64| {
        move |shopper: &mut Shopper| {
            shopper.profile.attributes.insert("children".to_owned(), Attribute::Number(count));
        }
    };
    assert!(passes(&only(more, NOON, with(2.0))));
    let condition = "attribute \"children\" is \"1\", needs at least 2".to_owned();
    assert_eq!(refusal(only(more, NOON, with(1.0))), Suppression::NotInAudience { condition });
}

#[test]
fn expiry_holds_for_late_causes() {
    let world = world(vec![offer("c", r#","ttl":"10min""#)]);
    let late = |minutes: u64| {
        let now = at(NOON).plus(Duration::from_secs(minutes * 60));
        let transitions = [enters("rivoli", at(NOON))];
        let decided = crate::decide::campaigns(&world, &mut shopper("C-1"), &transitions, &mut Budgets::new(), now);
        verdicts(&decided.decisions)["c"]
    };
    assert_eq!(late(9), "send");
    assert_eq!(late(10), "expired");
}

#[test]
fn target_and_device_must_be_there() {
    let gone = |shopper: &mut Shopper| shopper.devices.get_mut("phone").expect("a phone").target = None;
    assert_eq!(refusal(only("", NOON, gone)), Suppression::NoTarget);
    assert_eq!(refusal(only("", NOON, |shopper| shopper.devices.clear())), Suppression::NoDevice);
}

#[test]
fn place_is_needed_by_texts_that_name_the_store() {
    let text = |body: &str| {
        compiled(&format!(
            r#"{{"id":"c","purpose":"offer","on":{{"transition":"enter"}},
                "content":{{"en":{{"title":"Hello","body":"{body}"}}}}}}"#
        ))
    };
    let kiosk = |body: &str| {
        let world = world(vec![text(body)]);
        let transitions = [enters("kiosk", at(NOON))];
        let decided =
            crate::decide::campaigns(&world, &mut shopper("C-1"), &transitions, &mut Budgets::new(), at(NOON));
        verdicts(&decided.decisions)["c"]
    };
    assert_eq!(kiosk("At {{ store.name }}"), "no_store");
    assert_eq!(kiosk("At {{ store.name | default('our kiosk') }}"), "send");
}

#[test]
fn quiet_hours_defer_drop_or_outlive() {
    let quiet = |action: &str, ttl: &str| {
        format!(r#","ttl":"{ttl}","quiet_hours":{{"from":"21:00","to":"08:00","action":"{action}"}}"#)
    };
    let night = "2026-11-21T22:00:00+01:00";
    let Verdict::Send(message) = only(&quiet("defer", "12h"), night, |_| ()).verdict else { panic!("deferred") };
    assert_eq!(message.not_before, at("2026-11-22T08:00:00+01:00"));
    let until = at("2026-11-22T08:00:00+01:00");
    assert_eq!(refusal(only(&quiet("drop", "12h"), night, |_| ())), Suppression::QuietHours { until });
    assert_eq!(refusal(only(&quiet("defer", "10h"), night, |_| ())), Suppression::QuietHours { until });
    assert!(passes(&only(&quiet("drop", "12h"), NOON, |_| ())));
}

#[test]
fn quiet_hours_are_on_the_shoppers_clock() {
    let settings = Settings {
        quiet_hours: Some(crate::schedule::QuietHours {
            from: "21:00".parse().expect("a time"),
            to: "08:00".parse().expect("a time"),
            action: QuietAction::Drop,
        }),
        ..Settings::default()
    };
    let tokyo = |shopper: &mut Shopper| {
        shopper.devices.get_mut("phone").expect("a phone").time_zone = Some("Asia/Tokyo".into());
    };
    let afternoon = "2026-11-21T13:30:00+01:00";
    assert!(passes(&only_with(settings.clone(), "", afternoon, |_| ())));
    assert_eq!(refusal(only_with(settings.clone(), "", afternoon, tokyo)).name(), "quiet_hours", "21:30 in Tokyo");
    assert!(passes(&only_with(settings, r#","quiet_hours":"off""#, afternoon, tokyo)), "the campaign has none");
}

#[test]
fn frequency_caps_roll() {
    let more = r#","caps":[{"count":2,"per":"24h"}]"#;
    let twice = |first: &'static str| {
        move |shopper: &mut Shopper| {
            shopper.sends = vec![sent("c", first), sent("c", "2026-11-21T11:00:00+01:00")].into()
        }
    };
    let full = refusal(only(more, NOON, twice("2026-11-20T12:00:00.001+01:00")));
    let expected = Suppression::FrequencyCap { scope: "campaign".to_owned(), count: 2, per: "24h".to_owned(), sent: 2 };
    assert_eq!(full, expected);
    assert!(passes(&only(more, NOON, twice("2026-11-20T12:00:00+01:00"))), "a whole day ago");
    let others = |shopper: &mut Shopper| shopper.sends = vec![sent("other", NOON), sent("other", NOON)].into();
    assert!(passes(&only(more, NOON, others)), "other campaigns count for the global cap only");
}

#[test]
fn frequency_caps_of_a_day_end_at_the_shoppers_midnight() {
    let more = r#","caps":[{"count":1,"per":"day"}]"#;
    let before = |shopper: &mut Shopper| shopper.sends = vec![sent("c", "2026-11-21T23:59:00+01:00")].into();
    assert!(passes(&only(more, "2026-11-22T00:00:00+01:00", before)));
    let tokyo = |shopper: &mut Shopper| {
        before(shopper);
        shopper.profile.time_zone = Some("Asia/Tokyo".into());
    };
    assert_eq!(refusal(only(more, "2026-11-22T00:00:00+01:00", tokyo)).name(), "frequency_cap", "one day in Tokyo");
    let long = |shopper: &mut Shopper| shopper.sends = vec![sent("c", "2026-10-25T00:00:00+02:00")].into();
    let last = "2026-10-25T23:59:59+01:00";
    assert_eq!(refusal(only(more, last, long)).name(), "frequency_cap", "a day of 25 hours");
    assert!(passes(&only(more, "2026-10-26T00:00:00+01:00", long)));
}

#[test]
fn frequency_caps_count_what_still_waits_on_the_day_it_comes() {
    let more = r#","caps":[{"count":1,"per":"day"}]"#;
    let waiting = |shopper: &mut Shopper| {
        let not_before = at("2026-11-22T08:00:00+01:00");
        shopper.sends = vec![Send { not_before, ..sent("c", "2026-11-21T22:00:00+01:00") }].into();
    };
    assert_eq!(refusal(only(more, "2026-11-22T09:00:00+01:00", waiting)).name(), "frequency_cap");
    assert!(passes(&only(more, "2026-11-23T09:00:00+01:00", waiting)));
}

#[test]
fn cooldown_leaves_in_peace() {
    let more = r#","cooldown":"7d""#;
    let week_ago = |shopper: &mut Shopper| shopper.sends = vec![sent("c", "2026-11-14T12:00:00.001+01:00")].into();
    let until = at("2026-11-21T12:00:00.001+01:00");
    assert_eq!(refusal(only(more, NOON, week_ago)), Suppression::Cooldown { until });
    let earlier = |shopper: &mut Shopper| shopper.sends = vec![sent("c", "2026-11-14T12:00:00+01:00")].into();
    assert!(passes(&only(more, NOON, earlier)));
}

#[test]
fn holdout_is_near_its_share_and_always_the_same() {
    let held = |percent: u32, global: bool| {
        let more = if global { String::new() } else { format!(r#","holdout_percent":{percent}"#) };
        let holdout_percent = if global { f64::from(percent) } else { 0.0 };
        let world = world_with(vec![offer("c", &more)], Settings { holdout_percent, ..Settings::default() });
        let ids = 0..2_000;
        let held = ids.filter(|id| {
            let decide = || verdicts(&decide(&world, &mut shopper(&format!("C-{id}")), at(NOON)))["c"];
            let first = decide();
            assert_eq!(first, decide());
            first == "holdout"
        });
        held.count()
    };
    for global in [false, true] {
        let count = held(10, global);
        assert!((150..=250).contains(&count), "{count} of 2000 for 10 percent");
    }
    assert_eq!(held(0, false), 0);
    assert_eq!(held(100, false), 2_000);
}

#[test]
fn budget_is_spent_by_sends_alone() {
    let world = world(vec![offer("c", r#","budget":{"total":100}"#)]);
    let mut budgets = Budgets::from([("c".parse().expect("an id"), 1)]);
    let mut go = |id: &str| {
        let transitions = [enters("rivoli", at(NOON))];
        let decided = crate::decide::campaigns(&world, &mut shopper(id), &transitions, &mut budgets, at(NOON));
        decided.decisions
    };
    assert_eq!(verdicts(&go("C-1"))["c"], "send");
    assert_eq!(refusal(go("C-2").remove(0)), Suppression::Budget { total: 100 });
    let without = crate::decide::campaigns(
        &world,
        &mut shopper("C-3"),
        &[enters("rivoli", at(NOON))],
        &mut Budgets::new(),
        at(NOON),
    );
    assert_eq!(verdicts(&without.decisions)["c"], "budget", "no slice is no budget");
}

#[test]
fn presence_and_order_are_asked_when_sent_only() {
    let asked: Vec<&str> = GATES.iter().filter(|gate| !gate.when_decided).map(|gate| gate.name).collect();
    assert_eq!(asked, ["presence", "order"]);
    let marketing: Vec<&str> = GATES.iter().filter(|gate| !gate.for_orders).map(|gate| gate.name).collect();
    assert_eq!(marketing, ["zone", "presence", "quiet_hours", "frequency_cap", "cooldown", "holdout", "budget"]);
}
