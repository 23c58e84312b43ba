//! What every kind of link does.

use parvis::store::redis::{Call, Config, Link, Script, Topology};

use crate::{
    add, config, number, send_one,
    server::{Cluster, Sentinels, Server},
    sum,
};

async fn carries(link: &Link) {
    let calls: Vec<Call> = (0..100).map(|n| add(&format!("shop-{}", n % 20), 1, &format!("r-{n}"))).collect();
    let first: Vec<i64> = link.send(&calls).await.into_iter().map(number).collect();
    assert_eq!(first.iter().filter(|&&sum| sum == 5).count(), 20, "{first:?}");
    let again: Vec<i64> = link.send(&calls).await.into_iter().map(number).collect();
    assert_eq!(again, [5; 100]);
    let read: Vec<Call> = (0..20).map(|n| sum(&format!("shop-{n}"))).collect();
    assert_eq!(link.send(&read).await.into_iter().map(number).collect::<Vec<_>>(), [5; 20]);
    assert_eq!(link.send(&[]).await, []);
}

#[tokio::test]
async fn one_server_answers_in_order() {
    let server = Server::start(&[]).await;
    carries(&Link::open(&config(vec![server.url()])).await.expect("connects")).await;
}

#[tokio::test]
async fn a_master_that_sentinels_watch_answers_in_order() {
    let master = Server::start(&[]).await;
    let sentinels = Sentinels::watch(&master, 1).await;
    let master = Some("parvis".to_owned());
    let config = Config { topology: Topology::Sentinel, master, ..config(sentinels.urls()) };
    carries(&Link::open(&config).await.expect("connects")).await;
}

#[tokio::test]
async fn a_cluster_answers_in_order() {
    let cluster = Cluster::start(3, &[]).await;
    let config = Config { topology: Topology::Cluster, ..config(vec![cluster.nodes[1].url()]) };
    let link = Link::open(&config).await.expect("connects");
    carries(&link).await;
    let masters = link.ask_masters(&[redis::cmd("DBSIZE")]).await.expect("answers");
    let mut ports: Vec<u16> = masters.iter().map(|(address, _)| address.port).collect();
    ports.sort_unstable();
    let mut started: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    started.sort_unstable();
    assert_eq!(ports, started);
    let keys: i64 = masters.into_iter().map(|(_, mut answers)| number(answers.remove(0))).sum();
    assert_eq!(keys, 60);
}

#[tokio::test]
async fn one_refusal_leaves_the_rest_of_a_batch_alone() {
    static BROKEN: Script = Script::new("return redis.call('INCR', KEYS[1])");
    let server = Server::start(&[]).await;
    let link = crate::connect(&server).await;
    server.ask(&["SET", "word", "x"]).await;
    assert_eq!(number(send_one(&link, add("a", 1, "r")).await), 1);
    let answers = link.send(&[add("a", 1, "r"), Call::script(&BROKEN, &["word"]), sum("a")]).await;
    let [first, broken, last] = <[_; 3]>::try_from(answers).expect("three answers");
    assert_eq!((number(first), number(last)), (1, 1));
    assert!(crate::refused(broken).contains("not an integer"));
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_corruption() {
    let server = Server::start(&[]).await;
    let link = crate::connect(&server).await;
    server.ask(&["LPUSH", "list", "x"]).await;
    let answer = send_one(&link, Call::command("GET", "list")).await;
    assert!(matches!(answer, Err(parvis::store::Error::Corrupt(_))), "{answer:?}");
}

#[tokio::test]
async fn databases_are_apart() {
    let server = Server::start(&[]).await;
    let other = Link::open(&Config { database: 3, ..config(vec![server.url()]) }).await.expect("connects");
    assert_eq!(number(send_one(&other, add("a", 1, "r")).await), 1);
    assert_eq!(server.tell(&["DBSIZE"]).await, "0");
}
