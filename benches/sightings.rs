//! What a fleet of scanners costs: 200 scanners in 20 shops, each of which hears 100 carried tags every second.
//!
//! A round is one second of that fleet, so that a second divided by a round is how many times faster than real time
//! this machine is. Reports come at once, as they do when nobody spreads them.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{fmt::Write as _, hint::black_box, sync::Arc, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use futures_util::{StreamExt, stream};
use parvis::{
    catalog::{Catalog, Sources},
    clock::Clock,
    config::Source,
    fleet::Fleet,
    ingest::{
        gateway::Format,
        scanners::{self, Speaker, Tools},
    },
    pipeline::run_shard,
    report::Reporter,
    shard::{self, Input, Shard, Shards},
    store::{Store, memory::Memory},
};
use parvis_engine::{
    beacons::{Ibeacon, Identity, Uuid, report},
    change::{Link, Registration},
    id::ShopperId,
    shopper::{Consent, Consents, Profile},
    time::Timestamp,
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinSet};

/// The daemon's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHOPS: usize = 20;
const SCANNERS: usize = 10;
const TAGS: usize = 100;
const ZONES: usize = 3;
/// After so many seconds a tag is carried on to the next aisle.
const STAY_S: usize = 20;

fn main() {
    divan::main();
}

/// From bytes to sightings: one report.
#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let body = body(3, 4, 1);
    bencher.counter(ItemsCount::new(TAGS)).bench(|| {
        let delivery = scanners::read(Format::Parvis, None, black_box(&body), Timestamp::from_millis(0));
        assert_eq!(delivery.expect("a report").batch.sightings.len(), TAGS);
    });
}

/// Parsed, taken, decided into zones and committed to memory.
#[divan::bench(sample_size = 1, sample_count = 60)]
fn second_of_the_fleet_in_memory(bencher: Bencher<'_, '_>) {
    second(bencher, false);
}

/// The same with the embedded store, which synchronises the disk before anybody is answered.
#[divan::bench(sample_size = 1, sample_count = 60)]
fn second_of_the_fleet_on_disk(bencher: Bencher<'_, '_>) {
    second(bencher, true);
}

fn second(bencher: Bencher<'_, '_>, durable: bool) {
    let runtime = Runtime::new().expect("a runtime");
    let node = runtime.block_on(Node::start(durable));
    let mut seq = 0;
    bencher
        .counter(ItemsCount::new(SHOPS * SCANNERS * TAGS))
        .with_inputs(|| {
            seq += 1;
            let bodies: Vec<_> =
                (0..SHOPS).flat_map(|shop| (0..SCANNERS).map(move |scanner| body(shop, scanner, seq))).collect();
            (seq, bodies)
        })
        .bench_local_values(|(seq, bodies)| runtime.block_on(node.second(seq, bodies)));
    runtime.block_on(node.stop());
}

/// What the shards, the store and the fleet need.
struct Node {
    store: Arc<dyn Store>,
    catalog: Catalog,
    shards: Shards,
    fleet: Fleet,
    reporter: Reporter,
    began: Timestamp,
    running: JoinSet<()>,
    _folder: TempDir,
}

impl Node {
    async fn start(durable: bool) -> Node {
        let folder = files();
        let source = Source::new(folder.path());
        let config = parvis::config::load(&source).expect("a configuration");
        let store: Arc<dyn Store> = match durable {
            true => parvis::store::open(config.store.below(folder.path())).await.expect("opens"),
            false => Arc::new(Memory::new()),
        };
        let sources: Sources = config.catalog_sources(&source);
        let (catalog, worker) = Catalog::open(sources, store.clone()).await.expect("a catalog");
        let reporter = Reporter::new(&config.report);
        let tools = shard::Tools {
            store: store.clone(),
            catalog: catalog.clone(),
            clock: Clock::System,
            reporter: reporter.clone(),
            webhooks: Default::default(),
            abandon: Default::default(),
        };
        let mut running = JoinSet::new();
        running.spawn(worker.run());
        let start = |_| {
            let (inbox, shard) = Shard::new(&config.shards, tools.clone());
            running.spawn(run_shard(shard));
            inbox
        };
        let shards = Shards::new((0..config.shards.count).map(start).collect());
        for tag in 0..SHOPS * TAGS {
            link(&shards, tag).await;
        }
        let (fleet, began) = (Fleet::new(config.fleet.clone()), Clock::System.now());
        Node { store, catalog, shards, fleet, reporter, began, running, _folder: folder }
    }

    /// Everything that arrives within one second of the fleet's time, which need not be ours.
    async fn second(&self, seq: usize, bodies: Vec<Vec<u8>>) {
        let received_at = self.began.plus(Duration::from_secs(seq as u64));
        let tools = Tools {
            shards: &self.shards,
            store: self.store.as_ref(),
            catalog: &self.catalog,
            fleet: &self.fleet,
            reporter: &self.reporter,
        };
        let take = async |body: Vec<u8>| {
            let delivery = scanners::read(Format::Parvis, None, &body, received_at).expect("a report");
            let taken = scanners::take(tools, &Speaker::default(), delivery, received_at).await.expect("taken");
            assert_eq!(taken.accepted, TAGS as u64, "{:?}", taken.rejected.first());
        };
        // More at once would meet full inboxes, and be sent again.
        stream::iter(bodies).for_each_concurrent(64, take).await;
    }

    async fn stop(mut self) {
        drop((self.shards, self.catalog));
        while self.running.join_next().await.is_some() {}
        self.store.close().await.expect("closes");
    }
}

async fn link(shards: &Shards, tag: usize) {
    let shopper: ShopperId = format!("C-{tag}").parse().expect("an id");
    let yes = Some(Consent { granted: true, at: Timestamp::from_millis(0), text: None });
    let profile = Profile { consents: Consents { location: yes, ..Consents::default() }, ..Profile::default() };
    let registration = Registration::of_tag(shopper.clone(), Link { until: None });
    let register = Input::Register { device: format!("tag-{tag}").parse().expect("an id"), registration };
    shards.ask(shopper.clone(), Input::Profile(profile)).await.expect("taken");
    shards.ask(shopper, register).await.expect("taken");
}

/// Shops of some aisles, each with scanners and tags.
fn files() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut stores, mut beacons) = (String::new(), String::new());
    for shop in 0..SHOPS {
        let place = format!("store = \"shop-{shop}\"");
        write!(stores, "[[store]]\nid = \"shop-{shop}\"\nname = \"Shop\"\ntime_zone = \"Europe/Paris\"\n\n")
            .expect("text");
        for zone in 0..ZONES {
            write!(beacons, "[[zone]]\nid = \"aisle-{shop}-{zone}\"\n{place}\n\n").expect("text");
        }
        for scanner in 0..SCANNERS {
            let zone = scanner % ZONES;
            write!(beacons, "[[scanner]]\nid = \"s-{shop}-{scanner}\"\n{place}\nzone = \"aisle-{shop}-{zone}\"\n\n")
                .expect("text");
        }
        for tag in shop * TAGS..(shop + 1) * TAGS {
            let uuid = uuid();
            write!(
                beacons,
                "[[beacon]]\nid = \"tag-{tag}\"\nrole = \"tag\"\nuuid = \"{uuid}\"\nmajor = 1\nminor = {tag}\n\n"
            )
            .expect("text");
        }
    }
    std::fs::write(folder.path().join("stores.toml"), stores).expect("writable");
    std::fs::write(folder.path().join("beacons.toml"), beacons).expect("writable");
    // The fleet's seconds are over sooner than ours.
    let settings = "[engine.observations]\nskew_max = \"24h\"\nlateness_max = \"20min\"\n";
    std::fs::write(folder.path().join("parvis.toml"), settings).expect("writable");
    folder
}

/// What one scanner hears in one second: tags of its aisle well, others less, with some noise.
fn body(shop: usize, scanner: usize, seq: usize) -> Vec<u8> {
    let heard = (shop * TAGS..(shop + 1) * TAGS).map(|tag| {
        let here = (tag + seq / STAY_S) % ZONES == scanner % ZONES;
        let noise = ((tag * 31 + scanner * 17 + seq * 7) % 11) as f64 - 5.0;
        let rssi_dbm = noise + if here { -60.0 } else { -75.0 };
        report::Heard {
            age_ms: (tag % 900) as u64,
            identity: Identity::Ibeacon(Ibeacon { uuid: uuid(), major: 1, minor: u16::try_from(tag).expect("small") }),
            rssi_dbm,
            rssi_min_dbm: Some(rssi_dbm - 4.0),
            rssi_max_dbm: Some(rssi_dbm + 3.0),
            count: 4,
            measured_power_dbm: Some(-59.0),
            battery_v: None,
        }
    });
    let report = report::Report {
        scanner: format!("s-{shop}-{scanner}"),
        boot: "b".to_owned(),
        seq: seq as u64,
        sent_at: None,
        health: None,
        heard: heard.collect(),
    };
    serde_json::to_vec(&report).expect("writes")
}

fn uuid() -> Uuid {
    "f7826da6-4fa2-4e98-8024-bc5b71e0893e".parse().expect("a UUID")
}
