//! What must be there after a kill, and what must not.

use std::collections::{BTreeMap, BTreeSet};

use parvis::store::{JournalQuery, Queue, Store};
use parvis_engine::{
    id::{NotificationId, ShopperId},
    notification::{Channel, Milestone},
};

use super::{
    say,
    told::Told,
    work::{
        COMMITTERS, ERASED_EVERY, SIBLINGS, SLICE, device, follower_of, json, key, order_id, passenger, sent, sibling,
    },
};
use crate::rig::*;

/// Compares the store with what was told; messages and journal rows of so many last steps, or all of them if it is 1.
pub(super) async fn check(store: &dyn Store, told: &Told, back: i64) {
    let entries = claim_all(store, 1_000_000, 1_000_000).await;
    let waiting: BTreeSet<NotificationId> = entries.iter().map(|entry| entry.notification.id).collect();
    let sizes = store.sizes().await.expect("available");
    assert_eq!(sizes.waiting[&Channel::Fcm], waiting.len() as u64, "what waits is counted");
    for queue in queues() {
        let waits = entries.iter().filter(|entry| Queue::of(&entry.notification) == queue).count() as u64;
        assert_eq!(sizes.queues.get(&queue).copied().unwrap_or(0), waits, "what waits is counted by queue");
    }
    let mut wakes = BTreeMap::new();
    let mut known = BTreeSet::new();
    for committer in 0..COMMITTERS {
        let n = shoppers(store, told, committer).await;
        if n > 0 {
            wakes.extend((0..SIBLINGS).map(|k| (name(&sibling(committer, k)), n + k)));
        }
        if n % ERASED_EVERY > 0 {
            wakes.insert(name(&passenger(committer)), n + SIBLINGS);
        }
        let from = if back == 1 { 1 } else { (n - back).max(1) };
        known.extend(messages(store, told, (committer, from, n), &waiting).await);
        journal(store, committer, (from.max(told.pruned), n)).await;
        let kept = told.kept.get(&committer).copied().unwrap_or(0);
        if kept > told.pruned {
            let answer = store.answer(&key(committer, kept)).await.expect("available").expect("it was kept");
            assert_eq!((answer.request_hash, answer.body.len()), (kept.unsigned_abs(), 90));
        }
    }
    if back == 1 {
        assert!(waiting.is_subset(&known), "nothing waits that nobody sent");
    }
    due(store, &wakes).await;
    catalog(store, told).await;
    budget(store, told).await;
}

/// A committer's shoppers are of one step, the last acknowledged one or the one after it; gives it.
async fn shoppers(store: &dyn Store, told: &Told, committer: usize) -> i64 {
    let acknowledged = told.steps.get(&committer).copied().unwrap_or(0);
    let first = load(store, &sibling(committer, 0)).await;
    let n = count_of(&first);
    assert!(n >= acknowledged, "{acknowledged} was acknowledged, {n} is there");
    assert!(n <= acknowledged + 1, "one commit at a time may be unacknowledged: {n} after {acknowledged}");
    let has = (n > 0).then(|| name(&sibling(committer, n % SIBLINGS)));
    for k in 0..SIBLINGS {
        let record = load(store, &sibling(committer, k)).await;
        assert_eq!((count_of(&record), record.version), (n, first.version), "a commit is whole");
        let holds = record.shopper.devices.contains_key(&name(&device(committer)));
        assert_eq!(holds, has == Some(record.shopper.id.clone()), "a device has one owner");
    }
    assert_eq!(owner(store, &device(committer)).await, has, "whom the directory names");
    let owns = |n: i64| async move { store.order_owner(&name(&order_id(committer, n))).await.expect("available") };
    assert_eq!(owns(n).await, (n > 0).then(|| name(&sibling(committer, 0))));
    assert_eq!((owns(n - 1).await, owns(n + 1).await), (None, None));
    let passenger = load(store, &passenger(committer)).await;
    let expected = if n % ERASED_EVERY == 0 { 0 } else { n };
    assert_eq!((count_of(&passenger), passenger.version > 0), (expected, expected > 0), "erased with its commit");
    // Or two kills could leave two steps that nobody was told of.
    say(&format!("step {committer} {n}"));
    n
}

/// Every message waits or has ended, once; gives them all.
async fn messages(
    store: &dyn Store,
    told: &Told,
    (committer, from, to): (usize, i64, i64),
    waiting: &BTreeSet<NotificationId>,
) -> Vec<NotificationId> {
    let mut known = Vec::new();
    let last_erasure = to / ERASED_EVERY * ERASED_EVERY;
    for n in from..=to + 1 {
        for shopper in [sibling(committer, 0), passenger(committer)] {
            let of_passenger = shopper == passenger(committer);
            let id = sent(n, &shopper).id;
            let life = store.life(id).await.expect("available");
            let is_sent = n <= to && (!of_passenger || n > last_erasure);
            if !is_sent {
                assert!(life.is_none() && !waiting.contains(&id), "{shopper} {n} is half there, or was not erased");
                continue;
            }
            known.push(id);
            let Some(life) = life else {
                assert!(n < told.pruned && !waiting.contains(&id), "{shopper} {n} is lost");
                continue;
            };
            let reached = |milestone| life.milestones.iter().filter(|step| step.milestone == milestone).count();
            let ended = reached(Milestone::Accepted);
            assert_eq!(ended + usize::from(waiting.contains(&id)), 1, "{shopper} {n} waits or has ended: {life:?}");
            assert!(ended == 1 || !told.settled.contains(&id), "{shopper} {n}: a settlement was lost");
            let follows = store.life(follower_of(&life.notification).id).await.expect("available").is_some();
            assert_eq!(follows, ended == 1, "{shopper} {n}: what follows is there exactly if it was settled");
            let is_reported = !of_passenger && told.reported.contains(&(committer, n));
            assert!(reached(Milestone::Opened) == 1 || !is_reported, "{shopper} {n}: a report was lost");
        }
    }
    known
}

async fn journal(store: &dyn Store, committer: usize, (from, to): (i64, i64)) {
    let id = sibling(committer, 0);
    let query =
        JournalQuery { shopper: Some(name(&id)), since: Some(at(from)), limit: 100_000, ..JournalQuery::default() };
    let rows = store.journal(query).await.expect("available");
    let expected: Vec<_> = (from..=to).map(|n| event(n, &id)).collect();
    assert!(rows == expected, "{id}: {} rows from step {from} to {to}", rows.len());
}

async fn due(store: &dyn Store, wakes: &BTreeMap<ShopperId, i64>) {
    let seconds: BTreeSet<i64> = wakes.values().flat_map(|second| [*second, second - 1]).collect();
    for second in seconds {
        let (due, _) = store.due_wakes(at(second), 1_000).await.expect("available");
        let expected: BTreeSet<_> = wakes.iter().filter(|(_, at)| **at <= second).map(|(id, _)| id.clone()).collect();
        assert_eq!(due.into_iter().collect::<BTreeSet<_>>(), expected, "due at {second}");
    }
    let (all, next) = store.due_wakes(at(100_000_000), 1_000).await.expect("available");
    assert_eq!((all.len(), next), (wakes.len(), None));
}

async fn catalog(store: &dyn Store, told: &Told) {
    let catalog = store.catalog().await.expect("available");
    assert!(
        (told.catalog..=told.catalog + 1).contains(&catalog.generation),
        "{} of {}",
        catalog.generation,
        told.catalog
    );
    assert_eq!(catalog.items.len(), if catalog.generation > 0 { 2 } else { 0 });
    for item in &catalog.items {
        assert_eq!(item.json, Some(json(catalog.generation)), "the catalog is put as a whole");
    }
    say(&format!("catalog {}", catalog.generation));
}

/// What was given is spent, and a kill costs what was on its way to each committer at the most.
async fn budget(store: &dyn Store, told: &Told) {
    let lease = |total| async move { store.lease_budget(&name("televisions"), total, 1).await.expect("available") };
    assert_eq!(lease(told.leased).await, 0, "given twice");
    let lost_max = told.kills * (COMMITTERS as u64 * SLICE + 1);
    assert_eq!(lease(told.leased + lost_max + 1).await, 1, "more is spent than can have been lost");
    say("leased 1");
}
