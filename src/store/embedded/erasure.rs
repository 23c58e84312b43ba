//! Removes the rows of erased shoppers for good, a few with every transaction. They are void from the erasure on; this
//! makes them disappear from log, journal and lives.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::{
    codec::{self, Frame},
    group::Group,
    volatile::Effect,
};
use crate::store::Error;

/// Log rows are large, the others are small; both bounds keep a step at about a millisecond.
const LOG_ROWS: usize = 16;
const ROWS: usize = 512;

/// One pass over the file for some erasures. Those that come meanwhile wait for the next pass.
#[derive(Clone, Debug)]
pub(super) struct Scrub {
    /// By mark: the sequence before which rows are void.
    targets: BTreeMap<u64, u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Log(u64),
    Journal((i64, u64)),
    Messages(u128),
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
        let next = match scrub.stage {
            Stage::Log(from) => self.scrub_log(scrub, from)?.map_or(Stage::Journal((i64::MIN, 0)), Stage::Log),
            Stage::Journal(from) => self.scrub_journal(scrub, from)?.map_or(Stage::Messages(0), Stage::Journal),
            Stage::Messages(from) => self.scrub_messages(scrub, from)?.map_or(Stage::Done, Stage::Messages),
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
            frames.iter().filter(|frame| self.counts(*row, frame)).for_each(|frame| frame.write(&mut rest));
            if rest.is_empty() {
                self.tables.log.remove(row)?;
            } else {
                self.tables.log.insert(row, rest.as_slice())?;
            }
            self.effects.push(Effect::LogShrank((bytes.len() - rest.len()) as u64));
        }
        Ok(rows.last().filter(|_| rows.len() == LOG_ROWS).map(|(row, _)| row + 1))
    }

    fn scrub_journal(&mut self, scrub: &Scrub, from: (i64, u64)) -> Result<Option<(i64, u64)>, Error> {
        let mut rows = Vec::new();
        for row in self.tables.journal.range(from..)?.take(ROWS) {
            let (key, bytes) = row?;
            let key = key.value();
            let events = codec::read_events(bytes.value())?;
            let touched = events.iter().any(|(mark, _)| scrub.voids(*mark, key.1));
            rows.push((key, touched.then(|| bytes.value().to_vec())));
        }
        for (key, bytes) in &rows {
            let Some(bytes) = bytes else { continue };
            let mut rest = Vec::with_capacity(bytes.len());
            for (mark, body) in codec::read_events(bytes)? {
                if !scrub.voids(mark, key.1) {
                    codec::write_event(&mut rest, mark, body);
                }
            }
            if rest.is_empty() {
                self.tables.journal.remove(*key)?;
            } else {
                self.tables.journal.insert(*key, rest.as_slice())?;
            }
        }
        Ok(rows.last().filter(|_| rows.len() == ROWS).map(|((at, sequence), _)| (*at, sequence + 1)))
    }

    fn scrub_messages(&mut self, scrub: &Scrub, from: u128) -> Result<Option<u128>, Error> {
        let (mut last, mut seen, mut void) = (0, 0, Vec::new());
        for row in self.tables.messages.range(from..)?.take(ROWS) {
            let (id, message) = row?;
            let (sequence, mark, _) = message.value();
            (last, seen) = (id.value(), seen + 1);
            if scrub.voids(mark, sequence) {
                void.push(last);
            }
        }
        for id in void {
            self.tables.messages.remove(id)?;
            self.tables.lives.remove(id)?;
        }
        Ok((seen == ROWS && last < u128::MAX).then(|| last + 1))
    }

    fn end_scrub(&mut self, scrub: &Scrub) -> Result<(), Error> {
        for (mark, sequence) in &scrub.targets {
            self.tables.erasures.remove(sequence)?;
            self.effects.push(Effect::Scrubbed { mark: *mark, sequence: *sequence });
        }
        Ok(())
    }
}
