//! Watches credentials that end: a certificate that is renewed too late stops an app's messages.
//!
//! It tells; it renews nothing.

use std::{sync::Arc, time::Duration};

use parvis_engine::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Couriers, courier::Credential};
use crate::clock::Clock;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Time enough for an operator to come by a new certificate.
const AHEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Tells once a day what ends soon, until it is told to stop.
pub async fn run(couriers: Arc<Couriers>, clock: Clock, stop: CancellationToken) {
    loop {
        tell(&couriers.credentials(), clock.now());
        tokio::select! { biased;
            () = stop.cancelled() => return,
            () = clock.sleep(DAY) => {}
        }
    }
}

/// Tells what ends soon.
pub fn tell(credentials: &[Credential], now: Timestamp) {
    for credential in credentials {
        if let Some(warning) = warning(credential, now) {
            let (app, channel) = (credential.route.app.as_str(), credential.route.channel.name());
            tracing::warn!(app, channel, "{warning}");
        }
    }
}

/// What is to be said of a credential, if it ends within 30 days or has ended.
pub fn warning(credential: &Credential, now: Timestamp) -> Option<String> {
    let not_after = credential.not_after.filter(|not_after| *not_after <= now.plus(AHEAD))?;
    Some(if not_after <= now {
        format!("the certificate has ended at {not_after}: nothing is taken with it")
    } else {
        let days = not_after.since(now).as_secs() / DAY.as_secs();
        format!("the certificate ends at {not_after}, in {days} days; renew it and send SIGHUP")
    })
}

#[cfg(test)]
mod tests {
    use parvis_engine::{id::AppId, notification::Channel};

    use super::*;
    use crate::delivery::Route;

    #[test]
    fn what_ends_within_thirty_days_is_told() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
        let route = Route { app: AppId::default(), channel: Channel::Apns };
        let told = |not_after: Option<Timestamp>| {
            warning(&Credential { route: route.clone(), issued_at: None, not_after }, now)
        };
        assert_eq!(told(None), None);
        assert_eq!(told(Some(now.plus(AHEAD + DAY))), None);
        assert!(told(Some(now.plus(29 * DAY))).is_some_and(|told| told.contains("in 29 days")));
        assert!(told(Some(now)).is_some_and(|told| told.contains("has ended")));
    }
}
