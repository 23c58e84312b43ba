//! The only place that knows what time it is and that waits.
//!
//! Ages are reckoned by the clock that runs from the boot on, sleep included, because a small host's wall clock jumps
//! when the network comes; the wall clock only bridges a reboot.

#![allow(clippy::disallowed_methods, reason = "this is the exception that the rule points to")]

use std::{
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the host's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// How long ago `earlier` was; nothing if it is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and a while.
    pub fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The second of the boot that this lies in.
    pub fn second(self) -> u64 {
        self.0 / 1_000
    }
}

/// The host's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    #[cfg(not(target_os = "linux"))]
    started: std::time::Instant,
}

impl Clock {
    /// The host's.
    #[cfg(target_os = "linux")]
    pub fn system() -> Clock {
        Clock {}
    }

    /// The host's; its moments count from now.
    #[cfg(not(target_os = "linux"))]
    pub fn system() -> Clock {
        Clock { started: std::time::Instant::now() }
    }

    /// Where the boot's clock stands.
    #[cfg(target_os = "linux")]
    pub fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        Moment(seconds.unwrap_or(0) * 1_000 + nanoseconds.unwrap_or(0) / 1_000_000)
    }

    /// Where the clock of this run stands.
    #[cfg(not(target_os = "linux"))]
    pub fn now(&self) -> Moment {
        Moment::default().plus(self.started.elapsed())
    }

    /// Where the wall clock stands, milliseconds since 1970 in UTC.
    pub fn wall_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    /// Waits until `at`; for ever if there is no such time.
    pub async fn sleep_until(&self, at: Option<Moment>) {
        match at {
            Some(at) => self.sleep(at.since(self.now())).await,
            None => std::future::pending().await,
        }
    }

    /// Waits for a while.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// What the future gives, or nothing if it takes longer than `span`.
    pub async fn within<T>(&self, span: Duration, future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(span, future).await.ok()
    }
}

/// Names the run of the host's clock that moments belong to, if the system tells it.
pub fn host_boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
