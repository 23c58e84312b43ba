//! Beacons, scanners, zones and beacon regions in files, and the keys of beacons.

use parvis::config::{self, Source};
use tempfile::TempDir;

use crate::{check, folder};

const STORES: &str = "[[store]]\nid = \"opera\"\nname = \"Opéra\"\ntime_zone = \"Europe/Paris\"\n\
    [[store]]\nid = \"bercy\"\nname = \"Bercy\"\ntime_zone = \"Europe/Paris\"\n";

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

fn told(files: &[(&str, &str)]) -> (TempDir, Vec<String>) {
    let folder = folder(files);
    let (mut lines, well) = check(&Source::new(folder.path()));
    assert!(!well, "{lines:#?}");
    lines.pop();
    (folder, lines)
}

#[test]
fn every_kind_stands_in_one_file_and_is_told_with_its_line() {
    let beacons = r#"[[zone]]
id = "tv"
store = "opera"
floor_dbm = -5

[[zone]]
id = "audio"
store = "opera"
group = "tvs"

[[beacon]]
id = "tv-1"
store = "opera"
zone = "bercy-tv"
mac = "c4:be:84:1f:20:33"

[[beacon]]
id = "tv-2"
uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
minor = 70000

[[scanner]]
id = "s-1"
store = "atlantis"
zone = "bercy-tv"

[[beacon_region]]
id = "everywhere"
uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
minor = 4

[[zone]]
id = "bercy-tv"
store = "bercy"

[[store]]
id = "x"
"#;
    let (_, lines) = told(&[("stores.toml", STORES), ("beacons.toml", beacons)]);
    let expected = [
        "beacons.toml:4: zone \"tv\": floor_dbm: must be from -110 to -20 dBm",
        "beacons.toml:9: zone \"audio\": group: there is no zone \"tvs\"",
        "beacons.toml:14: beacon \"tv-1\": zone: zone \"bercy-tv\" belongs to store \"bercy\", this to store \"opera\"",
        "beacons.toml:20: beacon \"tv-2\": minor: invalid value: integer `70000`, expected u16",
        "beacons.toml:24: scanner \"s-1\": store: there is no store \"atlantis\"",
        "beacons.toml:25: scanner \"s-1\": zone: zone \"bercy-tv\" belongs to store \"bercy\", this to store \"atlantis\"",
        "beacons.toml:30: beacon region \"everywhere\": minor: a minor says nothing without a major",
        "beacons.toml:36: store: this file holds only [[beacon]], [[scanner]], [[zone]], [[beacon_region]]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_only_one_may_have_is_told_by_the_name_of_the_other() {
    let beacons = format!(
        r#"[[beacon]]
id = "a"
store = "opera"
uuid = "{UUID}"
major = 1
minor = 2
[[beacon]]
id = "b"
store = "bercy"
minor = 2
uuid = "{}"
major = 1
[[zone]]
id = "tv"
store = "opera"
codes = ["q1", "q2"]
[[zone]]
id = "audio"
store = "opera"
codes = ["q2"]
[[beacon_region]]
id = "front"
uuid = "{UUID}"
[[zone]]
id = "front"
store = "opera"
"#,
        UUID.to_uppercase()
    );
    let front = r#"{"type": "Feature", "id": "front", "geometry": {"type": "Point", "coordinates": [2, 48]},
        "properties": {"radius_m": 50}}"#;
    let (_, lines) = told(&[("stores.toml", STORES), ("beacons.toml", &beacons), ("geofences.geojson", front)]);
    let shared = "already; geofences, zones and beacon regions share their names";
    let expected = [
        format!("beacons.toml:4: beacon \"a\": uuid: beacon \"b\" says {UUID}-1-2 already"),
        format!("beacons.toml:11: beacon \"b\": uuid: beacon \"a\" says {UUID}-1-2 already"),
        "beacons.toml:16: zone \"tv\": codes.1: the code \"q2\" hangs in zone \"audio\" already".to_owned(),
        "beacons.toml:20: zone \"audio\": codes.0: the code \"q2\" hangs in zone \"tv\" already".to_owned(),
        format!("beacons.toml:22: beacon region \"front\": id: there is a geofence \"front\" {shared}"),
        format!("beacons.toml:25: zone \"front\": id: there is a geofence \"front\" {shared}"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_zone_is_no_part_of_itself() {
    let beacons = "[[zone]]\nid = \"a\"\nstore = \"opera\"\ngroup = \"b\"\n[[zone]]\nid = \"b\"\nstore = \"opera\"\ngroup = \"c\"\n\
        [[zone]]\nid = \"c\"\nstore = \"opera\"\ngroup = \"a\"\n[[zone]]\nid = \"d\"\nstore = \"opera\"\ngroup = \"a\"\n";
    let (_, lines) = told(&[("stores.toml", STORES), ("beacons.toml", beacons)]);
    let expected = [
        "beacons.toml:4: zone \"a\": group: would be a part of itself, through \"b\", \"c\"",
        "beacons.toml:8: zone \"b\": group: would be a part of itself, through \"c\", \"a\"",
        "beacons.toml:12: zone \"c\": group: would be a part of itself, through \"a\", \"b\"",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_table_is_told_row_by_row() {
    let parvis = "[catalog]\nbeacons = [\"beacons.toml\", \"more.csv\"]\n";
    let zone = "[[zone]]\nid = \"tv\"\nstore = \"opera\"\n[[beacon]]\nid = \"t\"\nstore = \"opera\"\nmac = \"c4:be:84:1f:20:33\"\n";
    let rows = format!(
        "id,role,store,zone,uuid,major,minor,mac,lat,lon,name\n\
         r1,fixed,opera,tv,{UUID},1,1,,48.8,2.3,\"left,\nbelow\"\n\
         r2,fixed,opera,tvs,{UUID},1,2,,,,\n\
         r3,fixed,opera,tv,{UUID},1,x,,,,\n\
         r4,chair,opera,tv,{UUID},1,4,,,,\n\
         r5,,,,{UUID},1,5,,95,2,\n\
         r1,fixed,opera,tv,{UUID},1,6,,,,\n\
         t2,tag,,,,,,c4:be:84:1f:20:33,,,\n"
    );
    let (_, lines) =
        told(&[("parvis.toml", parvis), ("stores.toml", STORES), ("beacons.toml", zone), ("more.csv", &rows)]);
    let expected = [
        "beacons.toml:7: beacon \"t\": mac: beacon \"t2\" says c4:be:84:1f:20:33 already",
        "more.csv:4: beacon \"r2\": zone: there is no zone \"tvs\"",
        "more.csv:5: beacon \"r3\": minor: \"x\" is no whole number",
        "more.csv:6: beacon \"r4\": role: unknown variant `chair`, expected one of `fixed`, `tag`, `reference`",
        "more.csv:7: beacon \"r5\": lat: must be from -90 to 90 degrees",
        "more.csv:7: beacon \"r5\": store: a beacon that hangs in a shop needs its store",
        "more.csv:8: beacon \"r1\": id: stands in this file already",
        "more.csv:9: beacon \"t2\": mac: beacon \"t\" says c4:be:84:1f:20:33 already",
    ];
    assert_eq!(lines, expected);
    let (_, lines) = told(&[("parvis.toml", parvis), ("beacons.toml", ""), ("more.csv", "id,colour,uuid,major\n")]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("more.csv:1: the column minor is missing"), "{lines:#?}");
    assert!(lines[1].starts_with("more.csv:1: there is no column \"colour\"; there are id,role"), "{lines:#?}");
}

#[test]
fn campaigns_name_zones_and_beacon_regions_and_their_tags() {
    let beacons = format!(
        "[[zone]]\nid = \"tv\"\nstore = \"opera\"\ntags = [\"screens\"]\n\
         [[beacon_region]]\nid = \"indoors\"\nuuid = \"{UUID}\"\ntags = [\"inside\"]\n"
    );
    let campaign = "[[campaign]]\nid = \"c\"\npurpose = \"offer\"\n[campaign.on]\ntransition = \"dwell\"\n\
        regions = [\"tv\", \"indoors\"]\ntags = [\"screens\", \"inside\"]\n[campaign.content.en]\ntitle = \"a\"\nbody = \"b\"\n";
    let folder = folder(&[("stores.toml", STORES), ("beacons.toml", &beacons), ("campaigns.toml", campaign)]);
    let (lines, well) = check(&Source::new(folder.path()));
    let summary = "0 geofences, 2 stores, 1 campaign, 0 beacons, 0 scanners, 1 zone, 1 beacon region: no problems";
    assert_eq!((lines, well), (vec![summary.to_owned()], true));
}

#[test]
fn keys_and_the_beacons_that_need_them_are_told() {
    let beacons = "[[beacon]]\nid = \"a\"\nrole = \"tag\"\neid = { exponent = 9, started_at = \"2026-10-01T00:00:00Z\" }\n\
        [[beacon]]\nid = \"b\"\nrole = \"tag\"\neid = { exponent = 9, started_at = \"2026-10-01T00:00:00Z\" }\n";
    let key = "\"000102030405060708090a0b0c0d0e0f\"";
    let files = [("beacons.toml", beacons), ("eid-keys.toml", &format!("b = {key}\n"))];
    let (_, lines) = told(&files);
    assert_eq!(lines, ["beacons.toml:4: beacon \"a\": eid: eid-keys.toml holds no key for it"]);

    let other = key.replace("00", "ff");
    let folder = folder(&[
        ("parvis.toml", "[catalog]\neid_keys = \"secret.toml\"\n"),
        ("beacons.toml", beacons),
        ("secret.toml", &format!("a = {key}\nb = {other}\nc = {}\n", key.replace("01", "ee"))),
    ]);
    let (lines, well) = check(&Source::new(folder.path()));
    assert!(well, "a key may belong to a beacon of the API: {lines:#?}");
    assert!(lines[0].starts_with("secret.toml:3: beacon \"c\": no file holds a beacon of this name"), "{lines:#?}");
    let config = config::load(&Source::new(folder.path())).expect("valid");
    assert_eq!(config.catalog.eid_keys, std::path::PathBuf::from("secret.toml"));

    std::fs::remove_file(folder.path().join("secret.toml")).expect("it is there");
    let (lines, _) = check(&Source::new(folder.path()));
    assert!(lines.contains(&"secret.toml: there is no such file".to_owned()), "{lines:#?}");
}
