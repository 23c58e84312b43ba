//! Who sends: apps, each with its own APNs team, Firebase project and Web Push key. The first is there from the start.

use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde::Serialize;
use serde_json::json;

use super::{Error, identity::failed};
use crate::entropy::Entropy;

/// The app that everything belongs to of which nothing else is said.
pub(super) const FIRST: &str = "parvis";
const FIRST_TEAM_ID: &str = "PARVISTEAM";
const FIRST_KEY_ID: &str = "SANDBOXKEY";
const APPS_MAX: usize = 64;

/// A key that APNs tokens are signed with.
#[derive(Clone, Debug, Serialize)]
pub struct ApnsKey {
    /// Goes into the token's header.
    pub key_id: String,
    /// The `.p8` file's content.
    pub pem: String,
    #[serde(skip)]
    pub(super) public: Vec<u8>,
}

/// One app and its keys.
#[derive(Clone, Debug, Serialize)]
pub struct App {
    /// Its name in the sandbox.
    pub name: String,
    /// The APNs team that its bundle ids belong to.
    pub apns_team_id: String,
    /// The key that its APNs tokens are signed with.
    pub apns_key: ApnsKey,
    /// Its Firebase project.
    pub fcm_project_id: String,
    /// The name of the project's service account.
    pub fcm_client_email: String,
    /// The service account's private key, PKCS #8 PEM.
    pub fcm_key_pem: String,
    /// The key that its subscriptions are bound to, PKCS #8 PEM.
    pub vapid_key_pem: String,
    #[serde(skip)]
    pub(super) fcm_public: Vec<u8>,
    #[serde(skip)]
    pub(super) vapid_public: Vec<u8>,
}

/// All apps.
#[derive(Debug)]
pub(super) struct Apps {
    first: Arc<App>,
    more: RwLock<Vec<Arc<App>>>,
}

impl ApnsKey {
    pub(super) fn generate(key_id: &str) -> Result<ApnsKey, Error> {
        let key = p256("APNs key")?;
        Ok(ApnsKey { key_id: key_id.to_owned(), pem: key.serialize_pem(), public: key.public_key_raw().to_vec() })
    }
}

impl App {
    /// The one that is there from the start.
    pub(super) fn first() -> Result<App, Error> {
        App::generate(FIRST, FIRST_TEAM_ID, FIRST_KEY_ID)
    }

    pub(super) fn another(name: &str, entropy: &Entropy) -> Result<App, Error> {
        App::generate(name, &apple_id(entropy), &apple_id(entropy))
    }

    fn generate(name: &str, team_id: &str, key_id: &str) -> Result<App, Error> {
        let fcm = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(failed("FCM key"))?;
        let vapid = p256("VAPID key")?;
        let project_id = format!("{name}-sandbox");
        Ok(App {
            name: name.to_owned(),
            apns_team_id: team_id.to_owned(),
            apns_key: ApnsKey::generate(key_id)?,
            fcm_client_email: format!("{name}@{project_id}.iam.gserviceaccount.com"),
            fcm_project_id: project_id,
            fcm_key_pem: fcm.serialize_pem(),
            vapid_key_pem: vapid.serialize_pem(),
            fcm_public: fcm.public_key_raw().to_vec(),
            vapid_public: vapid.public_key_raw().to_vec(),
        })
    }

    /// The document that Google's console gives for a service account.
    pub(super) fn service_account(&self, token_uri: &str) -> String {
        let document = json!({
            "type": "service_account",
            "project_id": self.fcm_project_id,
            "private_key_id": "sandbox",
            "private_key": self.fcm_key_pem,
            "client_email": self.fcm_client_email,
            "client_id": "100000000000000000000",
            "token_uri": token_uri,
        });
        format!("{document:#}\n")
    }
}

impl Apps {
    pub(super) fn new(first: App) -> Apps {
        Apps { first: Arc::new(first), more: RwLock::default() }
    }

    pub(super) fn first(&self) -> &Arc<App> {
        &self.first
    }

    pub(super) fn named(&self, name: &str) -> Option<Arc<App>> {
        self.find(|app| app.name == name)
    }

    pub(super) fn find(&self, fits: impl Fn(&App) -> bool) -> Option<Arc<App>> {
        if fits(&self.first) {
            return Some(Arc::clone(&self.first));
        }
        self.more.read().unwrap_or_else(PoisonError::into_inner).iter().find(|app| fits(app)).cloned()
    }

    /// Why there can be no such app, if so.
    pub(super) fn problem(&self, name: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=20).contains(&name.len()) || !name.bytes().all(plain) {
            return Some("name: not 1 to 20 lower-case letters, digits and hyphens".to_owned());
        }
        if self.named(name).is_some() {
            return Some(format!("name: there is an app {name} already"));
        }
        let full = self.more.read().unwrap_or_else(PoisonError::into_inner).len() + 1 >= APPS_MAX;
        full.then(|| format!("name: there are {APPS_MAX} apps already"))
    }

    /// Checks again, since keys take their time.
    pub(super) fn add(&self, app: App) -> Result<Arc<App>, String> {
        if let Some(problem) = self.problem(&app.name) {
            return Err(problem);
        }
        let app = Arc::new(app);
        self.more.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&app));
        Ok(app)
    }
}

/// Ten upper-case letters and digits, as Apple's ids of keys and teams.
pub(super) fn apple_id(entropy: &Entropy) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = entropy.bits();
    (0..10).map(|place| char::from(ALPHABET[(bits >> (5 * place)) as usize & 31])).collect()
}

fn p256(what: &'static str) -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed(what))
}
