//! What people write in files and put through the API: `c` the configuration, with flags; `f` the files of the catalog;
//! `x` GeoJSON; `v` beacons as CSV; an object of the catalog as JSON, by the upper-case letter of its kind; the bodies
//! `d` registration, `p` profile, `s` signal, `o` order event; `q` quantities and names; `j` a pointer into JSON.

use std::{fmt::Display, fs, str::FromStr, sync::OnceLock};

use parvis::{
    catalog::{self, Kind, csv, files, geojson, objects::Entry},
    config::{self, Source, size},
    document::{self, Document, Finding},
    json,
};
use parvis_engine::{
    change::{Registration, Signal, profile_problems},
    content, decide,
    id::{BeaconId, DeviceId, NotificationId, ShopperId},
    order::OrderEvent,
    problem::Problem,
    schedule::TimeOfDay,
    shopper::Profile,
    time::{Timestamp, duration},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tempfile::TempDir;

use super::{alike, parts};

pub(crate) fn check(bytes: &[u8]) -> bool {
    let Some((kind, argument, body)) = parts(bytes) else { return false };
    let Ok(text) = std::str::from_utf8(body) else { return false };
    match kind {
        'c' => configuration(argument, text),
        'f' => catalog_files(text),
        'x' => features(text),
        'v' => table(text),
        'G' => object(Kind::Geofence, text),
        'S' => object(Kind::Store, text),
        'C' => object(Kind::Campaign, text),
        'B' => object(Kind::Beacon, text),
        'N' => object(Kind::Scanner, text),
        'Z' => object(Kind::Zone, text),
        'R' => object(Kind::BeaconRegion, text),
        'd' => body_of(text, Registration::problems),
        'p' => body_of(text, profile_problems as fn(&Profile) -> Vec<Problem>),
        's' => body_of(text, Signal::problems),
        'o' => body_of(text, OrderEvent::problems),
        'q' => quantities(text.trim_end_matches('\n')),
        'j' => position(argument, text),
        _ => false,
    }
}

/// One folder for all inputs, emptied before each.
fn folder() -> &'static TempDir {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder"))
}

/// Every finding names a place and says something; a configuration that is sound is read as it was written.
fn configuration(flags: &str, text: &str) -> bool {
    // The certificates and keys that it names are read, which is the business of other checks.
    if text.contains("delivery") || text.contains("mqtt") || text.contains("file") || text.contains('/') {
        return false;
    }
    let path = folder().path().join("parvis.toml");
    fs::write(&path, text).expect("writable");
    let flags = flags.split(' ').filter_map(|flag| flag.split_once('='));
    let flags: Vec<_> = flags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let environment = flags.iter().map(|(key, value)| (format!("PARVIS__{}", key.replace('.', "__")), value.clone()));
    let from_environment = Source { environment: environment.collect(), ..Source::new(&path) };
    let _ = config::read(&from_environment);
    let (config, findings) = config::read(&Source { flags, ..Source::new(&path) });
    said(&findings);
    if !findings.is_empty() {
        return false;
    }
    fs::write(&path, toml::to_string(&config).expect("is written")).expect("writable");
    let again = config::load(&Source::new(&path)).expect("what was written is read");
    assert_eq!(toml::to_string(&again).expect("is written"), toml::to_string(&config).expect("is written"));
    true
}

fn said(findings: &[Finding]) {
    for finding in findings {
        assert!(!finding.message.is_empty(), "{finding:?}");
        assert!(finding.to_string().len() < 200_000, "a sentence, not a file");
    }
}

const FILES: [&str; 6] =
    ["geofences.geojson", "stores.toml", "campaigns.toml", "beacons.toml", "beacons.csv", "eid-keys.toml"];

/// Files, each after a line `=== name`.
fn catalog_files(text: &str) -> bool {
    let folder = folder().path();
    for name in FILES {
        let _ = fs::remove_file(folder.join(name));
    }
    for part in text.split("=== ").skip(1) {
        let Some((name, text)) = part.split_once('\n') else { continue };
        if FILES.contains(&name) {
            fs::write(folder.join(name), text).expect("writable");
        }
    }
    let mut config = catalog::Config::default();
    config.beacons.push("beacons.csv".into());
    if !folder.join("beacons.csv").exists() {
        config.beacons.pop();
    }
    let read = files::read(&config, folder);
    said(&read.findings);
    said(&read.notes);
    let mut taken = 0;
    for kind in Kind::ALL {
        for (id, entry) in read.objects.of(kind).iter() {
            let value = entry.value();
            let (again, other) = Entry::compile(kind, value.clone(), None)
                .unwrap_or_else(|problems| panic!("{kind} {id}: {problems:?} in {value}"));
            assert_eq!((&again, alike(&other.value(), &value)), (id, true), "{value}");
            taken += 1;
        }
    }
    taken > 0 && read.findings.is_empty()
}

fn object(kind: Kind, text: &str) -> bool {
    let Ok(value) = json::value(text.as_bytes()) else { return false };
    match Entry::compile(kind, value.clone(), None) {
        Ok((id, entry)) => {
            assert_eq!(parvis::catalog::objects::id(kind, &value).as_deref(), Some(&*id));
            let written = serde_json::from_str(&entry.text()).expect("JSON");
            let (again, other) = Entry::compile(kind, written, None).expect("what was written is read");
            assert_eq!((again, alike(&other.value(), &entry.value())), (id, true), "{value}");
            true
        }
        Err(problems) => {
            placed(&problems, &value);
            false
        }
    }
}

/// Every problem has a message, and a pointer to something that is there, or to what is missing.
fn placed(problems: &[Problem], value: &Value) {
    assert!(!problems.is_empty());
    for Problem { path, message } in problems {
        assert!(!message.is_empty());
        assert!(path.is_empty() || path.starts_with('/'), "{path:?} {value}");
        assert!(message.len() < 200_000, "a sentence, not a file");
    }
}

fn features(text: &str) -> bool {
    let Ok(features) = geojson::features(text) else { return false };
    let mut taken = 0;
    for feature in &features {
        assert!(text[feature.at..].starts_with(feature.text));
        match geojson::compile_text(feature.text) {
            Ok(fence) => {
                let written = serde_json::to_value(&fence).expect("is written");
                let again = geojson::compile(written.clone()).unwrap_or_else(|why| panic!("{why:?} in {written}"));
                assert!(alike(&serde_json::to_value(&again).expect("is written"), &written), "{written}");
                taken += 1;
            }
            Err(problems) => placed(&problems, &Value::Null),
        }
    }
    taken > 0
}

fn table(text: &str) -> bool {
    match csv::rows(text) {
        Ok(rows) => {
            let lines = text.split('\n').count();
            assert!(rows.iter().all(|row| (1..=lines).contains(&row.line)), "a line beyond the end");
            assert!(rows.is_sorted_by_key(|row| row.line));
            rows.iter().filter(|row| row.compile(None).is_ok()).count() > 0
        }
        Err(broken) => {
            assert!(!broken.is_empty() && broken.iter().all(|broken| broken.line > 0 && !broken.message.is_empty()));
            false
        }
    }
}

fn body_of<T>(text: &str, problems: impl Fn(&T) -> Vec<Problem>) -> bool
where
    T: Serialize + DeserializeOwned,
{
    match json::typed::<T>(text.as_bytes()) {
        Ok(body) => {
            let problems = problems(&body);
            let one = serde_json::to_value(&body).expect("is written");
            if !problems.is_empty() {
                placed(&problems, &one);
            }
            let again = json::typed::<T>(one.to_string().as_bytes());
            let again = again.unwrap_or_else(|malformed| panic!("{malformed:?} in {one}"));
            assert!(alike(&serde_json::to_value(&again).expect("is written"), &one), "{one}");
            problems.is_empty()
        }
        Err(malformed) => {
            assert!(!malformed.detail.is_empty());
            false
        }
    }
}

/// What is read is written so that it is read again, as the same.
fn quantities(text: &str) -> bool {
    let mut taken = false;
    if let Ok(span) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(span)), Ok(span), "{}", duration::format(span));
        taken = true;
    }
    if let Ok(bytes) = size::parse(text) {
        assert_eq!(size::parse(&size::format(bytes)), Ok(bytes));
        taken = true;
    }
    taken |= returns::<Timestamp>(text) | returns::<TimeOfDay>(text) | returns::<decide::Per>(text);
    taken |= returns::<DeviceId>(text) | returns::<ShopperId>(text) | returns::<BeaconId>(text);
    taken |= returns::<NotificationId>(text);
    if let Err(why) = content::check_locale(text) {
        assert!(!why.is_empty());
    }
    taken
}

fn returns<T: FromStr<Err = String> + Display + PartialEq + std::fmt::Debug>(text: &str) -> bool {
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value));
            true
        }
        Err(why) => {
            assert!(!why.is_empty());
            false
        }
    }
}

fn position(pointer: &str, text: &str) -> bool {
    let at = document::position(text, pointer);
    assert!(text.is_char_boundary(at));
    let Ok(mut tree) = serde_json::from_str::<Value>(text) else { return false };
    assert!(text[at..].starts_with(|first: char| !first.is_whitespace()));
    let there = tree.pointer(pointer).is_some();
    if document::insert(&mut tree, pointer, Value::Bool(true)) && pointer.starts_with('/') {
        assert_eq!(tree.pointer(pointer), Some(&Value::Bool(true)));
    }
    if let Ok(document) = Document::from_toml(std::path::Path::new("x.toml"), text) {
        let _ = document.line(pointer);
    }
    let _ = document::dotted(pointer);
    there
}
