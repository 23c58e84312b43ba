//! Whether the registry finds what is in it, by name, by identity and by place.

use super::*;

pub(super) fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn compiled<S: serde::de::DeserializeOwned, T>(
    compile: fn(S) -> Result<T, Vec<Problem>>,
    value: serde_json::Value,
) -> Result<T, Vec<String>> {
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    compile(serde_json::from_value(value).expect("well formed")).map_err(told)
}

fn paths<T: std::fmt::Debug>(result: Result<T, Vec<String>>) -> Vec<String> {
    let problems = result.expect_err("wrong");
    problems.into_iter().map(|text| text.split(": ").next().unwrap_or_default().to_owned()).collect()
}

pub(super) fn beacon(at: usize, position: Position) -> Arc<Beacon> {
    let value = serde_json::json!({"id": format!("b{at:04}"), "store": "s", "position": position,
        "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": at / 100, "minor": at % 100});
    Arc::new(compiled(Beacon::compile, value).expect("sound"))
}

/// Middles of places where longitude does odd things, and one where it does not.
pub(super) fn corners() -> Vec<Position> {
    let places = [(48.87, 2.33), (0.0, 180.0), (-17.0, -180.0), (89.999, 40.0), (-90.0, 0.0), (71.0, 179.999)];
    places.map(|(lat, lon)| Position { lat, lon }).to_vec()
}

/// Positions within some kilometres of a middle, and the middle itself.
pub(super) fn scattered(seed: u64, center: Position, count: usize) -> Vec<Position> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // Xorshift (Marsaglia 2003), scaled to -1 to 1.
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    let squeeze = center.lat.to_radians().cos().max(1e-4);
    let mut places = vec![center];
    while places.len() < count {
        let lat = (center.lat + next() * 0.03).clamp(-90.0, 90.0);
        let lon = center.lon + next() * 0.03 / squeeze;
        places.push(Position { lat, lon: (lon + 540.0).rem_euclid(360.0) - 180.0 });
    }
    places
}

/// By looking at every beacon.
pub(super) fn within(beacons: &[Arc<Beacon>], place: Position, radius_m: f64) -> Vec<(f64, String)> {
    let distance =
        |it: &Arc<Beacon>| it.spec.position.map(|position| (distance_m(place, position), it.spec.id.to_string()));
    let mut found: Vec<_> = beacons.iter().filter_map(distance).filter(|(distance, _)| *distance <= radius_m).collect();
    found.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.cmp(y)));
    found
}

#[test]
fn what_hangs_around_is_what_looking_at_everything_finds() {
    for (seed, center) in corners().into_iter().enumerate() {
        let mut places = scattered(seed as u64 + 7, center, 400);
        // The same place under its other longitude.
        places.push(Position { lon: if center.lon > 0.0 { center.lon - 360.0 } else { center.lon + 360.0 }, ..center });
        places.retain(|place| place.lon.abs() <= 180.0);
        let beacons: Vec<_> = places.iter().enumerate().map(|(at, place)| beacon(at, *place)).collect();
        let registry = Registry::new(Parts { beacons: beacons.clone(), ..Parts::default() });
        for (place, radius_m) in places.iter().zip([0.0, 3.0, 60.0, 700.0, 5_000.0, 400_000.0].into_iter().cycle()) {
            let found: Vec<(f64, String)> = registry
                .around(*place, radius_m)
                .into_iter()
                .map(|(distance, fixture)| (distance, fixture.name().1.to_owned()))
                .collect();
            assert_eq!(found, within(&beacons, *place, radius_m), "seed {seed}, {place:?}, {radius_m} m");
        }
    }
}

#[test]
fn every_problem_of_a_beacon_is_told() {
    let beacon = |value| compiled(Beacon::compile, value);
    let mac = "c4:be:84:1f:20:33";
    let wrong = serde_json::json!({"id": "a", "mac": mac, "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1,
        "minor": 2, "measured_power_dbm": 40.0, "position": {"lat": 91.0, "lon": -181.0}, "name": "x".repeat(300)});
    let expected = [
        "a beacon says who it is in exactly one way",
        "/store",
        "/measured_power_dbm",
        "/name",
        "/position/lat",
        "/position/lon",
    ];
    assert_eq!(
        paths(beacon(wrong)).iter().map(|path| path.split(':').next().unwrap_or_default()).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(
        paths(beacon(serde_json::json!({"id": "a", "role": "tag"}))),
        ["a beacon says who it is in exactly one way"]
    );
    assert_eq!(paths(beacon(serde_json::json!({"id": "a", "role": "tag", "zone": "z", "mac": mac}))), ["/zone"]);
    let half = serde_json::json!({"id": "a", "store": "s", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "minor": 2});
    assert_eq!(paths(beacon(half)), ["/major"]);
    let half = serde_json::json!({"id": "a", "store": "s", "namespace": "edd1ebeac04e5defa017"});
    assert_eq!(paths(beacon(half)), ["/instance"]);
    let eid =
        serde_json::json!({"id": "a", "role": "tag", "eid": {"exponent": 16, "started_at": "2026-10-01T00:00:00Z"}});
    assert_eq!(paths(beacon(eid)), ["/eid/exponent"]);
    let tag = beacon(serde_json::json!({"id": "a", "role": "tag", "mac": mac})).expect("a tag needs no store");
    assert!(matches!(tag.identity, Some(Identity::Mac { .. })));
}

#[test]
fn every_problem_of_a_zone_is_told() {
    let wrong = serde_json::json!({"id": "z", "store": "s", "group": "z", "dwell_s": 0, "exit_after_s": 100_000,
        "floor_dbm": -5.0, "codes": [""], "tags": ["", "ok"], "name": "x".repeat(300)});
    let expected = ["/dwell_s", "/exit_after_s", "/tags", "/name", "/floor_dbm", "/group", "/codes"];
    assert_eq!(paths(compiled(Zone::compile, wrong)), expected);
    let codes: Vec<String> = (0..=Zone::CODES_MAX).map(|at| format!("q{at}")).collect();
    let wrong = serde_json::json!({"id": "z", "store": "s", "codes": codes});
    assert_eq!(paths(compiled(Zone::compile, wrong)), ["/codes"]);
}

#[test]
fn every_problem_of_a_scanner_and_a_beacon_region_is_told() {
    let wrong = serde_json::json!({"id": "s", "store": "s", "offset_db": 41.0, "plan": {"x_m": 1e9, "y_m": 0.0}});
    assert_eq!(paths(compiled(Scanner::compile, wrong)), ["/plan", "/offset_db"]);
    let wrong =
        serde_json::json!({"id": "r", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "minor": 1, "dwell_s": 0});
    assert_eq!(paths(compiled(BeaconRegion::compile, wrong)), ["/dwell_s", "/minor"]);
}

fn region(id: &str, major: Option<u16>, minor: Option<u16>) -> Arc<BeaconRegion> {
    let value =
        serde_json::json!({"id": id, "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": major, "minor": minor});
    Arc::new(compiled(BeaconRegion::compile, value).expect("sound"))
}

#[test]
fn a_beacon_is_in_the_regions_that_cover_it() {
    let other = serde_json::json!({"id": "other", "uuid": "00000000-4fa2-4e98-8024-bc5b71e0893e"});
    let other = Arc::new(compiled(BeaconRegion::compile, other).expect("sound"));
    let regions = vec![
        region("all", None, None),
        region("m1", Some(1), None),
        region("m1-2", Some(1), Some(2)),
        region("m2", Some(2), None),
        other,
    ];
    let registry = Registry::new(Parts { regions, ..Parts::default() });
    let place = Position { lat: 0.0, lon: 0.0 };
    let covering = |at| -> Vec<String> {
        let identity = beacon(at, place).identity.expect("it has one");
        registry.beacon_regions_of(&identity).map(|it| it.spec.id.to_string()).collect()
    };
    assert_eq!(covering(102), ["all", "m1", "m1-2"]);
    assert_eq!(covering(103), ["all", "m1"]);
    assert_eq!(covering(5), ["all"]);
}

#[test]
fn of_two_with_the_same_name_only_the_later_is_found() {
    let here = Position { lat: 10.0, lon: 20.0 };
    let there = Position { lat: -10.0, lon: 20.0 };
    let scanner = |zone: &str| {
        let value = serde_json::json!({"id": "s-1", "store": "s", "zone": zone, "position": here});
        Arc::new(compiled(Scanner::compile, value).expect("sound"))
    };
    let registry = Registry::new(Parts {
        beacons: vec![beacon(1, here), beacon(1, there)],
        scanners: vec![scanner("a"), scanner("b")],
        regions: vec![region("r", None, None), region("r", Some(7), None)],
        ..Parts::default()
    });
    assert_eq!(registry.around(here, 1.0).len(), 1, "the scanner once, the beacon no more");
    assert_eq!(registry.around(there, 1.0).len(), 1);
    assert!(registry.scanners_of(&name("a")).is_empty());
    assert_eq!(registry.scanners_of(&name("b")).len(), 1);
    assert_eq!(registry.beacon_regions_of(&beacon(1, here).identity.expect("it has one")).count(), 0);
}

#[test]
fn beacons_zones_and_tags_are_found_by_what_they_say() {
    let zone = serde_json::json!({"id": "tv", "store": "s", "codes": ["q1", "q2"], "exit_after_s": 9});
    let tag = serde_json::json!({"id": "cart", "role": "tag", "mac": "c4:be:84:1f:20:33"});
    let tag = Arc::new(compiled(Beacon::compile, tag).expect("sound"));
    let fixed = beacon(3, Position { lat: 0.0, lon: 0.0 });
    let registry = Registry::new(Parts {
        beacons: vec![tag.clone(), fixed.clone()],
        zones: vec![Arc::new(compiled(Zone::compile, zone).expect("sound"))],
        ..Parts::default()
    });
    assert_eq!(registry.zone_of_code("q2").map(|zone| zone.spec.id.as_str()), Some("tv"));
    assert!(registry.zone_of_code("q3").is_none());
    assert_eq!(registry.exit_after(&name("tv")), Some(Duration::from_secs(9)));
    let heard = registry.heard(&tag.identity.expect("it has one").into()).expect("it is registered");
    assert_eq!(heard.spec.id.as_str(), "cart");
    assert!(registry.tag(&name("cart")).is_some());
    assert!(registry.tag(&name("b0003")).is_none(), "what hangs in a shop is no device");
    assert_eq!(registry.region(&name("tv")).map(|region| region.id.as_str()), Some("tv"));
}
