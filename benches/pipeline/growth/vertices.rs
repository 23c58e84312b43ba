//! One fence with more and more vertices, and phones at its border, through the engine.

use std::{sync::Arc, time::Duration};

use parvis::store::Record;
use parvis_engine::{
    id::DeviceId,
    observation::{Fix, Position},
    region::{Feature, FeatureKind, Geofence, Geometry, LonLat, Properties},
    time::Timestamp,
    world::{Settings, World},
};

use super::{costs, each_us, head, row};
use crate::{
    Scale,
    city::{Phone, Walk, center, name, observe_once},
    footprint::resident_bytes,
};

const PHONES: usize = 1_000;
/// Of the fence, before its border goes in and out by a tenth.
const REACH_M: f64 = 2_000.0;
const METRES_A_DEGREE: f64 = 111_195.0;

pub(crate) fn part(scale: &Scale) {
    let growth = &scale.growth;
    let (mut worlds, mut bytes) = (Vec::new(), Vec::new());
    for &vertices in growth.vertices {
        let before = resident_bytes();
        worlds.push(world(vertices));
        bytes.push(resident_bytes().saturating_sub(before));
    }
    head("vertices of one fence", growth.vertices);
    for (what, offsets_m) in [
        ("every ping crosses the border", [-300.0, 300.0]),
        ("at the border, nothing changes", [60.0, 70.0]),
        ("10 km away", [10_000.0, 10_010.0]),
    ] {
        let cells: Vec<f64> = worlds.iter().map(|world| cost(scale, world, offsets_m)).collect();
        costs(what, &cells);
    }
    row("memory of the fence", bytes.iter().map(|bytes| format!("{} kB", bytes / 1_000)));
}

/// Microseconds a ping of phones that go to and fro between two distances from the border.
fn cost(scale: &Scale, world: &World, offsets_m: [f64; 2]) -> f64 {
    let mut crowd: Vec<(DeviceId, Record)> = (0..PHONES)
        .map(|index| Phone::new(index, Walk::Street))
        .map(|phone| (phone.id.clone(), phone.record()))
        .collect();
    let (mut now, mut step) = (Timestamp::from_millis(1_800_000_000_000), 0);
    each_us(&scale.growth, PHONES, || {
        // A minute for 600 m is believed.
        now = now.plus(Duration::from_secs(60));
        step += 1;
        for (index, (device, record)) in crowd.iter_mut().enumerate() {
            let turn = index as f64 / PHONES as f64 * std::f64::consts::TAU;
            let position = at(turn, border_m(turn) + offsets_m[step % 2]);
            let fix = Fix { at: now, position, accuracy_m: 8.0, speed_mps: None, course_deg: None, floor: None };
            observe_once(world, (device, record), fix, now);
        }
    })
}

fn world(vertices: usize) -> World {
    let corner = |index: usize| {
        let turn = (index % vertices) as f64 / vertices as f64 * std::f64::consts::TAU;
        let Position { lat, lon } = at(turn, border_m(turn));
        LonLat { lon, lat }
    };
    let feature = Feature {
        kind: FeatureKind::Feature,
        id: Some(name("fence")),
        geometry: Geometry::Polygon { coordinates: vec![(0..=vertices).map(corner).collect()] },
        properties: Properties::default(),
    };
    let fence = Arc::new(Geofence::compile(feature).expect("sound"));
    World::new(1, vec![fence], Vec::new(), Vec::new(), Settings::default())
}

/// How far the border is in a direction, if there are vertices enough.
fn border_m(turn: f64) -> f64 {
    REACH_M * (0.9 + 0.1 * (turn * 3.0).sin())
}

fn at(turn: f64, distance_m: f64) -> Position {
    let Position { lat, lon } = center(0);
    let reach = distance_m / METRES_A_DEGREE;
    Position { lat: lat + reach * turn.sin(), lon: lon + reach * turn.cos() / lat.to_radians().cos() }
}
