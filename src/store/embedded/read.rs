//! What is read from the file while the writer writes: claims, lives, journal, catalog, answers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::PoisonError,
    time::Duration,
};

use parvis_engine::{
    id::{NotificationId, stable_hash},
    notification::Notification,
    time::Timestamp,
};
use redb::ReadTransaction;

use super::{
    codec,
    file::File,
    index::{self, Row},
    tables,
    volatile::Volatile,
};
use crate::{
    report::Event,
    store::{Answer, Catalog, CatalogItem, Claim, Entry, Error, JournalQuery, Life, Note, Queue, life::Progress},
};

pub(super) fn claim(
    file: &File,
    volatile: &Volatile,
    (queue, now): (Queue, Timestamp),
    limit: usize,
    span: Duration,
) -> Result<Claim, Error> {
    // Leases are locked before the snapshot is taken: a settlement that has ended its lease is then in the snapshot.
    let mut leases = volatile.leases.lock().unwrap_or_else(PoisonError::into_inner);
    file.read(|transaction| {
        let outbox = transaction.open_table(tables::OUTBOX)?;
        let messages = transaction.open_table(tables::MESSAGES)?;
        let (mut entries, mut next) = (Vec::new(), None);
        let mut reached = leases.first_free(queue, now);
        let queue_end = (tables::queue_code(queue), i64::MAX, u128::MAX);
        for row in outbox.range(tables::slot(reached)..=queue_end)? {
            let (key, value) = row?;
            let (_, due, id) = key.value();
            let (due, id) = (Timestamp::from_millis(due), NotificationId::from_u128(id));
            reached = (queue, due, id);
            if due > now {
                next = Some(due);
                break;
            }
            if entries.len() == limit {
                break;
            }
            if !leases.is_free(id, now) {
                continue;
            }
            let message = messages.get(id.as_u128())?;
            // It is announced when memory knows the shopper that it was decided from; judged by an older one it would
            // be refused for having left.
            if message.as_ref().is_some_and(|row| !volatile.knows(row.value().0)) {
                continue;
            }
            let message = message.ok_or_else(|| Error::Corrupt(format!("outbox entry {id} has no message")));
            let read = message.and_then(|message| codec::decode(message.value().2, || format!("message {id}")));
            match read {
                Ok(notification) => entries.push((notification, value.value().0, (queue, due, id))),
                // It waits for an operator; those behind it do not.
                Err(error) => tracing::error!("an outbox entry is passed over: {error}"),
            }
        }
        leases.passed(reached);
        if entries.is_empty() && limit > 0 {
            return Ok(Claim::NothingUntil(next.into_iter().chain(leases.next_end(queue)).min()));
        }
        let grant = |(notification, attempts, place)| {
            let lease = leases.grant(place, now, span);
            Entry { notification, attempts, lease }
        };
        Ok(Claim::Entries(entries.into_iter().map(grant).collect()))
    })
}

pub(super) fn life(transaction: &ReadTransaction, id: NotificationId) -> Result<Option<Life>, Error> {
    let messages = transaction.open_table(tables::MESSAGES)?;
    let Some(message) = messages.get(id.as_u128())? else { return Ok(None) };
    let (sequence, mark, body) = message.value();
    if tables::erasures(transaction)?.get(&mark).is_some_and(|before| sequence < *before) {
        return Ok(None);
    }
    let notification: Notification = codec::decode(body, || format!("message {id}"))?;
    let Some(life) = transaction.open_table(tables::LIVES)?.get(id.as_u128())? else { return Ok(None) };
    let progress: Progress = codec::decode(life.value().2, || format!("the life of {id}"))?;
    Ok(Some(progress.of(notification)))
}

/// Reads from the newest row back, so that a small limit costs little however long the journal is. Of one shopper, only
/// the rows that are about the shopper are read.
pub(super) fn journal(transaction: &ReadTransaction, query: &JournalQuery) -> Result<Vec<Event>, Error> {
    let from = (query.since.map_or(i64::MIN, Timestamp::as_millis), 0);
    let to = (query.until.map_or(i64::MAX, Timestamp::as_millis), 0);
    if from >= to {
        return Ok(Vec::new());
    }
    let journal = transaction.open_table(tables::JOURNAL)?;
    let erasures = tables::erasures(transaction)?;
    let mut newest = Newest { erasures, wanted: None, limit: query.limit, events: VecDeque::new() };
    let Some(shopper) = &query.shopper else {
        for row in journal.range(from..to)?.rev() {
            let (key, bytes) = row?;
            if newest.is_full(key.value(), bytes.value())? {
                break;
            }
        }
        return Ok(newest.events.into());
    };
    let mark = codec::mark(shopper);
    newest.wanted = Some(mark);
    let tail = transaction.open_table(tables::TAIL)?;
    for row in index::rows_of(&tail, &transaction.open_table(tables::SEGMENTS)?, (mark, from.0))?.into_iter().rev() {
        let Row::Journal(at, sequence) = row else { continue };
        let Some(bytes) = journal.get((at, sequence))?.filter(|_| (from..to).contains(&(at, sequence))) else {
            continue;
        };
        if newest.is_full((at, sequence), bytes.value())? {
            break;
        }
    }
    Ok(newest.events.into())
}

/// The newest events, collected backwards.
struct Newest {
    erasures: BTreeMap<u64, u64>,
    wanted: Option<u64>,
    limit: usize,
    events: VecDeque<Event>,
}

impl Newest {
    /// Takes in a row and says whether there is no more room.
    fn is_full(&mut self, (at, sequence): (i64, u64), bytes: &[u8]) -> Result<bool, Error> {
        for (mark, body) in codec::read_events(bytes)?.into_iter().rev() {
            if self.events.len() == self.limit {
                return Ok(true);
            }
            let is_void = self.erasures.get(&mark).is_some_and(|before| sequence < *before);
            if is_void || self.wanted.is_some_and(|wanted| wanted != mark) {
                continue;
            }
            let what = || format!("a journal row of {}", Timestamp::from_millis(at));
            self.events.push_front(codec::decode(body, what)?);
        }
        Ok(self.events.len() == self.limit)
    }
}

pub(super) fn catalog(transaction: &ReadTransaction) -> Result<Catalog, Error> {
    let generation = tables::catalog_generation(&transaction.open_table(tables::META)?)?;
    let mut items = Vec::new();
    for row in transaction.open_table(tables::CATALOG)?.range::<(&str, &str)>(..)? {
        let (key, json) = row?;
        let (kind, id) = key.value();
        items.push(CatalogItem { kind: kind.to_owned(), id: id.to_owned(), json: Some(json.value().to_owned()) });
    }
    Ok(Catalog { generation, items })
}

pub(super) fn note(transaction: &ReadTransaction, name: &str) -> Result<Option<Note>, Error> {
    let note = transaction.open_table(tables::NOTES)?.get(name)?;
    Ok(note.map(|note| Note { version: note.value().0, bytes: note.value().1.to_vec() }))
}

/// Where the answer to a key lies, or to another key with the same hash.
pub(super) fn answer_place(volatile: &Volatile, key: &str) -> Option<(i64, u64)> {
    volatile.answer_place(stable_hash(&[key]))
}

pub(super) fn answer(transaction: &ReadTransaction, place: (i64, u64), key: &str) -> Result<Option<Answer>, Error> {
    let Some(row) = transaction.open_table(tables::ANSWERS)?.get(place)? else { return Ok(None) };
    let (_, kept, body) = row.value();
    if kept != key {
        return Ok(None);
    }
    codec::decode(body, || format!("the answer to {key:?}")).map(Some)
}
