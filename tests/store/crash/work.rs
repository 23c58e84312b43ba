//! What the child does until it is killed: everything that a store is asked, from several committers at once. What it
//! does follows from the committer and the number of the step, so that a check knows what must be there.

use std::sync::Arc;

use parvis::store::{Answer, CatalogItem, Commit, Committed, Entry, Horizon, Step, Store};
use parvis_engine::{
    notification::{Milestone, Notification},
    shopper::{Attribute, Shopper},
};
use tokio_util::task::TaskTracker;

use super::say;
use crate::rig::*;

pub(super) const COMMITTERS: usize = 4;
/// Shoppers of a committer between whom its device goes round.
pub(super) const SIBLINGS: i64 = 3;
/// How often the passenger is erased.
pub(super) const ERASED_EVERY: i64 = 4;
/// What a committer takes from the budget at once.
pub(super) const SLICE: u64 = 3;
/// Steps for which rows are kept.
const KEPT: i64 = 60;

pub(super) async fn work(store: Arc<dyn Store>) {
    let committers: Vec<_> =
        (0..COMMITTERS).map(|committer| TaskTracker::new().spawn(commit_for_ever(store.clone(), committer))).collect();
    for committer in committers {
        committer.await.expect("never ends");
    }
}

pub(super) fn sibling(committer: usize, k: i64) -> String {
    format!("C-{committer}-{k}")
}

/// A shopper who is erased again and again.
pub(super) fn passenger(committer: usize) -> String {
    format!("P-{committer}")
}

pub(super) fn device(committer: usize) -> String {
    format!("device-{committer}")
}

pub(super) fn order_id(committer: usize, n: i64) -> String {
    format!("o-{committer}-{n}")
}

pub(super) fn sent(n: i64, shopper: &str) -> Notification {
    varied(n, shopper)
}

/// What follows once a message has ended.
pub(super) fn follower_of(message: &Notification) -> Notification {
    follower((message.not_before.since(at(0)).as_secs()).cast_signed(), message.shopper.as_str())
}

pub(super) fn key(committer: usize, n: i64) -> String {
    format!("key-{committer}-{n}")
}

pub(super) fn json(generation: u64) -> String {
    format!("{{\"generation\":{generation}}}")
}

async fn commit_for_ever(store: Arc<dyn Store>, committer: usize) {
    let mut n = count_of(&load(&*store, &sibling(committer, 0)).await);
    loop {
        n += 1;
        let done = store.commit(step(&*store, committer, n).await).await;
        assert_eq!(done, Ok(Committed::Done));
        say(&format!("step {committer} {n}"));
        if n % 2 == 0 {
            let taken = store.lease_budget(&name("televisions"), u64::MAX, SLICE).await.expect("available");
            say(&format!("leased {taken}"));
        }
        if n % 3 == 0 {
            settle(&*store, n).await;
        }
        if n % 5 == 0 {
            let answer =
                Answer { status: 200, content_type: String::new(), body: vec![7; 90], request_hash: n.unsigned_abs() };
            store.keep_answer(&key(committer, n), answer, at(n)).await.expect("available");
            say(&format!("kept {committer} {n}"));
        }
        if n % 7 == 0 {
            let step = Step { milestone: Milestone::Opened, at: at(n), detail: None };
            let known = store.report(sent(n, &sibling(committer, 0)).id, step).await;
            assert_eq!(known, Ok(true));
            say(&format!("reported {committer} {n}"));
        }
        if committer == 0 && n % 4 == 0 {
            put_catalog(&*store).await;
        }
        if committer == 1 && n % 16 == 0 && n > KEPT {
            say(&format!("pruning {}", n - KEPT));
            let horizon = Horizon { rows: at(n - KEPT), answers: at(n - KEPT) };
            store.prune(horizon).await.expect("available");
        }
    }
}

async fn step(store: &dyn Store, committer: usize, n: i64) -> Commit {
    let mut commit = Commit::default();
    for k in 0..SIBLINGS {
        let id = sibling(committer, k);
        let mut next = if k == n % SIBLINGS { with_device(&id, &device(committer)) } else { shopper(&id) };
        count(&mut next, n);
        if k == 0 {
            let order = order(&order_id(committer, n));
            next.orders.insert(order.id.clone(), order);
        }
        commit.changes.push(replaced(load(store, &id).await.version, next, Some(at(n + k))));
    }
    commit.bonds = vec![commit.changes.iter().map(|change| change.id.clone()).collect()];
    let passenger = passenger(committer);
    let version = load(store, &passenger).await.version;
    if n % ERASED_EVERY == 0 {
        commit.changes.push(erased(version, &passenger));
    } else {
        let mut next = shopper(&passenger);
        count(&mut next, n);
        commit.changes.push(replaced(version, next, Some(at(n + SIBLINGS))));
        commit.outbox.push(sent(n, &passenger));
        commit.events.push(event(n, &passenger));
    }
    commit.outbox.push(sent(n, &sibling(committer, 0)));
    commit.events.push(event(n, &sibling(committer, 0)));
    commit
}

/// Large enough that the log is being cleaned when the process dies.
fn count(shopper: &mut Shopper, n: i64) {
    shopper.profile.attributes.insert("count".to_owned(), Attribute::Number(n as f64));
    shopper.profile.attributes.insert("bulk".to_owned(), Attribute::Text("x".repeat(4_000)));
}

async fn settle(store: &dyn Store, n: i64) {
    // Later than what a check has claimed.
    let entries = claim_all(store, 2_000_000 + n, 2).await;
    let ended = |at: usize| !at.is_multiple_of(3);
    let end = |(at, entry): (usize, &Entry)| match ended(at) {
        true => settled_then(entry, n, accepted(1), vec![follower_of(&entry.notification)]),
        false => settled(entry, n, again(n, entry.attempts + 1)),
    };
    store.settle(entries.iter().enumerate().map(end).collect()).await.expect("available");
    for (_, entry) in entries.iter().enumerate().filter(|(at, _)| ended(*at)) {
        say(&format!("settled {}", entry.notification.id));
    }
}

async fn put_catalog(store: &dyn Store) {
    let generation = *store.catalog_changed().borrow();
    let item = |id: &str| CatalogItem { kind: "store".to_owned(), id: id.to_owned(), json: Some(json(generation + 1)) };
    let put = store.put_catalog(vec![item("a"), item("b")], generation).await;
    assert_eq!(put, Ok(Some(generation + 1)));
    say(&format!("catalog {}", generation + 1));
}
