//! Unsound geometry is refused with fence, ring and reason, all of it at once.

use parvis_engine::{
    observation::Position,
    region::{Collection, Feature, Geofence},
};
use proptest::prelude::*;

use crate::{
    cases,
    driver::PARIS,
    oracle::{fences, star},
};

fn feature(geometry: &str, properties: &str) -> Result<Feature, String> {
    let text = format!(r#"{{"type":"Feature","id":"mall","geometry":{geometry},"properties":{properties}}}"#);
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn problems(geometry: &str, properties: &str) -> Vec<(String, String)> {
    let feature = feature(geometry, properties).expect("well-formed");
    let problems = Geofence::compile(feature).expect_err("unsound");
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

fn polygon(rings: &str) -> Vec<(String, String)> {
    problems(&format!(r#"{{"type":"Polygon","coordinates":{rings}}}"#), "{}")
}

fn refused(rings: &str, path: &str, reason: &str) {
    let found = polygon(rings);
    let expected =
        |(at, message): &(String, String)| at == path && message.contains(reason) && message.contains("\"mall\"");
    assert!(found.iter().any(expected), "{found:?} has no {reason:?} at {path}");
}

#[test]
fn each_reason_by_name() {
    refused("[[[0,0],[2,2],[2,0],[0,2],[0,0]]]", "/geometry/coordinates/0", "crosses or touches itself");
    refused("[[[0,0],[2,0],[1,0],[1,1],[0,0]]]", "/geometry/coordinates/0", "crosses or touches itself");
    refused("[[[0,0],[1,1],[2,0],[2,2],[1,1],[0,2],[0,0]]]", "/geometry/coordinates/0", "crosses or touches itself");
    refused("[[[0,0],[2,0],[2,2],[0,2]]]", "/geometry/coordinates/0", "not closed");
    refused("[[[0,0],[2,0],[0,0]]]", "/geometry/coordinates/0", "has 3 positions");
    refused("[[[0,0],[2,0],[2,91],[0,0]]]", "/geometry/coordinates/0", "position 2 is [2, 91]");
    refused("[[[-100,0],[100,0],[0,10],[-100,0]]]", "/geometry/coordinates/0", "is 200 degrees wide");
    refused("[[[0,0],[1,1],[2,2],[0,0]]]", "/geometry/coordinates/0", "encloses no area");
    refused(
        "[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[3,3],[5,3],[5,5],[3,5],[3,3]]]",
        "/geometry/coordinates/1",
        "leaves its shell",
    );
    refused(
        "[[[0,0],[9,0],[9,9],[0,9],[0,0]],[[1,1],[4,1],[4,4],[1,4],[1,1]],[[2,2],[3,2],[3,3],[2,3],[2,2]]]",
        "/geometry/coordinates/2",
        "overlaps the hole that is ring 1",
    );
    refused("[]", "/geometry/coordinates", "at least one ring");
}

#[test]
fn all_problems_at_once() {
    let found = problems(
        r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[2,2],[2,0],[0,2],[0,0]]],[[[0,0],[1,0],[1,1]]]]}"#,
        r#"{"approach_m":-1,"enter_probability":0.2,"radius_m":5}"#,
    );
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/properties/approach_m",
            "/properties/enter_probability",
            "/properties/radius_m",
            "/geometry/coordinates/0/0",
            "/geometry/coordinates/1/0",
            "/geometry/coordinates/1/0",
        ]
    );
    let nan = Feature {
        geometry: parvis_engine::region::Geometry::Polygon {
            coordinates: vec![vec![[0.0, 0.0].into(), [f64::NAN, 0.0].into(), [1.0, 1.0].into(), [0.0, 0.0].into()]],
        },
        ..feature(r#"{"type":"Point","coordinates":[0,0]}"#, "{}").expect("well-formed")
    };
    assert!(Geofence::compile(nan).is_err());
}

#[test]
fn malformed_documents_say_where() {
    let error = |geometry: &str, properties: &str| feature(geometry, properties).expect_err("malformed");
    assert!(
        error(r#"{"type":"Point","coordinates":["2",48]}"#, "{}").contains("coordinates")
            || error(r#"{"type":"Point","coordinates":["2",48]}"#, "{}").contains("string")
    );
    assert!(error(r#"{"type":"Point","coordinates":[2]}"#, "{}").contains("[longitude, latitude]"));
    assert!(error(r#"{"type":"LineString","coordinates":[]}"#, "{}").contains("LineString"));
    assert!(error(r#"{"type":"Point","coordinates":[2,48]}"#, r#"{"raduis_m":5}"#).contains("raduis_m"));
}

#[test]
fn repeated_positions_and_touching_holes_are_sound() {
    let sound = [
        "[[[0,0],[2,0],[2,0],[2,2],[0,2],[0,0],[0,0]]]",
        "[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[0,0],[2,1],[1,2],[0,0]]]",
        "[[[0,0,35],[4,0,35],[4,4,35],[0,4,35],[0,0,35]]]",
    ];
    for rings in sound {
        let feature = feature(&format!(r#"{{"type":"Polygon","coordinates":{rings}}}"#), "{}").expect("well-formed");
        let fence = Geofence::compile(feature.clone()).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(fence.feature(), feature, "what was put in comes out");
    }
}

#[test]
fn fifty_thousand_vertices_are_checked_and_matched() {
    let radii: Vec<f64> = (0..50_000).map(|index| 0.7 + 0.3 * (f64::from(index) * 0.01).sin()).collect();
    let mut ring = star(PARIS, 20_000.0, &radii, 1.0);
    let fence = |ring: &[(f64, f64)]| {
        crate::oracle::Fence::new("county", crate::oracle::Shape::Polygons(vec![vec![ring.to_vec()]]))
    };
    let county = fence(&ring);
    let compiled = county.compiled();
    for step in 0..100 {
        let place = crate::oracle::destination(PARIS, f64::from(step), f64::from(step) * 220.0);
        assert_eq!(compiled.contains(place), county.contains(place));
    }
    ring.swap(10_000, 30_000);
    let problems = Geofence::compile(fence(&ring).feature()).expect_err("crosses itself");
    assert!(problems[0].message.contains("crosses or touches itself"), "{problems:?}");
}

/// Long teeth side by side, each edge within the bounds of all others.
fn comb(teeth: u32) -> String {
    let tooth = |index: u32| {
        let shift = f64::from(index) * 1e-4;
        let (left, right) = ([shift, -shift], [10.0 + shift + 2e-5, 10.0 - shift]);
        format!(
            "[{},{}],[{},{}],[{},{}],[{},{}]",
            left[0],
            left[1],
            right[0],
            right[1],
            right[0] + 3e-5,
            right[1],
            left[0] + 7e-5,
            left[1]
        )
    };
    let teeth: Vec<String> = (0..teeth).map(tooth).collect();
    format!("[[{},[-5,-5],[0,0]]]", teeth.join(","))
}

#[test]
fn what_would_take_forever_to_compare_is_refused() {
    let sound = feature(&format!(r#"{{"type":"Polygon","coordinates":{}}}"#, comb(500)), "{}").expect("well-formed");
    assert!(Geofence::compile(sound).is_ok());
    refused(&comb(8_000), "/geometry/coordinates/0", "too many edges beside each other");
    let holes = "[[0,0],[1,0],[1,1],[0,0]],".repeat(5_000);
    refused(&format!("[{holes}[[0,0],[1,0],[1,1],[0,0]]]"), "/geometry/coordinates", "has 5001 rings");
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn what_is_put_in_comes_out(fences in fences(PARIS, 1_000.0, 8)) {
        // Numbers of up to fifteen digits are read back to the last bit.
        let features: Vec<Feature> = fences.iter().map(|fence| fence.rounded().feature()).collect();
        let collection = Collection { features, ..Collection::default() };
        let text = serde_json::to_string(&collection).expect("serialises");
        let read: Collection = serde_json::from_str(&text).expect("reads");
        for (feature, written) in read.features.into_iter().zip(&collection.features) {
            let fence = Geofence::compile(feature).expect("sound");
            prop_assert_eq!(serde_json::to_string(&fence).expect("serialises"), serde_json::to_string(written).expect("serialises"));
        }
    }

    #[test]
    fn swapped_vertices_are_noticed(
        (radii, swap) in (prop::collection::vec(0.9..1.0_f64, 8..300), (0.0..1.0_f64, 0.0..1.0_f64)),
    ) {
        let mut ring = star(PARIS, 500.0, &radii, 1.0);
        let count = radii.len();
        let one = 1 + (swap.0 * (count - 1) as f64) as usize;
        let other = 1 + (swap.1 * (count - 1) as f64) as usize;
        prop_assume!(one.abs_diff(other) > 2 && one.abs_diff(other) < count - 3 && one < count && other < count);
        ring.swap(one, other);
        let fence = crate::oracle::Fence::new("f", crate::oracle::Shape::Polygons(vec![vec![ring]]));
        prop_assert!(Geofence::compile(fence.feature()).is_err());
    }
}

#[test]
fn positions_are_longitude_first() {
    let feature =
        feature(r#"{"type":"Point","coordinates":[2.2945,48.8584]}"#, r#"{"radius_m":50}"#).expect("well-formed");
    let fence = Geofence::compile(feature).expect("sound");
    assert!(fence.contains(Position { lat: 48.8584, lon: 2.2945 }));
}
