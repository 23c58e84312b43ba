//! What a node takes: one observation through the engine, changes through shards and store beside what the disk alone
//! allows, pings over HTTP, how soon it is ready and how much memory it needs.
//!
//! Prints a table a part; `cargo bench --bench pipeline -- http` prints only that one. Who asks shares the cores with
//! the node. Rates are medians of rounds.

#![allow(clippy::print_stdout, reason = "a bench tells whoever runs it")]
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    future::Future,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use parvis::{
    app::App,
    catalog::{Catalog, Sources},
    clock::Clock,
    config::{Config, Source},
    entropy::Entropy,
    keys,
    pipeline::{observe, run_shard},
    report::Reporter,
    shard::{self, Answer, Input, Shard, Shards, Tools, Work},
    store::{Change, Commit, Committed, Durable, Record, Store},
};
use parvis_engine::{
    id::{DeviceId, ShopperId},
    observation::{Fix, Observation, Position},
    region::Geofence,
    shopper::{Consent, Device, PushTarget, Shopper},
    time::Timestamp,
    world::{Settings, World},
};
use tokio::{net::TcpStream, runtime::Runtime, task::JoinSet};

/// The daemon's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
struct Scale {
    fences: [usize; 3],
    phones: usize,
    crowd: usize,
    rounds: usize,
    span: Duration,
    askers: [usize; 3],
    connections: [usize; 3],
    senders: [usize; 3],
}

const WHOLE: Scale = Scale {
    fences: [1_000, 23_000, 100_000],
    phones: 20_000,
    crowd: 200_000,
    rounds: 5,
    span: Duration::from_secs(1),
    askers: [1, 64, 1_024],
    connections: [1, 64, 256],
    senders: [1, 4, 16],
};

/// Shows that everything still runs; measures nothing.
const SMOKE: Scale = Scale {
    fences: [10, 200, 100],
    phones: 400,
    crowd: 500,
    rounds: 1,
    span: Duration::from_millis(1),
    askers: [1, 2, 8],
    connections: [1, 2, 4],
    senders: [1, 1, 2],
};

/// Pings of different phones in one request.
const LINES: usize = 100;

fn main() {
    // Only `cargo bench` says this.
    let scale = if std::env::args().any(|argument| argument == "--bench") { &WHOLE } else { &SMOKE };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let parts: [(&str, fn(&Scale)); 5] =
        [("engine", engine), ("shards", shards), ("http", http), ("start", start), ("memory", memory)];
    println!("{} cores", std::thread::available_parallelism().map_or(1, usize::from));
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(scale);
        }
    }
}

/// What a phone does from ping to ping.
#[derive(Clone, Copy, PartialEq)]
enum Walk {
    /// In and out of its store's circle: every ping is a transition.
    Border,
    /// Up and down the street, outside of every circle.
    Street,
}

impl Walk {
    const ALL: [(Walk, &str); 2] = [(Walk::Border, "every ping enters or exits"), (Walk::Street, "nothing changes")];

    /// Metres east of the circle's centre.
    fn offset_m(self, step: usize) -> f64 {
        match self {
            Walk::Border => 90.0 * (step % 2) as f64,
            Walk::Street => 150.0 + 14.0 * (step % 18).abs_diff(9) as f64,
        }
    }
}

/// The circles' radius, metres.
const RADIUS_M: f64 = 40.0;

/// The circles lie on a grid, 556 m apart.
fn center(index: usize) -> Position {
    let (row, column) = (index / 320, index % 320);
    Position { lat: 46.0 + 0.005 * row as f64, lon: 2.0 + 0.0075 * column as f64 }
}

fn fence_json(index: usize, vertices: Option<usize>) -> String {
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

/// One phone of one shopper.
struct Phone {
    index: usize,
    walk: Walk,
    step: usize,
    at: Timestamp,
    id: DeviceId,
    shopper: ShopperId,
}

impl Phone {
    fn new(index: usize, walk: Walk) -> Phone {
        let (id, shopper) = (name(&format!("phone-{index}")), name(&format!("C-{index}")));
        Phone { index, walk, step: 0, at: Timestamp::MIN, id, shopper }
    }

    /// The next fix, never at the time of the last one.
    fn next(&mut self, now: Timestamp) -> Fix {
        let Position { lat, lon } = center(self.index);
        let lon = lon + self.walk.offset_m(self.step) / (111_195.0 * lat.to_radians().cos());
        self.step += 1;
        self.at = now.max(self.at.plus(Duration::from_millis(1)));
        let position = Position { lat, lon };
        Fix { at: self.at, position, accuracy_m: 8.0, speed_mps: None, course_deg: None, floor: None }
    }

    fn shopper(&self) -> Shopper {
        let mut shopper = Shopper::new(self.shopper.clone());
        let yes = Consent { granted: true, at: Timestamp::from_millis(0), text: Some("2026-1".to_owned()) };
        shopper.profile.locale = Some("fr-FR".to_owned());
        shopper.profile.consents.location = Some(yes.clone());
        shopper.profile.consents.offers = Some(yes);
        let target = PushTarget::Fcm { token: Some("f".repeat(140)), fid: None };
        shopper
            .devices
            .insert(self.id.clone(), Device::new("android".to_owned(), Some(target), Timestamp::from_millis(0)));
        shopper
    }
}

fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// One observation through normalise, track, match and decide, and what the shard then does with the result.
fn engine(scale: &Scale) {
    const PHONES: usize = 1_000;
    println!(
        "\n| one observation through the engine, circles | {} | {} | {} |",
        scale.fences[0], scale.fences[1], scale.fences[2]
    );
    println!("|---|---:|---:|---:|");
    for (walk, what) in Walk::ALL {
        let cells = scale.fences.map(|fences| {
            let feature = |index| serde_json::from_str(&fence_json(index, None)).expect("a feature");
            let fences_made = (0..fences).map(|index| Arc::new(Geofence::compile(feature(index)).expect("sound")));
            let world = World::new(1, fences_made.collect(), Vec::new(), Vec::new(), Settings::default());
            let mut now = Timestamp::from_millis(1_800_000_000_000);
            let mut phones: Vec<(Phone, Record)> = (0..PHONES.min(scale.phones))
                .map(|index| Phone::new(index * fences / PHONES % fences, walk))
                .map(|phone| {
                    let record = Record { version: 1, shopper: Arc::new(phone.shopper()), tracks: BTreeMap::new() };
                    (phone, record)
                })
                .collect();
            let rounds = (0..scale.rounds * 20).map(|_| {
                now = now.plus(Duration::from_secs(10));
                let begun = Instant::now();
                phones.iter_mut().for_each(|(phone, record)| step(&world, phone, record, now));
                begun.elapsed().as_secs_f64() / phones.len() as f64
            });
            format!("{:.2} µs", median(rounds.collect()) * 1e6)
        });
        println!("| {what} | {} |", cells.join(" | "));
    }
}

fn step(world: &World, phone: &mut Phone, record: &mut Record, now: Timestamp) {
    let mut work = Work::new(record.clone());
    let fix = vec![Observation::Fix(phone.next(now))];
    let (observed, decided) = observe(world, &mut work, &phone.id, fix, now);
    assert_eq!(observed.transitions.len(), usize::from(phone.walk == Walk::Border));
    work.decided(decided, &observed.transitions, now);
    let Some(change) = work.change(world) else { return };
    record.tracks = change.tracks;
    if let Durable::Replaced { shopper, .. } = change.state {
        record.shopper = shopper;
    }
}

/// Who asks, waits for the answer, and asks again.
trait Asker: Send + 'static {
    /// Asks once; tells how many pings that were.
    fn ask(&mut self) -> impl Future<Output = usize> + Send;
}

struct Rate {
    pings_per_s: f64,
    /// Of the answers, milliseconds.
    p50_ms: f64,
    p99_ms: f64,
}

async fn rate<A: Asker>(mut askers: Vec<A>, scale: &Scale) -> Rate {
    let (mut rates, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..=scale.rounds {
        let begun = Instant::now();
        let (mut tasks, span) = (JoinSet::new(), scale.span);
        for mut asker in askers.drain(..) {
            tasks.spawn(async move {
                let (mut pings, mut waits) = (0, Vec::new());
                while pings == 0 || begun.elapsed() < span {
                    let asked = Instant::now();
                    pings += asker.ask().await;
                    waits.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                (asker, pings, waits)
            });
        }
        let mut total = 0;
        waits.push(Vec::new());
        while let Some(done) = tasks.join_next().await {
            let (asker, pings, mut waited) = done.expect("asks");
            total += pings;
            askers.push(asker);
            waits.last_mut().expect("pushed").append(&mut waited);
        }
        rates.push(total as f64 / begun.elapsed().as_secs_f64());
    }
    // The first round warms up.
    rates.remove(0);
    let mut waits: Vec<f64> = waits.into_iter().skip(1).flatten().collect();
    waits.sort_by(f64::total_cmp);
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    Rate { pings_per_s: median(rates), p50_ms: at(0.5), p99_ms: at(0.99) }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// As many hands of phones as there are askers; the two walks have phones of their own.
fn hands(scale: &Scale, walk: Walk, askers: usize) -> Vec<Vec<Phone>> {
    let half = scale.phones / 2;
    let first = if walk == Walk::Border { 0 } else { half };
    let mut hands: Vec<Vec<Phone>> = (0..askers).map(|_| Vec::new()).collect();
    (first..first + half).for_each(|index| hands[index % askers].push(Phone::new(index, walk)));
    hands
}

/// Knows phones' shoppers as if they had registered.
async fn register(store: &dyn Store, phones: std::ops::Range<usize>) {
    let phones: Vec<usize> = phones.collect();
    for some in phones.chunks(1_000) {
        let change = |index: &usize| {
            let shopper = Arc::new(Phone::new(*index, Walk::Street).shopper());
            let state = Durable::Replaced { shopper: shopper.clone(), wake: None };
            Change { version: 0, id: shopper.id.clone(), state, tracks: BTreeMap::new() }
        };
        let commit = Commit { changes: some.iter().map(change).collect(), ..Commit::default() };
        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
    }
}

struct Direct {
    shards: Shards,
    phones: Vec<Phone>,
    turn: usize,
}

impl Asker for Direct {
    async fn ask(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.phones.len();
        let phone = &mut self.phones[self.turn];
        let observations = vec![Observation::Fix(phone.next(Clock::System.now()))];
        let input = Input::Observed { device: phone.id.clone(), observations };
        let answer = self.shards.ask(phone.shopper.clone(), input).await;
        let Ok(Answer::Observed(observed)) = answer else { panic!("no answer: {answer:?}") };
        assert_eq!(observed.results, [Ok(())]);
        1
    }
}

/// Shards, their commits and the embedded store; no HTTP.
fn shards(scale: &Scale) {
    let folder = node_folder(scale.fences[1], None);
    println!(
        "\n| through shards and store, {} circles, askers at once | {} | {} | {} |",
        scale.fences[1], scale.askers[0], scale.askers[1], scale.askers[2]
    );
    println!("|---|---:|---:|---:|");
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let source = Source::new(folder.path());
        let config = parvis::config::load(&source).expect("a configuration");
        let store = parvis::store::open(config.store.below(folder.path())).await.expect("opens");
        register(&*store, 0..scale.phones).await;
        let sources: Sources = config.catalog_sources(&source);
        let (catalog, _worker) = Catalog::open(sources, store.clone()).await.expect("a catalog");
        let reporter = Reporter::new(&config.report);
        let tools =
            Tools { store: store.clone(), catalog, clock: Clock::System, reporter, abandon: Default::default() };
        let mut running = JoinSet::new();
        let start = |_| {
            let (inbox, shard) = Shard::new(&shard::Config::default(), tools.clone());
            running.spawn(run_shard(shard));
            inbox
        };
        let shards = Shards::new((0..config.shards.count).map(start).collect());
        for (walk, what) in Walk::ALL {
            let mut cells = Vec::new();
            for askers in scale.askers {
                let direct = |phones| Direct { shards: shards.clone(), phones, turn: 0 };
                let askers = hands(scale, walk, askers).into_iter().map(direct).collect();
                cells.push(format!("{:.0}/s", rate(askers, scale).await.pings_per_s));
            }
            println!("| {what} | {} |", cells.join(" | "));
        }
        drop((shards, running));
        store.close().await.expect("closes");
    });
    let cells = scale.askers.map(|group| format!("{:.0}/s", raw(scale, folder.path(), group)));
    println!("| the same bytes written and synchronised, so many at once | {} |", cells.join(" | "));
}

/// Changes a second that the disk alone takes: a shopper and a transition each, one synchronisation for a group.
fn raw(scale: &Scale, folder: &Path, group: usize) -> f64 {
    let shopper = rmp_serde::to_vec_named(&Phone::new(1, Walk::Border).shopper()).expect("encodes");
    // A presence and a journal row.
    let bytes = vec![7_u8; (shopper.len() + 420) * group];
    let mut file = File::create(folder.join("raw")).expect("a file");
    let rounds = (0..scale.rounds).map(|_| {
        let (begun, mut written) = (Instant::now(), 0);
        while written == 0 || begun.elapsed() < scale.span {
            file.write_all(&bytes).expect("writes");
            file.sync_data().expect("synchronises");
            written += group;
        }
        written as f64 / begun.elapsed().as_secs_f64()
    });
    median(rounds.collect())
}

/// A folder as an operator would lay it out.
fn node_folder(fences: usize, vertices: Option<usize>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("parvis.toml"), "[http]\nlisten = \"127.0.0.1:0\"\n").expect("writes");
    let file = File::create(folder.path().join("geofences.geojson")).expect("a file");
    let mut file = BufWriter::new(file);
    let mut between = r#"{"type":"FeatureCollection","features":["#;
    for index in 0..fences {
        write!(file, "{between}{}", fence_json(index, vertices)).expect("writes");
        between = ",\n";
    }
    write!(file, "]}}").expect("writes");
    file.flush().expect("writes");
    folder
}

struct Caller {
    sender: http1::SendRequest<Full<Bytes>>,
    key: String,
    phones: Vec<Phone>,
    turn: usize,
    batched: bool,
}

impl Caller {
    async fn new(app: &App, key: &str, phones: Vec<Phone>, batched: bool) -> Caller {
        let stream = TcpStream::connect(app.address).await.expect("connects");
        stream.set_nodelay(true).expect("a socket");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
        // Ends with its sender.
        drop(tokio::spawn(connection));
        Caller { sender, key: format!("Bearer {key}"), phones, turn: 0, batched }
    }

    fn body(&mut self, count: usize) -> String {
        use std::fmt::Write as _;
        let (mut body, now) = (String::with_capacity(count * 128), Clock::System.now());
        for _ in 0..count {
            self.turn = (self.turn + 1) % self.phones.len();
            let phone = &mut self.phones[self.turn];
            let Fix { at, position: Position { lat, lon }, .. } = phone.next(now);
            let fix = format_args!(r#""kind":"fix","at":"{at}","lat":{lat:.6},"lon":{lon:.6},"accuracy_m":8"#);
            let written = if self.batched {
                writeln!(body, r#"{{"device":"{}",{fix}}}"#, phone.id)
            } else {
                write!(body, r#"{{"device":"{}","observations":[{{{fix}}}]}}"#, phone.id)
            };
            written.expect("writing to a string does not fail");
        }
        body
    }
}

impl Asker for Caller {
    async fn ask(&mut self) -> usize {
        let count = if self.batched { LINES } else { 1 };
        let media = if self.batched { "application/x-ndjson" } else { "application/json" };
        let body = self.body(count);
        let request = Request::post("/v1/observations").header("host", "localhost").header("content-type", media);
        let request = request.header("authorization", &self.key).body(Full::new(body.into())).expect("a request");
        let response = self.sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let answer = response.into_body().collect().await.expect("a body").to_bytes();
        let taken = answer.starts_with(format!(r#"{{"accepted":{count},"rejected":[]"#).as_bytes());
        assert!(status.is_success() && taken, "{status} {}", String::from_utf8_lossy(&answer));
        count
    }
}

/// A whole node over loopback.
fn http(scale: &Scale) {
    let folder = node_folder(scale.fences[1], None);
    let key = new_key(folder.path());
    println!("\n| over HTTP, {} circles | connections | pings/s | answer p50 | p99 |", scale.fences[1]);
    println!("|---|---:|---:|---:|---:|");
    Runtime::new().expect("a runtime").block_on(async {
        seed(folder.path(), scale.phones).await;
        let app = node(folder.path()).await;
        for (batched, form) in [(false, "one a request".to_owned()), (true, format!("{LINES} a request"))] {
            for (walk, what) in Walk::ALL {
                for connections in if batched { scale.senders } else { scale.connections } {
                    let mut callers = Vec::new();
                    for phones in hands(scale, walk, connections) {
                        callers.push(Caller::new(&app, &key, phones, batched).await);
                    }
                    let Rate { pings_per_s, p50_ms, p99_ms } = rate(callers, scale).await;
                    println!("| {form}, {what} | {connections} | {pings_per_s:.0} | {p50_ms:.2} ms | {p99_ms:.2} ms |");
                }
            }
        }
        app.stop().await.expect("stops");
    });
}

fn new_key(folder: &Path) -> String {
    let scopes = [parvis::http::auth::Scope::Ingest].into();
    let wanted = keys::Wanted { name: "bench".to_owned(), scopes, device: None, scanner: None };
    let mut printed = Vec::new();
    keys::create(&folder.join("keys.toml"), wanted, &Entropy::System, &mut printed).expect("a key");
    String::from_utf8(printed).expect("text").trim().to_owned()
}

async fn seed(folder: &Path, phones: usize) {
    let config = Config::default().store.below(folder);
    let store = parvis::store::open(config).await.expect("opens");
    register(&*store, 0..phones).await;
    store.close().await.expect("closes");
}

async fn node(folder: &Path) -> App {
    let source = Source::new(folder);
    let config = parvis::config::load(&source).expect("a configuration");
    App::start(config, source, Clock::System, Entropy::System).await.expect("starts")
}

/// How long until a node listens.
fn start(scale: &Scale) {
    let folder = node_folder(scale.fences[2], Some(30));
    let rounds = (0..scale.rounds).map(|_| {
        Runtime::new().expect("a runtime").block_on(async {
            let begun = Instant::now();
            let app = node(folder.path()).await;
            let ready = begun.elapsed().as_secs_f64();
            app.stop().await.expect("stops");
            ready
        })
    });
    println!(
        "\n| start with {} polygons of 30 vertices | {:.2} s |\n|---|---:|",
        scale.fences[2],
        median(rounds.collect())
    );
}

/// What fences and shoppers with one phone each need, by the resident set of this process (Linux).
fn memory(scale: &Scale) {
    let folder = node_folder(scale.fences[2], Some(30));
    Runtime::new().expect("a runtime").block_on(async {
        let empty = tempfile::tempdir().expect("a folder");
        node(empty.path()).await.stop().await.expect("stops");
        let before = resident_bytes();
        let source = Source::new(folder.path());
        let config = parvis::config::load(&source).expect("a configuration");
        let store = parvis::store::open(config.store.below(folder.path())).await.expect("opens");
        let (catalog, _worker) =
            Catalog::open(config.catalog_sources(&source), store.clone()).await.expect("a catalog");
        let fenced = resident_bytes();
        register(&*store, 0..scale.crowd).await;
        let known = resident_bytes();
        let reporter = Reporter::new(&config.report);
        let tools = Tools { store, catalog, clock: Clock::System, reporter, abandon: Default::default() };
        let (inbox, shard) = Shard::new(&shard::Config::default(), tools);
        let running = JoinSet::from_iter([run_shard(shard)]);
        let phones = (0..scale.crowd).map(|index| Phone::new(index, Walk::Street)).collect();
        let mut walker = Direct { shards: Shards::new(vec![inbox]), phones, turn: 0 };
        let carried = resident_bytes();
        for _ in 0..scale.crowd {
            walker.ask().await;
        }
        let walked = resident_bytes();
        let each = |bytes: u64, count: usize| bytes / count as u64;
        println!("\n| memory | |\n|---|---:|");
        println!("| a fence of 30 vertices | {} B |", each(fenced.saturating_sub(before), scale.fences[2]));
        println!("| a shopper with one phone, registered | {} B |", each(known.saturating_sub(fenced), scale.crowd));
        println!("| its track, once it walks | {} B |", each(walked.saturating_sub(carried), scale.crowd));
        drop((walker, running));
    });
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
