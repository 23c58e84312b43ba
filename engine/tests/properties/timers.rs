//! What time alone causes, and when it must be asked.

use parvis_engine::{
    matching::{TransitionCause, TransitionKind, next_wake},
    shopper::Track,
    world::World,
};
use proptest::prelude::*;

use crate::{
    cases,
    driver::{Device, PARIS, at, fix, kinds, walk, world},
    oracle::{Fence, Shape, destination, fences},
};

fn shop(dwell_s: Option<u32>) -> World {
    world(&[Fence { approach_m: Some(300.0), dwell_s, ..Fence::new("shop", Shape::Circle(PARIS, 100.0)) }])
}

#[test]
fn dwell_fires_once_by_timer() {
    let world = shop(Some(300));
    let mut device = Device::new();
    device.takes(&world, fix(0.0, PARIS, 5.0));
    assert_eq!(next_wake(&world, &device.presences), Some(at(300.0)));
    assert_eq!(kinds(&device.waits(&world, at(299.9)).transitions), vec![]);
    let told = device.waits(&world, at(500.0));
    assert_eq!(kinds(&told.transitions), vec![(TransitionKind::Dwell, "shop".to_owned(), false)]);
    assert_eq!((told.transitions[0].at, told.transitions[0].cause), (at(300.0), TransitionCause::Timer));
    assert_eq!(kinds(&device.waits(&world, at(600.0)).transitions), vec![]);
    assert_eq!(next_wake(&world, &device.presences), Some(at(1_800.0)));
}

#[test]
fn silence_ends_a_presence_at_the_time_last_seen() {
    let world = shop(None);
    let mut device = Device::new();
    device.takes(&world, fix(0.0, PARIS, 5.0));
    device.takes(&world, fix(400.0, PARIS, 5.0));
    assert_eq!(device.presences[0].seen, at(0.0), "not worth a write");
    assert_eq!(kinds(&device.waits(&world, at(1_800.0)).transitions), vec![], "newer knowledge");
    assert_eq!(next_wake(&world, &device.presences), Some(at(2_200.0)));
    let gone = device.waits(&world, at(2_200.0));
    assert_eq!(kinds(&gone.transitions), vec![(TransitionKind::Exit, "shop".to_owned(), false)]);
    assert_eq!((gone.transitions[0].at, gone.transitions[0].cause), (at(400.0), TransitionCause::Timeout));
    assert_eq!(next_wake(&world, &device.presences), None);
    let back = device.takes(&world, fix(2_300.0, PARIS, 5.0));
    assert_eq!(kinds(&back.transitions), vec![(TransitionKind::Enter, "shop".to_owned(), false)]);
}

#[test]
fn nearness_ends_silently_and_removed_regions_end_at_once() {
    let world = shop(None);
    let mut device = Device::new();
    device.takes(&world, fix(0.0, destination(PARIS, 1.0, 250.0), 5.0));
    assert_eq!(device.presences.len(), 1);
    assert_eq!(device.waits(&world, at(1_800.0)).transitions, vec![]);
    assert_eq!(device.presences, vec![]);

    device.takes(&world, fix(2_000.0, PARIS, 5.0));
    let empty = crate::driver::world(&[]);
    assert!(next_wake(&empty, &device.presences).is_some_and(|wake| wake <= at(2_000.0)));
    let removed = device.waits(&empty, at(2_100.0));
    assert_eq!(removed.transitions[0].cause, TransitionCause::Removed);
    assert_eq!(device.presences, vec![]);
}

#[test]
fn a_quiet_shopper_is_written_a_few_times_per_time_out() {
    let world = shop(None);
    let mut device = Device::new();
    let writes = (0..180)
        .filter(|minute| device.takes(&world, fix(f64::from(*minute) * 10.0, PARIS, 5.0)).presences.is_some())
        .count();
    assert!((2..=5).contains(&writes), "{writes} writes in 30 minutes");
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn a_wake_fires_or_moves(
        (fences, fixes, waits) in (
            fences(PARIS, 400.0, 12),
            walk(PARIS, 25),
            prop::collection::vec((0..4_u8, 0.0..2_000.0_f64, any::<bool>()), 25),
        ),
    ) {
        let fences: Vec<Fence> = fences
            .into_iter()
            .zip([None, Some(30), Some(600)].into_iter().cycle())
            .map(|(fence, dwell_s)| Fence { dwell_s, ..fence })
            .collect();
        let world = world(&fences);
        let mut device = Device::new();
        let mut pause = 0.0;
        for (fix, (silence, seconds, restarts)) in fixes.into_iter().zip(waits) {
            if silence == 0 {
                pause += seconds;
            }
            let fix = crate::driver::fix(
                (fix.at.as_millis() - crate::driver::START) as f64 / 1_000.0 + pause,
                fix.position,
                fix.accuracy_m,
            );
            if restarts {
                device.track = Track::default();
            }
            for _ in 0..1_000 {
                let Some(wake) = next_wake(&world, &device.presences).filter(|wake| *wake <= fix.at) else { break };
                let told = device.waits(&world, wake);
                let moved = next_wake(&world, &device.presences).is_none_or(|next| next > wake);
                prop_assert!(moved, "{:?} at {wake} and still due", told.transitions);
                prop_assert!(told.transitions.iter().all(|told| told.at <= wake));
            }
            device.takes(&world, fix);
        }
    }
}
