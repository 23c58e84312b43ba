//! The frames of the log's and the journal's rows, which say whose they are without being decoded.

use parvis_engine::{id::ShopperId, time::Timestamp};

use serde::Serialize;

pub(super) use crate::store::codec::{decode, encode};
use crate::store::{
    Error,
    codec::{encode_onto, read_part, write_part, write_part_with},
};

/// How rows name a shopper where the id itself must not remain after an erasure.
pub(super) fn mark(shopper: &ShopperId) -> u64 {
    shopper.stable_hash()
}

/// One shopper's record in a row of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) id: &'a str,
    pub(super) version: u64,
    pub(super) wake: Option<Timestamp>,
    pub(super) body: &'a [u8],
}

/// Stands for a shopper who is not to be woken.
const NO_WAKE: i64 = i64::MAX;

impl<'a> Frame<'a> {
    pub(super) fn write(&self, row: &mut Vec<u8>) {
        self.write_head(row);
        write_part(row, self.body);
    }

    /// Writes it with this value, encoded in place, instead of its body.
    pub(super) fn write_with<T: Serialize>(&self, row: &mut Vec<u8>, value: &T) -> Result<(), Error> {
        self.write_head(row);
        write_part_with(row, |row| encode_onto(row, value))
    }

    fn write_head(&self, row: &mut Vec<u8>) {
        write_part(row, self.id.as_bytes());
        row.extend_from_slice(&self.version.to_le_bytes());
        row.extend_from_slice(&self.wake.map_or(NO_WAKE, Timestamp::as_millis).to_le_bytes());
    }

    /// How many bytes it takes in a row.
    pub(super) fn len(&self) -> u64 {
        (self.id.len() + self.body.len() + 24) as u64
    }

    /// Every frame of a row.
    pub(super) fn read_all(row: u64, mut bytes: &'a [u8]) -> Result<Vec<Frame<'a>>, Error> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let frame = Frame::read(&mut bytes);
            frames.push(frame.ok_or_else(|| Error::Corrupt(format!("row {row} of the shopper log is cut short")))?);
        }
        Ok(frames)
    }

    fn read(bytes: &mut &'a [u8]) -> Option<Frame<'a>> {
        let id = std::str::from_utf8(read_part(bytes)?).ok()?;
        let version = u64::from_le_bytes(read_word(bytes)?);
        let wake = i64::from_le_bytes(read_word(bytes)?);
        let wake = (wake != NO_WAKE).then(|| Timestamp::from_millis(wake));
        Some(Frame { id, version, wake, body: read_part(bytes)? })
    }
}

/// Appends one event to a row of the journal.
pub(super) fn write_event(row: &mut Vec<u8>, mark: u64, body: &[u8]) {
    row.extend_from_slice(&mark.to_le_bytes());
    write_part(row, body);
}

/// Appends one event, encoded in place.
pub(super) fn write_event_with<T: Serialize>(row: &mut Vec<u8>, mark: u64, event: &T) -> Result<(), Error> {
    row.extend_from_slice(&mark.to_le_bytes());
    write_part_with(row, |row| encode_onto(row, event))
}

/// The events of a journal row, undecoded, each with its shopper's mark.
pub(super) fn read_events(mut bytes: &[u8]) -> Result<Vec<(u64, &[u8])>, Error> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let cut = || Error::Corrupt("a row of the journal is cut short".to_owned());
        let (mark, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        bytes = rest;
        events.push((u64::from_le_bytes(*mark), read_part(&mut bytes).ok_or_else(cut)?));
    }
    Ok(events)
}

fn read_word(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn rows_return_their_frames_and_no_cut_row_does(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            wake in prop::option::of(0_i64..1_000_000),
            cut in 1_usize..20,
        ) {
            let wake = wake.map(Timestamp::from_millis);
            let frames: Vec<_> =
                bodies.iter().map(|body| Frame { id: "C-1", version: 7, wake, body }).collect();
            let mut row = Vec::new();
            frames.iter().for_each(|frame| frame.write(&mut row));
            prop_assert_eq!(row.len() as u64, frames.iter().map(Frame::len).sum::<u64>());
            prop_assert_eq!(&Frame::read_all(1, &row).expect("whole"), &frames);
            let last = usize::try_from(frames.last().map_or(0, Frame::len)).expect("small");
            let short = &row[..row.len() - cut.min(last - 1)];
            prop_assert!(matches!(Frame::read_all(1, short), Err(Error::Corrupt(_))));
        }
    }
}
