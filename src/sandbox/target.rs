//! The devices and browsers that the services know.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::agreement;
use parvis_engine::{
    shopper::{ApnsEnvironment, Subscription, SubscriptionKeys},
    time::Timestamp,
};

use serde::{Deserialize, Serialize};

use super::{
    app::App,
    behaviour::{Behaviour, Effect},
    token,
};
use crate::entropy::Entropy;

/// What push services usually take (RFC 8030, section 7.2).
pub(super) const BODY_BYTES_MAX: usize = 4_096;
/// How many devices and browsers can be had over the control port.
const TARGETS_MAX: usize = 2_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A target to be had, as `POST /sandbox/targets` takes it. Without `app` it belongs to the first one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "channel", rename_all = "lowercase", deny_unknown_fields)]
pub enum NewTarget {
    /// An app on an Apple device.
    Apns {
        /// Whose.
        #[serde(default)]
        app: Option<String>,
        /// The bundle id.
        topic: String,
        /// Store or development build.
        #[serde(default)]
        environment: ApnsEnvironment,
        /// What the token is for.
        #[serde(default)]
        purpose: TokenPurpose,
    },
    /// An app on an Android device.
    Fcm {
        /// Whose.
        #[serde(default)]
        app: Option<String>,
        /// With an installation id instead of a registration token.
        #[serde(default)]
        fid: bool,
    },
    /// A browser.
    WebPush {
        /// Whose.
        #[serde(default)]
        app: Option<String>,
        /// What its push service takes; some take less than the usual 4,096 bytes.
        #[serde(default)]
        body_bytes_max: Option<usize>,
    },
}

/// What an APNs token is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPurpose {
    /// An app's notifications. Live Activities are taken too.
    #[default]
    Device,
    /// Starts Live Activities of an app, and nothing else.
    ActivityStart,
    /// Updates and ends one Live Activity, and nothing else.
    ActivityUpdate,
}

/// An app on an Apple device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Installed<'a> {
    pub(super) topic: &'a str,
    pub(super) environment: ApnsEnvironment,
    pub(super) purpose: TokenPurpose,
}

/// One device or browser.
#[derive(Debug)]
pub(super) struct Target {
    /// Whose it is.
    pub(super) app: Arc<App>,
    pub(super) kind: Kind,
    behaviour: Mutex<Behaviour>,
    /// When it was sent something in the last minute.
    recent: Mutex<VecDeque<Timestamp>>,
}

/// What a service knows about it.
#[derive(Debug)]
pub(super) enum Kind {
    Apns { topic: String, environment: ApnsEnvironment, purpose: TokenPurpose },
    Fcm,
    WebPush { subscriber: Subscriber, body_bytes_max: usize },
}

/// Who reads a subscription's messages.
#[derive(Debug)]
pub(super) enum Subscriber {
    /// The sandbox itself plays the browser.
    Played(Browser),
    /// A browser that is connected, by its own name for the subscription; nobody else can read its messages.
    Connected { channel_id: String },
}

/// The browser's end of a subscription.
pub(super) struct Browser {
    pub(super) private: agreement::PrivateKey,
    /// Uncompressed point.
    pub(super) public: Vec<u8>,
    pub(super) auth: [u8; 16],
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser").finish_non_exhaustive()
    }
}

/// All of them, by token, installation id or endpoint.
#[derive(Debug, Default)]
pub(super) struct Targets {
    known: RwLock<BTreeMap<String, Arc<Target>>>,
    /// Whose a bundle id is.
    topics: RwLock<BTreeMap<String, Arc<App>>>,
}

impl Target {
    /// Since when the target is gone, and whether it is because its token has expired.
    pub(super) fn gone(&self) -> Option<(Timestamp, bool)> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner).gone()
    }

    /// Counts a message; false if `most` came in the last minute already.
    pub(super) fn admits(&self, most: usize, now: Timestamp) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|at| now.since(*at) < MINUTE);
        let admitted = recent.len() < most;
        if admitted {
            recent.push_back(now);
        }
        admitted
    }
}

impl Browser {
    pub(super) fn new(entropy: &Entropy) -> Browser {
        let mut auth = [0; 16];
        entropy.fill(&mut auth);
        loop {
            let mut scalar = [0; 32];
            entropy.fill(&mut scalar);
            // A few bit patterns are no scalars of the curve.
            if let Some(browser) = Browser::from_parts(&scalar, auth) {
                return browser;
            }
        }
    }

    pub(super) fn from_parts(scalar: &[u8], auth: [u8; 16]) -> Option<Browser> {
        let private = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar).ok()?;
        let public = private.compute_public_key().ok()?.as_ref().to_vec();
        Some(Browser { private, public, auth })
    }
}

impl Targets {
    pub(super) fn register_apns(&self, entropy: &Entropy, app: &Arc<App>, installed: Installed<'_>) -> String {
        let Installed { topic, environment, purpose } = installed;
        let token = match purpose {
            TokenPurpose::Device => hex::<32>(entropy),
            // As long as those that phones were seen to get.
            TokenPurpose::ActivityStart | TokenPurpose::ActivityUpdate => hex::<80>(entropy),
        };
        self.own_topic(topic, app);
        self.insert(token.clone(), app, Kind::Apns { topic: topic.to_owned(), environment, purpose });
        token
    }

    pub(super) fn register_fcm(&self, entropy: &Entropy, app: &Arc<App>) -> String {
        let mut rest = [0; 100];
        entropy.fill(&mut rest);
        let token = format!("{}:APA91b{}", installation(entropy), token::text(&rest));
        self.insert(token.clone(), app, Kind::Fcm);
        token
    }

    pub(super) fn register_fcm_installation(&self, entropy: &Entropy, app: &Arc<App>) -> String {
        let id = installation(entropy);
        self.insert(id.clone(), app, Kind::Fcm);
        id
    }

    pub(super) fn register_webpush(
        &self,
        entropy: &Entropy,
        app: &Arc<App>,
        origin: &str,
        body_bytes_max: usize,
    ) -> Subscription {
        let endpoint = endpoint(entropy, origin);
        let browser = Browser::new(entropy);
        let keys = SubscriptionKeys { p256dh: token::text(&browser.public), auth: token::text(&browser.auth) };
        self.insert(endpoint.clone(), app, Kind::WebPush { subscriber: Subscriber::Played(browser), body_bytes_max });
        Subscription { endpoint, expiration_time: None, keys }
    }

    /// The endpoint of a browser that is connected.
    pub(super) fn register_browser(&self, entropy: &Entropy, app: &Arc<App>, origin: &str, channel_id: &str) -> String {
        let endpoint = endpoint(entropy, origin);
        let subscriber = Subscriber::Connected { channel_id: channel_id.to_owned() };
        self.insert(endpoint.clone(), app, Kind::WebPush { subscriber, body_bytes_max: BODY_BYTES_MAX });
        endpoint
    }

    /// Why there can be no more, if so.
    pub(super) fn problem(&self) -> Option<String> {
        let full = self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= TARGETS_MAX;
        full.then(|| format!("there are {TARGETS_MAX} targets already"))
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Target>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Makes a bundle id an app's, unless it is somebody's.
    pub(super) fn own_topic(&self, topic: &str, app: &Arc<App>) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_insert_with(|| Arc::clone(app));
    }

    /// Whose a bundle id is.
    pub(super) fn owner(&self, topic: &str) -> Option<Arc<App>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    pub(super) fn set_behaviour(&self, id: &str, behaviour: Behaviour, now: Timestamp) -> bool {
        let Some(target) = self.find(id) else { return false };
        *target.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour.begun(now);
        true
    }

    /// What the next valid request for this target gets.
    pub(super) fn next_effect(&self, id: &str, entropy: &Entropy) -> Effect {
        self.find(id).map_or(Effect::Answer, |target| {
            target.behaviour.lock().unwrap_or_else(PoisonError::into_inner).next(entropy)
        })
    }

    fn insert(&self, id: String, app: &Arc<App>, kind: Kind) {
        let target = Target { app: Arc::clone(app), kind, behaviour: Mutex::default(), recent: Mutex::default() };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(target));
    }
}

fn endpoint(entropy: &Entropy, origin: &str) -> String {
    let mut id = [0; 24];
    entropy.fill(&mut id);
    format!("{origin}/push/{}", token::text(&id))
}

/// Lower-case hexadecimal digits of `BYTES` random bytes.
pub(super) fn hex<const BYTES: usize>(entropy: &Entropy) -> String {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 22 base64url characters of which the first is c, d, e or f: 0111 are the leading bits of every installation id.
fn installation(entropy: &Entropy) -> String {
    let mut bytes = [0; 17];
    entropy.fill(&mut bytes);
    bytes[0] = 0x70 | (bytes[0] & 0x0f);
    let mut id = token::text(&bytes);
    id.truncate(22);
    id
}
