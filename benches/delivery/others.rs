//! The same requests over other means: a general client, and no network at all.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parvis::delivery::{
    Reply,
    transport::{Error, Peer, Transport},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// hyper-util's pooling client: one connection to a host.
pub(crate) struct General(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl General {
    pub(crate) fn new(authority: &Path) -> General {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).expect("PEM")).expect("a certificate");
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2().wrap_connector(tcp);
        General(Client::builder(TokioExecutor::new()).http2_only(true).build(connector))
    }
}

#[async_trait]
impl Transport for General {
    async fn send(&self, request: Request<Bytes>, _: Peer) -> Result<Reply, Error> {
        let failed = |error: hyper_util::client::legacy::Error| Error::Closed(error.to_string());
        let (parts, body) = self.0.request(request.map(Full::new)).await.map_err(failed)?.into_parts();
        let body = body.collect().await.map_err(|error| Error::Closed(error.to_string()))?.to_bytes();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }
}

/// Says yes at once.
pub(crate) struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _: Request<Bytes>, _: Peer) -> Result<Reply, Error> {
        Ok(Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() })
    }
}
