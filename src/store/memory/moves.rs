//! Everything out as rows, and rows in. An export is a copy of the whole store: this engine is for small ones.

use async_trait::async_trait;
use parvis_engine::notification::Notification;

use super::{Memory, Rest};
use crate::store::{
    Error, Note, Queue,
    life::Progress,
    rows::{self, Batch, Budget, Contents, Durably, Export, Kept, Named, Object, Row, Sent, Waiting},
    state::{Origin, Put},
};

const PAGE_ROWS: usize = 512;

/// The rows that have not been given out.
pub(super) struct Rows(std::vec::IntoIter<Row>);

#[async_trait]
impl Export for Rows {
    fn is_snapshot(&self) -> bool {
        true
    }

    async fn next(&mut self) -> Result<Vec<Row>, Error> {
        Ok(self.0.by_ref().take(PAGE_ROWS).collect())
    }
}

impl Memory {
    pub(super) fn rows(&self) -> Result<Rows, Error> {
        let rest = self.rest()?;
        let mut rows = vec![Row::Generation(*self.generation.borrow())];
        rows.extend(
            rest.catalog.iter().map(|((kind, id), json)| {
                Row::Object(Object { kind: kind.clone(), id: id.clone(), json: json.clone() })
            }),
        );
        rows.extend(rest.notes.iter().map(|(name, note)| {
            Row::Note(Named { name: name.clone(), version: note.version, bytes: note.bytes.clone() })
        }));
        rows.extend(
            rest.spent
                .iter()
                .filter(|(_, spent)| **spent > 0)
                .map(|(campaign, spent)| Row::Budget(Budget { campaign: campaign.clone(), spent: *spent })),
        );
        let shoppers = self.state.all().into_iter();
        rows.extend(shoppers.map(|(version, wake, state)| Row::Shopper(Durably { version, wake, state })));
        let waiting: std::collections::BTreeMap<_, _> = rest
            .outbox
            .iter()
            .map(|((_, due, id), attempts)| (*id, Waiting { due: *due, attempts: *attempts }))
            .collect();
        rows.extend(rest.messages.values().map(|(message, progress)| {
            let life = progress.clone().of(message.clone());
            Row::Notification(Box::new(Sent { waiting: waiting.get(&message.id).copied(), life }))
        }));
        rows.extend(rest.journal.values().map(|event| Row::Event(Box::new(event.clone()))));
        let mut kept: Vec<_> = rest.answers.iter().collect();
        kept.sort_by_key(|(_, (at, _))| *at);
        rows.extend(
            kept.into_iter()
                .map(|(key, (at, answer))| Row::Answer(Kept { key: key.clone(), at: *at, answer: answer.clone() })),
        );
        Ok(Rows(rows.into_iter()))
    }

    pub(super) fn contents_of(&self, rest: &Rest) -> Contents {
        if let Some((import, rows)) = rest.part {
            return Contents::Part { import, rows };
        }
        let is_empty = self.state.shoppers() == 0
            && *self.generation.borrow() == 0
            && rest.catalog.is_empty()
            && rest.messages.is_empty()
            && rest.journal.is_empty()
            && rest.answers.is_empty()
            && rest.notes.is_empty()
            && rest.spent.is_empty();
        if is_empty { Contents::Nothing } else { Contents::Whole }
    }

    pub(super) fn take_in(&self, batch: Batch) -> Result<(), Error> {
        let mut rest = self.rest()?;
        if let Some(refusal) = rows::refusal(self.contents_of(&rest), &batch) {
            return Err(refusal);
        }
        let rows = batch.before + batch.rows.len() as u64;
        rest.part = (!batch.last).then_some((batch.import, rows));
        batch.rows.into_iter().for_each(|row| self.take_in_one(&mut rest, row));
        drop(rest);
        self.bump();
        Ok(())
    }

    fn take_in_one(&self, rest: &mut Rest, row: Row) {
        match row {
            Row::Generation(generation) => drop(self.generation.send_replace(generation)),
            Row::Object(Object { kind, id, json }) => drop(rest.catalog.insert((kind, id), json)),
            Row::Note(Named { name, version, bytes }) => drop(rest.notes.insert(name, Note { version, bytes })),
            Row::Budget(Budget { campaign, spent }) => drop(rest.spent.insert(campaign, spent)),
            Row::Shopper(Durably { version, wake, state }) => {
                let put = Put { version, shopper: state, tracks: Default::default(), wake, origin: Origin::default() };
                self.state.put(put);
            }
            Row::Notification(sent) => rest.take_in(*sent),
            Row::Event(event) => {
                rest.recorded += 1;
                let place = (event.recorded_at, rest.recorded);
                rest.journal.insert(place, *event);
            }
            Row::Answer(Kept { key, at, answer }) => drop(rest.answers.entry(key).or_insert((at, answer))),
        }
    }
}

impl Rest {
    fn take_in(&mut self, sent: Sent) {
        let message: Notification = sent.life.notification;
        let progress = Progress { milestones: sent.life.milestones, attempts: sent.life.attempts };
        if self.messages.contains_key(&message.id) {
            self.outbox.retain(|(_, _, id), _| *id != message.id);
            self.dead.retain(|dead| dead.id != message.id);
        }
        self.dead.extend(progress.dead(message.id));
        if let Some(waiting) = sent.waiting {
            let place = (Queue::of(&message), waiting.due, message.id);
            self.outbox.insert(place, waiting.attempts);
            self.leases.freed(place);
        }
        self.messages.insert(message.id, (message, progress));
    }
}
