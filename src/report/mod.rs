//! What happened, as the journal keeps it, the stream tells it and the metrics count it.
//!
//! Reporting never waits and never fails: a reader that is too slow misses events, and that is counted.

mod metrics;

use std::sync::Arc;

use parvis_engine::{
    decide::Suppression,
    id::{CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    matching::Transition,
    notification::{Cause, Milestone, Notification},
    order::{Arrival, OrderState},
    problem::Problem,
    retry::Outcome,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{
    catalog::Standing,
    delivery::{Route, breaker, courier::Credential},
    fleet::{Change, Counts},
    ingest::Taken,
    store::{End, Loss, Settlement, Sizes, Step},
};

/// One thing that happened to one shopper. Carries no coordinates and no push targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// To whom.
    pub shopper: ShopperId,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum What {
    /// Something happened between a device and a region.
    Transition(Transition),
    /// A campaign was decided.
    Decision {
        /// Which campaign.
        campaign: CampaignId,
        /// For which device; none if the shopper has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
        /// What it answers.
        cause: Cause,
        /// The message, if one is to be sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notification: Option<NotificationId>,
        /// Not to be sent before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Timestamp>,
        /// Why not, if not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suppressed: Option<Suppression>,
    },
    /// A step in a notification's life.
    Milestone {
        /// Which notification.
        notification: NotificationId,
        /// Which step.
        milestone: Milestone,
        /// More about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// An order changed.
    Order {
        /// Which order.
        order: OrderId,
        /// What it became.
        state: OrderState,
    },
    /// Somebody comes to fetch an order: for the staff.
    Arrival(Arrival),
}

/// What the stream tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Something happened to a shopper.
    Shopper(Event),
    /// A scanner or a beacon fares otherwise than before.
    Fleet(Change),
}

/// What is told of what happened; section `[report]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many events a reader of the stream may be behind before it misses some.
    pub stream_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { stream_max: 4096 }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        if (1..=1_000_000).contains(&self.stream_max) {
            return Vec::new();
        }
        vec![Problem::new("/stream_max", "must be from 1 to 1000000")]
    }
}

/// Where everything that happens is told.
#[derive(Clone, Debug)]
pub struct Reporter {
    metrics: Arc<metrics::Metrics>,
    stream: broadcast::Sender<Arc<News>>,
}

impl Reporter {
    /// A reporter with nobody listening yet.
    pub fn new(config: &Config) -> Reporter {
        Reporter { metrics: Arc::new(metrics::Metrics::new()), stream: broadcast::channel(config.stream_max).0 }
    }

    /// Tells everybody.
    pub fn send(&self, event: Event) {
        match &event.what {
            What::Transition(transition) => self.metrics.transition(transition.kind, transition.replayed),
            What::Decision { suppressed: Some(why), .. } => self.metrics.suppressed(why.name()),
            What::Decision { .. } | What::Milestone { .. } | What::Order { .. } | What::Arrival(_) => {}
        }
        // An error says that nobody listens, which is as good.
        let _ = self.stream.send(Arc::new(News::Shopper(event)));
    }

    /// Tells everybody how a scanner or a beacon fares.
    pub fn fleet(&self, change: Change) {
        tracing::info!(subject = change.subject(), "{}", change.kind());
        self.metrics.fleet_changed(change.kind());
        // An error says that nobody listens, which is as good.
        let _ = self.stream.send(Arc::new(News::Fleet(change)));
    }

    /// A scanner's report was answered in this way.
    pub fn scanner_report(&self, result: &'static str) {
        self.metrics.scanner_reports(result);
    }

    /// So many sightings of scanners became this.
    pub fn scanner_sightings(&self, result: &'static str, count: u64) {
        self.metrics.scanner_sightings(result, count);
    }

    /// Everything that happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<News>> {
        self.stream.subscribe()
    }

    /// A stream reader was too slow for so many events.
    pub fn lost(&self, events: u64) {
        self.metrics.stream_lost(events);
    }

    /// Another writer was faster.
    pub fn conflict(&self) {
        self.metrics.conflict();
    }

    /// Messages were decided and are durable.
    pub fn stored(&self, notification: &Notification) {
        self.metrics.milestone(notification.channel, Milestone::Stored);
    }

    /// A request with observations was answered; `ignored` of its messages carried nothing for us.
    pub fn ingested(&self, taken: &Taken, ignored: u64) {
        self.metrics.observations("accepted", taken.accepted);
        self.metrics.observations("ignored", ignored);
        for (_, rejected) in &taken.rejected {
            self.metrics.observations(rejected.reason.name(), 1);
        }
    }

    /// A broker's message is done with.
    pub fn mqtt_message(&self, format: &'static str, result: &'static str) {
        self.metrics.mqtt_message(format, result);
    }

    /// A broker is listened to, or no longer.
    pub fn mqtt_connected(&self, client_id: &str, connected: bool) {
        self.metrics.mqtt_connected(client_id, connected);
    }

    /// A connection to a broker failed or was lost.
    pub fn mqtt_ended(&self, client_id: &str) {
        self.metrics.mqtt_ended(client_id);
    }

    /// A provider has answered.
    pub fn outcome(&self, notification: &Notification, outcome: &Outcome, now: Timestamp) {
        self.metrics.attempt(notification.channel, outcome);
        if *outcome == Outcome::Accepted {
            self.metrics.accepted_after(notification.channel, now.since(notification.decided_at));
        }
    }

    /// A provider is asked from now on, or not, or only tried.
    pub fn breaker(&self, route: &Route, state: breaker::State) {
        self.metrics.breaker(route, state);
    }

    /// There is no way out to this provider any more.
    pub fn no_breaker(&self, route: &Route) {
        self.metrics.no_breaker(route);
    }

    /// Whether providers are asked, by route.
    pub fn breakers(&self) -> Vec<(Route, breaker::State)> {
        self.metrics.breakers()
    }

    /// An attempt was put off without asking a provider.
    pub fn postponed(&self, route: &Route, reason: &'static str) {
        self.metrics.postponed(route, reason);
    }

    /// How credentials stand.
    pub fn credentials(&self, credentials: &[Credential], now: Timestamp) {
        self.metrics.credentials(credentials, now);
    }

    /// An entry was settled, and that is durable.
    pub fn settled(&self, settlement: &Settlement) {
        let End::Terminal { milestone, detail, .. } = &settlement.end else { return };
        self.metrics.milestone(settlement.queue.channel, *milestone);
        let what = What::Milestone { notification: settlement.id, milestone: *milestone, detail: detail.clone() };
        self.send(Event { at: settlement.at, recorded_at: settlement.at, shopper: settlement.shopper.clone(), what });
    }

    /// The app or the till has reported a milestone, and that is durable.
    pub fn receipt(&self, notification: &Notification, step: Step, now: Timestamp) {
        let Step { milestone, at, detail } = step;
        self.metrics.milestone(notification.channel, milestone);
        let what = What::Milestone { notification: notification.id, milestone, detail };
        self.send(Event { at, recorded_at: now, shopper: notification.shopper.clone(), what });
    }

    /// What a crash of the machine that keeps the data can lose.
    pub fn crash_loss(&self, loss: Loss) {
        self.metrics.crash_loss(loss);
    }

    /// What this node's catalog should have in common with the others'.
    pub fn catalog(&self, standing: Standing) {
        self.metrics.catalog(standing);
    }

    /// The metrics page, in the text format of Prometheus. Sizes that are not known now stay what they were.
    pub fn page(&self, sizes: Option<&Sizes>, inbox_waiting: usize, fleet: &Counts) -> String {
        self.metrics.fleet(fleet);
        self.metrics.page(sizes, inbox_waiting)
    }
}
