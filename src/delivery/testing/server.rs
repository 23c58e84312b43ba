//! A server for TLS and HTTP/2 or HTTP/1.1 on a free loopback port, with a certificate of its own.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, net::TcpStream, sync::Notify, task::JoinSet};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What the server does with a request.
pub(crate) enum Answer {
    /// Answers.
    Reply(u16, &'static [(&'static str, &'static str)], String),
    /// Stays silent.
    Never,
    /// Sends a status and half a body, then resets the stream.
    BreaksOff(u16),
    /// Sends a status and half a body, then stays silent.
    Stalls(u16),
    /// Sends a status and a body without end.
    Endless(u16),
    /// Resets the stream before there is a status.
    Resets,
}

pub(crate) fn ok(body: &str) -> Answer {
    Answer::Reply(200, &[], body.to_owned())
}

/// How the server treats connections.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// The protocol that it offers.
    pub(crate) protocol: &'static [u8],
    /// After so many requests it says goodbye to a connection.
    pub(crate) requests_per_connection: usize,
    /// The most streams of a connection.
    pub(crate) streams: u32,
}

pub(crate) const HTTP2: Manner = Manner { protocol: b"h2", requests_per_connection: usize::MAX, streams: 1_000 };

type Handler = dyn Fn(&Request<Bytes>) -> Answer + Send + Sync;

struct Shared {
    manner: Manner,
    handler: Box<Handler>,
    speaker: Option<Box<Speaker>>,
    connections: AtomicUsize,
    requests: Mutex<Vec<Request<Bytes>>>,
}

/// Speaks with one connection; the number counts from 1.
type Speaker = dyn Fn(TlsStream<TcpStream>, usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

pub(crate) struct Server {
    port: u16,
    files: TempDir,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(
        manner: Manner,
        handler: impl Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static,
    ) -> Server {
        Server::listen(manner, Box::new(handler), None, None).await
    }

    /// A server that answers only those who show this certificate.
    pub(crate) async fn asking_for(
        certificate: CertificateDer<'static>,
        handler: impl Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static,
    ) -> Server {
        Server::listen(HTTP2, Box::new(handler), None, Some(certificate)).await
    }

    /// A server of HTTP/2 whose connections a test speaks with, frame by frame.
    pub(crate) async fn spoken<S, F>(speak: S) -> Server
    where
        S: Fn(TlsStream<TcpStream>, usize) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let speaker = move |io, number| -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(speak(io, number)) };
        Server::listen(HTTP2, Box::new(|_| Answer::Never), Some(Box::new(speaker)), None).await
    }

    async fn listen(
        manner: Manner,
        handler: Box<Handler>,
        speaker: Option<Box<Speaker>>,
        certificate: Option<CertificateDer<'static>>,
    ) -> Server {
        let files = TempDir::new().expect("a folder");
        let tls = tls(manner.protocol, &files.path().join("ca.pem"), certificate);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared =
            Arc::new(Shared { manner, handler, speaker, connections: AtomicUsize::new(0), requests: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&shared)));
        Server { port, files, shared, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The certificate as a file.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request<Bytes>> {
        self.shared.requests.lock().expect("not poisoned").clone()
    }
}

/// With a new certificate, which is written to a file.
fn tls(protocol: &[u8], file: &Path, client: Option<CertificateDer<'static>>) -> ServerConfig {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
    std::fs::write(file, cert.pem()).expect("writable");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let mut tls = builder.with_single_cert(vec![cert.der().clone()], key).expect("a usable certificate");
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        connections.spawn(serve(tcp, acceptor.clone(), Arc::clone(&shared)));
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(speaker) = &shared.speaker {
        return speaker(tls, number).await;
    }
    let manner = shared.manner;
    let goodbye = Arc::new(Notify::new());
    let (farewell, served) = (Arc::clone(&goodbye), AtomicUsize::new(0));
    let service = service_fn(move |request| {
        if served.fetch_add(1, Ordering::SeqCst) + 1 == manner.requests_per_connection {
            farewell.notify_one();
        }
        answer(request, Arc::clone(&shared))
    });
    let io = TokioIo::new(tls);
    if manner.protocol == b"h2" {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let connection = builder.max_concurrent_streams(manner.streams).serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            () = goodbye.notified() => connection.as_mut().graceful_shutdown(),
            _ = connection.as_mut() => return,
        }
        let _ = connection.await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, service).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<BoxBody<Bytes, io::Error>>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request::from_parts(parts, body);
    shared.requests.lock().expect("not poisoned").push(request.clone());
    let half = || Ok(Frame::data(Bytes::from_static(b"{\"reason\":")));
    // Until what went before has been written: a reset overtakes what still waits.
    let broken = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Err(io::Error::other("broken off"))
    };
    let (status, headers, body) = match (shared.handler)(&request) {
        Answer::Reply(status, headers, body) => {
            (status, headers, Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed())
        }
        Answer::Never => std::future::pending().await,
        Answer::Resets => return Err(io::Error::other("reset")),
        Answer::BreaksOff(status) => {
            (status, &[][..], BodyExt::boxed(StreamBody::new(stream::iter([half()]).chain(stream::once(broken)))))
        }
        Answer::Stalls(status) => {
            let frames = stream::iter([half()]).chain(stream::pending());
            (status, &[][..], BodyExt::boxed(StreamBody::new(frames)))
        }
        Answer::Endless(status) => {
            let frames = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 1024]))));
            (status, &[][..], BodyExt::boxed(StreamBody::new(frames)))
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(body).expect("a response"))
}
