//! One connection of one service, from the handshake to GOAWAY. What is answered is `exchange`'s.

use std::{pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parvis_engine::{notification::Channel, shopper::ApnsEnvironment, time::Timestamp};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    apns,
    behaviour::Reachable,
    exchange, fcm,
    frames::{Frames, Wire},
    record::Message,
    reply::{Judged, Reply, Request},
    shared::{Connection, Shared},
    webpush,
};

/// What a service announces by default.
const STREAMS: u32 = 1_000;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HTTP_2: &[u8] = b"h2";

/// Which service a listener is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Apns(ApnsEnvironment),
    Fcm,
    WebPush,
}

impl Service {
    pub(super) fn channel(self) -> Channel {
        match self {
            Service::Apns(_) => Channel::Apns,
            Service::Fcm => Channel::Fcm,
            Service::WebPush => Channel::WebPush,
        }
    }

    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Service::Apns(_) => vec![HTTP_2.to_vec()],
            Service::Fcm | Service::WebPush => vec![HTTP_2.to_vec(), b"http/1.1".to_vec()],
        }
    }

    pub(super) fn judge(self, shared: &Shared, connection: &Connection, request: &Request) -> Judged {
        match self {
            Service::Apns(environment) => apns::judge(shared, environment, connection, request),
            Service::Fcm => fcm::judge(shared, request),
            Service::WebPush => webpush::judge(shared, request),
        }
    }

    /// What devices and browsers do with what was accepted.
    pub(super) fn accepted(self, shared: &Shared, target: &str, request: &Request, message: &mut Message) {
        match self {
            Service::Apns(_) => apns::accepted(shared, target, message),
            Service::Fcm => {}
            Service::WebPush => webpush::accepted(shared, target, request),
        }
    }

    /// The service's way to say that it will not, and its word for the reason.
    pub(super) fn refuse(self, code: u16, reason: Option<&str>, shared: &Shared) -> (Reply, String) {
        match self {
            Service::Apns(_) => apns::refuse(code, reason, shared.clock.now()),
            Service::Fcm => fcm::refuse(code, reason, shared),
            Service::WebPush => webpush::refuse(code, reason),
        }
    }

    /// The service's way to say that the target is gone.
    pub(super) fn gone(self, since: Timestamp, expired: bool) -> (Reply, String) {
        match self {
            Service::Apns(_) => apns::gone(since, expired),
            Service::Fcm => fcm::gone(),
            Service::WebPush => webpush::gone(),
        }
    }
}

pub(super) async fn connect(socket: TcpStream, acceptor: TlsAcceptor, service: Service, shared: Arc<Shared>) {
    // Without it small answers wait for the peer's delayed acknowledgements.
    let _ = socket.set_nodelay(true);
    let mut departures = shared.departures(service.channel());
    let mut changes = shared.changes(service.channel());
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket));
    let tls = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        tls = handshake => tls,
    };
    let Ok(Ok(tls)) = tls else { return };
    let connection = Arc::new(opened(&tls, service, &shared));
    let conditions = shared.conditions(service.channel());
    let streams = conditions.max_concurrent_streams.unwrap_or(STREAMS);
    if let (Service::Apns(_), Some(first), Some(wire)) = (service, conditions.streams_before_token, &connection.wire) {
        wire.announce_first(first);
        connection.restrict(first, streams);
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(streams).timer(TokioTimer::new());
    builder.http1().timer(TokioTimer::new());
    let io = TokioIo::new(Frames::new(tls, connection.wire.clone()));
    let answering =
        service_fn(|request| exchange::answer(service, Arc::clone(&shared), Arc::clone(&connection), request));
    let mut serving = pin!(builder.serve_connection(io, answering));
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled(), if !leaving => {}
            _ = departures.changed(), if !leaving => connection.explain(departures.borrow_and_update().as_deref()),
            () = connection.leaving.notified(), if !leaving => {}
            () = idle(&connection, &shared, service), if !leaving => connection.explain(Some("IdleTimeout")),
            _ = changes.changed() => {
                if shared.conditions(service.channel()).reachable != Reachable::Open {
                    return;
                }
                continue;
            }
            _ = serving.as_mut() => return,
        }
        leaving = true;
        serving.as_mut().graceful_shutdown();
    }
}

/// What is known of a connection before its first request.
fn opened(tls: &TlsStream<TcpStream>, service: Service, shared: &Shared) -> Connection {
    let (_, session) = tls.get_ref();
    let presented = match service {
        Service::Apns(_) => shared.apns.certificates.judge(session.peer_certificates(), shared.clock.now()),
        Service::Fcm | Service::WebPush => apns::Presented::Nothing,
    };
    let wire = (session.alpn_protocol() == Some(HTTP_2)).then(|| Arc::new(Wire::default()));
    Connection::new(presented, wire, shared.clock.now())
}

/// Ends when nothing has gone on for longer than the conditions allow.
async fn idle(connection: &Connection, shared: &Shared, service: Service) {
    loop {
        let Some(timeout_ms) = shared.conditions(service.channel()).idle_timeout_ms else {
            return std::future::pending().await;
        };
        let span = Duration::from_millis(timeout_ms);
        let now = shared.clock.now();
        let end = connection.idle_since().unwrap_or(now).plus(span);
        if end <= now {
            return;
        }
        shared.clock.sleep_until(Some(end)).await;
    }
}
