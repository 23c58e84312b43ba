//! Claims of outbox entries, and wakes: look where something can be due, then take what is earliest. Between the two,
//! another node may be faster; a script gives each entry to one.

use std::{collections::BTreeMap, time::Duration};

use parvis_engine::{id::ShopperId, notification::Notification, time::Timestamp};

use super::{
    call::Call,
    hints::{self, Hints, Look},
    partition::{Names, Partition},
    record::split_line,
    reply, score, scripts,
    shared::{Shared, Stage},
};
use crate::store::{Claim, Entry, Error, Queue, codec};

/// How often it is tried again where other nodes were faster with everything that was found.
const TRIES: usize = 4;
/// Then others have their turn.
const PAUSE: Duration = Duration::from_millis(20);

/// What is looked through.
#[derive(Clone, Copy)]
enum Line {
    Queue(Queue),
    Wakes,
}

impl Line {
    fn key(self, names: &Names) -> &str {
        match self {
            Line::Queue(queue) => names.outbox(queue.channel),
            Line::Wakes => names.wakes(),
        }
    }

    /// The call for the first so many.
    fn look(self, names: &Names, count: usize) -> Call {
        let call = Call::command("ZRANGE", self.key(names));
        let call = match self {
            Line::Queue(queue) => {
                let (least, greatest) = score::bounds(queue);
                call.arg(least).arg(greatest).arg("BYSCORE").arg("LIMIT").arg(0).arg(count)
            }
            Line::Wakes => call.arg(0).arg(count.saturating_sub(1)),
        };
        call.arg("WITHSCORES")
    }

    fn score(self, due: Timestamp) -> i64 {
        match self {
            Line::Queue(queue) => score::of(queue, due),
            Line::Wakes => due.as_millis(),
        }
    }

    fn due(self, score: f64) -> Timestamp {
        match self {
            Line::Queue(_) => score::due(score),
            Line::Wakes => score::time(score),
        }
    }
}

impl Shared {
    pub(super) async fn claim(
        &self,
        (queue, now): (Queue, Timestamp),
        limit: usize,
        lease: Duration,
    ) -> Result<Claim, Error> {
        if limit == 0 {
            return Ok(Claim::Entries(Vec::new()));
        }
        let (hints, line) = (self.hints(queue), Line::Queue(queue));
        for _ in 0..TRIES {
            let looks = self.look(&hints, line, now, limit).await?;
            let chosen = hints::earliest(&looks, now, limit);
            let until = now.plus(lease);
            let answers = self.take(line, &looks, &chosen, |names| {
                let keys = [line.key(names), names.messages(), names.lives(), names.counters()];
                Call::script(&scripts::CLAIM, &keys).arg(line.score(until))
            });
            let mut entries = Vec::new();
            for (partition, words) in answers.await? {
                entries.extend(words.chunks_exact(5).filter_map(|words| self.entry(partition, words)));
            }
            learn(&hints, &looks, &chosen, (now, until));
            if !entries.is_empty() {
                entries.sort_unstable_by_key(|(due, entry): &(Timestamp, Entry)| (*due, entry.notification.id));
                return Ok(Claim::Entries(entries.into_iter().map(|(_, entry)| entry).collect()));
            }
            if chosen.is_empty() {
                return Ok(Claim::NothingUntil(Some(hints.next(now))));
            }
        }
        Ok(Claim::NothingUntil(Some(now.plus(PAUSE))))
    }

    pub(super) async fn due_wakes(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<ShopperId>, Option<Timestamp>), Error> {
        let until = now.plus(self.pace.wake_hold);
        for _ in 0..TRIES {
            let looks = self.look(&self.wakes, Line::Wakes, now, limit).await?;
            let chosen = hints::earliest(&looks, now, limit);
            let taken = self.take(Line::Wakes, &looks, &chosen, |names| {
                Call::script(&scripts::WAKE, &[names.wakes()]).arg(until.as_millis())
            });
            let taken: Vec<Vec<u8>> = taken.await?.into_iter().flat_map(|(_, words)| words).collect();
            learn(&self.wakes, &looks, &chosen, (now, until));
            let names = chosen.iter().map(|(look, entry)| &looks[*look].entries[*entry].0);
            let due: Vec<ShopperId> = names
                .filter(|name| taken.iter().any(|it| it == name.as_bytes()))
                .filter_map(|it| it.parse().ok())
                .collect();
            if !due.is_empty() || chosen.is_empty() {
                return Ok((due, Some(self.wakes.next(now))));
            }
        }
        Ok((Vec::new(), Some(now.plus(PAUSE))))
    }

    async fn look(&self, hints: &Hints, line: Line, now: Timestamp, limit: usize) -> Result<Vec<Look>, Error> {
        let candidates = hints.candidates(now);
        let asked = hints::look_at(limit, candidates.len());
        let call = |(partition, _): &(Partition, u64)| line.look(self.keys.of(*partition), asked);
        let answers = self.ask(&candidates.iter().map(call).collect::<Vec<_>>()).await?;
        let look = |((partition, changes), answer)| {
            let found: Vec<(String, f64)> = reply::read(answer, line.key(self.keys.of(partition)))?;
            let entries = found.into_iter().map(|(id, score)| (id, line.due(score))).collect();
            Ok(Look { partition, changes, entries, asked })
        };
        candidates.into_iter().zip(answers).map(look).collect()
    }

    /// Takes what was chosen; `begin` begins a script call that takes ids and scores.
    async fn take(
        &self,
        line: Line,
        looks: &[Look],
        chosen: &[(usize, usize)],
        begin: impl Fn(&Names) -> Call,
    ) -> Result<Vec<(Partition, Vec<Vec<u8>>)>, Error> {
        let mut calls: BTreeMap<Partition, Call> = BTreeMap::new();
        for (place, entry) in chosen {
            let Look { partition, entries, .. } = &looks[*place];
            let (id, due) = &entries[*entry];
            let call = calls.remove(partition).unwrap_or_else(|| begin(self.keys.of(*partition)));
            calls.insert(*partition, call.arg(id).arg(line.score(*due)));
        }
        let (partitions, calls): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let answers = self.ask_in(Stage::Claim, &calls).await?;
        let read = |(partition, answer)| Ok((partition, reply::read(answer, &self.keys.of(partition).tag)?));
        partitions.into_iter().zip(answers).map(read).collect()
    }

    /// An entry with its due time. One that can't be read waits for an operator; those behind it do not.
    fn entry(&self, partition: Partition, words: &[Vec<u8>]) -> Option<(Timestamp, Entry)> {
        let [id, lease, attempts, due, message] = words else { return None };
        let names = self.keys.of(partition);
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let read = || {
            let place = |key: &str| format!("field {} of {key}", text(id));
            let notification = read_message(message, || place(names.messages()))?;
            let odd = || Error::Corrupt(format!("{}: no life", place(names.lives())));
            let due = text(due).parse().map(Timestamp::from_millis).map_err(|_| odd())?;
            let attempts = text(attempts).parse().map_err(|_| odd())?;
            let lease = text(lease).parse().map_err(|_| odd())?;
            Ok((due, Entry { notification, attempts, lease }))
        };
        read().inspect_err(|error: &Error| tracing::error!("an outbox entry is passed over: {error}")).ok()
    }
}

/// A stored message: its shopper, the end of the line, and the notification.
pub(super) fn read_message(bytes: &[u8], place: impl Fn() -> String) -> Result<Notification, Error> {
    let (_, body) = split_line(bytes).ok_or_else(|| Error::Corrupt(format!("{}: no message", place())))?;
    codec::decode(body, place)
}

/// Remembers what is due next where it was looked.
fn learn(hints: &Hints, looks: &[Look], chosen: &[(usize, usize)], (now, until): (Timestamp, Timestamp)) {
    let mut taken = vec![0; looks.len()];
    chosen.iter().for_each(|(place, _)| taken[*place] += 1);
    for (look, taken) in looks.iter().zip(taken) {
        let next = look.next(taken).into_iter().chain((taken > 0).then_some(until)).min();
        hints.learn((look.partition, look.changes), next, now);
    }
}
