//! How soon a node is ready, and how much memory it needs.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{fs, time::Instant};

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
    city::{Phone, Walk, node, node_folder, register},
    rate::{Asker, median},
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

/// What fences and shoppers with one phone each need, by the resident set of this process (Linux).
pub(crate) fn memory(scale: &Scale) {
    let folder = node_folder(scale.fences[2], Some(30));
    Runtime::new().expect("a runtime").block_on(async {
        let empty = node_folder(1, None);
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
        let tools = Tools {
            store,
            catalog,
            clock: Clock::System,
            reporter,
            webhooks: Default::default(),
            abandon: Default::default(),
        };
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

/// The resident set of this process (Linux).
pub(crate) fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
