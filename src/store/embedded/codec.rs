//! How values become bytes: self-describing MessagePack, so that fields can be added, inside frames that say whose they
//! are without being decoded.

use parvis_engine::{
    id::{ShopperId, stable_hash},
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::store::Error;

/// Writes a value.
///
/// The human-readable form of times and ids costs bytes. But serde's buffer for flattened and tagged types always says
/// that it is human-readable, so a value written in the other form could not be read back through it.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value.serialize(&mut serializer).map_err(|error| Error::Unavailable(format!("can't be encoded: {error}")))?;
    Ok(bytes)
}

/// Reads a value; `what` names it in the error.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<T, Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    T::deserialize(&mut deserializer).map_err(|error| Error::Corrupt(format!("{}: {error}", what())))
}

/// How rows name a shopper where the id itself must not remain after an erasure.
pub(super) fn mark(shopper: &ShopperId) -> u64 {
    stable_hash(&[shopper.as_str()])
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
        write_part(row, self.id.as_bytes());
        row.extend_from_slice(&self.version.to_le_bytes());
        row.extend_from_slice(&self.wake.map_or(NO_WAKE, Timestamp::as_millis).to_le_bytes());
        write_part(row, self.body);
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

fn write_part(row: &mut Vec<u8>, part: &[u8]) {
    row.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    row.extend_from_slice(part);
}

fn read_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(part)
}

fn read_word(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*word)
}
