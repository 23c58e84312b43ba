//! The calm disc: nothing changes in it, and skipping the index in it changes nothing.

use parvis_engine::{matching::safe_radius_m, observation::Fix};
use proptest::prelude::*;

use crate::{
    cases,
    driver::{Device, PARIS, TAVEUNI, TROMSO, fix, walk, world},
    oracle::{Fence, Shape, destination, fences},
};

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn skipping_changes_nothing((fences, fixes) in (fences(PARIS, 2_500.0, 25), walk(PARIS, 60))) {
        let world = world(&fences);
        let (mut quick, mut slow) = (Device::new(), Device::new());
        for fix in fixes {
            slow.track.calm = None;
            let (one, other) = (quick.takes(&world, fix), slow.takes(&world, fix));
            prop_assert_eq!(one.transitions, other.transitions);
            prop_assert_eq!(quick.states(), slow.states());
            prop_assert_eq!(&quick.track.marks, &slow.track.marks);
        }
    }

    #[test]
    fn skipping_changes_nothing_for_late_fixes(
        (fences, fixes) in (fences(PARIS, 2_500.0, 25), walk(PARIS, 40).prop_shuffle()),
    ) {
        let world = world(&fences);
        let (mut quick, mut slow) = (Device::new(), Device::new());
        for fix in fixes {
            slow.track.calm = None;
            let (one, other) = (quick.takes(&world, fix), slow.takes(&world, fix));
            prop_assert_eq!(one.transitions, other.transitions);
            prop_assert_eq!(quick.inside(), slow.inside());
        }
    }

    #[test]
    fn the_safe_radius_is_a_lower_bound(
        (fences, fixes, tries) in (
            prop_oneof![fences(PARIS, 2_000.0, 12), fences(TROMSO, 2_000.0, 12)],
            prop_oneof![walk(PARIS, 12), walk(TROMSO, 12)],
            prop::collection::vec((0.0..std::f64::consts::TAU, 0.9..1.0_f64, 0.0..1.0_f64), 12),
        ),
    ) {
        let world = world(&fences);
        let mut device = Device::new();
        for taken in fixes {
            device.takes(&world, taken);
            let radius_m = safe_radius_m(&world, &device.track);
            for (bearing, part, better) in &tries {
                let mut probe = device.clone();
                probe.track.calm = None;
                let last = device.track.last.expect("a fix was taken");
                let position = destination(last.position, *bearing, radius_m * part);
                let accuracy_m = last.accuracy_m * better;
                let at = last.at.plus(std::time::Duration::from_secs(100));
                let moved = probe.takes(&world, Fix { at, ..fix(0.0, position, accuracy_m) });
                prop_assert!(radius_m == 0.0 || moved.transitions.is_empty(), "{radius_m} m: {:?}", moved.transitions);
                prop_assert!(radius_m == 0.0 || probe.states() == device.states());
            }
        }
    }
}

#[test]
fn a_fix_that_is_overruled_by_another_of_its_time_is_not_calm() {
    let shop = Fence::new("shop", Shape::Circle(PARIS, 20.0));
    let world = world(&[shop]);
    for bearing in [0.0, 1.5, 3.0, 4.5] {
        let mut device = Device::new();
        device.takes(&world, fix(0.0, PARIS, 0.0));
        device.takes(&world, fix(0.0, destination(PARIS, bearing, 40.0), 0.0));
        assert_eq!(device.inside().len(), 1, "at equal times inside beats outside");
        let last = device.track.last.expect("a fix was taken");
        let radius_m = safe_radius_m(&world, &device.track);
        let moved = device.takes(
            &world,
            Fix { at: last.at.plus(std::time::Duration::from_secs(60)), ..fix(0.0, last.position, last.accuracy_m) },
        );
        assert!(radius_m == 0.0 || moved.transitions.is_empty(), "{radius_m} m: {:?}", moved.transitions);
    }
}

#[test]
fn a_quiet_place_is_calm_and_a_border_is_not() {
    let shop = Fence::new("shop", Shape::Circle(TAVEUNI, 100.0));
    let world = world(&[shop]);
    let mut device = Device::new();
    for step in 0..8 {
        device.takes(&world, fix(f64::from(step) * 60.0, destination(TAVEUNI, 1.0, 2_100.0), 0.0));
    }
    let radius_m = safe_radius_m(&world, &device.track);
    assert!((1_900.0..=2_000.0).contains(&radius_m), "{radius_m}");
    device.takes(&world, fix(600.0, destination(TAVEUNI, 1.0, 105.0), 10.0));
    assert_eq!(safe_radius_m(&world, &device.track), 0.0, "undecided");
    device.takes(&world, fix(700.0, TAVEUNI, 0.0));
    let radius_m = safe_radius_m(&world, &device.track);
    assert!((99.0..=100.0).contains(&radius_m), "{radius_m}");
    let mut newer = world.clone();
    newer.generation += 1;
    assert_eq!(safe_radius_m(&newer, &device.track), 0.0, "another world");
}
