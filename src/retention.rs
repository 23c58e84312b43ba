//! Forgets what is older than the operator wants to keep.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    store::{Config, Horizon, Store},
};

/// How often something is forgotten: often enough that little piles up, seldom enough to cost nothing.
const INTERVAL: Duration = Duration::from_secs(600);

/// Runs until the node is closing.
pub async fn run(store: Arc<dyn Store>, config: Config, clock: Clock, shutdown: CancellationToken) {
    loop {
        let now = clock.now();
        let horizon = Horizon { rows: now.minus(config.retention), answers: now.minus(config.answers_kept) };
        // What is old may be much, and the next start goes on with it.
        let pruned = tokio::select! { biased;
            () = shutdown.cancelled() => return,
            pruned = store.prune(horizon) => pruned,
        };
        if let Err(error) = pruned {
            tracing::warn!("can't forget old rows, trying again later: {error}");
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = clock.sleep(INTERVAL) => {}
        }
    }
}
