//! Presence: the same whatever the order of arrival, alternating, without flapping.

use std::collections::BTreeMap;

use parvis_engine::{
    matching::{TransitionCause, TransitionKind},
    observation::{Crossing, Edge, Fix, Position},
    shopper::PresenceState,
    time::Timestamp,
    track::Movement,
    world::World,
};
use proptest::prelude::*;

use crate::{
    cases,
    driver::{Device, PARIS, POLE, TAVEUNI, at, fix, kinds, walk, world},
    oracle::{Fence, Shape, destination, fences},
};

fn circle(id: &str, center: Position, radius_m: f64) -> Fence {
    Fence::new(id, Shape::Circle(center, radius_m))
}

fn distinct(mut fixes: Vec<Fix>) -> Vec<Fix> {
    fixes.dedup_by_key(|fix| fix.at);
    fixes
}

fn ends(world: &World, fixes: &[Fix]) -> Vec<String> {
    let mut device = Device::new();
    for fix in fixes {
        device.takes(world, *fix);
    }
    device.inside()
}

fn shuffled(base: Position) -> impl Strategy<Value = (Vec<Fence>, Vec<Fix>, Vec<Fix>)> {
    (fences(base, 900.0, 25), walk(base, 14)).prop_flat_map(|(fences, fixes)| {
        let repeats = prop::collection::vec(0..fixes.len(), 0..4);
        (Just(fences), Just(fixes.clone()), repeats).prop_flat_map(|(fences, fixes, repeats)| {
            let mut arriving = fixes.clone();
            arriving.extend(repeats.into_iter().map(|index| fixes[index]));
            (Just(fences), Just(fixes), Just(arriving).prop_shuffle())
        })
    })
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn order_of_arrival_does_not_matter((fences, fixes, arriving) in shuffled(PARIS)) {
        let world = world(&fences);
        prop_assert_eq!(ends(&world, &fixes), ends(&world, &arriving), "{:#?}", arriving);
    }

    #[test]
    fn who_has_left_does_not_enter_by_older_news_also_after_a_crash(
        ((fences, _, arriving), crash) in (shuffled(PARIS), 0..18_usize),
    ) {
        let world = world(&fences);
        let mut device = Device::new();
        let mut left: BTreeMap<String, Timestamp> = BTreeMap::new();
        for (count, fix) in arriving.into_iter().enumerate() {
            if count == crash {
                device.crashes();
            }
            for told in device.takes(&world, fix).transitions.into_iter().filter(|told| !told.replayed) {
                let known = left.get(told.region.as_str()).copied();
                match told.kind {
                    TransitionKind::Enter => prop_assert!(known.is_none_or(|left| told.at >= left), "{told:?}, {known:?}"),
                    TransitionKind::Exit => {
                        left.insert(told.region.to_string(), told.at);
                    }
                    TransitionKind::Pass | TransitionKind::Approach | TransitionKind::Dwell => {}
                }
            }
        }
    }

    #[test]
    fn nor_at_the_antimeridian((_, fixes, arriving) in shuffled(TAVEUNI)) {
        let fences: Vec<Fence> = (0..8)
            .map(|index| circle(&format!("c{index}"), destination(TAVEUNI, f64::from(index), 300.0), 150.0))
            .collect();
        let world = world(&fences);
        prop_assert_eq!(ends(&world, &fixes), ends(&world, &arriving));
    }

    #[test]
    fn enter_and_exit_alternate((fences, fixes) in (fences(PARIS, 600.0, 25), walk(PARIS, 40))) {
        let world = world(&fences);
        let mut device = Device::new();
        let mut inside: BTreeMap<String, bool> = BTreeMap::new();
        for fix in fixes {
            for told in device.takes(&world, fix).transitions {
                let state = inside.entry(told.region.to_string()).or_default();
                match told.kind {
                    TransitionKind::Enter => prop_assert!(!std::mem::replace(state, true), "entered twice"),
                    TransitionKind::Exit => prop_assert!(std::mem::replace(state, false), "left twice"),
                    TransitionKind::Pass | TransitionKind::Approach => prop_assert!(!*state, "{:?} inside", told.kind),
                    TransitionKind::Dwell => prop_assert!(false, "no fence asks for it"),
                }
                prop_assert!(!told.replayed, "nothing was late");
                prop_assert!((0.0..=1.0).contains(&told.confidence));
            }
            let known: Vec<String> = inside.iter().filter(|(_, inside)| **inside).map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(known, device.inside());
        }
    }

    #[test]
    fn exact_fixes_give_the_exact_geometry((fences, fixes) in (fences(PARIS, 600.0, 25), walk(PARIS, 25))) {
        // Of several fixes of one time, inside wins, which is another property.
        let fixes = distinct(fixes);
        let world = world(&fences);
        let mut device = Device::new();
        for fix in fixes {
            device.takes(&world, Fix { accuracy_m: 0.0, ..fix });
            let scanned: Vec<&str> =
                fences.iter().filter(|fence| fence.contains(fix.position)).map(|fence| fence.id.as_str()).collect();
            prop_assert_eq!(device.inside(), scanned);
        }
    }

    #[test]
    fn clear_probabilities_decide_and_doubtful_ones_keep((fences, fixes) in (fences(PARIS, 500.0, 5), walk(PARIS, 8))) {
        // Of several fixes of one time, inside wins, which is another property.
        let fixes = distinct(fixes);
        let world = world(&fences);
        let mut device = Device::new();
        for fix in fixes {
            let before = device.inside();
            device.takes(&world, fix);
            let after = device.inside();
            for fence in &fences {
                let share = fence.share(fix.position, fix.accuracy_m, 800);
                let is_in = after.contains(&fence.id);
                let exit = fence.exit_probability.unwrap_or(0.1);
                if share > 0.73 {
                    prop_assert!(is_in, "{share} in {}", fence.id);
                } else if share > exit + 0.03 && share < 0.67 {
                    prop_assert_eq!(before.contains(&fence.id), is_in, "{} in {}", share, fence.id);
                } else if share < 0.67 {
                    prop_assert!(!is_in || before.contains(&fence.id), "{share} entered {}", fence.id);
                }
            }
        }
    }

    #[test]
    fn hysteresis_does_not_flap(radius_m in 20.0..300.0_f64, noise in prop::collection::vec(-0.2..0.2_f64, 60)) {
        // A Gaussian on a border is half in and half out, which is between the thresholds, whatever came before.
        let world = world(&[circle("c", PARIS, radius_m)]);
        for begin in [0.0, 10.0 * radius_m] {
            let mut device = Device::new();
            device.takes(&world, fix(0.0, destination(PARIS, 1.0, begin), radius_m / 10.0));
            let held = device.inside();
            for (second, noise) in (60..).zip(&noise) {
                let edge = destination(PARIS, 1.0, radius_m * (1.0 + noise / 10.0));
                let matched = device.takes(&world, fix(f64::from(second) * 10.0, edge, radius_m / 10.0));
                prop_assert_eq!(kinds(&matched.transitions), vec![]);
            }
            prop_assert_eq!(device.inside(), held);
        }
    }

    #[test]
    fn a_way_through_is_a_pass(
        (bearing, offset, radius_m) in (0.0..std::f64::consts::TAU, 0.0..2.0_f64, 30.0..200.0_f64),
        pole in any::<bool>(), seam in any::<bool>(),
    ) {
        prop_assume!((offset - 1.0).abs() > 0.02);
        let center = if pole { Position { lat: 85.0, ..POLE } } else if seam { TAVEUNI } else { PARIS };
        let world = world(&[circle("c", center, radius_m)]);
        let beside = destination(center, bearing + std::f64::consts::FRAC_PI_2, offset * radius_m);
        let mut device = Device::new();
        device.takes(&world, fix(0.0, destination(beside, bearing, 500.0), 5.0));
        let over = device.takes(&world, fix(60.0, destination(beside, bearing + std::f64::consts::PI, 500.0), 5.0));
        let passed = vec![(TransitionKind::Pass, "c".to_owned(), false)];
        prop_assert_eq!(kinds(&over.transitions), if offset < 1.0 { passed } else { vec![] });
        prop_assert_eq!(device.states(), vec![]);
    }
}

fn star_world() -> (World, Position) {
    let ring = crate::oracle::star(PARIS, 100.0, &[1.0; 12], 1.0);
    let fence = Fence { approach_m: Some(200.0), ..Fence::new("p", Shape::Polygons(vec![vec![ring]])) };
    (world(&[fence]), PARIS)
}

#[test]
fn a_polygon_is_passed_too() {
    let (world, center) = star_world();
    let mut device = Device::new();
    device.takes(&world, fix(0.0, destination(center, 0.3, 1_000.0), 10.0));
    let over = device.takes(&world, fix(60.0, destination(center, 3.4, 1_000.0), 10.0));
    assert_eq!(kinds(&over.transitions), vec![(TransitionKind::Pass, "p".to_owned(), false)]);
    assert!(over.transitions[0].at > at(25.0) && over.transitions[0].at < at(35.0), "in the middle of the way");
    let slow = device.takes(&world, fix(400.0, destination(center, 0.3, 1_000.0), 10.0));
    assert_eq!(kinds(&slow.transitions), vec![], "too long a gap");
}

#[test]
fn a_poor_fix_throws_nobody_out() {
    let world = world(&[circle("shop", PARIS, 100.0)]);
    let mut device = Device::new();
    device.takes(&world, fix(0.0, PARIS, 10.0));
    for second in 1..20 {
        let poor = destination(PARIS, f64::from(second), 1_000.0);
        device.takes(&world, fix(f64::from(second) * 30.0, poor, 1_400.0));
        assert_eq!(device.inside(), ["shop"]);
    }
    let gone = device.takes(&world, fix(900.0, destination(PARIS, 1.0, 8_000.0), 1_400.0));
    assert_eq!(kinds(&gone.transitions), vec![(TransitionKind::Exit, "shop".to_owned(), false)]);
}

#[test]
fn approaching_counts_once_until_the_device_has_gone_or_been_inside() {
    let (world, center) = star_world();
    let mut device = Device::new();
    let mut goes = |second: f64, distance_m: f64| {
        let moved = device.takes(&world, fix(second, destination(center, 0.0, distance_m), 5.0));
        let told = moved.transitions.iter().map(|told| told.kind).collect::<Vec<_>>();
        (told, device.states().first().map(|(_, state)| *state))
    };
    assert_eq!(goes(0.0, 600.0), (vec![], None));
    assert_eq!(goes(60.0, 290.0), (vec![TransitionKind::Approach], Some(PresenceState::Near)));
    assert_eq!(goes(120.0, 310.0), (vec![], Some(PresenceState::Near)), "between the rings");
    assert_eq!(goes(180.0, 280.0), (vec![], Some(PresenceState::Near)));
    assert_eq!(goes(240.0, 400.0), (vec![], None));
    assert_eq!(goes(300.0, 250.0), (vec![TransitionKind::Approach], Some(PresenceState::Near)));
    assert_eq!(goes(360.0, 0.0), (vec![TransitionKind::Enter], Some(PresenceState::Inside)));
    assert_eq!(goes(420.0, 200.0), (vec![TransitionKind::Exit], Some(PresenceState::Near)), "leaving is no approach");
    assert_eq!(goes(480.0, 400.0), (vec![], None));
}

#[test]
fn what_newer_fixes_undo_is_replayed_once() {
    let world = world(&[circle("shop", PARIS, 100.0)]);
    let away = destination(PARIS, 1.0, 400.0);
    let mut device = Device::new();
    device.takes(&world, fix(100.0, away, 10.0));
    let late = device.takes(&world, fix(50.0, PARIS, 10.0));
    assert_eq!(kinds(&late.transitions), vec![(TransitionKind::Enter, "shop".to_owned(), true)]);
    assert_eq!(late.presences, None);
    assert_eq!(kinds(&device.takes(&world, fix(55.0, PARIS, 10.0)).transitions), vec![], "the same visit");
    assert_eq!(kinds(&device.takes(&world, fix(50.0, PARIS, 10.0)).transitions), vec![], "a repeat");

    device.takes(&world, fix(200.0, PARIS, 10.0));
    device.takes(&world, fix(300.0, PARIS, 10.0));
    let absent = device.takes(&world, fix(250.0, away, 10.0));
    assert_eq!(kinds(&absent.transitions), vec![(TransitionKind::Exit, "shop".to_owned(), true)]);
    assert_eq!(device.inside(), ["shop"]);
    assert_eq!(kinds(&device.takes(&world, fix(150.0, away, 10.0)).transitions), vec![], "before the visit");
}

#[test]
fn a_late_fix_decides_where_the_newest_says_nothing() {
    let world = world(&[circle("shop", PARIS, 100.0)]);
    let mut device = Device::new();
    device.takes(&world, fix(0.0, destination(PARIS, 1.0, 400.0), 10.0));
    device.takes(&world, fix(100.0, destination(PARIS, 1.0, 300.0), 800.0));
    let late = device.takes(&world, fix(50.0, PARIS, 10.0));
    assert_eq!(kinds(&late.transitions), vec![(TransitionKind::Enter, "shop".to_owned(), false)]);
    assert_eq!(late.transitions[0].at, at(50.0));
    assert_eq!(device.presences[0].seen, at(100.0), "heard of since");
}

#[test]
fn crossings_are_words_like_others() {
    let world = world(&[circle("shop", PARIS, 100.0)]);
    let mut device = Device::new();
    let crosses = |device: &mut Device, second: f64, edge: Edge| {
        let crossing = Crossing { at: at(second), region: "shop".parse().expect("a name"), edge };
        device.moves(&world, &Movement::Crossed(crossing), at(second))
    };
    let entered = crosses(&mut device, 10.0, Edge::Enter);
    assert_eq!(entered.transitions[0].cause, TransitionCause::Crossing);
    assert_eq!(device.inside(), ["shop"]);
    assert_eq!(crosses(&mut device, 10.0, Edge::Enter).transitions, vec![]);
    device.takes(&world, fix(20.0, PARIS, 10.0));
    assert!(crosses(&mut device, 15.0, Edge::Exit).transitions.iter().all(|told| told.replayed));
    assert_eq!(device.inside(), ["shop"]);
    crosses(&mut device, 30.0, Edge::Exit);
    assert_eq!(device.inside(), Vec::<String>::new());
    let undone = device.takes(&world, fix(25.0, PARIS, 5.0));
    assert!(undone.transitions.iter().all(|told| told.replayed) && device.inside().is_empty());
}
