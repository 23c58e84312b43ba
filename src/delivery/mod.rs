//! From a notification to a provider's answer.
//!
//! A [`Provider`] turns a notification into a request and a reply into an [`Outcome`], without a clock, a connection
//! or a retry; the only chance in it is what encryption needs. The [`courier`] owns deadlines and credentials, the
//! [`transport`] owns connections.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use parvis_engine::{
    notification::{Address, Channel, Notification},
    problem::{Problem, Requirements},
    retry::Outcome,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub mod apns;
pub mod courier;
pub mod fcm;
pub mod key;
mod reply;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod transport;
pub mod webpush;

pub use courier::Couriers;

use crate::{
    clock::Clock,
    delivery::{
        courier::{Courier, Credentials},
        token::Shared,
        transport::{Peer, Transport},
    },
    entropy::Entropy,
};

/// What a provider answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, cut to a bound.
    pub body: Bytes,
}

/// Speaks one push service's language.
pub trait Provider: Send + Sync {
    /// Which service.
    fn channel(&self) -> Channel;

    /// The request that delivers a notification; `bearer` is the current credential.
    ///
    /// # Errors
    /// The outcome, if there can be no request: a malformed target, a payload that is too large.
    fn request(
        &self,
        notification: &Notification,
        address: &Address,
        bearer: &str,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Outcome>;

    /// What a reply means. Total: every reply is an outcome.
    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome;

    /// Whether the reply says that the credential has served its time and a new one may help.
    fn wants_new_credential(&self, reply: &Reply) -> bool;
}

/// Which push services there are and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Apple Push Notification service.
    pub apns: Option<apns::Config>,
    /// Firebase Cloud Messaging.
    pub fcm: Option<fcm::Config>,
    /// Web Push.
    pub webpush: Option<webpush::Config>,
    /// PEM file with certificate authorities to be trusted beside the system's.
    pub extra_ca: Option<PathBuf>,
    /// The longest that one delivery takes, renewal of credentials included. A lane's lease must be longer.
    #[serde(with = "parvis_engine::time::duration")]
    pub deadline: Duration,
    /// The longest wait for one answer.
    #[serde(with = "parvis_engine::time::duration")]
    pub request_timeout: Duration,
    /// The longest wait for a connection.
    #[serde(with = "parvis_engine::time::duration")]
    pub connect_timeout: Duration,
    /// The most HTTP/2 connections to one provider; more than one are opened only under load.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            apns: None,
            fcm: None,
            webpush: None,
            extra_ca: None,
            deadline: Duration::from_secs(20),
            // FCM asks for at least 10 s.
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            connections_max: 8,
        }
    }
}

impl Config {
    /// What can't work; keys are read and parsed.
    pub fn problems(&self, base: &Path) -> Vec<Problem> {
        let transport = match transport::Http::new(self, base) {
            Ok(transport) => transport,
            Err(problems) => return problems,
        };
        let built = build(self, base, Clock::System, Entropy::System, Arc::new(transport));
        built.err().unwrap_or_default()
    }
}

/// Reads keys and makes the couriers. Relative paths are below `base`.
///
/// # Errors
/// Everything that is wrong, with paths below the delivery section.
pub fn build(
    config: &Config,
    base: &Path,
    clock: Clock,
    entropy: Entropy,
    transport: Arc<dyn Transport>,
) -> Result<Couriers, Vec<Problem>> {
    let mut problems = check(config);
    let apns = part(&mut problems, "/apns", config.apns.as_ref(), |part| {
        let (provider, source) = apns::build(part, base, clock.clone())?;
        let tokens = Shared::new(Box::new(source), clock.clone(), apns::TOKEN_LIMITS);
        Ok(Courier::new(Box::new(provider), Credentials::Shared(tokens), Peer::Apns, part.concurrency))
    });
    let fcm = part(&mut problems, "/fcm", config.fcm.as_ref(), |part| {
        let (provider, source) = fcm::build(part, base, clock.clone(), Arc::clone(&transport))?;
        let tokens = Shared::new(Box::new(source), clock.clone(), fcm::TOKEN_LIMITS);
        Ok(Courier::new(Box::new(provider), Credentials::Shared(tokens), Peer::Fcm, part.concurrency))
    });
    let webpush = part(&mut problems, "/webpush", config.webpush.as_ref(), |part| {
        let (provider, vapid) = webpush::build(part, base, clock.clone(), entropy)?;
        Ok(Courier::new(Box::new(provider), Credentials::Vapid(vapid), Peer::Subscription, part.concurrency))
    });
    if problems.is_empty() {
        Ok(Couriers::new([apns, fcm, webpush], transport, clock, config.deadline))
    } else {
        Err(problems)
    }
}

fn check(config: &Config) -> Vec<Problem> {
    let mut must = Requirements::default();
    must.require(!config.connect_timeout.is_zero(), "/connect_timeout", "must be longer than zero");
    must.require(
        config.connect_timeout <= config.request_timeout,
        "/connect_timeout",
        "must not be longer than request_timeout",
    );
    must.require(config.request_timeout <= config.deadline, "/request_timeout", "must not be longer than deadline");
    // Providers count many connections as abuse.
    must.require((1..=64).contains(&config.connections_max), "/connections_max", "must be from 1 to 64");
    let concurrencies = [
        ("/apns/concurrency", config.apns.as_ref().map(|part| part.concurrency)),
        ("/fcm/concurrency", config.fcm.as_ref().map(|part| part.concurrency)),
        ("/webpush/concurrency", config.webpush.as_ref().map(|part| part.concurrency)),
    ];
    for (path, concurrency) in concurrencies {
        let range = 1..=courier::CONCURRENCY_MAX;
        must.require(
            concurrency.is_none_or(|concurrency| range.contains(&concurrency)),
            path,
            format!("must be from 1 to {}", courier::CONCURRENCY_MAX),
        );
    }
    must.into_problems()
}

fn part<C, T>(
    problems: &mut Vec<Problem>,
    prefix: &str,
    config: Option<&C>,
    build: impl FnOnce(&C) -> Result<T, Vec<Problem>>,
) -> Option<T> {
    match build(config?) {
        Ok(part) => Some(part),
        Err(found) => {
            problems.extend(found.into_iter().map(|problem| problem.under(prefix)));
            None
        }
    }
}

/// What the app gets beside the text, the same on every channel. The ids that receipts need cannot be overwritten.
fn app_data(notification: &Notification) -> BTreeMap<&str, String> {
    let content = notification.content();
    let given = content.into_iter().flat_map(|content| &content.data);
    let mut data: BTreeMap<&str, String> = given.map(|(key, value)| (key.as_str(), value.clone())).collect();
    if let Some(link) = content.and_then(|content| content.deep_link.as_ref()) {
        data.insert("deep_link", link.clone());
    }
    data.insert("notification_id", notification.id.to_string());
    data
}

/// Seconds since the epoch, rounded down.
fn epoch_s(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

/// A base URL: `https`, a host, no path beyond `/`. Given back without the final slash.
fn base_url(text: &str, path: &str, problems: &mut Vec<Problem>) -> String {
    let uri: Option<http::Uri> = text.parse().ok();
    let fits = uri.is_some_and(|uri| {
        uri.scheme() == Some(&http::uri::Scheme::HTTPS)
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.path() == "/"
            && uri.query().is_none()
    });
    if !fits {
        problems.push(Problem::new(path, format!("{text:?} is not an https URL without a path")));
    }
    text.trim_end_matches('/').to_owned()
}

/// Reads a file of the configuration.
fn read(base: &Path, file: &Path, path: &str, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let full = base.join(file);
    match std::fs::read(&full) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            problems.push(Problem::new(path, format!("cannot read {}: {error}", full.display())));
            None
        }
    }
}
