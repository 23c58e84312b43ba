//! Random calls give the same answers from the embedded store, restarts included, and from two nodes on one Redis, as from
//! the one in memory.

use std::collections::BTreeMap;

use parvis::{
    entropy::Entropy,
    report::Event,
    store::{Commit, Committed, Cursor, DeadQuery, Entry, Horizon, JournalQuery, Life, Store},
};
use parvis_engine::{
    id::{DeviceId, NotificationId},
    notification::Channel,
    shopper::Shopper,
};

use crate::rig::*;

const SHOPPERS: u64 = 12;
/// Passes from one shopper to another.
const ROAMING: &str = "roaming";

struct Walk {
    entropy: Entropy,
    second: i64,
    memory: Rig,
    other: Rig,
    /// What is claimed and not settled: the two stores' leases differ.
    claimed: BTreeMap<NotificationId, (Entry, Entry)>,
}

impl Walk {
    fn below(&self, bound: u64) -> u64 {
        self.entropy.bits() % bound
    }

    fn stores(&self) -> (&dyn Store, &dyn Store) {
        (self.memory.store(), self.other.store())
    }

    async fn random_commit(&self) -> Commit {
        let (memory, _) = self.stores();
        let mut commit = Commit::default();
        let first = self.below(SHOPPERS);
        let mut may_take = true;
        for n in first..first + self.below(4) + 1 {
            let id = format!("C-{}", n % SHOPPERS);
            let record = load(memory, &id).await;
            // One in eight comes with a version that is not the stored one.
            let off = if self.below(8) == 0 { self.below(3) + 1 } else { 0 };
            let version = record.version + off;
            let mut next = with_device(&id, &format!("device-{}", n % SHOPPERS));
            next.profile = counted(&id, count_of(&record) + 1).profile;
            let has = record.shopper.devices.contains_key(&name::<DeviceId>(ROAMING));
            if self.below(4) == 0 && (has || std::mem::take(&mut may_take)) {
                roam(&mut next);
            }
            let wake = (self.below(2) == 0).then(|| at(self.second + i64::try_from(self.below(60)).expect("small")));
            commit.changes.push(match self.below(10) {
                0 => erased(version, &id),
                1 | 2 => tracked(version, &id, 5.0),
                _ => replaced(version, next, wake),
            });
            if self.below(2) == 0 {
                let second = self.second + i64::try_from(self.below(20)).expect("small");
                commit.outbox.push(varied(second, &id));
            }
            commit.events.push(event(self.second, &id));
        }
        if self.below(3) == 0 {
            let ids: Vec<_> = commit.changes.iter().map(|change| change.id.clone()).collect();
            let (bound, rest) = ids.split_at(ids.len() - usize::try_from(self.below(2)).expect("small"));
            commit.bonds = vec![bound.to_vec(), rest.to_vec()];
        }
        commit
    }

    /// The same commit, as it is said to a store that gives other versions.
    async fn said_to(&self, store: &dyn Store, mut commit: Commit) -> Commit {
        let (memory, _) = self.stores();
        for change in &mut commit.changes {
            let known = load(memory, change.id.as_str()).await.version;
            change.version = change.version - known + load(store, change.id.as_str()).await.version;
        }
        commit
    }

    async fn settle_some(&mut self) {
        let entries: Vec<_> = self.claimed.keys().copied().filter(|_| self.entropy.bits().is_multiple_of(2)).collect();
        for id in entries {
            let (left, right) = self.claimed.remove(&id).expect("was claimed");
            let end = match self.below(4) {
                0 => again(self.second + 15, left.attempts + 1),
                1 => dead(left.attempts + 1),
                _ => accepted(left.attempts + 1),
            };
            let shopper = left.notification.shopper.as_str();
            let seconds: Vec<i64> = (0..self.below(3)).map(|n| self.second + n.cast_signed() * 3).collect();
            let then: Vec<_> = seconds.into_iter().map(|second| varied(second, shopper)).collect();
            let (memory, other) = self.stores();
            let left = settled_then(&left, self.second, end.clone(), then.clone());
            memory.settle(vec![left]).await.expect("available");
            other.settle(vec![settled_then(&right, self.second, end, then)]).await.expect("available");
        }
    }

    async fn step(&mut self) {
        self.second += i64::try_from(self.below(5)).expect("small");
        if self.below(2) == 0 {
            self.other.pause().await;
        }
        match self.below(20) {
            0 if self.other.is_exclusive() => {
                self.memory.restart().await;
                self.other.restart().await;
                self.claimed.clear();
            }
            0 | 1 => {
                let (memory, other) = self.stores();
                let horizon = Horizon { rows: at(self.second - 60), answers: at(self.second - 60) };
                memory.prune(horizon).await.expect("available");
                other.prune(horizon).await.expect("available");
            }
            2 => self.keep_note().await,
            3..=6 => self.claim().await,
            7..=10 => self.settle_some().await,
            _ => {
                let commit = self.random_commit().await;
                let (memory, other) = self.stores();
                let said = self.said_to(other, commit.clone()).await;
                let left = memory.commit(commit).await;
                assert_eq!(left, other.commit(said).await);
                assert!(matches!(left, Ok(Committed::Done | Committed::Conflict(_))));
            }
        }
    }

    async fn claim(&mut self) {
        let few = usize::try_from(self.below(5) + 1).expect("small");
        // Where leases have ended, a store that several share may choose other entries first.
        let limit = if self.other.is_exclusive() { few } else { 10_000 };
        let (memory, other) = self.stores();
        let queue = queues()[usize::try_from(self.below(4)).expect("small")];
        let left = claim_from(memory, queue, self.second, limit).await;
        let right = claim_from(other, queue, self.second, limit).await;
        let plain = |entries: &[Entry]| {
            entries.iter().map(|entry| (entry.notification.clone(), entry.attempts)).collect::<Vec<_>>()
        };
        assert_eq!(plain(&left), plain(&right));
        for pair in left.into_iter().zip(right) {
            self.claimed.insert(pair.0.notification.id, pair);
        }
    }

    async fn keep_note(&self) {
        let name = format!("note-{}", self.below(3));
        let (memory, other) = self.stores();
        let known = memory.note(&name).await.expect("available");
        let version = known.map_or(0, |note| note.version) + u64::from(self.below(4) == 0);
        let bytes = vec![7; usize::try_from(self.below(9)).expect("small")];
        let left = memory.keep_note(&name, bytes.clone(), version).await;
        assert_eq!(left, other.keep_note(&name, bytes, version).await);
        assert_eq!(memory.note(&name).await, other.note(&name).await);
    }

    async fn compare(&self) {
        let (memory, other) = self.stores();
        let now = at(self.second);
        for n in 0..SHOPPERS {
            let id = format!("C-{n}");
            let (left, right) = (load(memory, &id).await, load(other, &id).await);
            assert_eq!((left.version > 0, left.shopper), (right.version > 0, right.shopper));
            if self.other.is_exclusive() {
                assert_eq!((left.version, left.tracks), (right.version, right.tracks));
            }
            let device = format!("device-{n}");
            assert_eq!(owner(memory, &device).await, owner(other, &device).await);
        }
        assert_eq!(owner(memory, ROAMING).await, owner(other, ROAMING).await);
        let left = memory.due_wakes(now, 99).await.expect("available");
        let right = other.due_wakes(now, 99).await.expect("available");
        assert_eq!((left.0, self.other.until(self.second, left.1)), right);
        assert_eq!(journal(memory).await, journal(other).await);
        for second in 0..self.second + 30 {
            for n in 0..SHOPPERS {
                let id = message(second, &format!("C-{n}"), Channel::Fcm).id;
                if second % 7 == 0 {
                    assert_eq!(memory.life(id).await, other.life(id).await);
                }
            }
        }
        let (left, right) = (memory.sizes().await.expect("available"), other.sizes().await.expect("available"));
        assert_eq!((left.shoppers, left.waiting), (right.shoppers, right.waiting));
        for queue in queues().iter().filter(|_| self.other.is_exclusive()) {
            assert_eq!(left.queues.get(queue), right.queues.get(queue));
        }
        let given_up = dead_by(memory, 1_000).await;
        assert_eq!(given_up, dead_by(other, 1_000).await);
        assert_eq!(given_up, dead_by(other, 3).await, "page by page");
    }
}

/// What was given up, in pages of so many.
async fn dead_by(store: &dyn Store, limit: usize) -> Vec<Life> {
    let (mut lives, mut before): (Vec<Life>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let query = DeadQuery { before, limit, ..DeadQuery::default() };
        let page = store.dead(query).await.expect("available");
        before = page.last().and_then(Cursor::of);
        lives.extend(page);
        if before.is_none() {
            return lives;
        }
    }
}

fn roam(shopper: &mut Shopper) {
    let device = shopper.devices.values().next().expect("it has one").clone();
    shopper.devices.insert(name(ROAMING), device);
}

/// What is recorded at the same time of two shoppers is in no order.
async fn journal(store: &dyn Store) -> Vec<Event> {
    let query = JournalQuery { limit: 10_000, ..JournalQuery::default() };
    let mut events = store.journal(query).await.expect("available");
    events.sort_by(|one, other| (one.recorded_at, &one.shopper).cmp(&(other.recorded_at, &other.shopper)));
    events
}

async fn walk(seed: u64, steps: usize, other: Rig) {
    let entropy = Entropy::seeded(seed);
    let mut walk = Walk { entropy, second: 100, memory: Rig::memory(), other, claimed: BTreeMap::new() };
    for _ in 0..steps {
        walk.step().await;
    }
    walk.compare().await;
}

#[tokio::test]
async fn both_engines_answer_alike() {
    for seed in 0..6 {
        walk(seed, 150, Rig::embedded().await).await;
    }
}

#[tokio::test]
async fn two_nodes_on_one_redis_answer_like_one_in_memory() {
    for seed in 10..18 {
        walk(seed, 150, Rig::by_turns().await).await;
    }
}
