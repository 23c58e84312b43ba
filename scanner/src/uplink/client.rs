//! One upload: a report over HTTP, and what the server says to it.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::verdict::{Verdict, judge};
use crate::{clock::Clock, config};

/// Where reports are posted, below the server's own path.
const PATH: &str = "v1/ingest/scanners/parvis";
/// How much of an answer is read; it is only shown.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// How much of it is shown.
const SHOWN_CHARACTERS: usize = 300;
/// A connection that was idle for longer may be gone without a word.
const IDLE_MAX: Duration = Duration::from_secs(45);

/// What came of an upload.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What becomes of the report.
    pub verdict: Verdict,
    /// The server's wall clock, milliseconds since 1970, if it told.
    pub server_ms: Option<i64>,
    /// For whoever reads the log.
    pub told: String,
}

/// Sends reports to one server.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    timeout: Duration,
    clock: Clock,
}

impl Client {
    /// Reads certificates; opens no connection yet.
    ///
    /// # Errors
    /// If there are no certificates to trust, or the URL can't be extended.
    pub fn new(server: &config::Server, clock: Clock) -> Result<Client> {
        let base = server.url.to_string();
        let uri = format!("{}/{PATH}", base.trim_end_matches('/')).parse()?;
        let roots = roots(server.ca_file.as_deref(), server.url.scheme_str() == Some("https"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(server.timeout));
        tcp.set_keepalive(Some(IDLE_MAX));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(2)
            .build(connector);
        Ok(Client { pool, uri, timeout: server.timeout, clock })
    }

    /// Posts a compressed report.
    pub async fn post(self, key: String, body: Vec<u8>) -> Outcome {
        match self.clock.within(self.timeout, self.exchange(&key, body)).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => Outcome::failed(format!("{error:#}")),
            None => Outcome::failed(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn exchange(&self, key: &str, body: Vec<u8>) -> Result<Outcome> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_ENCODING, "zstd")
            .header(header::USER_AGENT, concat!("parvis-scanner/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))?;
        let response = self.pool.request(request).await.map_err(|error| anyhow!(chain(&error)))?;
        let (parts, body) = response.into_parts();
        let answer = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let text = answer.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let status = parts.status.as_u16();
        let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARACTERS).collect();
        Ok(Outcome {
            verdict: judge(status, retry_after(&parts.headers)),
            server_ms: date(&parts.headers),
            told: format!("{status} {shown}"),
        })
    }
}

impl Outcome {
    fn failed(told: String) -> Outcome {
        Outcome { verdict: Verdict::Later { retry_after: None }, server_ms: None, told }
    }
}

/// An error with its causes; the pool's own text names only the outermost.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// In seconds; servers that give a date are waited for as for any failure.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn date(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.as_millisecond())
}

fn roots(ca_file: Option<&Path>, needed: bool) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if needed {
        let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(path) = ca_file {
        for certificate in certificates(path).map_err(|message| anyhow!(message))? {
            roots
                .add(certificate)
                .with_context(|| format!("{}: not a certificate that can be trusted", path.display()))?;
        }
    }
    if needed && roots.is_empty() {
        return Err(anyhow!("the system trusts no certificates; name some as server.ca_file"));
    }
    Ok(roots)
}

/// The certificates in a PEM file.
///
/// # Errors
/// A sentence that says why there are none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| format!("{shown} can't be read: {error}"))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| format!("{shown} is not PEM: {error}"))?;
    if found.is_empty() { Err(format!("{shown} holds no certificate")) } else { Ok(found) }
}

/// The key in a file: its only line.
///
/// # Errors
/// A sentence that says why there is none.
pub fn key(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown} can't be read: {error}"))?;
    let key = text.trim();
    if key.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    // RFC 6750, section 2.1: what a bearer token may consist of is narrower still.
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{shown} must hold one key and nothing else"));
    }
    Ok(key.to_owned())
}
