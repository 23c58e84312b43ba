//! Recorded walks with their truth: `parvis replay --truth` judges them, `parvis calibrate` learns from them, and what it
//! prints can be put into the registry and is worth what it says.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use parvis::entropy::Entropy;
use serde_json::json;
use tempfile::TempDir;

use super::{Dice, START_MS, rfc_3339};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
const ZONES: [&str; 3] = ["coffee", "tea", "wine"];
const ZONE_M: f64 = 6.0;
/// What is weaker of everything that hangs in the tea aisle, dB.
const FAINT_DB: f64 = 9.0;
const WALK_S: i64 = 600;

/// What hangs in the aisles, and who walks.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    /// Scanners, and a cart with a tag.
    Scanners,
    /// Beacons, and somebody with a phone.
    Beacons,
}

impl Direction {
    fn walker(self) -> &'static str {
        match self {
            Direction::Scanners => "cart",
            Direction::Beacons => "phone",
        }
    }
}

/// Two in each of three aisles: name, zone and place.
fn hung() -> Vec<(String, usize, f64, f64)> {
    let of_zone = |zone: usize| {
        let left_m = ZONE_M * zone as f64;
        [
            (format!("{}-1", ZONES[zone]), zone, left_m + 1.5, 1.0),
            (format!("{}-2", ZONES[zone]), zone, left_m + 4.5, 5.0),
        ]
    };
    (0..ZONES.len()).flat_map(of_zone).collect()
}

fn registry(entries: &str) -> String {
    let mut text = String::new();
    for zone in ZONES {
        writeln!(text, "[[zone]]\nid = \"{zone}\"\nstore = \"opera\"\ngroup = \"drinks\"").expect("a string takes it");
    }
    writeln!(text, "[[zone]]\nid = \"drinks\"\nstore = \"opera\"").expect("a string takes it");
    format!("{text}{entries}")
}

fn as_hung(direction: Direction) -> String {
    let mut text = String::new();
    if direction == Direction::Scanners {
        text = format!("[[beacon]]\nid = \"cart\"\nrole = \"tag\"\nuuid = \"{UUID}\"\nmajor = 9\nminor = 1\n");
    }
    for (minor, (id, zone, x_m, y_m)) in hung().into_iter().enumerate() {
        let zone = ZONES[zone];
        let (kind, more) = match direction {
            Direction::Scanners => ("scanner", String::new()),
            Direction::Beacons => ("beacon", format!("uuid = \"{UUID}\"\nmajor = 1\nminor = {minor}\n")),
        };
        let place = format!("plan = {{ x_m = {x_m}, y_m = {y_m} }}");
        writeln!(text, "[[{kind}]]\nid = \"{id}\"\nstore = \"opera\"\nzone = \"{zone}\"\n{place}\n{more}")
            .expect("a string takes it");
    }
    text
}

/// Up and down the aisles at half a metre a second.
fn x_m(second: i64) -> f64 {
    let (length_m, walked_m) = (16.0, 0.5 * second as f64);
    let along_m = walked_m % (2.0 * length_m);
    1.0 + if along_m < length_m { along_m } else { 2.0 * length_m - along_m }
}

fn record(folder: &Path, direction: Direction, knows_places: bool) {
    let dice = Dice(Entropy::seeded(20_261_122));
    let (mut heard, mut truth) = (String::new(), String::new());
    let walker = direction.walker();
    for second in 0..WALK_S {
        let (x_m, at_ms) = (x_m(second), START_MS + second * 1_000);
        let (from, until) = (rfc_3339(at_ms), rfc_3339(at_ms + 1_000));
        let mut known = json!({"device": walker, "from": from, "until": until, "zone": ZONES[(x_m / ZONE_M) as usize]});
        if knows_places {
            known["plan"] = json!({"x_m": x_m, "y_m": 3.0});
        }
        writeln!(truth, "{known}").expect("a string takes it");
        for (at, (id, zone, its_x_m, its_y_m)) in hung().into_iter().enumerate() {
            let metres = (x_m - its_x_m).hypot(3.0 - its_y_m);
            let faint_db = if ZONES[zone] == "tea" { FAINT_DB } else { 0.0 };
            let rssi_dbm = (-59.0 - 25.0 * metres.log10() - faint_db + dice.between(-4.0, 4.0)).round();
            let mut line = json!({"device": walker, "kind": "sighting", "at": from, "uuid": UUID, "rssi_dbm": rssi_dbm, "count": 3});
            let (major, minor) = match direction {
                Direction::Scanners => {
                    line["observer"] = json!(id);
                    (9, 1)
                }
                Direction::Beacons => (1, at),
            };
            (line["major"], line["minor"]) = (json!(major), json!(minor));
            writeln!(heard, "{line}").expect("a string takes it");
        }
    }
    fs::write(folder.join("observations.ndjson"), heard).expect("the folder is writable");
    fs::write(folder.join("truth.ndjson"), truth).expect("the folder is writable");
}

fn recording(direction: Direction, knows_places: bool) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = "[[store]]\nid = \"opera\"\nname = \"Opera\"\ntime_zone = \"Europe/Paris\"\n";
    fs::write(folder.path().join("stores.toml"), store).expect("the folder is writable");
    fs::write(folder.path().join("beacons.toml"), registry(&as_hung(direction))).expect("the folder is writable");
    record(folder.path(), direction, knows_places);
    folder
}

fn parvis(command: &str, folder: &Path) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_parvis"))
        .arg(command)
        .arg("--config")
        .arg(folder)
        .arg("--observations")
        .arg(folder.join("observations.ndjson"))
        .arg("--truth")
        .arg(folder.join("truth.ndjson"))
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The share of time that the report calls right.
fn right(report: &str) -> &str {
    let line = report.lines().find(|line| line.starts_with("right")).expect("a line that says how often it was right");
    line.split_whitespace().nth(1).expect("a number")
}

/// What calibrating learns of everything that hangs, relative to what hangs outside the tea aisle, dB; after the advice
/// has been followed and found to be worth what it says.
fn learned(folder: &Path, kind: &str, number: &str) -> BTreeMap<String, f64> {
    let before = parvis("replay", folder).expect("a report");
    let learned = parvis("calibrate", folder).expect("advice");
    fs::write(folder.join("beacons.toml"), registry(&learned)).expect("the folder is writable");
    let after = parvis("replay", folder).expect("a report");
    let share = |report: &str| right(report).parse::<f64>().expect("a number");
    assert!(share(&after) > share(&before) + 10.0, "{before}\n{after}");
    assert!(share(&after) > 75.0, "{after}");
    let promise = format!("told for {} % of the time instead of {} %", right(&after), right(&before));
    assert!(learned.contains(&promise), "{promise}\n{learned}");

    let advice: toml::Table = learned.parse().expect("TOML, comments and all");
    let entries = advice[kind].as_array().expect("entries").iter().map(|entry| {
        let id = entry["id"].as_str().expect("an id").to_owned();
        (id, entry.get(number).map_or(0.0, |number| number.as_float().expect("a number")))
    });
    let numbers: BTreeMap<String, f64> = entries.filter(|(id, _)| id != "cart").collect();
    assert_eq!(numbers.len(), 6, "{learned}");
    let sound = numbers.iter().filter(|(id, _)| !id.starts_with("tea")).map(|(_, number)| number).sum::<f64>() / 4.0;
    numbers.into_iter().map(|(id, number)| (id, number - sound)).collect()
}

fn assert_tea_differs_by(expected_db: f64, within_db: f64, learned: &BTreeMap<String, f64>) {
    for (id, number) in learned {
        let expected = if id.starts_with("tea") { expected_db } else { 0.0 };
        assert!((number - expected).abs() < within_db, "{id}: {learned:?}");
    }
}

#[test]
fn offsets_of_scanners_are_learned_from_places() {
    let folder = recording(Direction::Scanners, true);
    assert_tea_differs_by(FAINT_DB, 1.2, &learned(folder.path(), "scanner", "offset_db"));
}

#[test]
fn offsets_of_scanners_are_learned_from_zones() {
    let folder = recording(Direction::Scanners, false);
    assert_tea_differs_by(FAINT_DB, 2.5, &learned(folder.path(), "scanner", "offset_db"));
}

#[test]
fn power_of_beacons_is_learned_from_places() {
    let folder = recording(Direction::Beacons, true);
    assert_tea_differs_by(-FAINT_DB, 1.2, &learned(folder.path(), "beacon", "measured_power_dbm"));
}

#[test]
fn a_walk_is_judged_zone_by_zone() {
    let report = parvis("replay", recording(Direction::Scanners, true).path()).expect("a report");
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[0], "judged     600.0 s of 1 device");
    let zone = |second: i64| (x_m(second) / ZONE_M) as usize;
    let changes = (1..WALK_S).filter(|second| zone(*second) != zone(second - 1)).count();
    assert!(lines.iter().any(|line| line.ends_with(&format!(" told, {changes} true"))), "{report}");
    let row = |zone: &str| lines.iter().find(|line| line.starts_with(zone)).expect("a row for each zone");
    for zone in ZONES {
        let shares = row(zone).split_whitespace().skip(1).map(|share| share.parse::<f64>().expect("a number"));
        assert!((shares.sum::<f64>() - 100.0).abs() < 0.3, "{report}");
    }
}

#[test]
fn what_can_not_be_learned_from_is_told() {
    let folder = recording(Direction::Scanners, true);
    fs::write(folder.path().join("truth.ndjson"), "").expect("the folder is writable");
    let nothing = parvis("calibrate", folder.path()).expect_err("nothing is known");
    assert!(nothing.contains("too little to learn from: in 0 sightings"), "{nothing}");
    let report = parvis("replay", folder.path()).expect("a report");
    assert!(report.contains("nothing to judge by"), "{report}");
    let line = r#"{"device":"cart","from":"2026-11-21T10:00:00Z","until":"2026-11-21T10:01:00Z","zone":"beer"}"#;
    fs::write(folder.path().join("truth.ndjson"), line).expect("the folder is writable");
    let unknown = parvis("replay", folder.path()).expect_err("no such zone");
    assert!(unknown.contains("truth, line 1: there is no zone beer"), "{unknown}");
}
