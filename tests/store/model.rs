//! Random calls give the same answers from the embedded store, restarts included, as from the one in memory.

use std::collections::BTreeMap;

use parvis::{
    entropy::Entropy,
    store::{Commit, Committed, Entry, Horizon, JournalQuery, Store},
};
use parvis_engine::{id::NotificationId, notification::Channel};

use crate::rig::*;

const SHOPPERS: u64 = 12;

struct Walk {
    entropy: Entropy,
    second: i64,
    memory: Rig,
    embedded: Rig,
    /// What is claimed and not settled: the two stores' leases differ.
    claimed: BTreeMap<NotificationId, (Entry, Entry)>,
}

impl Walk {
    fn below(&self, bound: u64) -> u64 {
        self.entropy.bits() % bound
    }

    fn stores(&self) -> (&dyn Store, &dyn Store) {
        (self.memory.store(), self.embedded.store())
    }

    async fn random_commit(&self) -> Commit {
        let (memory, _) = self.stores();
        let mut commit = Commit::default();
        let first = self.below(SHOPPERS);
        for n in first..first + self.below(4) + 1 {
            let id = format!("C-{}", n % SHOPPERS);
            let record = load(memory, &id).await;
            // One in eight comes with a version that is not the stored one.
            let version = if self.below(8) == 0 { self.below(4) } else { record.version };
            let mut next = with_device(&id, &format!("device-{}", n % SHOPPERS));
            next.profile = counted(&id, count_of(&record) + 1).profile;
            let wake = (self.below(2) == 0).then(|| at(self.second + i64::try_from(self.below(60)).expect("small")));
            commit.changes.push(match self.below(10) {
                0 => erased(version, &id),
                1 | 2 => tracked(version, &id, 5.0),
                _ => replaced(version, next, wake),
            });
            if self.below(2) == 0 {
                let second = self.second + i64::try_from(self.below(20)).expect("small");
                commit.outbox.push(message(second, &id, Channel::Fcm));
            }
            commit.events.push(event(self.second, &id));
        }
        commit
    }

    async fn settle_some(&mut self) {
        let entries: Vec<_> = self.claimed.keys().copied().filter(|_| self.entropy.bits().is_multiple_of(2)).collect();
        for id in entries {
            let (left, right) = self.claimed.remove(&id).expect("was claimed");
            let end = match self.below(3) {
                0 => again(self.second + 15, left.attempts + 1),
                _ => accepted(left.attempts + 1),
            };
            let (memory, embedded) = self.stores();
            memory.settle(vec![settled(&left, self.second, end.clone())]).await.expect("available");
            embedded.settle(vec![settled(&right, self.second, end)]).await.expect("available");
        }
    }

    async fn step(&mut self) {
        self.second += i64::try_from(self.below(5)).expect("small");
        match self.below(20) {
            0 => {
                self.memory.restart().await;
                self.embedded.restart().await;
                self.claimed.clear();
            }
            1 => {
                let (memory, embedded) = self.stores();
                let horizon = Horizon { rows: at(self.second - 60), answers: at(self.second - 60) };
                memory.prune(horizon).await.expect("available");
                embedded.prune(horizon).await.expect("available");
            }
            2..=6 => {
                let limit = usize::try_from(self.below(5) + 1).expect("small");
                let (memory, embedded) = self.stores();
                let left = claim(memory, self.second, limit).await;
                let right = claim(embedded, self.second, limit).await;
                let plain = |entries: &[Entry]| {
                    entries.iter().map(|entry| (entry.notification.clone(), entry.attempts)).collect::<Vec<_>>()
                };
                assert_eq!(plain(&left), plain(&right));
                for pair in left.into_iter().zip(right) {
                    self.claimed.insert(pair.0.notification.id, pair);
                }
            }
            7..=10 => self.settle_some().await,
            _ => {
                let commit = self.random_commit().await;
                let (memory, embedded) = self.stores();
                let left = memory.commit(commit.clone()).await;
                assert_eq!(left, embedded.commit(commit).await);
                assert!(matches!(left, Ok(Committed::Done | Committed::Conflict(_))));
            }
        }
    }

    async fn compare(&self) {
        let (memory, embedded) = self.stores();
        let now = at(self.second);
        for n in 0..SHOPPERS {
            let id = format!("C-{n}");
            let (left, right) = (load(memory, &id).await, load(embedded, &id).await);
            assert_eq!((left.version, left.shopper, left.tracks), (right.version, right.shopper, right.tracks));
            let device = format!("device-{n}");
            assert_eq!(owner(memory, &device).await, owner(embedded, &device).await);
        }
        assert_eq!(memory.due_wakes(now, 99).await, embedded.due_wakes(now, 99).await);
        let query = || JournalQuery { limit: 10_000, ..JournalQuery::default() };
        let journal = memory.journal(query()).await.expect("available");
        assert_eq!(Ok(&journal), embedded.journal(query()).await.as_ref());
        for second in 0..self.second + 30 {
            for n in 0..SHOPPERS {
                let id = message(second, &format!("C-{n}"), Channel::Fcm).id;
                if second % 7 == 0 {
                    assert_eq!(memory.life(id).await, embedded.life(id).await);
                }
            }
        }
        let (left, right) = (memory.sizes().await.expect("available"), embedded.sizes().await.expect("available"));
        assert_eq!((left.shoppers, left.waiting), (right.shoppers, right.waiting));
    }
}

#[tokio::test]
async fn both_engines_answer_alike() {
    for seed in 0..6 {
        let (memory, embedded) = (Rig::memory(), Rig::embedded().await);
        let entropy = Entropy::seeded(seed);
        let mut walk = Walk { entropy, second: 100, memory, embedded, claimed: BTreeMap::new() };
        for _ in 0..150 {
            walk.step().await;
        }
        walk.compare().await;
    }
}
