//! Which rows are about a shopper, without reading them all: for an export, and for an erasure that misses nothing.
//!
//! A key that begins with the shopper would put every insertion on another page. So entries are collected in a tail, in
//! the order they come, and become a segment once there are many: sorted into buckets by mark, one row each. A shopper's
//! rows are then in one bucket of every segment, and in the tail.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use super::{
    group::Group,
    tables,
    volatile::{Effect, Extent},
};
use crate::store::Error;

/// So that a month at a hundred rows a second is two thousand segments, and the tail three megabytes. Fewer in unit
/// tests, or they would never see a segment.
const SEGMENT_ENTRIES: u64 = if cfg!(test) { 64 } else { 1 << 17 };
/// So that a bucket of a full segment fills a page.
const BUCKETS: u64 = 1_024;
/// A row of the tail is rewritten until it fills a page.
const TAIL_ROW_BYTES: usize = 3_500;
/// Segments and bucket rows that one transaction changes at most.
const STEP: usize = 256;
const ENTRY_BYTES: usize = 25;

/// A row that is about one shopper, or about several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    /// Recorded at, sequence.
    Journal(i64, u64),
    /// A message and its life.
    Message(u128),
}

/// A shopper's mark and a row.
pub(super) type Entry = (u64, Row);
/// The segment: the newest time of its rows, in milliseconds, and its sequence.
pub(super) type Segment = (i64, u64);
/// A segment and a bucket.
pub(super) type Key = (i64, u64, u16);

impl Row {
    fn at(self) -> i64 {
        match self {
            Row::Journal(at, _) => at,
            Row::Message(id) => tables::time_of_id(id),
        }
    }
}

/// The rows about a shopper, oldest first, but for those of segments that end before `since`. Some may be gone, and some
/// may be older than an erasure.
pub(super) fn rows_of(
    tail: &impl ReadableTable<u64, &'static [u8]>,
    segments: &impl ReadableTable<Key, &'static [u8]>,
    (mark, since): (u64, i64),
) -> Result<Vec<Row>, Error> {
    let mut rows = BTreeSet::new();
    let mut take = |bytes: &[u8]| rows.extend(read(bytes).filter(|(whose, _)| *whose == mark).map(|(_, row)| row));
    for row in tail.range::<u64>(..)? {
        take(row?.1.value());
    }
    let mut from = (since, 0);
    while let Some(segment) = next_segment(segments, from)? {
        if let Some(bytes) = segments.get((segment.0, segment.1, bucket(mark)))? {
            take(bytes.value());
        }
        from = after(segment);
    }
    Ok(rows.into_iter().collect())
}

/// How many entries the tail has.
pub(super) fn tail_entries(tail: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, Error> {
    let mut entries = 0;
    for row in tail.range::<u64>(..)? {
        entries += (row?.1.value().len() / ENTRY_BYTES) as u64;
    }
    Ok(entries)
}

impl Group<'_, '_> {
    /// Appends what this group has noted to the tail.
    pub(super) fn flush_index(&mut self) -> Result<(), Error> {
        if self.noted.is_empty() {
            return Ok(());
        }
        let noted = std::mem::take(&mut self.noted);
        let last = self.tables.tail.last()?.map(|(row, bytes)| (row.value(), bytes.value().to_vec()));
        let (row, mut bytes) = match last.filter(|(_, bytes)| bytes.len() < TAIL_ROW_BYTES) {
            Some(last) => last,
            None => (self.next_sequence(), Vec::new()),
        };
        noted.iter().for_each(|entry| write(&mut bytes, *entry));
        self.tables.tail.insert(row, bytes.as_slice())?;
        self.effects.push(Effect::TailGrew(noted.len() as u64));
        Ok(())
    }

    /// Makes a segment of the tail once it is long.
    pub(super) fn cut_segment(&mut self, extent: Extent) -> Result<(), Error> {
        if extent.tail < SEGMENT_ENTRIES {
            return Ok(());
        }
        let mut buckets: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        let (mut newest, mut entries) = (i64::MIN, 0);
        while let Some((_, bytes)) = self.tables.tail.pop_first()? {
            for (mark, row) in read(bytes.value()) {
                write(buckets.entry(bucket(mark)).or_default(), (mark, row));
                newest = newest.max(row.at());
                entries += 1;
            }
        }
        let sequence = self.next_sequence();
        for (bucket, bytes) in buckets {
            self.tables.segments.insert((newest, sequence, bucket), bytes.as_slice())?;
        }
        self.effects.push(Effect::TailShrank(entries));
        Ok(())
    }

    /// Drops entries of erased shoppers whose rows are gone, from the tail and from some segments; gives where to go on.
    pub(super) fn scrub_index(
        &mut self,
        targets: &BTreeMap<u64, u64>,
        from: Option<Segment>,
    ) -> Result<Option<Segment>, Error> {
        if from.is_none() {
            self.scrub_tail(targets)?;
        }
        let mut from = from.unwrap_or((i64::MIN, 0));
        for _ in 0..STEP {
            let Some(segment) = next_segment(&self.tables.segments, from)? else { return Ok(None) };
            for bucket in targets.keys().map(|mark| bucket(*mark)).collect::<BTreeSet<_>>() {
                let key = (segment.0, segment.1, bucket);
                let Some(bytes) = self.tables.segments.get(key)?.map(|row| row.value().to_vec()) else { continue };
                match self.without(targets, &bytes)? {
                    Some(rest) if rest.is_empty() => drop(self.tables.segments.remove(key)?),
                    Some(rest) => drop(self.tables.segments.insert(key, rest.as_slice())?),
                    None => {}
                }
            }
            from = after(segment);
        }
        Ok(Some(from))
    }

    /// Drops some of the segments that are all older than a time, once their journal rows are gone; says whether there
    /// are more. A message can be older and live on, so its entry moves to the tail.
    pub(super) fn prune_index(&mut self, until: i64) -> Result<bool, Error> {
        let mut keys = Vec::new();
        for row in self.tables.segments.range(..(until, 0, 0))?.take(STEP) {
            let (key, bytes) = row?;
            keys.push(key.value());
            for (mark, row) in read(bytes.value()) {
                if let Row::Message(id) = row
                    && self.tables.messages.get(id)?.is_some()
                {
                    self.noted.push((mark, row));
                }
            }
        }
        for key in &keys {
            self.tables.segments.remove(*key)?;
        }
        Ok(keys.len() == STEP)
    }

    fn scrub_tail(&mut self, targets: &BTreeMap<u64, u64>) -> Result<(), Error> {
        let mut changed = Vec::new();
        for row in self.tables.tail.iter()? {
            let (row, bytes) = row?;
            if let Some(rest) = self.without(targets, bytes.value())? {
                changed.push((row.value(), (bytes.value().len() - rest.len()) / ENTRY_BYTES, rest));
            }
        }
        for (row, dropped, rest) in changed {
            self.tables.tail.insert(row, rest.as_slice())?;
            self.effects.push(Effect::TailShrank(dropped as u64));
        }
        Ok(())
    }

    /// The same entries without those of erased shoppers; none if nothing changes.
    fn without(&self, targets: &BTreeMap<u64, u64>, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut rest = Vec::with_capacity(bytes.len());
        for (mark, row) in read(bytes) {
            let gone = match (targets.get(&mark), row) {
                (None, _) => false,
                (Some(before), Row::Journal(_, sequence)) => sequence < *before,
                (Some(_), Row::Message(id)) => self.tables.messages.get(id)?.is_none(),
            };
            if !gone {
                write(&mut rest, (mark, row));
            }
        }
        Ok((rest.len() < bytes.len()).then_some(rest))
    }
}

fn bucket(mark: u64) -> u16 {
    (mark % BUCKETS) as u16
}

fn next_segment(segments: &impl ReadableTable<Key, &'static [u8]>, from: Segment) -> Result<Option<Segment>, Error> {
    let next = segments.range((from.0, from.1, 0)..)?.next().transpose()?;
    Ok(next.map(|(key, _)| (key.value().0, key.value().1)))
}

fn after((newest, sequence): Segment) -> Segment {
    (newest, sequence + 1)
}

fn write(bytes: &mut Vec<u8>, (mark, row): Entry) {
    let (kind, key) = match row {
        Row::Journal(at, sequence) => (0, u128::from(at as u64) << 64 | u128::from(sequence)),
        Row::Message(id) => (1, id),
    };
    bytes.extend_from_slice(&mark.to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&key.to_le_bytes());
}

fn read(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
        let (mark, rest) = entry.split_first_chunk()?;
        let ([kind], key) = rest.split_first_chunk()?;
        let key = u128::from_le_bytes(key.try_into().ok()?);
        let row = if *kind == 0 { Row::Journal((key >> 64) as u64 as i64, key as u64) } else { Row::Message(key) };
        Some((u64::from_le_bytes(*mark), row))
    })
}

#[cfg(test)]
mod tests;
