//! How soon a node is ready, and how much memory it needs.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use parvis::{
    catalog::Catalog,
    clock::Clock,
    config::Source,
    pipeline::run_shard,
    report::Reporter,
    shard::{self, Shard, Shards, Tools},
};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    Scale,
    city::{Phone, Walk, mixed_folder, node, node_folder, register},
    rate::{Asker, median, processor_us},
    shards::Direct,
};

/// How long until a node listens.
pub(crate) fn start(scale: &Scale) {
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

/// What fences and shoppers with one phone each need, by the resident set of this process (Linux): half of the fences
/// circles, the others polygons of 30 vertices; tokens of 140 characters, three consents. Then what it takes to open
/// their store again.
pub(crate) fn memory(scale: &Scale) {
    let folder = mixed_folder(scale.fences[2], 30);
    Runtime::new().expect("a runtime").block_on(crowded(scale, folder.path()));
    let this = std::env::current_exe().expect("a program");
    let ended = Command::new(this).env(REOPENED, folder.path()).status().expect("starts");
    assert!(ended.success());
}

async fn crowded(scale: &Scale, folder: &Path) {
    let empty = node_folder(1, None);
    node(empty.path()).await.stop().await.expect("stops");
    let before = settled_bytes().await;
    let source = Source::new(folder);
    let config = parvis::config::load(&source).expect("a configuration");
    let store = parvis::store::open(config.store.below(folder)).await.expect("opens");
    let (catalog, _worker) = Catalog::open(config.catalog_sources(&source), store.clone()).await.expect("a catalog");
    let fenced = settled_bytes().await;
    register(&*store, 0..scale.crowd).await;
    let known = settled_bytes().await;
    let reporter = Reporter::new(&config.report);
    let tools = Tools {
        store: store.clone(),
        catalog,
        clock: Clock::System,
        reporter,
        webhooks: Default::default(),
        abandon: Default::default(),
    };
    let (inbox, shard) = Shard::new(&shard::Config::default(), tools);
    let mut running = JoinSet::from_iter([run_shard(shard)]);
    let phones = (0..scale.crowd).map(|index| Phone::new(index, Walk::Street)).collect();
    let mut walker = Direct { shards: Shards::new(vec![inbox]), phones, turn: 0 };
    let carried = settled_bytes().await;
    for _ in 0..scale.crowd {
        walker.ask().await;
    }
    let walked = settled_bytes().await;
    let each = |bytes: u64, count: usize| bytes / count as u64;
    let all = (walked - (carried - known)).saturating_sub(before);
    println!("\n| memory | |\n|---|---:|");
    println!(
        "| a fence, half of them circles, half of 30 vertices | {} B |",
        each(fenced.saturating_sub(before), scale.fences[2])
    );
    println!("| a shopper with one phone, registered | {} B |", each(known.saturating_sub(fenced), scale.crowd));
    println!("| its track, once it walks | {} B |", each(walked.saturating_sub(carried), scale.crowd));
    println!(
        "| {} fences and {} walking phones, the store's pages included | {} MiB |",
        scale.fences[2],
        scale.crowd,
        all >> 20
    );
    drop(walker);
    while running.join_next().await.is_some() {}
    store.close().await.expect("closes");
}

/// Names the folder of a store that this process is to open, and nothing else.
pub(crate) const REOPENED: &str = "PARVIS_BENCH_REOPENED";

/// What it takes to open the store in this folder, in a process that has done nothing else.
pub(crate) fn reopened(folder: &Path) {
    Runtime::new().expect("a runtime").block_on(async {
        let config = parvis::config::load(&Source::new(folder)).expect("a configuration");
        let (before, used, begun) = (resident_bytes(), processor_us(), Instant::now());
        let store = parvis::store::open(config.store.below(folder)).await.expect("opens");
        let (ready_s, used_s) = (begun.elapsed().as_secs_f64(), (processor_us() - used) / 1e6);
        let shoppers = store.sizes().await.expect("tells").shoppers;
        let bytes = settled_bytes().await - before;
        println!("| opening the store of {shoppers} shoppers again | {ready_s:.2} s, {used_s:.2} s of a core |");
        println!("| a shopper with one phone, after that | {} B |", bytes / shoppers.max(1));
        store.close().await.expect("closes");
    });
}

/// The resident set once the allocator has given back what was freed.
async fn settled_bytes() -> u64 {
    tokio::time::sleep(Duration::from_millis(200)).await;
    resident_bytes()
}

/// The resident set of this process (Linux).
pub(crate) fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
