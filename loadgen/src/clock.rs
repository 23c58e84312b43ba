//! The only place of the generator that knows what time it is and that waits.
//!
//! Moments are microseconds since the generator's start by a clock that never goes back; the wall clock is read once, so
//! that a correction of it does not show as a wait.

#![allow(clippy::disallowed_methods, reason = "this is the exception that the rule points to")]

use std::{
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// The generator's clock; copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    origin_wall_ms: i64,
}

impl Clock {
    /// A clock whose moments count from now.
    pub(crate) fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_wall_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Clock { origin: Instant::now(), origin_wall_ms }
    }

    /// Microseconds since the start.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What the wall clock says at a moment, milliseconds since 1970 in UTC.
    pub(crate) fn wall_ms(&self, at_us: u64) -> i64 {
        self.origin_wall_ms.saturating_add(i64::try_from(at_us / 1_000).unwrap_or(i64::MAX))
    }

    /// Waits until a moment; the timer has a resolution of a millisecond, and is late rather than early.
    pub(crate) async fn sleep_until_us(&self, at_us: u64) {
        if at_us > self.now_us() {
            tokio::time::sleep_until(self.origin + Duration::from_micros(at_us)).await;
        }
    }

    /// Waits for a while.
    pub(crate) async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// What the future gives, or nothing if it takes longer than `span`.
    pub(crate) async fn within<T>(&self, span: Duration, future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(span, future).await.ok()
    }
}
