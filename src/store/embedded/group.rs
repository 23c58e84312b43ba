//! One transaction: everything that waited when the writer came round. It writes rows and notes effects; memory changes
//! only after the rows are durable.

use std::collections::BTreeMap;

use parvis_engine::{
    id::{NotificationId, ShopperId},
    notification::{Channel, Notification},
    time::Timestamp,
};
use redb::{ReadableTable, WriteTransaction};

use super::{
    codec::{self, Frame},
    index::{self, Row},
    prepared::Prepared,
    tables::{self, Tables},
    volatile::{Effect, Volatile},
};
use crate::store::{
    Change, Committed, Durable, Error, Queue,
    leases::Place,
    life::Progress,
    state::{Judged, Origin, Pending, Put},
    sums::Left,
};

/// So that a row fills its power of two of pages well, and rewriting one stays cheap.
const ROW_BYTES: usize = 60 * 1024;

/// A transaction in the making.
pub(super) struct Group<'a, 't> {
    pub(super) volatile: &'a Volatile,
    pub(super) tables: Tables<'t>,
    pub(super) effects: &'a mut Vec<Effect>,
    /// The newest number given to a row or an erasure.
    pub(super) sequence: &'a mut u64,
    /// The newest number before this group: rows up to it are in memory as they are in the file.
    pub(super) began_at: u64,
    /// Bytes of frames that were written.
    pub(super) written: u64,
    /// Which rows were written about whom.
    pub(super) noted: Vec<index::Entry>,
    pending: Pending,
    erased: BTreeMap<u64, u64>,
    added: BTreeMap<Queue, Place>,
    row: Option<(u64, Vec<u8>)>,
    /// By when it was recorded: a row in the making, and whom it is about, some more than once.
    journal: BTreeMap<i64, (Vec<u8>, Vec<u64>)>,
}

impl<'a, 't> Group<'a, 't> {
    pub(super) fn begin(
        volatile: &'a Volatile,
        transaction: &'t WriteTransaction,
        effects: &'a mut Vec<Effect>,
        sequence: &'a mut u64,
    ) -> Result<Group<'a, 't>, Error> {
        let tables = Tables::open(transaction)?;
        let began_at = *sequence;
        // So that every row of the group has a number above it.
        *sequence += 1;
        Ok(Group {
            volatile,
            tables,
            effects,
            began_at,
            sequence,
            written: 0,
            noted: Vec::new(),
            pending: Pending::default(),
            erased: BTreeMap::new(),
            added: BTreeMap::new(),
            row: None,
            journal: BTreeMap::new(),
        })
    }

    pub(super) fn commit(&mut self, mut prepared: Prepared) -> Result<Committed, Error> {
        let changes = prepared.changes.iter().map(|(change, _)| change);
        let Judged { conflicts, taken } = self.volatile.state.judge(changes, &prepared.bonds, &self.pending);
        prepared.leave_out(&conflicts);
        self.pending.owners.extend(taken);
        self.pending.versions.reserve(prepared.changes.len());
        self.effects.reserve(prepared.changes.len());
        let mut gone = BTreeMap::new();
        for (change, frame) in prepared.changes {
            let Change { version, id, state, tracks } = change;
            match state {
                Durable::Unchanged => self.effects.push(Effect::Tracks { id, version, tracks }),
                Durable::Replaced { shopper, wake } => {
                    let origin = self.append_frame(&prepared.bytes[frame])?;
                    self.pending.versions.insert(id, version + 1);
                    self.effects.push(Effect::Put(Put { version: version + 1, shopper, tracks, wake, origin }));
                }
                Durable::Erased => {
                    gone.insert(codec::mark(&id), id);
                }
            }
        }
        self.erase(gone)?;
        for (message, body) in prepared.outbox {
            self.enqueue(&message, &body)?;
        }
        for event in prepared.events {
            self.record(event.at, event.mark, &prepared.bytes[event.bytes])?;
        }
        Ok(conflicts.into())
    }

    /// Writes what is still in buffers. Nothing may be written afterwards.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        *self.sequence += 1;
        self.tables.meta.insert("sequence", *self.sequence)?;
        self.effects.push(Effect::Known(*self.sequence));
        if !self.added.is_empty() {
            self.effects.push(Effect::Grew(self.added));
        }
        Ok(())
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        *self.sequence += 1;
        *self.sequence
    }

    /// Wakes who waits for entries, once this is durable.
    pub(super) fn announce(&mut self, place: Place) {
        let first = self.added.entry(place.0).or_insert(place);
        *first = place.min(*first);
    }

    /// Whether this group has given the shopper a newer record, or none, than memory knows.
    pub(super) fn changes(&self, id: &str) -> bool {
        self.pending.versions.contains_key(id)
    }

    /// Whether a row is void because its shopper was erased after it was written.
    pub(super) fn is_void(&self, mark: u64, sequence: u64) -> bool {
        let before = self.erased.get(&mark).copied().unwrap_or_else(|| self.volatile.erased_before(mark));
        sequence < before
    }

    /// Appends a shopper's record to the log.
    pub(super) fn write_frame(&mut self, frame: &Frame<'_>) -> Result<Origin, Error> {
        let mut bytes = Vec::with_capacity(frame.body.len() + frame.id.len() + 24);
        frame.write(&mut bytes);
        self.append_frame(&bytes)
    }

    /// Appends a record that is a frame already.
    pub(super) fn append_frame(&mut self, frame: &[u8]) -> Result<Origin, Error> {
        if self.row.as_ref().is_some_and(|(_, bytes)| bytes.len() + frame.len() > ROW_BYTES) {
            self.flush_row()?;
        }
        if self.row.is_none() {
            self.row = Some((self.next_sequence(), Vec::with_capacity(ROW_BYTES)));
        }
        let Some((row, bytes)) = &mut self.row else { return Ok(Origin::default()) };
        bytes.extend_from_slice(frame);
        self.written += frame.len() as u64;
        Ok(Origin { row: *row, len: frame.len() as u64 })
    }

    /// Erases shoppers. Their rows in log, journal and lives become void at once and are removed step by step; entries
    /// of the outbox are removed here, so that none of them can be claimed any more.
    fn erase(&mut self, gone: BTreeMap<u64, ShopperId>) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        // What was written before has a lower number than the erasure, what comes after it a higher one.
        self.flush()?;
        for mark in gone.keys() {
            for row in self.rows_of(*mark)? {
                if let Row::Message(id) = row {
                    self.withdraw(id)?;
                }
            }
        }
        for (mark, id) in gone {
            let sequence = self.next_sequence();
            self.tables.erasures.insert(sequence, mark)?;
            self.erased.insert(mark, sequence);
            self.pending.versions.insert(id.clone(), 0);
            self.effects.push(Effect::Remove(id));
            self.effects.push(Effect::Erased { mark, sequence });
        }
        // A row that is written after the erasure must not be void.
        self.next_sequence();
        Ok(())
    }

    /// Every row that may be about a shopper.
    pub(super) fn rows_of(&self, mark: u64) -> Result<Vec<Row>, Error> {
        index::rows_of(&self.tables.tail, &self.tables.segments, (mark, i64::MIN))
    }

    /// Removes a message's entry of the outbox, if there is one.
    pub(super) fn withdraw(&mut self, id: u128) -> Result<(), Error> {
        let Some(due) = self.tables.lives.get(id)?.map(|life| Timestamp::from_millis(life.value().1)) else {
            return Ok(());
        };
        let body = self.tables.messages.get(id)?.map(|row| row.value().2.to_vec());
        let id = NotificationId::from_u128(id);
        let message = body.map(|body| codec::decode::<Notification>(&body, || format!("message {id}")));
        let queues: Vec<Queue> = match message {
            Some(Ok(message)) => vec![Queue::of(&message)],
            // Wherever it waits, it must not be found there any more.
            Some(Err(_)) | None => Channel::ALL.into_iter().flat_map(Queue::all).collect(),
        };
        for queue in queues {
            if self.tables.outbox.remove(tables::slot((queue, due, id)))?.is_some() {
                self.effects.push(Effect::Left(queue, Left::Erased));
                self.effects.push(Effect::Released(id));
            }
        }
        Ok(())
    }

    /// Puts a message into the outbox, unless it is known.
    pub(super) fn enqueue(&mut self, message: &Notification, body: &[u8]) -> Result<(), Error> {
        let id = message.id.as_u128();
        let old = self.tables.messages.get(id)?.map(|row| (row.value().0, row.value().1));
        if old.is_some_and(|(sequence, mark)| !self.is_void(mark, sequence)) {
            return Ok(());
        }
        if old.is_some() {
            self.forget_message(id)?;
        }
        let mark = codec::mark(&message.shopper);
        self.tables.messages.insert(id, (*self.sequence, mark, body))?;
        let progress = codec::encode(&Progress::begin(message))?;
        self.tables.lives.insert(id, (GOES_ON, message.not_before.as_millis(), progress.as_slice()))?;
        self.noted.push((mark, Row::Message(id)));
        let place = (Queue::of(message), message.not_before, message.id);
        self.tables.outbox.insert(tables::slot(place), (0, mark))?;
        self.effects.push(Effect::Entered(place.0, 1));
        self.announce(place);
        Ok(())
    }

    /// Appends an event, as rows of the journal hold it.
    pub(super) fn record(&mut self, at: i64, mark: u64, event: &[u8]) -> Result<(), Error> {
        let (row, marks) = self.journal.entry(at).or_default();
        row.extend_from_slice(event);
        marks.push(mark);
        if row.len() > ROW_BYTES { self.flush_journal() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.flush_row()?;
        self.flush_journal()?;
        self.flush_index()
    }

    fn flush_row(&mut self) -> Result<(), Error> {
        if let Some((row, bytes)) = self.row.take() {
            self.tables.log.insert(row, bytes.as_slice())?;
            self.effects.push(Effect::LogGrew(bytes.len() as u64));
        }
        Ok(())
    }

    fn flush_journal(&mut self) -> Result<(), Error> {
        for (at, (bytes, mut marks)) in std::mem::take(&mut self.journal) {
            let sequence = self.next_sequence();
            marks.sort_unstable();
            marks.dedup();
            self.noted.extend(marks.into_iter().map(|mark| (mark, Row::Journal(at, sequence))));
            self.tables.journal.insert((at, sequence), bytes.as_slice())?;
        }
        Ok(())
    }
}

/// Milliseconds that stand for a life that goes on.
pub(super) const GOES_ON: i64 = i64::MAX;

/// The first column of a life.
pub(super) fn idle_since(progress: &Progress) -> i64 {
    progress.idle_since().map_or(GOES_ON, Timestamp::as_millis)
}
