//! The index when it has segments, which unit tests see after 64 entries.

use std::sync::Arc;

use parvis_engine::{
    id::{AppId, NotificationId, OrderId, ShopperId},
    notification::{Body, Cause, Channel, Content, Notification, Origin, Purpose, Recipient},
    order::OrderState,
    shopper::Shopper,
    time::Timestamp,
};

use super::*;
use crate::{
    report::{Event, What},
    store::{Change, Commit, Committed, Config, Durable, Embedded, Horizon, JournalQuery, Store, embedded::codec},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
}

fn shopper(number: i64) -> ShopperId {
    format!("C-{}", number % 7).parse().expect("a valid id")
}

fn message(second: i64) -> Notification {
    Notification {
        id: NotificationId::derive(at(second), &shopper(second), &["a"]),
        shopper: shopper(second),
        recipient: Recipient::Device("phone".parse().expect("a valid id")),
        channel: Channel::Fcm,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: "televisions".parse().expect("a valid id"),
            purpose: Purpose::Offer,
            cause: Cause::Order { order: "o-1".parse().expect("a valid id"), state: OrderState::Shipped },
        },
        replays: None,
        body: Body::Content(Content::default()),
        collapse: "televisions".to_owned(),
        observed_at: at(second),
        decided_at: at(second),
        not_before: at(second + 100_000),
        expires_at: at(second + 200_000),
    }
}

fn events(second: i64) -> Vec<Event> {
    let what = || What::Order { order: "o-1".parse::<OrderId>().expect("a valid id"), state: OrderState::Shipped };
    let event = |n| Event { at: at(second), recorded_at: at(second), shopper: shopper(n), what: what() };
    vec![event(second), event(second + 1), event(second)]
}

async fn filled(folder: &tempfile::TempDir) -> Embedded {
    let config = Config { path: folder.path().join("store.redb"), cache_mib: 8, ..Config::default() };
    let store = Embedded::open(config).await.expect("opens");
    for second in 0..300 {
        let commit = Commit { outbox: vec![message(second)], events: events(second), ..Commit::default() };
        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
    }
    store
}

async fn journal(store: &Embedded, shopper: Option<ShopperId>) -> Vec<Event> {
    let query = JournalQuery { shopper, since: Some(at(20)), until: Some(at(280)), limit: 10_000 };
    store.journal(query).await.expect("available")
}

/// Erases a shopper and lets the pass over the file end.
async fn erase(store: &Embedded, id: ShopperId) {
    for state in [Durable::Replaced { shopper: Arc::new(Shopper::new(id.clone())), wake: None }, Durable::Erased] {
        let version = store.volatile.state.version(&id);
        let changes = vec![Change { version, id: id.clone(), state, tracks: Default::default() }];
        assert_eq!(store.commit(Commit { changes, ..Commit::default() }).await, Ok(Committed::Done));
    }
    for second in 0..400 {
        store.commit(Commit { events: vec![events(second).remove(1)], ..Commit::default() }).await.expect("available");
        if store.volatile.erasures().is_empty() {
            return;
        }
    }
    panic!("the pass does not end");
}

fn entries(store: &Embedded, id: &ShopperId) -> (usize, usize) {
    let read = store.file.read(|transaction| {
        let segments = transaction.open_table(tables::SEGMENTS)?;
        let rows = rows_of(&transaction.open_table(tables::TAIL)?, &segments, (codec::mark(id), i64::MIN))?;
        Ok((segments.range::<Key>(..)?.count(), rows.len()))
    });
    read.expect("available")
}

#[tokio::test]
async fn a_shoppers_rows_are_those_that_the_whole_journal_has() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = filled(&folder).await;
    assert!(entries(&store, &shopper(0)).0 > 50, "there are segments");
    let all = journal(&store, None).await;
    assert_eq!(all.len(), 260 * 3);
    for number in 0..7 {
        let own: Vec<_> = all.iter().filter(|event| event.shopper == shopper(number)).cloned().collect();
        assert_eq!(journal(&store, Some(shopper(number))).await, own);
    }
    store.close().await.expect("closes");
}

#[tokio::test]
async fn an_erasure_finds_every_row_and_its_own_entries() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = filled(&folder).await;
    let id = shopper(3);
    assert!(entries(&store, &id).1 > 100);
    erase(&store, id.clone()).await;
    let messages_left = 300 - (0..300).filter(|second| shopper(*second) == id).count() as u64;
    assert_eq!(store.sizes().await.expect("available").waiting[&Channel::Fcm], messages_left);
    for second in 0..300 {
        let known = store.life(message(second).id).await.expect("available").is_some();
        assert_eq!(known, shopper(second) != id);
    }
    let mut left = journal(&store, None).await;
    left.retain(|event| event.shopper == id && event.recorded_at > at(40));
    assert_eq!(left, Vec::new());
    let new = entries(&store, &id).1;
    assert!(new < 10, "{new} entries lead to rows from before the erasure");
}

#[tokio::test]
async fn a_message_that_outlives_its_segment_is_still_erased() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = filled(&folder).await;
    let before = entries(&store, &shopper(3));
    store.prune(Horizon { rows: at(1_000), answers: at(0) }).await.expect("prunes");
    let after = entries(&store, &shopper(3));
    assert!(after.0 < before.0 && after.1 < before.1, "{after:?} of {before:?}");
    erase(&store, shopper(3)).await;
    let messages_left = 300 - (0..300).filter(|second| shopper(*second) == shopper(3)).count() as u64;
    assert_eq!(store.sizes().await.expect("available").waiting[&Channel::Fcm], messages_left);
}
