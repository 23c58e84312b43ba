//! Sockets, TLS and HTTP around the three services: connections, delays, resets, GOAWAY. Knows no service's rules.

use std::{convert::Infallible, io, net::Ipv4Addr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parvis_engine::{notification::Channel, shopper::ApnsEnvironment};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Endpoints, Error, apns,
    behaviour::Effect,
    control, fcm,
    identity::Identity,
    record::{Received, Refusal},
    reply::{Judged, Reply, Request, status},
    shared::{Connection, Shared},
    webpush,
};
use crate::clock::Clock;
/// More than any service takes, so that each can say by itself that a message is too large.
const BODY_BYTES: usize = 64 * 1024;
/// What a service announces by default.
const STREAMS: u32 = 1_000;
const HANDSHAKE: Duration = Duration::from_secs(10);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);
/// Lets an answer's beginning leave before its stream is reset.
const BEFORE_RESET: Duration = Duration::from_millis(20);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Which service a listener is.
#[derive(Clone, Copy, Debug)]
enum Service {
    Apns(ApnsEnvironment),
    Fcm,
    WebPush,
}

/// What a listener's connections start with.
struct Listening {
    acceptor: TlsAcceptor,
    service: Service,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    abort: CancellationToken,
}

/// The five listeners, bound.
pub(super) struct Sockets {
    apns_production: TcpListener,
    apns_sandbox: TcpListener,
    fcm: TcpListener,
    webpush: TcpListener,
    control: TcpListener,
}

impl Service {
    fn channel(self) -> Channel {
        match self {
            Service::Apns(_) => Channel::Apns,
            Service::Fcm => Channel::Fcm,
            Service::WebPush => Channel::WebPush,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Service::Apns(_) => vec![b"h2".to_vec()],
            Service::Fcm | Service::WebPush => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }

    fn judge(self, shared: &Shared, connection: &Connection, request: &Request) -> Judged {
        match self {
            Service::Apns(environment) => apns::judge(shared, environment, connection, request),
            Service::Fcm => fcm::judge(shared, request),
            Service::WebPush => webpush::judge(shared, request),
        }
    }

    /// The service's way to say that it will not, and its word for the reason.
    fn refuse(self, code: u16, reason: Option<&str>, shared: &Shared) -> (Reply, String) {
        match self {
            Service::Apns(_) => apns::refuse(code, reason, shared.clock.now()),
            Service::Fcm => fcm::refuse(code, reason),
            Service::WebPush => webpush::refuse(code, reason),
        }
    }
}

impl Sockets {
    pub(super) async fn bind(port_base: Option<u16>) -> Result<Sockets, Error> {
        let listen = async |service: &'static str, offset: u16| {
            let port = match port_base {
                None => Some(0),
                Some(base) => base.checked_add(offset),
            };
            let port = port.ok_or_else(|| Error::Bind {
                service,
                port: port_base.unwrap_or(0),
                source: io::Error::new(io::ErrorKind::InvalidInput, "the base leaves no room for five ports"),
            })?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
            listener.map_err(|source| Error::Bind { service, port, source })
        };
        Ok(Sockets {
            apns_production: listen("APNs production", 0).await?,
            apns_sandbox: listen("APNs sandbox", 1).await?,
            fcm: listen("FCM", 2).await?,
            webpush: listen("Web Push", 3).await?,
            control: listen("control", 4).await?,
        })
    }

    pub(super) fn endpoints(&self) -> Result<Endpoints, Error> {
        let url = |scheme: &str, service, listener: &TcpListener| {
            let address = listener.local_addr().map_err(|source| Error::Bind { service, port: 0, source })?;
            Ok(format!("{scheme}://{address}"))
        };
        let fcm = url("https", "FCM", &self.fcm)?;
        Ok(Endpoints {
            apns_production: url("https", "APNs production", &self.apns_production)?,
            apns_sandbox: url("https", "APNs sandbox", &self.apns_sandbox)?,
            fcm_token: format!("{fcm}{}", fcm::TOKEN_PATH),
            fcm,
            webpush: url("https", "Web Push", &self.webpush)?,
            control: url("http", "control", &self.control)?,
        })
    }

    /// Starts the accept loops. They end with the shared token; connections are cut with `abort`.
    pub(super) fn serve(
        self,
        shared: &Arc<Shared>,
        tasks: &TaskTracker,
        abort: &CancellationToken,
    ) -> Result<(), Error> {
        let services = [
            (self.apns_production, Service::Apns(ApnsEnvironment::Production)),
            (self.apns_sandbox, Service::Apns(ApnsEnvironment::Sandbox)),
            (self.fcm, Service::Fcm),
            (self.webpush, Service::WebPush),
        ];
        for (listener, service) in services {
            let acceptor = TlsAcceptor::from(Arc::new(tls(&shared.identity, service)?));
            let (shared, connections, abort) = (Arc::clone(shared), tasks.clone(), abort.clone());
            let listening = Listening { acceptor, service, shared, tasks: connections, abort };
            tasks.spawn(listening.accept(listener));
        }
        tasks.spawn(control::serve(self.control, Arc::clone(shared), abort.clone()));
        Ok(())
    }
}

fn tls(identity: &Identity, service: Service) -> Result<ServerConfig, Error> {
    let failed = |error: rustls::Error| Error::Identity { what: "TLS configuration", detail: error.to_string() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(identity.certificates.clone(), identity.tls_key.clone_key())
        .map_err(failed)?;
    config.alpn_protocols = service.protocols();
    Ok(config)
}

impl Listening {
    async fn accept(self, listener: TcpListener) {
        loop {
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => self.spawn(socket),
                    // Out of descriptors, perhaps: nothing gets better by asking again at once.
                    Err(_) => self.shared.clock.sleep(AFTER_ACCEPT_ERROR).await,
                },
            }
        }
    }

    fn spawn(&self, socket: TcpStream) {
        let connection = connect(socket, self.acceptor.clone(), self.service, Arc::clone(&self.shared));
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            abort.run_until_cancelled(connection).await;
        });
    }
}

async fn connect(socket: TcpStream, acceptor: TlsAcceptor, service: Service, shared: Arc<Shared>) {
    // Without it small answers wait for the peer's delayed acknowledgements.
    let _ = socket.set_nodelay(true);
    let Some(mut departure) = shared.departures(service.channel()) else { return };
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket));
    let tls = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        tls = handshake => tls,
    };
    let Ok(Ok(tls)) = tls else { return };
    let streams = shared.conditions(service.channel()).max_concurrent_streams.unwrap_or(STREAMS);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(streams).timer(TokioTimer::new());
    builder.http1().timer(TokioTimer::new());
    let connection = Arc::new(Connection::default());
    let answering = service_fn(|request| answer(service, Arc::clone(&shared), Arc::clone(&connection), request));
    let mut serving = pin!(builder.serve_connection(TokioIo::new(tls), answering));
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled(), if !leaving => leaving = true,
            changed = departure.changed(), if !leaving => leaving = changed.is_ok(),
            _ = serving.as_mut() => return,
        }
        serving.as_mut().graceful_shutdown();
    }
}

/// Never fails as a service; an error closes the stream without an answer.
async fn answer(
    service: Service,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let conditions = shared.conditions(service.channel());
    let request = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
        request = read(request) => request?,
    };
    if let Some(code) = conditions.failing {
        let (reply, _) = service.refuse(code, None, &shared);
        pause(&shared, conditions.latency_ms).await?;
        return Ok(respond(reply.retry_after(conditions.retry_after_s)));
    }
    let (reply, effect) = settle(service, &shared, &connection, &request);
    pause(&shared, conditions.latency_ms).await?;
    match effect {
        Effect::Answer | Effect::Refuse { .. } => Ok(respond(reply)),
        Effect::Delay { delay_ms } => {
            pause(&shared, delay_ms).await?;
            Ok(respond(reply))
        }
        Effect::Silence => {
            shared.stop.cancelled().await;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Effect::Reset => Ok(respond_and_reset(reply, shared.clock.clone())),
    }
}

/// Judges a request, applies what was asked for its target, and records it.
fn settle(service: Service, shared: &Shared, connection: &Connection, request: &Request) -> (Reply, Effect) {
    let (target, message, reply, refusal, effect) = match service.judge(shared, connection, request) {
        Judged::Answer(reply) => return (reply, Effect::Answer),
        Judged::Refused { target, message, reply, reason } => (target, message, reply, Some(reason), Effect::Answer),
        Judged::Valid { target, message, reply } => match shared.targets.next_effect(&target) {
            Effect::Refuse { status, reason, retry_after_s } => {
                let (reply, reason) = service.refuse(status, reason.as_deref(), shared);
                (target, message, reply.retry_after(retry_after_s), Some(reason), Effect::Answer)
            }
            effect @ (Effect::Answer | Effect::Delay { .. } | Effect::Silence | Effect::Reset) => {
                (target, message, reply, None, effect)
            }
        },
    };
    let refused = refusal.map(|reason| Refusal { status: reply.status.as_u16(), reason });
    let (channel, at) = (service.channel(), shared.clock.now());
    shared.record.add(Received { sequence: 0, channel, target, at, message, refused });
    (reply, effect)
}

async fn read(request: http::Request<Incoming>) -> Result<Request, io::Error> {
    let (parts, body) = request.into_parts();
    let (body, overlong) = match Limited::new(body, BODY_BYTES).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(error) => return Err(io::Error::other(error)),
    };
    let path = parts.uri.path().to_owned();
    Ok(Request { method: parts.method, path, headers: parts.headers, body, overlong })
}

async fn pause(shared: &Shared, delay_ms: u64) -> Result<(), io::Error> {
    if delay_ms == 0 {
        return Ok(());
    }
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
        () = shared.clock.sleep(Duration::from_millis(delay_ms)) => Ok(()),
    }
}

fn respond(reply: Reply) -> Response<Body> {
    let body = Full::new(reply.body.clone()).map_err(|never: Infallible| match never {}).boxed_unsync();
    response(&reply, body)
}

/// Half of the answer, then an error instead of its end.
fn respond_and_reset(reply: Reply, clock: Clock) -> Response<Body> {
    let half = reply.body.slice(..reply.body.len() / 2);
    let frames = stream::iter((!half.is_empty()).then(|| Ok(Frame::data(half))));
    let cut = stream::once(async move {
        clock.sleep(BEFORE_RESET).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let body = StreamBody::new(frames.chain(cut)).boxed_unsync();
    let mut response = response(&reply, body);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

fn response(reply: &Reply, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status(reply.status.as_u16());
    response.headers_mut().clone_from(&reply.headers);
    response
}
