//! What holds for whatever a broker sends: looked for by fuzzing, and tried by the tests on what fuzzing kept.

use std::sync::Arc;

use super::{
    config::{Naming, Version},
    frame::{Frame, Frames},
    topic,
    wire::{self, Packet},
};

/// The largest packet that is taken here.
const PACKET_MAX: usize = 256;

/// Cuts the bytes into packets, in pieces of as many bytes as the first one says, and reads them in both versions.
/// Says whether there was a packet that can be read.
///
/// # Panics
/// If the packets depend on the pieces, or more is held than a packet, or than a topic and what follows it.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Some((piece, stream)) = bytes.split_first() else { return false };
    let frames = cut(stream, stream.len().max(1));
    assert_eq!(cut(stream, usize::from(*piece).max(1)), frames, "the pieces matter");
    let mut readable = false;
    for frame in frames.into_iter().flatten() {
        let Frame::Whole(first, body) = frame else { continue };
        assert!(body.len() < PACKET_MAX);
        for version in [Version::V5, Version::V3] {
            readable |= read(version, first, body.clone());
        }
    }
    readable
}

fn read(version: Version, first: u8, body: Arc<[u8]>) -> bool {
    let length = body.len();
    match wire::read(version, first, body) {
        Ok(Packet::Message(message)) => {
            assert!(message.topic.len() + message.payload.len() <= length);
            let _ = topic::matches("owntracks/+/+", &message.topic);
            let _ = topic::matches("#", &message.topic);
            let device = topic::owntracks_device(&message.topic, Naming::UserDevice);
            assert!(device.is_none_or(|device| device.as_str().contains(':')));
            true
        }
        Ok(_) => true,
        Err(why) => {
            assert!(!why.is_empty());
            false
        }
    }
}

/// The packets up to one that can't be cut.
fn cut(stream: &[u8], piece: usize) -> Result<Vec<Frame>, Vec<Frame>> {
    let mut frames = Frames::new(PACKET_MAX);
    let mut found = Vec::new();
    for part in stream.chunks(piece) {
        frames.buffer.extend_from_slice(part);
        loop {
            match frames.next() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return Err(found),
            }
        }
        let held = frames.buffer.len();
        assert!(held <= PACKET_MAX.max(piece).max(before_id(&frames.buffer) + piece), "held {held}");
    }
    Ok(found)
}

/// The bytes up to the end of a message's id: of one that is too large, they are waited for.
fn before_id(buffer: &[u8]) -> usize {
    let head = 2 + buffer.iter().skip(1).take(3).take_while(|byte| **byte & 0x80 != 0).count();
    let topic = buffer.get(head).zip(buffer.get(head + 1));
    topic.map_or(head, |(high, low)| head + 4 + usize::from(u16::from_be_bytes([*high, *low])))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_brokers_sent_is_read() {
        crate::replay_corpus::corpus("packets", 6, super::check);
    }
}
