//! Slow and plain: linear scans, chords through the sphere, counting samples.

use parvis_engine::{
    observation::Position,
    region::{Feature, FeatureKind, Geofence, Geometry, LonLat, Properties},
};
use proptest::prelude::*;

pub(crate) const RADIUS_M: f64 = 6_371_008.8;

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Circle(Position, f64),
    /// Polygons of rings of (lon, lat), closed.
    Polygons(Vec<Vec<Vec<(f64, f64)>>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(crate) id: String,
    pub(crate) shape: Shape,
    pub(crate) approach_m: Option<f64>,
    pub(crate) dwell_s: Option<u32>,
    pub(crate) exit_probability: Option<f64>,
}

impl Fence {
    /// One of which nothing else is said.
    pub(crate) fn new(id: &str, shape: Shape) -> Fence {
        Fence { id: id.to_owned(), shape, approach_m: None, dwell_s: None, exit_probability: None }
    }

    pub(crate) fn feature(&self) -> Feature {
        let ring = |ring: &Vec<(f64, f64)>| ring.iter().map(|(lon, lat)| LonLat { lon: *lon, lat: *lat }).collect();
        let (geometry, radius_m) = match &self.shape {
            Shape::Circle(center, radius_m) => {
                (Geometry::Point { coordinates: LonLat { lon: center.lon, lat: center.lat } }, Some(*radius_m))
            }
            Shape::Polygons(parts) => {
                let coordinates = parts.iter().map(|part| part.iter().map(ring).collect()).collect();
                (Geometry::MultiPolygon { coordinates }, None)
            }
        };
        Feature {
            kind: FeatureKind::Feature,
            id: Some(self.id.parse().expect("a name")),
            geometry,
            properties: Properties {
                radius_m,
                approach_m: self.approach_m,
                dwell_s: self.dwell_s,
                exit_probability: self.exit_probability,
                ..Properties::default()
            },
        }
    }

    /// With coordinates of nine decimals, a radius of whole millimetres and a probability of three digits.
    pub(crate) fn rounded(&self) -> Fence {
        let round = |value: f64, scale: f64| (value * scale).round() / scale;
        let shape = match &self.shape {
            Shape::Circle(center, radius_m) => Shape::Circle(
                Position { lat: round(center.lat, 1e9), lon: round(center.lon, 1e9) },
                round(*radius_m, 1e3),
            ),
            Shape::Polygons(parts) => {
                let pair = |(lon, lat): &(f64, f64)| (round(*lon, 1e9), round(*lat, 1e9));
                let ring = |ring: &Vec<(f64, f64)>| ring.iter().map(pair).collect();
                Shape::Polygons(parts.iter().map(|part| part.iter().map(ring).collect()).collect())
            }
        };
        let (approach_m, exit) = (self.approach_m, self.exit_probability);
        let approach_m = approach_m.map(|approach_m| round(approach_m, 1e3));
        let exit_probability = exit.map(|exit| round(exit, 1e3));
        Fence { shape, approach_m, exit_probability, ..self.clone() }
    }

    pub(crate) fn compiled(&self) -> Geofence {
        Geofence::compile(self.feature()).unwrap_or_else(|problems| panic!("{problems:?} in {self:?}"))
    }

    pub(crate) fn contains(&self, at: Position) -> bool {
        match &self.shape {
            Shape::Circle(center, radius_m) => chord_distance_m(*center, at) <= *radius_m,
            Shape::Polygons(parts) => parts.iter().any(|rings| {
                let (shell, holes) = rings.split_first().expect("a shell");
                in_ring(shell, at) && !holes.iter().any(|hole| in_ring(hole, at))
            }),
        }
    }

    /// The share of a Gaussian's samples that lies inside; the samples are spread evenly over radius and direction.
    pub(crate) fn share(&self, at: Position, accuracy_m: f64, samples: u32) -> f64 {
        let sigma_m = accuracy_m / (-2.0 * 0.32_f64.ln()).sqrt();
        let inside = (0..samples)
            .filter(|sample| {
                let part = (f64::from(*sample) + 0.5) / f64::from(samples);
                let distance_m = sigma_m * (-2.0 * (1.0 - part).ln()).sqrt();
                let bearing = f64::from(*sample) * 2.399_963_229_728_653;
                self.contains(destination(at, bearing, distance_m))
            })
            .count();
        inside as f64 / f64::from(samples)
    }
}

fn vector(at: Position) -> [f64; 3] {
    let (lat, lon) = (at.lat.to_radians(), at.lon.to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}

pub(crate) fn chord_distance_m(one: Position, other: Position) -> f64 {
    let (a, b) = (vector(one), vector(other));
    let chord = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt();
    2.0 * RADIUS_M * (chord / 2.0).min(1.0).asin()
}

/// The position at a distance in a direction, on the great circle.
pub(crate) fn destination(from: Position, bearing: f64, distance_m: f64) -> Position {
    let angle = distance_m / RADIUS_M;
    let (lat, lon) = (from.lat.to_radians(), from.lon.to_radians());
    let sin_lat = lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos();
    let turn = (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * sin_lat);
    let lon = (lon + turn).to_degrees();
    Position { lat: sin_lat.clamp(-1.0, 1.0).asin().to_degrees(), lon: (lon + 540.0).rem_euclid(360.0) - 180.0 }
}

fn in_ring(ring: &[(f64, f64)], at: Position) -> bool {
    [-360.0, 0.0, 360.0].into_iter().any(|turn| {
        let (x, y) = (at.lon + turn, at.lat);
        let mut odd = false;
        for pair in ring.windows(2) {
            let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
            if (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 {
                odd = !odd;
            }
        }
        odd
    })
}

/// A star-shaped ring around a centre: never crosses itself.
pub(crate) fn star(center: Position, radius_m: f64, radii: &[f64], from_part: f64) -> Vec<(f64, f64)> {
    let mut ring: Vec<(f64, f64)> = radii
        .iter()
        .enumerate()
        .map(|(index, part)| {
            let turn = index as f64 / radii.len() as f64 * std::f64::consts::TAU;
            let reach_deg = (radius_m * part * from_part / RADIUS_M).to_degrees();
            let stretch = center.lat.to_radians().cos();
            (center.lon + reach_deg * turn.cos() / stretch, center.lat + reach_deg * turn.sin())
        })
        .collect();
    ring.push(ring[0]);
    ring
}

/// Circles, polygons with and without holes, and two-part fences, within `spread_m` of a place.
pub(crate) fn fence(base: Position, spread_m: f64) -> impl Strategy<Value = Shape> {
    let place = (0.0..std::f64::consts::TAU, 0.0..1.0_f64)
        .prop_map(move |(bearing, part)| destination(base, bearing, spread_m * part));
    let size = (10.0_f64.ln()..600.0_f64.ln()).prop_map(f64::exp);
    let radii = prop::collection::vec(0.3..1.0_f64, 3..40);
    (place, size, radii, 0..5_u8).prop_map(|(center, size_m, radii, kind)| match kind {
        0 | 1 => Shape::Circle(center, size_m),
        2 => Shape::Polygons(vec![vec![star(center, size_m, &radii, 1.0)]]),
        3 => Shape::Polygons(vec![vec![star(center, size_m, &radii, 1.0), star(center, size_m, &radii, 0.5)]]),
        _ => {
            let other = destination(center, 1.0, 2.5 * size_m);
            Shape::Polygons(vec![vec![star(center, size_m, &radii, 1.0)], vec![star(other, size_m, &radii, 1.0)]])
        }
    })
}

pub(crate) fn fences(base: Position, spread_m: f64, count: usize) -> impl Strategy<Value = Vec<Fence>> {
    let approach = prop::option::weighted(0.4, 30.0..400.0_f64);
    let exit = prop::option::weighted(0.2, 0.01..0.5_f64);
    prop::collection::vec((fence(base, spread_m), approach, exit), 1..count).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered
            .map(|(index, (shape, approach_m, exit_probability))| {
                let plain = Fence::new(&format!("f{index:03}"), shape);
                Fence { approach_m, exit_probability, ..plain }
            })
            .collect()
    })
}
