//! A real broker, mosquitto, as a child process on a free loopback port, and whoever publishes to it.

use std::{fs, net::TcpListener, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::rig::{PATIENCE, until};

/// A broker, running or not. What it keeps survives its end.
pub(crate) struct Broker {
    pub(crate) port: u16,
    folder: TempDir,
    process: Option<Child>,
    /// What publishers say beside topic and message.
    publisher: Vec<String>,
}

impl Broker {
    /// A running broker that takes anybody.
    pub(crate) async fn start() -> Broker {
        let mut broker = Broker::prepare("allow_anonymous true\n");
        broker.boot().await;
        broker
    }

    /// Everything but the process. `lines` belong to its listener.
    pub(crate) fn prepare(lines: &str) -> Broker {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port on loopback").port();
        let place = folder.path().display();
        // Run as root it would become a user who may not write here.
        let config = format!(
            "user root\npersistence true\npersistence_location {place}/\nmax_queued_messages 0\nmax_queued_bytes 0\n\
             listener {port} 127.0.0.1\n{lines}"
        );
        fs::write(folder.path().join("mosquitto.conf"), config).expect("the folder is writable");
        Broker { port, folder, process: None, publisher: Vec::new() }
    }

    /// The folder for what `lines` name.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What publishers say beside topic and message, such as a name and a password.
    pub(crate) fn publish_with(&mut self, arguments: &[&str]) {
        self.publisher = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn boot(&mut self) {
        let mut command = Command::new(program("mosquitto"));
        command.arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("mosquitto is installed: scripts/setup does it");
        until("the broker to listen", async || {
            let ended = child.try_wait().expect("it is ours");
            assert!(ended.is_none(), "the broker ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", self.port)).await.ok()
        })
        .await;
        self.process = Some(child);
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().await.expect("it is ours");
    }

    /// Asks it to end; it keeps its sessions.
    pub(crate) async fn stop(&mut self) {
        let mut child = self.process.take().expect("it runs");
        let id = child.id().expect("it runs");
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await.expect("a shell");
        assert!(sent.success());
        timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it is ours");
    }

    /// Publishes a message and waits until the broker has it.
    pub(crate) async fn publish(&self, topic: &str, message: &str) {
        self.publish_as(topic, message, &[]).await;
    }

    pub(crate) async fn publish_as(&self, topic: &str, message: &str, arguments: &[&str]) {
        let source = if message.is_empty() { "-n" } else { "-s" };
        let mut child = self.publisher(topic, &[&[source], arguments].concat());
        let mut input = child.stdin.take().expect("a pipe");
        if !message.is_empty() {
            input.write_all(message.as_bytes()).await.expect("it reads");
        }
        drop(input);
        let ended = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it is ours");
        assert!(ended.success(), "{ended}");
    }

    /// Publishes these messages one after the other on one connection, and waits until the broker has them.
    pub(crate) async fn publish_all(&self, topic: &str, messages: &[String]) {
        let mut child = self.publisher(topic, &["-l"]);
        let mut input = child.stdin.take().expect("a pipe");
        for message in messages {
            input.write_all(format!("{message}\n").as_bytes()).await.expect("it reads");
        }
        drop(input);
        let ended = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it is ours");
        assert!(ended.success(), "{ended}");
    }

    fn publisher(&self, topic: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new(program("mosquitto_pub"));
        command.args(["-h", "127.0.0.1", "-q", "1", "-t", topic, "-p"]).arg(self.port.to_string());
        command.args(&self.publisher).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("mosquitto-clients is installed: scripts/setup does it")
    }
}

/// Debian puts servers where not everybody looks.
fn program(name: &str) -> String {
    let elsewhere = format!("/usr/sbin/{name}");
    if Path::new(&elsewhere).exists() { elsewhere } else { name.to_owned() }
}
