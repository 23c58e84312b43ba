//! The fleet on a clock that is only a number.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parvis_beacons::{
    Ephemeral, Ibeacon, Identity, Uuid,
    eid::{Exponent, IdentityKey, ephemeral},
    report::{Adapter, Health},
};
use parvis_engine::{
    beacons as parvis_beacons,
    registry::{Beacon, Parts, Registry, Scanner, Zone},
    world,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    catalog,
    report::{self, News},
    store::memory::Memory,
};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000).plus(Duration::from_secs(seconds))
}

/// Two shops. In opera hang s1 (aisle a), s2 (aisle b); in rivoli s3. A fixed beacon and a reference in aisle a, and a tag.
fn registry() -> Registry {
    let read = |value: Value| serde_json::from_value(value).expect("well formed");
    let scanner = |id: &str, store: &str, zone: Option<&str>| {
        let value = json!({"id": id, "store": store, "zone": zone});
        Arc::new(Scanner::compile(read(value)).expect("sound"))
    };
    let beacon =
        |value: Value| Arc::new(Beacon::compile(serde_json::from_value(value).expect("well formed")).expect("sound"));
    let zone = |id: &str| {
        let value = json!({"id": id, "store": "opera"});
        Arc::new(Zone::compile(serde_json::from_value(value).expect("well formed")).expect("sound"))
    };
    let hung = |id: &str, role: &str, minor: u16| {
        beacon(json!({"id": id, "role": role, "store": "opera", "zone": "a", "uuid": UUID, "major": 1, "minor": minor}))
    };
    Registry::new(Parts {
        beacons: vec![
            hung("fixed", "fixed", 1),
            hung("reference", "reference", 2),
            beacon(json!({"id": "tag", "role": "tag", "uuid": UUID, "major": 1, "minor": 3})),
            beacon(json!({"id": "rotating", "role": "tag",
                "eid": {"exponent": 10, "started_at": at(0).to_string()}})),
        ],
        scanners: vec![
            scanner("s1", "opera", Some("a")),
            scanner("s2", "opera", Some("b")),
            scanner("s3", "rivoli", None),
        ],
        zones: vec![zone("a"), zone("b")],
        regions: Vec::new(),
    })
}

struct Rig {
    fleet: Fleet,
    registry: Arc<Registry>,
    told: Vec<String>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(Config::default(), registry())
    }

    fn with(config: Config, registry: Registry) -> Rig {
        let fleet = Fleet::new(config);
        let world = World::new(1, Vec::new(), Vec::new(), Vec::new(), world::Settings::default());
        let world = world.with_registry(registry);
        fleet.renew(&world, &EidKeys::default(), at(0));
        Rig { fleet, registry: world.registry, told: Vec::new() }
    }

    /// A report with what was heard this very moment; whether each beacon is disbelieved.
    fn report(&mut self, scanner: &str, seconds: u64, heard: &[(&str, f64)]) -> Vec<bool> {
        let heard: Vec<_> = heard.iter().map(|(beacon, rssi)| (*beacon, *rssi, None, seconds)).collect();
        self.report_of(scanner, seconds, &heard)
    }

    fn report_all(&mut self, scanners: &[&str], second: u64, heard: &[(&str, f64)]) {
        for scanner in scanners {
            self.report(scanner, second, heard);
        }
    }

    fn report_of(&mut self, scanner: &str, seconds: u64, heard: &[(&str, f64, Option<f64>, u64)]) -> Vec<bool> {
        let sighting = |(beacon, rssi_dbm, battery_v, heard_at): &(&str, f64, Option<f64>, u64)| Sighting {
            beacon: self.registry.beacon(&beacon.parse().expect("an id")).expect("registered").clone(),
            at: at(*heard_at),
            rssi_dbm: *rssi_dbm,
            battery_v: *battery_v,
        };
        let (sightings, scanner) = (heard.iter().map(sighting).collect::<Vec<_>>(), scanner.parse().expect("an id"));
        let report = Report {
            scanner: &scanner,
            serial: None,
            sent_at: None,
            health: None,
            sightings: &sightings,
            strangers: &[],
        };
        let noted = self.fleet.note(&report, at(seconds));
        self.told.extend(noted.changes.iter().map(told));
        noted.cloned
    }

    fn settle(&mut self, seconds: u64) {
        let (changes, _) = self.fleet.settle(at(seconds));
        self.told.extend(changes.iter().map(told));
    }

    fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    fn scanner(&self, id: &str, seconds: u64) -> ScannerStatus {
        let part = Part { state: None, store: None, after: None, limit: 100 };
        self.fleet.scanners(&part, at(seconds)).into_iter().find(|it| it.id.as_str() == id).expect("listed")
    }

    fn beacon(&self, id: &str, seconds: u64) -> BeaconStatus {
        let part = Part { state: None, store: None, after: None, limit: 100 };
        self.fleet.beacons(&part, at(seconds)).into_iter().find(|it| it.id.as_str() == id).expect("listed")
    }
}

fn told(change: &Change) -> String {
    format!("{} {}", change.kind(), change.subject())
}

#[test]
fn a_scanner_is_late_then_silent_then_back() {
    let mut rig = Rig::new();
    for second in 0..10 {
        rig.report_all(&["s1", "s2", "s3"], second, &[]);
    }
    for second in 10..300 {
        rig.report_all(&["s2", "s3"], second, &[]);
        rig.settle(second);
        let state = rig.scanner("s1", second).state;
        let away = second - 9;
        let expected = match away {
            0..=30 => ScannerState::Ok,
            31..=120 => ScannerState::Late,
            121.. => ScannerState::Silent,
        };
        assert_eq!(state, expected, "after {away} s");
    }
    rig.report("s1", 300, &[]);
    assert_eq!(rig.news(), ["scanner.silent s1", "scanner.back s1"]);
}

#[test]
fn who_never_reports_is_silent_in_the_end() {
    let mut rig = Rig::new();
    let (changes, due) = rig.fleet.settle(at(0));
    assert_eq!((changes, due), (Vec::new(), Some(at(120).plus(Duration::from_millis(1)))));
    rig.settle(120);
    assert_eq!(rig.news(), Vec::<String>::new());
    let (changes, due) = rig.fleet.settle(due.expect("due"));
    assert_eq!(
        changes.iter().map(told).collect::<Vec<_>>(),
        ["scanner.silent s1", "scanner.silent s2", "scanner.silent s3"]
    );
    assert_eq!(due, None, "nothing is due until somebody reports");
}

#[test]
fn a_scanner_is_deaf_if_others_hear_its_reference() {
    let mut rig = Rig::new();
    for second in 0..400 {
        let heard: &[(&str, f64)] =
            if second < 100 { &[("reference", -50.0), ("tag", -70.0)] } else { &[("tag", -70.0)] };
        rig.report("s1", second, heard);
        rig.report("s2", second, &[("reference", -80.0)]);
    }
    assert_eq!(rig.news(), ["scanner.deaf s1"]);
    assert!(rig.scanner("s1", 400).deaf && !rig.scanner("s2", 400).deaf);
    rig.report("s1", 400, &[("reference", -50.0)]);
    assert_eq!(rig.news(), ["scanner.hearing s1"]);
}

#[test]
fn an_empty_reference_battery_deafens_nobody_but_an_unplugged_antenna_does() {
    let mut rig = Rig::new();
    for second in 0..500 {
        rig.report("s1", second, &[("tag", -70.0)]);
        rig.settle(second);
    }
    assert_eq!(rig.news(), ["scanner.silent s2", "scanner.silent s3"]);
    for second in 500..700 {
        rig.report("s1", second, &[]);
    }
    assert_eq!(rig.news(), ["scanner.deaf s1"]);
}

#[test]
fn who_was_away_is_not_deaf_on_return() {
    let mut rig = Rig::new();
    rig.report("s1", 0, &[("reference", -50.0)]);
    rig.report("s1", 10_000, &[]);
    assert!(!rig.scanner("s1", 10_000).deaf);
}

#[test]
fn a_beacon_is_silent_if_somebody_would_hear_it() {
    let mut rig = Rig::new();
    for second in 0..1_300 {
        if second < 100 {
            rig.report("s1", second, &[("fixed", -60.0), ("tag", -60.0), ("reference", -50.0)]);
        } else {
            rig.report("s1", second, &[("reference", -50.0)]);
        }
        rig.report_all(&["s2", "s3"], second, &[]);
        rig.settle(second);
    }
    assert_eq!(rig.news(), ["beacon.silent fixed"], "a tag comes and goes");
    assert_eq!(rig.beacon("tag", 1_300).state, BeaconState::Unheard);
    rig.report("s1", 1_300, &[("fixed", -60.0)]);
    assert_eq!(rig.news(), ["beacon.back fixed"]);
    // Whatever hangs around a scanner that is gone is not broken for that.
    rig.settle(9_000);
    let silent: Vec<_> = rig.news().into_iter().filter(|told| told.starts_with("beacon")).collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn a_weak_battery_is_told_once_and_new_ones_too() {
    let mut rig = Rig::new();
    for (second, volts) in [(0, 2.9), (10, 2.2), (20, 2.32), (4_000, 2.35), (8_000, 3.0)] {
        rig.report_of("s1", second, &[("fixed", -60.0, Some(volts), second)]);
    }
    let beacons: Vec<_> = rig.news().into_iter().filter(|told| told.starts_with("beacon")).collect();
    assert_eq!(beacons, ["beacon.battery_low fixed", "beacon.back fixed"]);
    assert_eq!(rig.beacon("fixed", 8_000).battery_v, Some(3.0));
}

#[test]
fn a_beacon_that_was_carried_to_another_zone_or_shop_has_moved() {
    let mut rig = Rig::new();
    for second in 0..60 {
        rig.report("s1", second, &[("fixed", -60.0)]);
        rig.report("s2", second, &[("fixed", -75.0)]);
    }
    for second in 60..700 {
        rig.report("s1", second, &[("fixed", -80.0)]);
        rig.report("s2", second, &[("fixed", -58.0)]);
    }
    assert_eq!(rig.news(), ["beacon.moved fixed"]);
    assert_eq!(rig.beacon("fixed", 700).scanner.as_ref().map(|it| it.as_str()), Some("s2"));
    for second in 700..1_300 {
        rig.report("s1", second, &[("fixed", -60.0)]);
        rig.report("s2", second, &[("fixed", -75.0)]);
    }
    assert_eq!(rig.news(), ["beacon.back fixed"]);
    for second in 1_400..1_800 {
        rig.report("s3", second, &[("fixed", -60.0)]);
    }
    assert_eq!(rig.news(), ["beacon.moved fixed"]);
}

#[test]
fn a_scanner_that_fails_moves_no_beacon_next_door() {
    let mut rig = Rig::new();
    for second in 0..2_000 {
        if second < 60 {
            rig.report("s1", second, &[("fixed", -60.0)]);
        }
        rig.report("s2", second, &[("fixed", -75.0)]);
    }
    assert_eq!(rig.news(), Vec::<String>::new());
    // Back again, but the beacon is no longer near it.
    for second in 2_000..2_400 {
        rig.report("s1", second, &[("reference", -50.0)]);
        rig.report("s2", second, &[("fixed", -75.0)]);
    }
    assert_eq!(rig.news(), ["beacon.moved fixed"]);
}

#[test]
fn a_neighbour_that_hears_a_little_better_moves_nothing() {
    let mut rig = Rig::new();
    for second in 0..2_000 {
        rig.report("s1", second, &[("fixed", -70.0)]);
        rig.report("s2", second, &[("fixed", -65.0)]);
        rig.report("s1", second, &[("tag", -90.0)]);
        rig.report("s2", second, &[("tag", -50.0)]);
    }
    assert_eq!(rig.news(), Vec::<String>::new());
}

#[test]
fn a_tag_in_two_shops_at_once_is_cloned_until_it_is_quiet() {
    let mut rig = Rig::new();
    let mut disbelieved = 0;
    for second in 0..60 {
        disbelieved += rig.report("s1", second, &[("tag", -60.0)]).iter().filter(|it| **it).count();
        disbelieved += rig.report("s3", second, &[("tag", -60.0)]).iter().filter(|it| **it).count();
    }
    assert_eq!((rig.news(), disbelieved), (vec!["beacon.cloned tag".to_owned()], 117), "all but the first three");
    assert!(rig.fleet.has_cloned() && rig.fleet.is_cloned(&"tag".parse().expect("an id"), at(60)));
    // The copy was heard last at 59, and the tag somewhere else once more at 60.
    for second in 60..=660 {
        assert_eq!(rig.report("s1", second, &[("tag", -60.0)]), [true], "{second}");
    }
    for second in 661..670 {
        assert_eq!(rig.report("s1", second, &[("tag", -60.0)]), [false]);
    }
    assert_eq!(rig.news(), ["beacon.back tag"]);
    rig.settle(670);
    assert!(!rig.fleet.has_cloned());
}

#[test]
fn time_alone_ends_a_clone() {
    let mut rig = Rig::new();
    for second in 0..5 {
        rig.report_all(&["s1", "s3"], second, &[("tag", -60.0)]);
    }
    rig.settle(5);
    let (_, due) = rig.fleet.settle(at(200));
    assert_eq!(due, Some(at(604).plus(Duration::from_millis(1))));
    rig.news();
    rig.settle(605);
    assert!(rig.news().contains(&"beacon.unheard tag".to_owned()));
}

#[test]
fn a_tag_that_is_carried_from_shop_to_shop_is_believed() {
    let mut rig = Rig::new();
    let mut second = 0;
    for trip in 0..50 {
        for _ in 0..30 {
            let scanner = if trip % 2 == 0 { "s1" } else { "s3" };
            // The clocks of the two shops' scanners differ by half a minute.
            let heard_at = if trip % 2 == 0 { second + 60 } else { second + 30 };
            assert_eq!(rig.report_of(scanner, second + 60, &[("tag", -60.0, None, heard_at)]), [false]);
            second += 1;
        }
        second += 240;
    }
}

#[test]
fn a_queue_that_arrives_late_clones_nothing() {
    let mut rig = Rig::new();
    for second in 4_000..4_300 {
        // s3 was without a network, and tells an hour later that the tag had been there, while it is at s1 now.
        assert_eq!(rig.report("s1", second, &[("tag", -60.0)]), [false]);
        assert_eq!(rig.report_of("s3", second, &[("tag", -60.0, None, second - 3_600)]), [false]);
    }
    assert_eq!(rig.beacon("tag", 4_300).scanner.as_ref().map(|it| it.as_str()), Some("s1"));
}

/// Scanners with positions; `metres` to the north of the first, both in shops of their own.
fn apart(metres: f64) -> Registry {
    let scanner = |id: &str, store: &str, metres: f64| {
        let value = json!({"id": id, "store": store, "position": {"lat": 48.0 + metres / 111_195.0, "lon": 2.0}});
        Arc::new(Scanner::compile(serde_json::from_value(value).expect("well formed")).expect("sound"))
    };
    let tag = json!({"id": "tag", "role": "tag", "uuid": UUID, "major": 1, "minor": 3});
    let tag = Arc::new(Beacon::compile(serde_json::from_value(tag).expect("well formed")).expect("sound"));
    let scanners = vec![scanner("s1", "opera", 0.0), scanner("s2", "rivoli", metres)];
    Registry::new(Parts { beacons: vec![tag], scanners, ..Parts::default() })
}

#[test]
fn where_places_are_known_the_way_decides() {
    for (metres, pause, cloned) in [(150.0, 0, false), (300.0, 0, true), (300.0, 4, false), (9_000.0, 60, true)] {
        let mut rig = Rig::with(Config::default(), apart(metres));
        let mut seen = false;
        for round in 0..20 {
            seen |= rig.report("s1", round * 2 * (pause + 1), &[("tag", -60.0)])[0];
            seen |= rig.report("s2", round * 2 * (pause + 1) + pause, &[("tag", -60.0)])[0];
        }
        assert_eq!(seen, cloned, "{metres} m, {pause} s");
    }
}

#[test]
fn repeats_and_replays_are_told_apart_and_a_refused_report_may_come_again() {
    let rig = Rig::new();
    let scanner = "s1".parse().expect("an id");
    let admit = |boot: &str, seq| rig.fleet.admit(&scanner, Some(&Serial { boot: boot.to_owned(), seq }), at(1)).0;
    let take = |boot: &str, seq| rig.fleet.take(&scanner, &Serial { boot: boot.to_owned(), seq });
    assert_eq!([admit("a", 1), admit("a", 1)], [Admission::Taken; 2], "it was not taken yet");
    take("a", 1);
    assert_eq!(admit("a", 1), Admission::Repeat);
    take("b", 1);
    assert_eq!([admit("a", 1), admit("b", 1), admit("a", 2)], [Admission::Repeat, Admission::Repeat, Admission::Taken]);
    (2..500).for_each(|seq| take("b", seq));
    assert_eq!([admit("b", 499), admit("b", 300)], [Admission::Repeat, Admission::Replayed]);
}

#[test]
fn a_report_that_could_not_be_taken_is_noted_once() {
    let rig = Rig::new();
    let scanner = "s1".parse().expect("an id");
    let serial = Serial { boot: "a".to_owned(), seq: 1 };
    let stranger = Identity::Ibeacon(Ibeacon { uuid: UUID.parse().expect("a UUID"), major: 9, minor: 9 });
    let report = Report {
        scanner: &scanner,
        serial: Some(&serial),
        sent_at: Some(at(63)),
        health: None,
        sightings: &[],
        strangers: &[stranger],
    };
    (0..5).for_each(|_| drop(rig.fleet.note(&report, at(60))));
    assert_eq!(rig.fleet.unknown()[0].count, 1);
    let status = rig.scanner("s1", 61);
    assert_eq!((status.reports_hz, status.clock_offset_s), (0.02, Some(3.0)));
}

#[test]
fn what_a_scanner_says_of_itself_is_shown_and_cut_short() {
    let rig = Rig::new();
    let scanner = "s1".parse().expect("an id");
    let adapter = Adapter {
        address: "00:1a:7d:da:71:13".parse().expect("an address"),
        mode: "monitor\u{7}".repeat(1_000),
        rate_hz: 1.0,
        restarts: 0,
        reference_rate_hz: None,
    };
    let health = Health { version: "9".repeat(10_000), adapters: vec![adapter; 1_000], queued: 7, ..Health::default() };
    let report = Report {
        scanner: &scanner,
        serial: None,
        sent_at: None,
        health: Some(&health),
        sightings: &[],
        strangers: &[],
    };
    rig.fleet.note(&report, at(1));
    let status = rig.scanner("s1", 1);
    assert_eq!((status.adapters.len(), status.adapters[0].mode.len(), status.queued), (8, 40, Some(7)));
    assert_eq!(status.version.map(|version| version.len()), Some(40));
}

#[test]
fn strangers_are_ours_by_uuid_or_namespace_only() {
    let rig = Rig::new();
    let ibeacon = |uuid| Identity::Ibeacon(Ibeacon { uuid, major: 9, minor: 9 });
    let (ours, other) = (ibeacon(UUID.parse().expect("a UUID")), ibeacon(Uuid([1; 16])));
    let mac = Identity::Mac { mac: "c6:a5:b9:e0:ad:06".parse().expect("an address") };
    let eid = Identity::Ephemeral { eid: Ephemeral([1; 8]) };
    assert_eq!(rig.fleet.ours(vec![other, ours, mac, eid]), [ours]);
}

#[test]
fn rotating_identities_are_resolved_and_outlive_other_changes() {
    let fleet = Fleet::new(Config::default());
    let world = |generation| {
        let world = World::new(generation, Vec::new(), Vec::new(), Vec::new(), world::Settings::default());
        world.with_registry(registry())
    };
    let keys = EidKeys::from_iter([("rotating".parse().expect("an id"), [7; 16])]);
    let exponent = Exponent::try_from(10).expect("an exponent");
    let sent = |seconds| ephemeral(&IdentityKey::new([7; 16]), exponent, seconds);
    let resolved = |seconds: u64| {
        let heard = [(sent(u32::try_from(seconds).expect("small")), at(seconds)), (Ephemeral([0; 8]), at(seconds))];
        fleet.resolve(&heard, at(seconds)).into_iter().map(|it| it.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(resolved(50_000), [false, false]);
    fleet.renew(&world(1), &keys, at(50_000));
    assert_eq!(resolved(50_000), [true, false]);
    fleet.renew(&world(2), &keys, at(90_000));
    assert_eq!(resolved(90_000), [true, false]);
    fleet.renew(&world(3), &EidKeys::default(), at(90_000));
    assert_eq!(resolved(90_000), [false, false]);
}

#[test]
fn quarantined_scanners_are_shown_bounded_and_leave_when_they_are_registered() {
    let rig = Rig::new();
    let mut told_of = 0;
    for number in 0..1_000_u64 {
        let scanner = format!("stranger-{number}").parse().expect("an id");
        let (admission, change) = rig.fleet.admit(&scanner, None, at(number));
        assert_eq!(admission, Admission::Quarantined);
        assert!(change.iter().all(|change| change.kind() == "scanner.quarantined"));
        told_of += usize::from(change.is_some());
        assert_eq!(rig.fleet.admit(&scanner, None, at(number)).1, None, "told once");
    }
    assert_eq!(told_of, Config::default().quarantined_max, "made-up names flood nobody");
    let late = rig.fleet.admit(&"stranger-late".parse().expect("an id"), None, at(5_000)).1;
    assert!(late.is_some(), "those that are silent make way for whoever really comes");
    let part = Part { state: Some(ScannerState::Quarantined), store: None, after: None, limit: 10_000 };
    let listed = rig.fleet.scanners(&part, at(1_000));
    assert_eq!(listed.len(), Config::default().quarantined_max);
    assert!(listed.iter().any(|it| it.id.as_str() == "stranger-999"), "the oldest made way");
    let mut parts = Parts::default();
    let value = json!({"id": "stranger-999", "store": "opera"});
    let scanner = Scanner::compile(serde_json::from_value(value).expect("well formed")).expect("sound");
    parts.scanners.push(Arc::new(scanner));
    let world = World::new(2, Vec::new(), Vec::new(), Vec::new(), world::Settings::default());
    rig.fleet.renew(&world.with_registry(Registry::new(parts)), &EidKeys::default(), at(1_000));
    let (changes, _) = rig.fleet.settle(at(1_001));
    assert_eq!(changes.iter().map(told).collect::<Vec<_>>(), ["scanner.back stranger-999"]);
    assert_eq!(rig.fleet.counts(at(1_001)).scanners, [1, 0, 0, 99], "those that are no longer registered are gone");
}

#[test]
fn lists_have_pages_and_filters() {
    let mut rig = Rig::new();
    rig.report("s1", 1, &[("fixed", -60.0)]);
    let ids = |part: &Part<'_, BeaconState>| {
        rig.fleet.beacons(part, at(2)).iter().map(|it| it.id.to_string()).collect::<Vec<_>>()
    };
    let store = "opera".parse().expect("an id");
    let all = Part { state: None, store: None, after: None, limit: 100 };
    assert_eq!(ids(&all), ["fixed", "reference", "rotating", "tag"]);
    assert_eq!(ids(&Part { after: Some("fixed"), limit: 2, ..all.clone() }), ["reference", "rotating"]);
    assert_eq!(ids(&Part { state: Some(BeaconState::Ok), ..all.clone() }), ["fixed"]);
    assert_eq!(ids(&Part { store: Some(&store), ..all }), ["fixed", "reference"]);
    assert_eq!(rig.fleet.counts(at(2)).beacons, [1, 3, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_without_anybody_reporting() {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = "[[store]]\nid = \"opera\"\nname = \"Opera\"\ntime_zone = \"Europe/Paris\"\n";
    std::fs::write(folder.path().join("stores.toml"), stores).expect("writable");
    let sources = catalog::Sources {
        folder: folder.path().to_owned(),
        config: catalog::Config::default(),
        settings: world::Settings::default(),
    };
    let (catalog, worker) = Catalog::open(sources, Arc::new(Memory::new())).await.expect("sound files");
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(worker.run());
    let (fleet, clock) = (Fleet::new(Config::default()), Clock::simulated(at(0)));
    let reporter = Reporter::new(&report::Config::default());
    let mut news = reporter.subscribe();
    tasks.spawn(run(fleet.clone(), catalog.clone(), reporter.clone(), clock.clone(), shutdown.clone()));
    clock.sleep(Duration::from_secs(5_000)).await;
    assert!(news.is_empty(), "there is nobody to be silent");
    let scanner = json!({"id": "s1", "store": "opera"});
    catalog.put(catalog::Kind::Scanner, vec![scanner]).await.expect("put");
    let since = clock.now();
    let first = news.recv().await.expect("news");
    let News::Fleet(change) = &*first else { panic!("of the fleet: {first:?}") };
    assert_eq!(told(change), "scanner.silent s1");
    let after = change.at.since(since);
    assert!((Duration::from_secs(120)..Duration::from_secs(123)).contains(&after), "{after:?}");
    shutdown.cancel();
    drop(catalog);
    tasks.close();
    tasks.wait().await;
}

proptest! {
    /// Whatever is reported, by whomever: states follow from times alone, each change is told once, and nothing grows.
    #[test]
    fn every_change_is_told_and_nothing_else(
        reports in prop::collection::vec((0_u64..120, 0_usize..3, 0_usize..4, -100.0_f64..-30.0, 0_u64..900), 1..200),
    ) {
        let mut rig = Rig::new();
        let (scanners, beacons) = (["s1", "s2", "s3"], ["fixed", "reference", "tag"]);
        let mut states: BTreeMap<String, &str> = BTreeMap::new();
        let mut now = 0;
        for (pause, scanner, beacon, rssi, age) in reports {
            now += pause;
            rig.settle(now);
            let heard = beacons.get(beacon).map(|beacon| (*beacon, rssi, None, now.saturating_sub(age)));
            rig.report_of(scanners[scanner], now, heard.as_slice());
            for told in rig.news() {
                let (kind, subject) = told.split_once(' ').expect("a kind and a subject");
                let key = if kind.ends_with("deaf") || kind.ends_with("hearing") { format!("{subject}?") } else { subject.to_owned() };
                let before = states.insert(key, Change::KINDS.into_iter().find(|known| *known == kind).expect("a known kind"));
                prop_assert_ne!(before, Some(kind), "told twice: {}", subject);
            }
            let last = rig.scanner(scanners[scanner], now);
            prop_assert_eq!((last.state, last.reported_at), (ScannerState::Ok, Some(at(now))));
            let counts = rig.fleet.counts(at(now));
            prop_assert_eq!((counts.scanners.iter().sum::<u64>(), counts.beacons.iter().sum::<u64>()), (3, 4));
        }
    }
}
