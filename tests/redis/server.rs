//! Real Redis servers as child processes on free loopback ports: one, a replica of another, sentinels, a cluster.
//!
//! Stands alone, so that any test binary can include it. Whoever drives a server does so over a socket in its folder, as
//! the user `rig` who may do everything; so it is this server that answers, whatever else listens on its port.

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use parvis::clock::Clock;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, Value, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// The longest wait for anything; only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(80);

/// A server, running or not. What it keeps survives its end, and its port stays the same.
pub(crate) struct Server {
    pub(crate) port: u16,
    program: &'static str,
    folder: TempDir,
    process: Option<Child>,
}

impl Server {
    /// A running server that keeps nothing unless these lines of its configuration say so.
    pub(crate) async fn start(lines: &[&str]) -> Server {
        Server::start_with(|_| lines.iter().map(|line| (*line).to_owned()).collect()).await
    }

    /// A running server whose configuration names files of its folder.
    pub(crate) async fn start_with(lines: impl Fn(&Path) -> Vec<String>) -> Server {
        Server::launch("redis-server", lines).await
    }

    /// A running replica of a server, in step with it.
    pub(crate) async fn replica_of(master: &Server, lines: &[&str]) -> Server {
        let line = format!("replicaof 127.0.0.1 {}", master.port);
        let replica = Server::start(&[&[line.as_str()], lines].concat()).await;
        replica.in_step_with(master).await;
        replica
    }

    /// A process that listens on another port if the first one turns out to be taken.
    async fn launch(program: &'static str, lines: impl Fn(&Path) -> Vec<String>) -> Server {
        for _ in 0..20 {
            let mut server = Server { port: free_port(), program, folder: folder(), process: None };
            server.configure(&lines(server.folder.path()));
            if server.try_boot().await {
                return server;
            }
        }
        panic!("no free port on loopback")
    }

    fn configure(&self, lines: &[String]) {
        let (port, place) = (self.port, self.folder.path().display());
        let mut text = format!(
            "bind 127.0.0.1\ndir {place}\nunixsocket {}\nlogfile {place}/log\nuser rig on nopass ~* &* +@all\n",
            self.socket().display()
        );
        // With TLS lines the plain port is off.
        if !lines.iter().any(|line| line.starts_with("tls-port")) {
            let _ = writeln!(text, "port {port}");
        }
        if self.program == "redis-server" {
            text += "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nmasteruser rig\nmasterauth rig\n";
        }
        for line in lines {
            let _ = writeln!(text, "{}", line.replace("%port%", &port.to_string()));
        }
        fs::write(self.config(), text).expect("the folder is writable");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("conf")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again, on its data and its port.
    pub(crate) async fn boot(&mut self) {
        assert!(self.try_boot().await, "the server ended: {}", self.log());
    }

    /// Whether it came up and listens.
    async fn try_boot(&mut self) -> bool {
        assert!(self.process.is_none(), "it runs");
        let _ = fs::remove_file(self.socket());
        let mut command = Command::new(self.program);
        command.arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("redis-server and redis-sentinel are installed: scripts/setup does it");
        let up = until("a server to listen", async || {
            if child.try_wait().expect("it is ours").is_some() {
                return Some(false);
            }
            self.connect().await.is_some().then_some(true)
        });
        let up = up.await;
        if up {
            self.process = Some(child);
        } else {
            assert!(self.log().contains("bind"), "the server ended: {}", self.log());
        }
        up
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it as a power cut of its process would.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().await.expect("it is ours");
    }

    /// Asks it to end; it saves what it is configured to save.
    pub(crate) async fn stop(&mut self) {
        let mut child = self.process.take().expect("it runs");
        signal(&child, "TERM").await;
        timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it is ours");
    }

    /// It stays there and says nothing, until [`Server::thaw`].
    pub(crate) async fn freeze(&self) {
        signal(self.process.as_ref().expect("it runs"), "STOP").await;
    }

    pub(crate) async fn thaw(&self) {
        signal(self.process.as_ref().expect("it runs"), "CONT").await;
    }

    /// A connection that passes by its port.
    async fn connect(&self) -> Option<MultiplexedConnection> {
        let settings = RedisConnectionInfo::default().set_username("rig").set_password("rig");
        let info = ConnectionAddr::Unix(self.socket()).into_connection_info().expect("an address");
        let client = redis::Client::open(info.set_redis_settings(settings)).expect("a client");
        let options = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&options).await.ok()
    }

    /// Asks it; errors are answers too.
    pub(crate) async fn try_ask(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let mut connection = self.connect().await.expect("it listens");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query_async(&mut connection).await
    }

    /// Asks it for what it can't refuse.
    pub(crate) async fn ask(&self, words: &[&str]) -> Value {
        self.try_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Asks it for a text.
    pub(crate) async fn tell(&self, words: &[&str]) -> String {
        redis::from_redis_value(self.ask(words).await).expect("a text")
    }

    /// Waits until it follows a master and the master knows it.
    async fn in_step_with(&self, master: &Server) {
        self.wait_for("replication", "master_link_status:up").await;
        let known = format!("port={},state=online", self.port);
        until("a replica to be in step", async || {
            master.tell(&["INFO", "replication"]).await.contains(&known).then_some(())
        })
        .await;
    }

    /// Waits until a section of INFO has this line.
    pub(crate) async fn wait_for(&self, section: &str, line: &str) {
        until(line, async || self.tell(&["INFO", section]).await.lines().any(|it| it == line).then_some(())).await;
    }
}

/// Sentinels that watch a master named `parvis`, and fail it over as soon as it is away for a moment.
pub(crate) struct Sentinels(pub(crate) Vec<Server>);

impl Sentinels {
    pub(crate) async fn watch(master: &Server, count: usize) -> Sentinels {
        let quorum = count / 2 + 1;
        let mut sentinels = Vec::new();
        for _ in 0..count {
            let lines = vec![
                format!("sentinel monitor parvis 127.0.0.1 {} {quorum}", master.port),
                "sentinel down-after-milliseconds parvis 500".to_owned(),
                "sentinel failover-timeout parvis 2000".to_owned(),
                "sentinel auth-user parvis rig".to_owned(),
                "sentinel auth-pass parvis rig".to_owned(),
            ];
            sentinels.push(Server::launch("redis-sentinel", |_| lines.clone()).await);
        }
        let sentinels = Sentinels(sentinels);
        sentinels.know("num-other-sentinels", count - 1).await;
        sentinels
    }

    /// Waits until every sentinel knows so many replicas.
    pub(crate) async fn know_replicas(&self, count: usize) {
        self.know("num-slaves", count).await;
    }

    async fn know(&self, what: &str, count: usize) {
        for sentinel in &self.0 {
            until(what, async || {
                let told = sentinel.ask(&["SENTINEL", "MASTER", "parvis"]).await;
                let told: std::collections::BTreeMap<String, String> = redis::from_redis_value(told).ok()?;
                (told.get(what)? == &count.to_string()).then_some(())
            })
            .await;
        }
    }

    /// The port of the master, as the first sentinel sees it.
    pub(crate) async fn master(&self) -> u16 {
        let told = self.0[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "parvis"]).await;
        let (_, port): (String, u16) = redis::from_redis_value(told).expect("an address");
        port
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.0.iter().map(Server::url).collect()
    }
}

/// The slots of a cluster.
const SLOTS: u16 = 16_384;

/// A cluster: masters that share the slots, then as many replicas, the first of the first and so on.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    pub(crate) masters: usize,
}

impl Cluster {
    /// Masters without replicas.
    pub(crate) async fn start(masters: usize, lines: &[&str]) -> Cluster {
        Cluster::build(masters, 0, lines).await
    }

    /// Masters with a replica each.
    pub(crate) async fn with_replicas(masters: usize, lines: &[&str]) -> Cluster {
        Cluster::build(masters, masters, lines).await
    }

    async fn build(masters: usize, replicas: usize, lines: &[&str]) -> Cluster {
        let mut nodes: Vec<Server> = Vec::new();
        for number in 0..masters + replicas {
            let bus = free_port();
            let node = Server::start_with(|_| {
                let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                all.push("cluster-enabled yes".to_owned());
                all.push("cluster-node-timeout 1500".to_owned());
                all.push("cluster-replica-validity-factor 0".to_owned());
                all.push(format!("cluster-port {bus}"));
                all
            })
            .await;
            // Who claims the same slot is told apart by the epoch.
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            if let Some(first) = nodes.first() {
                let (port, bus) = (first.port.to_string(), first.bus().await);
                node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
            nodes.push(node);
        }
        let cluster = Cluster { nodes, masters };
        cluster.share_slots().await;
        for number in 0..replicas {
            cluster.follow(masters + number, number).await;
        }
        cluster.settle().await;
        cluster
    }

    async fn share_slots(&self) {
        let share = SLOTS / u16::try_from(self.masters).expect("a few") + 1;
        for (node, first) in self.nodes.iter().zip((0..SLOTS).step_by(share.into())) {
            let last = (first + share).min(SLOTS) - 1;
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
    }

    async fn follow(&self, replica: usize, master: usize) {
        let id = self.id(master).await;
        until("the replica to know its master", async || {
            self.nodes[replica].try_ask(&["CLUSTER", "REPLICATE", &id]).await.ok()
        })
        .await;
        self.nodes[replica].in_step_with(&self.nodes[master]).await;
    }

    /// Waits until all nodes know each other and all slots are served.
    pub(crate) async fn settle(&self) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            until("the cluster to form", async || {
                let told = node.tell(&["CLUSTER", "INFO"]).await;
                let known = format!("cluster_known_nodes:{}", self.nodes.len());
                let has = |line: &str| told.lines().any(|it| it == line);
                (has("cluster_state:ok") && has(&known) && has("cluster_slots_ok:16384")).then_some(())
            })
            .await;
        }
        // A replica that others don't know yet would not be elected.
        let replicas = self.nodes.len() - self.masters;
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            until("all nodes to know the replicas", async || {
                let told = node.tell(&["CLUSTER", "NODES"]).await;
                (told.lines().filter(|line| line.contains("slave")).count() == replicas).then_some(())
            })
            .await;
        }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    pub(crate) async fn id(&self, node: usize) -> String {
        self.nodes[node].tell(&["CLUSTER", "MYID"]).await
    }

    /// Which of the nodes serves a slot, by what the first running one says.
    pub(crate) async fn owner(&self, slot: u16) -> usize {
        let witness = self.nodes.iter().find(|node| node.process.is_some()).expect("one runs");
        until("the slot to have a master", async || {
            let told = witness.ask(&["CLUSTER", "SLOTS"]).await;
            let Value::Array(ranges) = told else { return None };
            let port = ranges.iter().find_map(|range| {
                let Value::Array(parts) = range else { return None };
                let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
                    return None;
                };
                let Some(Value::Int(port)) = master.get(1) else { return None };
                (*first..=*last).contains(&i64::from(slot)).then_some(*port)
            })?;
            self.nodes.iter().position(|node| i64::from(node.port) == port)
        })
        .await
    }

    /// Begins to move a slot: from now on keys that are not there any more are asked for at the new owner.
    pub(crate) async fn begin_move(&self, slot: u16, to: usize) -> usize {
        let from = self.owner(slot).await;
        let (source, target) = (self.id(from).await, self.id(to).await);
        let slot = slot.to_string();
        self.nodes[to].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]).await;
        self.nodes[from].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]).await;
        from
    }

    /// Moves up to so many keys of a slot that is being moved; false if there was none left.
    pub(crate) async fn move_keys(&self, slot: u16, from: usize, to: usize, count: usize) -> bool {
        let told = self.nodes[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &count.to_string()]).await;
        let keys: Vec<String> = redis::from_redis_value(told).expect("keys");
        if keys.is_empty() {
            return false;
        }
        let port = self.nodes[to].port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "10000", "AUTH2", "rig", "rig", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        self.nodes[from].ask(&words).await;
        true
    }

    /// Ends a move: the slot has its new owner.
    pub(crate) async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let target = self.id(to).await;
        for node in [to, from] {
            self.nodes[node].ask(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target]).await;
        }
    }
}

impl Server {
    async fn bus(&self) -> String {
        let told: (String, String) =
            redis::from_redis_value(self.ask(&["CONFIG", "GET", "cluster-port"]).await).expect("a setting");
        told.1
    }
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), id.as_str()]).status().await.expect("kill is there");
    assert!(sent.success());
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A port below those that connections take for themselves, so that it is still free after a restart. Tests run in
/// processes of their own, so each begins to look somewhere else.
fn free_port() -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let process = std::process::id().wrapping_mul(61) % 20_000;
    (0..20_000_u32)
        .map(|_| u32::from(TURN.fetch_add(1, Ordering::Relaxed)))
        .map(|turn| 11_000 + u16::try_from((process + turn) % 20_000).expect("small"))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port on loopback")
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            Clock::System.sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
