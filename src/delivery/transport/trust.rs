//! Whom the daemon believes to be who they say, and what it says of itself. It opens no connection.

use std::{path::Path, sync::Arc};

use parvis_engine::problem::Problem;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject},
    sign::SingleCertAndKey,
};

use super::{Identity, Peer};
use crate::delivery::{Config, read};

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// One session for each of the few hosts that are shown a certificate.
const SESSIONS_MAX: usize = 16;

/// How TLS is set up, for each kind of peer.
pub(super) struct Trust {
    providers: Arc<ClientConfig>,
    others: Arc<ClientConfig>,
}

impl Trust {
    /// The system's certificate authorities and those of the configuration; relative paths are below `base`.
    pub(super) fn new(config: &Config, base: &Path) -> Result<Trust, Vec<Problem>> {
        let roots = roots(config, base)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| vec![Problem::new("", format!("TLS cannot be set up: {error}"))])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![HTTP2.to_vec()];
        let providers = Arc::new(tls.clone());
        tls.alpn_protocols.push(HTTP1.to_vec());
        Ok(Trust { providers, others: Arc::new(tls) })
    }

    /// The setting for connections to a peer.
    pub(super) fn client(&self, peer: Peer, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let common = match peer {
            Peer::Apns | Peer::Fcm => &self.providers,
            Peer::Issuer | Peer::Subscription => &self.others,
        };
        let Some(identity) = identity else { return Arc::clone(common) };
        let mut own = ClientConfig::clone(common);
        own.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity.key()));
        // A resumed session would keep the identity with which it began.
        own.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Arc::new(own)
    }
}

/// Whether a peer chose HTTP/2.
pub(super) fn chose_http2(protocol: Option<&[u8]>) -> bool {
    protocol == Some(HTTP2)
}

fn roots(config: &Config, base: &Path) -> Result<RootCertStore, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &config.extra_ca
        && let Some(pem) = read(base, file, "/extra_ca", &mut problems)
    {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            let message = format!("{} holds no certificate in PEM form", file.display());
            problems.push(Problem::new("/extra_ca", message));
        }
    }
    if roots.is_empty() && problems.is_empty() {
        let message = "the system has no certificate authorities: install ca-certificates or name a file here";
        problems.push(Problem::new("/extra_ca", message));
    }
    if problems.is_empty() { Ok(roots) } else { Err(problems) }
}
