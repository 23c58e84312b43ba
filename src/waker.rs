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
    /// Before what could not be done is tried again.
    const PAUSE: Duration = Duration::from_secs(1);
    let mut changed = store.wakes_changed();
    while !shutdown.is_cancelled() {
        changed.mark_unchanged();
        let next = match store.due_wakes(clock.now(), BATCH_MAX).await {
            // Each answer comes after a commit that has moved the wake time, so nobody is woken twice.
            Ok((due, next)) if due.is_empty() => next,
            Ok((due, _)) => {
                let told = join_all(due.into_iter().map(|shopper| shards.tell(shopper, Input::Wake))).await;
                if told.iter().all(Result::is_ok) {
                    continue;
                }
                Some(clock.now().plus(PAUSE))
            }
            Err(error) => {
                tracing::warn!("can't read timers, trying again: {error}");
                Some(clock.now().plus(PAUSE))
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            _ = changed.changed() => {}
            () = clock.sleep_until(next) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::{shopper::Shopper, time::Timestamp};
    use tokio::sync::mpsc;

    use super::*;
    use crate::store::{Change, Commit, Durable, memory::Memory};

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_tried_again_at_once() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let shopper = Arc::new(Shopper::new("C-1".parse().expect("an id")));
        let state = Durable::Replaced { shopper: shopper.clone(), wake: Some(now) };
        let change = Change { version: 0, id: shopper.id.clone(), state, tracks: Default::default() };
        let store = Memory::new();
        store.commit(Commit { changes: vec![change], ..Commit::default() }).await.expect("commits");
        let (inbox, closed) = mpsc::channel(1);
        drop(closed);
        let (shutdown, clock) = (CancellationToken::new(), Clock::simulated(now));
        let run = run_waker(Arc::new(store), Shards::new(vec![inbox]), clock.clone(), shutdown.clone());
        let stop = async {
            clock.sleep(Duration::from_secs(5)).await;
            shutdown.cancel();
        };
        tokio::join!(run, stop);
        assert!(clock.now().since(now) >= Duration::from_secs(5), "time could go on");
    }
}
