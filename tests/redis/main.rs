//! The link to real servers: what it carries, what it tells when they fail, and what they promise about a crash.

mod cluster;
mod durability;
mod faults;
mod link;
mod security;
mod sentinel;
#[allow(dead_code, reason = "other test binaries include it and need more of it")]
mod server;

use std::time::Duration;

use parvis::store::{
    Error,
    redis::{Call, Config, Link, Script},
};
use redis::Value;

use server::{Server, until};

/// Adds a number to a key once for each request's id, and gives the sum. It writes something in any case.
pub(crate) static ADD: Script = Script::new(
    "if redis.call('SADD', KEYS[2], ARGV[2]) == 1 then redis.call('INCRBY', KEYS[1], ARGV[1]) end\n\
     redis.call('INCR', KEYS[3])\n\
     return tonumber(redis.call('GET', KEYS[1]))",
);

pub(crate) fn add(tag: &str, number: u32, request: &str) -> Call {
    let keys = ["sum", "seen", "calls"].map(|what| format!("parvis:{{{tag}}}:{what}"));
    Call::script(&ADD, &keys).arg(number).arg(request).durable()
}

pub(crate) fn sum(tag: &str) -> Call {
    Call::command("GET", format!("parvis:{{{tag}}}:sum"))
}

/// A configuration that comes back soon, and gives up only where nothing will ever come.
pub(crate) fn config(urls: Vec<String>) -> Config {
    Config {
        urls,
        response_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        replicas_wait: Duration::from_secs(2),
        ..Config::default()
    }
}

/// A configuration for servers that stand still.
pub(crate) fn hasty(urls: Vec<String>) -> Config {
    let soon = Duration::from_millis(500);
    Config { response_timeout: soon, connect_timeout: soon, replicas_wait: soon / 2, ..config(urls) }
}

/// Opens all connections.
pub(crate) async fn warm(link: &Link) {
    for _ in 0..2 * link.config().connections {
        persist(link, &Call::command("INCR", "parvis:warm")).await;
    }
}

pub(crate) async fn connect(server: &Server) -> Link {
    Link::open(&config(vec![server.url()])).await.expect("connects")
}

pub(crate) fn number(answer: Result<Value, Error>) -> i64 {
    redis::from_redis_value(answer.expect("an answer")).expect("a number")
}

pub(crate) async fn send_one(link: &Link, call: Call) -> Result<Value, Error> {
    link.send(&[call]).await.pop().expect("an answer for a call")
}

/// The sentence of a failure, which must say that it may pass.
pub(crate) fn refused(answer: Result<Value, Error>) -> String {
    match answer {
        Err(Error::Unavailable(why)) => why,
        other => panic!("expected a refusal that may pass, got {other:?}"),
    }
}

/// Sends a call again and again until it is done; every failure must be one that may pass.
pub(crate) async fn persist(link: &Link, call: &Call) -> i64 {
    until("a call to be done", async || match send_one(link, call.clone()).await {
        Ok(value) => Some(number(Ok(value))),
        Err(Error::Unavailable(_)) => None,
        Err(Error::Corrupt(why)) => panic!("{why}"),
    })
    .await
}
