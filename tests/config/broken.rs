//! Broken files, and exactly what is said of them.

use parvis::config::{self, Config, Source};

use crate::{check, folder};

/// Checks a folder with these files and expects these lines, the count of problems left out.
fn expect(files: &[(&str, &str)], expected: &[&str]) {
    let folder = folder(files);
    let (mut lines, well) = check(&Source::new(folder.path()));
    let last = lines.pop().expect("a last line");
    assert_eq!(lines, expected);
    assert!(!well);
    assert_eq!(last, format!("{} problem{}", expected.len(), if expected.len() == 1 { "" } else { "s" }));
}

#[test]
fn every_key_of_the_configuration_is_told_with_its_line() {
    let text = r#"[node]
nmae = "a"
shutdown_deadline = 30

[engine.track]
speed_max_mps = -3
pass_gap_max = "five"

[engine.presence]
enter_probability = 0.3
exit_probability = 0.6
timeuot = "1s"

[lanes]
lease = "5s"

[marketing]
"#;
    let expected = [
        "parvis.toml:2: node.nmae: unknown field `nmae`, expected `name` or `shutdown_deadline`",
        "parvis.toml:3: node.shutdown_deadline: invalid type: integer `30`, expected a string",
        "parvis.toml:6: engine.track.speed_max_mps: -3 must be more than 0",
        "parvis.toml:7: engine.track.pass_gap_max: \"five\" is not a duration with a unit, such as \"30s\", \"10min\", \
         \"24h\" or \"7d\"",
        "parvis.toml:10: engine.presence.enter_probability: 0.3 must be from 0.5 to 0.99",
        "parvis.toml:11: engine.presence.exit_probability: 0.6 must be from 0.01 to 0.5",
        "parvis.toml:11: engine.presence.exit_probability: 0.6 must be less than enter_probability (0.3), or presences \
         would flap",
        "parvis.toml:12: engine.presence.timeuot: unknown field `timeuot`, expected one of `enter_probability`, \
         `exit_probability`, `timeout`, `sighting_age_max`",
        "parvis.toml:15: lanes.lease: must be longer than delivery.deadline (20s), or a message would be sent twice",
    ];
    let unknown =
        format!("parvis.toml:17: marketing: there is no such section; there are {}", Config::SECTIONS.join(", "));
    let expected: Vec<&str> = expected.into_iter().chain([unknown.as_str()]).collect();
    expect(&[("parvis.toml", text)], &expected);
}

#[test]
fn errors_of_syntax_have_line_and_column() {
    expect(
        &[
            ("parvis.toml", "[node]\nname = \n"),
            ("stores.toml", "[[store]\nid = \"a\"\n"),
            ("geofences.geojson", "{\"type\": \"FeatureCollection\",\n \"features\": [}"),
        ],
        &[
            "parvis.toml:2:8: string values must be quoted, expected literal string",
            "geofences.geojson:2:15: expected value",
            "stores.toml:1:9: unclosed array table, expected `]`",
        ],
    );
}

#[test]
fn a_section_that_is_no_table_is_told() {
    expect(
        &[("parvis.toml", "engine = 5\nnode = []\n")],
        &["parvis.toml:1: engine: must be a table, [engine]", "parvis.toml:2: node: must be a table, [node]"],
    );
}

#[test]
fn numbers_that_json_does_not_know_are_told() {
    expect(
        &[("parvis.toml", "[engine.track]\nspeed_max_mps = inf\n")],
        &["parvis.toml:2: engine.track.speed_max_mps: the number must be finite"],
    );
}

#[test]
fn every_object_of_every_file_is_told() {
    let stores = r#"[[store]]
id = "opera"
name = "Opéra"
time_zone = "Europe/Pari"

[[store]]
id = "rivoli"
time_zone = "Europe/Paris"
colour = "red"

[[store]]
name = 5

[shop]
"#;
    let geofences = r#"{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "a b",
   "geometry": {"type": "Point", "coordinates": [2, 48]},
   "properties": {
     "radius_m": 50,
     "tags": ["x",
       7]
   }},
  {"type": "Feature", "id": "nowhere", "properties": {"radius_m": 50}},
  {"type": "Feature", "id": "lost", "geometry": {"type": "Point", "coordinates": [2, 48]},
   "properties": {"radius_m": 50,
     "store": "atlantis"}}
]}
"#;
    let campaigns = "[[campaign]]\nid = \"\"\n";
    let folder = folder(&[("stores.toml", stores), ("geofences.geojson", geofences), ("campaigns.toml", campaigns)]);
    let (lines, well) = check(&Source::new(folder.path()));
    assert!(!well);
    // Sentences of others may change; file, line, object and key are what is promised here.
    for expected in [
        "campaigns.toml:1: campaign \"\": missing field `content`",
        "campaigns.toml:1: campaign \"\": missing field `on`",
        "campaigns.toml:1: campaign \"\": missing field `purpose`",
        "campaigns.toml:2: campaign \"\": id: an id must not be empty",
        "geofences.geojson:2: geofence \"a b\": id: an id has no ' '",
        "geofences.geojson:7: geofence \"a b\": properties.tags.1: invalid type: ",
        "geofences.geojson:9: geofence \"nowhere\": missing field `geometry`",
        "geofences.geojson:12: geofence \"lost\": properties.store: there is no store \"atlantis\"",
        "stores.toml:4: store \"opera\": time_zone: \"Europe/Pari\" is not an IANA time zone",
        "stores.toml:6: store \"rivoli\": missing field `name`",
        "stores.toml:9: store \"rivoli\": colour: unknown field `colour`",
        "stores.toml:11: store number 3: missing field `id`",
        "stores.toml:11: store number 3: missing field `time_zone`",
        "stores.toml:12: store number 3: name: invalid type: integer `5`, expected a string",
        "stores.toml:14: shop: this file holds only [[store]]",
    ] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(expected)).count(), 1, "{expected}: {lines:#?}");
    }
    assert_eq!(lines.last().map(String::as_str), Some("15 problems"), "{lines:#?}");
}

#[test]
fn campaigns_name_only_what_is_there() {
    let stores = "[[store]]\nid = \"opera\"\nname = \"Opéra\"\ntime_zone = \"Europe/Paris\"\n";
    let geofences = r#"{"type": "Feature", "id": "front", "geometry": {"type": "Point", "coordinates": [2, 48]},
        "properties": {"radius_m": 50, "tags": ["flagship"]}}"#;
    let campaigns = r#"[[campaign]]
id = "welcome"
purpose = "offer"
[campaign.on]
transition = "enter"
tags = ["flagship", "flagshop"]
stores = [
  "opera",
  "bastille",
]
regions = ["front", "back"]
[campaign.content.en]
title = "Welcome"
body = "to {{ store.nme }}"
"#;
    let named = campaigns.replace("nme", "name");
    expect(
        &[("stores.toml", stores), ("geofences.geojson", geofences), ("campaigns.toml", &named)],
        &[
            "campaigns.toml:6: campaign \"welcome\": on.tags.1: no geofence, zone or beacon region has the tag \
             \"flagshop\"",
            "campaigns.toml:9: campaign \"welcome\": on.stores.1: there is no store \"bastille\"",
            "campaigns.toml:11: campaign \"welcome\": on.regions.1: there is no geofence, zone or beacon region \
             \"back\"",
        ],
    );
    let folder = folder(&[("campaigns.toml", campaigns)]);
    let (lines, _) = check(&Source::new(folder.path()));
    assert!(lines[0].starts_with("campaigns.toml:14: campaign \"welcome\": content.en.body: "), "{lines:#?}");
}

#[test]
fn an_id_stands_once_within_and_across_files() {
    let paris = "[[store]]\nid = \"a\"\nname = \"A\"\ntime_zone = \"Europe/Paris\"\n";
    let twice = format!("{paris}{paris}");
    expect(
        &[
            ("parvis.toml", "[catalog]\nstores = [\"one.toml\", \"two.toml\"]\n"),
            ("one.toml", paris),
            ("two.toml", &twice),
        ],
        &[
            "two.toml:2: store \"a\": id: stands in one.toml already",
            "two.toml:6: store \"a\": id: stands in one.toml already",
        ],
    );
    let fence = r#"{"type": "Feature", "id": "f", "geometry": {"type": "Point", "coordinates": [2, 48]},
        "properties": {"radius_m": 50}}"#;
    let geofences = format!("{{\"type\": \"FeatureCollection\", \"features\": [{fence},\n{fence}]}}");
    expect(
        &[("stores.toml", &twice), ("geofences.geojson", &geofences)],
        &[
            "geofences.geojson:3: geofence \"f\": id: stands in this file already",
            "stores.toml:6: store \"a\": id: stands in this file already",
        ],
    );
}

#[test]
fn files_that_are_named_must_be_there() {
    expect(
        &[("parvis.toml", "[catalog]\ngeofences = [\"geofences.geojson\", \"aisles.geojson\"]\n")],
        &["aisles.geojson: there is no such file"],
    );
    let folder = folder(&[]);
    let (lines, well) = check(&Source::new(folder.path().join("other.toml")));
    assert_eq!(lines, ["other.toml: there is no such file", "1 problem"]);
    assert!(!well);
}

#[test]
fn a_geojson_file_must_be_a_collection_or_a_feature() {
    for (text, message) in [
        ("{\"type\": \"Point\", \"coordinates\": [1, 2]}", "must be a FeatureCollection with features, or a Feature"),
        ("{\"type\": \"Topology\", \"features\": []}", "has features, so its type must be \"FeatureCollection\""),
        ("[]", "invalid length 0, expected struct Envelope with 2 elements"),
    ] {
        let folder = folder(&[("geofences.geojson", text)]);
        let (lines, _) = check(&Source::new(folder.path()));
        assert!(lines[0].starts_with("geofences.geojson") && lines[0].ends_with(message), "{lines:?}");
    }
}

#[test]
fn an_empty_folder_is_well() {
    let folder = folder(&[]);
    assert_eq!(
        check(&Source::new(folder.path())),
        (
            vec![
                "0 geofences, 0 stores, 0 campaigns, 0 beacons, 0 scanners, 0 zones, 0 beacon regions: no problems"
                    .to_owned()
            ],
            true
        )
    );
}

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn file_environment_and_command_line_override_in_this_order() {
    let folder = folder(&[("parvis.toml", "[node]\nname = \"file\"\n[shards]\ninbox_max = 600\nbatch_max = 7\n")]);
    let mut source = Source::new(folder.path().join("parvis.toml"));
    source.environment = set(&[
        ("PARVIS__NODE__NAME", "007"),
        ("PARVIS__SHARDS__INBOX_MAX", "700"),
        ("PARVIS__ENGINE__TRACK__PASS_GAP_MAX", "1min"),
        ("PARVIS__CATALOG__STORES", "[\"a.toml\", \"b.toml\"]"),
        ("PARVIS_LOG", "debug"),
        ("HOME", "/"),
    ]);
    source.flags = set(&[("shards.inbox_max", "800")]);
    let config = config::load(&source).expect("valid");
    assert_eq!(config.node.name, "007", "a text that looks like a number");
    assert_eq!((config.shards.inbox_max, config.shards.batch_max), (800, 7));
    assert_eq!(config.engine.track.pass_gap_max.as_secs(), 60);
    assert_eq!(config.catalog.stores, ["a.toml", "b.toml"].map(std::path::PathBuf::from));
    assert_eq!(config.engine.presence, Config::default().engine.presence);
}

#[test]
fn what_is_wrong_outside_the_file_is_told_by_its_name() {
    let folder = folder(&[("parvis.toml", "[shards]\ncount = 2\n")]);
    let mut source = Source::new(folder.path());
    source.environment = set(&[
        ("PARVIS__ENGINE__TRACK__SPEED_MAX_MPS", "fast"),
        ("PARVIS__LANES__WINDOW", "0"),
        ("PARVIS__SHARDS__COUNT__MAX", "5"),
        ("PARVIS__TYPO__KEY", "5"),
    ]);
    source.flags = set(&[("node.nmae", "x")]);
    let findings = config::load(&source).expect_err("all wrong");
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let unknown = format!(
        "environment variable PARVIS__TYPO__KEY: typo: there is no such section; there are {}",
        Config::SECTIONS.join(", ")
    );
    let expected = [
        "environment variable PARVIS__ENGINE__TRACK__SPEED_MAX_MPS: engine.track.speed_max_mps: invalid type: string \
         \"fast\", expected f64",
        "environment variable PARVIS__LANES__WINDOW: lanes.window: must be from 2 to 100000",
        "environment variable PARVIS__SHARDS__COUNT__MAX: shards.count.max: a value stands where this needs a table",
        &unknown,
        "command line, node.nmae: node.nmae: unknown field `nmae`, expected `name` or `shutdown_deadline`",
    ];
    assert_eq!(lines, expected);
}
