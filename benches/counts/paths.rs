//! The paths whose pings are counted. Seeded, one ping after the other on one thread, at a time that is made up.

use std::{hint::black_box, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use parvis::{
    app::App,
    clock::Clock,
    config::Source,
    delivery::{self, transport::Http},
    entropy::Entropy,
    ingest::{native, overland, owntracks},
    shard::{Answer, Input, Shards},
    store::{Record, Store, memory::Memory},
};
use parvis_engine::{
    decide::{self, Budgets},
    notification::{Address, Channel},
    observation::Observation,
    shopper::{ApnsEnvironment, PushTarget, Shopper},
    time::Timestamp,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    caller::{Caller, LINES, new_key},
    city::{Phone, Walk, node_folder, pass, register, world},
    message::message,
    node::Node,
    shop,
};

/// Walks a path several times and counts all walks but the first; told how many pings one is.
pub(crate) type Measure<'a> = &'a mut dyn FnMut(u64, &mut dyn FnMut());

/// A path's name, and what lays it out and has it measured.
type Named = (&'static str, fn(Measure<'_>));

/// `unchanged`: no phone enters or leaves anything. `changed`: each ping enters or leaves. A number is of circles or of
/// campaigns, of which three answer.
pub(crate) const ALL: [Named; 18] = [
    ("parse/ndjson", |measure| parse(measure, LINE, |bytes| drop(black_box(native::line(0, bytes).expect("sound"))))),
    ("parse/json", |measure| parse(measure, JSON, |bytes| drop(black_box(native::batch(bytes).expect("sound"))))),
    ("parse/owntracks", |measure| parse(measure, OWNTRACKS, |bytes| drop(black_box(owntracks::batch(bytes, None))))),
    ("parse/overland", |measure| {
        parse(measure, OVERLAND, |bytes| drop(black_box(overland::batch(bytes, None).expect("sound"))));
    }),
    ("engine/unchanged/1000", |measure| engine(measure, 1_000, Walk::Street)),
    ("engine/changed/1000", |measure| engine(measure, 1_000, Walk::Border)),
    ("engine/unchanged/100000", |measure| engine(measure, 100_000, Walk::Street)),
    ("engine/changed/100000", |measure| engine(measure, 100_000, Walk::Border)),
    ("decide/10", |measure| campaigns(measure, 10)),
    ("decide/1000", |measure| campaigns(measure, 1_000)),
    ("record/encode", |measure| record(measure, |shopper, _| drop(black_box(encoded(shopper))))),
    ("record/decode", |measure| record(measure, |_, bytes| drop(black_box(decoded(bytes))))),
    ("shard/memory/unchanged", |measure| shard(measure, true, Walk::Street, 1)),
    ("shard/memory/changed", |measure| shard(measure, true, Walk::Border, 1)),
    ("shard/embedded/changed", |measure| shard(measure, false, Walk::Border, 1)),
    ("shard/embedded/changed/100-at-once", |measure| shard(measure, false, Walk::Border, PHONES)),
    // Not one of changes: in which groups shards meet at the writer is chance, and a group more costs a fifth more.
    ("http/unchanged/100-a-request", http),
    ("encode/apns", apns),
];

const PHONES: usize = LINES;
const REPEATS: u64 = 100;
/// Between two pings of a phone.
const STEP: Duration = Duration::from_secs(10);
const CIRCLES: usize = 1_000;

const LINE: &[u8] = br#"{"device":"phone-117","kind":"fix","at":"2026-11-21T10:15:00.250Z","lat":48.856613,"lon":2.352222,"accuracy_m":8.5}"#;
const JSON: &[u8] = br#"{"device":"phone-117","observations":[{"kind":"fix","at":"2026-11-21T10:15:00.250Z","lat":48.856613,"lon":2.352222,"accuracy_m":8.5}]}"#;
const OWNTRACKS: &[u8] = br#"{"_type":"location","topic":"owntracks/shop/117","tid":"17","tst":1795601700,"lat":48.856613,"lon":2.352222,"acc":8,"vel":4,"cog":270,"batt":81,"conn":"m","t":"u"}"#;
const OVERLAND: &[u8] = br#"{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[2.352222,48.856613]},"properties":{"timestamp":"2026-11-21T10:15:00Z","device_id":"phone-117","horizontal_accuracy":8,"speed":1.2,"course":270,"altitude":35,"battery_level":0.81,"motion":["walking"]}}]}"#;

fn start() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn parse(measure: Measure<'_>, bytes: &[u8], read: fn(&[u8])) {
    measure(REPEATS, &mut || (0..REPEATS).for_each(|_| read(black_box(bytes))));
}

fn engine(measure: Measure<'_>, circles: usize, walk: Walk) {
    let world = world(circles);
    let mut phones: Vec<(Phone, Record)> = (0..PHONES)
        .map(|index| Phone::new(index * circles / PHONES, walk))
        .map(|phone| {
            let record = phone.record();
            (phone, record)
        })
        .collect();
    let mut now = start();
    measure(PHONES as u64, &mut || {
        now = now.plus(STEP);
        phones.iter_mut().for_each(|(phone, record)| pass(&world, phone, record, now));
    });
}

fn campaigns(measure: Measure<'_>, count: usize) {
    let (world, entered, now) = (shop::world(count, "newsletter"), [shop::enter()], shop::now());
    let shopper = shop::shopper();
    measure(REPEATS, &mut || {
        for _ in 0..REPEATS {
            let mut shopper = shopper.clone();
            black_box(decide::campaigns(&world, &mut shopper, &entered, &mut Budgets::new(), now));
        }
    });
}

/// A shopper who is inside of a circle.
fn record(measure: Measure<'_>, look: fn(&Shopper, &[u8])) {
    let (world, mut phone) = (world(1), Phone::new(0, Walk::Border));
    let mut record = phone.record();
    pass(&world, &mut phone, &mut record, start());
    let bytes = encoded(&record.shopper);
    assert_eq!(decoded(&bytes), *record.shopper);
    measure(REPEATS, &mut || (0..REPEATS).for_each(|_| look(black_box(&record.shopper), black_box(&bytes))));
}

/// As rows are in the stores.
fn encoded(shopper: &Shopper) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    serde::Serialize::serialize(shopper, &mut serializer).expect("encodes");
    bytes
}

fn decoded(bytes: &[u8]) -> Shopper {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    serde::Deserialize::deserialize(&mut deserializer).expect("decodes")
}

/// Phones' time, which goes on only between rounds but for what the processor needs.
struct Hours {
    clock: Clock,
    rounds: i64,
}

impl Hours {
    /// Must be called in a runtime.
    fn new() -> Hours {
        Hours { clock: Clock::simulated(start()), rounds: 0 }
    }

    fn step(&mut self) -> Timestamp {
        self.rounds += 1;
        self.clock.set_ahead(self.rounds * i64::try_from(STEP.as_millis()).expect("small"));
        self.clock.now()
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Each of the phones through the one shard, so many in flight.
fn shard(measure: Measure<'_>, in_memory: bool, walk: Walk, at_once: usize) {
    let (runtime, folder) = (runtime(), node_folder(CIRCLES, None));
    let config = std::fs::read_to_string(folder.path().join("parvis.toml")).expect("a configuration");
    std::fs::write(folder.path().join("parvis.toml"), config + "[shards]\ncount = 1\n").expect("writes");
    let (store, node, mut hours) = runtime.block_on(async {
        let store: Arc<dyn Store> = if in_memory { Arc::new(Memory::new()) } else { open(folder.path()).await };
        register(&*store, 0..PHONES).await;
        let hours = Hours::new();
        let node = Node::start(folder.path(), store.clone(), hours.clock.clone()).await;
        (store, node, hours)
    });
    let mut phones: Vec<Phone> = (0..PHONES).map(|index| Phone::new(index, walk)).collect();
    measure(PHONES as u64, &mut || {
        let now = hours.step();
        for phones in phones.chunks_mut(at_once) {
            runtime.block_on(join_all(phones.iter_mut().map(|phone| ask(&node.shards, phone, now))));
        }
    });
    drop(node);
    runtime.block_on(store.close()).expect("closes");
}

async fn open(folder: &Path) -> Arc<dyn Store> {
    let config = parvis::config::load(&Source::new(folder)).expect("a configuration");
    parvis::store::open(config.store.below(folder)).await.expect("opens")
}

async fn ask(shards: &Shards, phone: &mut Phone, now: Timestamp) {
    let observations = vec![Observation::Fix(phone.next(now))];
    let input = Input::Observed { device: phone.id.clone(), observations };
    let answer = shards.ask(phone.shopper.clone(), input).await;
    let Ok(Answer::Observed(observed)) = answer else { panic!("no answer: {answer:?}") };
    assert_eq!(observed.results, [Ok(())]);
    assert_eq!(observed.transitions.len(), usize::from(phone.walk == Walk::Border));
}

/// A whole node over loopback, and who calls it.
fn http(measure: Measure<'_>) {
    let (runtime, folder) = (runtime(), node_folder(CIRCLES, None));
    let key = new_key(folder.path());
    let (app, mut caller, mut hours) = runtime.block_on(async {
        let store = open(folder.path()).await;
        register(&*store, 0..PHONES).await;
        store.close().await.expect("closes");
        let (source, hours) = (Source::new(folder.path()), Hours::new());
        let config = parvis::config::load(&source).expect("a configuration");
        let app = App::start(config, source, hours.clock.clone(), Entropy::seeded(7)).await.expect("starts");
        let phones = (0..PHONES).map(|index| Phone::new(index, Walk::Street)).collect();
        let caller = Caller::new(app.address, &key, phones, true).await;
        (app, caller, hours)
    });
    measure(PHONES as u64, &mut || {
        let now = hours.step();
        assert_eq!(runtime.block_on(caller.ping(now)), PHONES);
    });
    runtime.block_on(app.stop()).expect("stops");
}

fn apns(measure: Measure<'_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("writes");
    let text = "[apns]\nkey = \"key.pem\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"\n";
    let config: delivery::Config = toml::from_str(text).expect("a configuration");
    let transport = Http::new(&config, folder.path()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let tools = delivery::Tools {
        clock: Clock::System,
        entropy: Entropy::seeded(7),
        transport: Arc::new(transport),
        store: None,
        webhooks: Default::default(),
    };
    let couriers = delivery::build(&config, folder.path(), tools).unwrap_or_else(|problems| panic!("{problems:?}"));
    let address = Address::Target(PushTarget::Apns {
        token: "7".repeat(64).into(),
        topic: "com.example.shop".into(),
        environment: ApnsEnvironment::Production,
    });
    let message = message(7, Channel::Apns, address.clone());
    measure(REPEATS, &mut || {
        (0..REPEATS).for_each(|_| couriers.check(black_box(&message), black_box(&address)).expect("can be sent"));
    });
}
