//! A bare HTTP/2 client over TLS, and a stopped clock that can be moved.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parvis::{
    clock::Clock,
    entropy::Entropy,
    sandbox::{ApnsCertificate, Options, Sandbox},
};
use parvis_engine::time::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

/// A sandbox at noon of a winter's day, the same in every run but for its keys and ports.
pub(crate) async fn sandbox() -> Sandbox {
    start(|_| {}).await
}

pub(crate) async fn start(change: impl FnOnce(&mut Options)) -> Sandbox {
    let noon: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
    let mut options = Options { clock: Clock::simulated(noon), entropy: Entropy::seeded(7), ..Options::default() };
    change(&mut options);
    Sandbox::start(options).await.expect("the sandbox starts")
}

/// Lets time pass at once.
pub(crate) async fn pass(span: Duration) {
    tokio::time::pause();
    tokio::time::advance(span).await;
    tokio::time::resume();
}

/// The sandbox's time in seconds.
pub(crate) fn seconds(sandbox: &Sandbox) -> i64 {
    sandbox.now().as_millis() / 1_000
}

/// One request, to be spoilt.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Ask {
        Ask { method: Method::POST, path: path.to_owned(), headers: Vec::new(), body: body.into() }
    }

    /// Replaces a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self = self.without(name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Ask {
        self.headers.retain(|(known, _)| *known != name);
        self
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One connection.
pub(crate) struct Client {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    pub(crate) connection: JoinHandle<()>,
    /// How many streams the server allows.
    pub(crate) streams: watch::Receiver<usize>,
    heard: Arc<Mutex<Vec<u8>>>,
}

/// Writes down what is read.
struct Tap<S> {
    inner: S,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(task, out))?;
        this.heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&out.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(task)
    }
}

impl Client {
    pub(crate) async fn connect(url: &str, sandbox: &Sandbox) -> Client {
        Client::connect_as(url, sandbox, None).await
    }

    /// Shows a certificate.
    pub(crate) async fn connect_as(url: &str, sandbox: &Sandbox, certificate: Option<&ApnsCertificate>) -> Client {
        let authority = url.strip_prefix("https://").expect("an https URL").to_owned();
        let socket = TcpStream::connect(&authority).await.expect("the port is open");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let tls = TlsConnector::from(Arc::new(trusting(sandbox.ca_pem(), "h2", certificate)));
        let tls = tls.connect(name, socket).await.expect("the certificate is good");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let tap = Tap { inner: tls, heard: Arc::clone(&heard) };
        let (sender, mut connection) =
            handshake(TokioExecutor::new(), TokioIo::new(tap)).await.expect("the server speaks HTTP/2");
        let (allowed, streams) = watch::channel(usize::MAX);
        let connection = tokio_util::task::TaskTracker::new().spawn(async move {
            let driven = poll_fn(|task| {
                let state = Pin::new(&mut connection).poll(task);
                allowed.send_replace(connection.current_max_send_streams());
                state
            });
            // How it ended shows in the requests.
            let _ = driven.await;
        });
        Client { authority, sender, connection, streams, heard }
    }

    /// Whether these bytes came.
    pub(crate) fn heard(&self, bytes: &[u8]) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.windows(bytes.len()).any(|window| window == bytes)
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        self.try_ask(ask).await.expect("an answer")
    }

    pub(crate) async fn try_ask(&self, ask: Ask) -> Result<Answer, hyper::Error> {
        let response = self.begin(ask).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Gives the answer's head, and its body unread.
    pub(crate) async fn begin(&self, ask: Ask) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
        let uri = format!("https://{}{}", self.authority, ask.path);
        let mut request = Request::new(Full::new(Bytes::from(ask.body)));
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri.parse().expect("a URL");
        for (name, value) in ask.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        self.sender.clone().send_request(request).await
    }
}

/// What the server agrees to speak with a client that speaks only `protocol`.
pub(crate) async fn agreed(url: &str, sandbox: &Sandbox, protocol: &str) -> Option<Vec<u8>> {
    let socket = TcpStream::connect(url.strip_prefix("https://").expect("an https URL")).await.expect("open");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls =
        TlsConnector::from(Arc::new(trusting(sandbox.ca_pem(), protocol, None))).connect(name, socket).await.ok()?;
    tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
}

fn trusting(ca_pem: &str, protocol: &str, certificate: Option<&ApnsCertificate>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate")).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(ApnsCertificate { certificate_pem, key_pem }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    config
}
