//! What holds for whatever stands in the file: looked for by fuzzing, and tried by the tests on what fuzzing kept.

use parvis_engine::{notification::Notification, shopper::Shopper};
use serde::{Serialize, de::DeserializeOwned};

use super::codec::{self, Frame};
use crate::{report::Event, store::Answer};

/// Reads the bytes as what the first one says: `l` a row of the log, `j` a row of the journal, `s` a shopper, `e` an
/// event, `m` a message, `a` an answer. Says whether they are one.
///
/// # Panics
/// If what was read and written again is not read as the same.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Some((kind, row)) = bytes.split_first() else { return false };
    match kind {
        b'l' => log(row),
        b'j' => journal(row),
        b's' => value::<Shopper>(row),
        b'e' => value::<Event>(row),
        b'm' => value::<Notification>(row),
        b'a' => value::<Answer>(row),
        _ => false,
    }
}

fn log(row: &[u8]) -> bool {
    let Ok(frames) = Frame::read_all(1, row) else { return false };
    let mut written = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut written));
    assert_eq!(frames.iter().map(Frame::len).sum::<u64>(), row.len() as u64);
    assert_eq!(Frame::read_all(1, &written).expect("what was written is read"), frames);
    frames.iter().filter(|frame| value::<Shopper>(frame.body)).count() > 0
}

fn journal(row: &[u8]) -> bool {
    let Ok(events) = codec::read_events(row) else { return false };
    let mut written = Vec::new();
    events.iter().for_each(|(mark, body)| codec::write_event(&mut written, *mark, body));
    assert_eq!(written, row);
    events.iter().filter(|(_, body)| value::<Event>(body)).count() > 0
}

fn value<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok(value) = codec::decode::<T>(bytes, || "it".to_owned()) else { return false };
    let written = codec::encode(&value).expect("what was read is written");
    let again = codec::decode::<T>(&written, || "it".to_owned()).expect("what was written is read");
    assert_eq!(codec::encode(&again).expect("is written"), written);
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_stood_in_files_is_read() {
        crate::replay_corpus::corpus("rows", 10, super::check);
    }
}
