//! The sandbox's certificates and the credentials that its customers hold. Made anew at every start, from the system's
//! generator, and good for nothing else.

use std::{fs, io, io::Write as _, path::Path, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use serde_json::json;

use super::{Endpoints, Error};
use crate::entropy::Entropy;

/// The one team that owns every app in the sandbox.
pub(super) const APNS_TEAM_ID: &str = "PARVISTEAM";
/// The one Firebase project.
pub(super) const FCM_PROJECT_ID: &str = "parvis-sandbox";
/// The service account's name.
pub(super) const FCM_CLIENT_EMAIL: &str = "parvis@parvis-sandbox.iam.gserviceaccount.com";
const FIRST_KEY_ID: &str = "SANDBOXKEY";
const VAPID_SUBJECT: &str = "mailto:push@parvis.invalid";

/// A key that APNs tokens are signed with.
#[derive(Clone, Debug)]
pub struct ApnsKey {
    /// Goes into the token's header.
    pub key_id: String,
    /// The `.p8` file's content.
    pub pem: String,
    pub(super) public: Vec<u8>,
}

/// Where everything is that a daemon needs in order to deliver to the sandbox.
#[derive(Clone, Debug, Serialize)]
pub struct Credentials {
    /// The certificate to trust in addition.
    pub ca_pem: PathBuf,
    /// For APNs.
    pub apns: ApnsCredentials,
    /// For FCM.
    pub fcm: FcmCredentials,
    /// For Web Push.
    pub webpush: WebPushCredentials,
    /// The same as a fragment of configuration.
    pub fragment: PathBuf,
}

/// For APNs.
#[derive(Clone, Debug, Serialize)]
pub struct ApnsCredentials {
    /// The `.p8` file.
    pub key: PathBuf,
    /// The key's id.
    pub key_id: String,
    /// The team's id.
    pub team_id: String,
    /// Base URL for tokens of store apps.
    pub production_url: String,
    /// Base URL for tokens of development builds.
    pub sandbox_url: String,
}

/// For FCM.
#[derive(Clone, Debug, Serialize)]
pub struct FcmCredentials {
    /// The service account's JSON document; its `token_uri` points at the sandbox.
    pub service_account: PathBuf,
    /// The project's id.
    pub project_id: String,
    /// Base URL.
    pub url: String,
}

/// For Web Push.
#[derive(Clone, Debug, Serialize)]
pub struct WebPushCredentials {
    /// The application server's key, PKCS #8 PEM.
    pub vapid_key: PathBuf,
    /// Its public half as browsers take it, base64url.
    pub vapid_public_key: String,
    /// The contact that tokens carry.
    pub subject: String,
    /// Endpoints are on loopback, which a client rightly refuses by default.
    pub allow_private: bool,
}

/// Everything that is secret or signed.
pub(super) struct Identity {
    pub(super) ca_pem: String,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) tls_key: PrivateKeyDer<'static>,
    pub(super) apns_key: ApnsKey,
    fcm_key_pem: String,
    pub(super) fcm_public: Vec<u8>,
    pub(super) vapid_key_pem: String,
    pub(super) vapid_public: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl ApnsKey {
    pub(super) fn generate(key_id: &str) -> Result<ApnsKey, Error> {
        let key = p256("APNs key")?;
        Ok(ApnsKey { key_id: key_id.to_owned(), pem: key.serialize_pem(), public: key.public_key_raw().to_vec() })
    }
}

/// Ten upper-case letters and digits, as Apple's key ids.
pub(super) fn key_id(entropy: &Entropy) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = entropy.bits();
    (0..10).map(|place| char::from(ALPHABET[(bits >> (5 * place)) as usize & 31])).collect()
}

impl Identity {
    pub(super) fn generate() -> Result<Identity, Error> {
        let (ca_pem, certificate, tls_key) = certificates().map_err(failed("certificate"))?;
        let fcm = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(failed("FCM key"))?;
        let vapid = p256("VAPID key")?;
        Ok(Identity {
            ca_pem,
            certificates: vec![certificate],
            tls_key,
            apns_key: ApnsKey::generate(FIRST_KEY_ID)?,
            fcm_key_pem: fcm.serialize_pem(),
            fcm_public: fcm.public_key_raw().to_vec(),
            vapid_key_pem: vapid.serialize_pem(),
            vapid_public: vapid.public_key_raw().to_vec(),
        })
    }

    /// The document that Google's console gives for a service account.
    pub(super) fn service_account(&self, token_uri: &str) -> String {
        let document = json!({
            "type": "service_account",
            "project_id": FCM_PROJECT_ID,
            "private_key_id": "sandbox",
            "private_key": self.fcm_key_pem,
            "client_email": FCM_CLIENT_EMAIL,
            "client_id": "100000000000000000000",
            "token_uri": token_uri,
        });
        format!("{document:#}\n")
    }

    pub(super) fn write(&self, dir: &Path, endpoints: &Endpoints) -> Result<Credentials, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::Write { path: dir.to_owned(), source })?;
        let credentials = Credentials {
            ca_pem: dir.join("ca.pem"),
            apns: ApnsCredentials {
                key: dir.join(format!("AuthKey_{}.p8", self.apns_key.key_id)),
                key_id: self.apns_key.key_id.clone(),
                team_id: APNS_TEAM_ID.to_owned(),
                production_url: endpoints.apns_production.clone(),
                sandbox_url: endpoints.apns_sandbox.clone(),
            },
            fcm: FcmCredentials {
                service_account: dir.join("service-account.json"),
                project_id: FCM_PROJECT_ID.to_owned(),
                url: endpoints.fcm.clone(),
            },
            webpush: WebPushCredentials {
                vapid_key: dir.join("vapid.pem"),
                vapid_public_key: super::token::text(&self.vapid_public),
                subject: VAPID_SUBJECT.to_owned(),
                allow_private: true,
            },
            fragment: dir.join("delivery.toml"),
        };
        write(&credentials.ca_pem, &self.ca_pem)?;
        write(&credentials.apns.key, &self.apns_key.pem)?;
        write(&credentials.fcm.service_account, &self.service_account(&endpoints.fcm_token))?;
        write(&credentials.webpush.vapid_key, &self.vapid_key_pem)?;
        write(&credentials.fragment, &fragment(&credentials))?;
        Ok(credentials)
    }
}

/// Only the owner may read what is written: most of it is keys.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let attempt = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)?.write_all(text.as_bytes())
    };
    attempt().map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Files are named as seen from the folder that they and this fragment are in.
fn fragment(credentials: &Credentials) -> String {
    let quote = |path: &Path| {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        toml::Value::String(name).to_string()
    };
    format!(
        "[delivery]\nextra_ca = {ca}\n\n\
         [delivery.apns]\nkey = {apns_key}\nkey_id = \"{key_id}\"\nteam_id = \"{team_id}\"\n\
         production_url = \"{production}\"\nsandbox_url = \"{sandbox}\"\n\n\
         [delivery.fcm]\nservice_account = {account}\nbase_url = \"{fcm}\"\n\n\
         [delivery.webpush]\nkey = {vapid}\nsubject = \"{subject}\"\n\
         allow_hosts = [\"127.0.0.1\"]\nallow_private = true\n",
        ca = quote(&credentials.ca_pem),
        apns_key = quote(&credentials.apns.key),
        key_id = credentials.apns.key_id,
        team_id = credentials.apns.team_id,
        production = credentials.apns.production_url,
        sandbox = credentials.apns.sandbox_url,
        account = quote(&credentials.fcm.service_account),
        fcm = credentials.fcm.url,
        vapid = quote(&credentials.webpush.vapid_key),
        subject = credentials.webpush.subject,
    )
}

fn certificates() -> Result<(String, CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Parvis sandbox CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "Parvis sandbox");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, &issuer)?.der().clone();
    Ok((ca_pem, certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

fn p256(what: &'static str) -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed(what))
}

fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> Error {
    move |error| Error::Identity { what, detail: error.to_string() }
}
