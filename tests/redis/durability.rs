//! What real servers promise, and what is refused.

use std::time::Duration;

use parvis::store::{
    Error, Loss, Store,
    redis::{Call, Config, Demand, Link, Pace, Redis, Topology, durability::Verdict},
};

use crate::{
    add, config, connect, number, persist, refused, send_one,
    server::{Cluster, Server, until},
    sum,
};

async fn judged(config: &Config) -> (Verdict, Result<(), String>) {
    let link = Link::open(config).await.expect("connects");
    let verdict = Verdict::read(&link).await.expect("it answers");
    let checked = verdict.check(config).map_err(|error| error.to_string());
    (verdict, checked)
}

#[tokio::test]
async fn what_a_crash_can_lose_is_told_and_fsync_can_be_demanded() {
    for (lines, loss, word) in [
        (&["appendonly yes", "appendfsync always"][..], Loss::Nothing, "nothing that was acknowledged"),
        (&["appendonly yes", "appendfsync everysec"], Loss::Second, "about the last second"),
        (&["appendonly yes", "appendfsync no"], Loss::Buffered, "half a minute"),
        (&["save 3600 1"], Loss::SinceSnapshot, "since the last snapshot"),
        (&[], Loss::Everything, "loses everything (appendonly no, and no snapshots)"),
    ] {
        let server = Server::start(lines).await;
        let any = config(vec![server.url()]);
        let (verdict, checked) = judged(&any).await;
        assert_eq!((verdict.loss(), checked), (loss, Ok(())), "{lines:?}");
        assert!(verdict.to_string().contains(word), "{verdict}");
        let (_, checked) = judged(&Config { durability: Demand::Fsync, ..any }).await;
        assert_eq!(checked.is_ok(), loss == Loss::Nothing, "{lines:?}");
        if let Err(why) = checked {
            assert!(why.contains("appendfsync always") && why.contains(word), "{why}");
        }
    }
}

#[tokio::test]
async fn a_server_that_throws_data_away_is_refused() {
    let server = Server::start(&["maxmemory 100mb", "maxmemory-policy allkeys-lru"]).await;
    let config = config(vec![server.url()]);
    let why = judged(&config).await.1.expect_err("it evicts");
    assert!(why.contains("maxmemory-policy noeviction, not allkeys-lru"), "{why}");
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    assert_eq!(judged(&config).await.1, Ok(()));
}

#[tokio::test]
async fn the_wrong_kind_of_server_is_refused() {
    let master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let why = judged(&config(vec![replica.url()])).await.1.expect_err("not the master");
    assert!(why.contains("is a replica"), "{why}");
    let cluster = Cluster::start(1, &[]).await;
    let why = judged(&config(cluster.urls())).await.1.expect_err("not alone");
    assert!(why.contains("is a node of a cluster"), "{why}");
    let clustered = Config { topology: Topology::Cluster, ..config(vec![master.url()]) };
    let why = Link::open(&clustered).await.expect_err("no cluster").to_string();
    assert!(why.contains("CLUSTER SLOTS"), "{why}");
}

#[tokio::test]
async fn replicas_are_counted_at_the_start_and_waited_for_at_each_write() {
    let master = Server::start(&[]).await;
    let config = Config { replicas_min: 1, ..config(vec![master.url()]) };
    let why = judged(&config).await.1.expect_err("no replica");
    assert!(why.contains("has 0 replicas in step"), "{why}");
    let replica = Server::replica_of(&master, &[]).await;
    let (verdict, checked) = judged(&config).await;
    assert_eq!((verdict.replicas(), checked), (1, Ok(())));
    let link = Link::open(&config).await.expect("connects");
    assert_eq!(persist(&link, &add("a", 1, "r-1")).await, 1);
    assert_eq!(replica.tell(&["GET", "parvis:{a}:sum"]).await, "1", "it was there before the answer");
    replica.freeze().await;
    let answers = link.send(&[add("a", 1, "r-2"), sum("a")]).await;
    let [written, read] = <[_; 2]>::try_from(answers).expect("two answers");
    let why = refused(written);
    assert!(why.contains("0 of 1 replicas"), "{why}");
    assert!(number(read) >= 1, "who only reads needs no replica");
    replica.thaw().await;
    assert_eq!(persist(&link, &add("a", 1, "r-2")).await, 2);
}

#[tokio::test]
async fn every_master_of_a_cluster_is_judged() {
    let cluster = Cluster::start(3, &["appendonly yes", "appendfsync always"]).await;
    let config = Config { topology: Topology::Cluster, durability: Demand::Fsync, ..config(cluster.urls()) };
    let (verdict, checked) = judged(&config).await;
    assert_eq!((verdict.masters.len(), verdict.loss(), checked), (3, Loss::Nothing, Ok(())));
    cluster.nodes[2].ask(&["CONFIG", "SET", "appendfsync", "everysec"]).await;
    let (verdict, checked) = judged(&config).await;
    assert_eq!(verdict.loss(), Loss::Second);
    assert!(checked.expect_err("one of them").contains(&cluster.nodes[2].port.to_string()));
}

#[tokio::test]
async fn full_memory_refuses_writes_and_not_reads() {
    let server = Server::start(&["maxmemory-policy noeviction"]).await;
    let link = connect(&server).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r-1")).await), 1);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for call in [add("a", 1, "r-2"), Call::command("SET", "x").arg("y")] {
        let why = refused(send_one(&link, call).await);
        assert!(why.contains("no memory left"), "{why}");
    }
    assert_eq!(number(send_one(&link, sum("a")).await), 1);
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r-2")).await), 2);
}

#[tokio::test]
async fn a_master_that_wants_replicas_itself_is_told() {
    let server = Server::start(&["min-replicas-to-write 1"]).await;
    let link = connect(&server).await;
    let why = refused(send_one(&link, add("a", 1, "r")).await);
    assert!(why.contains("min-replicas-to-write"), "{why}");
}

#[tokio::test]
async fn a_server_that_may_not_be_asked_is_unknown() {
    let server =
        Server::start(&["appendonly yes", "appendfsync always", "user default on nopass ~* +@all -config"]).await;
    let (verdict, checked) = judged(&config(vec![server.url()])).await;
    assert_eq!((verdict.loss(), checked), (Loss::Unknown, Ok(())));
    let fsync = Config { durability: Demand::Fsync, ..config(vec![server.url()]) };
    assert!(judged(&fsync).await.1.expect_err("unknown").contains("CONFIG GET is not permitted"));
    let mute = Server::start(&["user default on nopass ~* +@all -info"]).await;
    let link = connect(&mute).await;
    let why = Verdict::read(&link).await.expect_err("INFO is needed");
    assert!(matches!(&why, Error::Unavailable(why) if why.contains("'info'")), "{why}");
}

#[tokio::test]
async fn the_store_demands_it_tells_it_and_notices_when_it_changes() {
    let server = Server::start(&["appendonly yes", "appendfsync always"]).await;
    let demanding = Config { durability: Demand::Fsync, ..config(vec![server.url()]) };
    let soon = Duration::from_millis(20);
    let store = Redis::open_at_pace(&demanding, Pace { poll: soon, sweep: soon, ..Pace::default() }).await;
    let store = store.expect("opens");
    assert_eq!(store.crash_loss(), Loss::Nothing);
    server.ask(&["CONFIG", "SET", "appendfsync", "everysec"]).await;
    until("the change to be noticed", async || (store.crash_loss() == Loss::Second).then_some(())).await;
    store.close().await.expect("closes");
    let why = Redis::open(&demanding).await.expect_err("it is less than demanded").to_string();
    assert!(why.contains("appendfsync always"), "{why}");
}
