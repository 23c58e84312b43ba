//! The devices and browsers that the services know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use aws_lc_rs::agreement;
use parvis_engine::{
    shopper::{ApnsEnvironment, Subscription, SubscriptionKeys},
    time::Timestamp,
};

use super::{
    behaviour::{Behaviour, Effect},
    token,
};
use crate::entropy::Entropy;

/// One device or browser.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: Kind,
    behaviour: Mutex<Behaviour>,
}

/// What a service knows about it.
#[derive(Debug)]
pub(super) enum Kind {
    Apns { topic: String, environment: ApnsEnvironment },
    Fcm,
    WebPush(Browser),
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
    topics: RwLock<BTreeSet<String>>,
}

impl Target {
    /// Since when the target is gone.
    pub(super) fn gone_since(&self) -> Option<Timestamp> {
        match &*self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) {
            Behaviour::Unregistered { since } => Some(since.unwrap_or_default()),
            Behaviour::Normal
            | Behaviour::Slow { .. }
            | Behaviour::Throttled { .. }
            | Behaviour::Failing { .. }
            | Behaviour::Silent { .. }
            | Behaviour::Reset { .. } => None,
        }
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
    pub(super) fn register_apns(&self, entropy: &Entropy, topic: &str, environment: ApnsEnvironment) -> String {
        let token = hex::<32>(entropy);
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
        self.insert(token.clone(), Kind::Apns { topic: topic.to_owned(), environment });
        token
    }

    pub(super) fn register_fcm(&self, entropy: &Entropy) -> String {
        let mut rest = [0; 100];
        entropy.fill(&mut rest);
        let token = format!("{}:APA91b{}", installation(entropy), token::text(&rest));
        self.insert(token.clone(), Kind::Fcm);
        token
    }

    pub(super) fn register_fcm_installation(&self, entropy: &Entropy) -> String {
        let id = installation(entropy);
        self.insert(id.clone(), Kind::Fcm);
        id
    }

    pub(super) fn register_webpush(&self, entropy: &Entropy, origin: &str) -> Subscription {
        let mut id = [0; 24];
        entropy.fill(&mut id);
        let endpoint = format!("{origin}/push/{}", token::text(&id));
        let browser = Browser::new(entropy);
        let keys = SubscriptionKeys { p256dh: token::text(&browser.public), auth: token::text(&browser.auth) };
        self.insert(endpoint.clone(), Kind::WebPush(browser));
        Subscription { endpoint, expiration_time: None, keys }
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Target>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Whether some registered app has this bundle id, which makes it one of the team's.
    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    pub(super) fn set_behaviour(&self, id: &str, behaviour: Behaviour, now: Timestamp) -> bool {
        let Some(target) = self.find(id) else { return false };
        let mut behaviour = behaviour;
        if let Behaviour::Unregistered { since } = &mut behaviour {
            since.get_or_insert(now);
        }
        *target.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
        true
    }

    /// What the next valid request for this target gets.
    pub(super) fn next_effect(&self, id: &str) -> Effect {
        self.find(id)
            .map_or(Effect::Answer, |target| target.behaviour.lock().unwrap_or_else(PoisonError::into_inner).next())
    }

    fn insert(&self, id: String, kind: Kind) {
        let target = Arc::new(Target { kind, behaviour: Mutex::default() });
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, target);
    }
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
