//! What runs behind a node's door: shards over a store, with its catalog.

use std::{path::Path, sync::Arc};

use parvis::{
    catalog::{self, Catalog},
    clock::Clock,
    config::Source,
    pipeline::run_shard,
    report::Reporter,
    shard::{Shard, Shards, Tools},
    store::Store,
};
use tokio::task::JoinSet;

/// Shards over a store, and what runs them.
pub(crate) struct Node {
    pub(crate) shards: Shards,
    _running: JoinSet<()>,
    _worker: catalog::Worker,
}

impl Node {
    pub(crate) async fn start(folder: &Path, store: Arc<dyn Store>, clock: Clock) -> Node {
        let source = Source::new(folder);
        let config = parvis::config::load(&source).expect("a configuration");
        let sources = config.catalog_sources(&source);
        let (catalog, worker) = Catalog::open(sources, store.clone()).await.expect("a catalog");
        let reporter = Reporter::new(&config.report);
        let tools =
            Tools { store, catalog, clock, reporter, webhooks: Default::default(), abandon: Default::default() };
        let mut running = JoinSet::new();
        let start = |_| {
            let (inbox, shard) = Shard::new(&config.shards, tools.clone());
            running.spawn(run_shard(shard));
            inbox
        };
        let shards = Shards::new((0..config.shards.count).map(start).collect());
        Node { shards, _running: running, _worker: worker }
    }
}
