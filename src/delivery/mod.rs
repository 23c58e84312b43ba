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
    id::AppId,
    notification::{Address, Cause, Channel, Notification, Origin},
    problem::{Problem, Requirements},
    retry::Outcome,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub mod apns;
pub mod apps;
pub mod breaker;
pub mod courier;
mod credentials;
pub mod expiry;
pub mod fcm;
pub mod key;
pub mod network;
pub mod quota;
pub(crate) mod reply;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod transport;
pub mod webpush;

pub use apps::App;
pub use courier::{Couriers, Route};
pub use reply::{Blame, Meaning};

use crate::{clock::Clock, delivery::transport::Transport, entropy::Entropy, store::Store, webhook::Webhooks};

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
    fn meaning(&self, reply: &Reply, now: Timestamp) -> Meaning;

    /// Whether the reply says that the credential has served its time and a new one may help.
    fn wants_new_credential(&self, reply: &Reply) -> bool;

    /// What manages the service's broadcast channels, if it has any.
    fn channels(&self) -> Option<&apns::channels::Channels> {
        None
    }
}

/// Which push services there are and how they are reached.
///
/// The tables `apns`, `fcm` and `webpush` directly in the section are the app `default`, which is meant where no app is
/// named; further apps have tables of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Apple Push Notification service.
    pub apns: Option<apns::Config>,
    /// Firebase Cloud Messaging.
    pub fcm: Option<fcm::Config>,
    /// Web Push.
    pub webpush: Option<webpush::Config>,
    /// Further apps, by the names that devices register with.
    pub apps: BTreeMap<AppId, App>,
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
            apps: BTreeMap::new(),
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
        self.try_build(base).err().unwrap_or_default()
    }

    /// What works but may not be meant, and when certificates end. Says nothing of what has problems.
    pub fn remarks(&self, base: &Path) -> Vec<Problem> {
        let Ok(couriers) = self.try_build(base) else { return Vec::new() };
        let ends = couriers.credentials().into_iter().filter_map(|credential| {
            let app = &credential.route.app;
            let prefix = if app.is_default() { String::new() } else { format!("/apps/{app}") };
            let path = format!("{prefix}/{}/certificate", credential.route.channel.name());
            Some(Problem::new(path, format!("ends at {}", credential.not_after?)))
        });
        ends.chain(apps::remarks(self, base)).collect()
    }

    /// Couriers that are not to send anything.
    fn try_build(&self, base: &Path) -> Result<Couriers, Vec<Problem>> {
        let transport = Arc::new(transport::Http::new(self, base)?);
        let (clock, entropy, webhooks) = (Clock::System, Entropy::System, Webhooks::default());
        build(self, base, Tools { clock, entropy, transport, store: None, webhooks })
    }

    /// Whether push services of browsers may have private addresses; the same for all apps.
    pub fn allows_private(&self) -> bool {
        apps::parts(self).iter().any(|part| part.webpush.is_some_and(|webpush| webpush.allow_private))
    }
}

/// What couriers work with.
#[derive(Clone)]
pub struct Tools {
    /// What time it is.
    pub clock: Clock,
    /// Chance, for encryption.
    pub entropy: Entropy,
    /// The way to the providers.
    pub transport: Arc<dyn Transport>,
    /// Where tokens are kept that are to outlive a restart; without it none does.
    pub store: Option<Arc<dyn Store>>,
    /// The retailer's own systems that are told.
    pub webhooks: Webhooks,
}

/// Reads keys and makes the couriers. Relative paths are below `base`.
///
/// # Errors
/// Everything that is wrong, with paths below the delivery section.
pub fn build(config: &Config, base: &Path, tools: Tools) -> Result<Couriers, Vec<Problem>> {
    Couriers::new(config, base, tools)
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
    let mut problems = must.into_problems();
    problems.extend(apps::check(config));
    problems
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

/// What messages are grouped by where a phone lists them: the order, else the campaign.
fn thread(notification: &Notification) -> &str {
    match &notification.origin {
        Origin::Campaign { cause: Cause::Order { order, .. } | Cause::Pickup { order, .. }, .. } => order.as_str(),
        Origin::Campaign { campaign, cause: Cause::Transition { .. }, .. } => campaign.as_str(),
        Origin::Request { request, .. } => request,
        Origin::Event { event } => event,
    }
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.to_owned() }
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
