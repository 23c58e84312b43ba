//! Opens the way to a broker: TCP, and TLS over it. Speaks no MQTT.

use std::{path::Path, sync::Arc};

use parvis_engine::problem::Problem;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{address::Address, config::Connection, contents};

/// Both ways of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Knows where a broker is and whom to trust.
pub(super) struct Opener {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Opener {
    /// Reads the files that TLS needs; notes what is wrong.
    pub(super) fn read(config: &Connection, base: &Path, problems: &mut Vec<Problem>) -> Option<Opener> {
        // What is wrong with the text is noted where values are checked.
        let address = Address::parse(&config.url).ok()?;
        if !address.secure {
            return Some(Opener { address, tls: None });
        }
        let tls = tls(config, base, problems)?;
        match ServerName::try_from(address.host.clone()) {
            Ok(name) => Some(Opener { address, tls: Some((TlsConnector::from(Arc::new(tls)), name)) }),
            Err(_) => {
                problems.push(Problem::new("/url", format!("{:?} is no name that TLS knows", address.host)));
                None
            }
        }
    }

    /// A connection. The caller sets the deadline.
    pub(super) async fn open(&self) -> Result<Box<dyn Stream>, String> {
        let target = (self.address.host.as_str(), self.address.port);
        let stream = TcpStream::connect(target).await.map_err(|error| format!("no connection: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("no connection: {error}"))?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), stream).await;
                Ok(Box::new(secured.map_err(|error| format!("no TLS: {error}"))?))
            }
        }
    }
}

fn tls(config: &Connection, base: &Path, problems: &mut Vec<Problem>) -> Option<ClientConfig> {
    let roots = roots(config, base, problems)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = match ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(builder) => builder.with_root_certificates(roots),
        Err(error) => {
            problems.push(Problem::new("/url", format!("TLS can't be set up: {error}")));
            return None;
        }
    };
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Some(builder.with_no_client_auth());
    };
    let chain = contents(base, certificate, "/certificate", problems)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain).filter_map(Result::ok).collect();
    let key_bytes = contents(base, key, "/key", problems)?;
    let Ok(private) = PrivateKeyDer::from_pem_slice(&key_bytes) else {
        problems.push(Problem::new("/key", format!("{} holds no private key in PEM form", key.display())));
        return None;
    };
    match builder.with_client_auth_cert(chain, private) {
        Ok(config) => Some(config),
        Err(error) => {
            let message = format!("{} and its key can't be used: {error}", certificate.display());
            problems.push(Problem::new("/certificate", message));
            None
        }
    }
}

fn roots(config: &Connection, base: &Path, problems: &mut Vec<Problem>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca {
        let pem = contents(base, file, "/ca", problems)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            problems.push(Problem::new("/ca", format!("{} holds no certificate in PEM form", file.display())));
            return None;
        }
        return Some(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "is missing, and the system has no certificate authorities: install ca-certificates";
        problems.push(Problem::new("/ca", message));
        return None;
    }
    Some(roots)
}
