//! What all connections share, and what each remembers. Nothing is decided here.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, RwLock},
};

use parvis_engine::notification::Channel;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Conditions, Endpoints, Options, apns::Apns, fcm::Fcm, identity::Identity, record::Record, target::Targets,
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
    pub(super) targets: Targets,
    pub(super) record: Record,
    pub(super) apns: Apns,
    pub(super) fcm: Fcm,
    pub(super) webpush: WebPush,
    conditions: RwLock<BTreeMap<Channel, Conditions>>,
    departures: BTreeMap<Channel, watch::Sender<()>>,
    pub(super) stop: CancellationToken,
}

/// What a service remembers about a connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The key whose tokens this connection carries.
    pub(super) apns_key_id: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(options: Options, identity: Identity, endpoints: Endpoints, stop: CancellationToken) -> Shared {
        Shared {
            apns: Apns::new(&identity.apns_key, options.apns_token_changes),
            fcm: Fcm::default(),
            webpush: WebPush::default(),
            targets: Targets::default(),
            record: Record::new(options.capacity),
            conditions: RwLock::default(),
            departures: Channel::ALL.into_iter().map(|channel| (channel, watch::Sender::default())).collect(),
            clock: options.clock,
            entropy: options.entropy,
            identity,
            endpoints,
            stop,
        }
    }

    pub(super) fn set_conditions(&self, channel: Channel, conditions: Conditions) {
        self.conditions.write().unwrap_or_else(PoisonError::into_inner).insert(channel, conditions);
    }

    /// Changes when the connections of a service are to end.
    pub(super) fn departures(&self, channel: Channel) -> Option<watch::Receiver<()>> {
        self.departures.get(&channel).map(watch::Sender::subscribe)
    }

    pub(super) fn go_away(&self, channel: Channel) {
        if let Some(departure) = self.departures.get(&channel) {
            departure.send_replace(());
        }
    }

    /// The conditions that hold now.
    pub(super) fn conditions(&self, channel: Channel) -> Conditions {
        self.conditions.read().unwrap_or_else(PoisonError::into_inner).get(&channel).cloned().unwrap_or_default()
    }
}
