//! A cluster loses a master to its replica, and slots change their masters, under load.

use std::collections::BTreeSet;

use crate::{
    load::Load,
    nodes::{Nodes, UNDER_WAY, on_cluster, rounds},
    server::{Cluster, until},
};

const SEED: u64 = 7_020;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_dies_and_what_its_replica_had_to_have_is_there() {
    let mut cluster = Cluster::with_replicas(3, &[]).await;
    let demands = [("store.redis.replicas_min", "1"), ("store.redis.replicas_wait", "500ms")];
    let nodes = Nodes::start(on_cluster(&cluster, 2), &demands).await;
    let load = Load::begin(&nodes, SEED).await;
    let rounds = rounds(1);
    for round in 0..rounds {
        load.more_answers(60).await;
        let slot = u16::try_from(round % 3).expect("small") * 6_000;
        let master = cluster.owner(slot).await;
        cluster.nodes[master].kill().await;
        until("the replica to be master", async || (cluster.owner(slot).await != master).then_some(())).await;
        // It follows its successor, which so has a replica again.
        cluster.nodes[master].boot().await;
        cluster.settle().await;
        load.more_answers(60).await;
    }
    let figures = load.end(&nodes).await;
    assert!(figures.refused > 0, "it was noticed");
    assert!(figures.twice <= rounds * nodes.count() * UNDER_WAY, "{figures:?}");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_between_masters_and_nothing_is_lost() {
    let cluster = Cluster::start(3, &[]).await;
    let nodes = Nodes::start(on_cluster(&cluster, 2), &[]).await;
    let load = Load::begin(&nodes, SEED + 1).await;
    load.more_answers(60).await;
    let slots = used_slots(&cluster).await;
    for (turn, slot) in slots.iter().copied().cycle().take(rounds(6)).enumerate() {
        let to = (cluster.owner(slot).await + 1 + turn % 2) % 3;
        let from = cluster.begin_move(slot, to).await;
        while cluster.move_keys(slot, from, to, 2).await {
            load.more_answers(5).await;
        }
        cluster.end_move(slot, from, to).await;
    }
    load.more_answers(30).await;
    let figures = load.end(&nodes).await;
    assert!(figures.twice <= UNDER_WAY, "{figures:?}");
    nodes.end().await;
}

/// Slots that hold keys, the same number of each master's.
async fn used_slots(cluster: &Cluster) -> Vec<u16> {
    let mut all = Vec::new();
    for node in &cluster.nodes {
        let keys: Vec<String> = redis::from_redis_value(node.ask(&["KEYS", "*"]).await).expect("keys");
        let mut slots = BTreeSet::new();
        for key in keys {
            let slot: u16 = redis::from_redis_value(node.ask(&["CLUSTER", "KEYSLOT", &key]).await).expect("a slot");
            slots.insert(slot);
        }
        all.extend(slots.into_iter().take(2));
    }
    assert!(all.len() >= 3, "every master has keys");
    all
}
