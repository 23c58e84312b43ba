//! Connections to push services: HTTP/2 over TLS, with deadlines and bounds. It knows nothing of messages.
//!
//! A request that certainly did not reach the peer is sent once more on a new connection. Redirects are not followed:
//! no push service sends any, and one from a host that a client named could point anywhere.

use std::{
    error::Error as _,
    fmt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use parvis_engine::problem::Problem;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Config, Reply, read};

mod address;
mod identity;

use address::{Allow, Guarded, NotAllowed};
pub use identity::Identity;

/// An error document is shorter; the rest is not read.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A connection that has this many requests in flight is joined by another. Google announces 100 streams; what is
/// beyond the announced number waits unseen.
const STREAMS_BUSY: usize = 90;
/// Finds a dead connection while requests wait on it. An idle one is not pinged, which providers count as abuse.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds an idle connection that a middlebox has dropped, unseen by the provider.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);
const TCP_KEEP_ALIVE_RETRY: Duration = Duration::from_secs(10);
const TCP_KEEP_ALIVE_RETRIES: u32 = 3;
/// Push services of browsers are many and called seldom.
const SUBSCRIPTION_IDLE: Duration = Duration::from_secs(90);

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Apple's service, from the configuration. HTTP/2 only.
    Apns,
    /// Google's service, from the configuration. HTTP/2 only.
    Fcm,
    /// An issuer of access tokens, from the configuration.
    Issuer,
    /// A push service that a client named: only public addresses, unless the configuration allows others.
    Subscription,
}

/// Sends a request and waits for the answer.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The answer, whatever its status. A request that carries an [`Identity`] travels only on connections that were
    /// opened with it.
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

type Connection = Client<HttpsConnector<Guarded>, Full<Bytes>>;

/// The real network.
pub struct Http {
    apns: Connections,
    fcm: Connections,
    issuer: Connections,
    subscription: Connections,
    request_timeout: Duration,
}

/// Clients for the same hosts. Each opens at most one HTTP/2 connection to a host, and only when it is used.
struct Connections(Vec<(Connection, AtomicUsize)>);

impl Http {
    /// Trusts the system's certificate authorities and those of the configuration; relative paths are below `base`.
    ///
    /// # Errors
    /// Everything that is wrong, with paths below the delivery section.
    pub fn new(config: &Config, base: &Path) -> Result<Http, Vec<Problem>> {
        let tls = trust(config, base)?;
        let public = config.webpush.as_ref().is_none_or(|webpush| !webpush.allow_private);
        let provider = || {
            let clients = (0..config.connections_max.max(1))
                .map(|_| (client(config, &tls, Allow::Any, true), AtomicUsize::new(0)));
            Connections(clients.collect())
        };
        let single = |allow| Connections(vec![(client(config, &tls, allow, false), AtomicUsize::new(0))]);
        Ok(Http {
            apns: provider(),
            fcm: provider(),
            issuer: single(Allow::Any),
            subscription: single(if public { Allow::Public } else { Allow::Any }),
            request_timeout: config.request_timeout,
        })
    }

    /// How the connections stand, for each kind of peer that was called.
    pub fn connections(&self) -> Vec<Standing> {
        Vec::new()
    }

    fn clients(&self, peer: Peer) -> &Connections {
        match peer {
            Peer::Apns => &self.apns,
            Peer::Fcm => &self.fcm,
            Peer::Issuer => &self.issuer,
            Peer::Subscription => &self.subscription,
        }
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request<Bytes>, peer: Peer) -> Result<Reply, Error> {
        let (connection, _in_flight) = self.clients(peer).least_busy();
        let mut head = None;
        let mut body = BytesMut::new();
        let exchange = async {
            let (parts, incoming) = ask(connection, request).await?.into_parts();
            head = Some(parts);
            read_bounded(incoming, &mut body).await;
            Ok(())
        };
        let ended = tokio::time::timeout(self.request_timeout, exchange).await;
        // The status is the answer: a body that breaks off or does not end takes nothing from it.
        match (head, ended) {
            (Some(parts), _) => Ok(Reply { status: parts.status, headers: parts.headers, body: body.freeze() }),
            (None, Ok(Err(error))) => Err(error),
            (None, Ok(Ok(())) | Err(_)) => Err(Error::Timeout),
        }
    }
}

impl Connections {
    /// The first that has streams to spare, else the one with the fewest requests: few connections under little load.
    fn least_busy(&self) -> (&Connection, InFlight<'_>) {
        let load = |(_, in_flight): &&(Connection, AtomicUsize)| in_flight.load(Ordering::Relaxed);
        let spare = self.0.iter().find(|each| load(each) < STREAMS_BUSY);
        let (connection, in_flight) = spare.or_else(|| self.0.iter().min_by_key(load)).unwrap_or(&self.0[0]);
        in_flight.fetch_add(1, Ordering::Relaxed);
        (connection, InFlight(in_flight))
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn ask(connection: &Connection, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
    let again = request.clone();
    let first = match connection.request(request.map(Full::new)).await {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    let failure = classify(&first);
    if matches!(failure, Error::NotAllowed) || !is_unsent(&first) {
        return Err(failure);
    }
    tracing::debug!(error = %failure, "sending once more on another connection");
    connection.request(again.map(Full::new)).await.map_err(|error| classify(&error))
}

fn causes(error: &legacy::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn std::error::Error + 'static)| (**cause).source())
}

fn classify(error: &legacy::Error) -> Error {
    if causes(error).any(|cause| cause.is::<NotAllowed>()) {
        return Error::NotAllowed;
    }
    let detail = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_connect() { Error::Connect(detail) } else { Error::Closed(detail) }
}

/// Whether the peer has certainly not acted on the request (RFC 9113, section 8.7).
fn is_unsent(error: &legacy::Error) -> bool {
    let is_refused = |error: &h2::Error| {
        let reason = error.reason();
        error.is_remote()
            && (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
                || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
    };
    error.is_connect()
        || causes(error).any(|cause| {
            // A request that waits for a stream when its connection ends is dropped as a fault of its user.
            cause.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_canceled() || error.is_user())
                || cause.downcast_ref::<h2::Error>().is_some_and(is_refused)
        })
}

async fn read_bounded(mut incoming: Incoming, body: &mut BytesMut) {
    while let Some(Ok(frame)) = incoming.frame().await {
        if let Ok(data) = frame.into_data() {
            let room = BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            if body.len() == BODY_BYTES_MAX {
                return;
            }
        }
    }
}

fn client(config: &Config, tls: &ClientConfig, allow: Allow, http2_only: bool) -> Connection {
    let tcp = Guarded::new(allow, |tcp| {
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEP_ALIVE_RETRY));
        tcp.set_keepalive_retries(Some(TCP_KEEP_ALIVE_RETRIES));
    });
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_only();
    let connector = if http2_only {
        connector.enable_http2().wrap_connector(tcp)
    } else {
        connector.enable_all_versions().wrap_connector(tcp)
    };
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // Apple and Google want connections to stay open.
        .pool_idle_timeout(if http2_only { None } else { Some(SUBSCRIPTION_IDLE) })
        .http2_only(http2_only)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(false)
        .build(connector)
}

fn trust(config: &Config, base: &Path) -> Result<ClientConfig, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &config.extra_ca
        && let Some(pem) = read(base, file, "/extra_ca", &mut problems)
    {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            let message = format!("{} holds no certificate in PEM form", file.display());
            problems.push(Problem::new("/extra_ca", message));
        }
    }
    if roots.is_empty() && problems.is_empty() {
        let message = "the system has no certificate authorities: install ca-certificates or name a file here";
        problems.push(Problem::new("/extra_ca", message));
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    match versions {
        Ok(builder) if problems.is_empty() => Ok(builder.with_root_certificates(roots).with_no_client_auth()),
        Ok(_) => Err(problems),
        Err(error) => {
            problems.push(Problem::new("", format!("TLS cannot be set up: {error}")));
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::delivery::{
        testing::server::{Answer, HTTP2, Manner, Server, ok},
        webpush,
    };

    fn config(server: &Server) -> Config {
        Config { extra_ca: Some(server.certificate()), ..Config::default() }
    }

    fn open(config: &Config) -> Http {
        Http::new(config, Path::new("")).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn request(url: &str) -> Request<Bytes> {
        Request::post(url).body(Bytes::from_static(b"{}")).expect("a request")
    }

    async fn ask_once(server: &Server, peer: Peer) -> Result<Reply, Error> {
        open(&config(server)).send(request(&server.url()), peer).await
    }

    #[tokio::test]
    async fn providers_are_called_over_http_2_on_one_connection() {
        let server = Server::start(HTTP2, |_| ok("{}")).await;
        let http = open(&config(&server));
        for number in 0..20 {
            let url = format!("{}/{number}", server.url());
            assert_eq!(http.send(request(&url), Peer::Apns).await.expect("an answer").body, "{}");
        }
        assert_eq!(server.connections(), 1);
        assert!(server.requests().iter().all(|request| request.version() == http::Version::HTTP_2));
    }

    #[tokio::test]
    async fn push_services_may_speak_http_1() {
        let manner = Manner { protocol: b"http/1.1", ..HTTP2 };
        let server = Server::start(manner, |_| Answer::Reply(201, &[("location", "/m/1")], String::new())).await;
        let reply = ask_once(&server, Peer::Issuer).await.expect("an answer");
        assert_eq!((reply.status.as_u16(), &reply.headers["location"]), (201, &"/m/1".parse().expect("a value")));
        assert!(matches!(ask_once(&server, Peer::Fcm).await, Err(Error::Connect(_))), "providers may not");
    }

    #[tokio::test]
    async fn more_load_opens_more_connections() {
        let server = Server::start(HTTP2, |_| Answer::Never).await;
        let http = open(&Config { connections_max: 2, ..config(&server) });
        let mut in_flight = Vec::new();
        for expected in [0, 1] {
            for _ in 0..STREAMS_BUSY {
                let (connection, guard) = http.fcm.least_busy();
                assert!(std::ptr::eq(connection, &raw const http.fcm.0[expected].0));
                in_flight.push(guard);
            }
        }
        let (beyond, _guard) = http.fcm.least_busy();
        assert!(std::ptr::eq(beyond, &raw const http.fcm.0[0].0), "never more than allowed");
        drop(in_flight);
        assert_eq!(http.fcm.0[1].1.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_peer_that_announces_few_streams_gets_everything_in_turn() {
        let server = Server::start(Manner { streams: 2, ..HTTP2 }, |_| ok("{}")).await;
        let http = open(&config(&server));
        let url = server.url();
        let replies = join_all((0..80).map(|_| http.send(request(&url), Peer::Apns))).await;
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
        assert_eq!((server.connections(), server.requests().len()), (1, 80));
    }

    #[tokio::test]
    async fn a_silent_peer_is_a_timeout() {
        let server = Server::start(HTTP2, |_| Answer::Never).await;
        let http = open(&Config { request_timeout: Duration::from_millis(300), ..config(&server) });
        assert_eq!(http.send(request(&server.url()), Peer::Apns).await.err(), Some(Error::Timeout));
    }

    #[tokio::test]
    async fn a_status_counts_even_if_its_body_breaks_off_stalls_or_does_not_end() {
        let server = Server::start(HTTP2, |request| match request.uri().path() {
            "/breaks" => Answer::BreaksOff(410),
            "/stalls" => Answer::Stalls(200),
            _ => Answer::Endless(503),
        })
        .await;
        let http = open(&Config { request_timeout: Duration::from_millis(500), ..config(&server) });
        for (path, status, length) in [("/breaks", 410, 10), ("/stalls", 200, 10), ("/endless", 503, BODY_BYTES_MAX)] {
            let url = format!("{}{path}", server.url());
            let reply = http.send(request(&url), Peer::Apns).await.expect("an answer");
            assert_eq!(reply.status.as_u16(), status, "{path}");
            assert!(reply.body.len() <= length, "{path}");
        }
        let endless = http.send(request(&server.url()), Peer::Apns).await.expect("an answer");
        assert_eq!(endless.body.len(), BODY_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_reset_without_a_status_is_no_answer_and_is_not_repeated() {
        let server = Server::start(HTTP2, |_| Answer::Resets).await;
        assert!(matches!(ask_once(&server, Peer::Apns).await, Err(Error::Closed(_))));
        assert_eq!(server.requests().len(), 1, "the peer may have acted on it");
    }

    #[tokio::test]
    async fn a_goodbye_costs_no_request() {
        let manner = Manner { requests_per_connection: 7, ..HTTP2 };
        let server = Server::start(manner, |_| ok("{}")).await;
        let http = open(&config(&server));
        for _ in 0..50 {
            http.send(request(&server.url()), Peer::Apns).await.expect("an answer");
        }
        assert!(server.connections() > 1);
        assert_eq!(server.requests().len(), 50, "none is sent twice");
    }

    #[tokio::test]
    async fn a_goodbye_under_load_loses_and_repeats_nothing() {
        let manner = Manner { requests_per_connection: 40, ..HTTP2 };
        let server = Server::start(manner, |_| ok("{}")).await;
        let http = open(&Config { connections_max: 1, ..config(&server) });
        let url = server.url();
        let requests = (0..200).map(|number| http.send(request(&format!("{url}/{number}")), Peer::Apns));
        let replies = join_all(requests).await;
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
        let mut paths: Vec<String> = server.requests().iter().map(|request| request.uri().path().to_owned()).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!((paths.len(), server.requests().len()), (200, 200), "none is sent twice");
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let server = Server::start(HTTP2, |_| Answer::Reply(308, &[("location", "/elsewhere")], String::new())).await;
        assert_eq!(ask_once(&server, Peer::Issuer).await.expect("an answer").status.as_u16(), 308);
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn private_addresses_are_refused_by_what_a_name_resolves_to() {
        let server = Server::start(HTTP2, |_| ok("{}")).await;
        let http = open(&config(&server));
        let literal = |host: &str| format!("https://{host}:{}/", server.port());
        for url in [server.url(), literal("127.0.0.1"), literal("[::1]"), literal("[::ffff:127.0.0.1]")] {
            assert_eq!(http.send(request(&url), Peer::Subscription).await.err(), Some(Error::NotAllowed), "{url}");
        }
        assert!(http.send(request(&literal("127.1")), Peer::Subscription).await.is_err(), "no host name");
        assert_eq!(server.connections(), 0);
        assert!(http.send(request(&server.url()), Peer::Issuer).await.is_ok(), "an operator's choice is not judged");

        let webpush: webpush::Config =
            toml::from_str("key = \"k\"\nsubject = \"mailto:a@b\"\nallow_private = true").expect("a section");
        let http = open(&Config { webpush: Some(webpush), ..config(&server) });
        assert!(http.send(request(&server.url()), Peer::Subscription).await.is_ok());
    }

    #[tokio::test]
    async fn only_https_and_only_trusted_certificates() {
        let server = Server::start(HTTP2, |_| ok("{}")).await;
        let http = open(&config(&server));
        let plain = server.url().replace("https", "http");
        assert!(matches!(http.send(request(&plain), Peer::Issuer).await, Err(Error::Connect(_))));
        let other = Server::start(HTTP2, |_| ok("{}")).await;
        assert!(matches!(http.send(request(&other.url()), Peer::Apns).await, Err(Error::Connect(_))));
        assert_eq!(other.connections(), 0);
    }

    #[test]
    fn a_missing_or_odd_authority_file_is_named() {
        let refused = |file: &Path| {
            let config = Config { extra_ca: Some(file.to_owned()), ..Config::default() };
            Http::new(&config, Path::new("")).err().expect("refused")
        };
        assert_eq!(refused(Path::new("missing.pem"))[0].path, "/extra_ca");
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(refused(file.path())[0].message.contains("holds no certificate"));
    }
}
