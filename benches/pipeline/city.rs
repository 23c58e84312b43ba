//! A grid of stores, phones that walk at them, and the folder of a node that knows the stores.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use parvis::{
    app::App,
    clock::Clock,
    config::Source,
    entropy::Entropy,
    pipeline::observe,
    shard::Work,
    store::{Change, Commit, Committed, Durable, Record, Store},
};
use parvis_engine::{
    id::{DeviceId, ShopperId},
    observation::{Fix, Observation, Position},
    region::{Feature, FeatureKind, Geofence, Geometry, LonLat, Properties},
    shopper::{Consent, Device, PushTarget, Shopper},
    time::Timestamp,
    world::{Settings, World},
};

/// What a phone does from ping to ping.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Walk {
    /// In and out of its store's circle: every ping is a transition.
    Border,
    /// Up and down the street, outside of every circle.
    Street,
}

impl Walk {
    pub(crate) const ALL: [(Walk, &str); 2] =
        [(Walk::Border, "every ping enters or exits"), (Walk::Street, "nothing changes")];

    /// Metres east of the circle's centre.
    fn offset_m(self, step: usize) -> f64 {
        match self {
            Walk::Border => 90.0 * (step % 2) as f64,
            Walk::Street => 150.0 + 14.0 * (step % 18).abs_diff(9) as f64,
        }
    }
}

/// The circles' radius, metres.
pub(crate) const RADIUS_M: f64 = 40.0;

/// The circles lie on a grid, 556 m apart.
pub(crate) fn center(index: usize) -> Position {
    let (row, column) = (index / 320, index % 320);
    Position { lat: 46.0 + 0.005 * row as f64, lon: 2.0 + 0.0075 * column as f64 }
}

pub(crate) fn fence_json(index: usize, vertices: Option<usize>) -> String {
    let Position { lat, lon } = center(index);
    let (geometry, radius) = match vertices {
        None => {
            (format!(r#"{{"type":"Point","coordinates":[{lon:.6},{lat:.6}]}}"#), format!(r#""radius_m":{RADIUS_M}"#))
        }
        Some(vertices) => {
            let corner = |at: usize| {
                let turn = (at % vertices) as f64 / vertices as f64 * std::f64::consts::TAU;
                format!("[{:.6},{:.6}]", lon + 0.0005 * turn.cos(), lat + 0.00036 * turn.sin())
            };
            let ring: Vec<String> = (0..=vertices).map(corner).collect();
            (format!(r#"{{"type":"Polygon","coordinates":[[{}]]}}"#, ring.join(",")), String::new())
        }
    };
    format!(r#"{{"type":"Feature","id":"fence-{index}","geometry":{geometry},"properties":{{{radius}}}}}"#)
}

/// The circles alone, as a world.
pub(crate) fn world(fences: usize) -> World {
    let circle = |index| {
        let Position { lat, lon } = center(index);
        let feature = Feature {
            kind: FeatureKind::Feature,
            id: Some(name(&format!("fence-{index}"))),
            geometry: Geometry::Point { coordinates: LonLat { lon, lat } },
            properties: Properties { radius_m: Some(RADIUS_M), ..Properties::default() },
        };
        Arc::new(Geofence::compile(feature).expect("sound"))
    };
    World::new(1, (0..fences).map(circle).collect(), Vec::new(), Vec::new(), Settings::default())
}

/// One phone of one shopper.
pub(crate) struct Phone {
    /// The circle that it walks at.
    circle: usize,
    pub(crate) walk: Walk,
    step: usize,
    at: Timestamp,
    pub(crate) id: DeviceId,
    pub(crate) shopper: ShopperId,
}

impl Phone {
    pub(crate) fn new(index: usize, walk: Walk) -> Phone {
        let (id, shopper) = (name(&format!("phone-{index}")), name(&format!("C-{index}")));
        Phone { circle: index, walk, step: 0, at: Timestamp::MIN, id, shopper }
    }

    /// The same where there are only so many circles.
    pub(crate) fn among(self, circles: usize) -> Phone {
        Phone { circle: self.circle % circles, ..self }
    }

    /// The next fix, never at the time of the last one.
    pub(crate) fn next(&mut self, now: Timestamp) -> Fix {
        let Position { lat, lon } = center(self.circle);
        let lon = lon + self.walk.offset_m(self.step) / (111_195.0 * lat.to_radians().cos());
        self.step += 1;
        self.at = now.max(self.at.plus(Duration::from_millis(1)));
        let position = Position { lat, lon };
        Fix { at: self.at, position, accuracy_m: 8.0, speed_mps: None, course_deg: None, floor: None }
    }

    /// Its shopper, as a store that knows nothing else would give it.
    pub(crate) fn record(&self) -> Record {
        Record { version: 1, shopper: Arc::new(self.shopper()), tracks: Default::default() }
    }

    pub(crate) fn shopper(&self) -> Shopper {
        let mut shopper = Shopper::new(self.shopper.clone());
        let yes = Consent { granted: true, at: Timestamp::from_millis(0), text: Some("2026-1".into()) };
        shopper.profile.locale = Some("fr-FR".into());
        shopper.profile.consents.location = Some(yes.clone());
        shopper.profile.consents.offers = Some(yes.clone());
        shopper.profile.consents.orders = Some(yes);
        let target = PushTarget::Fcm { token: Some("f".repeat(140).into()), fid: None };
        shopper
            .devices
            .insert(self.id.clone(), Device::new("android".to_owned(), Some(target), Timestamp::from_millis(0)));
        shopper
    }
}

/// A phone's next observation through the engine, and what a shard then does with the result.
pub(crate) fn pass(world: &World, phone: &mut Phone, record: &mut Record, now: Timestamp) {
    let fix = phone.next(now);
    assert_eq!(observe_once(world, (&phone.id, record), fix, now), usize::from(phone.walk == Walk::Border));
}

/// How many transitions an observation causes.
pub(crate) fn observe_once(
    world: &World,
    (device, record): (&DeviceId, &mut Record),
    fix: Fix,
    now: Timestamp,
) -> usize {
    let mut work = Work::new(record.clone());
    let (observed, decided) = observe(world, &mut work, device, &[Observation::Fix(fix)], now);
    assert_eq!(observed.results, [Ok(())]);
    work.decided(decided, &observed.transitions, now);
    if let Some(change) = work.change(world) {
        record.tracks = change.tracks;
        if let Durable::Replaced { shopper, .. } = change.state {
            record.shopper = shopper;
        }
    }
    observed.transitions.len()
}

pub(crate) fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// The phones of one walk, half of all; the two walks have phones of their own.
pub(crate) fn crowd(phones: usize, walk: Walk) -> Vec<Phone> {
    let half = phones / 2;
    let first = if walk == Walk::Border { 0 } else { half };
    (first..first + half).map(|index| Phone::new(index, walk)).collect()
}

/// Deals phones out to askers.
pub(crate) fn hands(crowd: Vec<Phone>, askers: usize) -> Vec<Vec<Phone>> {
    let mut hands: Vec<Vec<Phone>> = (0..askers).map(|_| Vec::new()).collect();
    crowd.into_iter().enumerate().for_each(|(at, phone)| hands[at % askers].push(phone));
    hands
}

/// Knows phones' shoppers as if they had registered.
pub(crate) async fn register(store: &dyn Store, phones: std::ops::Range<usize>) {
    known(store, phones.map(|index| Phone::new(index, Walk::Street).shopper())).await;
}

/// Puts shoppers into a store that does not know them.
pub(crate) async fn known(store: &dyn Store, shoppers: impl IntoIterator<Item = Shopper>) {
    let changes = shoppers.into_iter().map(|shopper| {
        let (id, shopper) = (shopper.id.clone(), Arc::new(shopper));
        Change { version: 0, id, state: Durable::Replaced { shopper, wake: None }, tracks: Default::default() }
    });
    let mut changes = changes.peekable();
    while changes.peek().is_some() {
        let commit = Commit { changes: changes.by_ref().take(1_000).collect(), ..Commit::default() };
        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
    }
}

/// A folder as an operator would lay it out.
pub(crate) fn node_folder(fences: usize, vertices: Option<usize>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("parvis.toml"), "[http]\nlisten = \"127.0.0.1:0\"\n").expect("writes");
    fence_file(folder.path(), fences, vertices);
    folder
}

/// The same with every second store a circle, the others polygons.
pub(crate) fn mixed_folder(fences: usize, vertices: usize) -> tempfile::TempDir {
    let folder = node_folder(0, None);
    write_fences(folder.path(), fences, |index| (index % 2 == 1).then_some(vertices));
    folder
}

/// The stores, as a file among a node's others.
pub(crate) fn fence_file(folder: &Path, fences: usize, vertices: Option<usize>) {
    write_fences(folder, fences, |_| vertices);
}

fn write_fences(folder: &Path, fences: usize, vertices: impl Fn(usize) -> Option<usize>) {
    let file = File::create(folder.join("geofences.geojson")).expect("a file");
    let mut file = BufWriter::new(file);
    write!(file, r#"{{"type":"FeatureCollection","features":["#).expect("writes");
    for index in 0..fences {
        let between = if index > 0 { ",\n" } else { "" };
        write!(file, "{between}{}", fence_json(index, vertices(index))).expect("writes");
    }
    write!(file, "]}}").expect("writes");
    file.flush().expect("writes");
}

pub(crate) async fn node(folder: &Path) -> App {
    let source = Source::new(folder);
    let config = parvis::config::load(&source).expect("a configuration");
    App::start(config, source, Clock::System, Entropy::System).await.expect("starts")
}
