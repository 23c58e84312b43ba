//! Keeps one adapter scanning, whatever happens to it.
//!
//! Finds its adapter by address each time, because the system's numbers for adapters move when one is plugged in again.
//! Every call over the bus has a deadline.

use std::{collections::BTreeMap, fmt, future::Future, time::Duration};

use bluez_async::{AdapterId, AdapterInfo, BluetoothError, BluetoothSession, DiscoveryFilter, Transport};
use parvis_beacons::Mac;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::bus::Registrar;
use crate::{
    clock::{Clock, Moment},
    config::Scan,
    radio::watchdog::{Patience, Step, Watchdog},
    status::{Mode, Status},
};

/// After so many failed starts in a row the adapter is powered off and on.
const FAILURES_BEFORE_POWER_CYCLE: u32 = 3;
/// Waits between starts grow up to so many times the first one.
const RETRY_GROWTH_MAX: u32 = 30;
/// The weakest signal that the discovery filter can name, dBm. That the filter names one at all makes BlueZ tell the
/// strength with every advertisement, and not only when it has changed a lot.
const RSSI_MIN_DBM: i16 = -127;

/// What the adapter's keeper should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nudge {
    /// Discovery or power was switched, perhaps by ourselves.
    Switched,
    /// The daemon or the adapter came or went; what was set up is gone.
    Reset,
}

/// Keeps one adapter scanning.
pub(super) struct Keeper {
    pub(super) session: BluetoothSession,
    /// None if no monitor is wanted.
    pub(super) registrar: Option<Registrar>,
    pub(super) address: Mac,
    pub(super) scan: Scan,
    pub(super) patience: Patience,
    pub(super) status: Status,
    pub(super) clock: Clock,
    pub(super) nudges: mpsc::Receiver<Nudge>,
}

/// How to begin to scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Afresh,
    Again,
    PowerCycled,
}

/// Why an adapter does not scan.
#[derive(Debug)]
enum Failure {
    Missing,
    Slow,
    Bluez(BluetoothError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Missing => f.write_str("there is no such adapter"),
            Failure::Slow => f.write_str("no answer over the bus"),
            Failure::Bluez(error) => write!(f, "{error}"),
        }
    }
}

impl Failure {
    fn is(&self, name: &str) -> bool {
        matches!(self, Failure::Bluez(BluetoothError::DbusError(error)) if error.name() == Some(name))
    }
}

impl Keeper {
    /// Runs until shutdown.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (mut begin, mut failures, mut started) = (Begin::Afresh, 0, 0_u64);
        // Starting anew does not end a silence, or the ladder would never be climbed.
        let mut watchdog = Watchdog::of_adapter(self.patience, self.clock.now());
        while !shutdown.is_cancelled() {
            match self.begin(begin).await {
                Ok((id, mode)) => {
                    if started > 0 {
                        self.status.restarted(self.address, self.clock.now());
                    }
                    started += 1;
                    failures = 0;
                    info!(adapter = %self.address, name = %id, mode = mode.as_str(), "scans");
                    begin = self.watch((&id, mode), &mut watchdog, &shutdown).await;
                    if begin == Begin::Afresh {
                        watchdog = Watchdog::of_adapter(self.patience, self.clock.now());
                    }
                }
                Err(failure) => {
                    failures += 1;
                    self.status.scans(self.address, Mode::Idle, self.clock.now());
                    if failures == 1 {
                        warn!(adapter = %self.address, "does not scan: {failure}");
                    } else {
                        debug!(adapter = %self.address, failures, "still does not scan: {failure}");
                    }
                    self.pause(failures, &shutdown).await;
                    begin = match failures % (FAILURES_BEFORE_POWER_CYCLE + 1) {
                        FAILURES_BEFORE_POWER_CYCLE => Begin::PowerCycled,
                        _ => Begin::Again,
                    };
                }
            }
        }
        if let Ok(info) = self.find().await {
            let _ = self.call(self.session.stop_discovery_on_adapter(&info.id)).await;
        }
    }

    async fn begin(&mut self, begin: Begin) -> Result<(AdapterId, Mode), Failure> {
        // Whatever they tell of came before this attempt.
        while self.nudges.try_recv().is_ok() {}
        let id = self.find().await?.id;
        if begin != Begin::Afresh
            && let Err(failure) = self.call(self.session.stop_discovery_on_adapter(&id)).await
        {
            debug!(adapter = %self.address, "stopping: {failure}");
        }
        if begin == Begin::PowerCycled {
            info!(adapter = %self.address, "is powered off and on");
            self.call(self.session.set_powered(&id, false)).await?;
            self.call(self.session.set_powered(&id, true)).await?;
        }
        let mut mode = Mode::Discovery;
        if let Some(registrar) = &self.registrar {
            match registrar.register(id.clone().into()).await {
                Ok(()) => mode = Mode::Monitor,
                Err(error) => debug!(adapter = %self.address, "no advertisement monitor: {error}"),
            }
        }
        self.start(&id).await?;
        self.status.forget_references(self.address);
        self.status.scans(self.address, mode, self.clock.now());
        Ok((id, mode))
    }

    async fn start(&self, id: &AdapterId) -> Result<(), Failure> {
        let filter = DiscoveryFilter {
            rssi_threshold: Some(RSSI_MIN_DBM),
            transport: Some(Transport::Le),
            duplicate_data: Some(true),
            ..DiscoveryFilter::default()
        };
        match self.call(self.session.start_discovery_on_adapter_with_filter(id, &filter)).await {
            // Perhaps it scans already, for us or for somebody else; if it hears nothing the watchdog will tell.
            Err(failure) if failure.is("org.bluez.Error.InProgress") && self.find().await?.discovering => Ok(()),
            other => other,
        }
    }

    /// Watches until something must be done; says what.
    async fn watch(
        &mut self,
        (id, mode): (&AdapterId, Mode),
        watchdog: &mut Watchdog,
        shutdown: &CancellationToken,
    ) -> Begin {
        let now = self.clock.now();
        let mut judge_at = Some(now.plus(self.scan.judge_after));
        let mut cycle_at = None;
        loop {
            if let Some(last) = self.status.last_heard(self.address) {
                watchdog.heard(last);
            }
            let due = [Some(watchdog.due()), judge_at, cycle_at].into_iter().flatten().min();
            let clock = self.clock;
            let nudge = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Begin::Afresh,
                nudge = self.nudges.recv() => Some(nudge.unwrap_or(Nudge::Reset)),
                () = clock.sleep_until(due) => None,
            };
            let now = self.clock.now();
            match nudge {
                Some(Nudge::Reset) => return Begin::Afresh,
                Some(Nudge::Switched) if cycle_at.is_none() && !self.scans().await => {
                    warn!(adapter = %self.address, "discovery was stopped or the adapter was switched off from elsewhere");
                    self.status.scans(self.address, Mode::Idle, now);
                    self.clock.sleep(self.scan.retry).await;
                    return Begin::Again;
                }
                Some(Nudge::Switched) | None => {}
            }
            if let Some(begin) = self.act_on_silence(watchdog, now) {
                return begin;
            }
            if judge_at.is_some_and(|at| at <= now) {
                judge_at = self.judge(mode, now);
                cycle_at = judge_at.is_none().then_some(now);
            }
            if cycle_at.is_some_and(|at| at <= now) {
                if let Err(failure) = self.cycle(id).await {
                    warn!(adapter = %self.address, "cycling: {failure}");
                    return Begin::Again;
                }
                cycle_at = Some(self.clock.now().plus(self.scan.cycle));
            }
        }
    }

    fn act_on_silence(&self, watchdog: &mut Watchdog, now: Moment) -> Option<Begin> {
        if let Some(last) = self.status.last_heard(self.address) {
            watchdog.heard(last);
        }
        let step = watchdog.step(now)?;
        warn!(adapter = %self.address, ?step, "nothing was heard for too long");
        match step {
            Step::Restart => Some(Begin::Again),
            Step::PowerCycle => Some(Begin::PowerCycled),
            Step::Reopen | Step::Exit => None,
        }
    }

    /// When to judge again; never if the radio filters duplicates, for then it has to cycle.
    fn judge(&self, mode: Mode, now: Moment) -> Option<Moment> {
        let rate_hz = self.status.reference_rate_hz(self.address, self.scan.judge_after, now);
        match rate_hz {
            Some(rate_hz) if rate_hz < self.scan.reference_rate_min_hz => {
                info!(adapter = %self.address, rate_hz, mode = mode.as_str(), "hears its reference too seldom; scans in cycles");
                self.status.scans(self.address, Mode::Cycling, now);
                None
            }
            // Soon again: a reference may just have come.
            Some(_) | None => Some(now.plus(self.scan.judge_after / 4)),
        }
    }

    /// Stops and starts, which makes the controller forget what it has told.
    async fn cycle(&self, id: &AdapterId) -> Result<(), Failure> {
        if let Err(failure) = self.call(self.session.stop_discovery_on_adapter(id)).await {
            debug!(adapter = %self.address, "stopping: {failure}");
        }
        self.start(id).await
    }

    async fn scans(&self) -> bool {
        self.find().await.is_ok_and(|info| info.powered && info.discovering)
    }

    /// Waits before another attempt; what came or went ends the wait.
    async fn pause(&mut self, failures: u32, shutdown: &CancellationToken) {
        let span = self.scan.retry.saturating_mul(failures.min(RETRY_GROWTH_MAX));
        let until = self.clock.now().plus(span);
        loop {
            let clock = self.clock;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                nudge = self.nudges.recv() => match nudge {
                    Some(Nudge::Switched) => {}
                    Some(Nudge::Reset) | None => return,
                },
                () = clock.sleep_until(Some(until)) => return,
            }
        }
    }

    async fn find(&self) -> Result<AdapterInfo, Failure> {
        let adapters = self.call(self.session.get_adapters()).await?;
        adapters.into_iter().find(|info| mac(info) == Some(self.address)).ok_or(Failure::Missing)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, BluetoothError>>) -> Result<T, Failure> {
        match self.clock.within(self.scan.call_timeout, call).await {
            Some(answer) => answer.map_err(Failure::Bluez),
            None => Err(Failure::Slow),
        }
    }
}

/// An adapter's address as reports have it.
pub(super) fn mac(info: &AdapterInfo) -> Option<Mac> {
    info.mac_address.to_string().parse().ok()
}

/// The adapters among these that are wanted, by what the system calls them.
pub(super) fn wanted(adapters: &[AdapterInfo], scan: &Scan) -> BTreeMap<AdapterId, Mac> {
    let known = adapters.iter().filter_map(|info| Some((info.id.clone(), mac(info)?)));
    known.filter(|(_, address)| scan.adapters.is_empty() || scan.adapters.contains(address)).collect()
}

/// How long a call that several calls wait for may take.
pub(super) fn patience(call_timeout: Duration) -> Duration {
    call_timeout.saturating_mul(2)
}
