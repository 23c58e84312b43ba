//! Reports on their way to the server: fresh ones at once, those that could not be sent from disk.
//!
//! There are two lanes. The live lane sends each report as it is made and touches no disk. What it can't send goes into
//! the queue, and while the link is down everything does. The backlog lane empties the queue, oldest first and at a
//! limited rate, and it is what finds out that the link works again; from then on fresh reports pass the backlog, for
//! an offer can't wait behind hours of history.
//!
//! Numbers stay with their reports, so that a report that was sent twice is known as one. From the moment at which fresh
//! reports begin to pass a backlog they are numbered in a row of their own: in each row the server sees numbers grow.

use std::{collections::VecDeque, future::Future, io, pin::Pin, time::Duration};

use anyhow::Result;
use futures_util::future::OptionFuture;
use parvis_beacons::report::{Health, Heard};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

mod backlog;
mod client;
mod record;
mod verdict;

pub use client::{Client, Outcome, certificates, key};
pub use record::{Age, Now, Record, compress};
pub use verdict::{Link, Verdict, judge};

use crate::{
    clock::{self, Clock, Moment},
    config::Config,
    entropy,
    queue::{Place, Queue},
    status::{Loss, Status},
};

/// How many fresh reports may wait for one that is under way.
const WAITING_MAX: usize = 8;

/// What was heard lately.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// When it was made.
    pub at: Moment,
    /// What was heard, with ages that count back from then.
    pub heard: Vec<Heard>,
    /// How the host fares, if that is due.
    pub health: Option<Health>,
}

/// Takes batches until shutdown, then keeps what was not sent.
pub struct Uplink {
    config: Config,
    client: Client,
    queue: Queue,
    status: Status,
    clock: Clock,
    link: Link,
    run: String,
    boot: Option<String>,
    /// The row of numbers that fresh reports are in, and the last number in it.
    row: u64,
    seq: u64,
    /// What the server's clock is ahead of the boot's, milliseconds.
    server_ahead_ms: Option<i64>,
    waiting: VecDeque<Fresh>,
    live: Option<(Fresh, Flight)>,
    backlog: Option<(Place, Flight)>,
    backlog_at: Moment,
    sync_at: Option<Moment>,
}

/// A report that was just made.
struct Fresh {
    record: Record,
    health: Option<Health>,
}

type Flight = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What the loop wakes up for.
enum Event {
    Shutdown,
    Live(Outcome),
    Backlog(Outcome),
    Made(Option<Batch>),
    Timer,
}

impl Uplink {
    /// Opens the queue.
    ///
    /// # Errors
    /// If the queue or the client can't be had.
    pub fn open(config: Config, status: Status, clock: Clock) -> Result<Uplink> {
        let client = Client::new(&config.server, clock)?;
        let queue = Queue::open(&config.queue.folder, config.queue.size_max.0)
            .map_err(|error| anyhow::anyhow!("{}: {error}", config.queue.folder.display()))?;
        let server = &config.server;
        let link = Link::new(server.retry_min, server.retry_max, server.refused_wait);
        if !queue.is_empty() {
            info!(reports = queue.len(), "reports of an earlier run wait");
        }
        status.queue(queue.len());
        Ok(Uplink {
            client,
            queue,
            status,
            clock,
            link,
            run: format!("{:016x}", entropy::bits()),
            boot: clock::host_boot(),
            row: 0,
            seq: 0,
            server_ahead_ms: None,
            waiting: VecDeque::new(),
            live: None,
            backlog: None,
            backlog_at: Moment::default(),
            sync_at: None,
            config,
        })
    }

    /// Runs until shutdown and the end of the batches.
    ///
    /// # Errors
    /// If what was not sent can't be kept.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>, shutdown: CancellationToken) -> io::Result<()> {
        let mut open = true;
        while open {
            self.launch();
            let timer = self.timer();
            let clock = self.clock;
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => Event::Shutdown,
                Some(outcome) = OptionFuture::from(self.live.as_mut().map(|(_, flight)| flight)) => Event::Live(outcome),
                Some(outcome) = OptionFuture::from(self.backlog.as_mut().map(|(_, flight)| flight)) => Event::Backlog(outcome),
                batch = batches.recv() => Event::Made(batch),
                () = clock.sleep_until(timer) => Event::Timer,
            };
            match event {
                Event::Shutdown | Event::Made(None) => open = false,
                Event::Live(outcome) => self.settle_live(&outcome),
                Event::Backlog(outcome) => self.settle_backlog(&outcome),
                Event::Made(Some(batch)) => self.make(batch),
                Event::Timer => self.sync_if_due(),
            }
        }
        self.close(batches).await
    }

    /// A last attempt for what is fresh; then everything goes to disk.
    async fn close(mut self, mut batches: mpsc::Receiver<Batch>) -> io::Result<()> {
        while let Some(batch) = batches.recv().await {
            self.make(batch);
        }
        loop {
            if let Some((_, flight)) = &mut self.live {
                let outcome = flight.await;
                self.settle_live(&outcome);
            }
            let before = self.waiting.len();
            self.launch_live();
            if self.live.is_none() && (self.waiting.is_empty() || self.waiting.len() == before) {
                break;
            }
        }
        while let Some(fresh) = self.waiting.pop_front() {
            self.keep(&fresh.record);
        }
        let files = self.queue.unsynced()?;
        tokio::task::spawn_blocking(move || files.iter().try_for_each(std::fs::File::sync_all)).await??;
        info!(queued = self.queue.len(), "the uplink is closed");
        Ok(())
    }

    fn make(&mut self, batch: Batch) {
        self.seq += 1;
        let record = Record {
            run: format!("{}-{}", self.run, self.row),
            seq: self.seq,
            boot: self.boot.clone(),
            at_ms: batch.at.0,
            wall_ms: self.server_ms(batch.at).unwrap_or_else(|| self.clock.wall_ms()),
            heard: batch.heard,
        };
        let fresh = Fresh { record, health: batch.health };
        if self.may_go_live(self.clock.now()) || self.live.is_some() && self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(fresh);
        } else {
            self.keep(&fresh.record);
        }
    }

    /// While the link is down the backlog lane finds out when it works again; the live lane does so only if there is
    /// no backlog, or none whose age can be told before the server has answered.
    fn may_go_live(&mut self, now: Moment) -> bool {
        if self.link.works() {
            return true;
        }
        now >= self.link.ready_at() && self.backlog.is_none() && (self.queue.is_empty() || self.head_is_held(now))
    }

    fn launch(&mut self) {
        self.launch_live();
        self.launch_backlog();
        self.status.queue(self.queue.len());
        let losses = self.queue.take_losses();
        self.status.lose(Loss::QueueFull, losses.full);
        self.status.lose(Loss::Damaged, losses.damaged);
    }

    fn launch_live(&mut self) {
        if self.live.is_some() {
            return;
        }
        let now = self.clock.now();
        while !self.waiting.is_empty() && !self.may_go_live(now) {
            if let Some(fresh) = self.waiting.pop_front() {
                self.keep(&fresh.record);
            }
        }
        let Some(fresh) = self.waiting.pop_front() else { return };
        let age = now.since(Moment(fresh.record.at_ms));
        match self.flight(&fresh.record, age, fresh.health.clone()) {
            Some(flight) => self.live = Some((fresh, flight)),
            None => self.keep(&fresh.record),
        }
    }

    /// Whether a live report is finding out if the link works.
    fn live_probes(&self) -> bool {
        self.live.is_some() && !self.link.works()
    }

    fn flight(&mut self, record: &Record, age: Duration, health: Option<Health>) -> Option<Flight> {
        let key = match key(&self.config.server.key_file) {
            Ok(key) => key,
            Err(message) => {
                error!("server.key_file: {message}");
                self.link.settle(Verdict::Misconfigured, self.clock.now(), entropy::unit());
                return None;
            }
        };
        let mut report = record.report(&self.config.scanner, age);
        report.sent_at = jiff::Timestamp::from_millisecond(self.clock.wall_ms()).ok().map(|wall| wall.to_string());
        report.health = health;
        let body = compress(&report).ok()?;
        Some(Box::pin(self.client.clone().post(key, body)))
    }

    fn settle_live(&mut self, outcome: &Outcome) {
        let Some((fresh, _)) = self.live.take() else { return };
        self.settle(outcome);
        match outcome.verdict {
            Verdict::Accepted => {}
            Verdict::Refused => self.status.lose(Loss::Refused, 1),
            Verdict::Misconfigured | Verdict::Later { .. } => {
                self.keep(&fresh.record);
                while let Some(waiting) = self.waiting.pop_front() {
                    self.keep(&waiting.record);
                }
            }
        }
    }

    fn settle(&mut self, outcome: &Outcome) {
        let now = self.clock.now();
        let worked = self.link.works();
        if let Some(server_ms) = outcome.server_ms {
            self.server_ahead_ms = Some(server_ms.saturating_sub(i64::try_from(now.0).unwrap_or(i64::MAX)));
        }
        self.link.settle(outcome.verdict, now, entropy::unit());
        if self.link.works() && !worked && !self.queue.is_empty() {
            (self.row, self.seq) = (self.row + 1, 0);
        }
        let wait = self.link.ready_at().since(now);
        match outcome.verdict {
            Verdict::Accepted if !worked => info!(queued = self.queue.len(), "the server takes reports again"),
            Verdict::Accepted => debug!(answer = outcome.told, "sent"),
            Verdict::Refused => warn!(answer = outcome.told, "the server refused a report; it is dropped"),
            Verdict::Misconfigured => {
                error!(
                    answer = outcome.told,
                    ?wait,
                    "the server does not take reports of this host; check key and url"
                );
            }
            Verdict::Later { .. } if worked => warn!(why = outcome.told, ?wait, "reports can't be sent; they are kept"),
            Verdict::Later { .. } => debug!(why = outcome.told, ?wait, "reports still can't be sent"),
        }
    }
}
