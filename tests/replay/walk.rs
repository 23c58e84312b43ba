//! A recorded walk with its truth: `parvis replay --truth` judges it, `parvis calibrate` learns from it, and what it
//! prints can be put into the registry and is worth what it says.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use parvis::entropy::Entropy;
use tempfile::TempDir;

use super::{Dice, START_MS, rfc_3339};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
const ZONES: [&str; 3] = ["coffee", "tea", "wine"];
const ZONE_M: f64 = 6.0;
/// What the scanners of the tea aisle report too little, dB.
const DEAF_DB: f64 = 9.0;
const WALK_S: i64 = 600;

/// Two scanners in each of three aisles.
fn scanners() -> Vec<(String, usize, f64, f64)> {
    let of_zone = |zone: usize| {
        let left_m = ZONE_M * zone as f64;
        [
            (format!("{}-1", ZONES[zone]), zone, left_m + 1.5, 1.0),
            (format!("{}-2", ZONES[zone]), zone, left_m + 4.5, 5.0),
        ]
    };
    (0..ZONES.len()).flat_map(of_zone).collect()
}

fn registry(scanners: &str) -> String {
    let mut text = String::new();
    for zone in ZONES {
        writeln!(text, "[[zone]]\nid = \"{zone}\"\nstore = \"opera\"\ngroup = \"drinks\"").expect("a string takes it");
    }
    writeln!(text, "[[zone]]\nid = \"drinks\"\nstore = \"opera\"").expect("a string takes it");
    format!("{text}{scanners}")
}

fn as_hung() -> String {
    let mut text = format!("[[beacon]]\nid = \"cart\"\nrole = \"tag\"\nuuid = \"{UUID}\"\nmajor = 9\nminor = 1\n");
    for (id, zone, x_m, y_m) in scanners() {
        let zone = ZONES[zone];
        writeln!(
            text,
            "[[scanner]]\nid = \"{id}\"\nstore = \"opera\"\nzone = \"{zone}\"\nplan = {{ x_m = {x_m}, y_m = {y_m} }}"
        )
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

fn record(folder: &Path) {
    let dice = Dice(Entropy::seeded(20_261_122));
    let (mut heard, mut truth) = (String::new(), String::new());
    for second in 0..WALK_S {
        let (x_m, at_ms) = (x_m(second), START_MS + second * 1_000);
        let zone = ZONES[(x_m / ZONE_M) as usize];
        let (from, until) = (rfc_3339(at_ms), rfc_3339(at_ms + 1_000));
        writeln!(
            truth,
            r#"{{"device":"cart","from":"{from}","until":"{until}","zone":"{zone}","plan":{{"x_m":{x_m},"y_m":3.0}}}}"#
        )
        .expect("a string takes it");
        for (id, of, scanner_x_m, y_m) in scanners() {
            let metres = (x_m - scanner_x_m).hypot(y_m - 3.0);
            let deaf_db = if ZONES[of] == "tea" { DEAF_DB } else { 0.0 };
            let rssi_dbm = (-59.0 - 25.0 * metres.log10() - deaf_db + dice.between(-4.0, 4.0)).round();
            writeln!(
                heard,
                r#"{{"device":"cart","kind":"sighting","at":"{from}","uuid":"{UUID}","major":9,"minor":1,"rssi_dbm":{rssi_dbm},"count":3,"observer":"{id}"}}"#
            )
            .expect("a string takes it");
        }
    }
    fs::write(folder.join("observations.ndjson"), heard).expect("the folder is writable");
    fs::write(folder.join("truth.ndjson"), truth).expect("the folder is writable");
}

fn recording() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = "[[store]]\nid = \"opera\"\nname = \"Opera\"\ntime_zone = \"Europe/Paris\"\n";
    fs::write(folder.path().join("stores.toml"), store).expect("the folder is writable");
    fs::write(folder.path().join("beacons.toml"), registry(&as_hung())).expect("the folder is writable");
    record(folder.path());
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

#[test]
fn what_is_learned_makes_the_registry_right() {
    let folder = recording();
    let before = parvis("replay", folder.path()).expect("a report");
    let learned = parvis("calibrate", folder.path()).expect("advice");

    let advice: toml::Table = learned.parse().expect("TOML, comments and all");
    let offsets: Vec<(String, f64)> = advice["scanner"]
        .as_array()
        .expect("scanners")
        .iter()
        .map(|entry| {
            let offset_db = entry.get("offset_db").map_or(0.0, |offset| offset.as_float().expect("a number"));
            (entry["id"].as_str().expect("an id").to_owned(), offset_db)
        })
        .collect();
    assert_eq!(offsets.len(), 6, "{learned}");
    let loud =
        offsets.iter().filter(|(id, _)| !id.starts_with("tea")).map(|(_, offset_db)| offset_db).sum::<f64>() / 4.0;
    for (id, offset_db) in &offsets {
        let expected = if id.starts_with("tea") { DEAF_DB } else { 0.0 };
        assert!((offset_db - loud - expected).abs() < 1.5, "{id}: {offset_db} {loud}");
    }
    let power = advice["beacon"][0]["measured_power_dbm"].as_float().expect("a number");
    assert!((power + 59.0).abs() < 3.0, "{power}");

    fs::write(folder.path().join("beacons.toml"), registry(&learned)).expect("the folder is writable");
    let after = parvis("replay", folder.path()).expect("a report");
    let share = |report: &str| right(report).parse::<f64>().expect("a number");
    assert!(share(&after) > share(&before) + 10.0, "{before}\n{after}");
    assert!(share(&after) > 80.0, "{after}");
    let promise = format!("told for {} % of the time instead of {} %", right(&after), right(&before));
    assert!(learned.contains(&promise), "{promise}\n{learned}");
}

#[test]
fn a_walk_is_judged_zone_by_zone() {
    let report = parvis("replay", recording().path()).expect("a report");
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
    let folder = recording();
    fs::write(folder.path().join("truth.ndjson"), "").expect("the folder is writable");
    let nothing = parvis("calibrate", folder.path()).expect_err("nothing is known");
    assert!(nothing.contains("too little to learn from: 0 sightings"), "{nothing}");
    let report = parvis("replay", folder.path()).expect("a report");
    assert!(report.contains("nothing to judge by"), "{report}");
    let line = r#"{"device":"cart","from":"2026-11-21T10:00:00Z","until":"2026-11-21T10:01:00Z","zone":"beer"}"#;
    fs::write(folder.path().join("truth.ndjson"), line).expect("the folder is writable");
    let unknown = parvis("replay", folder.path()).expect_err("no such zone");
    assert!(unknown.contains("truth, line 1: there is no zone beer"), "{unknown}");
}
