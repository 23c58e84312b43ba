//! One observation of a moving phone through normalise, track and match, against fences in a crowded city and over a
//! country. What is measured is the mean over many walking phones, so that memory is as cold as in life.

use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use parvis_engine::{
    id::DeviceId,
    matching::{self, Subject},
    normalise,
    observation::{Fix, Observation, Position},
    region::{Feature, FeatureKind, Geofence, Geometry, LonLat, Properties},
    shopper::{Presence, Track},
    time::Timestamp,
    track,
    world::{self, World},
};

const SIZES: [usize; 3] = [1_000, 23_000, 100_000];
const PHONES: usize = 1_000;
const CENTER: Position = Position { lat: 48.85, lon: 2.35 };

/// Side of the square that holds all fences and phones, degrees of latitude: 100 km and 600 km.
const CITY: f64 = 0.9;
const COUNTRY: f64 = 5.4;

fn main() {
    divan::main();
}

#[derive(Clone, Copy)]
enum Kind {
    Polygons,
    Circles,
}

#[divan::bench(args = SIZES)]
fn city_polygons(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Polygons, count, CITY, true);
}

/// The same density as the full city everywhere, so that only the number of fences differs.
#[divan::bench(args = SIZES)]
fn city_polygons_of_one_density(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Polygons, count, CITY * (count as f64 / 100_000.0).sqrt(), true);
}

#[divan::bench(args = SIZES)]
fn city_circles(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Circles, count, CITY, true);
}

#[divan::bench(args = SIZES)]
fn city_polygons_without_calm(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Polygons, count, CITY, false);
}

#[divan::bench(args = SIZES)]
fn country_polygons(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Polygons, count, COUNTRY, true);
}

#[divan::bench(args = SIZES)]
fn country_circles(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Circles, count, COUNTRY, true);
}

#[divan::bench(args = SIZES)]
fn country_polygons_without_calm(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, Kind::Polygons, count, COUNTRY, false);
}

#[divan::bench(args = [30, 50_000])]
fn one_large_polygon(bencher: Bencher<'_, '_>, vertices: usize) {
    let fence = geofence(0, polygon(CENTER, 10_000.0, vertices));
    let mut phones = Phones::new(&world(vec![fence]), CITY);
    bencher.bench_local(|| phones.next(false));
}

#[divan::bench(args = SIZES, sample_count = 10)]
fn index_of_all_fences(bencher: Bencher<'_, '_>, count: usize) {
    let fences = fences(Kind::Polygons, count, CITY);
    bencher.bench_local(|| parvis_engine::region::Regions::new(black_box(fences.clone())));
}

fn measure(bencher: Bencher<'_, '_>, kind: Kind, count: usize, side: f64, calm: bool) {
    let world = world(fences(kind, count, side));
    let mut phones = Phones::new(&world, side);
    for _ in 0..5 * PHONES {
        phones.next(calm);
    }
    bencher.bench_local(|| phones.next(calm));
}

fn world(fences: Vec<Arc<Geofence>>) -> World {
    World::new(1, fences, Vec::new(), Vec::new(), world::Settings::default())
}

fn fences(kind: Kind, count: usize, side: f64) -> Vec<Arc<Geofence>> {
    let mut chance = Chance(7);
    (0..count)
        .map(|index| {
            let center = chance.place(side);
            let radius_m = 20.0 + 80.0 * chance.next();
            match kind {
                Kind::Polygons => geofence(index, polygon(center, radius_m, 30)),
                Kind::Circles => {
                    let coordinates = LonLat { lon: center.lon, lat: center.lat };
                    geofence(index, (Geometry::Point { coordinates }, Some(radius_m)))
                }
            }
        })
        .collect()
}

fn polygon(center: Position, radius_m: f64, vertices: usize) -> (Geometry, Option<f64>) {
    let mut ring: Vec<LonLat> = (0..vertices)
        .map(|index| {
            let turn = index as f64 / vertices as f64 * std::f64::consts::TAU;
            let reach = radius_m / 111_195.0 * (0.85 + 0.15 * (turn * 7.0).sin());
            LonLat { lon: center.lon + reach * turn.cos() / 0.658, lat: center.lat + reach * turn.sin() }
        })
        .collect();
    ring.push(ring[0]);
    (Geometry::Polygon { coordinates: vec![ring] }, None)
}

fn geofence(index: usize, (geometry, radius_m): (Geometry, Option<f64>)) -> Arc<Geofence> {
    let properties = Properties { radius_m, ..Properties::default() };
    let id = format!("fence-{index}").parse().expect("a name");
    let feature = Feature { kind: FeatureKind::Feature, id: Some(id), geometry, properties };
    Arc::new(Geofence::compile(feature).expect("sound"))
}

/// Phones that walk 14 m every ten seconds, mostly straight on, and take turns.
struct Phones {
    world: World,
    phones: Vec<Phone>,
    turn: usize,
    at: Timestamp,
    chance: Chance,
}

struct Phone {
    id: DeviceId,
    presences: Vec<Presence>,
    track: Track,
    position: Position,
    course: f64,
}

static START: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-21T10:00:00Z".parse().expect("a time"));

impl Phones {
    fn new(world: &World, side: f64) -> Phones {
        let mut chance = Chance(11);
        let phones = (0..PHONES)
            .map(|index| Phone {
                id: format!("phone-{index}").parse().expect("a name"),
                presences: Vec::new(),
                track: Track::default(),
                position: chance.place(side),
                course: chance.next() * std::f64::consts::TAU,
            })
            .collect();
        Phones { world: world.clone(), phones, turn: 0, at: *START, chance }
    }

    fn next(&mut self, calm: bool) -> usize {
        if self.turn == PHONES {
            self.turn = 0;
            self.at = self.at.plus(std::time::Duration::from_secs(10));
        }
        let phone = &mut self.phones[self.turn];
        self.turn += 1;
        phone.course += self.chance.next() - 0.5;
        phone.position.lat += 14.0 / 111_195.0 * phone.course.cos();
        phone.position.lon += 14.0 / 111_195.0 / 0.658 * phone.course.sin();
        if let (Some(disc), false) = (&mut phone.track.calm, calm) {
            // As after a change of the catalog.
            disc.generation = 0;
        }
        let fix = Fix {
            at: self.at,
            position: phone.position,
            accuracy_m: 5.0 + 10.0 * self.chance.next(),
            speed_mps: None,
            course_deg: None,
            floor: None,
        };
        let raw = Observation::Fix(fix);
        let Ok(Observation::Fix(fix)) = normalise::observation(&self.world, &phone.id, raw, self.at) else {
            return 0;
        };
        let movement = track::advance(&mut phone.track, fix, &self.world.settings.track);
        let subject =
            Subject { device: &phone.id, presences: &phone.presences, left_at: None, track: &mut phone.track };
        let matched = matching::transitions(&self.world, subject, &movement, self.at);
        if let Some(presences) = matched.presences {
            phone.presences = presences;
        }
        matched.transitions.len()
    }
}

/// A seeded sequence (Knuth's MMIX generator), so that every run measures the same walks.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn place(&mut self, side: f64) -> Position {
        let (north, east) = (self.next() - 0.5, self.next() - 0.5);
        Position { lat: CENTER.lat + side * north, lon: CENTER.lon + side * east / 0.658 }
    }
}
