//! Who the daemon is to a peer that asks for a certificate. It reads and checks; connections are opened elsewhere.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::Request;
use parvis_engine::time::Timestamp;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// A certificate with its chain and its private key, to be presented to a peer.
///
/// A request that carries one travels only on connections that were opened with it; see [`Identity::present`].
pub struct Identity {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
    fingerprint: Fingerprint,
}

/// SHA-256 of the certificate. Two identities with the same certificate share their connections.
pub(super) type Fingerprint = [u8; 32];

impl Identity {
    /// From a chain in PEM form, the certificate itself first, and its private key in PEM form: PKCS #8, PKCS #1 or
    /// SEC 1, not encrypted. Both may be the same text.
    ///
    /// # Errors
    /// A sentence without any of the key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| "holds a certificate that is not PEM".to_owned())?;
        let Some(leaf) = chain.first() else { return Err("holds no certificate in PEM form".to_owned()) };
        let not_after = expiry(leaf)?;
        let fingerprint = fingerprint(leaf);
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "has a key that is not an unencrypted private key in PEM form".to_owned())?;
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider());
        let key = key.map_err(|error| {
            let is_anothers = matches!(error, rustls::Error::InconsistentKeys(_));
            let why = if is_anothers { "is not the certificate's" } else { "cannot be used" };
            format!("has a key that {why}")
        })?;
        Ok(Identity { key: Arc::new(key), not_after, fingerprint })
    }

    /// When the certificate ends. Peers refuse it afterwards.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Has this identity presented to the peer of a request.
    pub fn present(self: &Arc<Identity>, request: &mut Request<Bytes>) {
        request.extensions_mut().insert(Arc::clone(self));
    }

    /// The identity that a request carries.
    pub fn of(request: &Request<Bytes>) -> Option<&Arc<Identity>> {
        request.extensions().get()
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn fingerprint(leaf: &CertificateDer<'_>) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, leaf).as_ref());
    fingerprint
}

fn expiry(leaf: &CertificateDer<'_>) -> Result<Timestamp, String> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(leaf).map_err(|_| "holds a certificate that cannot be read".to_owned())?;
    Ok(Timestamp::from_millis(certificate.validity().not_after.timestamp().saturating_mul(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn an_identity_knows_its_end_and_its_requests() {
        let mut parameters = rcgen::CertificateParams::new(["shop".to_owned()]).expect("parameters");
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let identity = Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes());
        let identity = Arc::new(identity.expect("an identity"));
        assert_eq!(identity.not_after(), "2031-05-06T00:00:00Z".parse().expect("a time"));
        let mut request = Request::new(Bytes::new());
        assert!(Identity::of(&request).is_none());
        identity.present(&mut request);
        assert!(Identity::of(&request).is_some_and(|found| Arc::ptr_eq(found, &identity)));
    }

    #[test]
    fn what_is_no_identity_is_refused_without_the_key() {
        let ((certificate, key), (_, other)) = (made("shop"), made("other"));
        let refused =
            |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect_err("refused");
        assert_eq!(refused("", &key), "holds no certificate in PEM form");
        assert_eq!(refused(&key, &key), "holds no certificate in PEM form");
        assert_eq!(refused(&certificate, &other), "has a key that is not the certificate's");
        assert_eq!(refused(&certificate, &certificate), "has a key that is not an unencrypted private key in PEM form");
        let both = format!("{certificate}{key}");
        assert!(Identity::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }
}
