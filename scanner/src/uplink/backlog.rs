//! The backlog lane: what could not be sent goes to disk, and from there to the server, oldest first and not too fast.

use std::{io, time::Duration};

use tracing::{error, info, warn};

use super::{Age, Now, Outcome, Record, Uplink, Verdict};
use crate::{clock::Moment, status::Loss};

impl Uplink {
    /// Puts a report on disk. What has nothing heard in it tells only how the host fared, and is not kept.
    pub(super) fn keep(&mut self, record: &Record) {
        if record.heard.is_empty() {
            return;
        }
        let appended = record.to_bytes().and_then(|bytes| self.queue.append(&bytes));
        match appended {
            Ok(()) => {
                let at = self.clock.now().plus(self.config.queue.sync_every);
                self.sync_at.get_or_insert(at);
            }
            Err(error) => {
                self.status.lose(Loss::QueueFull, 1);
                error!("{}: a report is lost: {error}", self.config.queue.folder.display());
            }
        }
    }

    pub(super) fn launch_backlog(&mut self) {
        let now = self.clock.now();
        if self.backlog.is_some() || now < self.link.ready_at().max(self.backlog_at) || self.live_probes() {
            return;
        }
        loop {
            let clocks = self.clocks(now);
            let (place, record) = match self.queue.oldest() {
                Ok(Some((place, bytes))) => (place, Record::from_bytes(bytes)),
                Ok(None) => return,
                Err(error) => return self.disk_failed(&error),
            };
            let loss = match record {
                Err(_) => Loss::Damaged,
                Ok(record) => match record.age(clocks.borrowed()) {
                    Age::Unknown => return,
                    Age::Known(age) if age <= self.config.queue.age_max => {
                        self.backlog = self.flight(&record, age, None).map(|flight| (place, flight));
                        self.backlog_at = now.plus(Duration::from_secs_f64(1.0 / self.config.queue.rate_hz));
                        return;
                    }
                    Age::Known(_) | Age::Untold => Loss::Ageless,
                },
            };
            self.status.lose(loss, 1);
            warn!(?loss, "a waiting report is dropped");
            if let Err(error) = self.queue.remove(place) {
                return self.disk_failed(&error);
            }
        }
    }

    pub(super) fn settle_backlog(&mut self, outcome: &Outcome) {
        let Some((place, _)) = self.backlog.take() else { return };
        self.settle(outcome);
        match outcome.verdict {
            Verdict::Misconfigured | Verdict::Later { .. } => return,
            Verdict::Accepted => {}
            Verdict::Refused => self.status.lose(Loss::Refused, 1),
        }
        if let Err(error) = self.queue.remove(place) {
            self.disk_failed(&error);
        }
        if self.queue.is_empty() {
            info!("the backlog is sent");
        }
    }

    pub(super) fn head_is_held(&mut self, now: Moment) -> bool {
        let clocks = self.clocks(now);
        let Ok(Some((_, bytes))) = self.queue.oldest() else { return true };
        Record::from_bytes(bytes).is_ok_and(|record| record.age(clocks.borrowed()) == Age::Unknown)
    }

    pub(super) fn timer(&mut self) -> Option<Moment> {
        let idle = self.backlog.is_none() && !self.queue.is_empty() && !self.live_probes();
        let held = idle && self.head_is_held(self.clock.now());
        let backlog = (idle && !held).then(|| self.link.ready_at().max(self.backlog_at));
        [backlog, self.sync_at].into_iter().flatten().min()
    }

    pub(super) fn sync_if_due(&mut self) {
        if self.sync_at.is_none_or(|at| at > self.clock.now()) {
            return;
        }
        self.sync_at = None;
        match self.queue.unsynced() {
            // A card can take seconds for this, and the radio does not wait.
            Ok(files) => drop(tokio::task::spawn_blocking(move || {
                for file in files {
                    if let Err(error) = file.sync_all() {
                        error!("the queue is not synced: {error}");
                    }
                }
            })),
            Err(error) => self.disk_failed(&error),
        }
    }

    fn disk_failed(&mut self, error: &io::Error) {
        error!("{}: {error}", self.config.queue.folder.display());
        self.backlog_at = self.clock.now().plus(self.config.server.retry_max);
    }

    fn clocks(&self, now: Moment) -> Clocks {
        Clocks { at: now, boot: self.boot.clone(), wall_ms: self.server_ms(now) }
    }

    pub(super) fn server_ms(&self, at: Moment) -> Option<i64> {
        self.server_ahead_ms.map(|ahead| ahead.saturating_add(i64::try_from(at.0).unwrap_or(i64::MAX)))
    }
}

/// As [`Now`], but its own.
struct Clocks {
    at: Moment,
    boot: Option<String>,
    wall_ms: Option<i64>,
}

impl Clocks {
    fn borrowed(&self) -> Now<'_> {
        Now { at: self.at, boot: self.boot.as_deref(), wall_ms: self.wall_ms }
    }
}
