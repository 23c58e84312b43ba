//! Shards of one and of two nodes over one Redis, beside Redis alone.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use parvis::{clock::Clock, config::Source, store::Store};
use redis::{Client, Connection};
use tokio::runtime::Runtime;

use crate::{
    Scale,
    city::{Phone, Walk, crowd, node_folder, register},
    node::Node,
    rate::{Rate, median, rate},
    shards::askers,
};

/// Commands that bare Redis gets at once: as many changes as a shard commits at most.
const PIPELINED: usize = 512;

/// A server with a log, in a folder of its own.
pub(crate) struct Server {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `fsync` is `everysec` or `always`.
    pub(crate) fn start(fsync: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port").port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", fsync, "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("scripts/setup installs redis-server");
        let server = Server { process, port, _folder: folder };
        while server.connect().is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// What a node's configuration says of it.
    pub(crate) fn section(&self) -> String {
        format!("[store]\nkind = \"redis\"\n[store.redis]\nurls = [\"{}\"]\n", self.url())
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> redis::RedisResult<Connection> {
        Client::open(self.url())?.get_connection()
    }

    /// Commands that changed something so far, by those who were asked for them.
    fn changes(&self) -> u64 {
        self.told("persistence", "rdb_changes_since_last_save") as u64
    }

    /// Processor time so far.
    pub(crate) fn processor_us(&self) -> f64 {
        (self.told("cpu", "used_cpu_user") + self.told("cpu", "used_cpu_sys")) * 1e6
    }

    /// One number of what the server says of itself.
    fn told(&self, section: &str, name: &str) -> f64 {
        let info: String =
            redis::cmd("INFO").arg(section).query(&mut self.connect().expect("connects")).expect("tells");
        let number = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        number.and_then(|number| number.trim().parse().ok()).expect("Redis counts this")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn part(scale: &Scale) {
    for fsync in ["everysec", "always"] {
        println!(
            "\n| over Redis, appendfsync {fsync}, askers at once | {} | {} | {} | changes in Redis a ping |",
            scale.askers[0], scale.askers[1], scale.askers[2]
        );
        println!("|---|---:|---:|---:|---:|");
        for nodes in [1, 2] {
            let server = Server::start(fsync);
            Runtime::new().expect("a runtime").block_on(rows(scale, &server, nodes));
        }
        let bare = bare(scale, &Server::start(fsync));
        println!("| Redis alone, SET and ZADD of the same bytes, {PIPELINED} at once | | | {bare:.0}/s | 2 |");
    }
}

async fn rows(scale: &Scale, server: &Server, count: usize) {
    let folder = node_folder(scale.fences[1], None);
    let (stores, nodes) = nodes(folder.path(), server, count).await;
    register(&*stores[0], 0..scale.phones).await;
    for (walk, what) in Walk::ALL {
        let mut crowd = crowd(scale.phones, walk);
        let (mut cells, mut pings, before) = (Vec::new(), 0.0, server.changes());
        for count in scale.askers {
            let mut askers = askers(&nodes, crowd, count);
            let begun = Instant::now();
            let Rate { pings_per_s, cpu_us_per_ping, .. } = rate(&mut askers, scale).await;
            pings += pings_per_s * begun.elapsed().as_secs_f64();
            crowd = askers.into_iter().flat_map(|asker| asker.phones).collect();
            cells.push(format!("{pings_per_s:.0}/s, {cpu_us_per_ping:.1} µs"));
        }
        let changes = (server.changes() - before) as f64 / pings;
        let name = if count == 1 { "one node" } else { "two nodes" };
        println!("| {name}, {what} | {} | {changes:.1} |", cells.join(" | "));
    }
    drop(nodes);
    for store in stores {
        store.close().await.expect("closes");
    }
}

/// So many nodes over this server, and each one's link to it.
pub(crate) async fn nodes(folder: &Path, server: &Server, count: usize) -> (Vec<Arc<dyn Store>>, Vec<Node>) {
    let config = folder.join("parvis.toml");
    let listen = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, format!("{listen}{}", server.section())).expect("writes");
    let config = parvis::config::load(&Source::new(folder)).expect("a configuration");
    let (mut stores, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let store = parvis::store::open(config.store.below(folder)).await.expect("opens");
        nodes.push(Node::start(folder, store.clone(), Clock::System).await);
        stores.push(store);
    }
    (stores, nodes)
}

/// Changes a second that Redis alone takes: a shopper and a transition each.
fn bare(scale: &Scale, server: &Server) -> f64 {
    let shopper = rmp_serde::to_vec_named(&Phone::new(1, Walk::Border).shopper()).expect("encodes");
    let row = [7_u8; 420];
    let mut connection = server.connect().expect("connects");
    let mut member = 0_u64;
    let rounds = (0..scale.rounds).map(|_| {
        let (begun, mut written) = (Instant::now(), 0);
        while written == 0 || begun.elapsed() < scale.span {
            let mut pipe = redis::pipe();
            for _ in 0..PIPELINED {
                member += 1;
                let number = member as usize % scale.phones;
                let row = [&member.to_be_bytes()[..], &row].concat();
                pipe.cmd("SET").arg(format!("s:{number}")).arg(&shopper).ignore();
                pipe.cmd("ZADD").arg(format!("j:{number}")).arg(member).arg(row).ignore();
            }
            pipe.query::<()>(&mut connection).expect("takes them");
            written += PIPELINED;
        }
        written as f64 / begun.elapsed().as_secs_f64()
    });
    median(rounds.collect())
}
