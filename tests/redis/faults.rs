//! Servers that pause, forget, die and come back.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use parvis::store::redis::{Call, Config, Link};

use crate::{
    add, config, connect, hasty, number, persist, refused, send_one,
    server::{Server, until},
    sum, warm,
};

#[tokio::test]
async fn a_slow_answer_within_the_configured_time_is_waited_for() {
    let server = Server::start(&[]).await;
    let patient = Config { response_timeout: Duration::from_secs(30), ..config(vec![server.url()]) };
    let link = Link::open(&patient).await.expect("connects");
    warm(&link).await;
    // Longer than the half second after which the library would give up by itself.
    server.ask(&["CLIENT", "PAUSE", "900", "ALL"]).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r")).await), 1);
}

#[tokio::test]
async fn a_server_that_stands_still_is_told_and_found_again() {
    let server = Server::start(&[]).await;
    let link = Link::open(&hasty(vec![server.url()])).await.expect("connects");
    warm(&link).await;
    server.freeze().await;
    let why = refused(send_one(&link, sum("a")).await);
    assert!(why.contains("in time"), "{why}");
    server.thaw().await;
    assert_eq!(persist(&link, &add("a", 1, "r")).await, 1);
}

/// What is not idempotent counts the tries.
#[tokio::test]
async fn what_failed_on_its_way_is_not_sent_again() {
    let server = Server::start(&[]).await;
    let link = Link::open(&hasty(vec![server.url()])).await.expect("connects");
    warm(&link).await;
    server.freeze().await;
    let calls: Vec<Call> = (0..10).map(|n| Call::command("INCR", format!("k-{n}"))).collect();
    for answer in link.send(&calls).await {
        refused(answer);
    }
    server.thaw().await;
    // The server reads what was sent to it while it stood still.
    until("the calls to arrive", async || (server.tell(&["DBSIZE"]).await == "11").then_some(())).await;
    persist(&link, &Call::command("GET", "parvis:warm")).await;
    for n in 0..10 {
        assert_eq!(persist(&link, &Call::command("GET", format!("k-{n}"))).await, 1);
    }
}

#[tokio::test]
async fn dropped_calls_disturb_nobody_and_can_be_repeated() {
    let server = Server::start(&[]).await;
    let link = connect(&server).await;
    warm(&link).await;
    number(send_one(&link, add("a", 0, "first")).await);
    let calls: Vec<Call> = (0..500).map(|n| add("a", 1, &format!("r-{n}"))).collect();
    for call in &calls {
        // It is on its way, and then nobody waits for it any more.
        let mut sending = Box::pin(link.send(std::slice::from_ref(call)));
        let _ = sending.as_mut().now_or_never();
        tokio::task::yield_now().await;
        drop(sending);
    }
    for call in &calls {
        number(send_one(&link, call.clone()).await);
    }
    assert_eq!(number(send_one(&link, sum("a")).await), 500);
    let tries: i64 = server.tell(&["GET", "parvis:{a}:calls"]).await.parse().expect("a number");
    assert!(tries > 501, "some of the dropped calls were done: {tries}");
}

#[tokio::test]
async fn forgotten_scripts_are_told_again_and_nothing_else() {
    let server = Server::start(&[]).await;
    let link = connect(&server).await;
    for round in 1..=3_i64 {
        server.ask(&["SCRIPT", "FLUSH"]).await;
        let request = format!("r-{round}");
        let plain = || Call::command("INCR", "plain");
        let answers = link.send(&[plain(), add("a", 1, &request), plain(), add("b", 1, &request), plain()]).await;
        let numbers: Vec<i64> = answers.into_iter().map(number).collect();
        assert_eq!(numbers, [3 * round - 2, round, 3 * round - 1, round, 3 * round]);
        assert_eq!(server.tell(&["GET", "parvis:{a}:calls"]).await, round.to_string(), "each was done once");
    }
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again_with_what_it_acknowledged() {
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]).await;
    let link = connect(&server).await;
    for round in 0..3 {
        let calls: Vec<Call> = (0..50).map(|n| add("a", 1, &format!("r-{round}-{n}"))).collect();
        assert!(link.send(&calls).await.iter().all(Result::is_ok));
        server.kill().await;
        for _ in 0..20 {
            refused(send_one(&link, add("a", 1, &format!("away-{round}"))).await);
        }
        server.boot().await;
        // A restarted server has forgotten the scripts.
        let expected = i64::from((round + 1) * 50);
        assert_eq!(persist(&link, &add("a", 0, &format!("back-{round}"))).await, expected);
    }
}

#[tokio::test]
async fn who_is_away_is_not_knocked_at_all_the_time() {
    let mut server = Server::start(&[]).await;
    let shy = Config {
        backoff_min: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
        connections: 2,
        ..hasty(vec![server.url()])
    };
    let link = Link::open(&shy).await.expect("connects");
    server.kill().await;
    let listener = TcpListener::bind(("127.0.0.1", server.port)).expect("the port is free now");
    listener.set_nonblocking(true).expect("can be set");
    let knocks = AtomicUsize::new(0);
    for _ in 0..50 {
        refused(send_one(&link, sum("a")).await);
        while let Ok((stream, _)) = listener.accept() {
            drop(stream);
            knocks.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert!(knocks.load(Ordering::Relaxed) <= 2, "once for each connection: {knocks:?}");
}

#[tokio::test]
async fn nobody_there_is_told_at_the_start() {
    let mut server = Server::start(&[]).await;
    server.kill().await;
    let why = Link::open(&config(vec![server.url()])).await.expect_err("nobody is there").to_string();
    assert!(why.contains(&server.port.to_string()), "{why}");
}

#[tokio::test]
async fn a_server_that_became_a_replica_takes_writes_again_as_master() {
    let other = Server::start(&[]).await;
    let server = Server::start(&[]).await;
    let link = connect(&server).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r-1")).await), 1);
    server.ask(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    let why = refused(send_one(&link, add("a", 1, "r-2")).await);
    assert!(why.contains("is a replica"), "{why}");
    server.ask(&["REPLICAOF", "NO", "ONE"]).await;
    persist(&link, &add("a", 1, "r-2")).await;
}
