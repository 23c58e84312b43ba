//! The faults that the simulation plans come as planned.

use parvis::store::{
    Commit, Committed, Error, Store,
    memory::{Fault, Memory},
};
use parvis_engine::notification::Channel;

use crate::rig::*;

fn first(version: u64) -> Commit {
    let changes = vec![replaced(version, counted("A", 1), None)];
    Commit { changes, outbox: vec![message(1, "A", Channel::Fcm)], ..Commit::default() }
}

#[tokio::test]
async fn a_planned_commit_fails_before_or_after_its_effect_or_conflicts() {
    let store = Memory::new();
    for fault in [Fault::Before, Fault::Conflict, Fault::After] {
        store.faults().fail_commit(fault);
    }
    assert!(matches!(store.commit(first(0)).await, Err(Error::Unavailable(_))));
    assert_eq!(load(&store, "A").await.version, 0);
    assert_eq!(store.commit(first(0)).await, Ok(Committed::Conflict(vec![name("A")])));
    assert_eq!(load(&store, "A").await.version, 0);
    assert!(matches!(store.commit(first(0)).await, Err(Error::Unavailable(_))));
    assert_eq!(load(&store, "A").await.version, 1);
    assert_eq!(store.commit(first(1)).await, Ok(Committed::Done));
    assert_eq!(claim(&store, 1, 9).await.len(), 1, "the entry of the commit that failed late is there, once");
}

#[tokio::test]
async fn a_planned_settlement_fails_before_or_after_its_effect() {
    let store = Memory::new();
    store.commit(first(0)).await.expect("available");
    let entry = claim(&store, 1, 1).await.remove(0);
    store.faults().fail_settle(Fault::Before);
    store.faults().fail_settle(Fault::After);
    for waiting in [1, 0] {
        let failed = store.settle(vec![settled(&entry, 2, accepted(1))]).await;
        assert!(matches!(failed, Err(Error::Unavailable(_))));
        assert_eq!(store.sizes().await.expect("available").waiting[&Channel::Fcm], waiting);
    }
}
