//! What phones, servers, gateways and scanner hosts send: `n` native JSON, `l` NDJSON, `o` OwnTracks, `v` Overland,
//! `t` Transistorsoft, `a` Amazon, `r` ranging, `q` OsmAnd's query; gateways `P`, `T`, `M`, `R`, `E`, `W`, with a topic.

use std::collections::BTreeSet;

use parvis::{
    ingest::{
        Batch, amazon,
        gateway::{self, Format},
        lines::{Line, Lines},
        native, osmand, overland, owntracks, ranging, scanners, transistorsoft,
    },
    json::Malformed,
};
use parvis_engine::{
    beacons::report,
    id::DeviceId,
    normalise,
    observation::{Observation, Rejected},
    shopper::Track,
    track,
    world::World,
};
use serde_json::{Value, json};

use super::{alike, names_a_place, now, parts};

const LINE_MAX: usize = 300;

pub(crate) fn check(bytes: &[u8]) -> bool {
    let Some((kind, argument, body)) = parts(bytes) else { return false };
    let known: Option<DeviceId> = argument.parse().ok();
    let known = known.as_ref();
    match kind {
        'n' => native_json(body),
        'l' => native_lines(argument, body),
        'o' => {
            let batch = owntracks::batch(body, known);
            accounted(&batch, elements(body, |body| Some(body.as_array().map_or(1, Vec::len))).or(Some(1)));
            !batch.reports.is_empty()
        }
        'v' => taken(body, overland::batch(body, known), |body| Some(body.get("locations")?.as_array()?.len())),
        // A message may hold several positions.
        't' => taken(body, transistorsoft::batch(body, known), |_| None),
        'a' => taken(body, amazon::batch(body, known), |body| Some(body.get("Updates")?.as_array()?.len())),
        'r' => taken(body, ranging::batch(body, known, now()), |body| {
            Some(body.as_array().or_else(|| body.get("beacons")?.as_array())?.len())
        }),
        'q' => {
            let text = String::from_utf8_lossy(body);
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let batch = osmand::batch(&pairs, known, now());
            accounted(&batch, Some(1));
            !batch.reports.is_empty()
        }
        'P' => gateway(Format::Parvis, argument, body),
        'T' => gateway(Format::Theengs, argument, body),
        'M' => gateway(Format::Minew, argument, body),
        'R' => gateway(Format::Ruuvi, argument, body),
        'E' => gateway(Format::Espresense, argument, body),
        'W' => gateway(Format::Raw, argument, body),
        _ => false,
    }
}

fn elements(body: &[u8], count: impl FnOnce(&Value) -> Option<usize>) -> Option<usize> {
    count(&serde_json::from_slice(body).ok()?)
}

fn taken(body: &[u8], read: Result<Batch, Malformed>, count: impl FnOnce(&Value) -> Option<usize>) -> bool {
    match read {
        Ok(batch) => {
            accounted(&batch, elements(body, count));
            !batch.reports.is_empty()
        }
        Err(malformed) => {
            told(&malformed, body);
            false
        }
    }
}

/// Of every element there is one report or one refusal, or it was passed over; and what is reported can be judged.
fn accounted(batch: &Batch, elements: Option<usize>) {
    let places = batch.reports.iter().map(|report| report.index).chain(batch.rejected.iter().map(|(index, _)| *index));
    let distinct: BTreeSet<usize> = places.collect();
    let listed = batch.reports.len() + batch.rejected.len();
    assert_eq!(distinct.len(), listed, "a place is named twice");
    if let Some(elements) = elements {
        assert_eq!(listed + batch.ignored as usize, elements, "an element is lost");
        assert!(distinct.last().is_none_or(|last| *last < elements), "a place beyond the end");
    }
    batch.rejected.iter().for_each(|(_, rejected)| explained(rejected));
    let (world, mut track) = (World::default(), Track::default());
    for report in &batch.reports {
        match normalise::observation(&world, &report.device, report.observation.clone(), now()) {
            Ok(trusted) => drop(track::movement(&world, &mut track, trusted)),
            Err(rejected) => explained(&rejected),
        }
    }
}

fn explained(rejected: &Rejected) {
    assert!(!rejected.detail.is_empty(), "{rejected:?}");
}

fn told(malformed: &Malformed, body: &[u8]) {
    assert!(!malformed.detail.is_empty());
    if let Ok(value) = serde_json::from_slice(body) {
        assert!(names_a_place(&malformed.pointer, &value), "{malformed:?} in {value}");
    }
}

fn native_json(body: &[u8]) -> bool {
    match native::batch(body) {
        Ok((device, batch)) => {
            let count = |value: &Value| Some(value.get("observations")?.as_array()?.len());
            accounted(&batch, elements(body, count));
            let observations: Vec<Value> = batch.reports.iter().map(|report| written(&report.observation)).collect();
            let again = json!({"device": device, "observations": observations}).to_string();
            let (_, again) = native::batch(again.as_bytes()).expect("what was written is read");
            assert_eq!(again.rejected, []);
            for (one, other) in observations.iter().zip(&again.reports) {
                assert!(alike(one, &written(&other.observation)), "{one} {other:?}");
            }
            assert_eq!(observations.len(), again.reports.len());
            !batch.reports.is_empty()
        }
        Err(malformed) => {
            told(&malformed, body);
            false
        }
    }
}

fn written(observation: &Observation) -> Value {
    serde_json::to_value(observation).expect("is written")
}

/// However the bytes come in, the lines are the same, and no more than one line and one piece are held.
fn native_lines(argument: &str, body: &[u8]) -> bool {
    let piece = argument.parse().unwrap_or(7_usize).clamp(1, 4_096);
    let (whole, pieces) = (cut(body, body.len().max(1)), cut(body, piece));
    assert_eq!(whole, pieces);
    assert_eq!(
        whole.len(),
        body.split(|byte| *byte == b'\n').count() - usize::from(body.ends_with(b"\n") || body.is_empty())
    );
    let mut taken = 0;
    for (index, line) in whole.iter().enumerate() {
        let Some(text) = line else { continue };
        assert!(text.len() <= LINE_MAX);
        match native::line(index, text) {
            Ok(report) => {
                assert_eq!(report.index, index);
                let mut again = written(&report.observation);
                again["device"] = json!(report.device);
                let again = native::line(index, again.to_string().as_bytes()).expect("what was written is read");
                assert!(alike(&written(&report.observation), &written(&again.observation)), "{report:?} {again:?}");
                taken += 1;
            }
            Err(rejected) => explained(&rejected),
        }
    }
    taken > 0
}

/// The lines; none for one that is too long.
fn cut(body: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let held = |line: Line<'_>| match line {
        Line::Text(text) => Some(text.to_vec()),
        Line::TooLong => None,
    };
    let mut lines = Lines::new(LINE_MAX);
    let mut all = Vec::new();
    for piece in body.chunks(piece) {
        lines.push(piece);
        while let Some(line) = lines.next_line() {
            all.push(held(line));
        }
    }
    all.extend(lines.last_line().map(held));
    all
}

fn gateway(format: Format, topic: &str, body: &[u8]) -> bool {
    let topic = Some(topic).filter(|topic| !topic.is_empty());
    let delivery = match scanners::read(format, topic, body, now()) {
        Ok(delivery) => delivery,
        Err(malformed) => {
            told(&malformed, body);
            return false;
        }
    };
    let batch = &delivery.batch;
    let places = batch.sightings.iter().map(|heard| heard.index).chain(batch.rejected.iter().map(|(index, _)| *index));
    let distinct: BTreeSet<usize> = places.collect();
    assert_eq!(distinct.len(), batch.sightings.len() + batch.rejected.len(), "a place is named twice");
    batch.rejected.iter().for_each(|(_, rejected)| explained(rejected));
    batch.sightings.iter().for_each(measurable);
    if format == Format::Parvis {
        own(body, batch);
    }
    !batch.sightings.is_empty()
}

fn measurable(heard: &gateway::Heard) {
    assert!((-127.0..0.0).contains(&heard.rssi_dbm), "{heard:?}");
    assert!(heard.measured_power_dbm.is_none_or(f64::is_finite), "{heard:?}");
    assert!(heard.battery_v.is_none_or(|volts| volts.is_finite() && volts > 0.0), "{heard:?}");
}

/// Our own scanner hosts' reports: nothing is lost, and what is written is read.
fn own(body: &[u8], batch: &gateway::Batch) {
    let report: report::Report = serde_json::from_slice(body).expect("it was read");
    assert_eq!(batch.sightings.len() + batch.rejected.len() + batch.ignored, report.heard.len());
    let one = serde_json::to_value(&report).expect("is written");
    let again: report::Report = serde_json::from_str(&one.to_string()).expect("what was written is read");
    assert!(alike(&one, &serde_json::to_value(&again).expect("is written")), "{one}");
}
