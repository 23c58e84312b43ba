//! The parts put together: the radio, what becomes of advertisements, the uplink, and the order in which they end.

use std::time::Duration;

use anyhow::{Result, anyhow};
use parvis_beacons::report::Heard;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    aggregate::{Aggregate, Sample, Second},
    clock::{Clock, Moment},
    config::{self, Config, Scan},
    intake::{Dropped, Intake},
    radio::{Advertisement, Fault, Outlet, watchdog::Patience},
    status::{Loss, Status},
    uplink::{Batch, Uplink},
};

/// How many advertisements may wait to be looked at: two seconds of a very crowded air.
const ADVERTISEMENTS_MAX: usize = 4_096;
/// How many batches may wait for the uplink, which never waits for the network.
const BATCHES_MAX: usize = 16;
/// The most that one report tells; more goes into several, so that none is too large for the queue or for the server.
const HEARD_MAX: usize = 1_000;
/// A second is summed up so long after its end, so that what is on its way through the system still counts.
const SETTLE: Duration = Duration::from_millis(50);

/// Runs until it is told to stop.
///
/// # Errors
/// If something can't be opened, or the radio gave up; what was heard is kept in either case.
pub async fn run(config: Config, clock: Clock, shutdown: CancellationToken) -> Result<()> {
    if config.server.url.scheme_str() == Some("http") {
        warn!("reports go over http, so anybody on the way can read the key");
    }
    let status = Status::default();
    let uplink = Uplink::open(config.clone(), status.clone(), clock)?;
    let (outlet, advertisements) = Outlet::new(ADVERTISEMENTS_MAX, status.clone());
    let (batches, made) = mpsc::channel(BATCHES_MAX);
    let stop = shutdown.child_token();

    let mut radio = JoinSet::new();
    let listened = (outlet, status.clone());
    radio.spawn(listen(config.scan.clone(), config.watchdog, listened, clock, stop.clone()));
    let desk = Desk::new(&config, status, clock);
    let mut tasks = JoinSet::new();
    tasks.spawn(desk.run(advertisements, batches));
    let mut sending = JoinSet::new();
    sending.spawn(uplink.run(made, stop.clone()));
    info!(version = env!("CARGO_PKG_VERSION"), scanner = config.scanner, "started");

    let heard = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        ended = radio.join_next() => match ended {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(Fault::Bus(error.to_string())),
            None => Ok(()),
        },
    };
    if let Err(fault) = &heard {
        error!("{fault}");
    }
    stop.cancel();
    // The radio lets go of its channel, so the desk ends and lets go of the uplink's, which keeps what is left.
    radio.join_all().await;
    tasks.join_all().await;
    sending
        .join_all()
        .await
        .into_iter()
        .try_for_each(|kept| kept.map_err(|error| anyhow!("what is left is not kept: {error}")))?;
    heard.map_err(|fault| anyhow!(fault.to_string()))
}

/// Listens with the radio that is configured.
///
/// # Errors
/// Why the radio gave up.
pub async fn listen(
    scan: Scan,
    patience: Patience,
    (outlet, status): (Outlet, Status),
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Fault> {
    match scan.source {
        #[cfg(target_os = "linux")]
        config::Source::Bluez => {
            crate::radio::bluez::Bluez { scan, patience, outlet, status, clock }.run(shutdown).await
        }
        #[cfg(any(feature = "btleplug", not(target_os = "linux")))]
        config::Source::Btleplug => {
            crate::radio::portable::Portable { scan, patience, outlet, status, clock }.run(shutdown).await
        }
        #[cfg(not(all(target_os = "linux", feature = "btleplug")))]
        other => Err(Fault::Bus(format!("{other:?} is not in this program"))),
    }
}

/// Where advertisements are looked at and summed up.
struct Desk {
    intake: Intake,
    aggregate: Aggregate,
    references: Vec<parvis_beacons::Identity>,
    reports: config::Reports,
    status: Status,
    clock: Clock,
    started: Moment,
    health_at: Moment,
}

impl Desk {
    fn new(config: &Config, status: Status, clock: Clock) -> Desk {
        let now = clock.now();
        Desk {
            intake: Intake::new(config.beacons.clone()),
            aggregate: Aggregate::default(),
            references: config.scan.references.clone(),
            reports: config.reports.clone(),
            status,
            clock,
            started: now,
            health_at: now,
        }
    }

    async fn run(mut self, mut advertisements: mpsc::Receiver<Advertisement>, batches: mpsc::Sender<Batch>) {
        let mut due = self.next_due(self.clock.now());
        loop {
            let clock = self.clock;
            // The end of the advertisements is the shutdown.
            let advertisement = tokio::select! {
                biased;
                () = clock.sleep_until(Some(due)) => {
                    let now = self.clock.now();
                    let seconds = self.aggregate.take(now);
                    self.pass_on(seconds, now, &batches);
                    due = self.next_due(now);
                    continue;
                }
                advertisement = advertisements.recv() => advertisement,
            };
            let Some(advertisement) = advertisement else { break };
            self.take(&advertisement);
        }
        let seconds = self.aggregate.take_all();
        let now = self.clock.now();
        self.health_at = now;
        self.pass_on(seconds, now, &batches);
    }

    fn take(&mut self, advertisement: &Advertisement) {
        let sample = match self.intake.take(advertisement) {
            Ok(sample) => sample,
            Err(Dropped::Stranger) => return,
            Err(Dropped::Rssi) => return self.status.lose(Loss::Rssi, 1),
        };
        let Sample { identity, at, .. } = sample;
        if self.references.is_empty() || self.references.contains(&identity) {
            self.status.heard_reference(advertisement.adapter, identity, at);
        }
        if !self.aggregate.add(sample) {
            self.status.lose(Loss::Crowd, 1);
        }
    }

    fn pass_on(&mut self, mut seconds: Vec<Second>, now: Moment, batches: &mpsc::Sender<Batch>) {
        self.intake.join(&mut seconds, now);
        let health = (self.health_at <= now).then(|| {
            self.health_at = now.plus(self.reports.health_every);
            self.status.health(now.since(self.started), now)
        });
        let age = |at: Moment| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let heard: Vec<Heard> = seconds
            .into_iter()
            .map(|mut second| {
                second.heard.age_ms = age(second.at);
                second.heard
            })
            .collect();
        let mut made: Vec<Batch> =
            heard.chunks(HEARD_MAX).map(|heard| Batch { at: now, heard: heard.to_vec(), health: None }).collect();
        match (made.last_mut(), health) {
            (Some(last), health) => last.health = health,
            (None, Some(health)) => made.push(Batch { at: now, heard: Vec::new(), health: Some(health) }),
            (None, None) => {}
        }
        for batch in made {
            if batches.try_send(batch).is_err() {
                self.status.lose(Loss::Overrun, 1);
            }
        }
    }

    /// A little after the end of a whole second, so that a batch holds whole seconds.
    fn next_due(&self, now: Moment) -> Moment {
        let later = now.plus(self.reports.every);
        Moment(later.second() * 1_000).plus(SETTLE)
    }
}
