//! The rig, a server and the agent's own program between them.

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

use parvis_beacons::{Ibeacon, Identity, Uuid, report::Heard};
use tokio::time::timeout;

use crate::{
    rig::{APPLE, Agent, Options, Rig, ibeacon},
    server::{Book, DEADLINE, Server},
};

pub(crate) const UUID: [u8; 16] =
    [0xf7, 0x82, 0x6d, 0xa6, 0x4f, 0xa2, 0x4e, 0x98, 0x80, 0x24, 0xbc, 0x5b, 0x71, 0xe0, 0x89, 0x3e];
/// A beacon's address.
pub(crate) const TAG: &str = "C6:A5:B9:E0:AD:06";

pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) book: Book,
    pub(crate) server: Option<Server>,
    pub(crate) agent: Option<Agent>,
    config: PathBuf,
}

impl Scene {
    /// Everything runs; the agent is configured with these lines besides.
    pub(crate) async fn start(options: Options, scan: &str, rest: &str) -> Scene {
        let server = Server::start().await;
        let text = configuration(server.address, scan, rest);
        Scene::start_with(Rig::start(options), server, &text)
    }

    /// Everything runs, with this configuration.
    pub(crate) fn start_with(rig: Rig, server: Server, text: &str) -> Scene {
        let config = rig.folder().join("scanner.toml");
        std::fs::write(rig.folder().join("key"), "the-key\n").expect("written");
        std::fs::write(&config, text).expect("written");
        let mut scene = Scene { rig, book: server.book.clone(), server: Some(server), agent: None, config };
        scene.start_agent();
        scene
    }

    pub(crate) fn start_agent(&mut self) {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_parvis-scanner"));
        self.agent = Some(Agent::start(&program, &self.config, &self.rig));
    }

    pub(crate) fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("the agent runs")
    }

    pub(crate) fn queue(&self) -> PathBuf {
        self.rig.folder().join("queue")
    }

    /// One advertisement of a beacon.
    pub(crate) fn advertise(&mut self, minor: u16, rssi_dbm: i16) -> bool {
        let address = format!("C6:A5:B9:E0:{:02X}:{:02X}", minor >> 8, minor & 0xff);
        self.rig.advertise(&address, (APPLE, &ibeacon(UUID, 7, minor)), Some(rssi_dbm))
    }

    /// Advertises a beacon again and again until the server was told of it.
    pub(crate) async fn is_heard(&mut self, minor: u16) -> Heard {
        self.until("the server is told of a beacon", |scene| {
            scene.advertise(minor, -63);
            scene.book.heard().into_iter().find(|heard| heard.identity == identity(minor))
        })
        .await
    }

    /// Tries again and again until there is something.
    pub(crate) async fn until<T>(&mut self, what: &str, mut attempt: impl FnMut(&mut Scene) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = attempt(self) {
                    return found;
                }
                self.book.clone().news().await;
            }
        };
        let found: Option<T> = within_deadline(found).await;
        found.unwrap_or_else(|| panic!("{what}: not within {DEADLINE:?}\n{}", self.log()))
    }

    fn log(&self) -> String {
        self.agent.as_ref().map(Agent::log).unwrap_or_default()
    }
}

impl Book {
    /// Everything that was told, report by report.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.reports().into_iter().flat_map(|report| report.heard).collect()
    }
}

async fn within_deadline<T>(future: impl Future<Output = T>) -> Option<T> {
    timeout(DEADLINE, future).await.ok()
}

pub(crate) fn identity(minor: u16) -> Identity {
    Identity::Ibeacon(Ibeacon { uuid: Uuid(UUID), major: 7, minor })
}

pub(crate) fn minor(heard: &Heard) -> u16 {
    match heard.identity {
        Identity::Ibeacon(beacon) => beacon.minor,
        Identity::Eddystone { .. } | Identity::Ephemeral { .. } | Identity::Mac { .. } => panic!("{heard:?}"),
    }
}

/// Short waits, so that tests are quick; what they prove does not depend on them.
pub(crate) fn configuration(server: SocketAddr, scan: &str, rest: &str) -> String {
    let retry = Duration::from_millis(50);
    format!(
        r#"
[scanner]
id = "opera-3"
[server]
url = "http://{server}/base/"
key_file = "key"
retry_min = "{retry:?}"
retry_max = "400ms"
refused_wait = "500ms"
[scan]
retry = "{retry:?}"
{scan}
[beacons]
uuids = ["f7826da6-4fa2-4e98-8024-bc5b71e0893e"]
[reports]
every = "1s"
health_every = "1s"
[queue]
folder = "queue"
rate_hz = 100.0
[log]
filter = "debug"
{rest}
"#
    )
}
