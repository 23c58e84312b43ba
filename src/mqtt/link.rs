//! Keeps one connection open: opens it, lets a session run on it, and after its end waits and opens it again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Connection, Secrets, Tools, open::Opener, session};

/// One configured connection.
pub(super) struct Link {
    pub(super) config: Connection,
    pub(super) secrets: Secrets,
    pub(super) opener: Opener,
    pub(super) tools: Tools,
}

/// Beyond this the wait is longer than any configured one.
const DOUBLINGS_MAX: u32 = 16;

impl Link {
    /// Runs until `stop` is cancelled.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (name, clock) = (self.config.client_id.as_str(), &self.tools.clock);
        let mut failures = 0;
        self.tools.reporter.mqtt_connected(name, false);
        loop {
            let began = clock.now();
            let ended = session::run(&self, &stop).await;
            self.tools.reporter.mqtt_connected(name, false);
            let Err(why) = ended else { return };
            self.tools.reporter.mqtt_ended(name);
            if stop.is_cancelled() {
                return;
            }
            // A broker that takes us and turns us out at once is no better than one that is away.
            failures = if clock.now().since(began) > self.config.backoff_max { 1 } else { failures + 1 };
            let pause = self.pause(failures);
            tracing::warn!(mqtt.client_id = name, "no MQTT, trying again in {} ms: {why}", pause.as_millis());
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = clock.sleep(pause) => {}
            }
        }
    }

    /// Doubles with each failure; half of it is chance, so that nodes that lost one broker do not come back together.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.config.backoff_min.saturating_mul(1 << (failures - 1).min(DOUBLINGS_MAX));
        let longest = doubled.min(self.config.backoff_max);
        longest.mul_f64(0.5 + 0.5 * self.tools.entropy.unit())
    }
}
