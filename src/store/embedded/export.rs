//! Everything of the file as rows, of one snapshot, page by page. Commits go on meanwhile and see nothing of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use parvis_engine::{
    id::{NotificationId, ShopperId},
    notification::Notification,
    time::Timestamp,
};
use redb::{ReadTransaction, ReadableTableMetadata};

use super::{
    blocking,
    codec::{self, Frame},
    file::Pinned,
    tables,
};
use crate::store::{
    Error, Queue,
    life::Progress,
    rows::{Budget, Durably, Export, Kept, Named, Object, Row, Sent, Waiting},
};

/// What one page holds at most, unless a single row of a table holds more.
const PAGE_ROWS: usize = 512;
const PAGE_BYTES: usize = 1 << 20;

/// An export that is being read.
pub(super) struct Reading {
    snapshot: Arc<Pinned>,
    /// None once a page could not be read.
    place: Option<Place>,
}

/// Where the export stands.
struct Place {
    stage: Stage,
    /// By mark: the sequence before which rows are void.
    erased: BTreeMap<u64, u64>,
    /// Entries of the outbox that have not come yet.
    waiting: u64,
}

enum Stage {
    Begin,
    Objects(Option<(String, String)>),
    Notes(Option<String>),
    Budgets(Option<String>),
    /// Row of the log and place within it of every record that counts, oldest first; and how many have come.
    Shoppers(Vec<(u64, u32)>, usize),
    Notifications(u128),
    Events((i64, u64)),
    Answers((i64, u64)),
    End,
}

/// The rows of one page.
#[derive(Default)]
struct Page {
    rows: Vec<Row>,
    bytes: usize,
}

impl Page {
    fn push(&mut self, row: Row, bytes: usize) {
        self.rows.push(row);
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= PAGE_ROWS || self.bytes >= PAGE_BYTES
    }
}

impl Reading {
    pub(super) fn begin(snapshot: Arc<Pinned>) -> Reading {
        Reading { snapshot, place: Some(Place { stage: Stage::Begin, erased: BTreeMap::new(), waiting: 0 }) }
    }
}

#[async_trait]
impl Export for Reading {
    fn is_snapshot(&self) -> bool {
        true
    }

    async fn next(&mut self) -> Result<Vec<Row>, Error> {
        let broken = || Error::Unavailable("the export has ended with an error".to_owned());
        let (snapshot, mut place) = (self.snapshot.clone(), self.place.take().ok_or_else(broken)?);
        let read = move || {
            snapshot.read(|transaction| {
                let mut page = Page::default();
                while page.rows.is_empty() && !matches!(place.stage, Stage::End) {
                    place.advance(transaction, &mut page)?;
                }
                Ok((page.rows, place))
            })
        };
        let (rows, place) = blocking(read).await?;
        self.place = Some(place);
        Ok(rows)
    }
}

impl Place {
    /// Fills a page from the stage at hand, or goes on to the next stage.
    fn advance(&mut self, transaction: &ReadTransaction, page: &mut Page) -> Result<(), Error> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::End) {
            Stage::Begin => self.begin(transaction, page)?,
            Stage::Objects(after) => {
                objects(transaction, after, page)?.map_or(Stage::Notes(None), |last| Stage::Objects(Some(last)))
            }
            Stage::Notes(after) => {
                notes(transaction, after, page)?.map_or(Stage::Budgets(None), |last| Stage::Notes(Some(last)))
            }
            Stage::Budgets(after) => match budgets(transaction, after, page)? {
                Some(last) => Stage::Budgets(Some(last)),
                None => Stage::Shoppers(self.newest_records(transaction)?, 0),
            },
            Stage::Shoppers(records, done) if done < records.len() => {
                let done = shoppers(transaction, &records, done, page)?;
                Stage::Shoppers(records, done)
            }
            Stage::Shoppers(..) => Stage::Notifications(0),
            Stage::Notifications(from) => match self.notifications(transaction, from, page)? {
                Some(next) => Stage::Notifications(next),
                None => Stage::Events((i64::MIN, 0)),
            },
            Stage::Events(from) => match self.events(transaction, from, page)? {
                Some(next) => Stage::Events(next),
                None => Stage::Answers((i64::MIN, 0)),
            },
            Stage::Answers(from) => answers(transaction, from, page)?.map_or(Stage::End, Stage::Answers),
            Stage::End => Stage::End,
        };
        Ok(())
    }

    fn begin(&mut self, transaction: &ReadTransaction, page: &mut Page) -> Result<Stage, Error> {
        for row in transaction.open_table(tables::ERASURES)?.range::<u64>(..)? {
            let (sequence, mark) = row?;
            self.erased.insert(mark.value(), sequence.value());
        }
        self.waiting = transaction.open_table(tables::OUTBOX)?.len()?;
        let generation = tables::catalog_generation(&transaction.open_table(tables::META)?)?;
        page.push(Row::Generation(generation), 0);
        Ok(Stage::Objects(None))
    }

    fn is_void(&self, mark: u64, sequence: u64) -> bool {
        self.erased.get(&mark).is_some_and(|before| sequence < *before)
    }

    /// Where each shopper's newest record is: what comes first from the log's end counts, as at start.
    fn newest_records(&self, transaction: &ReadTransaction) -> Result<Vec<(u64, u32)>, Error> {
        let (mut seen, mut records) = (HashSet::<Box<str>>::new(), Vec::new());
        for entry in transaction.open_table(tables::LOG)?.range::<u64>(..)?.rev() {
            let (row, bytes) = entry?;
            let row = row.value();
            for (at, frame) in Frame::read_all(row, bytes.value())?.iter().enumerate().rev() {
                let id: ShopperId = frame.id.parse().map_err(|why| in_log(row, why))?;
                if !self.is_void(codec::mark(&id), row) && !seen.contains(frame.id) {
                    seen.insert(frame.id.into());
                    records.push((row, u32::try_from(at).map_err(|_| in_log(row, "too many records"))?));
                }
            }
        }
        records.reverse();
        Ok(records)
    }

    fn notifications(
        &mut self,
        transaction: &ReadTransaction,
        from: u128,
        page: &mut Page,
    ) -> Result<Option<u128>, Error> {
        let (lives, outbox) = (transaction.open_table(tables::LIVES)?, transaction.open_table(tables::OUTBOX)?);
        for row in transaction.open_table(tables::MESSAGES)?.range(from..)? {
            let (id, message) = row?;
            if page.is_full() {
                return Ok(Some(id.value()));
            }
            let (sequence, mark, body) = message.value();
            if self.is_void(mark, sequence) {
                continue;
            }
            let id = NotificationId::from_u128(id.value());
            let notification: Notification = codec::decode(body, || format!("message {id}"))?;
            let life = lives.get(id.as_u128())?;
            let life = life.ok_or_else(|| Error::Corrupt(format!("message {id} has no life")))?;
            let (_, due, progress) = life.value();
            let bytes = body.len() + progress.len();
            let progress: Progress = codec::decode(progress, || format!("the life of {id}"))?;
            let due = Timestamp::from_millis(due);
            let entry = outbox.get(tables::slot((Queue::of(&notification), due, id)))?;
            let waiting = entry.map(|entry| Waiting { due, attempts: entry.value().0 });
            self.waiting = self.waiting.saturating_sub(u64::from(waiting.is_some()));
            page.push(Row::Notification(Box::new(Sent { life: progress.of(notification), waiting })), bytes);
        }
        if self.waiting > 0 {
            return Err(Error::Corrupt(format!("{} entries of the outbox belong to no message", self.waiting)));
        }
        Ok(None)
    }

    fn events(
        &self,
        transaction: &ReadTransaction,
        from: (i64, u64),
        page: &mut Page,
    ) -> Result<Option<(i64, u64)>, Error> {
        for row in transaction.open_table(tables::JOURNAL)?.range(from..)? {
            let (key, bytes) = row?;
            let (at, sequence) = key.value();
            if page.is_full() {
                return Ok(Some((at, sequence)));
            }
            for (mark, body) in codec::read_events(bytes.value())? {
                if !self.is_void(mark, sequence) {
                    let what = || format!("a journal row of {}", Timestamp::from_millis(at));
                    page.push(Row::Event(codec::decode(body, what)?), body.len());
                }
            }
        }
        Ok(None)
    }
}

fn objects(
    transaction: &ReadTransaction,
    after: Option<(String, String)>,
    page: &mut Page,
) -> Result<Option<(String, String)>, Error> {
    let (kind, id) = after.unwrap_or_default();
    for row in transaction.open_table(tables::CATALOG)?.range((kind.as_str(), id.as_str())..)? {
        let (key, json) = row?;
        let (kind, id) = key.value();
        let (kind, id, json) = (kind.to_owned(), id.to_owned(), json.value().to_owned());
        if page.is_full() {
            return Ok(Some((kind, id)));
        }
        let bytes = json.len();
        page.push(Row::Object(Object { kind, id, json }), bytes);
    }
    Ok(None)
}

fn notes(transaction: &ReadTransaction, from: Option<String>, page: &mut Page) -> Result<Option<String>, Error> {
    let from = from.unwrap_or_default();
    for row in transaction.open_table(tables::NOTES)?.range(from.as_str()..)? {
        let (name, note) = row?;
        let name = name.value().to_owned();
        if page.is_full() {
            return Ok(Some(name));
        }
        let (version, bytes) = note.value();
        page.push(Row::Note(Named { name, version, bytes: bytes.to_vec() }), bytes.len());
    }
    Ok(None)
}

fn budgets(transaction: &ReadTransaction, from: Option<String>, page: &mut Page) -> Result<Option<String>, Error> {
    let from = from.unwrap_or_default();
    for row in transaction.open_table(tables::BUDGETS)?.range(from.as_str()..)? {
        let (campaign, spent) = row?;
        if page.is_full() {
            return Ok(Some(campaign.value().to_owned()));
        }
        let broken = |why| Error::Corrupt(format!("a budget of campaign {:?}: {why}", campaign.value()));
        let campaign = campaign.value().parse().map_err(broken)?;
        page.push(Row::Budget(Budget { campaign, spent: spent.value() }), 0);
    }
    Ok(None)
}

/// Gives how many have come by now.
fn shoppers(
    transaction: &ReadTransaction,
    records: &[(u64, u32)],
    mut done: usize,
    page: &mut Page,
) -> Result<usize, Error> {
    let log = transaction.open_table(tables::LOG)?;
    while done < records.len() && !page.is_full() {
        let row = records[done].0;
        let bytes = log.get(row)?.ok_or_else(|| in_log(row, "it is missing"))?;
        let frames = Frame::read_all(row, bytes.value())?;
        while let Some((_, at)) = records.get(done).filter(|(of, _)| *of == row) {
            let frame = frames.get(*at as usize).ok_or_else(|| in_log(row, "it is cut short"))?;
            let state = codec::decode(frame.body, || format!("shopper {} in row {row} of the shopper log", frame.id))?;
            page.push(Row::Shopper(Durably { version: frame.version, wake: frame.wake, state }), frame.body.len());
            done += 1;
        }
    }
    Ok(done)
}

fn answers(transaction: &ReadTransaction, from: (i64, u64), page: &mut Page) -> Result<Option<(i64, u64)>, Error> {
    for row in transaction.open_table(tables::ANSWERS)?.range(from..)? {
        let (place, value) = row?;
        if page.is_full() {
            return Ok(Some(place.value()));
        }
        let (_, key, body) = value.value();
        let at = Timestamp::from_millis(place.value().0);
        let answer = codec::decode(body, || format!("the answer to {key:?}"))?;
        page.push(Row::Answer(Kept { key: key.to_owned(), at, answer }), body.len());
    }
    Ok(None)
}

fn in_log(row: u64, why: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("row {row} of the shopper log: {why}"))
}
