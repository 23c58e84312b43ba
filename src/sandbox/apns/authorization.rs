//! Provider tokens as Apple documents them ("Establishing a token-based connection to APNs"): ES256, at most an hour
//! old, of a registered key, and not changed too often by a team.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::StatusCode;
use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};

use super::{
    super::{
        identity::{APNS_TEAM_ID, ApnsKey},
        reply::Request,
        shared::Connection,
        token::Token,
    },
    Refused,
};

const LIFETIME: Duration = Duration::from_secs(60 * 60);
const CHANGE_WINDOW: Duration = Duration::from_secs(20 * 60);
/// How far a provider's clock may be ahead.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// How many of a team's tokens are remembered; they are worthless after an hour.
const REMEMBERED: usize = 64;

/// The team's keys and the tokens that they have signed.
#[derive(Debug)]
pub(in super::super) struct Apns {
    keys: RwLock<Vec<Key>>,
    seen: Mutex<VecDeque<Seen>>,
    changes: usize,
}

#[derive(Debug)]
struct Key {
    id: String,
    public: Vec<u8>,
    /// The only environment that the key is for.
    environment: Option<ApnsEnvironment>,
}

/// A token whose signature is good.
#[derive(Clone, Debug)]
struct Seen {
    text: String,
    key_id: String,
    environment: Option<ApnsEnvironment>,
    issued_at: Timestamp,
    first_seen: Timestamp,
}

const INVALID: Refused = Refused::new(StatusCode::FORBIDDEN, "InvalidProviderToken");

impl Apns {
    pub(in super::super) fn new(key: &ApnsKey, changes: usize) -> Apns {
        let apns = Apns { keys: RwLock::default(), seen: Mutex::default(), changes };
        apns.add_key(key, None);
        apns
    }

    pub(in super::super) fn add_key(&self, key: &ApnsKey, environment: Option<ApnsEnvironment>) {
        let key = Key { id: key.key_id.clone(), public: key.public.clone(), environment };
        self.keys.write().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    pub(super) fn authorize(
        &self,
        request: &Request,
        environment: ApnsEnvironment,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let missing = Refused::new(StatusCode::FORBIDDEN, "MissingProviderToken");
        let value = request.headers.get("authorization").ok_or(missing)?;
        let text = value.to_str().ok().and_then(bearer).ok_or(INVALID)?;
        let token = match self.known(text) {
            Some(token) => token,
            None => self.verify(text, now)?,
        };
        if token.environment.is_some_and(|only| only != environment) {
            return Err(Refused::new(StatusCode::FORBIDDEN, "BadEnvironmentKeyIdInToken"));
        }
        if now.since(token.issued_at) > LIFETIME {
            return Err(Refused::new(StatusCode::FORBIDDEN, "ExpiredProviderToken"));
        }
        if token.issued_at.since(now) > SKEW {
            return Err(INVALID);
        }
        let mut key_id = connection.apns_key_id.lock().unwrap_or_else(PoisonError::into_inner);
        if key_id.as_ref().is_some_and(|known| *known != token.key_id) {
            return Err(Refused::new(StatusCode::FORBIDDEN, "UnrelatedKeyIdInToken"));
        }
        *key_id = Some(token.key_id.clone());
        drop(key_id);
        self.admit(token, now)
    }

    fn known(&self, text: &str) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().rev().find(|seen| seen.text == text).cloned()
    }

    fn verify(&self, text: &str, now: Timestamp) -> Result<Seen, Refused> {
        let token = Token::parse(text).ok_or(INVALID)?;
        let key_id = token.header("kid").ok_or(INVALID)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.id == key_id).ok_or(INVALID)?;
        if token.claim("iss") != Some(APNS_TEAM_ID) || !token.is_es256_by(&key.public) {
            return Err(INVALID);
        }
        let issued_at = token.seconds("iat").ok_or(INVALID)?;
        Ok(Seen {
            text: text.to_owned(),
            key_id: key.id.clone(),
            environment: key.environment,
            issued_at: Timestamp::from_millis(issued_at.saturating_mul(1_000)),
            first_seen: now,
        })
    }

    /// Counts a new token as a change of the team's, over all keys and connections.
    fn admit(&self, token: Seen, now: Timestamp) -> Result<(), Refused> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| known.text == token.text) {
            return Ok(());
        }
        seen.retain(|known| now.since(known.first_seen) <= LIFETIME + SKEW);
        let recent = seen.iter().filter(|known| now.since(known.first_seen) < CHANGE_WINDOW).count();
        if recent > self.changes {
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "TooManyProviderTokenUpdates"));
        }
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(token);
        Ok(())
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
