//! Locks of transfers that somebody has met, and what becomes of them: a transfer that was decided is finished, one that
//! was not is aborted. Whoever meets an old lock does it, and every node looks for old ones now and then, so that a
//! crash at any stage leaves nothing locked and nothing half done.

use std::time::Duration;

use redis::Value;

use super::{
    call::Call,
    partition::Partition,
    record, reply, scripts,
    shared::Shared,
    transfer::{self, Part},
};
use crate::store::Error;

/// A decision that is later than this after its transfer was aborted can't come any more: a kernel goes on to send what a
/// broken connection left unsent for up to about 15 minutes (`tcp_retries2`), even if whoever sent it has long given up.
const MARK_KEPT: Duration = Duration::from_secs(3_600);

/// A lock that kept somebody from going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) suspect: Suspect,
    age: Duration,
}

/// A transfer of which it is not known how it ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    pub(super) id: String,
    pub(super) home: Partition,
    /// Where it may have locked something.
    pub(super) locked: Vec<Partition>,
}

impl Suspect {
    /// Reads `<transfer> <home>`, and what follows is not looked at.
    fn read<'t>(words: &mut impl Iterator<Item = &'t str>, met: Partition) -> Option<Suspect> {
        let id = words.next()?.to_owned();
        let home = Partition::numbered(words.next()?.parse().ok()?)?;
        Some(Suspect { id, home, locked: vec![met] })
    }
}

impl Lock {
    /// Reads `<transfer> <home> <since ms> <now ms>`.
    pub(super) fn read(text: &str, met: Partition) -> Result<Lock, Error> {
        let read = || {
            let mut words = text.split(' ');
            let suspect = Suspect::read(&mut words, met)?;
            let (since, now): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            // A lock of the future is as odd as an old one: the server's clock was put back.
            Some(Lock { suspect, age: Duration::from_millis(now.abs_diff(since)) })
        };
        read().ok_or_else(|| Error::Corrupt(format!("{text:?} is no lock")))
    }
}

impl Shared {
    /// Resolves what those of these locks stand for that are old; true if there was one.
    pub(super) async fn resolve_stale(&self, mut locks: Vec<Lock>) -> Result<bool, Error> {
        locks.retain(|lock| lock.age >= self.pace.lock_patience);
        locks.sort_unstable_by(|one, other| one.suspect.cmp(&other.suspect));
        locks.dedup_by(|one, other| one.suspect == other.suspect);
        for lock in &locks {
            self.resolve(&lock.suspect).await?;
        }
        Ok(!locks.is_empty())
    }

    /// Resolves this node's own transfers whose end was not answered.
    pub(super) async fn resolve_own(&self) -> Result<(), Error> {
        loop {
            let suspect = self.suspects().last().cloned();
            let Some(suspect) = suspect else { return Ok(()) };
            self.resolve(&suspect).await?;
            self.suspects().retain(|it| *it != suspect);
        }
    }

    /// Finishes or aborts a transfer.
    async fn resolve(&self, suspect: &Suspect) -> Result<(), Error> {
        let home = self.keys.of(suspect.home);
        let call = Call::script(&scripts::RESOLVE, &[home.transfers()]).arg(&suspect.id).durable();
        let rest: Option<Vec<u8>> = self.ask_one(call, home.transfers()).await?;
        let Some(rest) = rest else {
            tracing::debug!(transfer = suspect.id, "a transfer that was not decided is aborted");
            let release = |partition: &Partition| {
                Call::script(&scripts::RELEASE, &[self.keys.of(*partition).locks()]).arg(&suspect.id).durable()
            };
            self.ask(&suspect.locked.iter().map(release).collect::<Vec<_>>()).await?;
            return Ok(());
        };
        self.finish(suspect, &rest).await
    }

    /// Finishes those transfers that are decided and hold one of these locks. Whoever was told of what such a transfer did
    /// may ask any node, though the one that made it has died.
    pub(super) async fn finish_decided(&self, locks: Vec<(Partition, Vec<u8>)>) -> Result<(), Error> {
        let read = |(met, lock): (Partition, Vec<u8>)| {
            Suspect::read(&mut std::str::from_utf8(&lock).unwrap_or_default().split(' '), met)
        };
        let mut suspects: Vec<Suspect> = locks.into_iter().filter_map(read).collect();
        suspects.sort_unstable();
        suspects.dedup();
        for suspect in suspects {
            let transfers = self.keys.of(suspect.home).transfers();
            let found: Option<Vec<u8>> =
                self.ask_one(Call::command("HGET", transfers).arg(&suspect.id), transfers).await?;
            let Some((head, rest)) = found.as_deref().and_then(record::split_line) else { continue };
            if head.starts_with('+') {
                self.finish(&suspect, rest).await?;
            }
        }
        Ok(())
    }

    async fn finish(&self, suspect: &Suspect, rest: &[u8]) -> Result<(), Error> {
        tracing::debug!(transfer = suspect.id, "a transfer that was decided is finished");
        let transfers = self.keys.of(suspect.home).transfers();
        let parts = transfer::read_rest(rest)
            .ok_or_else(|| Error::Corrupt(format!("field {} of {transfers}: no transfer", suspect.id)))?;
        let finish = |(partition, part): &(Partition, Part)| self.finish_call(&suspect.id, *partition, part);
        self.ask(&parts.iter().map(finish).collect::<Vec<_>>()).await?;
        self.ask(&[self.forget_call(&suspect.id, suspect.home)]).await?;
        Ok(())
    }

    /// Looks for what crashed nodes have left.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let call = |partition| {
            let names = self.keys.of(partition);
            let call = Call::script(&scripts::STALE, &[names.locks(), names.transfers()]);
            call.arg(millis(self.pace.lock_patience)).arg(millis(MARK_KEPT.max(self.pace.lock_patience)))
        };
        let answers = self.ask(&Partition::all().map(call).collect::<Vec<_>>()).await?;
        for (partition, answer) in Partition::all().zip(answers) {
            let found: Vec<(String, i64)> = read_pairs(answer, self.keys.of(partition).locks())?;
            for (id, home) in found {
                let home = Partition::numbered(home).unwrap_or(partition);
                self.resolve(&Suspect { id, home, locked: vec![partition] }).await?;
            }
        }
        Ok(())
    }
}

fn read_pairs(answer: Value, what: &str) -> Result<Vec<(String, i64)>, Error> {
    let flat: Vec<Value> = reply::read(answer, what)?;
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let (Some(id), Some(home)) = (flat.next(), flat.next()) {
        pairs.push((reply::read(id, what)?, reply::read(home, what)?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_read() {
        let met = Partition::numbered(3).expect("there is");
        let lock = Lock::read("ab 7 1000 4500", met).expect("a lock");
        let home = Partition::numbered(7).expect("there is");
        assert_eq!(lock.suspect, Suspect { id: "ab".to_owned(), home, locked: vec![met] });
        assert_eq!(lock.age, Duration::from_millis(3_500));
        let back = Lock::read("ab 7 100000 900", met).map(|lock| lock.age);
        assert_eq!(back, Ok(Duration::from_millis(99_100)), "a clock that was put back keeps nothing locked");
        for odd in ["", "ab", "ab 64 1 2", "ab 7 1", "ab 7 x 2"] {
            assert!(Lock::read(odd, met).is_err(), "{odd}");
        }
    }
}
