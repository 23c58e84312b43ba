//! From a host to bytes in both directions: address, TCP, TLS, and the protocol that was agreed on. It keeps nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::Uri;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower::Service;

use super::{
    Error, Peer,
    address::{Allow, Guarded, NotAllowed},
    trust,
};

/// Finds an idle connection that a middlebox has dropped, unseen by the provider.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);
const TCP_KEEP_ALIVE_RETRY: Duration = Duration::from_secs(10);
const TCP_KEEP_ALIVE_RETRIES: u32 = 3;

/// Bytes in both directions.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open way to a peer.
pub(super) struct Wire {
    pub(super) io: Box<dyn Io>,
    pub(super) is_http2: bool,
}

/// Opens ways to one origin.
#[async_trait]
pub(super) trait Dial: Send + Sync {
    async fn dial(&self) -> Result<Wire, Error>;
}

/// Opens TLS to one host.
pub(super) struct Tls {
    uri: Uri,
    name: ServerName<'static>,
    tcp: Guarded,
    tls: TlsConnector,
    http2_only: bool,
}

impl Tls {
    pub(super) fn new(uri: Uri, peer: Peer, tcp: Guarded, tls: Arc<ClientConfig>) -> Result<Tls, Error> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Error::Connect(error.to_string()))?;
        let http2_only = matches!(peer, Peer::Apns | Peer::Fcm);
        Ok(Tls { uri, name, tcp, tls: TlsConnector::from(tls), http2_only })
    }
}

#[async_trait]
impl Dial for Tls {
    async fn dial(&self) -> Result<Wire, Error> {
        let tcp = self.tcp.clone().call(self.uri.clone()).await.map_err(|error| classify(&*error))?.into_inner();
        let failed = |error: std::io::Error| Error::Connect(error.to_string());
        let tls = self.tls.connect(self.name.clone(), tcp).await.map_err(failed)?;
        let is_http2 = trust::chose_http2(tls.get_ref().1.alpn_protocol());
        if self.http2_only && !is_http2 {
            return Err(Error::Connect("the peer does not speak HTTP/2".to_owned()));
        }
        Ok(Wire { io: Box::new(tls), is_http2 })
    }
}

/// TCP to permitted addresses.
pub(super) fn tcp(allow: Allow, connect_timeout: Duration) -> Guarded {
    Guarded::new(allow, |tcp| {
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEP_ALIVE_RETRY));
        tcp.set_keepalive_retries(Some(TCP_KEEP_ALIVE_RETRIES));
    })
}

fn classify(error: &(dyn std::error::Error + 'static)) -> Error {
    let causes = || std::iter::successors(Some(error), |cause| (*cause).source());
    if causes().any(|cause| cause.is::<NotAllowed>()) {
        return Error::NotAllowed;
    }
    Error::Connect(causes().last().map_or_else(|| error.to_string(), ToString::to_string))
}
