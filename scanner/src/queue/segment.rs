//! The bytes of a file of records. Reads any bytes.

use std::collections::VecDeque;

use super::{RECORD_BYTES_MAX, length};

/// Begins each record, so that the next one is found behind damage.
const MARK: [u8; 4] = *b"PSR1";
const HEADER_BYTES: usize = 12;

/// What is in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Each with where it ends.
    pub(super) records: VecDeque<(u64, Vec<u8>)>,
    /// How many stretches of bytes are no records.
    pub(super) damaged: u64,
}

/// A record as it stands in a file: mark, length and checksum in little endian, content.
pub(super) fn record(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&MARK[..], &length.to_le_bytes(), &crc32fast::hash(payload).to_le_bytes(), payload].concat()
}

/// The records from an offset on. Damaged stretches are passed over.
pub(super) fn records(bytes: &[u8], from: u64) -> Found {
    let mut found = Found::default();
    let mut at = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let mut damaged = false;
    while at < bytes.len() {
        if let Some(payload) = first(&bytes[at..]) {
            at += HEADER_BYTES + payload.len();
            found.records.push_back((length(&bytes[..at]), payload.to_vec()));
            damaged = false;
        } else {
            found.damaged += u64::from(!damaged);
            damaged = true;
            at += 1;
        }
    }
    found
}

fn first(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= RECORD_BYTES_MAX)?;
    let payload = rest.get(..length)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*checksum)).then_some(payload)
}
