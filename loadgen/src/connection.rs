//! Connections to the daemon: HTTP/1.1 and HTTP/2 with prior knowledge, kept or one for each request. No pool, so that
//! what is open is exactly what the scenario says. It must not decide what an answer means for a ping.

pub(crate) mod poster;

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::Mutex, task::JoinSet};

/// A request that is not answered within this time counts as failed. Longer than the daemon takes for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom requests go to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// With a port.
    pub(crate) authority: Authority,
    /// The `Host` header.
    pub(crate) host: HeaderValue,
    /// The `Authorization` header.
    pub(crate) credential: Option<HeaderValue>,
    /// HTTP/2 from the first byte on.
    pub(crate) http2: bool,
    /// Whether a connection is used for more than one request. HTTP/2 connections always are.
    pub(crate) keep_alive: bool,
}

/// A request as it goes out; copies share path and body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds, from `Retry-After`.
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) body: Bytes,
}

/// One worker's way to the daemon.
pub(crate) enum Link {
    Http1(Option<Http1>),
    /// Shared by all workers whose requests go over the same connection.
    Http2(Shared),
}

/// An open HTTP/1.1 connection; it ends with this value.
pub(crate) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// An open HTTP/2 connection; it ends with this value.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// A connection that several workers use.
pub(crate) type Shared = Rc<Mutex<Option<Http2>>>;

impl Endpoint {
    /// Reads `http://host:port`.
    ///
    /// # Errors
    /// If it is none: TLS is terminated in front of the daemon.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Endpoint> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{url:?} does not begin with http://; the driver speaks no TLS");
        let Some(authority) = uri.authority() else { bail!("{url:?} names no host") };
        let with_port = match authority.port_u16() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        let host = HeaderValue::from_str(&with_port).with_context(|| format!("{url:?} names no host"))?;
        let authority = Authority::try_from(with_port).with_context(|| format!("{url:?} names no host"))?;
        Ok(Endpoint { authority, host, credential: None, http2: false, keep_alive: true })
    }

    /// Sends with this key.
    pub(crate) fn with_key(self, key: &str) -> anyhow::Result<Endpoint> {
        let mut credential = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .context("the key has characters that no key has")?;
        credential.set_sensitive(true);
        Ok(Endpoint { credential: Some(credential), ..self })
    }

    async fn connect(&self) -> anyhow::Result<TokioIo<TcpStream>> {
        let stream = TcpStream::connect(self.authority.as_str()).await.context("no connection")?;
        stream.set_nodelay(true).context("no connection")?;
        Ok(TokioIo::new(stream))
    }

    async fn http1(&self) -> anyhow::Result<Http1> {
        let (sender, connection) = http1::handshake(self.connect().await?).await.context("no connection")?;
        let mut driver = JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Ok(Http1 { sender, _driver: driver })
    }

    async fn http2(&self) -> anyhow::Result<Http2> {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), self.connect().await?).await.context("no connection")?;
        let mut driver = JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Ok(Http2 { sender, _driver: driver })
    }

    fn request(&self, call: Call) -> anyhow::Result<http::Request<Full<Bytes>>> {
        let uri = if self.http2 {
            let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone());
            uri.path_and_query(call.path).build().context("a path that is none")?
        } else {
            Uri::from(call.path)
        };
        let mut request = http::Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        if !self.http2 {
            headers.insert(header::HOST, self.host.clone());
            if !self.keep_alive {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if !call.content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        }
        if let Some(credential) = &self.credential {
            headers.insert(header::AUTHORIZATION, credential.clone());
        }
        Ok(request)
    }
}

impl Link {
    /// So many workers' links over so many connections: as many workers as connections with HTTP/1.1, `streams` for each
    /// connection with HTTP/2. Nothing is opened before the first request.
    pub(crate) fn several(endpoint: &Endpoint, connections: usize, streams: usize) -> Vec<Link> {
        if !endpoint.http2 {
            return (0..connections).map(|_| Link::Http1(None)).collect();
        }
        let shared: Vec<Shared> = (0..connections).map(|_| Shared::default()).collect();
        (0..streams).flat_map(|_| shared.iter().map(|shared| Link::Http2(Rc::clone(shared)))).collect()
    }

    /// Sends and waits for the whole answer. Connects if nothing is open.
    ///
    /// # Errors
    /// If there is no connection, it broke, or there was no answer in time. The next request gets a new connection.
    pub(crate) async fn send(&mut self, endpoint: &Endpoint, call: Call) -> anyhow::Result<Answer> {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(endpoint, call)).await;
        let answer = sent.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs())));
        if let Link::Http1(link) = self
            && (answer.is_err() || !endpoint.keep_alive)
        {
            *link = None;
        }
        answer
    }

    async fn exchange(&mut self, endpoint: &Endpoint, call: Call) -> anyhow::Result<Answer> {
        let request = endpoint.request(call)?;
        let response = match self {
            Link::Http1(link) => {
                // A daemon may close a connection after any answer; that is not the next request's fault.
                if let Some(open) = link
                    && open.sender.ready().await.is_err()
                {
                    *link = None;
                }
                let open = match link {
                    Some(open) => open,
                    None => link.insert(endpoint.http1().await?),
                };
                open.sender.send_request(request).await.context("the connection broke")?
            }
            Link::Http2(shared) => {
                let mut sender = sender(shared, endpoint).await?;
                sender.ready().await.context("the connection broke")?;
                sender.send_request(request).await.context("the connection broke")?
            }
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        Ok(Answer { status, retry_after_s, body })
    }
}

async fn sender(shared: &Shared, endpoint: &Endpoint) -> anyhow::Result<http2::SendRequest<Full<Bytes>>> {
    let mut slot = shared.lock().await;
    let open = match slot.take().filter(|open| !open.sender.is_closed()) {
        Some(open) => slot.insert(open),
        None => slot.insert(endpoint.http2().await?),
    };
    Ok(open.sender.clone())
}
