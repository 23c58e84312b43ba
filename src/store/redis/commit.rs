//! Commits: each shopper for itself in one script call per partition, all calls at once; what spans partitions by
//! transfers.

use std::collections::{BTreeMap, BTreeSet};

use parvis_engine::id::ShopperId;

use super::{
    call::Call,
    item::{Item, Sorted, State, number},
    lock::Lock,
    partition::Partition,
    reply, scripts,
    shared::{Shared, Stage},
    transfer::Unit,
};
use crate::store::{Commit, Committed, Error};

/// What was to be applied, as a script saw it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is applied, and this is the version now.
    Done(u64),
    Conflict,
    /// Directories change, which one partition alone can't do.
    Directory,
    Locked(Lock),
}

/// What is still to be done.
#[derive(Debug, Default)]
struct Work {
    alone: Vec<Item>,
    units: Vec<Unit>,
}

impl Shared {
    pub(super) async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        // A transfer whose answer was lost may be what this commit repeats.
        self.resolve_own().await?;
        let mut sorted = Sorted::read(commit)?;
        let tries = self.unsure.begin(sorted.items.values_mut().filter_map(Item::mark), self.entropy.bits());
        let result = self.commit_sorted(sorted).await;
        self.unsure.end(tries, result.is_err());
        result
    }

    async fn commit_sorted(&self, sorted: Sorted) -> Result<Committed, Error> {
        let Sorted { mut items, mut conflicts, bonds } = sorted;
        let mut work = Work { units: bind(&mut items, bonds), alone: Vec::new() };
        for item in items.into_values() {
            if item.is_new_with_directory() {
                work.units.push(Unit::alone(item));
            } else {
                work.alone.push(item);
            }
        }
        for is_last in [false, true] {
            let locks = self.attempt(&mut work, &mut conflicts).await?;
            if locks.is_empty() {
                break;
            }
            if is_last || !self.resolve_stale(locks).await? {
                self.pause().await;
                break;
            }
        }
        conflicts.extend(work.alone.into_iter().map(|item| item.id));
        conflicts.extend(work.units.into_iter().flat_map(|unit| unit.told));
        Ok(conflicts.into_iter().collect::<Vec<_>>().into())
    }

    /// Does what can be done. What met a lock stays; what conflicts is told.
    async fn attempt(&self, work: &mut Work, conflicts: &mut BTreeSet<ShopperId>) -> Result<Vec<Lock>, Error> {
        let mut locks = Vec::new();
        for (item, verdict) in self.commit_alone(std::mem::take(&mut work.alone)).await? {
            match verdict {
                Verdict::Done(version) => self.took_effect(item, Some(version)),
                Verdict::Conflict => drop(conflicts.insert(item.id)),
                Verdict::Directory => work.units.push(Unit::alone(item)),
                Verdict::Locked(lock) => {
                    locks.push(lock);
                    work.alone.push(item);
                }
            }
        }
        for (unit, verdict) in self.transfer(std::mem::take(&mut work.units)).await? {
            match verdict {
                Verdict::Done(_) => unit.items.into_iter().for_each(|item| self.took_effect(item, None)),
                Verdict::Conflict | Verdict::Directory => conflicts.extend(unit.told),
                Verdict::Locked(lock) => {
                    locks.push(lock);
                    work.units.push(unit);
                }
            }
        }
        Ok(locks)
    }

    /// One round trip for all of them.
    async fn commit_alone(&self, items: Vec<Item>) -> Result<Vec<(Item, Verdict)>, Error> {
        let mut groups: BTreeMap<Partition, Vec<Item>> = BTreeMap::new();
        for item in items {
            groups.entry(item.partition()).or_default().push(item);
        }
        let calls: Vec<Call> = groups.iter().map(|(partition, items)| self.commit_call(*partition, items)).collect();
        let answers = self.ask_in(Stage::Commit, &calls).await?;
        let mut verdicts = Vec::new();
        for ((partition, items), answer) in groups.into_iter().zip(answers) {
            let place = self.keys.of(partition).shoppers();
            let words: Vec<String> = reply::read(answer, place)?;
            if words.len() != items.len() * 2 {
                return Err(Error::Corrupt(format!("{place}: {} words for {} shoppers", words.len(), items.len())));
            }
            for (item, words) in items.into_iter().zip(words.chunks_exact(2)) {
                let verdict = self.verdict((&words[0], &words[1]), partition)?;
                verdicts.push((item, verdict));
            }
        }
        Ok(verdicts)
    }

    fn commit_call(&self, partition: Partition, items: &[Item]) -> Call {
        let names = self.keys.of(partition);
        let own: Vec<Option<[String; 3]>> = items.iter().map(|item| item.keys(names)).collect();
        let keys = names.shopper_script.iter().chain(own.iter().flatten().flatten());
        let keys: Vec<&str> = keys.map(String::as_str).collect();
        let frees = items.iter().all(|item| matches!(item.state, State::Erased));
        let mut call = Call::script(if frees { &scripts::ERASE } else { &scripts::COMMIT }, &keys);
        let is_durable = items.iter().any(Item::is_durable);
        let mut word = |bytes: &[u8]| {
            call.command.arg(bytes);
        };
        number(u8::from(is_durable), &mut word);
        number(items.len(), &mut word);
        let mut place = names.shopper_script.len() + 1;
        for (item, own) in items.iter().zip(&own) {
            item.write(if own.is_some() { place } else { 0 }, &mut word);
            place += own.as_ref().map_or(0, |own| own.len());
        }
        if is_durable { call.durable() } else { call }
    }

    /// What two words of a script mean.
    pub(super) fn verdict(&self, (word, more): (&str, &str), partition: Partition) -> Result<Verdict, Error> {
        let place = self.keys.of(partition).shoppers();
        match word {
            "conflict" | "aborted" => Ok(Verdict::Conflict),
            "directory" => Ok(Verdict::Directory),
            "locked" => Lock::read(more, partition).map(Verdict::Locked),
            "corrupt" => Err(Error::Corrupt(format!("field {more} of {place}: no record"))),
            "already" if !more.is_empty() => self.verdict((more, ""), partition),
            "ready" | "decided" | "already" => Ok(Verdict::Done(0)),
            version => version
                .parse()
                .map(Verdict::Done)
                .map_err(|_| Error::Corrupt(format!("{place}: {version:?} is no version"))),
        }
    }

    /// Tells memory what is durable now.
    fn took_effect(&self, item: Item, version: Option<u64>) {
        item.dues().for_each(|(queue, due)| self.lower(queue, item.partition(), due));
        if item.dues().next().is_some() {
            self.grew.send_modify(|count| *count += 1);
        }
        if let Some(at) = item.wake() {
            self.wakes.lower(item.partition(), at);
            self.wakes_changed.send_modify(|count| *count += 1);
        }
        let version = match item.state {
            State::Unchanged => Some(item.version),
            State::Replaced { .. } => version.or((item.version > 0).then_some(item.version + 1)),
            State::Erased => None,
            State::NotSpokenOf => return,
        };
        match (version, item.tracks) {
            (Some(version), Some(tracks)) => self.tracks.keep(item.id, version, tracks),
            (None, _) | (_, None) => self.tracks.forget(&item.id),
        }
    }
}

/// Takes out those who change together.
fn bind(items: &mut BTreeMap<ShopperId, Item>, bonds: Vec<Vec<ShopperId>>) -> Vec<Unit> {
    let mut units = Vec::new();
    for bond in bonds {
        let is_spoken_of =
            |id: &&ShopperId| items.get(*id).is_some_and(|item| !matches!(item.state, State::NotSpokenOf));
        let bound: Vec<ShopperId> = bond.iter().filter(is_spoken_of).cloned().collect();
        if bound.len() > 1 {
            let items = bound.iter().filter_map(|id| items.remove(id)).collect();
            units.push(Unit { items, told: bond });
        }
    }
    units
}
