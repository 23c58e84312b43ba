//! Certificates of providers, as Apple signs them: a bundle id with its suffixes, for one environment or both. The
//! sandbox's own CA stands for Apple's; what another one signed is shown in vain.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};
use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use serde::Serialize;

use super::super::{
    Error,
    identity::{Identity, failed},
};

const CERTIFICATES_MAX: usize = 1_024;
/// What a certificate is good for beside the bundle id itself.
const SUFFIXES: [&str; 3] = ["", ".voip", ".complication"];
/// Apple's extensions: for development, for production, the topics.
const DEVELOPMENT: &[u64] = &[1, 2, 840, 113_635, 100, 6, 3, 1];
const PRODUCTION: &[u64] = &[1, 2, 840, 113_635, 100, 6, 3, 2];
const TOPICS: &[u64] = &[1, 2, 840, 113_635, 100, 6, 3, 6];
/// The subject's attribute that holds the bundle id (userId of RFC 4519).
const USER_ID: &[u64] = &[0, 9, 2_342, 19_200_300, 100, 1, 1];
const DER_NULL: [u8; 2] = [5, 0];
const DER_UTF8: u8 = 12;
const DER_SEQUENCE: u8 = 48;

/// A certificate and its key, as a provider has them.
#[derive(Clone, Debug, Serialize)]
pub struct ApnsCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS #8 PEM.
    pub key_pem: String,
}

/// What is known about a certificate of ours.
pub(in super::super) struct Issued {
    /// What it may send to, the bundle id first.
    pub(super) topics: Vec<String>,
    /// The only environment that it is for.
    pub(super) environment: Option<ApnsEnvironment>,
    der: CertificateDer<'static>,
}

/// What a client showed.
#[derive(Clone, Debug, Default)]
pub(in super::super) enum Presented {
    #[default]
    Nothing,
    /// A certificate that is not ours, or not good now.
    Bad,
    Certificate(Arc<Issued>),
}

/// All of ours.
#[derive(Debug)]
pub(in super::super) struct Certificates {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    issued: RwLock<Vec<Arc<Issued>>>,
}

/// Takes every certificate whose key its owner has: what is wrong with it is answered over HTTP.
#[derive(Debug)]
pub(in super::super) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("topics", &self.topics).field("environment", &self.environment).finish()
    }
}

impl Certificates {
    pub(super) fn new(authority: &CertificateDer<'static>) -> Certificates {
        let mut roots = RootCertStore::empty();
        // Without a verifier every certificate is bad.
        let added = roots.add(authority.clone());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Certificates { verifier: added.ok().and(verifier.ok()), issued: RwLock::default() }
    }

    pub(in super::super) fn issue(
        &self,
        identity: &Identity,
        bundle: &str,
        environment: Option<ApnsEnvironment>,
    ) -> Result<ApnsCertificate, Error> {
        let mut issued = self.issued.write().unwrap_or_else(PoisonError::into_inner);
        if issued.len() == CERTIFICATES_MAX {
            let detail = format!("there are {CERTIFICATES_MAX} already");
            return Err(Error::Identity { what: "APNs certificate", detail });
        }
        let topics: Vec<String> = SUFFIXES.iter().map(|suffix| format!("{bundle}{suffix}")).collect();
        let params = params(bundle, &topics, environment);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed("APNs certificate's key"))?;
        let certificate = params.signed_by(&key, &identity.issuer).map_err(failed("APNs certificate"))?;
        let der = certificate.der().clone();
        issued.push(Arc::new(Issued { topics, environment, der }));
        Ok(ApnsCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// What a client's certificates are worth now.
    pub(in super::super) fn judge(&self, chain: Option<&[CertificateDer<'static>]>, now: Timestamp) -> Presented {
        let Some((own, others)) = chain.and_then(|chain| chain.split_first()) else {
            return Presented::Nothing;
        };
        let now = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0));
        let is_good = self
            .verifier
            .as_ref()
            .is_some_and(|verifier| verifier.verify_client_cert(own, others, UnixTime::since_unix_epoch(now)).is_ok());
        let issued = self.issued.read().unwrap_or_else(PoisonError::into_inner);
        let known = issued.iter().find(|issued| issued.der == *own).filter(|_| is_good);
        known.map_or(Presented::Bad, |issued| Presented::Certificate(Arc::clone(issued)))
    }
}

impl AnyCertificate {
    pub(in super::super) fn new() -> AnyCertificate {
        AnyCertificate { algorithms: aws_lc_rs::default_provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn params(bundle: &str, topics: &[String], environment: Option<ApnsEnvironment>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CustomDnType(USER_ID.to_vec()), bundle);
    params.distinguished_name.push(DnType::CommonName, format!("Apple Push Services: {bundle}"));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let for_one = [(DEVELOPMENT, ApnsEnvironment::Sandbox), (PRODUCTION, ApnsEnvironment::Production)];
    for (oid, one) in for_one {
        if environment.is_none_or(|only| only == one) {
            params.custom_extensions.push(CustomExtension::from_oid_content(oid, DER_NULL.to_vec()));
        }
    }
    params.custom_extensions.push(CustomExtension::from_oid_content(TOPICS, topic_list(topics)));
    params
}

/// A sequence of topics, each followed by a sequence of what it is.
fn topic_list(topics: &[String]) -> Vec<u8> {
    let kinds: [&[u8]; 3] = [b"app", b"voip", b"complication"];
    let items = topics
        .iter()
        .zip(kinds)
        .map(|(topic, kind)| [der(DER_UTF8, topic.as_bytes()), der(DER_SEQUENCE, &der(DER_UTF8, kind))].concat());
    der(DER_SEQUENCE, &items.collect::<Vec<_>>().concat())
}

/// One value in DER (X.690).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut value = vec![tag];
    match significant {
        [short] if *short < 128 => value.push(*short),
        long => {
            value.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            value.extend_from_slice(long);
        }
    }
    value.extend_from_slice(content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_der_has_them() {
        assert_eq!(der(12, b"ab"), [12, 2, b'a', b'b']);
        assert_eq!(der(12, b""), [12, 0]);
        assert_eq!(der(48, &[0; 200])[..3], [48, 0x81, 200]);
        assert_eq!(der(48, &[0; 300])[..4], [48, 0x82, 1, 44]);
    }
}
