//! The shopper log: read whole at start, and cleaned from its oldest row on, a little with every transaction.

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use parvis_engine::id::{ShopperId, stable_hash};
use redb::{ReadTransaction, ReadableTable};

use super::{
    codec::{self, Frame},
    group::Group,
    tables,
    volatile::{Effect, Extent, Volatile},
};
use crate::store::{
    Error,
    state::{Origin, Put},
};

/// Below this much waste, cleaning would cost more than it gives. Less in unit tests, or they would have to write much.
const WASTE_MIN_BYTES: u64 = if cfg!(test) { 128 << 10 } else { 4 << 20 };
/// What one transaction may clean, whatever it writes itself.
const STEP_BYTES: u64 = 256 << 10;

/// A row on its way to the readers.
type LogRow = (u64, Arc<[u8]>);
/// How many rows wait for a reader at most; a row may have megabytes.
const ROWS_WAITING: usize = 4;
/// More would only wait for the one that reads the file.
const READERS_MAX: usize = 16;

/// Reads every shopper's newest record into memory, on all cores: each reader looks for its own shoppers in all rows.
pub(super) fn recover(transaction: &ReadTransaction, volatile: &Volatile) -> Result<Extent, Error> {
    let readers = thread::available_parallelism().map_or(1, NonZero::get).min(READERS_MAX);
    recover_with(readers, transaction, volatile)
}

/// The same with a number of readers, which changes nothing.
pub(super) fn recover_with(
    readers: usize,
    transaction: &ReadTransaction,
    volatile: &Volatile,
) -> Result<Extent, Error> {
    thread::scope(|scope| {
        let start = |reader| {
            let (rows, waiting) = sync_channel(ROWS_WAITING);
            (rows, scope.spawn(move || recover_share(reader, readers as u64, &waiting, volatile)))
        };
        let (rows, shares): (Vec<_>, Vec<_>) = (0..readers as u64).map(start).unzip();
        let total = read_rows(transaction, &rows);
        drop(rows);
        let shares: Vec<_> =
            shares.into_iter().map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
        let mut extent = Extent { total: total?, ..Extent::default() };
        for share in shares {
            extent.live += share?;
        }
        Ok(extent)
    })
}

/// Hands every row to every reader, the newest first, until one gives up. Gives the bytes of the rows.
fn read_rows(transaction: &ReadTransaction, readers: &[SyncSender<LogRow>]) -> Result<u64, Error> {
    let mut total = 0;
    let log = transaction.open_table(tables::LOG)?;
    for entry in log.range::<u64>(..)?.rev() {
        let (row, bytes) = entry?;
        let bytes: Arc<[u8]> = bytes.value().into();
        total += bytes.len() as u64;
        if readers.iter().any(|reader| reader.send((row.value(), bytes.clone())).is_err()) {
            break;
        }
    }
    Ok(total)
}

/// Takes in the shoppers of one reader. Gives the bytes of the records that count.
fn recover_share(reader: u64, readers: u64, rows: &Receiver<LogRow>, volatile: &Volatile) -> Result<u64, Error> {
    let mut live = 0;
    for (row, bytes) in rows {
        // Newest first: the first record of a shopper that is met is the one that counts.
        for frame in Frame::read_all(row, &bytes)?.iter().rev() {
            // Other bits than those that choose the shard, so that all readers have shoppers of all shards.
            if (stable_hash(&[frame.id]) >> 32) % readers == reader {
                live += recover_one(row, frame, volatile)?;
            }
        }
    }
    Ok(live)
}

fn recover_one(row: u64, frame: &Frame<'_>, volatile: &Volatile) -> Result<u64, Error> {
    let broken = |why| Error::Corrupt(format!("row {row} of the shopper log: {why}"));
    let id: ShopperId = frame.id.parse().map_err(broken)?;
    if volatile.state.version(&id) > 0 || row < volatile.erased_before(codec::mark(&id)) {
        return Ok(0);
    }
    let shopper = codec::decode(frame.body, || format!("shopper {id} in row {row} of the shopper log"))?;
    let origin = Origin { row, len: frame.len() };
    let put = Put { version: frame.version, shopper, tracks: Default::default(), wake: frame.wake, origin };
    volatile.state.put(put);
    Ok(frame.len())
}

impl Extent {
    /// Whether the dead outweigh the living.
    pub(super) fn is_wasteful(self) -> bool {
        self.total - self.live > self.live + WASTE_MIN_BYTES
    }
}

impl Group<'_, '_> {
    /// Moves records that count from the oldest rows to the newest and drops those rows, as long as there is much waste.
    /// Cleans faster than commits can waste, so that the log stays within a constant factor of what counts.
    pub(super) fn compact(&mut self, mut extent: Extent) -> Result<(), Error> {
        let budget = STEP_BYTES + 4 * self.written;
        let mut cleaned = 0;
        while cleaned < budget && extent.is_wasteful() {
            let oldest = self.tables.log.first()?.map(|(row, bytes)| (row.value(), bytes.value().to_vec()));
            let Some((row, bytes)) = oldest.filter(|(row, _)| *row <= self.began_at) else { break };
            self.tables.log.remove(row)?;
            let size = bytes.len() as u64;
            cleaned += size;
            extent.total -= size;
            self.effects.push(Effect::LogShrank(size));
            for frame in Frame::read_all(row, &bytes)? {
                if let Some(id) = self.counts(row, &frame) {
                    let origin = self.write_frame(&frame)?;
                    self.effects.push(Effect::Moved(id, origin));
                    extent.total += frame.len();
                }
            }
        }
        Ok(())
    }

    /// Whose newest record it is, this group included, if it is one's.
    pub(super) fn counts(&self, row: u64, frame: &Frame<'_>) -> Option<ShopperId> {
        self.volatile.state.whose(frame.id, frame.version, row).filter(|_| !self.changes(frame.id))
    }
}
