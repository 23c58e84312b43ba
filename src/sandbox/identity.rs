//! The sandbox's certificates, and the files that a daemon needs in order to speak to it. Made anew at every start, from
//! the system's generator, and good for nothing else.

use std::{fs, io, io::Write as _, path::Path, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;

use super::{Endpoints, Error, app::App};

const VAPID_SUBJECT: &str = "mailto:push@parvis.invalid";

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

/// What every listener shows, and what signed it.
pub(super) struct Identity {
    pub(super) ca_pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) authority: CertificateDer<'static>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) tls_key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn generate() -> Result<Identity, Error> {
        certificates().map_err(failed("certificate"))
    }

    pub(super) fn write(&self, app: &App, dir: &Path, endpoints: &Endpoints) -> Result<Credentials, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::Write { path: dir.to_owned(), source })?;
        let credentials = Credentials {
            ca_pem: dir.join("ca.pem"),
            apns: ApnsCredentials {
                key: dir.join(format!("AuthKey_{}.p8", app.apns_key.key_id)),
                key_id: app.apns_key.key_id.clone(),
                team_id: app.apns_team_id.clone(),
                production_url: endpoints.apns_production.clone(),
                sandbox_url: endpoints.apns_sandbox.clone(),
            },
            fcm: FcmCredentials {
                service_account: dir.join("service-account.json"),
                project_id: app.fcm_project_id.clone(),
                url: endpoints.fcm.clone(),
            },
            webpush: WebPushCredentials {
                vapid_key: dir.join("vapid.pem"),
                vapid_public_key: super::token::text(&app.vapid_public),
                subject: VAPID_SUBJECT.to_owned(),
                allow_private: true,
            },
            fragment: dir.join("delivery.toml"),
        };
        write(&credentials.ca_pem, &self.ca_pem)?;
        write(&credentials.apns.key, &app.apns_key.pem)?;
        write(&credentials.fcm.service_account, &app.service_account(&endpoints.fcm_token))?;
        write(&credentials.webpush.vapid_key, &app.vapid_key_pem)?;
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
         production_url = \"{production}\"\nsandbox_url = \"{sandbox}\"\n\
         channels_production_url = \"{production}\"\nchannels_sandbox_url = \"{sandbox}\"\n\n\
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

fn certificates() -> Result<Identity, rcgen::Error> {
    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Parvis sandbox CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "Parvis sandbox");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, &issuer)?.der().clone();
    Ok(Identity {
        ca_pem: authority.pem(),
        authority: authority.der().clone(),
        issuer,
        certificates: vec![certificate],
        tls_key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

pub(super) fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> Error {
    move |error| Error::Identity { what, detail: error.to_string() }
}
