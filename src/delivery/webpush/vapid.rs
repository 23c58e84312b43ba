//! Voluntary application server identification (RFC 8292): one signed token per push service, used for hours.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parvis_engine::{
    notification::Address,
    retry::Outcome,
    shopper::{PushTarget, Subscription},
    time::Timestamp,
};
use serde::Serialize;

use super::endpoint::Allowed;
use crate::{
    clock::Clock,
    delivery::{epoch_s, key::Es256},
};

/// RFC 8292 allows 24 hours; half of it leaves room for clocks that differ.
const LIFE: Duration = Duration::from_secs(12 * 3600);
const RENEWAL: Duration = Duration::from_secs(6 * 3600);
/// About ten origins cover all browsers; beyond this the oldest are made again when they are needed.
const ORIGINS_MAX: usize = 256;

/// Signs tokens and keeps them per origin.
pub struct Vapid {
    key: Es256,
    subject: String,
    allowed: Allowed,
    clock: Clock,
    tokens: Mutex<BTreeMap<String, Signed>>,
}

struct Signed {
    text: Arc<str>,
    at: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    sub: &'a str,
}

impl Vapid {
    /// Signs with a key for a subject, `mailto:` or `https:`.
    pub fn new(key: Es256, subject: String, allowed: Allowed, clock: Clock) -> Vapid {
        Vapid { key, subject, allowed, clock, tokens: Mutex::default() }
    }

    /// The public key that browsers subscribe with (`applicationServerKey`), base64url.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.public())
    }

    /// The token for a target's push service.
    ///
    /// # Errors
    /// The outcome, if the target may not be called.
    pub fn token(&self, address: &Address) -> Result<Arc<str>, Outcome> {
        let Address::Target(PushTarget::WebPush { subscription }) = address else {
            return Err(Outcome::Rejected { reason: "wrong_channel".to_owned() });
        };
        self.token_for(subscription)
    }

    fn token_for(&self, subscription: &Subscription) -> Result<Arc<str>, Outcome> {
        let origin = self.allowed.check(&subscription.endpoint)?.origin;
        let now = self.clock.now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = tokens.get(&origin).filter(|signed| (signed.at..signed.at.plus(RENEWAL)).contains(&now)) {
            return Ok(Arc::clone(&signed.text));
        }
        let claims = Claims { aud: &origin, exp: epoch_s(now.plus(LIFE)), sub: &self.subject };
        let text: Arc<str> = self
            .key
            .sign(None, &claims)
            .map_err(|_| Outcome::Unavailable { retry_after: None, reason: "token_not_signed".to_owned() })?
            .into();
        if tokens.len() >= ORIGINS_MAX {
            tokens.clear();
        }
        tokens.insert(origin, Signed { text: Arc::clone(&text), at: now });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::testing;

    fn vapid(clock: Clock) -> (Vapid, DecodingKey) {
        let (pem, public) = testing::p256_key();
        let key = Es256::from_pem(pem.as_bytes()).expect("a key");
        let allowed = Allowed::new(&["push.example".to_owned()]).expect("hosts");
        let vapid = Vapid::new(key, "mailto:push@shop.example".to_owned(), allowed, clock);
        assert_eq!(vapid.public_key(), URL_SAFE_NO_PAD.encode(&public));
        (vapid, DecodingKey::from_ec_der(&public))
    }

    fn target(endpoint: &str) -> Address {
        testing::browser_target(endpoint)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_names_the_origin_with_its_port() {
        let (vapid, key) = vapid(Clock::simulated(testing::now()));
        for (endpoint, audience) in [
            ("https://push.example/a", "https://push.example"),
            ("https://push.example:443/a", "https://push.example"),
            ("https://push.example:8443/a", "https://push.example:8443"),
        ] {
            let token = vapid.token(&target(endpoint)).expect("a token");
            let mut validation = Validation::new(Algorithm::ES256);
            validation.validate_exp = false;
            validation.set_audience(&[audience]);
            let decoded = jsonwebtoken::decode::<Value>(&*token, &key, &validation).expect("verifies");
            let expected = json!({ "aud": audience, "exp": 1_700_043_200, "sub": "mailto:push@shop.example" });
            assert_eq!(decoded.claims, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_for_hours_per_origin() {
        let clock = Clock::simulated(testing::now());
        let (vapid, _) = vapid(clock.clone());
        let first = vapid.token(&target("https://push.example/a")).expect("a token");
        assert!(Arc::ptr_eq(&first, &vapid.token(&target("https://push.example/b")).expect("a token")));
        assert_ne!(first, vapid.token(&target("https://eu.push.example/b")).expect("a token"));
        clock.sleep(RENEWAL).await;
        assert_ne!(first, vapid.token(&target("https://push.example/a")).expect("a token"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_tokens_kept_is_bounded() {
        let (vapid, _) = vapid(Clock::simulated(testing::now()));
        for number in 0..2 * ORIGINS_MAX {
            vapid.token(&target(&format!("https://s{number}.push.example/"))).expect("a token");
            assert!(vapid.tokens.lock().expect("not poisoned").len() <= ORIGINS_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_token_for_a_host_that_is_not_allowed() {
        let (vapid, _) = vapid(Clock::simulated(testing::now()));
        let outcome = vapid.token(&target("https://127.0.0.1/")).err();
        assert_eq!(outcome, Some(Outcome::Rejected { reason: "endpoint_not_allowed".to_owned() }));
        assert!(vapid.tokens.lock().expect("not poisoned").is_empty());
    }
}
