//! Cuts the stream of a broker into packets (MQTT 5.0, section 2.1). Knows no packet but PUBLISH, and of that only what
//! is needed to be done with one that is too large.
//!
//! What is too large is passed over without being held: 3.1.1 has no way to tell the broker a limit, and a message that
//! only ended the connection would come again for ever.

use std::sync::Arc;

use bytes::{Buf, BytesMut};

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The first byte, and what follows the length.
    Whole(u8, Arc<[u8]>),
    /// A message larger than the limit, with its id if it is to be acknowledged.
    TooLarge(Option<u16>),
}

/// The bytes that came in.
#[derive(Debug)]
pub(super) struct Frames {
    /// Whoever reads from the network puts it here.
    pub(super) buffer: BytesMut,
    packet_max: usize,
    /// What is still to be passed over.
    passing: usize,
}

const PUBLISH: u8 = 3;

impl Frames {
    pub(super) fn new(packet_max: usize) -> Frames {
        Frames { buffer: BytesMut::new(), packet_max, passing: 0 }
    }

    /// The next packet, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, String> {
        let passed = self.passing.min(self.buffer.len());
        self.buffer.advance(passed);
        self.passing -= passed;
        if self.passing > 0 {
            return Ok(None);
        }
        let Some((head, length)) = head(&self.buffer)? else { return Ok(None) };
        let first = self.buffer[0];
        if head + length > self.packet_max {
            return self.pass_over(first, head, length);
        }
        if self.buffer.len() < head + length {
            self.buffer.reserve(head + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(head);
        Ok(Some(Frame::Whole(first, Arc::from(self.buffer.split_to(length).as_ref()))))
    }

    fn pass_over(&mut self, first: u8, head: usize, length: usize) -> Result<Option<Frame>, String> {
        if first >> 4 != PUBLISH {
            return Err(format!("the broker sent {length} bytes that are no message"));
        }
        let id = match (first >> 1) & 3 {
            0 => None,
            _ => {
                let Some(at) = uint16(&self.buffer, head).map(|topic| head + 2 + usize::from(topic)) else {
                    return Ok(None);
                };
                if at + 2 > head + length {
                    return Err("the broker sent a topic longer than its packet".to_owned());
                }
                let Some(id) = uint16(&self.buffer, at) else { return Ok(None) };
                Some(id)
            }
        };
        self.passing = head + length;
        let passed = self.passing.min(self.buffer.len());
        self.buffer.advance(passed);
        self.passing -= passed;
        Ok(Some(Frame::TooLarge(id)))
    }
}

/// The bytes before the content, and the length of the content.
fn head(buffer: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for (place, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((place + 2, length)));
        }
    }
    if buffer.len() > 4 { Err("the broker sent a length that can't be read".to_owned()) } else { Ok(None) }
}

fn uint16(buffer: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*buffer.get(at)?, *buffer.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A PUBLISH with this first byte, topic, id and so much payload.
    fn publish(first: u8, topic: &str, id: Option<u16>, payload: usize) -> Vec<u8> {
        let mut body = Vec::from(u16::try_from(topic.len()).expect("short").to_be_bytes());
        body.extend_from_slice(topic.as_bytes());
        body.extend(id.into_iter().flat_map(u16::to_be_bytes));
        body.resize(body.len() + payload, b'x');
        let mut packet = vec![first];
        let mut rest = body.len();
        loop {
            let byte = u8::try_from(rest % 128).expect("small");
            rest /= 128;
            packet.push(if rest > 0 { byte | 0x80 } else { byte });
            if rest == 0 {
                break;
            }
        }
        packet.extend(body);
        packet
    }

    fn all(bytes: &[u8], piece: usize, packet_max: usize) -> Result<(Vec<Frame>, usize), String> {
        let mut frames = Frames::new(packet_max);
        let (mut found, mut held) = (Vec::new(), 0);
        for part in bytes.chunks(piece) {
            frames.buffer.extend_from_slice(part);
            while let Some(frame) = frames.next()? {
                found.push(frame);
            }
            held = held.max(frames.buffer.len());
        }
        Ok((found, held))
    }

    #[test]
    fn a_message_that_is_too_large_is_passed_over_and_never_held() {
        let mut bytes = publish(0x32, "a/b", Some(7), 10);
        bytes.extend(publish(0x32, "a/b", Some(8), 1_000_000));
        bytes.extend(publish(0x30, "a/b", None, 5_000));
        bytes.extend(publish(0x32, "a/b", Some(9), 10));
        for piece in [1, 7, 4_096, bytes.len()] {
            let (frames, held) = all(&bytes, piece, 1_024).expect("sound");
            let ids: Vec<_> = frames.iter().map(|frame| matches!(frame, Frame::Whole(..))).collect();
            assert_eq!(ids, [true, false, false, true], "in pieces of {piece}");
            assert_eq!((&frames[1], &frames[2]), (&Frame::TooLarge(Some(8)), &Frame::TooLarge(None)));
            assert!(held <= 1_024.max(piece), "held {held}");
        }
    }

    #[test]
    fn what_can_not_be_cut_is_an_error() {
        assert!(all(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], 1, 1_024).is_err(), "a length of five bytes");
        assert!(all(&[0x90, 0xff, 0x7f, 0, 0], 5, 1_024).is_err(), "a large SUBACK");
        assert!(all(&[0x32, 0xff, 0x0f, 0xff, 0xff, 0, 0], 7, 1_024).is_err(), "a topic longer than its packet");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_cutting_does_not_depend_on_the_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50,
        ) {
            let whole = all(&bytes, bytes.len().max(1), 64).map(|(frames, _)| frames);
            let parts = all(&bytes, piece, 64).map(|(frames, _)| frames);
            prop_assert_eq!(whole, parts);
        }
    }
}
