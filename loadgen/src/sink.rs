//! Providers that take everything: APNs and FCM over TLS and HTTP/2 on loopback, in a thread of their own. They look at
//! nothing but the token, which names the phone; `parvis sandbox` is there to check messages.

use std::{
    convert::Infallible, fs, io::Write as _, net::SocketAddr, path::Path, sync::Arc, thread::JoinHandle, time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{clock::Clock, measure::arrivals::Arrivals};

/// What Apple announces.
const STREAMS_MAX: u32 = 1_000;
const APNS_PREFIX: &str = "/3/device/";
const GRANT_PATH: &str = "/token";
const GRANT: &str = r#"{"access_token":"loadgen","expires_in":3600,"token_type":"Bearer"}"#;

/// Running providers; they end with this value.
pub(crate) struct Sink {
    /// The sections of the daemon's configuration that name them.
    pub(crate) config: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How they answer, and what they tell.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) clock: Clock,
    pub(crate) arrivals: Arc<Arrivals>,
    /// So long after a message has come it is answered.
    pub(crate) answer_after: Duration,
    /// Whose token it is.
    pub(crate) phone_of_token: fn(&str) -> Option<u32>,
}

impl Sink {
    /// Starts them and writes the credentials with which the daemon speaks to them into the folder.
    ///
    /// # Errors
    /// If the folder can't be written or there is no port.
    pub(crate) fn start(folder: &Path, manner: Manner) -> anyhow::Result<Sink> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).context("no certificate")?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
            .context("no TLS")?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("the providers find no free port")?;
        listener.set_nonblocking(true).context("the providers find no free port")?;
        let address = listener.local_addr().context("the providers find no free port")?;
        write(folder, "provider-ca.pem", &made.cert.pem())?;
        let config = credentials(folder, address)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let thread = std::thread::Builder::new().name("providers".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! { biased;
                    _ = stopped => {}
                    () = accept(listener, TlsAcceptor::from(Arc::new(tls)), manner) => {}
                }
            });
        });
        let thread = thread.context("no thread for the providers")?;
        Ok(Sink { config, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn credentials(folder: &Path, address: SocketAddr) -> anyhow::Result<String> {
    let port = address.port();
    let apns = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("no key for APNs")?;
    write(folder, "provider-apns.p8", &apns.serialize_pem())?;
    let fcm = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).context("no key for FCM")?;
    let account = serde_json::json!({
        "type": "service_account",
        "project_id": "loadgen",
        "private_key_id": "loadgen",
        "private_key": fcm.serialize_pem(),
        "client_email": "loadgen@loadgen.invalid",
        "token_uri": format!("https://localhost:{port}{GRANT_PATH}"),
    });
    write(folder, "provider-fcm.json", &account.to_string())?;
    // The quotas are Google's. Nothing is measured by keeping them towards a provider that has none.
    Ok(format!(
        "[delivery]\nextra_ca = \"provider-ca.pem\"\n\n\
         [delivery.apns]\nkey = \"provider-apns.p8\"\nkey_id = \"LOADGEN001\"\nteam_id = \"LOADGENTEA\"\n\
         production_url = \"https://localhost:{port}\"\nsandbox_url = \"https://localhost:{port}\"\n\n\
         [delivery.fcm]\nservice_account = \"provider-fcm.json\"\nbase_url = \"https://localhost:{port}\"\n\
         messages_per_minute = 60000000\ndevice_messages_per_minute = 60000\ndevice_messages_per_hour = 3600000\n"
    ))
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    let attempt = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)?.write_all(text.as_bytes())
    };
    attempt().with_context(|| format!("{} can't be written", path.display()))
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, manner: Manner) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(tcp, acceptor.clone(), manner.clone()));
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, manner: Manner) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let service = service_fn(|request| answer(request, manner.clone()));
    // The daemon notices a connection that breaks, and opens another one.
    drop(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(TokioIo::new(tls), service)
            .await,
    );
}

async fn answer(request: Request<Incoming>, manner: Manner) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == GRANT_PATH {
        return Ok(json(GRANT));
    }
    let by_path = request.uri().path().strip_prefix(APNS_PREFIX).map(str::to_owned);
    let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let apns = by_path.is_some();
    let phone = by_path.or_else(|| fcm_token(&body)).and_then(|token| (manner.phone_of_token)(&token));
    let cause = phone.and_then(|phone| manner.arrivals.cause(phone));
    if !manner.answer_after.is_zero() {
        manner.clock.sleep(manner.answer_after).await;
    }
    manner.arrivals.arrived(cause, manner.clock.now_us());
    Ok(if apns { status(StatusCode::OK) } else { json(r#"{"name":"projects/loadgen/messages/1"}"#) })
}

fn fcm_token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Sent {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        token: String,
    }
    serde_json::from_slice(body).ok().map(|sent: Sent| sent.message.token)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn json(body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_fcm_names_its_token() {
        assert_eq!(fcm_token(br#"{"message":{"data":{},"token":"t-7"}}"#).as_deref(), Some("t-7"));
        assert_eq!(fcm_token(br#"{"message":{"topic":"all"}}"#), None);
    }
}
