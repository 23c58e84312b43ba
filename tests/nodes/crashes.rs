//! Nodes are killed at random and started again: whatever was answered is there, whatever was decided is sent.

use std::time::Duration;

use parvis::{clock::Clock, entropy::Entropy};

use crate::{
    load::Load,
    nodes::{Nodes, UNDER_WAY, on_cluster, on_server, rounds},
    server::{Cluster, Server},
};

const SEED: u64 = 20_261_122;

async fn kill_and_boot(mut nodes: Nodes, rounds: usize, seed: u64) {
    let load = Load::begin(&nodes, seed).await;
    let dice = Entropy::seeded(seed);
    for _ in 0..rounds {
        load.more_answers(60).await;
        Clock::System.sleep(Duration::from_micros(dice.bits() % 40_000)).await;
        let node = usize::try_from(dice.bits() % nodes.count() as u64).expect("small");
        nodes.kill(node).await;
        load.more_answers(30).await;
        nodes.boot(node).await;
    }
    let figures = load.end(&nodes).await;
    assert!(figures.accepted > 50, "a real load");
    assert!(figures.twice <= rounds * UNDER_WAY, "only what was under way on a node that died is sent again");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_on_one_server_are_killed_in_turn_and_nothing_is_lost() {
    let server = Server::start(&[]).await;
    let nodes = Nodes::start(on_server(&server, 3), &[]).await;
    kill_and_boot(nodes, rounds(3), SEED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_a_cluster_are_killed_in_turn_and_nothing_is_lost() {
    let cluster = Cluster::start(3, &[]).await;
    let nodes = Nodes::start(on_cluster(&cluster, 2), &[]).await;
    kill_and_boot(nodes, rounds(2), SEED + 1).await;
}
