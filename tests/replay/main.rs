//! `parvis replay` over a synthetic recording gives exactly the enter and exit list of an independent calculation.

mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use parvis::entropy::Entropy;
use serde_json::{Value, json};

const EARTH_RADIUS_M: f64 = 6_371_008.8;
const START_MS: i64 = 1_790_000_000_000;
const STEP_S: i64 = 30;

/// Seeded chance.
struct Dice(Entropy);

impl Dice {
    fn between(&self, low: f64, high: f64) -> f64 {
        low + self.0.unit() * (high - low)
    }
}

enum Shape {
    Circle { lat: f64, lon: f64, radius_m: f64 },
    Ring { ring: Vec<[f64; 2]>, low: [f64; 2], high: [f64; 2] },
}

impl Shape {
    fn feature(&self, id: &str) -> Value {
        let (geometry, properties) = match self {
            Shape::Circle { lat, lon, radius_m } => {
                (json!({ "type": "Point", "coordinates": [lon, lat] }), json!({ "radius_m": radius_m }))
            }
            Shape::Ring { ring, .. } => (json!({ "type": "Polygon", "coordinates": [ring] }), json!({})),
        };
        json!({ "type": "Feature", "id": id, "geometry": geometry, "properties": properties })
    }

    fn holds(&self, lat: f64, lon: f64) -> bool {
        match self {
            Shape::Circle { lat: center_lat, lon: center_lon, radius_m } => {
                // A degree of latitude is 111,195 m: whoever is further north or south is out.
                if (lat - center_lat).abs() * 111_000.0 > *radius_m {
                    return false;
                }
                let (from, to) = (center_lat.to_radians(), lat.to_radians());
                let (dlat, dlon) = (to - from, (lon - center_lon).to_radians());
                let h = (dlat / 2.0).sin().powi(2) + from.cos() * to.cos() * (dlon / 2.0).sin().powi(2);
                2.0 * EARTH_RADIUS_M * h.sqrt().asin() <= *radius_m
            }
            Shape::Ring { ring, low, high } => {
                if lon < low[0] || lon > high[0] || lat < low[1] || lat > high[1] {
                    return false;
                }
                let crossings = ring.windows(2).filter(|edge| {
                    let [[x1, y1], [x2, y2]] = [edge[0], edge[1]];
                    (y1 > lat) != (y2 > lat) && lon < (x2 - x1) * (lat - y1) / (y2 - y1) + x1
                });
                crossings.count() % 2 == 1
            }
        }
    }
}

fn shapes(dice: &Dice) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    for index in 0..3_000 {
        let (lat, lon) = (dice.between(48.5, 49.2), dice.between(1.9, 2.9));
        shapes.insert(format!("circle-{index}"), Shape::Circle { lat, lon, radius_m: dice.between(40.0, 600.0) });
    }
    for index in 0..40 {
        let (lat, lon) = (dice.between(48.5, 49.2), dice.between(1.9, 2.9));
        let (vertices, reach) = (200 + index * 50, dice.between(0.02, 0.15));
        let mut ring: Vec<[f64; 2]> = (0..vertices)
            .map(|vertex| {
                let angle = f64::from(vertex) / f64::from(vertices) * std::f64::consts::TAU;
                let distance = reach * dice.between(0.7, 1.0);
                [lon + distance * angle.cos() * 1.5, lat + distance * angle.sin()]
            })
            .collect();
        ring.push(ring[0]);
        let bound = |pick: fn(f64, f64) -> f64| {
            ring.iter().copied().reduce(|a, b| [pick(a[0], b[0]), pick(a[1], b[1])]).expect("a ring has corners")
        };
        let (low, high) = (bound(f64::min), bound(f64::max));
        shapes.insert(format!("polygon-{index}"), Shape::Ring { ring, low, high });
    }
    shapes
}

/// Walkers and drivers, 100,000 fixes in the order of time.
fn walks(dice: &Dice) -> Vec<(i64, String, f64, f64)> {
    let mut fixes = Vec::new();
    for walker in 0..200 {
        let (mut lat, mut lon) = (dice.between(48.55, 49.15), dice.between(2.0, 2.8));
        let (mut heading, speed_mps) = (dice.between(0.0, std::f64::consts::TAU), dice.between(1.0, 30.0));
        for step in 0..500 {
            fixes.push((START_MS + step * STEP_S * 1_000, format!("phone-{walker}"), lat, lon));
            heading += dice.between(-0.5, 0.5);
            let moved_deg = speed_mps * STEP_S as f64 / 111_195.0;
            lat += moved_deg * heading.cos();
            lon += moved_deg * heading.sin() / lat.to_radians().cos();
        }
    }
    fixes.sort_by(|one, two| (one.0, &one.1).cmp(&(two.0, &two.1)));
    fixes
}

type Happened = BTreeSet<(String, String, String, String)>;

fn expected(shapes: &BTreeMap<String, Shape>, fixes: &[(i64, String, f64, f64)]) -> Happened {
    let mut inside: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut happened = Happened::new();
    for (at, device, lat, lon) in fixes {
        let now: BTreeSet<&str> =
            shapes.iter().filter(|(_, shape)| shape.holds(*lat, *lon)).map(|(id, _)| id.as_str()).collect();
        let before = inside.insert(device, now.clone()).unwrap_or_default();
        let mut note = |region: &str, kind: &str| {
            happened.insert((rfc_3339(*at), device.clone(), region.to_owned(), kind.to_owned()));
        };
        now.difference(&before).for_each(|region| note(region, "enter"));
        before.difference(&now).for_each(|region| note(region, "exit"));
    }
    happened
}

fn rfc_3339(at_ms: i64) -> String {
    parvis_engine::time::Timestamp::from_millis(at_ms).to_string()
}

fn replay(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_parvis"))
        .args(["replay", "--print", "transitions", "--config"])
        .arg(folder)
        .arg("--observations")
        .arg(folder.join("observations.ndjson"))
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "replay failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

#[test]
fn a_hundred_thousand_fixes_give_the_independent_list() {
    let dice = Dice(Entropy::seeded(20_261_121));
    let shapes = shapes(&dice);
    let fixes = walks(&dice);
    assert_eq!(fixes.len(), 100_000);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let features: Vec<Value> = shapes.iter().map(|(id, shape)| shape.feature(id)).collect();
    let collection = json!({ "type": "FeatureCollection", "features": features });
    fs::write(folder.path().join("geofences.geojson"), collection.to_string()).expect("the folder is writable");
    let mut lines = String::new();
    for (at, device, lat, lon) in &fixes {
        writeln!(lines, r#"{{"device":"{device}","kind":"fix","at":"{}","lat":{lat},"lon":{lon}}}"#, rfc_3339(*at))
            .expect("writing to a string works");
    }
    fs::write(folder.path().join("observations.ndjson"), lines).expect("the folder is writable");

    let printed = replay(folder.path());
    assert_eq!(printed, replay(folder.path()), "the same input gives the same bytes");
    let text = |line: &Value, field: &str| line[field].as_str().expect("a string").to_owned();
    let mut lines = 0;
    let got: Happened = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
        .filter(|line| matches!(line["transition"].as_str(), Some("enter" | "exit")))
        .inspect(|_| lines += 1)
        .map(|line| (text(&line, "at"), text(&line, "device"), text(&line, "region"), text(&line, "transition")))
        .collect();
    let expected = expected(&shapes, &fixes);
    assert!(expected.len() > 5_000, "the recording is worth playing: {} transitions", expected.len());
    assert_eq!(lines, got.len(), "nothing is told twice");
    let missing: Vec<_> = expected.difference(&got).take(5).collect();
    let surplus: Vec<_> = got.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
}
