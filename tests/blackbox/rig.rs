//! A folder with a configuration, providers, and the daemon as a child process that can be killed and started again.

use std::{
    fs,
    path::Path,
    process::{ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use parvis::{
    clock::Clock,
    sandbox::{Options, Received, Sandbox},
};
use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use crate::caller::{self, Connections};
pub(crate) use crate::{
    caller::{Caller, Followed, Reply},
    life::{carried, id, milestones, names, rows, tally, terminal},
};

/// The longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The app that targets at Apple's service belong to.
pub(crate) const TOPIC: &str = "com.example.shop";

/// Where everything happens.
pub(crate) const SHOP: (f64, f64) = (48.8706, 2.3319);

/// What every daemon is started with: patience that a test can wait for.
const SETTINGS: [(&str, &str); 10] = [
    ("http.listen", "127.0.0.1:0"),
    ("lanes.patience.attempts_max", "1000"),
    ("lanes.patience.backoff_min", "100ms"),
    ("lanes.patience.backoff_max", "500ms"),
    ("lanes.breaker.open_min", "100ms"),
    ("lanes.breaker.open_max", "500ms"),
    ("lanes.retries.per_minute_min", "1000000"),
    ("delivery.request_timeout", "2s"),
    ("delivery.connect_timeout", "2s"),
    ("delivery.apns.server_error_wait", "0s"),
];

/// A configured daemon, running or not, and the providers that it sends to.
pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) key: String,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) daemon: Option<Daemon>,
    /// Whether writing past a limit on the size of files fails, instead of ending the process.
    pub(crate) outlives_limits: bool,
    connections: Connections,
}

/// The daemon's process.
pub(crate) struct Daemon {
    pub(crate) address: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    _reader: JoinSet<()>,
}

impl Rig {
    /// A running daemon with an empty catalog.
    pub(crate) async fn start() -> Rig {
        Rig::start_with(&[], &[]).await
    }

    /// A running daemon with these files and settings.
    pub(crate) async fn start_with(files: &[(&str, &str)], settings: &[(&str, &str)]) -> Rig {
        let mut rig = Rig::prepare(files, settings).await;
        rig.boot().await;
        rig
    }

    /// Everything but the daemon.
    pub(crate) async fn prepare(files: &[(&str, &str)], settings: &[(&str, &str)]) -> Rig {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Every start signs a token of its own for Apple's service, which would soon have enough of them.
        let options = Options { apns_token_changes: 100, ..Options::default() };
        let sandbox = Sandbox::start(options).await.expect("free ports on loopback");
        let credentials = sandbox.write_credentials(folder.path()).expect("the folder is writable");
        fs::rename(credentials.fragment, folder.path().join("parvis.toml")).expect("the folder is writable");
        for (name, content) in files {
            fs::write(folder.path().join(name), content).expect("the folder is writable");
        }
        let settings = SETTINGS.iter().chain(settings).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let key = new_key(folder.path(), "tests", "admin").await;
        let connections = caller::connections();
        Rig { folder, sandbox, key, settings: settings.collect(), daemon: None, outlives_limits: false, connections }
    }

    /// Starts the daemon and waits until it listens.
    pub(crate) async fn boot(&mut self) {
        let mut child = self.serve();
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut reader = JoinSet::new();
        reader.spawn(read_log(lines, log.clone()));
        let address = until("the daemon to listen", async || {
            let ended = child.try_wait().expect("it is ours");
            let lines = log.lock().expect("not poisoned");
            assert!(ended.is_none(), "the daemon ended: {ended:?} {lines:?}");
            lines.iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line["fields"]["http.address"].as_str().map(str::to_owned)
            })
        })
        .await;
        self.daemon = Some(Daemon { address, child, log, _reader: reader });
    }

    /// Starts another daemon on the same folder and gives what it said at its end.
    pub(crate) async fn serve_in_vain(&self) -> Output {
        let child = self.serve();
        timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("it ran")
    }

    fn serve(&self) -> Child {
        let mut command = if self.outlives_limits {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_parvis"), "serve"]);
            shell.stdin(Stdio::null());
            shell
        } else {
            parvis(&["serve"])
        };
        command.arg("--config").arg(self.folder.path());
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.stderr(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("the binary runs")
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// A key with which a scanner speaks for itself; the daemon knows it soon.
    pub(crate) async fn new_scanner_key(&self, scanner: &str) -> String {
        let key = new_bound_key(self.folder.path(), scanner, "ingest", &["--scanner", scanner]).await;
        self.signal("HUP").await;
        key
    }

    /// Kills the daemon as a power cut would.
    pub(crate) async fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.child.kill().await.expect("it is ours");
    }

    /// The daemon's process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.daemon.as_ref().and_then(|daemon| daemon.child.id()).expect("it runs")
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.process_id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await.expect("a shell");
        assert!(sent.success());
    }

    /// Waits until the daemon has ended; gives how, and its log.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, Vec<String>) {
        let mut daemon = self.daemon.take().expect("it runs");
        let status = timeout(PATIENCE, daemon.child.wait()).await.expect("it ends").expect("it is ours");
        while daemon._reader.join_next().await.is_some() {}
        let log = daemon.log.lock().expect("not poisoned").clone();
        (status, log)
    }

    /// Asks the daemon to stop, and insists on a good end.
    pub(crate) async fn stop(&mut self) {
        self.signal("TERM").await;
        let (status, log) = self.ended().await;
        assert!(status.success(), "{status}: {log:?}");
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.daemon.as_ref().map(|daemon| daemon.log.lock().expect("not poisoned").clone()).unwrap_or_default()
    }

    pub(crate) fn address(&self) -> &str {
        &self.daemon.as_ref().expect("it runs").address
    }

    /// A caller of the daemon that is running now.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.connections.clone(), format!("http://{}", self.address()), self.key.clone())
    }

    /// Sends JSON (nothing for `null`) and gives what came back.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Reply {
        self.caller().call(method, path, body).await.expect("the daemon answers")
    }

    /// Sends JSON and insists on success.
    pub(crate) async fn must(&self, method: Method, path: &str, body: &Value) -> Value {
        let reply = self.call(method.clone(), path, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {} {:?}", reply.status, reply.body);
        reply.json()
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        self.must(Method::PUT, path, &body).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.must(Method::POST, path, &body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.must(Method::GET, path, &Value::Null).await
    }

    /// The shop as a circle of 100 m.
    pub(crate) async fn put_shop(&self, properties: Value) {
        self.put("/v1/geofences/shop", circle(SHOP, 100.0, properties)).await;
    }

    /// A shopper who allowed everything, with one device.
    pub(crate) async fn put_guest(&self, shopper: &str, device: &str, target: Value) {
        self.put(&format!("/v1/shoppers/{shopper}"), profile("en-GB")).await;
        let body = json!({ "shopper": shopper, "platform": "ios", "target": target });
        self.put(&format!("/v1/devices/{device}"), body).await;
    }

    pub(crate) fn apns(&self) -> Value {
        let token = self.sandbox.register_apns(TOPIC, ApnsEnvironment::Production);
        json!({ "channel": "apns", "token": token, "topic": TOPIC })
    }

    pub(crate) fn fcm(&self) -> Value {
        json!({ "channel": "fcm", "token": self.sandbox.register_fcm() })
    }

    pub(crate) fn webpush(&self) -> Value {
        json!({ "channel": "webpush", "subscription": self.sandbox.register_webpush() })
    }

    /// Reports one fix and insists that it is taken; gives the transitions as `kind region`.
    pub(crate) async fn ping(&self, device: &str, at: Timestamp, place: (f64, f64)) -> Vec<String> {
        let answer = self.post("/v1/observations", report(device, at, place)).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
        names(&answer["transitions"])
    }

    /// A person's notifications with their milestones.
    pub(crate) async fn lives(&self, shopper: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/notifications?shopper={shopper}&limit=1000")).await;
        page["items"].as_array().expect("a list").clone()
    }

    /// Waits until every one of a person's notifications has come to its end, and there are so many.
    pub(crate) async fn ended_lives(&self, shopper: &str, count: usize) -> Vec<Value> {
        let mut last = Vec::new();
        let ended = try_until(async || {
            last = self.lives(shopper).await;
            (last.len() == count && last.iter().all(|life| terminal(life).len() == 1)).then(|| last.clone())
        });
        let ended = ended.await;
        ended.unwrap_or_else(|| {
            let open: Vec<_> = last.iter().filter(|life| terminal(life).len() != 1).collect();
            panic!("of {count} notifications of {shopper} there are {}, not ended {open:?}", last.len())
        })
    }

    /// What the providers took, oldest first.
    pub(crate) fn accepted(&self) -> Vec<Arc<Received>> {
        self.sandbox.received().into_iter().filter(|received| received.refused.is_none()).collect()
    }

    /// Waits until nothing waits for a channel: rows can be read a moment before the numbers in memory know of them.
    pub(crate) async fn nothing_waits(&self, channel: &str) {
        let name = format!(r#"parvis_outbox_waiting{{channel="{channel}"}}"#);
        let empty = try_until(async || (self.metric(&name).await == 0.0).then_some(())).await;
        assert!(empty.is_some(), "something waits for {channel}");
    }

    /// One number of the metrics page; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = self.call(Method::GET, "/metrics", &Value::Null).await;
        let page = String::from_utf8(page.body.to_vec()).expect("text");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

/// The binary, to be run with arguments.
pub(crate) fn parvis(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parvis"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) async fn run(args: &[&str]) -> Output {
    let child = parvis(args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let ended = child.expect("the binary runs").wait_with_output();
    timeout(PATIENCE, ended).await.expect("it ends").expect("it ran")
}

/// Makes a key as an operator would.
pub(crate) async fn new_key(folder: &Path, name: &str, scope: &str) -> String {
    new_bound_key(folder, name, scope, &[]).await
}

async fn new_bound_key(folder: &Path, name: &str, scope: &str, bound: &[&str]) -> String {
    let config = folder.to_str().expect("a folder in plain letters");
    let words = ["keys", "new", "--name", name, "--scope", scope, "--config", config];
    let output = run(&[&words, bound].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    try_until(ask).await.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

pub(crate) async fn try_until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            Clock::System.sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.ok()
}

pub(crate) fn now() -> Timestamp {
    Clock::System.now()
}

/// So many seconds ago.
pub(crate) fn ago(seconds: u64) -> Timestamp {
    now().minus(Duration::from_secs(seconds))
}

/// A place so many metres north of the shop's centre.
pub(crate) fn north(metres: f64) -> (f64, f64) {
    (SHOP.0 + metres / 111_195.0, SHOP.1)
}

pub(crate) fn report(device: &str, at: Timestamp, (lat, lon): (f64, f64)) -> Value {
    let fix = json!({ "kind": "fix", "at": at, "lat": lat, "lon": lon, "accuracy_m": 5.0 });
    json!({ "device": device, "observations": [fix] })
}

pub(crate) fn circle((lat, lon): (f64, f64), radius_m: f64, mut properties: Value) -> Value {
    properties["radius_m"] = radius_m.into();
    json!({ "type": "Feature", "geometry": { "type": "Point", "coordinates": [lon, lat] }, "properties": properties })
}

/// A profile that allows everything.
pub(crate) fn profile(locale: &str) -> Value {
    let yes = json!({ "granted": true, "at": ago(86_400), "text": "2026-01" });
    json!({ "locale": locale, "time_zone": "Europe/Paris",
        "consents": { "location": yes, "offers": yes, "orders": yes } })
}

/// A campaign that greets whoever does something at a fence.
pub(crate) fn greeting(transition: &str) -> Value {
    json!({ "purpose": "offer", "on": { "transition": transition },
        "content": { "en": { "title": "Hello", "body": "Come in." } } })
}

async fn read_log(mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>, log: Arc<Mutex<Vec<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().expect("not poisoned").push(line);
    }
}
