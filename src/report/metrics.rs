//! What is counted. One enum variant or one field a metric; labels come from closed sets, so that a page stays small.

use std::sync::atomic::AtomicU64;

use parvis_engine::{
    matching::TransitionKind,
    notification::{Channel, Milestone},
    retry::Outcome,
    time::Timestamp,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    catalog::Standing,
    delivery::{Route, breaker::State, courier::Credential},
    fleet::{self, BeaconState, ScannerState},
    store::Loss,
};

mod delivery;

type Counts<L> = Family<L, Counter<u64, AtomicU64>>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Became {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Lost {
    lost: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OnChannel {
    channel: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reached {
    channel: &'static str,
    milestone: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Attempted {
    channel: &'static str,
    outcome: &'static str,
}

/// A connection is named by the configuration, so there are few.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OnConnection {
    client_id: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Message {
    format: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// The counters of this process and the page that shows them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    observations: Counts<Became>,
    transitions: Counts<Kind>,
    suppressed: Counts<Kind>,
    milestones: Counts<Reached>,
    attempts: Counts<Attempted>,
    conflicts: Counter,
    stream_lost: Counter,
    inbox_waiting: Gauge,
    outbox_waiting: Family<OnChannel, Gauge>,
    shoppers: Gauge,
    store_bytes: Gauge,
    crash_loss: Family<Lost, Gauge>,
    catalog_generation: Gauge,
    catalog_files: Gauge,
    accepted_after: Family<OnChannel, Histogram, fn() -> Histogram>,
    mqtt_messages: Counts<Message>,
    mqtt_connected: Family<OnConnection, Gauge>,
    mqtt_ended: Counts<OnConnection>,
    scanner_reports: Counts<Became>,
    scanner_sightings: Counts<Became>,
    fleet_changes: Counts<Kind>,
    scanners: Family<InState, Gauge>,
    scanners_deaf: Gauge,
    beacons: Family<InState, Gauge>,
    beacons_unknown: Gauge,
    delivery: delivery::Delivery,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("parvis"),
            observations: Counts::default(),
            transitions: Counts::default(),
            suppressed: Counts::default(),
            milestones: Counts::default(),
            attempts: Counts::default(),
            conflicts: Counter::default(),
            stream_lost: Counter::default(),
            inbox_waiting: Gauge::default(),
            outbox_waiting: Family::default(),
            shoppers: Gauge::default(),
            store_bytes: Gauge::default(),
            crash_loss: Family::default(),
            catalog_generation: Gauge::default(),
            catalog_files: Gauge::default(),
            accepted_after: Family::new_with_constructor(latency),
            mqtt_messages: Counts::default(),
            mqtt_connected: Family::default(),
            mqtt_ended: Counts::default(),
            scanner_reports: Counts::default(),
            scanner_sightings: Counts::default(),
            fleet_changes: Counts::default(),
            scanners: Family::default(),
            scanners_deaf: Gauge::default(),
            beacons: Family::default(),
            beacons_unknown: Gauge::default(),
            delivery: delivery::Delivery::default(),
        };
        metrics.delivery.register(&mut metrics.registry);
        metrics.register();
        metrics.register_fleet();
        metrics.register_catalog();
        metrics
    }

    fn register(&mut self) {
        let Metrics { registry, .. } = self;
        registry.register("observations", "Observations, by what became of them", self.observations.clone());
        registry.register("transitions", "Transitions, by kind", self.transitions.clone());
        registry.register("suppressed", "Decisions not to send, by reason", self.suppressed.clone());
        registry.register("notifications", "Notifications that reached a milestone", self.milestones.clone());
        registry.register("attempts", "Attempts at a provider, by outcome", self.attempts.clone());
        registry.register(
            "conflicts",
            "Batches decided again, because another writer was faster",
            self.conflicts.clone(),
        );
        registry.register("stream_lost", "Events that a slow stream reader missed", self.stream_lost.clone());
        registry.register("inbox_waiting", "Jobs that wait in the shards' inboxes", self.inbox_waiting.clone());
        registry.register("outbox_waiting", "Notifications that wait to be sent", self.outbox_waiting.clone());
        registry.register("shoppers", "Known shoppers", self.shoppers.clone());
        registry.register("store_bytes", "Bytes that the store holds on disk", self.store_bytes.clone());
        let help = "1 for what a crash of the machine that keeps the data can lose of acknowledged writes";
        registry.register("store_crash_loss", help, self.crash_loss.clone());
        registry.register_with_unit(
            "accepted_after",
            "Time from the decision to the provider's acceptance",
            Unit::Seconds,
            self.accepted_after.clone(),
        );
        registry.register("mqtt_messages", "Messages from brokers, by what became of them", self.mqtt_messages.clone());
        registry.register("mqtt_connected", "Whether a broker is listened to", self.mqtt_connected.clone());
        registry.register("mqtt_ended", "Connections to brokers that failed or were lost", self.mqtt_ended.clone());
    }

    fn register_fleet(&mut self) {
        let Metrics { registry, .. } = self;
        registry.register(
            "scanner_reports",
            "Reports of scanners, by how they were answered",
            self.scanner_reports.clone(),
        );
        let help = "Sightings by scanners, by what became of them";
        registry.register("scanner_sightings", help, self.scanner_sightings.clone());
        registry.register("fleet_changes", "Changes of scanners and beacons, by kind", self.fleet_changes.clone());
        registry.register("scanners", "Scanners, by how they fare", self.scanners.clone());
        registry.register("scanners_deaf", "Scanners that do not hear their reference", self.scanners_deaf.clone());
        registry.register("beacons", "Beacons, by how they fare", self.beacons.clone());
        let help = "Unregistered beacons with the retailer's names that are remembered";
        registry.register("beacons_unknown", help, self.beacons_unknown.clone());
    }

    fn register_catalog(&mut self) {
        let Metrics { registry, .. } = self;
        let help = "Changes of the catalog through the API that this node has seen";
        registry.register("catalog_generation", help, self.catalog_generation.clone());
        let help = "A number made of the catalog's files and the engine's settings: nodes with the same have the same";
        registry.register("catalog_files", help, self.catalog_files.clone());
    }

    /// Of the hash as many bits as a number of the metrics page holds.
    pub(crate) fn catalog(&self, standing: Standing) {
        const LEFT_OUT_BITS: u32 = 16;
        self.catalog_generation.set(level(standing.stored));
        self.catalog_files.set(level(standing.files >> LEFT_OUT_BITS));
    }

    pub(crate) fn scanner_reports(&self, result: &'static str) {
        self.scanner_reports.get_or_create(&Became { result }).inc();
    }

    pub(crate) fn scanner_sightings(&self, result: &'static str, count: u64) {
        self.scanner_sightings.get_or_create(&Became { result }).inc_by(count);
    }

    pub(crate) fn fleet_changed(&self, kind: &'static str) {
        self.fleet_changes.get_or_create(&Kind { kind }).inc();
    }

    pub(crate) fn fleet(&self, counts: &fleet::Counts) {
        for (state, count) in ScannerState::ALL.iter().zip(counts.scanners) {
            self.scanners.get_or_create(&InState { state: state.name() }).set(level(count));
        }
        for (state, count) in BeaconState::ALL.iter().zip(counts.beacons) {
            self.beacons.get_or_create(&InState { state: state.name() }).set(level(count));
        }
        self.scanners_deaf.set(level(counts.deaf));
        self.beacons_unknown.set(level(counts.unknown));
    }

    pub(crate) fn observations(&self, result: &'static str, count: u64) {
        self.observations.get_or_create(&Became { result }).inc_by(count);
    }

    pub(crate) fn transition(&self, kind: TransitionKind, replayed: bool) {
        let kind = if replayed { "replayed" } else { kind.name() };
        self.transitions.get_or_create(&Kind { kind }).inc();
    }

    pub(crate) fn suppressed(&self, reason: &'static str) {
        self.suppressed.get_or_create(&Kind { kind: reason }).inc();
    }

    pub(crate) fn milestone(&self, channel: Channel, milestone: Milestone) {
        self.milestones.get_or_create(&Reached { channel: channel.name(), milestone: milestone.name() }).inc();
    }

    pub(crate) fn attempt(&self, channel: Channel, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Unregistered { .. } => "unregistered",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Throttled { .. } => "throttled",
            Outcome::Unavailable { .. } => "unavailable",
        };
        self.attempts.get_or_create(&Attempted { channel: channel.name(), outcome }).inc();
    }

    pub(crate) fn breaker(&self, route: &Route, state: State) {
        self.delivery.breaker(route, state);
    }

    pub(crate) fn no_breaker(&self, route: &Route) {
        self.delivery.no_breaker(route);
    }

    pub(crate) fn breakers(&self) -> Vec<(Route, State)> {
        self.delivery.breakers()
    }

    pub(crate) fn postponed(&self, route: &Route, reason: &'static str) {
        self.delivery.postponed(route, reason);
    }

    pub(crate) fn credentials(&self, credentials: &[Credential], now: Timestamp) {
        self.delivery.credentials(credentials, now);
    }

    pub(crate) fn accepted_after(&self, channel: Channel, span: std::time::Duration) {
        self.accepted_after.get_or_create(&OnChannel { channel: channel.name() }).observe(span.as_secs_f64());
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.inc();
    }

    pub(crate) fn stream_lost(&self, events: u64) {
        self.stream_lost.inc_by(events);
    }

    pub(crate) fn mqtt_message(&self, format: &'static str, result: &'static str) {
        self.mqtt_messages.get_or_create(&Message { format, result }).inc();
    }

    pub(crate) fn mqtt_connected(&self, client_id: &str, connected: bool) {
        self.mqtt_connected.get_or_create(&OnConnection { client_id: client_id.to_owned() }).set(connected.into());
    }

    pub(crate) fn mqtt_ended(&self, client_id: &str) {
        self.mqtt_ended.get_or_create(&OnConnection { client_id: client_id.to_owned() }).inc();
    }

    pub(crate) fn crash_loss(&self, loss: Loss) {
        for each in Loss::ALL {
            self.crash_loss.get_or_create(&Lost { lost: each.name() }).set(i64::from(each == loss));
        }
    }

    pub(crate) fn page(&self, sizes: Option<&crate::store::Sizes>, inbox_waiting: usize) -> String {
        self.inbox_waiting.set(level(inbox_waiting as u64));
        if let Some(sizes) = sizes {
            self.shoppers.set(level(sizes.shoppers));
            self.store_bytes.set(level(sizes.bytes));
            for channel in Channel::ALL {
                let waiting = sizes.waiting.get(&channel).copied().unwrap_or(0);
                self.outbox_waiting.get_or_create(&OnChannel { channel: channel.name() }).set(level(waiting));
            }
        }
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("writing to a string does not fail");
        page
    }
}

fn level(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One millisecond to half a minute, doubling.
fn latency() -> Histogram {
    Histogram::new((0..16).map(|power| 0.001 * f64::from(1 << power)))
}
