//! How people move: judged by the daemon's own pipeline, from what their phones report.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parvis::{
    pipeline::observe,
    shard::Work,
    store::{Durable, Record},
};
use parvis_engine::{
    change::{Registration, register},
    id::{DeviceId, ShopperId},
    matching::TransitionKind,
    normalise,
    observation::Observation,
    region::distance_m,
    shopper::Shopper,
    time::Timestamp,
    world::World,
};
use parvis_loadgen::{
    city::{City, Gait, Phone, Ping, Plan, shopper_id},
    wire::Format,
    world::{Target, registration},
};

use crate::{plan, world};

const START_MS: i64 = 1_795_338_348_123;

/// A phone that the daemon knows.
struct Known {
    phone: Phone,
    device: DeviceId,
    record: Record,
}

impl Known {
    fn new(city: &City, world: &World, number: u32) -> Known {
        let (path, body) = registration(city, number, Target::Fcm);
        let registration: Registration = serde_json::from_slice(&body).expect("a registration");
        let device: DeviceId = path.strip_prefix("/v1/devices/").expect("the path").parse().expect("an id");
        let shopper: ShopperId = shopper_id(number).parse().expect("an id");
        let mut shopper = Shopper::new(shopper);
        let now = Timestamp::from_millis(START_MS);
        register(&mut shopper, None, (&device, registration), &world.settings.marketing, now);
        let record = Record { version: 1, shopper: Arc::new(shopper), tracks: Default::default() };
        Known { phone: city.phone(number as usize), device, record }
    }

    /// One report, and what the daemon makes of it.
    fn step(&mut self, city: &City, world: &World, at_ms: i64, told: &mut Told) {
        let ping = self.phone.step(city, at_ms);
        let request = Format::Sightings.request(city, &[ping]);
        let line = parvis::ingest::native::line(0, request.body.trim_ascii_end()).expect("a line");
        let now = Timestamp::from_millis(at_ms);
        let mut work = Work::new(self.record.clone());
        let (observed, decided) = observe(world, &mut work, &self.device, &[line.observation], now);
        assert_eq!(observed.results, [Ok(())]);
        told.moves += 1;
        told.moved += usize::from(!observed.transitions.is_empty());
        for transition in &observed.transitions {
            *told.kinds.entry(transition.kind.name()).or_default() += 1;
        }
        work.decided(decided, &observed.transitions, now);
        let Some(change) = work.change(world) else { return };
        self.record.tracks = change.tracks;
        if let Durable::Replaced { shopper, .. } = change.state {
            self.record.shopper = shopper;
        }
    }
}

#[derive(Debug, Default)]
struct Told {
    moves: usize,
    /// Moves that caused some transition.
    moved: usize,
    kinds: BTreeMap<&'static str, usize>,
}

impl Told {
    fn share(&self, kinds: &[TransitionKind]) -> f64 {
        let count: usize = kinds.iter().filter_map(|kind| self.kinds.get(kind.name())).sum();
        count as f64 / self.moves as f64
    }

    fn borders(&self) -> f64 {
        self.share(&[TransitionKind::Enter, TransitionKind::Exit])
    }
}

/// Lets everybody report so many times, one report every `every_ms`.
fn live(plan: &Plan, reports: usize, every_ms: i64) -> Told {
    let city = City::build(plan);
    let world = world(&city);
    let mut told = Told::default();
    for number in 0..plan.phones as u32 {
        let mut known = Known::new(&city, &world, number);
        for report in 0..reports {
            // Not all at the same time.
            let at_ms = START_MS + report as i64 * every_ms + i64::from(number) * 37 % every_ms;
            known.step(&city, &world, at_ms, &mut told);
        }
    }
    told
}

#[test]
fn walkers_cross_a_border_now_and_then() {
    for fences in [300, 5_000] {
        let told = live(&plan(fences, 300, Gait::Stroll), 150, 4_000);
        assert!((0.01..0.05).contains(&told.borders()), "{fences}: {} {told:?}", told.borders());
    }
}

#[test]
fn who_is_to_cross_a_border_does() {
    for every_ms in [1_500, 10_000] {
        let told = live(&Plan { polygon_share: 0.0, ..plan(500, 200, Gait::Border) }, 50, every_ms);
        assert!(told.moved as f64 / told.moves as f64 > 0.7, "{told:?}");
        assert!(told.borders() > 0.7, "{told:?}");
    }
}

#[test]
fn a_stadium_empties() {
    let told = live(&plan(200, 200, Gait::Crowd), 40, 10_000);
    let exits = told.kinds.get("exit").copied().unwrap_or_default();
    assert!(exits >= 190, "{told:?}");
}

#[test]
fn on_the_rim_everybody_crosses_it_again_and_again() {
    let told = live(&Plan { hot_vertices: Some(1_000), ..plan(50, 50, Gait::Rim) }, 60, 5_000);
    assert!((0.05..0.4).contains(&told.borders()), "{} {told:?}", told.borders());
}

#[test]
fn who_browses_comes_into_aisles() {
    let told = live(&Plan { beacons: 48, ..plan(20, 40, Gait::Aisle) }, 200, 2_000);
    assert!(told.share(&[TransitionKind::Enter]) > 0.01 && told.share(&[TransitionKind::Dwell]) > 0.01, "{told:?}");
}

fn walk(city: &City, number: usize) -> Vec<Ping> {
    let mut phone = city.phone(number);
    (0..200).map(|at| phone.step(city, START_MS + at * 4_321)).collect()
}

#[test]
fn the_same_seed_is_the_same_city_and_the_same_pings() {
    for gait in [Gait::Stroll, Gait::Border, Gait::Crowd, Gait::Rim, Gait::Aisle] {
        let plan = Plan { beacons: 36, ..plan(400, 20, gait) };
        let (one, two) = (City::build(&plan), City::build(&plan));
        let other = City::build(&Plan { seed: 8, ..plan });
        assert_eq!(one.shops(), two.shops());
        assert_ne!(one.shops(), other.shops());
        assert_eq!(walk(&one, 3), walk(&two, 3));
        assert_ne!(walk(&one, 3), walk(&one, 4));
        assert_ne!(walk(&one, 3), walk(&other, 3));
    }
}

#[test]
fn phones_are_small() {
    assert!(size_of::<Phone>() <= 64, "{}", size_of::<Phone>());
}

#[test]
fn nobody_jumps_further_than_is_believed() {
    for gait in [Gait::Stroll, Gait::Border, Gait::Crowd, Gait::Rim] {
        let city = City::build(&plan(400, 50, gait));
        for number in 0..50 {
            let pings = walk(&city, number);
            let good = pings.windows(2).filter(|two| two.iter().all(|ping| ping.accuracy_m < 50.0));
            for two in good {
                let place = |ping: &Ping| parvis_engine::observation::Position { lat: ping.lat, lon: ping.lon };
                let way_m = distance_m(place(&two[0]), place(&two[1]));
                assert!(way_m / 4.321 < 100.0, "{gait:?}: {way_m} m");
            }
        }
    }
}

#[test]
fn every_report_is_taken_as_it_is_and_soon_enough() {
    let city = City::build(&plan(400, 100, Gait::Stroll));
    let world = world(&city);
    let device = "phone".parse().expect("an id");
    let mut late = 0;
    let mut poor = 0;
    for number in 0..100 {
        for ping in walk(&city, number) {
            let arrives = Timestamp::from_millis(ping.at_ms).plus(Duration::from_millis(ping.delay_ms.into()));
            let request = Format::Ndjson.request(&city, &[ping]);
            let line = parvis::ingest::native::line(0, request.body.trim_ascii_end()).expect("a line");
            let trusted = normalise::observation(&world, &device, line.observation.clone(), arrives);
            assert!(matches!(trusted, Ok(Observation::Fix(_))), "{trusted:?}");
            late += usize::from(ping.delay_ms > 0);
            poor += usize::from(ping.accuracy_m >= 100.0);
        }
    }
    assert!((1_000..4_000).contains(&late), "{late} of 20000");
    assert!((200..800).contains(&poor), "{poor} of 20000");
}
