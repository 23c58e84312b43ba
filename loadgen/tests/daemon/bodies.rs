//! Every body, read by the daemon's own readers.

use parvis::ingest::{Batch, Report, native, overland, owntracks};
use parvis_engine::{
    observation::{Heard, Observation},
    time::Timestamp,
};
use parvis_loadgen::{
    city::{City, Gait, Ping, Plan, device_id},
    wire::{Format, Request},
};

use crate::plan;

/// A Sunday morning of 2026, 12 seconds before a minute ends.
const AT_MS: i64 = 1_795_338_348_123;

/// Pings of three phones in turn, or of one.
fn pings(city: &City, phones: usize) -> Vec<Ping> {
    let mut walkers: Vec<_> = (0..phones).map(|index| city.phone(index + 1)).collect();
    (0..60).map(|at| walkers[at % phones].step(city, AT_MS + at as i64 * 1_371)).collect()
}

fn read(format: Format, request: &Request) -> Vec<Report> {
    let known = request.path.split_once("?device=").map(|(_, device)| device.parse().expect("an id"));
    let batch = match format {
        Format::Ndjson | Format::Sightings => {
            let lines = request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate();
            let reports = lines.map(|(at, line)| native::line(at, line).expect("a line")).collect();
            Batch { reports, ..Batch::default() }
        }
        Format::Json => native::batch(&request.body).expect("a request").1,
        Format::OwnTracks => owntracks::batch(&request.body, known.as_ref()),
        Format::Overland => overland::batch(&request.body, known.as_ref()).expect("a batch"),
    };
    assert_eq!((batch.rejected, batch.ignored), (Vec::new(), 0));
    batch.reports
}

/// Asserts that a fix is what the ping says, as far as the format goes.
fn assert_tells(format: Format, ping: &Ping, report: &Report) {
    let Observation::Fix(fix) = &report.observation else { panic!("{format}: a fix is expected, not {report:?}") };
    assert_eq!(report.device.as_str(), device_id(ping.phone));
    let whole_seconds = format == Format::OwnTracks;
    let at_ms = if whole_seconds { ping.at_ms / 1_000 * 1_000 } else { ping.at_ms };
    assert_eq!(fix.at, Timestamp::from_millis(at_ms));
    assert!((fix.position.lat - ping.lat).abs() < 1e-7 && (fix.position.lon - ping.lon).abs() < 1e-7);
    assert!((fix.accuracy_m - f64::from(ping.accuracy_m)).abs() < 0.06);
    let off = |read: Option<f64>, said: Option<f32>| match (read, said) {
        (Some(read), Some(said)) => (read - f64::from(said)).abs(),
        (None, None) => 0.0,
        (None, Some(_)) | (Some(_), None) => f64::INFINITY,
    };
    assert!(off(fix.speed_mps, ping.speed_mps) < 0.2, "{format}: {:?} {:?}", fix.speed_mps, ping.speed_mps);
    assert!(off(fix.course_deg, ping.course_deg) < 0.6, "{format}: {:?} {:?}", fix.course_deg, ping.course_deg);
}

#[test]
fn the_daemon_reads_what_phones_report() {
    let city = City::build(&plan(300, 100, Gait::Stroll));
    for format in Format::ALL {
        let pings = pings(&city, if format.is_of_one_phone() { 1 } else { 3 });
        for count in [1, 2, 60] {
            let request = format.request(&city, &pings[..count]);
            assert_eq!(request.pings, count);
            let reports = read(format, &request);
            assert_eq!(reports.len(), count);
            pings.iter().zip(&reports).for_each(|(ping, report)| assert_tells(format, ping, report));
        }
    }
}

#[test]
fn what_phones_hear_is_a_beacon_of_the_shop() {
    let city = City::build(&Plan { beacons: 48, ..plan(20, 100, Gait::Aisle) });
    let registry = &crate::world(&city).registry;
    let pings = pings(&city, 3);
    assert!(pings.iter().all(|ping| ping.heard.is_some()));
    let reports = read(Format::Sightings, &Format::Sightings.request(&city, &pings));
    for (ping, report) in pings.iter().zip(&reports) {
        let Observation::Sighting(sighting) = &report.observation else { panic!("a sighting is expected") };
        assert!(matches!(sighting.heard, Heard::Identity(_)));
        let beacon = registry.heard(&sighting.heard).expect("a registered beacon");
        assert_eq!(Some(beacon.spec.id.to_string()), ping.heard.map(|heard| format!("beacon-{}", heard.beacon)));
        assert_eq!(Some(sighting.rssi_dbm as i8), ping.heard.map(|heard| heard.rssi_dbm));
    }
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
        assert!(format.batch_max() > 0);
    }
    let why = "xml".parse::<Format>().expect_err("no such format");
    assert!(why.contains("ndjson"), "{why}");
}

#[test]
fn bodies_fit_into_what_is_reserved_and_below_what_the_daemon_takes() {
    let city = City::build(&plan(300, 100, Gait::Stroll));
    for format in Format::ALL {
        let one = pings(&city, 1);
        let longest = (0..60).map(|at| format.request(&city, &one[at..=at]).body.len()).max().expect("bodies");
        assert!(longest * format.batch_max() <= 4 * 1024 * 1024 || !format.is_of_one_phone(), "{format}: {longest}");
    }
}
