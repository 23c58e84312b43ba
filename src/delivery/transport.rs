//! Connections to push services: HTTP/2 over TLS, with deadlines and bounds. It knows nothing of messages.
//!
//! An origin has few connections, opened only when all streams that the peer announced are in use. A request that the
//! peer has certainly not looked at is sent again on another. Redirects are not followed: no push service sends any, and
//! one from a host that a client named could point anywhere.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri};
use parvis_engine::problem::Problem;

use super::{Config, Reply};
use crate::clock::Clock;

mod address;
mod caller;
mod condition;
mod connection;
mod dial;
mod driver;
mod farewell;
mod http1;
mod identity;
mod origin;
mod origins;
#[cfg(test)]
mod tests;
mod trust;

use address::{Allow, Guarded};
use caller::Caller;
pub use caller::Party;
use connection::{Answer, Failure};
use dial::Tls;
pub use identity::Identity;
use origin::{Bounds, Origin};
use origins::Origins;
use trust::Trust;

/// How often a request is sent again that the peer has certainly not acted on.
const RESENDS_MAX: usize = 3;

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Apple's service, from the configuration. HTTP/2 only.
    Apns,
    /// Google's service, from the configuration. HTTP/2 only.
    Fcm,
    /// An issuer of access tokens, from the configuration.
    Issuer,
    /// A push service that a client named: only public addresses, unless the configuration allows others.
    Subscription,
    /// A system of the retailer's, from the configuration: only public addresses, unless it says otherwise.
    Webhook {
        /// Whether it says otherwise.
        private: bool,
    },
}

/// Sends a request and waits for the answer.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The answer, whatever its status. A request that carries an [`Identity`] or a [`Party`] travels only on
    /// connections that were opened for it.
    ///
    /// # Errors
    /// If there is none.
    async fn send(&self, request: Request<Bytes>, peer: Peer) -> Result<Reply, Error>;
}

/// Why there is no answer. The text is for debugging; it may hold a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not in time. The peer may have acted on the request.
    Timeout,
    /// No connection, or none with a free stream, so the peer has not seen the request.
    Connect(String),
    /// The connection or the exchange broke. The peer may have acted on the request.
    Closed(String),
    /// The peer said goodbye to the connection.
    GoAway {
        /// The peer's word for why, such as `Shutdown`; fit for the journal.
        word: String,
        /// Whether the peer may have acted on the request.
        may_have_acted: bool,
    },
    /// The host has no address that may be called.
    NotAllowed,
}

impl Error {
    /// The name in the journal and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Error::Timeout => "timeout",
            Error::Connect(_) => "connect_failed",
            Error::Closed(_) => "connection_closed",
            Error::GoAway { .. } => "goaway",
            Error::NotAllowed => "address_not_allowed",
        }
    }

    /// The reason in the journal: the name, with the peer's word for a goodbye, as in `goaway_Shutdown`.
    pub fn reason(&self) -> String {
        match self {
            Error::GoAway { word, .. } => format!("goaway_{word}"),
            Error::Timeout | Error::Connect(_) | Error::Closed(_) | Error::NotAllowed => self.name().to_owned(),
        }
    }

    /// Whether the peer may have acted on the request, so that sending it again may have it acted on twice.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Error::Timeout | Error::Closed(_) => true,
            Error::GoAway { may_have_acted, .. } => *may_have_acted,
            Error::Connect(_) | Error::NotAllowed => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Timeout | Error::NotAllowed => f.write_str(self.name()),
            Error::Connect(detail) | Error::Closed(detail) => write!(f, "{}: {detail}", self.name()),
            Error::GoAway { .. } => f.write_str(&self.reason()),
        }
    }
}

impl std::error::Error for Error {}

/// How the connections to one kind of peer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who is called.
    pub peer: Peer,
    /// Hosts with a port, each with its own connections.
    pub origins: usize,
    /// Open connections.
    pub connections: usize,
    /// Requests that wait for their answers.
    pub streams_in_use: usize,
    /// How many requests may wait for their answers on these connections; saturates.
    pub streams_announced: usize,
    /// Requests that wait for a connection or for a free stream.
    pub waiting: usize,
}

/// The real network.
pub struct Http {
    origins: Origins,
    trust: Trust,
    public: Guarded,
    subscriptions: Guarded,
    any: Guarded,
    bounds: Bounds,
    request_timeout: Duration,
}

impl Http {
    /// Trusts the system's certificate authorities and those of the configuration; relative paths are below `base`.
    ///
    /// # Errors
    /// Everything that is wrong, with paths below the delivery section.
    pub fn new(config: &Config, base: &Path) -> Result<Http, Vec<Problem>> {
        let public_only = !config.allows_private();
        let allow = if public_only { Allow::Public } else { Allow::Any };
        Ok(Http {
            origins: Origins::default(),
            trust: Trust::new(config, base)?,
            public: dial::tcp(Allow::Public, config.connect_timeout),
            subscriptions: dial::tcp(allow, config.connect_timeout),
            any: dial::tcp(Allow::Any, config.connect_timeout),
            bounds: Bounds { connections_max: config.connections_max.max(1), connect_timeout: config.connect_timeout },
            request_timeout: config.request_timeout,
        })
    }

    /// How the connections stand, for each kind of peer that was called.
    pub fn connections(&self) -> Vec<Standing> {
        self.origins.standings()
    }

    fn origin(&self, peer: Peer, uri: &Uri, caller: Option<Caller>) -> Result<Arc<Origin>, Error> {
        self.origins.find(peer, uri, caller.as_ref(), |authority| {
            let tcp = match peer {
                Peer::Apns | Peer::Fcm | Peer::Issuer | Peer::Webhook { private: true } => &self.any,
                Peer::Subscription => &self.subscriptions,
                Peer::Webhook { private: false } => &self.public,
            };
            let tls = self.trust.client(peer, caller.as_ref().and_then(Caller::identity));
            let dialer = Tls::new(uri.clone(), peer, tcp.clone(), tls)?;
            Ok(Origin::new(peer, authority, caller.clone(), Box::new(dialer), self.bounds))
        })
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, mut request: Request<Bytes>, peer: Peer) -> Result<Reply, Error> {
        let caller = Caller::take(&mut request);
        let origin = self.origin(peer, request.uri(), caller)?;
        ask(&origin, request, self.request_timeout).await
    }
}

async fn ask(origin: &Origin, request: Request<Bytes>, within: Duration) -> Result<Reply, Error> {
    let mut sending = Sending { answer: Answer::default(), is_sent: false };
    // The time first: a stream that becomes free when it is over must not be used.
    let ended = tokio::select! { biased;
        () = Clock::System.sleep(within) => None,
        ended = sending.run(origin, request) => Some(ended),
    };
    let Sending { answer, is_sent } = sending;
    match (answer.into_reply(), ended) {
        (Some(reply), _) => Ok(reply),
        (None, Some(Err(error))) => Err(error),
        (None, None) if !is_sent => Err(Error::Connect("no free stream in time".to_owned())),
        (None, Some(Ok(())) | None) => Err(Error::Timeout),
    }
}

/// One request's way to an answer.
struct Sending {
    answer: Answer,
    is_sent: bool,
}

impl Sending {
    /// Goes to another stream as often as the peer has certainly not acted on the request, within a bound.
    async fn run(&mut self, origin: &Origin, request: Request<Bytes>) -> Result<(), Error> {
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        for _ in 0..RESENDS_MAX {
            match self.try_once(origin, head.clone(), body.clone()).await {
                Ok(()) => return Ok(()),
                Err(Failure::Broken(error)) => return Err(error),
                Err(Failure::Unsent(error)) => {
                    tracing::debug!(%error, "the peer has not looked at a request, sending it again");
                }
            }
        }
        self.try_once(origin, head, body).await.map_err(|failure| match failure {
            Failure::Unsent(error) | Failure::Broken(error) => error,
        })
    }

    async fn try_once(&mut self, origin: &Origin, head: Request<()>, body: Bytes) -> Result<(), Failure> {
        self.is_sent = false;
        // Who gets no connection has nothing to gain from asking again.
        let stream = origin.stream().await.map_err(Failure::Broken)?;
        self.is_sent = true;
        stream.connection().exchange(head, body, &mut self.answer).await
    }
}
