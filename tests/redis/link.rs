//! What every kind of link does.

use parvis::store::redis::{Call, Config, Link, Script, Topology};
use redis::Value;

use crate::server::{Cluster, Sentinels, Server};

/// Adds a number to a key once for each request's id, and gives the sum.
pub(crate) static ADD: Script = Script::new(
    "if redis.call('SADD', KEYS[2], ARGV[2]) == 1 then redis.call('INCRBY', KEYS[1], ARGV[1]) end\n\
     return tonumber(redis.call('GET', KEYS[1]))",
);

pub(crate) fn add(tag: &str, number: u32, request: &str) -> Call {
    Call::script(&ADD, &[format!("{{{tag}}}:sum"), format!("{{{tag}}}:seen")]).arg(number).arg(request).durable()
}

fn sums(answers: Vec<Result<Value, parvis::store::Error>>) -> Vec<i64> {
    answers.into_iter().map(|it| redis::from_redis_value(it.expect("an answer")).expect("a number")).collect()
}

async fn carries(link: &Link) {
    let calls: Vec<Call> = (0..100).map(|n| add(&format!("shop-{}", n % 20), 1, &format!("r-{n}"))).collect();
    let first = sums(link.send(&calls).await);
    assert_eq!(first.iter().filter(|&&sum| sum == 5).count(), 20, "{first:?}");
    assert_eq!(sums(link.send(&calls).await), [5; 100]);
    let read: Vec<Call> = (0..20).map(|n| Call::command("GET", format!("{{shop-{n}}}:sum"))).collect();
    assert_eq!(sums(link.send(&read).await), [5; 20]);
}

#[tokio::test]
async fn one_server_answers_in_order() {
    let server = Server::start(&[]).await;
    let link = Link::open(&Config { urls: vec![server.url()], ..Config::default() }).await.expect("connects");
    carries(&link).await;
}

#[tokio::test]
async fn a_master_that_sentinels_watch_answers_in_order() {
    let master = Server::start(&[]).await;
    let sentinels = Sentinels::watch(&master, 1).await;
    let config = Config {
        urls: sentinels.urls(),
        topology: Topology::Sentinel,
        master: Some("parvis".to_owned()),
        ..Config::default()
    };
    carries(&Link::open(&config).await.expect("connects")).await;
}

#[tokio::test]
async fn a_cluster_answers_in_order() {
    let cluster = Cluster::start(3, &[]).await;
    let config = Config { urls: cluster.urls(), topology: Topology::Cluster, ..Config::default() };
    let link = Link::open(&config).await.expect("connects");
    carries(&link).await;
    let masters = link.ask_masters(&[redis::cmd("DBSIZE")]).await.expect("answers");
    assert_eq!(masters.len(), 3);
}
