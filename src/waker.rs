//! Fires the shoppers' timers: sleeps until the earliest wake time, then tells the owners.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    shard::{Input, Shards},
    store::Store,
};

/// Runs until the node is closing.
pub async fn run_waker(store: Arc<dyn Store>, shards: Shards, clock: Clock, shutdown: CancellationToken) {
    const BATCH_MAX: usize = 1024;
    let mut changed = store.wakes_changed();
    while !shutdown.is_cancelled() {
        changed.mark_unchanged();
        let next = match store.due_wakes(clock.now(), BATCH_MAX).await {
            // Each answer comes after a commit that has moved the wake time, so nobody is woken twice.
            Ok((due, next)) if due.is_empty() => next,
            Ok((due, _)) => {
                join_all(due.into_iter().map(|shopper| shards.tell(shopper, Input::Wake))).await;
                continue;
            }
            Err(error) => {
                tracing::warn!("can't read timers, trying again: {error}");
                Some(clock.now().plus(Duration::from_secs(1)))
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            _ = changed.changed() => {}
            () = clock.sleep_until(next) => {}
        }
    }
}
