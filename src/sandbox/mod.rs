//! APNs, FCM and Web Push as servers on this machine, so that a push is seen without an account at Apple or Google.
//!
//! They speak TLS and HTTP/2, check what the real services check and answer with their reasons. The sandbox shares no
//! code with the delivery clients: it is an independent check of them. It listens on loopback only, and what it
//! accepts reaches no phone.

mod apns;
mod app;
mod autopush;
mod behaviour;
pub mod cli;
mod connection;
mod control;
mod devices;
mod exchange;
mod fault;
mod fcm;
mod frames;
mod identity;
mod page;
mod record;
mod reply;
mod server;
mod shared;
mod target;
mod token;
mod webpush;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use parvis_engine::{notification::Channel, time::Timestamp};
use serde::Serialize;
use tokio::{sync::broadcast, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::{
    apns::{ApnsCertificate, LiveActivity},
    app::{ApnsKey, App},
    autopush::ConnectedBrowser,
    behaviour::{Behaviour, Conditions, Fault, Reachable, Scope},
    identity::{ApnsCredentials, Credentials, FcmCredentials, WebPushCredentials},
    record::{ActivityPush, Counts, Message, Received, Refusal},
    target::{NewTarget, TokenPurpose},
};
use self::{identity::Identity, shared::Shared};
use crate::{clock::Clock, entropy::Entropy};

/// How long open connections get to end by themselves when the sandbox stops.
const GRACE: Duration = Duration::from_secs(1);

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// First of five consecutive ports: APNs production, APNs sandbox, FCM, Web Push, control. Any free ports if none.
    pub port_base: Option<u16>,
    /// Tells the time for the age of tokens and for delays.
    pub clock: Clock,
    /// Gives tokens, endpoints and message ids. The credentials always come from the system's generator.
    pub entropy: Entropy,
    /// How many messages are remembered; older ones are forgotten first.
    pub capacity: usize,
    /// How often a team may change its APNs token within 20 minutes; above, the answer is 429.
    pub apns_token_changes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            port_base: None,
            clock: Clock::System,
            entropy: Entropy::System,
            capacity: 10_000,
            apns_token_changes: 1,
        }
    }
}

/// Where the services listen.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoints {
    /// Stands for `https://api.push.apple.com`.
    pub apns_production: String,
    /// Stands for `https://api.sandbox.push.apple.com`.
    pub apns_sandbox: String,
    /// Stands for `https://fcm.googleapis.com`.
    pub fcm: String,
    /// Stands for `https://oauth2.googleapis.com/token`.
    pub fcm_token: String,
    /// The origin of every subscription's endpoint.
    pub webpush: String,
    /// Where a Firefox connects as to its push service, over a plain WebSocket.
    pub autopush: String,
    /// Plain HTTP: what was received, and how the services behave.
    pub control: String,
}

/// The running services. They end with [`Sandbox::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
    abort: CancellationToken,
    _on_drop: [DropGuard; 2],
}

/// Why a sandbox could not start or be written down.
#[derive(Debug)]
pub enum Error {
    /// A port is taken, or the base leaves no room for five.
    Bind {
        /// Which service.
        service: &'static str,
        /// The port that was asked for; 0 for any.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate could not be made.
    Identity {
        /// Which one.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// An app cannot be had.
    App {
        /// Why.
        detail: String,
    },
    /// A file could not be written.
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { service, port, source } => {
                write!(f, "the sandbox's {service} listener has no port ({port} was asked for): {source}")
            }
            Error::Identity { what, detail } => write!(f, "the sandbox's {what} could not be made: {detail}"),
            Error::App { detail } => f.write_str(detail),
            Error::Write { path, source } => write!(f, "{} could not be written: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Bind { source, .. } | Error::Write { source, .. } => Some(source),
            Error::Identity { .. } | Error::App { .. } => None,
        }
    }
}

impl Sandbox {
    /// Makes keys and certificates and opens the listeners. An RSA key is made on the way: allow a few tenths of a
    /// second.
    ///
    /// # Errors
    /// If a port is taken or a key cannot be made.
    pub async fn start(options: Options) -> Result<Sandbox, Error> {
        let made = tokio::task::spawn_blocking(|| Ok((Identity::generate()?, App::first()?)));
        let made = made.await.map_err(|error| Error::Identity { what: "identity", detail: error.to_string() })?;
        let (identity, app) = made?;
        let (stop, abort, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let sockets = server::Sockets::bind(options.port_base).await?;
        let shared = Arc::new(Shared::new(options, identity, app, sockets.endpoints()?, stop.clone()));
        sockets.serve(&shared, &tasks, &abort)?;
        let _on_drop = [stop.clone().drop_guard(), abort.clone().drop_guard()];
        Ok(Sandbox { shared, tasks, stop, abort, _on_drop })
    }

    /// Where the services listen.
    pub fn endpoints(&self) -> &Endpoints {
        &self.shared.endpoints
    }

    /// The certificate that signed the services' certificates, PEM. A client must trust it.
    pub fn ca_pem(&self) -> &str {
        &self.shared.identity.ca_pem
    }

    /// How the service answers for one target from now on. The target is a device token, a registration token, an
    /// installation id or a subscription's endpoint. False if there is no such target.
    pub fn set_behaviour(&self, target: &str, behaviour: Behaviour) -> bool {
        self.shared.targets.set_behaviour(target, behaviour, self.shared.clock.now())
    }

    /// How a service answers everybody from now on. A stream limit holds for connections opened afterwards.
    pub fn set_conditions(&self, channel: Channel, conditions: Conditions) {
        self.shared.set_conditions(channel, conditions);
    }

    /// How the services answer for whatever a scope fits, under a name that replaces and clears it. A target's own
    /// behaviour goes first.
    ///
    /// # Errors
    /// Why the fault cannot be had: what it asks for makes no sense, or there are too many.
    pub fn set_fault(&self, name: &str, scope: Scope, behaviour: Behaviour) -> Result<(), String> {
        self.shared.faults.set(name, Fault { scope, behaviour }, self.shared.clock.now())
    }

    /// Ends a fault. False if there is none of that name.
    pub fn clear_fault(&self, name: &str) -> bool {
        self.shared.faults.clear(name)
    }

    /// Sends GOAWAY on every open connection of a service. Open requests are still answered.
    pub fn go_away(&self, channel: Channel) {
        self.shared.go_away(channel, None);
    }

    /// The same with data that says why, as APNs does: `{"reason": …}`.
    pub fn go_away_because(&self, channel: Channel, reason: &str) {
        self.shared.go_away(channel, Some(reason.to_owned()));
    }

    /// What was received, oldest first, accepted or refused; bounded by [`Options::capacity`].
    pub fn received(&self) -> Vec<Arc<Received>> {
        self.shared.record.all()
    }

    /// How many messages were received since the start.
    pub fn counts(&self) -> Counts {
        self.shared.record.counts()
    }

    /// Waits until `n` messages were accepted since the start; gives what was received.
    pub async fn wait_for(&self, n: u64) -> Vec<Arc<Received>> {
        self.shared.record.wait_for(n).await;
        self.received()
    }

    /// Messages as they come. Whoever falls 1,024 behind misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Received>> {
        self.shared.record.subscribe()
    }

    /// What the device would show: accepted messages with a text, of which those with the same collapse key have
    /// replaced one another.
    pub fn shown(&self, target: &str) -> Vec<Arc<Received>> {
        self.shared.record.shown(target)
    }

    /// The sandbox's time.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Closes the listeners, sends GOAWAY, lets open requests end and aborts what is left after a second.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(GRACE, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}
