//! The server dies, freezes, is full or can't be reached: callers are told to come back, and nothing that was answered
//! is lost.

use crate::{
    load::Load,
    nodes::{Nodes, UNDER_WAY, on_server, rounds},
    proxy::Wire,
    server::Server,
};

const SEED: u64 = 5_010;

/// Ends the load. What was under way on a node while its leases could not be ended may be sent again.
async fn end(load: Load, nodes: Nodes, outages: usize) {
    load.more_answers(30).await;
    let figures = load.end(&nodes).await;
    assert!(figures.refused > 0, "it was noticed");
    assert!(figures.twice <= outages * nodes.count() * UNDER_WAY, "{figures:?}");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_syncs_always_is_killed_and_nothing_is_lost() {
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]).await;
    let nodes = Nodes::start(on_server(&server, 2), &[("store.redis.durability", "fsync")]).await;
    let load = Load::begin(&nodes, SEED).await;
    let rounds = rounds(2);
    for _ in 0..rounds {
        load.more_answers(60).await;
        server.kill().await;
        load.more_refusals(0, 5).await;
        load.more_refusals(1, 5).await;
        server.boot().await;
    }
    end(load, nodes, rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_holds_everybody_up_and_nothing_is_lost() {
    let server = Server::start(&[]).await;
    let nodes = Nodes::start(on_server(&server, 2), &[]).await;
    let load = Load::begin(&nodes, SEED + 1).await;
    let rounds = rounds(2);
    for _ in 0..rounds {
        load.more_answers(60).await;
        server.freeze().await;
        load.more_refusals(0, 3).await;
        server.thaw().await;
    }
    end(load, nodes, rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_refuses_and_the_others_go_on() {
    let server = Server::start(&[]).await;
    let wire = Wire::to(server.port).await;
    // Whoever is inside of the node when the wire is cut waits until it is mended. Of four nodes and with few shards that
    // is never everybody, which nobody would mend.
    let mut own = on_server(&server, 4);
    own[0][0].1 = format!("[\"redis://127.0.0.1:{}\"]", wire.port);
    own[0].push(("shards.count".to_owned(), "2".to_owned()));
    let nodes = Nodes::start(own, &[]).await;
    let load = Load::begin(&nodes, SEED + 2).await;
    let rounds = rounds(3);
    for _ in 0..rounds {
        load.more_answers(60).await;
        wire.cut();
        load.more_refusals(0, 5).await;
        load.more_answers(30).await;
        wire.mend();
    }
    end(load, nodes, rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_takes_nothing_and_forgets_nothing() {
    let server = Server::start(&["maxmemory-policy noeviction"]).await;
    let nodes = Nodes::start(on_server(&server, 2), &[]).await;
    let load = Load::begin(&nodes, SEED + 3).await;
    let rounds = rounds(2);
    for _ in 0..rounds {
        load.more_answers(60).await;
        server.ask(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
        load.more_refusals(0, 5).await;
        load.more_refusals(1, 5).await;
        server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    }
    end(load, nodes, rounds).await;
}
