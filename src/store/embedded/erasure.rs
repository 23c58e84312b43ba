//! Removes the rows of erased shoppers for good, a few with every transaction. They are void from the erasure on; this
//! makes them disappear from log, journal, lives and index.

use std::{collections::BTreeMap, sync::Arc};

use redb::ReadableTable;

use super::{
    codec::{self, Frame},
    group::Group,
    index::{Row, Segment},
    volatile::Effect,
};
use crate::store::Error;

/// Rows are up to a page of memory times sixteen; the bounds keep a step at about a millisecond.
const LOG_ROWS: usize = 16;
const ROWS: usize = 32;

/// One pass over the file for some erasures. Those that come meanwhile wait for the next pass.
#[derive(Clone, Debug)]
pub(super) struct Scrub {
    /// By mark: the sequence before which rows are void.
    targets: BTreeMap<u64, u64>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Log(u64),
    /// Rows about the targets, and how many of them are done.
    Rows(Arc<[Row]>, usize),
    /// The entries that lead to those rows.
    Index(Option<Segment>),
    Done,
}

impl Scrub {
    /// Begins a pass, if anything is to be removed.
    pub(super) fn begin(targets: BTreeMap<u64, u64>) -> Option<Scrub> {
        (!targets.is_empty()).then_some(Scrub { targets, stage: Stage::Log(0) })
    }

    /// Whether the last step has ended the pass.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    fn voids(&self, mark: u64, sequence: u64) -> bool {
        self.targets.get(&mark).is_some_and(|before| sequence < *before)
    }
}

impl Group<'_, '_> {
    /// One step of a pass; gives the pass as it stands once this is durable.
    pub(super) fn scrub(&mut self, scrub: &Scrub) -> Result<Scrub, Error> {
        let next = match &scrub.stage {
            Stage::Log(from) => match self.scrub_log(scrub, *from)? {
                Some(next) => Stage::Log(next),
                None => Stage::Rows(self.rows_of_all(scrub)?, 0),
            },
            Stage::Rows(rows, done) if *done < rows.len() => {
                let end = rows.len().min(done + ROWS);
                rows[*done..end].iter().try_for_each(|row| self.scrub_row(scrub, *row))?;
                Stage::Rows(rows.clone(), end)
            }
            Stage::Rows(..) => Stage::Index(None),
            Stage::Index(from) => match self.scrub_index(&scrub.targets, *from)? {
                Some(next) => Stage::Index(Some(next)),
                None => Stage::Done,
            },
            Stage::Done => Stage::Done,
        };
        if matches!(next, Stage::Done) {
            self.end_scrub(scrub)?;
        }
        Ok(Scrub { targets: scrub.targets.clone(), stage: next })
    }

    fn scrub_log(&mut self, scrub: &Scrub, from: u64) -> Result<Option<u64>, Error> {
        let mut rows = Vec::new();
        for row in self.tables.log.range(from..)?.take(LOG_ROWS) {
            let (row, bytes) = row?;
            rows.push((row.value(), bytes.value().to_vec()));
        }
        for (row, bytes) in &rows {
            let frames = Frame::read_all(*row, bytes)?;
            let is_void = |frame: &Frame<'_>| frame.id.parse().is_ok_and(|id| scrub.voids(codec::mark(&id), *row));
            if !frames.iter().any(is_void) {
                continue;
            }
            let mut rest = Vec::with_capacity(bytes.len());
            frames.iter().filter(|frame| self.counts(*row, frame).is_some()).for_each(|frame| frame.write(&mut rest));
            if rest.is_empty() {
                self.tables.log.remove(row)?;
            } else {
                self.tables.log.insert(row, rest.as_slice())?;
            }
            self.effects.push(Effect::LogShrank((bytes.len() - rest.len()) as u64));
        }
        Ok(rows.last().filter(|_| rows.len() == LOG_ROWS).map(|(row, _)| row + 1))
    }

    fn rows_of_all(&mut self, scrub: &Scrub) -> Result<Arc<[Row]>, Error> {
        self.flush_index()?;
        let mut rows = Vec::new();
        for mark in scrub.targets.keys() {
            rows.extend(self.rows_of(*mark)?);
        }
        Ok(rows.into())
    }

    fn scrub_row(&mut self, scrub: &Scrub, row: Row) -> Result<(), Error> {
        match row {
            Row::Journal(at, sequence) => self.scrub_journal(scrub, (at, sequence)),
            Row::Message(id) => {
                let old = self.tables.messages.get(id)?.map(|row| (row.value().0, row.value().1));
                if old.is_some_and(|(sequence, mark)| scrub.voids(mark, sequence)) {
                    self.forget_message(id)?;
                }
                Ok(())
            }
        }
    }

    fn scrub_journal(&mut self, scrub: &Scrub, key: (i64, u64)) -> Result<(), Error> {
        let Some(bytes) = self.tables.journal.get(key)?.map(|row| row.value().to_vec()) else { return Ok(()) };
        let mut rest = Vec::with_capacity(bytes.len());
        for (mark, body) in codec::read_events(&bytes)? {
            if !scrub.voids(mark, key.1) {
                codec::write_event(&mut rest, mark, body);
            }
        }
        if rest.is_empty() {
            self.tables.journal.remove(key)?;
        } else if rest.len() < bytes.len() {
            self.tables.journal.insert(key, rest.as_slice())?;
        }
        Ok(())
    }

    fn end_scrub(&mut self, scrub: &Scrub) -> Result<(), Error> {
        for (mark, sequence) in &scrub.targets {
            self.tables.erasures.remove(sequence)?;
            self.effects.push(Effect::Scrubbed { mark: *mark, sequence: *sequence });
        }
        Ok(())
    }
}
