//! Rows of another store, taken in by the writer. How far an import has come stands in the same transaction as its rows.

use redb::{ReadableTable, ReadableTableMetadata};

use super::{
    calls::Reply,
    codec::{self, Frame},
    group::{Group, idle_since},
    index::Row as Noted,
    tables,
    volatile::Effect,
};
use crate::store::{
    Error, Queue,
    life::Progress,
    rows::{self, Batch, Contents, Durably, Row, Sent},
    state::Put,
};

/// Which import is going on, and how many of its rows are here.
const IMPORT: &str = "import";
const IMPORTED: &str = "imported";

fn part(meta: &impl ReadableTable<&'static str, u64>) -> Result<Option<Contents>, Error> {
    let Some(import) = meta.get(IMPORT)?.map(|value| value.value()) else { return Ok(None) };
    let rows = meta.get(IMPORTED)?.map_or(0, |value| value.value());
    Ok(Some(Contents::Part { import, rows }))
}

impl Group<'_, '_> {
    /// Takes in a batch, if the store stands where it begins.
    pub(super) fn import(&mut self, batch: Batch) -> Result<Reply, Error> {
        if let Some(refusal) = rows::refusal(self.contents()?, &batch) {
            return Ok(Reply::Unreadable(refusal));
        }
        let rows = batch.before + batch.rows.len() as u64;
        for row in batch.rows {
            self.import_row(row)?;
        }
        if batch.last {
            self.tables.meta.remove(IMPORT)?;
            self.tables.meta.remove(IMPORTED)?;
        } else {
            self.tables.meta.insert(IMPORT, batch.import)?;
            self.tables.meta.insert(IMPORTED, rows)?;
        }
        Ok(Reply::Done)
    }

    /// What is in the file, for who wants to import.
    pub(super) fn contents(&self) -> Result<Contents, Error> {
        let tables = &self.tables;
        if let Some(part) = part(&tables.meta)? {
            return Ok(part);
        }
        let is_empty = self.volatile.state.shoppers() == 0
            && tables::catalog_generation(&tables.meta)? == 0
            && tables.catalog.is_empty()?
            && tables.messages.is_empty()?
            && tables.journal.is_empty()?
            && tables.answers.is_empty()?
            && tables.notes.is_empty()?
            && tables.budgets.is_empty()?;
        Ok(if is_empty { Contents::Nothing } else { Contents::Whole })
    }

    fn import_row(&mut self, row: Row) -> Result<(), Error> {
        match row {
            Row::Generation(generation) => {
                self.tables.meta.insert("catalog", generation)?;
                self.effects.push(Effect::Catalog(generation));
                Ok(())
            }
            Row::Object(object) => {
                let key = (object.kind.as_str(), object.id.as_str());
                self.tables.catalog.insert(key, object.json.as_str())?;
                Ok(())
            }
            Row::Note(note) => {
                self.tables.notes.insert(note.name.as_str(), (note.version, note.bytes.as_slice()))?;
                Ok(())
            }
            Row::Budget(budget) => {
                self.tables.budgets.insert(budget.campaign.as_str(), budget.spent)?;
                Ok(())
            }
            Row::Shopper(shopper) => self.import_shopper(shopper),
            Row::Notification(sent) => self.import_notification(*sent),
            Row::Event(event) => {
                let mark = codec::mark(&event.shopper);
                let mut bytes = Vec::new();
                codec::write_event_with(&mut bytes, mark, &*event)?;
                self.record(event.recorded_at.as_millis(), mark, &bytes)
            }
            Row::Answer(kept) => self.keep(&kept.key, &kept.answer, kept.at),
        }
    }

    fn import_shopper(&mut self, shopper: Durably) -> Result<(), Error> {
        let Durably { version, wake, state } = shopper;
        let body = codec::encode(&state)?;
        let origin = self.write_frame(&Frame { id: state.id.as_str(), version, wake, body: &body })?;
        self.effects.push(Effect::Put(Put { version, shopper: state, tracks: Default::default(), wake, origin }));
        Ok(())
    }

    fn import_notification(&mut self, sent: Sent) -> Result<(), Error> {
        let message = sent.life.notification;
        let (id, mark) = (message.id.as_u128(), codec::mark(&message.shopper));
        self.withdraw(id)?;
        let body = codec::encode(&message)?;
        if self.tables.messages.insert(id, (*self.sequence, mark, body.as_slice()))?.is_none() {
            self.noted.push((mark, Noted::Message(id)));
        }
        let progress = Progress { milestones: sent.life.milestones, attempts: sent.life.attempts };
        let due = sent.waiting.map_or(message.not_before, |waiting| waiting.due);
        self.bury(message.id, &progress)?;
        let body = codec::encode(&progress)?;
        self.tables.lives.insert(id, (idle_since(&progress), due.as_millis(), body.as_slice()))?;
        if let Some(waiting) = sent.waiting {
            let place = (Queue::of(&message), due, message.id);
            self.tables.outbox.insert(tables::slot(place), (waiting.attempts, mark))?;
            self.effects.push(Effect::Entered(place.0, 1));
            self.announce(place);
        }
        Ok(())
    }
}
