//! More and more phones, each of a shopper of its own, through shards and the embedded store.

use futures_util::future::join_all;
use parvis::{clock::Clock, config::Source};
use tokio::runtime::Runtime;

use super::{costs, head, row};
use crate::{
    Scale,
    city::{Walk, crowd, node_folder, register},
    footprint::resident_bytes,
    node::Node,
    rate::{Asker, Rate, rate},
    shards::{Direct, askers},
};

const ASKERS: usize = 256;

/// What one number of phones needs.
struct Needed {
    registered_bytes: u64,
    walking_bytes: u64,
    disk_bytes: u64,
    /// How much the file grows with each transition, journal and free pages included.
    change_bytes: f64,
    changed_us: f64,
    unchanged_us: f64,
}

pub(crate) fn part(scale: &Scale) {
    let devices = scale.growth.devices;
    let all: Vec<Needed> = devices.iter().map(|&count| needed(scale, count)).collect();
    head("phones that all walk", devices);
    costs("every ping enters or exits", &all.iter().map(|it| it.changed_us).collect::<Vec<_>>());
    costs("nothing changes", &all.iter().map(|it| it.unchanged_us).collect::<Vec<_>>());
    row("memory a shopper with one phone", all.iter().map(|it| format!("{} B", it.registered_bytes)));
    row("its track, once it walks", all.iter().map(|it| format!("{} B", it.walking_bytes)));
    row("on disk a transition", all.iter().map(|it| format!("{:.0} B", it.change_bytes)));
    row("on disk a shopper", all.iter().map(|it| format!("{} B", it.disk_bytes)));
}

fn needed(scale: &Scale, count: usize) -> Needed {
    let folder = node_folder(scale.fences[1], None);
    Runtime::new().expect("a runtime").block_on(async {
        let config = parvis::config::load(&Source::new(folder.path())).expect("a configuration");
        let store = parvis::store::open(config.store.below(folder.path())).await.expect("opens");
        let nodes = [Node::start(folder.path(), store.clone(), Clock::System).await];
        let before = resident_bytes();
        register(&*store, 0..count).await;
        let registered = resident_bytes();
        let disk_bytes = store.sizes().await.expect("available").bytes;
        let mut crowds = Walk::ALL.map(|(walk, _)| {
            let crowd = crowd(count, walk).into_iter().map(|phone| phone.among(scale.fences[1])).collect();
            askers(&nodes, crowd, ASKERS.min(count / 2))
        });
        let carried = resident_bytes();
        for askers in &mut crowds {
            join_all(askers.iter_mut().map(once)).await;
        }
        let walking = resident_bytes();
        let [mut changing, mut staying] = crowds;
        let before_changes = store.sizes().await.expect("available").bytes;
        let Rate { pings, cpu_us_per_ping: changed_us, .. } = rate(&mut changing, scale).await;
        let grown = store.sizes().await.expect("available").bytes.saturating_sub(before_changes);
        let unchanged_us = rate(&mut staying, scale).await.cpu_us_per_ping;
        drop((nodes, changing, staying));
        store.close().await.expect("closes");
        let each = |more: u64| more / count as u64;
        Needed {
            registered_bytes: each(registered.saturating_sub(before)),
            walking_bytes: each(walking.saturating_sub(carried)),
            disk_bytes: each(disk_bytes),
            change_bytes: grown as f64 / pings as f64,
            changed_us,
            unchanged_us,
        }
    })
}

/// Each of an asker's phones pings once.
async fn once(asker: &mut Direct) {
    for _ in 0..asker.phones.len() {
        asker.ask().await;
    }
}
