//! What radio does in practice: gaps, restarts, late uploads, codes, forged beacons. One shop, told step by step.

use parvis_engine::{
    matching::{TransitionCause, TransitionKind},
    observation::{Crossing, Edge, Observation, Rejection, Scan},
    registry::{Parts, Registry},
    shopper::{PresenceState, Track},
    world::World,
};
use serde_json::{Value, json};

use crate::{
    driver::{at, fix},
    zones::{Walk, beacon, heard, name, offer, opera, scanner, shop, zone},
};

fn inside(walk: &Walk) -> Vec<String> {
    let presences = walk.shopper.devices.get(&walk.device).expect("registered").presences.iter();
    presences.filter(|it| it.state == PresenceState::Inside).map(|it| it.region.to_string()).collect()
}

fn lingers() -> World {
    shop(vec![offer("lingers", &json!({"transition": "dwell", "regions": ["tv"]}))])
}

fn scan(second: f64) -> Observation {
    Observation::Scan(Scan { at: at(second), tag: "qr-tv".to_owned() })
}

fn crossing(second: f64, edge: Edge) -> Observation {
    Observation::Crossing(Crossing { at: at(second), region: name("all"), edge })
}

/// A shop of two aisles in a department, as the catalog says more of them.
fn aisles(department: &Value, tv: &Value, hifi: &Value) -> World {
    let parts = Parts {
        beacons: vec![
            beacon("b-tv", 1, &json!({"store": "opera", "zone": "tv"})),
            beacon("b-hifi", 2, &json!({"store": "opera", "zone": "hifi"})),
        ],
        zones: vec![zone("electronics", department), zone("tv", tv), zone("hifi", hifi)],
        ..Parts::default()
    };
    lingers().with_registry(Registry::new(parts))
}

fn department() -> Value {
    json!({"group": "electronics"})
}

#[test]
fn silence_within_a_visit_makes_no_second_offer() {
    let mut walk = Walk::new(lingers(), "phone");
    for second in 0..10 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    walk.waits(at(60.0), at(60.0));
    assert_eq!(inside(&walk), [""; 0]);
    for second in 60..80 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.zones().iter().filter(|told| *told == "enter tv").count(), 2);
    assert_eq!(walk.sent.len(), 1, "{:?}", walk.zones());
}

#[test]
fn a_visit_lasts_as_long_as_the_shop_hears_somebody() {
    let mut walk = Walk::new(lingers(), "phone");
    for second in 0..10 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    // An hour at the tills, then back.
    for second in (10..3_610).step_by(5) {
        walk.hears(f64::from(second), 3, -55.0);
    }
    for second in 3_610..3_640 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.sent.len(), 1, "{:?}", walk.zones());
}

#[test]
fn a_restart_is_no_silence() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..28 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    let told = walk.told.len();
    walk.track = Track::default();
    // What is durable was last refreshed by the dwell at 7 s.
    walk.waits(at(38.0), at(38.0));
    for second in 40..46 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.told.len(), told, "{:?}", walk.kinds());
    walk.waits(at(45.0 + 30.0), at(75.0));
    assert_eq!(inside(&walk), [""; 0]);
}

#[test]
fn after_a_long_outage_nobody_is_there_any_more() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..10 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    walk.track = Track::default();
    walk.waits(at(300.0), at(300.0));
    assert_eq!(inside(&walk), [""; 0]);
}

#[test]
fn who_is_heard_first_after_a_restart_does_not_win_by_that() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..10 {
        walk.hears(f64::from(second), 1, -55.0);
        walk.hears(f64::from(second) + 0.1, 2, -75.0);
    }
    let told = walk.told.len();
    walk.track = Track::default();
    for second in 10..14 {
        walk.hears(f64::from(second), 2, -75.0);
    }
    for second in 14..20 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.told.len(), told, "{:?}", walk.kinds());
}

#[test]
fn nobody_leaves_before_having_come() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 100..110 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    walk.track = Track::default();
    for second in [50.0, 51.0, 52.0, 53.0] {
        walk.takes(heard(second, 2, -50.0, None), at(110.0)).expect("late");
    }
    walk.takes(scan(60.0), at(110.0)).expect("late");
    for told in walk.told.iter().filter(|told| told.kind == TransitionKind::Exit) {
        assert!(Some(told.at) >= told.entered_at, "{told:?}");
    }
    assert!(inside(&walk).contains(&"tv".to_owned()), "{:?}", walk.kinds());
}

#[test]
fn late_readings_of_one_beacon_enter_no_region_of_now() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 100..110 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    for second in [50.0, 51.0, 52.0] {
        walk.takes(heard(second, 5, -50.0, None), at(110.0)).expect("late");
    }
    assert!(!walk.kinds().contains(&"enter door".to_owned()), "{:?}", walk.kinds());
}

#[test]
fn one_far_reading_after_a_gap_leaves_no_region() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..5 {
        walk.hears(f64::from(second), 5, -60.0);
    }
    walk.hears(16.0, 5, -95.0);
    assert!(!walk.kinds().contains(&"exit door".to_owned()), "{:?}", walk.kinds());
    walk.hears(17.5, 5, -95.0);
    assert!(walk.kinds().contains(&"exit door".to_owned()), "{:?}", walk.kinds());
}

#[test]
fn a_zone_that_ends_soon_is_not_entered_by_what_ended_it() {
    let world = aisles(&json!({}), &json!({"group": "electronics", "exit_after_s": 3}), &department());
    let mut walk = Walk::new(world, "phone");
    for second in 0..5 {
        walk.hears(f64::from(second), 1, -50.0);
        walk.hears(f64::from(second) + 0.1, 2, -80.0);
    }
    for second in 5..12 {
        walk.waits(at(f64::from(second)), at(f64::from(second)));
        walk.hears(f64::from(second), 2, -80.0);
    }
    assert_eq!(walk.zones().iter().filter(|told| *told == "enter tv").count(), 1, "{:?}", walk.zones());
    assert!(walk.zones().contains(&"enter hifi".to_owned()), "{:?}", walk.zones());
}

#[test]
fn a_department_lasts_as_long_as_its_aisles() {
    let mut walk = Walk::new(aisles(&json!({"exit_after_s": 2}), &department(), &department()), "phone");
    for second in 0..5 {
        walk.hears(f64::from(second), 1, -50.0);
    }
    walk.waits(at(20.0), at(20.0));
    assert_eq!(inside(&walk), ["electronics", "tv"]);
    walk.waits(at(34.0), at(34.0));
    assert_eq!(inside(&walk), [""; 0]);
}

#[test]
fn a_place_that_was_unsure_long_ago_is_no_incumbent() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..5 {
        walk.hears(f64::from(second), 2, -88.0);
        walk.hears(f64::from(second) + 0.1, 3, -88.0);
        if second > 1 {
            walk.hears(f64::from(second) + 0.2, 1, -84.5);
        }
    }
    assert_eq!(walk.zones(), ["enter electronics"]);
    walk.waits(at(1_000.0), at(1_000.0));
    let told = walk.told.len();
    // Below the floor, and nothing else.
    for second in 1_000..1_010 {
        walk.hears(f64::from(second), 1, -95.0);
    }
    assert!(walk.told[told..].iter().all(|told| told.region != name("tv")), "{:?}", walk.kinds());
}

#[test]
fn a_code_holds_against_the_radio_for_a_while() {
    let mut walk = Walk::new(lingers(), "phone");
    for second in 0..20 {
        walk.hears(f64::from(second), 2, -50.0);
    }
    walk.takes(scan(20.0), at(20.0)).expect("a code");
    for second in 20..29 {
        walk.hears(f64::from(second) + 0.5, 2, -50.0);
        assert!(inside(&walk).contains(&"tv".to_owned()), "{second} {:?}", walk.zones());
    }
    for second in 29..40 {
        walk.hears(f64::from(second) + 0.5, 2, -50.0);
    }
    assert!(inside(&walk).contains(&"hifi".to_owned()), "{:?}", walk.zones());
}

#[test]
fn old_sightings_tell_nobody_through_a_timer_either() {
    let region = |transition: &str| offer(transition, &json!({"transition": transition, "regions": ["visit"]}));
    let world = shop(vec![region("dwell"), region("exit")]);
    let visit = json!({"id": "visit", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "dwell_s": 5});
    let visit = parvis_engine::registry::BeaconRegion::compile(crate::zones::read(visit)).expect("sound");
    let parts = Parts {
        beacons: vec![beacon("b-tv", 1, &json!({"store": "opera"}))],
        regions: vec![std::sync::Arc::new(visit)],
        ..Parts::default()
    };
    let mut walk = Walk::new(world.with_registry(Registry::new(parts)), "phone");
    for second in 0..30 {
        walk.takes(heard(f64::from(second), 1, -55.0, None), at(120.0)).expect("taken late");
    }
    walk.waits(at(120.0), at(120.0));
    assert_eq!(walk.kinds(), ["enter visit", "dwell visit", "exit visit"]);
    assert!(walk.sent.is_empty(), "{:?}", walk.sent);
    for second in 300..310 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    walk.waits(at(340.0), at(340.0));
    assert_eq!(walk.sent.len(), 2, "{:?} {:?}", walk.sent, walk.refused);
}

#[test]
fn crossings_that_come_late_change_nothing() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    walk.takes(crossing(100.0, Edge::Enter), at(100.0)).expect("a region");
    walk.takes(crossing(200.0, Edge::Exit), at(200.0)).expect("a region");
    walk.takes(crossing(150.0, Edge::Enter), at(210.0)).expect("a region");
    assert_eq!(walk.kinds(), ["enter all", "exit all"]);

    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..60 {
        walk.hears(f64::from(second), 5, -80.0);
    }
    walk.takes(crossing(30.0, Edge::Exit), at(60.0)).expect("a region");
    assert_eq!(walk.kinds(), ["enter all"], "it has been heard since");
    walk.takes(crossing(60.0, Edge::Enter), at(60.0)).expect("a region");
    walk.takes(crossing(90.0, Edge::Exit), at(90.0)).expect("a region");
    for second in [84.0, 85.0, 86.0] {
        walk.takes(heard(second, 5, -80.0, None), at(91.0)).expect("late");
    }
    assert_eq!(walk.kinds().last().map(String::as_str), Some("exit all"), "heard before it was left");
}

#[test]
fn one_forged_sighting_locks_nobody_out() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    walk.hears(0.0, 4, -40.0);
    for second in 1..5 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert!(inside(&walk).contains(&"tv".to_owned()));
    assert_eq!(walk.reason(heard(5.0, 4, -40.0, None), 5.0), Rejection::Elsewhere);
}

#[test]
fn a_forged_place_is_believed_no_longer_than_a_visit_lasts() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    walk.hears(0.0, 4, -40.0);
    walk.hears(2.0, 4, -40.0);
    assert_eq!(walk.reason(heard(10.0, 1, -55.0, None), 10.0), Rejection::Elsewhere);
    walk.hears(2.0 + 1_801.0, 1, -55.0);
}

#[test]
fn a_fix_says_which_of_two_places_is_forged() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    walk.hears(0.0, 4, -40.0);
    walk.hears(2.0, 4, -40.0);
    walk.takes(Observation::Fix(fix(5.0, opera(), 20.0)), at(5.0)).expect("a fix");
    walk.hears(6.0, 1, -55.0);
    assert_eq!(walk.reason(heard(7.0, 4, -40.0, None), 7.0), Rejection::Elsewhere);
}

#[test]
fn strong_and_weak_beacons_are_heard_from_near_and_far() {
    let parts = Parts {
        beacons: vec![
            beacon("strong", 1, &json!({"store": "opera", "measured_power_dbm": -35.0})),
            beacon("weak", 5, &json!({"store": "opera", "measured_power_dbm": -90.0})),
        ],
        ..Parts::default()
    };
    let world = shop(Vec::new()).with_registry(Registry::new(parts));
    let mut walk = Walk::new(world, "phone");
    for second in 0..3 {
        walk.hears(f64::from(second), 1, -90.0);
        walk.hears(f64::from(second), 5, -20.0);
    }
    assert_eq!(walk.track.radio.expect("heard").sources.len(), 2);
}

#[test]
fn of_too_many_sources_one_goes() {
    let beacons = (1..=70).map(|minor| beacon(&format!("b-{minor}"), minor, &json!({"store": "opera"}))).collect();
    let parts = Parts { beacons, ..Parts::default() };
    let mut walk = Walk::new(shop(Vec::new()).with_registry(Registry::new(parts)), "phone");
    for second in 0..2 {
        for minor in 1..=70 {
            walk.hears(f64::from(second), minor, -55.0);
        }
    }
    assert_eq!(walk.track.radio.expect("heard").sources.len(), 64);
}

#[test]
fn a_zone_that_the_catalog_moves_is_followed() {
    let mut walk = Walk::new(aisles(&json!({}), &department(), &department()), "phone");
    for second in 0..5 {
        walk.hears(f64::from(second), 1, -50.0);
    }
    walk.world = aisles(&json!({}), &json!({}), &department());
    walk.hears(5.0, 1, -50.0);
    assert_eq!(inside(&walk), ["tv"], "it has lost its department");
    let mut gone = aisles(&json!({}), &json!({}), &department());
    gone = gone.with_registry(Registry::new(Parts {
        beacons: vec![beacon("b-tv", 1, &json!({"store": "opera", "zone": "hifi"}))],
        zones: vec![zone("hifi", &json!({}))],
        ..Parts::default()
    }));
    walk.world = gone;
    walk.hears(6.0, 1, -50.0);
    assert_eq!(inside(&walk), ["hifi"]);
    assert_eq!(walk.told.iter().filter(|told| told.cause == TransitionCause::Removed).count(), 1);
}

#[test]
fn what_was_dwelt_in_does_not_pile_up() {
    let zones: Vec<_> = (1..=200).map(|number| zone(&format!("z-{number:03}"), &json!({}))).collect();
    let beacon =
        |minor| beacon(&format!("b-{minor}"), minor, &json!({"store": "opera", "zone": format!("z-{minor:03}")}));
    let parts = Parts { beacons: (1..=200).map(beacon).collect(), zones, ..Parts::default() };
    let mut walk = Walk::new(shop(Vec::new()).with_registry(Registry::new(parts)), "phone");
    for second in 0..(200 * 30) {
        walk.hears(f64::from(second), u16::try_from(second / 30 + 1).expect("200"), -50.0);
    }
    let presences = &walk.shopper.devices.get("phone").expect("a phone").presences;
    assert!(presences.len() <= 65, "{}", presences.len());
    assert!(presences.iter().any(|it| it.region == name("z-199")), "the newest are kept");
}

#[test]
fn scanners_and_phones_of_one_device_share_a_zone() {
    let parts = Parts {
        beacons: vec![
            beacon("b-tv", 1, &json!({"store": "opera", "zone": "tv"})),
            beacon("tag", 100, &json!({"role": "tag"})),
        ],
        scanners: vec![scanner("s-tv", &json!({"zone": "tv"}))],
        zones: vec![zone("tv", &json!({}))],
        ..Parts::default()
    };
    let mut walk = Walk::new(shop(Vec::new()).with_registry(Registry::new(parts)), "tag");
    for second in 0..5 {
        walk.is_heard(f64::from(second), "s-tv", -60.0);
        walk.hears(f64::from(second) + 0.1, 1, -60.0);
    }
    assert_eq!(walk.zones(), ["enter tv"]);
}
