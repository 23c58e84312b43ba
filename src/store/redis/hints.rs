//! What a node remembers of when something is next due in which partition, so that it asks only those that can have
//! something; and how what was found due in several is put in one order. Asks nobody.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use parvis_engine::time::Timestamp;

use super::partition::{PARTITIONS, Partition};

/// What is remembered of one kind of entries, such as a queue of the outbox.
#[derive(Debug)]
pub(super) struct Hints {
    hints: Mutex<Vec<Hint>>,
    /// What other nodes do is found by asking again after this.
    recheck: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    asked: Option<Timestamp>,
    next: Option<Timestamp>,
    /// Counts own changes, so that an answer that does not know of one does not hide it.
    changes: u64,
}

/// The first entries of a partition.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) partition: Partition,
    pub(super) changes: u64,
    /// Id and due time, least first.
    pub(super) entries: Vec<(String, Timestamp)>,
    /// So many were asked for.
    pub(super) asked: usize,
}

impl Hints {
    pub(super) fn new(recheck: Duration) -> Hints {
        Hints { hints: Mutex::new(vec![Hint::default(); PARTITIONS]), recheck }
    }

    /// The partitions that can have something due, each with the count of own changes by now.
    pub(super) fn candidates(&self, now: Timestamp) -> Vec<(Partition, u64)> {
        let hints = self.hints();
        let may_have = |hint: &Hint| {
            let fresh = hint.asked.is_some_and(|asked| asked <= now && now.since(asked) < self.recheck);
            !fresh || hint.next.is_some_and(|next| next <= now)
        };
        let all = Partition::all().zip(hints.iter());
        all.filter(|(_, hint)| may_have(hint)).map(|(partition, hint)| (partition, hint.changes)).collect()
    }

    /// A partition was asked, and nothing is due there before `next`.
    pub(super) fn learn(&self, (partition, changes): (Partition, u64), next: Option<Timestamp>, now: Timestamp) {
        let hint = &mut self.hints()[partition.number()];
        let known = if hint.changes == changes { None } else { hint.next };
        hint.asked = Some(now);
        hint.next = next.into_iter().chain(known).min();
    }

    /// This node has put something there that is due then.
    pub(super) fn lower(&self, partition: Partition, due: Timestamp) {
        let hint = &mut self.hints()[partition.number()];
        hint.changes += 1;
        hint.next = hint.next.into_iter().chain([due]).min();
    }

    /// Before this time nobody needs to ask: something is due then, or may be by another node's doing.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let known = self.hints().iter().filter_map(|hint| hint.next).min();
        known.into_iter().fold(now.plus(self.recheck), Timestamp::min)
    }

    fn hints(&self) -> MutexGuard<'_, Vec<Hint>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// When the first that was not taken is due. Beyond what was looked at, nothing is due before the last of it.
    pub(super) fn next(&self, taken: usize) -> Option<Timestamp> {
        let is_cut = self.entries.len() == self.asked;
        let next = self.entries.get(taken).or_else(|| self.entries.last().filter(|_| is_cut));
        next.map(|(_, due)| *due)
    }
}

/// How many entries of each partition are looked at, so that `limit` of all of them are likely to be found.
pub(super) fn look_at(limit: usize, partitions: usize) -> usize {
    const FEWEST: usize = 4;
    (2 * limit).div_ceil(partitions.max(1)).max(FEWEST).min(limit)
}

/// The earliest due entries of all, at most `limit`, as places of look and entry. What may come before an entry that was
/// not looked at is left for the next time, so that none is overtaken.
pub(super) fn earliest(looks: &[Look], now: Timestamp, limit: usize) -> Vec<(usize, usize)> {
    let key = |(look, entry): &(usize, usize)| {
        let (id, due) = &looks[*look].entries[*entry];
        (*due, id)
    };
    let (mut due, mut unseen_after) = (Vec::new(), None);
    for (place, look) in looks.iter().enumerate() {
        let count = look.entries.iter().take_while(|(_, due)| *due <= now).count();
        due.extend((0..count).map(|entry| (place, entry)));
        if count > 0 && count == look.asked {
            let last = key(&(place, count - 1));
            unseen_after = Some(unseen_after.map_or(last, |known| last.min(known)));
        }
    }
    due.sort_unstable_by_key(key);
    due.retain(|place| unseen_after.is_none_or(|unseen| key(place) <= unseen));
    due.truncate(limit);
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn look(number: i64, asked: usize, scores: &[i64]) -> Look {
        let partition = Partition::numbered(number).expect("there is");
        let entries = scores.iter().map(|score| (format!("e{score}"), at(*score))).collect();
        Look { partition, changes: 0, entries, asked }
    }

    #[test]
    fn what_was_not_looked_at_is_not_overtaken() {
        let looks = [look(0, 2, &[1, 5]), look(1, 2, &[6, 7]), look(2, 2, &[2, 90])];
        assert_eq!(earliest(&looks, at(10), 9), [(0, 0), (2, 0), (0, 1)], "after 5 the first may have another");
        assert_eq!(earliest(&looks, at(10), 2), [(0, 0), (2, 0)]);
        assert_eq!(earliest(&looks, at(0), 9), []);
        assert_eq!((looks[0].next(1), looks[0].next(2), looks[2].next(1)), (Some(at(5)), Some(at(5)), Some(at(90))));
        assert_eq!(look(0, 2, &[1]).next(1), None);
    }

    #[test]
    fn only_partitions_that_can_have_something_are_asked() {
        let hints = Hints::new(Duration::from_secs(1));
        assert_eq!(hints.candidates(at(0)).len(), PARTITIONS, "nothing is known yet");
        for candidate in hints.candidates(at(0)) {
            hints.learn(candidate, None, at(0));
        }
        assert_eq!((hints.candidates(at(999)), hints.next(at(0))), (Vec::new(), at(1_000)));
        assert_eq!(hints.candidates(at(1_000)).len(), PARTITIONS, "others may have put something");
        let fifth = Partition::numbered(5).expect("there is");
        hints.lower(fifth, at(20));
        assert_eq!((hints.candidates(at(19)), hints.next(at(0))), (Vec::new(), at(20)));
        assert_eq!(hints.candidates(at(20)), [(fifth, 1)]);
        hints.lower(fifth, at(10));
        hints.learn((fifth, 1), None, at(20));
        assert_eq!(hints.candidates(at(20)), [(fifth, 2)], "the answer did not know of the second change");
        hints.learn((fifth, 2), Some(at(30)), at(20));
        assert_eq!((hints.candidates(at(20)), hints.next(at(20))), (Vec::new(), at(30)));
    }

    #[test]
    fn looks_grow_with_the_limit() {
        assert_eq!((look_at(1, 64), look_at(100, 64), look_at(100, 1), look_at(1_024, 64)), (1, 4, 100, 32));
    }
}
