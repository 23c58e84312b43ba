//! A master that sentinels replace.

use parvis::store::redis::{Config, Link, Topology};

use crate::{
    add, config, hasty, number, persist, refused, send_one,
    server::{Sentinels, Server, until},
    sum, warm,
};

fn watched(sentinels: &Sentinels) -> Config {
    let master = Some("parvis".to_owned());
    Config { topology: Topology::Sentinel, master, replicas_min: 1, ..config(sentinels.urls()) }
}

#[tokio::test]
async fn a_dead_master_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let mut sentinels = Sentinels::watch(&master, 3).await;
    sentinels.know_replicas(1).await;
    let link = Link::open(&watched(&sentinels)).await.expect("connects");
    for n in 0..100 {
        persist(&link, &add("a", 1, &format!("r-{n}"))).await;
    }
    // One sentinel less must not matter either.
    sentinels.0.last_mut().expect("three").kill().await;
    master.kill().await;
    let unsure = send_one(&link, add("a", 1, "while-away")).await;
    refused(unsure);
    until("the failover", async || (sentinels.master().await == replica.port).then_some(())).await;
    assert_eq!(persist(&link, &sum("a")).await, 100);
    // Nobody but the new master has it until the old one is back, as a replica.
    until("the new master to be asked", async || {
        refused(send_one(&link, add("a", 1, "alone")).await).contains("0 of 1").then_some(())
    })
    .await;
    master.boot().await;
    // The sentinels would do it, after ten seconds.
    master.ask(&["REPLICAOF", "127.0.0.1", &replica.port.to_string()]).await;
    assert_eq!(persist(&link, &add("a", 1, "alone")).await, 101);
    assert_eq!(persist(&link, &add("a", 1, "while-away")).await, 102);
}

#[tokio::test]
async fn a_master_that_is_replaced_while_it_lives_is_left() {
    let master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let sentinels = Sentinels::watch(&master, 1).await;
    sentinels.know_replicas(1).await;
    let link = Link::open(&watched(&sentinels)).await.expect("connects");
    assert_eq!(persist(&link, &add("a", 1, "first")).await, 1);
    until("the sentinel to find the replica fit", async || {
        sentinels.0[0].try_ask(&["SENTINEL", "FAILOVER", "parvis"]).await.ok()
    })
    .await;
    let mut count = 1;
    until("the failover, with calls all the while", async || {
        count += 1;
        assert_eq!(persist(&link, &add("a", 1, &format!("r-{count}"))).await, count);
        (sentinels.master().await == replica.port).then_some(())
    })
    .await;
    // Only the new master takes writes, so the calls go there.
    replica.wait_for("replication", "role:master").await;
    master.wait_for("replication", "role:slave").await;
    persist(&link, &add("a", 1, "last")).await;
    assert_eq!(number(send_one(&link, sum("a")).await), count + 1);
    assert_eq!(replica.tell(&["GET", "parvis:{a}:sum"]).await, (count + 1).to_string());
}

/// A master that stood still and was replaced meanwhile takes writes for some seconds, until the sentinels tell it.
#[tokio::test]
async fn an_old_master_that_does_not_know_yet_is_left() {
    let master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let sentinels = Sentinels::watch(&master, 1).await;
    sentinels.know_replicas(1).await;
    let name = Some("parvis".to_owned());
    let config = Config { topology: Topology::Sentinel, master: name, connections: 8, ..hasty(sentinels.urls()) };
    let link = Link::open(&config).await.expect("connects");
    warm(&link).await;
    master.freeze().await;
    refused(send_one(&link, add("a", 1, "frozen")).await);
    until("the failover", async || (sentinels.master().await == replica.port).then_some(())).await;
    replica.wait_for("replication", "role:master").await;
    master.thaw().await;
    // By now one connection leads to the new master, and the others must follow it.
    for n in 0..config.connections {
        persist(&link, &add("a", 1, &format!("any-{n}"))).await;
    }
    for n in 0..2 * config.connections {
        persist(&link, &add("b", 1, &format!("r-{n}"))).await;
    }
    assert_eq!(replica.tell(&["GET", "parvis:{b}:sum"]).await, "16");
}

#[tokio::test]
async fn a_name_that_nobody_watches_is_told() {
    let master = Server::start(&[]).await;
    let sentinels = Sentinels::watch(&master, 1).await;
    let config = Config { master: Some("other".to_owned()), ..watched(&sentinels) };
    let why = Link::open(&config).await.expect_err("no such master").to_string();
    assert!(why.contains("watches no master named \"other\""), "{why}");
}
