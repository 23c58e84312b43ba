//! The only place that knows what time it is.

#![allow(clippy::disallowed_methods, reason = "this is the exception that the rule points to")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parvis_engine::time::Timestamp;
use tokio::time::Instant;

/// Tells the time: the system's, or one that was made up.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Starts at an epoch and goes with tokio's clock, so that pausing the one pauses the other; at `speed` times its
    /// pace, so that a day can be played in minutes.
    Simulated {
        /// The time at `started`.
        epoch: Timestamp,
        /// Where tokio's clock stood.
        started: Instant,
        /// How many seconds pass in one.
        speed: u32,
        /// How far it was set ahead of that, in milliseconds. Clones share it.
        ahead_ms: Arc<AtomicI64>,
    },
}

impl Clock {
    /// A simulated clock that starts now, at `epoch`.
    pub fn simulated(epoch: Timestamp) -> Clock {
        Clock::hurried(epoch, 1)
    }

    /// A simulated clock that starts now, at `epoch`, and goes `speed` times as fast as tokio's.
    pub fn hurried(epoch: Timestamp, speed: u32) -> Clock {
        Clock::Simulated { epoch, started: Instant::now(), speed: speed.max(1), ahead_ms: Arc::default() }
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
            }
            Clock::Simulated { epoch, started, speed, ahead_ms } => {
                let told = epoch.plus(started.elapsed().saturating_mul(*speed)).as_millis();
                Timestamp::from_millis(told.saturating_add(ahead_ms.load(Ordering::Relaxed)))
            }
        }
    }

    /// Sets a simulated clock so far ahead, or behind, of the time that has passed since its epoch, as a clock is set on
    /// a machine: whoever sleeps goes on sleeping for as long. The machine's own clock is left alone.
    pub fn set_ahead(&self, by_ms: i64) {
        match self {
            Clock::System => {}
            Clock::Simulated { ahead_ms, .. } => ahead_ms.store(by_ms, Ordering::Relaxed),
        }
    }

    /// Waits until `at`; for ever if there is no such time.
    pub async fn sleep_until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.sleep(at.since(self.now())).await,
            None => std::future::pending().await,
        }
    }

    /// Waits for a while.
    pub async fn sleep(&self, span: Duration) {
        let span = match self {
            Clock::System => span,
            Clock::Simulated { speed, .. } => span / *speed,
        };
        tokio::time::sleep(span).await;
    }
}
