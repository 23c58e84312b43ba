//! Who sends, as Apple documents it ("Establishing a token-based connection to APNs", "Establishing a certificate-based
//! connection to APNs"). A token is ES256, at most an hour old, of a registered key, and not changed too often by a team;
//! a certificate that was shown makes tokens needless, and they are not looked at.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::StatusCode;
use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};

use super::{
    super::{
        app::{ApnsKey, App},
        identity::Identity,
        reply::Request,
        shared::Connection,
        token::Token,
    },
    Refused,
    activity::Activities,
    certificate::{Certificates, Issued, Presented},
    channel::Channels,
};

const LIFETIME: Duration = Duration::from_secs(60 * 60);
const CHANGE_WINDOW: Duration = Duration::from_secs(20 * 60);
/// How far a provider's clock may be ahead.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// How many of a team's tokens are remembered; they are worthless after an hour.
const REMEMBERED: usize = 64;

/// What APNs remembers.
#[derive(Debug)]
pub(in super::super) struct Apns {
    keys: RwLock<Vec<Key>>,
    seen: Mutex<VecDeque<Seen>>,
    changes: usize,
    pub(in super::super) certificates: Certificates,
    pub(in super::super) channels: Channels,
    pub(in super::super) activities: Activities,
}

#[derive(Debug)]
struct Key {
    id: String,
    public: Vec<u8>,
    app: Arc<App>,
    /// The only environment that the key is for.
    environment: Option<ApnsEnvironment>,
}

/// A token whose signature is good.
#[derive(Clone, Debug)]
struct Seen {
    text: String,
    sender: Sender,
    app: Arc<App>,
    environment: Option<ApnsEnvironment>,
    issued_at: Timestamp,
    first_seen: Timestamp,
}

/// Whose tokens a connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Sender {
    team_id: String,
    key_id: String,
}

/// In whose name a request comes.
#[derive(Clone, Debug)]
pub(super) enum Authority {
    /// A team's.
    Token(Arc<App>),
    /// Whoever has the certificate's key.
    Certificate(Arc<Issued>),
}

const INVALID: Refused = Refused::new(StatusCode::FORBIDDEN, "InvalidProviderToken");
const MISSING: Refused = Refused::new(StatusCode::FORBIDDEN, "MissingProviderToken");

impl Apns {
    pub(in super::super) fn new(app: &App, identity: &Identity, changes: usize) -> Apns {
        let apns = Apns {
            keys: RwLock::default(),
            seen: Mutex::default(),
            changes,
            certificates: Certificates::new(&identity.authority),
            channels: Channels::default(),
            activities: Activities::default(),
        };
        apns.add_key(&app.apns_key, &Arc::new(app.clone()), None);
        apns
    }

    pub(in super::super) fn add_key(&self, key: &ApnsKey, app: &Arc<App>, environment: Option<ApnsEnvironment>) {
        let key = Key { id: key.key_id.clone(), public: key.public.clone(), app: Arc::clone(app), environment };
        self.keys.write().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    /// By certificate or by token.
    pub(super) fn authorize(
        &self,
        request: &Request,
        environment: ApnsEnvironment,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Authority, Refused> {
        match &connection.presented {
            Presented::Nothing => self.authorize_token(request, environment, connection, now).map(Authority::Token),
            Presented::Bad => Err(Refused::new(StatusCode::FORBIDDEN, "BadCertificate")),
            Presented::Certificate(issued) => {
                if issued.environment.is_some_and(|only| only != environment) {
                    return Err(Refused::new(StatusCode::FORBIDDEN, "BadCertificateEnvironment"));
                }
                Ok(Authority::Certificate(Arc::clone(issued)))
            }
        }
    }

    /// By token, as Live Activities and broadcasts ask for.
    pub(super) fn authorize_token(
        &self,
        request: &Request,
        environment: ApnsEnvironment,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Arc<App>, Refused> {
        let value = request.headers.get("authorization").ok_or(MISSING)?;
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
        let mut sender = connection.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sender {
            Some(known) if known.team_id != token.sender.team_id => return Err(INVALID),
            Some(known) if *known != token.sender => {
                return Err(Refused::new(StatusCode::FORBIDDEN, "UnrelatedKeyIdInToken"));
            }
            Some(_) | None => *sender = Some(token.sender.clone()),
        }
        drop(sender);
        let app = Arc::clone(&token.app);
        self.admit(token, now)?;
        Ok(app)
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
        if token.claim("iss") != Some(&key.app.apns_team_id) || !token.is_es256_by(&key.public) {
            return Err(INVALID);
        }
        let issued_at = token.seconds("iat").ok_or(INVALID)?;
        Ok(Seen {
            text: text.to_owned(),
            sender: Sender { team_id: key.app.apns_team_id.clone(), key_id: key.id.clone() },
            app: Arc::clone(&key.app),
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
        let of_team = seen.iter().filter(|known| known.sender.team_id == token.sender.team_id);
        let (all, recent) = of_team.fold((0, 0), |(all, recent), known| {
            (all + 1, recent + usize::from(now.since(known.first_seen) < CHANGE_WINDOW))
        });
        if recent > self.changes {
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "TooManyProviderTokenUpdates"));
        }
        if all == REMEMBERED {
            let oldest = seen.iter().position(|known| known.sender.team_id == token.sender.team_id);
            oldest.and_then(|oldest| seen.remove(oldest));
        }
        seen.push_back(token);
        Ok(())
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
