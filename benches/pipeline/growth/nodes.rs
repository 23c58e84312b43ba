//! More and more nodes over one Redis on the same machine.

use tokio::runtime::Runtime;

use super::{costs, head, row};
use crate::{
    Scale,
    city::{Walk, crowd, node_folder, register},
    rate::{Rate, rate},
    shards::askers,
    shared::{Server, nodes},
};

/// What so many nodes did for one walk.
struct Done {
    pings_per_s: f64,
    /// Of the nodes and who asks them.
    cpu_us: f64,
    /// Of Redis.
    redis_us: f64,
}

pub(crate) fn part(scale: &Scale) {
    let sizes = scale.growth.nodes;
    let all: Vec<[Done; 2]> = sizes.iter().map(|&count| done(scale, count)).collect();
    head("nodes over one Redis, appendfsync everysec", sizes);
    for (at, (_, what)) in Walk::ALL.into_iter().enumerate() {
        row(&format!("{what}, pings/s of all"), all.iter().map(|it| format!("{:.0}", it[at].pings_per_s)));
        costs(
            &format!("{what}, processor of nodes and askers"),
            &all.iter().map(|it| it[at].cpu_us).collect::<Vec<_>>(),
        );
        row(&format!("{what}, processor of Redis"), all.iter().map(|it| format!("{:.2} µs", it[at].redis_us)));
    }
}

fn done(scale: &Scale, count: usize) -> [Done; 2] {
    let (server, folder) = (Server::start("everysec"), node_folder(scale.fences[1], None));
    Runtime::new().expect("a runtime").block_on(async {
        let (stores, nodes) = nodes(folder.path(), &server, count).await;
        register(&*stores[0], 0..scale.phones).await;
        let mut all = Vec::new();
        for (walk, _) in Walk::ALL {
            let mut askers = askers(&nodes, crowd(scale.phones, walk), scale.askers[2]);
            let before = server.processor_us();
            let Rate { pings, pings_per_s, cpu_us_per_ping: cpu_us, .. } = rate(&mut askers, scale).await;
            let redis_us = (server.processor_us() - before) / pings as f64;
            all.push(Done { pings_per_s, cpu_us, redis_us });
        }
        drop(nodes);
        for store in stores {
            store.close().await.expect("closes");
        }
        all.try_into().unwrap_or_else(|_| panic!("both walks were measured"))
    })
}
