//! Daemons that work on one store, each a process that can be killed and started again.

use std::env;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    rig::{Caller, Daemon, Reply, Rig, until},
    server::{Cluster, Server},
};

/// Attempts of one channel that may be under way on one node.
pub(crate) const WINDOW: usize = 16;

/// Messages that may be under way on one node, and so the most that one death of a node can repeat.
pub(crate) const UNDER_WAY: usize = 3 * WINDOW;

/// Patience that a test can wait for: a lease outlives the deadlines of a send, and no more.
const SETTINGS: [(&str, &str); 8] = [
    ("delivery.deadline", "4s"),
    ("lanes.window", "16"),
    ("lanes.lease", "5s"),
    ("store.kind", "redis"),
    ("store.redis.connect_timeout", "1s"),
    ("store.redis.response_timeout", "2s"),
    ("store.redis.backoff_max", "200ms"),
    ("shards.count", "4"),
];

/// What is set for one node.
pub(crate) type Settings = Vec<(String, String)>;

/// Who can be called now, by node.
pub(crate) type Callers = Vec<Option<Caller>>;

/// The nodes, and the providers that they send to.
pub(crate) struct Nodes {
    /// Its daemon is the first node.
    pub(crate) rig: Rig,
    pub(crate) callers: watch::Sender<Callers>,
    others: Vec<Option<Daemon>>,
    own: Vec<Settings>,
    common: Settings,
}

impl Nodes {
    /// Running nodes with these settings, and each with its own.
    pub(crate) async fn start(own: Vec<Settings>, settings: &[(&str, &str)]) -> Nodes {
        let rig = Rig::prepare(&[], &[&SETTINGS, settings].concat()).await;
        let common = rig.settings.clone();
        let callers = watch::Sender::new(vec![None; own.len()]);
        let others = (1..own.len()).map(|_| None).collect();
        let mut nodes = Nodes { rig, callers, others, own, common };
        for node in 0..nodes.count() {
            nodes.boot(node).await;
        }
        nodes
    }

    pub(crate) fn count(&self) -> usize {
        self.own.len()
    }

    /// Starts a node and waits until it listens.
    pub(crate) async fn boot(&mut self, node: usize) {
        let name = ("node.name".to_owned(), format!("node-{node}"));
        self.rig.settings = self.common.iter().chain(&self.own[node]).cloned().chain([name]).collect();
        self.swap(node);
        self.rig.boot().await;
        let caller = self.rig.caller();
        self.swap(node);
        self.callers.send_modify(|callers| callers[node] = Some(caller));
    }

    /// Kills a node as a power cut would.
    pub(crate) async fn kill(&mut self, node: usize) {
        self.callers.send_modify(|callers| callers[node] = None);
        self.swap(node);
        self.rig.kill().await;
        self.swap(node);
    }

    /// Asks a node to stop, and insists on a good end.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.callers.send_modify(|callers| callers[node] = None);
        self.swap(node);
        self.rig.stop().await;
        self.swap(node);
    }

    /// Stops all of them.
    pub(crate) async fn end(mut self) {
        for node in 0..self.count() {
            self.stop(node).await;
        }
    }

    pub(crate) fn caller(&self, node: usize) -> Caller {
        self.callers.borrow()[node].clone().expect("it runs")
    }

    pub(crate) async fn call(&self, node: usize, method: Method, path: &str, body: &Value) -> Reply {
        self.caller(node).call(method, path, body).await.expect("the node answers")
    }

    /// Sends JSON to a node until it is taken; on a machine that is short of breath a server may time out.
    pub(crate) async fn must(&self, node: usize, method: Method, path: &str, body: &Value) -> Value {
        until(&format!("{method} {path}"), async || {
            let reply = self.call(node, method.clone(), path, body).await;
            let later = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&reply.status);
            assert!(later || reply.status.is_success(), "{method} {path}: {} {:?}", reply.status, reply.body);
            reply.status.is_success().then(|| reply.json())
        })
        .await
    }

    /// Waits until a node shows an object, and gives it.
    pub(crate) async fn shown(&self, node: usize, path: &str) -> Value {
        until(&format!("{path} on node {node}"), async || {
            let reply = self.call(node, Method::GET, path, &Value::Null).await;
            reply.status.is_success().then(|| reply.json())
        })
        .await
    }

    fn swap(&mut self, node: usize) {
        if let Some(other) = node.checked_sub(1) {
            std::mem::swap(&mut self.rig.daemon, &mut self.others[other]);
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in 0..self.count() {
            self.swap(node);
            let log = self.rig.log();
            self.swap(node);
            let news = log.iter().filter(|line| !line.contains(r#""level":"INFO""#));
            let last: Vec<&String> = news.rev().take(15).collect();
            last.iter().rev().for_each(|line| eprintln!("node {node}: {line}"));
        }
    }
}

/// Settings for so many nodes on one server.
pub(crate) fn on_server(server: &Server, count: usize) -> Vec<Settings> {
    vec![vec![("store.redis.urls".to_owned(), format!("[{:?}]", server.url()))]; count]
}

/// Settings for so many nodes on a cluster.
pub(crate) fn on_cluster(cluster: &Cluster, count: usize) -> Vec<Settings> {
    let urls = ("store.redis.urls".to_owned(), format!("{:?}", cluster.urls()));
    vec![vec![urls, ("store.redis.topology".to_owned(), "cluster".to_owned())]; count]
}

/// How many rounds are played, of so many in a short run.
pub(crate) fn rounds(short: usize) -> usize {
    let times = env::var("PARVIS_NODES_ROUNDS").ok().map_or(1, |text| text.parse().expect("a number of rounds"));
    short * times
}
