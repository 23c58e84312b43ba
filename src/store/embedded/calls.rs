//! What the writer is asked besides commits: settlements, reports, budgets, catalog, answers, pruning.

use std::sync::PoisonError;

use parvis_engine::{
    id::{CampaignId, NotificationId, stable_hash},
    time::Timestamp,
};
use redb::ReadableTable;

use super::{
    codec,
    group::{GOES_ON, Group, idle_since},
    prepared::{Encoded, Prepared},
    tables,
    volatile::Effect,
};
use crate::store::{
    Answer, CatalogItem, Committed, End, Error, Horizon, Settlement, Step,
    life::Progress,
    rows::{Batch, Contents},
    sums::Left,
};

/// So that pruning never holds up commits for long.
const PRUNE_ROWS: usize = 1_024;

/// What is asked.
#[derive(Debug)]
pub(super) enum Call {
    Commit(Prepared),
    /// Each with what follows from it, encoded already.
    Settle(Vec<(Settlement, Vec<Encoded>)>),
    Report(NotificationId, Step),
    Budget {
        campaign: CampaignId,
        total: u64,
        want: u64,
    },
    Catalog {
        items: Vec<CatalogItem>,
        generation: u64,
    },
    Keep {
        key: String,
        answer: Answer,
        at: Timestamp,
    },
    Note {
        name: String,
        bytes: Vec<u8>,
        version: u64,
    },
    Prune {
        horizon: Horizon,
        from: u128,
    },
    Contents,
    Import(Batch),
    /// A reader has met an error: the file may have to be reopened.
    Mend,
    Close,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Reply {
    Committed(Committed),
    Done,
    Known(bool),
    Taken(u64),
    /// Of the catalog, if it was changed.
    Generation(Option<u64>),
    /// The version of the note, if it was kept.
    Noted(Option<u64>),
    /// The call alone has failed, because of what is stored: the others of its group go on.
    Unreadable(Error),
    Contents(Contents),
    /// Where to go on pruning, if there is more.
    Pruned(Option<u128>),
}

impl Group<'_, '_> {
    pub(super) fn perform(&mut self, call: Call) -> Result<Reply, Error> {
        match call {
            Call::Commit(prepared) => self.commit(prepared).map(Reply::Committed),
            Call::Settle(settlements) => {
                settlements.into_iter().try_for_each(|(it, then)| self.settle(it, then)).map(|()| Reply::Done)
            }
            Call::Report(id, step) => self.report(id, step),
            Call::Budget { campaign, total, want } => self.take_budget(&campaign, total, want).map(Reply::Taken),
            Call::Catalog { items, generation } => self.put_catalog(items, generation).map(Reply::Generation),
            Call::Keep { key, answer, at } => self.keep(&key, &answer, at).map(|()| Reply::Done),
            Call::Note { name, bytes, version } => self.keep_note(&name, &bytes, version).map(Reply::Noted),
            Call::Prune { horizon, from } => self.prune(horizon, from).map(Reply::Pruned),
            Call::Contents => self.contents().map(Reply::Contents),
            Call::Import(batch) => self.import(batch),
            Call::Mend | Call::Close => Ok(Reply::Done),
        }
    }

    fn settle(&mut self, settlement: Settlement, then: Vec<Encoded>) -> Result<(), Error> {
        let Settlement { id, lease, at, end, .. } = settlement;
        let place = self.volatile.leases.lock().unwrap_or_else(PoisonError::into_inner).settle(id, lease);
        let Some(place) = place else { return Ok(()) };
        self.effects.push(Effect::Released(id));
        let removed = self.tables.outbox.remove(tables::slot(place))?.map(|value| value.value().1);
        let Some(mark) = removed else { return Ok(()) };
        let due = match &end {
            End::Terminal { milestone, .. } => {
                self.effects.push(Effect::Left(place.0, Left::Ended(*milestone)));
                place.1
            }
            End::Again { at, attempts, .. } => {
                let next = (place.0, *at, id);
                self.tables.outbox.insert(tables::slot(next), (*attempts, mark))?;
                self.announce(next);
                *at
            }
        };
        self.grow(id, due, |progress| progress.settle(at, &end))?;
        then.iter().try_for_each(|(message, body)| self.enqueue(message, body))
    }

    fn report(&mut self, id: NotificationId, step: Step) -> Result<Reply, Error> {
        let message = self.tables.messages.get(id.as_u128())?.map(|row| (row.value().0, row.value().1));
        if message.is_none_or(|(sequence, mark)| self.is_void(mark, sequence)) {
            return Ok(Reply::Known(false));
        }
        let Some((_, due, bytes)) = self.life(id)? else { return Ok(Reply::Known(false)) };
        let mut progress = match decode(id, &bytes) {
            Ok(progress) => progress,
            Err(error) => return Ok(Reply::Unreadable(error)),
        };
        if progress.report(step) {
            self.put_progress(id, Timestamp::from_millis(due), &progress)?;
        }
        Ok(Reply::Known(true))
    }

    /// Takes a step into a life. A life that can't be read stays as it is: it must not keep its message, nor those of
    /// others that are settled with it, from ending.
    fn grow(&mut self, id: NotificationId, due: Timestamp, step: impl FnOnce(&mut Progress)) -> Result<(), Error> {
        let Some((idle_since, _, bytes)) = self.life(id)? else { return Ok(()) };
        match decode(id, &bytes) {
            Ok(mut progress) => {
                step(&mut progress);
                self.bury(id, &progress)?;
                self.put_progress(id, due, &progress)
            }
            Err(error) => {
                tracing::error!("a settlement is not in the life of its message: {error}");
                self.tables.lives.insert(id.as_u128(), (idle_since, due.as_millis(), bytes.as_slice()))?;
                Ok(())
            }
        }
    }

    /// A life as it is stored.
    fn life(&self, id: NotificationId) -> Result<Option<(i64, i64, Vec<u8>)>, Error> {
        let row = self.tables.lives.get(id.as_u128())?;
        Ok(row.map(|row| (row.value().0, row.value().1, row.value().2.to_vec())))
    }

    fn put_progress(&mut self, id: NotificationId, due: Timestamp, progress: &Progress) -> Result<(), Error> {
        let bytes = codec::encode(progress)?;
        self.tables.lives.insert(id.as_u128(), (idle_since(progress), due.as_millis(), bytes.as_slice()))?;
        Ok(())
    }

    fn take_budget(&mut self, campaign: &CampaignId, total: u64, want: u64) -> Result<u64, Error> {
        let spent = self.tables.budgets.get(campaign.as_str())?.map_or(0, |value| value.value());
        let taken = want.min(total.saturating_sub(spent));
        if taken > 0 {
            self.tables.budgets.insert(campaign.as_str(), spent + taken)?;
        }
        Ok(taken)
    }

    fn put_catalog(&mut self, items: Vec<CatalogItem>, generation: u64) -> Result<Option<u64>, Error> {
        if tables::catalog_generation(&self.tables.meta)? != generation {
            return Ok(None);
        }
        let generation = generation + 1;
        self.tables.meta.insert("catalog", generation)?;
        self.effects.push(Effect::Catalog(generation));
        for CatalogItem { kind, id, json } in items {
            let key = (kind.as_str(), id.as_str());
            match json {
                Some(json) => drop(self.tables.catalog.insert(key, json.as_str())?),
                None => drop(self.tables.catalog.remove(key)?),
            }
        }
        Ok(Some(generation))
    }

    pub(super) fn keep(&mut self, key: &str, answer: &Answer, at: Timestamp) -> Result<(), Error> {
        let hash = stable_hash(&[key]);
        let kept_now = |effect: &Effect| matches!(effect, Effect::Kept { hash: kept, .. } if *kept == hash);
        if self.volatile.answer_place(hash).is_some() || self.effects.iter().any(kept_now) {
            return Ok(());
        }
        let place = (at.as_millis(), self.next_sequence());
        let bytes = codec::encode(answer)?;
        self.tables.answers.insert(place, (hash, key, bytes.as_slice()))?;
        self.effects.push(Effect::Kept { hash, place });
        Ok(())
    }

    fn keep_note(&mut self, name: &str, bytes: &[u8], version: u64) -> Result<Option<u64>, Error> {
        let known = self.tables.notes.get(name)?.map_or(0, |note| note.value().0);
        if known != version {
            return Ok(None);
        }
        self.tables.notes.insert(name, (version + 1, bytes))?;
        Ok(Some(version + 1))
    }

    fn prune(&mut self, horizon: Horizon, from: u128) -> Result<Option<u128>, Error> {
        let end = (horizon.rows.as_millis(), 0);
        let mut rows = Vec::new();
        for row in self.tables.journal.range(..end)?.take(PRUNE_ROWS) {
            rows.push(row?.0.value());
        }
        for row in &rows {
            self.tables.journal.remove(*row)?;
        }
        let mut answers = Vec::new();
        for row in self.tables.answers.range(..(horizon.answers.as_millis(), 0))?.take(PRUNE_ROWS) {
            let (place, value) = row?;
            answers.push((place.value(), value.value().0));
        }
        for (place, hash) in &answers {
            self.tables.answers.remove(*place)?;
            self.effects.push(Effect::Forgotten { hash: *hash });
        }
        let reached = self.prune_lives(horizon.rows, from)?;
        let mut more = rows.len() == PRUNE_ROWS || answers.len() == PRUNE_ROWS;
        if reached.is_none() && !more {
            more = self.prune_index(horizon.rows.as_millis())?;
        }
        Ok(reached.or_else(|| more.then_some(u128::MAX)))
    }

    /// Ids begin with the time of their cause, so nothing after `until` can have ended before it.
    fn prune_lives(&mut self, until: Timestamp, from: u128) -> Result<Option<u128>, Error> {
        let end = tables::first_id_at(until);
        if from >= end {
            return Ok(None);
        }
        let (mut seen, mut ended) = (Vec::new(), Vec::new());
        for row in self.tables.lives.range(from..end)?.take(PRUNE_ROWS) {
            let (id, life) = row?;
            seen.push(id.value());
            let idle_since = life.value().0;
            if idle_since != GOES_ON && idle_since < until.as_millis() {
                ended.push(id.value());
            }
        }
        for id in ended {
            self.forget_message(id)?;
        }
        Ok(seen.last().filter(|_| seen.len() == PRUNE_ROWS).map(|last| last + 1))
    }
}

fn decode(id: NotificationId, bytes: &[u8]) -> Result<Progress, Error> {
    codec::decode(bytes, || format!("the life of {id}"))
}
