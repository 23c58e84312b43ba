//! A whole node over loopback.

use std::path::Path;

use parvis::{clock::Clock, config::Config};
use tokio::runtime::Runtime;

use crate::{
    Scale,
    caller::{Caller, LINES, new_key},
    city::{Walk, crowd, hands, node, node_folder, register},
    rate::{Asker, Rate, rate},
};

impl Asker for Caller {
    async fn ask(&mut self) -> usize {
        self.ping(Clock::System.now()).await
    }
}

pub(crate) fn part(scale: &Scale) {
    let folder = node_folder(scale.fences[1], None);
    let key = new_key(folder.path());
    println!(
        "\n| over HTTP, {} circles | connections | pings/s | processor a ping | answer p50 | p99 |",
        scale.fences[1]
    );
    println!("|---|---:|---:|---:|---:|---:|");
    Runtime::new().expect("a runtime").block_on(async {
        seed(folder.path(), scale.phones).await;
        let app = node(folder.path()).await;
        let mut crowds = Walk::ALL.map(|(walk, _)| crowd(scale.phones, walk));
        for (batched, form) in [(false, "one a request".to_owned()), (true, format!("{LINES} a request"))] {
            for ((_, what), crowd) in Walk::ALL.into_iter().zip(&mut crowds) {
                for connections in if batched { scale.senders } else { scale.connections } {
                    let mut callers = Vec::new();
                    for phones in hands(std::mem::take(crowd), connections) {
                        callers.push(Caller::new(&app, &key, phones, batched).await);
                    }
                    let measured = rate(&mut callers, scale).await;
                    crowd.extend(callers.into_iter().flat_map(|caller| caller.phones));
                    let Rate { pings_per_s, cpu_us_per_ping, p50_ms, p99_ms, .. } = measured;
                    println!(
                        "| {form}, {what} | {connections} | {pings_per_s:.0} | {cpu_us_per_ping:.1} µs | {p50_ms:.2} ms | {p99_ms:.2} ms |"
                    );
                }
            }
        }
        app.stop().await.expect("stops");
    });
}

async fn seed(folder: &Path, phones: usize) {
    let config = Config::default().store.below(folder);
    let store = parvis::store::open(config).await.expect("opens");
    register(&*store, 0..phones).await;
    store.close().await.expect("closes");
}
