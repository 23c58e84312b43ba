//! The shopper log: read whole at start, and cleaned from its oldest row on, a little with every transaction.

use parvis_engine::id::ShopperId;
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

/// Reads every shopper's newest record into memory.
pub(super) fn recover(transaction: &ReadTransaction, volatile: &Volatile) -> Result<Extent, Error> {
    let mut extent = Extent::default();
    let log = transaction.open_table(tables::LOG)?;
    // Newest first: the first record of a shopper that is met is the one that counts.
    for entry in log.range::<u64>(..)?.rev() {
        let (row, bytes) = entry?;
        let (row, bytes) = (row.value(), bytes.value());
        extent.total += bytes.len() as u64;
        for frame in Frame::read_all(row, bytes)?.iter().rev() {
            extent.live += recover_one(row, frame, volatile)?;
        }
    }
    Ok(extent)
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
