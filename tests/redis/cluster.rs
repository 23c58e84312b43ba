//! A cluster whose masters die and whose slots move.

use parvis::store::redis::{Call, Config, Link, Topology};

use crate::{
    add, config, number, persist, refused, send_one,
    server::{Cluster, until},
    sum,
};

async fn connect(cluster: &Cluster, replicas_min: u32) -> Link {
    let config = Config { topology: Topology::Cluster, replicas_min, ..config(cluster.urls()) };
    Link::open(&config).await.expect("connects")
}

async fn slot_of(cluster: &Cluster, tag: &str) -> u16 {
    redis::from_redis_value(cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", tag]).await).expect("a slot")
}

#[tokio::test]
async fn a_dead_master_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::with_replicas(3, &[]).await;
    let link = connect(&cluster, 1).await;
    let tags: Vec<String> = (0..30).map(|n| format!("shop-{n}")).collect();
    let calls = |request: &str| -> Vec<Call> { tags.iter().map(|tag| add(tag, 1, request)).collect() };
    for call in calls("first") {
        assert_eq!(persist(&link, &call).await, 1);
    }
    let dead = cluster.owner(slot_of(&cluster, "shop-0").await).await;
    cluster.nodes[dead].kill().await;
    let answers = link.send(&calls("second")).await;
    assert!(answers.iter().any(Result::is_err) && answers.iter().any(Result::is_ok), "only one master is away");
    let slot = slot_of_running(&cluster, "shop-0").await;
    until("the failover", async || (cluster.owner(slot).await != dead).then_some(())).await;
    for tag in &tags {
        assert!(persist(&link, &sum(tag)).await >= 1, "{tag}");
    }
    cluster.nodes[dead].boot().await;
    for call in calls("second") {
        assert_eq!(persist(&link, &call).await, 2);
    }
}

async fn slot_of_running(cluster: &Cluster, tag: &str) -> u16 {
    let last = cluster.nodes.last().expect("it has nodes");
    redis::from_redis_value(last.ask(&["CLUSTER", "KEYSLOT", tag]).await).expect("a slot")
}

#[tokio::test]
async fn a_slot_is_followed_step_by_step() {
    let cluster = Cluster::start(3, &[]).await;
    let link = connect(&cluster, 0).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r-1")).await), 1);
    let slot = slot_of(&cluster, "a").await;
    let to = (cluster.owner(slot).await + 1) % 3;
    let from = cluster.begin_move(slot, to).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r-2")).await), 2, "nothing has left yet");
    assert!(cluster.move_keys(slot, from, to, 1).await);
    let why = refused(send_one(&link, add("a", 1, "r-3")).await);
    assert!(why.contains("is moving these keys"), "{why}");
    while cluster.move_keys(slot, from, to, 10).await {}
    assert_eq!(number(send_one(&link, add("a", 1, "r-3")).await), 3, "asked for at the new owner");
    assert_eq!(number(send_one(&link, sum("a")).await), 3);
    cluster.end_move(slot, from, to).await;
    let answers = link.send(&[add("a", 1, "r-4"), add("a", 1, "r-4"), sum("a")]).await;
    assert_eq!(answers.into_iter().map(number).collect::<Vec<_>>(), [4, 4, 4], "moved");
    assert_eq!(number(send_one(&link, sum("a")).await), 4);
}

#[tokio::test]
async fn calls_go_on_while_a_slot_moves_to_and_fro() {
    let cluster = Cluster::start(3, &[]).await;
    let link = connect(&cluster, 0).await;
    let slot = slot_of(&cluster, "a").await;
    let (mut done, mut failed) = (0, 0);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let calling = async {
        while !*stopped.borrow() {
            let call = add("a", 1, &format!("r-{done}"));
            loop {
                match send_one(&link, call.clone()).await {
                    Ok(sum) => break assert_eq!(number(Ok(sum)), done + 1),
                    other => drop(refused(other)),
                }
                failed += 1;
                tokio::task::yield_now().await;
            }
            done += 1;
        }
    };
    let moving = async {
        for _ in 0..6 {
            let to = (cluster.owner(slot).await + 1) % 3;
            let from = cluster.begin_move(slot, to).await;
            while cluster.move_keys(slot, from, to, 1).await {
                tokio::task::yield_now().await;
            }
            cluster.end_move(slot, from, to).await;
        }
        stop.send_replace(true);
    };
    tokio::join!(calling, moving);
    assert!(done > 0);
    assert_eq!(number(send_one(&link, sum("a")).await), done, "{failed} calls were refused on the way");
}

#[tokio::test]
async fn a_slot_that_nobody_has_is_told() {
    let cluster = Cluster::start(2, &["cluster-require-full-coverage no"]).await;
    let link = connect(&cluster, 0).await;
    let slot = slot_of(&cluster, "a").await;
    for node in &cluster.nodes {
        node.ask(&["CLUSTER", "DELSLOTS", &slot.to_string()]).await;
    }
    until("the hole to be seen", async || {
        let why = refused(send_one(&link, add("a", 1, "r")).await);
        why.contains(&format!("no master of the cluster has slot {slot}")).then_some(())
    })
    .await;
}

/// The constants by which keys are routed are those of the server.
#[tokio::test]
async fn keys_are_routed_as_the_server_would() {
    let cluster = Cluster::start(3, &[]).await;
    let link = connect(&cluster, 0).await;
    let calls: Vec<Call> = (0..500).map(|n| Call::command("SET", format!("k{n}{{t{}}}", n % 211)).arg(n)).collect();
    assert!(link.send(&calls).await.iter().all(Result::is_ok));
    for node in &cluster.nodes {
        let told = node.tell(&["INFO", "errorstats"]).await;
        assert!(!told.contains("errorstat_MOVED"), "{told}");
    }
}
