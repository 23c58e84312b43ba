//! The daemon that is measured: laid out in a folder, started, waited for, stopped; or one that runs already. It must not
//! send load.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use http::{Method, uri::PathAndQuery};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Child;

use crate::{
    clock::Clock,
    connection::{Answer, Call, Endpoint, Link},
    measure::process::Process,
};

const KEY_FILE: &str = "loadgen.key";
const LOG_FILE: &str = "daemon.log";
/// A start that takes longer has failed; a million fences take seconds.
const START_MAX: Duration = Duration::from_secs(600);
/// Longer than the daemon's own `node.shutdown_deadline`.
const STOP_MAX: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So much of a log is shown if the daemon ends.
const LAST_LINES: usize = 5;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Its binary.
    pub(crate) daemon: PathBuf,
    /// Its configuration and its store.
    pub(crate) folder: PathBuf,
    /// Settings, `key=value`, as its own `--set` takes them.
    pub(crate) settings: Vec<String>,
}

/// A running daemon.
pub(crate) struct Node {
    /// How it is reached.
    pub(crate) endpoint: Endpoint,
    /// What it uses, if it runs on this machine.
    pub(crate) process: Option<Process>,
    /// From its start to the first answer that it is ready; nothing if it was running already.
    pub(crate) start_ms: Option<f64>,
    /// What it calls itself.
    pub(crate) version: Option<String>,
    child: Option<Child>,
}

impl Launch {
    /// The `parvis` beside this program.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn beside() -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let daemon = own.with_file_name(format!("parvis{}", std::env::consts::EXE_SUFFIX));
        ensure!(daemon.exists(), "there is no {}; build it, or name the daemon with --daemon", daemon.display());
        Ok(daemon)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.daemon);
        command.stdin(Stdio::null());
        command
    }

    /// The key for everything, made at the first start in this folder.
    fn key(&self) -> anyhow::Result<String> {
        let file = self.folder.join(KEY_FILE);
        if let Ok(key) = fs::read_to_string(&file) {
            return Ok(key);
        }
        let mut command = self.command();
        command.args(["keys", "new", "--name", "loadgen", "--scope", "admin", "--config"]).arg(&self.folder);
        let made = command.output().with_context(|| format!("{} can't be run", self.daemon.display()))?;
        let complaint = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "{} keys new: {}", self.daemon.display(), complaint.trim());
        let key = String::from_utf8(made.stdout).context("a key that is no text")?;
        fs::write(&file, &key).with_context(|| format!("{} can't be written", file.display()))?;
        Ok(key)
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// With the last lines of its log, if it ends instead.
    pub(crate) async fn start(&self, clock: Clock) -> anyhow::Result<Node> {
        let key = self.key()?;
        let version = self.command().arg("--version").output().ok();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let log_file = self.folder.join(LOG_FILE);
        let log = fs::File::create(&log_file).with_context(|| format!("{} can't be written", log_file.display()))?;
        let mut command = self.command();
        command.args(["serve", "--set", "http.listen=127.0.0.1:0", "--config"]).arg(&self.folder);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.stdout(Stdio::null()).stderr(log);
        let began_us = clock.now_us();
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().context("the daemon can't be started")?;
        let ready = clock.within(START_MAX, ready(&mut child, &log_file, &key, clock)).await;
        let endpoint = ready.with_context(|| format!("not ready after {} s", START_MAX.as_secs())).flatten();
        let endpoint = endpoint.with_context(|| format!("the daemon did not start: {}", last_lines(&log_file)))?;
        let start_ms = Some((clock.now_us() - began_us) as f64 / 1_000.0);
        let process = child.id().map(Process::new);
        Ok(Node { endpoint, process, start_ms, version, child: Some(child) })
    }
}

impl Node {
    /// A daemon that runs already.
    pub(crate) fn running(endpoint: Endpoint, process_id: Option<u32>) -> Node {
        Node { endpoint, process: process_id.map(Process::new), start_ms: None, version: None, child: None }
    }

    /// Asks for a page without a body; the counters of `/metrics` need no key.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn get(&self, path: &'static str) -> anyhow::Result<Answer> {
        get(&self.endpoint, path).await
    }

    /// Asks it to stop and waits for its end; gives its status if it was started here, 128 and more for a signal.
    ///
    /// # Errors
    /// If it does not end in time.
    pub(crate) async fn stop(mut self, clock: Clock) -> anyhow::Result<Option<i32>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        if let Some(id) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            kill_process(id, Signal::TERM).context("the daemon can't be told to stop")?;
        }
        match clock.within(STOP_MAX, child.wait()).await {
            Some(ended) => {
                let ended = ended.context("the daemon's end can't be seen")?;
                // As a shell tells it.
                Ok(ended.code().or_else(|| ended.signal().map(|number| 128 + number)))
            }
            None => bail!("the daemon did not stop within {} s", STOP_MAX.as_secs()),
        }
    }
}

/// The sum of a counter's or gauge's rows in the daemon's metrics.
pub(crate) fn total(metrics: &str, name: &str) -> Option<f64> {
    let rows = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
    });
    rows.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

async fn ready(child: &mut Child, log_file: &Path, key: &str, clock: Clock) -> anyhow::Result<Endpoint> {
    let mut known = None;
    loop {
        if let Some(status) = child.try_wait().context("the daemon can't be seen")? {
            bail!("it ended with {status}");
        }
        if known.is_none() {
            known = address(&fs::read_to_string(log_file).unwrap_or_default());
        }
        if let Some(address) = &known {
            let endpoint = Endpoint::parse(&format!("http://{address}"))?.with_key(key)?;
            if get(&endpoint, "/readyz").await.is_ok_and(|answer| answer.status == 200) {
                return Ok(endpoint);
            }
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

async fn get(endpoint: &Endpoint, path: &'static str) -> anyhow::Result<Answer> {
    let endpoint = Endpoint { http2: false, keep_alive: false, ..endpoint.clone() };
    let call = Call {
        method: Method::GET,
        path: PathAndQuery::from_static(path),
        content_type: "",
        body: bytes::Bytes::new(),
    };
    Link::Http1(None).send(&endpoint, call).await
}

/// Where the daemon says that it listens.
fn address(log: &str) -> Option<String> {
    let whole = &log[..log.rfind('\n')?];
    whole.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["fields"]["http.address"].as_str().map(str::to_owned)
    })
}

fn last_lines(log_file: &Path) -> String {
    let log = fs::read_to_string(log_file).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_metric_are_added_up() {
        let metrics = "# TYPE parvis_transitions counter\nparvis_transitions_total{kind=\"enter\"} 5\n\
                       parvis_transitions_total{kind=\"exit\"} 4\nparvis_transitions_total_other 9\n";
        assert_eq!(total(metrics, "parvis_transitions_total"), Some(9.0));
        assert_eq!(total(metrics, "parvis_nothing"), None);
    }

    #[test]
    fn an_address_is_read_from_whole_lines_only() {
        let line = r#"{"fields":{"http.address":"127.0.0.1:9"}}"#;
        assert_eq!(address(line), None);
        assert_eq!(address(&format!("listening\n{line}\n")).as_deref(), Some("127.0.0.1:9"));
    }
}
