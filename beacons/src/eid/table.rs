//! Identifiers that may be heard now, and whose they are. Identifiers are outputs of a cipher, so their first bits
//! spread evenly and serve as the hash; strangers choose what is looked up, never what is stored.

use crate::Ephemeral;

/// Whose identifier it is, and of which period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) eid: Ephemeral,
    pub(super) slot: usize,
    pub(super) period: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    /// A power of two of them, and about as many as entries.
    buckets: Vec<Vec<Entry>>,
    count: usize,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { buckets: vec![Vec::new(); 2], count: 0 }
    }

    pub(super) fn get(&self, eid: Ephemeral) -> impl Iterator<Item = &Entry> {
        let bucket = self.buckets.get(self.bucket(eid)).map(Vec::as_slice).unwrap_or_default();
        bucket.iter().filter(move |entry| entry.eid == eid)
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        if self.count >= self.buckets.len() {
            self.grow();
        }
        let bucket = self.bucket(entry.eid);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.push(entry);
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, gone: Entry) {
        let bucket = self.bucket(gone.eid);
        let Some(bucket) = self.buckets.get_mut(bucket) else { return };
        if let Some(at) = bucket.iter().position(|entry| *entry == gone) {
            bucket.swap_remove(at);
            self.count -= 1;
        }
    }

    fn bucket(&self, eid: Ephemeral) -> usize {
        let bits = self.buckets.len().trailing_zeros();
        usize::try_from(u64::from_be_bytes(eid.0) >> (u64::BITS - bits)).unwrap_or_default()
    }

    fn grow(&mut self) {
        let larger = vec![Vec::new(); 2 * self.buckets.len()];
        let entries = std::mem::replace(&mut self.buckets, larger);
        for entry in entries.into_iter().flatten() {
            let bucket = self.bucket(entry.eid);
            if let Some(bucket) = self.buckets.get_mut(bucket) {
                bucket.push(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        // Spreads like a cipher's output.
        let eid = Ephemeral(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Entry { eid, slot: 0, period: 0 }
    }

    #[test]
    fn buckets_stay_small_however_many_there_are() {
        let mut table = Table::new();
        (0..50_000).for_each(|number| table.insert(entry(number)));
        assert!(table.buckets.iter().all(|bucket| bucket.len() < 12));
        assert!((0..50_000).all(|number| table.get(entry(number).eid).count() == 1));
        (0..50_000).for_each(|number| table.remove(entry(number)));
        assert_eq!((table.count, table.get(entry(7).eid).count()), (0, 0));
    }

    #[test]
    fn two_beacons_may_share_an_identifier() {
        let mut table = Table::new();
        let (one, other) = (entry(1), Entry { slot: 1, ..entry(1) });
        table.insert(one);
        table.insert(other);
        table.remove(one);
        assert_eq!(table.get(one.eid).collect::<Vec<_>>(), [&other]);
    }
}
