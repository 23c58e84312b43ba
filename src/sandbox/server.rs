//! The five listeners, and TLS. What happens on a connection is `connection`'s.

use std::{io, net::Ipv4Addr, net::SocketAddr, sync::Arc, time::Duration};

use parvis_engine::{notification::Channel, shopper::ApnsEnvironment};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Endpoints, Error,
    apns::AnyCertificate,
    behaviour::Reachable,
    connection::{Service, connect},
    control, fcm,
    identity::Identity,
    shared::Shared,
};

const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

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
            autopush: format!("{}/autopush", url("ws", "control", &self.control)?),
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
            tasks.spawn(listening.run(listener));
        }
        tasks.spawn(control::serve(self.control, Arc::clone(shared), abort.clone()));
        Ok(())
    }
}

fn tls(identity: &Identity, service: Service) -> Result<ServerConfig, Error> {
    let failed = |error: rustls::Error| Error::Identity { what: "TLS configuration", detail: error.to_string() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let builder = match service {
        Service::Apns(_) => builder.with_client_cert_verifier(Arc::new(AnyCertificate::new())),
        Service::Fcm | Service::WebPush => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(identity.certificates.clone(), identity.tls_key.clone_key()).map_err(failed)?;
    config.alpn_protocols = service.protocols();
    Ok(config)
}

impl Listening {
    /// Listens, except while the service is told to be away.
    async fn run(self, mut listener: TcpListener) {
        let channel = self.service.channel();
        let mut changes = self.shared.changes(channel);
        loop {
            if self.shared.conditions(channel).reachable == Reachable::Refused {
                let Ok(address) = listener.local_addr() else { return };
                drop(listener);
                let Some(again) = self.return_later(&mut changes, address, channel).await else { return };
                listener = again;
            }
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return,
                _ = changes.changed() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => self.spawn(socket),
                    // Out of descriptors, perhaps: nothing gets better by asking again at once.
                    Err(_) => self.shared.clock.sleep(AFTER_ACCEPT_ERROR).await,
                },
            }
        }
    }

    /// The listener on the same port, once the service may be reached again; none if the sandbox stops before.
    async fn return_later(
        &self,
        changes: &mut watch::Receiver<()>,
        address: SocketAddr,
        channel: Channel,
    ) -> Option<TcpListener> {
        loop {
            let (conditions, until) = self.shared.held(channel);
            let wait = if conditions.reachable == Reachable::Refused {
                until
            } else {
                match TcpListener::bind(address).await {
                    Ok(listener) => return Some(listener),
                    // Somebody has taken the port, for a moment perhaps.
                    Err(_) => Some(self.shared.clock.now().plus(AFTER_ACCEPT_ERROR)),
                }
            };
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return None,
                _ = changes.changed() => {}
                () = self.shared.clock.sleep_until(wait) => {}
            }
        }
    }

    fn spawn(&self, socket: TcpStream) {
        if self.shared.conditions(self.service.channel()).reachable != Reachable::Open {
            return;
        }
        let connection = connect(socket, self.acceptor.clone(), self.service, Arc::clone(&self.shared));
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            abort.run_until_cancelled(connection).await;
        });
    }
}
