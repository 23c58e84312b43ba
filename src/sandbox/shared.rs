//! What all connections share, and what each remembers. Nothing is decided here.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parvis_engine::{notification::Channel, time::Timestamp};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Conditions, Endpoints, Options,
    apns::{Apns, Presented, Sender},
    app::{App, Apps},
    autopush::Browsers,
    behaviour::Effect,
    fault::{Faults, Subject},
    fcm::Fcm,
    frames::Wire,
    identity::Identity,
    record::Record,
    target::Targets,
    webpush::WebPush,
};
use crate::{clock::Clock, entropy::Entropy};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) identity: Identity,
    pub(super) endpoints: Endpoints,
    pub(super) apps: Apps,
    pub(super) targets: Targets,
    pub(super) faults: Faults,
    pub(super) record: Record,
    pub(super) apns: Apns,
    pub(super) fcm: Fcm,
    pub(super) webpush: WebPush,
    pub(super) browsers: Browsers,
    conditions: RwLock<BTreeMap<Channel, Held>>,
    departures: BTreeMap<Channel, watch::Sender<Option<String>>>,
    changes: BTreeMap<Channel, watch::Sender<()>>,
    pub(super) stop: CancellationToken,
}

/// Conditions and when they end.
#[derive(Debug)]
struct Held {
    conditions: Arc<Conditions>,
    until: Option<Timestamp>,
}

/// What a service remembers about a connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Who showed which certificate.
    pub(super) presented: Presented,
    /// Whose tokens this connection carries.
    pub(super) sender: Mutex<Option<Sender>>,
    /// None over HTTP/1.1.
    pub(super) wire: Option<Arc<Wire>>,
    /// What was announced until somebody is known, and what is announced then.
    streams: Mutex<Option<(u32, u32)>>,
    /// That the connection is to end.
    pub(super) leaving: Notify,
    open: AtomicU32,
    requests: AtomicU32,
    last: Mutex<Timestamp>,
}

/// One open request of a connection, counted while it lives.
pub(super) struct Exchange<'a> {
    connection: &'a Connection,
    clock: &'a Clock,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        identity: Identity,
        app: App,
        endpoints: Endpoints,
        stop: CancellationToken,
    ) -> Shared {
        Shared {
            apns: Apns::new(&app, &identity, options.apns_token_changes),
            fcm: Fcm::default(),
            webpush: WebPush::default(),
            browsers: Browsers::default(),
            apps: Apps::new(app),
            targets: Targets::default(),
            faults: Faults::default(),
            record: Record::new(options.capacity),
            conditions: RwLock::default(),
            departures: Channel::ALL.into_iter().map(|channel| (channel, watch::Sender::default())).collect(),
            changes: Channel::ALL.into_iter().map(|channel| (channel, watch::Sender::default())).collect(),
            clock: options.clock,
            entropy: options.entropy,
            identity,
            endpoints,
            stop,
        }
    }

    pub(super) fn set_conditions(&self, channel: Channel, conditions: Conditions) {
        let until = conditions.for_ms.map(|ms| self.clock.now().plus(Duration::from_millis(ms)));
        let held = Held { conditions: Arc::new(conditions), until };
        self.conditions.write().unwrap_or_else(PoisonError::into_inner).insert(channel, held);
        if let Some(changes) = self.changes.get(&channel) {
            changes.send_replace(());
        }
    }

    /// Changes when the conditions of a service do, except when they end by themselves.
    pub(super) fn changes(&self, channel: Channel) -> watch::Receiver<()> {
        self.changes.get(&channel).map(watch::Sender::subscribe).unwrap_or_else(|| watch::channel(()).1)
    }

    /// Changes when the connections of a service are to end; tells why.
    pub(super) fn departures(&self, channel: Channel) -> watch::Receiver<Option<String>> {
        self.departures.get(&channel).map(watch::Sender::subscribe).unwrap_or_else(|| watch::channel(None).1)
    }

    pub(super) fn go_away(&self, channel: Channel, reason: Option<String>) {
        if let Some(departure) = self.departures.get(&channel) {
            departure.send_replace(reason);
        }
    }

    /// The conditions that hold now.
    pub(super) fn conditions(&self, channel: Channel) -> Arc<Conditions> {
        self.held(channel).0
    }

    /// The conditions that hold now, and when they end.
    pub(super) fn held(&self, channel: Channel) -> (Arc<Conditions>, Option<Timestamp>) {
        let held = self.conditions.read().unwrap_or_else(PoisonError::into_inner);
        match held.get(&channel) {
            Some(Held { until: Some(until), .. }) if *until <= self.clock.now() => (Arc::default(), None),
            Some(Held { conditions, until }) => (Arc::clone(conditions), *until),
            None => (Arc::default(), None),
        }
    }

    /// What a valid request gets: of its target, else of the first fault that fits.
    pub(super) fn next_effect(&self, subject: &Subject<'_>) -> Effect {
        let own = self.targets.next_effect(subject.target, &self.entropy);
        if own == Effect::Answer { self.faults.next(subject, &self.entropy) } else { own }
    }
}

impl Connection {
    pub(super) fn new(presented: Presented, wire: Option<Arc<Wire>>, now: Timestamp) -> Connection {
        Connection { presented, wire, last: Mutex::new(now), ..Connection::default() }
    }

    /// Counts a request; the number says the how manieth it is.
    pub(super) fn begin<'a>(&'a self, clock: &'a Clock) -> (u32, Exchange<'a>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        (self.requests.fetch_add(1, Ordering::Relaxed) + 1, Exchange { connection: self, clock })
    }

    /// Since when nothing goes on, if so.
    pub(super) fn idle_since(&self) -> Option<Timestamp> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.open.load(Ordering::Relaxed) == 0).then_some(last)
    }

    /// Fewer streams than later, until somebody is known.
    pub(super) fn restrict(&self, first: u32, later: u32) {
        *self.streams.lock().unwrap_or_else(PoisonError::into_inner) = Some((first, later));
    }

    /// Whether so many open requests are more than were announced so far.
    pub(super) fn is_crowded(&self) -> bool {
        let streams = *self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.is_some_and(|(first, _)| self.open.load(Ordering::Relaxed) > first)
    }

    /// Announces as many streams as those get who are known.
    pub(super) fn welcome(&self) {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some((_, streams)), Some(wire)) = (streams, &self.wire) {
            wire.announce(streams);
        }
    }

    /// Has GOAWAY say why, as APNs writes it.
    pub(super) fn explain(&self, reason: Option<&str>) {
        if let (Some(reason), Some(wire)) = (reason, &self.wire) {
            wire.explain_goaway(Bytes::from(json!({ "reason": reason }).to_string()));
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        *self.connection.last.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.now();
        self.connection.open.fetch_sub(1, Ordering::Relaxed);
    }
}
