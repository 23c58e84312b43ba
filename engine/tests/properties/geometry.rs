//! Index, containment and probability.

use parvis_engine::{observation::Position, region::distance_m};
use proptest::prelude::*;

use crate::{
    cases,
    driver::{PARIS, POLE, TAVEUNI, TROMSO, world},
    oracle::{Fence, Shape, chord_distance_m, destination, fence, fences},
};

fn circles(base: Position, spread_m: f64) -> impl Strategy<Value = Vec<Fence>> {
    let one = (0.0..std::f64::consts::TAU, 0.0..1.0_f64, 5.0..3_000.0_f64);
    prop::collection::vec(one, 1..40).prop_map(move |all| {
        all.into_iter()
            .enumerate()
            .map(|(index, (bearing, part, radius_m))| {
                let center = destination(base, bearing, part * spread_m);
                Fence::new(&format!("c{index:03}"), Shape::Circle(center, radius_m))
            })
            .collect()
    })
}

fn places(base: Position, spread_m: f64) -> impl Strategy<Value = Vec<Position>> {
    let one = (0.0..std::f64::consts::TAU, 0.0..1.5_f64)
        .prop_map(move |(bearing, part)| destination(base, bearing, part * spread_m));
    prop::collection::vec(one, 60)
}

fn same_as_scan(fences: &[Fence], places: &[Position]) -> Result<(), TestCaseError> {
    let world = world(fences);
    for place in places {
        let found: Vec<&str> = world.regions.at(*place).iter().map(|fence| fence.region.id.as_str()).collect();
        let scanned: Vec<&str> =
            fences.iter().filter(|fence| fence.contains(*place)).map(|fence| fence.id.as_str()).collect();
        prop_assert_eq!(found, scanned, "at {:?}", place);
    }
    Ok(())
}

/// A rectangle from 170 east to 170 west and another around the pole, cut as RFC 7946 asks for.
fn seams() -> Vec<Fence> {
    let rect = |west: f64, south: f64, east: f64, north: f64| {
        vec![vec![(west, south), (east, south), (east, north), (west, north), (west, south)]]
    };
    let fence = |id: &str, parts| Fence::new(id, Shape::Polygons(parts));
    vec![
        fence(
            "cap",
            vec![rect(-180.0, 88.0, -60.0, 90.0), rect(-60.0, 88.0, 60.0, 90.0), rect(60.0, 88.0, 180.0, 90.0)],
        ),
        fence("fiji", vec![rect(179.9, -17.0, 180.0, -16.0), rect(-180.0, -17.0, -179.9, -16.0)]),
    ]
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn index_equals_scan((fences, places) in (fences(PARIS, 3_000.0, 60), places(PARIS, 3_000.0))) {
        same_as_scan(&fences, &places)?;
    }

    #[test]
    fn index_equals_scan_at_the_antimeridian((fences, places) in (circles(TAVEUNI, 5_000.0), places(TAVEUNI, 5_000.0))) {
        same_as_scan(&fences, &places)?;
        same_as_scan(&seams(), &places)?;
    }

    #[test]
    fn index_equals_scan_at_the_pole((fences, places) in (circles(POLE, 5_000.0), places(POLE, 5_000.0))) {
        same_as_scan(&fences, &places)?;
        same_as_scan(&seams(), &places)?;
    }

    #[test]
    fn distances_agree(a in places(POLE, 20_000_000.0)) {
        for pair in a.windows(2) {
            let (one, other) = (distance_m(pair[0], pair[1]), chord_distance_m(pair[0], pair[1]));
            prop_assert!((one - other).abs() <= 1e-3 + one * 1e-9, "{one} and {other}");
        }
    }
}

/// Fix and fence of all sizes relative to each other.
fn near_to(base: Position) -> impl Strategy<Value = (Shape, Position, f64)> {
    (fence(base, 10.0), 0.0..std::f64::consts::TAU, 0.0..1_200.0_f64, (2.0_f64.ln()..3_000.0_f64.ln())).prop_map(
        move |(shape, bearing, distance_m, accuracy)| (shape, destination(base, bearing, distance_m), accuracy.exp()),
    )
}

fn share_agrees(shape: Shape, place: Position, accuracy_m: f64) -> Result<(), TestCaseError> {
    let fence = Fence::new("f", shape);
    let counted = fence.share(place, accuracy_m, 1_500);
    let computed = fence.compiled().probability(place, accuracy_m);
    prop_assert!((counted - computed).abs() < 0.03, "counted {counted}, computed {computed}, {accuracy_m} m");
    Ok(())
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn probability_agrees_with_counting((shape, place, accuracy_m) in near_to(PARIS)) {
        share_agrees(shape, place, accuracy_m)?;
    }

    #[test]
    fn probability_agrees_with_counting_in_the_north((shape, place, accuracy_m) in near_to(TROMSO)) {
        share_agrees(shape, place, accuracy_m)?;
    }

    #[test]
    fn probability_agrees_with_counting_at_the_seams(
        (bearing, distance_m, accuracy_m) in (0.0..std::f64::consts::TAU, 0.0..20_000.0_f64, 1.0..5_000.0_f64),
    ) {
        for fence in seams() {
            for base in [TAVEUNI, POLE, Position { lat: 88.0, lon: 59.99 }] {
                share_agrees(fence.shape.clone(), destination(base, bearing, distance_m), accuracy_m)?;
            }
        }
    }
}

#[test]
fn the_border_belongs_to_the_fence() {
    let seams = seams();
    let (cap, fiji) = (seams[0].compiled(), seams[1].compiled());
    for (lat, lon) in
        [(-17.0, 179.9), (-16.0, -179.9), (-16.5, 180.0), (-16.5, -180.0), (-16.5, 179.9), (-16.5, 179.95)]
    {
        assert!(fiji.contains(Position { lat, lon }), "{lat} {lon}");
        assert_eq!(fiji.probability(Position { lat, lon }, 0.0), 1.0);
    }
    for lon in [-180.0, -60.0, 0.0, 60.0, 180.0] {
        assert!(cap.contains(Position { lat: 90.0, lon }) && cap.contains(Position { lat: 88.0, lon }), "{lon}");
        assert!(!cap.contains(Position { lat: -90.0, lon }) && !cap.contains(Position { lat: 87.999, lon }), "{lon}");
    }
    assert!(cap.probability(Position { lat: 89.0, lon: 60.0 }, 50.0) > 0.99, "a cut between parts is no border");
    assert!(fiji.probability(Position { lat: -16.5, lon: 180.0 }, 50.0) > 0.99, "the antimeridian is no border");
}

#[test]
fn areas_are_those_of_the_sphere() {
    let seams = seams();
    let half_angle = 1.0_f64.to_radians();
    let cap_m2 = 4.0 * std::f64::consts::PI * crate::oracle::RADIUS_M.powi(2) * half_angle.sin().powi(2);
    assert!((seams[0].compiled().area_m2() / cap_m2 - 1.0).abs() < 1e-9);
}
