//! Webhooks: what has happened, told to the retailer's own systems by signed calls.
//!
//! What is to be told is an entry of the outbox like any message, in the commit or the settlement of what it tells: it is
//! leased, tried again, given up and replayed like one. Source: the Standard Webhooks specification, 1.0.0.
//!
//! This module opens no connection and asks no clock.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header::CONTENT_TYPE};
use parvis_engine::{
    id::{AppId, EndpointId, NotificationId},
    notification::{Address, Body, Channel, Fact, Notification, Origin, Recipient},
    problem::Problem,
    retry::{Outcome, Patience},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    delivery::{
        Blame, Meaning, Provider, Reply,
        courier::{Courier, Credentials},
        reply::retry_after,
        transport::Peer,
    },
    report::{
        Event,
        envelope::{self, Told, Wanted},
    },
    store::Queue,
};

mod secret;

use secret::Secrets;

/// More than this is no longer a handful of systems, and every event is written once for each of them.
const ENDPOINTS_MAX: usize = 32;
/// Longer URLs are mistakes.
const URL_BYTES_MAX: usize = 2_048;

/// Who is told; section `[webhooks]`, with a table for each endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Config(pub BTreeMap<EndpointId, Endpoint>);

/// One system that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where it is called, an `https` URL.
    pub url: String,
    /// The file of its signing secrets, `whsec_` and base64, one a line. All of them sign, so that they can be changed.
    pub secret: PathBuf,
    /// The types of events that it is told, as the stream has them; all if absent.
    #[serde(default)]
    pub events: Vec<String>,
    /// How long a call is tried again before it is given up and kept as a dead letter.
    #[serde(default = "days", with = "parvis_engine::time::duration")]
    pub retry_for: Duration,
    /// Whether its host may have a private or loopback address.
    #[serde(default)]
    pub allow_private: bool,
}

fn days() -> Duration {
    Duration::from_secs(3 * 24 * 3600)
}

impl Config {
    /// What can't work; secrets are read and parsed.
    pub fn problems(&self, folder: &Path) -> Vec<Problem> {
        read(self, folder).err().unwrap_or_default()
    }
}

/// More calls at once would be felt by a system that is built for orders, not for everybody's every step.
const CONCURRENCY: usize = 32;
/// The first wait of a call that failed, as the specification proposes.
const BACKOFF_MIN: Duration = Duration::from_secs(5);
/// The longest wait: a system that was mended in the morning has heard of the night by noon.
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 3600);

/// How patiently a call is tried: so often that the waits between the attempts add up to `retry_for`, as they are on
/// average. Half of each is chance, so that is three quarters of it.
pub fn patience(retry_for: Duration) -> Patience {
    let (mut attempts_max, mut waited) = (1, Duration::ZERO);
    while waited < retry_for {
        let longest = BACKOFF_MIN.saturating_mul(1 << (attempts_max - 1).min(20)).min(BACKOFF_MAX);
        waited += longest * 3 / 4;
        attempts_max += 1;
    }
    Patience { attempts_max, backoff_min: BACKOFF_MIN, backoff_max: BACKOFF_MAX }
}

/// Those who are told now; a handle that all parts of the node share.
#[derive(Clone, Debug, Default)]
pub struct Webhooks(Arc<ArcSwap<Vec<Arc<Known>>>>);

/// An endpoint that is ready to be told.
#[derive(Debug)]
struct Known {
    id: EndpointId,
    uri: Uri,
    secrets: Secrets,
    wanted: Wanted,
    retry_for: Duration,
    allow_private: bool,
}

impl Webhooks {
    /// Reads the secrets.
    ///
    /// # Errors
    /// Everything that is wrong, with paths below the section.
    pub fn read(config: &Config, folder: &Path) -> Result<Webhooks, Vec<Problem>> {
        Ok(Webhooks(Arc::new(ArcSwap::from_pointee(read(config, folder)?))))
    }

    /// From now on those of the other handle are told.
    pub fn replace(&self, other: &Webhooks) {
        self.0.store(other.0.load_full());
    }

    /// The way to each endpoint, and how patiently it is tried.
    pub fn couriers(&self) -> BTreeMap<EndpointId, (Arc<Courier>, Patience)> {
        let known = self.0.load();
        let courier = |known: &Arc<Known>| {
            let peer = Peer::Webhook { private: known.allow_private };
            let caller = Box::new(Caller(Arc::clone(known)));
            let courier = Courier::new(caller, Credentials::None, peer, CONCURRENCY);
            (known.id.clone(), (Arc::new(courier), patience(known.retry_for)))
        };
        known.iter().map(courier).collect()
    }

    /// What is to be told of these events, to whoever wants to hear of them. The same events give the same entries.
    pub fn tell<'e>(&self, events: impl IntoIterator<Item = &'e Event>) -> Vec<Notification> {
        let known = self.0.load();
        if known.is_empty() {
            return Vec::new();
        }
        events.into_iter().flat_map(|event| entries(&known, event)).collect()
    }
}

/// Speaks to one endpoint.
struct Caller(Arc<Known>);

impl Provider for Caller {
    fn channel(&self) -> Channel {
        Channel::Webhook
    }

    fn request(&self, entry: &Notification, _: &Address, _: &str, now: Timestamp) -> Result<Request<Bytes>, Outcome> {
        let rejected = |reason: &str| Outcome::Rejected { reason: reason.to_owned() };
        let (Origin::Event { event }, Body::Fact(fact)) = (&entry.origin, &entry.body) else {
            return Err(rejected("no_event"));
        };
        let Known { uri, secrets, .. } = &*self.0;
        let body = json!({ "type": event, "timestamp": fact.at, "data": fact.data }).to_string();
        let (id, seconds) = (entry.id.to_string(), now.as_millis().div_euclid(1_000));
        Request::post(uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", secrets.sign(&id, seconds, body.as_bytes()))
            .body(body.into())
            .map_err(|_| rejected("bad_request"))
    }

    /// Any 2xx is a yes. A 410 says that nobody wants to be told any more. Everything else may be mended, at the endpoint
    /// or on the way to it, and so is tried again; until then the endpoint would answer the next call the same.
    fn meaning(&self, reply: &Reply, now: Timestamp) -> Meaning {
        let reason = format!("http_{}", reply.status.as_u16());
        let retry_after = retry_after(&reply.headers, now);
        match reply.status {
            status if status.is_success() => Meaning::accepted(),
            StatusCode::GONE => Meaning::rejected(reason),
            StatusCode::TOO_MANY_REQUESTS => Meaning::throttled(Blame::Provider, retry_after, reason),
            _ => Meaning::unavailable(Blame::Provider, retry_after, reason),
        }
    }

    fn wants_new_credential(&self, _: &Reply) -> bool {
        false
    }
}

fn entries(known: &[Arc<Known>], event: &Event) -> Vec<Notification> {
    let kind = envelope::kind(event);
    let mut wanting = known.iter().filter(|known| known.wanted.has(kind)).peekable();
    if wanting.peek().is_none() {
        return Vec::new();
    }
    let Told { hash, data } = Told::of(event);
    let (hash, fact) = (format!("{hash:016x}"), Fact { at: event.at, data });
    let entry = |known: &Arc<Known>| Notification {
        id: NotificationId::derive(event.at, &event.shopper, &["webhook", known.id.as_str(), &hash]),
        shopper: event.shopper.clone(),
        recipient: Recipient::Endpoint(known.id.clone()),
        channel: Channel::Webhook,
        app: AppId::default(),
        origin: Origin::Event { event: kind.to_owned() },
        replays: None,
        body: Body::Fact(Box::new(fact.clone())),
        collapse: String::new(),
        observed_at: event.at,
        decided_at: event.recorded_at,
        not_before: event.recorded_at,
        // It is given up by the number of attempts: while the node stands still, nothing runs out.
        expires_at: Timestamp::MAX,
    };
    wanting.map(entry).collect()
}

fn read(config: &Config, folder: &Path) -> Result<Vec<Arc<Known>>, Vec<Problem>> {
    let mut problems = Vec::new();
    if config.0.len() > ENDPOINTS_MAX {
        problems.push(Problem::new("", format!("at most {ENDPOINTS_MAX} endpoints")));
    }
    let mut queues: BTreeMap<Queue, &EndpointId> = BTreeMap::new();
    for id in config.0.keys() {
        if let Some(other) = queues.insert(Queue::new(Channel::Webhook, id.as_str(), None), id) {
            let message = format!("would share its place in the outbox with {other}; give it another name");
            problems.push(Problem::new(format!("/{id}"), message));
        }
    }
    let mut all = Vec::with_capacity(config.0.len());
    for (id, endpoint) in &config.0 {
        match known(id, endpoint, folder) {
            Ok(known) => all.push(Arc::new(known)),
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.under(&format!("/{id}")))),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn known(id: &EndpointId, endpoint: &Endpoint, folder: &Path) -> Result<Known, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut note = |path: &str, message: String| problems.push(Problem::new(path, message));
    let uri = uri(&endpoint.url).map_err(|message| note("/url", message)).ok();
    let secrets = Secrets::read(&folder.join(&endpoint.secret)).map_err(|message| note("/secret", message)).ok();
    let wanted = Wanted::new(endpoint.events.clone(), envelope::TYPES.into_iter());
    let wanted = wanted.map_err(|message| note("/events", message)).ok();
    if endpoint.retry_for < Duration::from_secs(60) || endpoint.retry_for > Duration::from_secs(30 * 24 * 3600) {
        note("/retry_for", "must be from 1m to 30d".to_owned());
    }
    match (uri, secrets, wanted) {
        (Some(uri), Some(secrets), Some(wanted)) if problems.is_empty() => Ok(Known {
            id: id.clone(),
            uri,
            secrets,
            wanted,
            retry_for: endpoint.retry_for,
            allow_private: endpoint.allow_private,
        }),
        _ => Err(problems),
    }
}

fn uri(text: &str) -> Result<Uri, String> {
    // The URL itself is not told: many systems put a key into it.
    let told = || "must be an https URL".to_owned();
    if text.len() > URL_BYTES_MAX {
        return Err(format!("has more than {URL_BYTES_MAX} bytes"));
    }
    let uri: Uri = text.parse().map_err(|_| told())?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(told)?;
    if authority.as_str().contains('@') {
        return Err("must hold no user and password; the signature says who calls".to_owned());
    }
    if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { Ok(uri) } else { Err(told()) }
}

#[cfg(test)]
mod tests;
