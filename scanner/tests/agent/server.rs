//! A server that takes reports, or does not, as it is told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parvis_beacons::report::Report;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// Far more than anything needs; only a failure takes so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a server knows.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Default)]
struct Inner {
    reports: Vec<Report>,
    /// Answers other than 200, first ones first; a report that gets one is not taken.
    answers: Vec<(u16, Option<u64>)>,
    refusals: usize,
    keys: Vec<String>,
}

/// A server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) book: Book,
    _work: JoinSet<()>,
}

impl Server {
    /// Starts on a free port.
    pub(crate) async fn start() -> Server {
        Server::start_on("127.0.0.1:0".parse().expect("an address"), Book::default()).await
    }

    /// Starts on this port, and goes on with what another one has written down.
    pub(crate) async fn start_on(address: SocketAddr, book: Book) -> Server {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut work = JoinSet::new();
        work.spawn(serve(listener, book.clone()));
        Server { address, book, _work: work }
    }
}

impl Book {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All reports that were taken, in their order.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.lock().reports.clone()
    }

    /// The next reports get these statuses, with so many seconds of `Retry-After`, and are not taken.
    pub(crate) fn answer_next(&self, answers: &[(u16, Option<u64>)]) {
        self.lock().answers.extend_from_slice(answers);
    }

    /// How many reports were not taken.
    pub(crate) fn refusals(&self) -> usize {
        self.lock().refusals
    }

    /// The last key that was sent.
    pub(crate) fn last_key(&self) -> Option<String> {
        self.lock().keys.last().cloned()
    }

    /// Waits until there is news, but not for long.
    pub(crate) async fn news(&self) {
        let _ = timeout(Duration::from_millis(50), self.0.news.notified()).await;
    }

    fn take(&self, key: String, report: Report) -> (u16, Option<u64>) {
        let mut inner = self.lock();
        inner.keys.push(key);
        let answer = if inner.answers.is_empty() { (200, None) } else { inner.answers.remove(0) };
        if answer.0 == 200 {
            inner.reports.push(report);
        } else {
            inner.refusals += 1;
        }
        drop(inner);
        self.0.news.notify_waiters();
        answer
    }
}

impl Server {
    /// Starts on a free port with a certificate.
    pub(crate) async fn start_tls(tls: TlsAcceptor) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, book) = (listener.local_addr().expect("an address"), Book::default());
        let mut work = JoinSet::new();
        work.spawn(serve_tls(listener, tls, book.clone()));
        Server { address, book, _work: work }
    }
}

async fn serve_tls(listener: TcpListener, tls: TlsAcceptor, book: Book) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, book) = (tls.clone(), book.clone());
        connections.spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                converse(stream, book).await;
            }
        });
    }
}

async fn serve(listener: TcpListener, book: Book) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, book.clone()));
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, book: Book) {
    let service = service_fn(move |request| answer(request, book.clone()));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, book: Book) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.uri.path(), "/base/v1/ingest/scanners/parvis");
    assert_eq!(parts.headers[header::CONTENT_ENCODING], "zstd");
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
    let key = parts.headers[header::AUTHORIZATION].to_str().expect("text").to_owned();
    let compressed = body.collect().await.expect("a body").to_bytes();
    let text = zstd::decode_all(&compressed[..]).expect("zstd");
    let report = serde_json::from_slice(&text).expect("a report");
    let (status, retry_after) = book.take(key, report);
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"title\":\"as told\"}")));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}
