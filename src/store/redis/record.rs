//! One shopper's record as it is stored, and its marks. The body is the shared codec's; the head before it is what the
//! scripts read.

use aws_lc_rs::digest::{Context, SHA256};
use parvis_engine::{id::ShopperId, shopper::Shopper};

use super::partition::Names;
use crate::store::{Error, codec};

/// A stored record, its body not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) version: u64,
    pub(super) body: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Reads `<version> <mark> <directory>\n<body>`; none if it is not that.
    fn parse(bytes: &'a [u8]) -> Option<Stored<'a>> {
        let (head, body) = split_line(bytes)?;
        let version = head.split(' ').next()?.parse().ok()?;
        Some(Stored { version, body })
    }
}

/// The version and the state of a shopper; `names` and `id` name the place if it can't be read.
pub(super) fn read(bytes: &[u8], names: &Names, id: &ShopperId) -> Result<(u64, Shopper), Error> {
    let place = || format!("field {id} of {}", names.shoppers());
    let stored = Stored::parse(bytes).ok_or_else(|| Error::Corrupt(format!("{}: no record", place())))?;
    let shopper: Shopper = codec::decode(stored.body, place)?;
    if shopper.id != *id {
        return Err(Error::Corrupt(format!("{}: the record of another shopper", place())));
    }
    Ok((stored.version, shopper))
}

/// Splits at the first end of a line; the line must be text.
pub(super) fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// Tells what is written apart from anything else that might be; 16 hexadecimal digits.
pub(super) struct Mark(Context);

impl Mark {
    pub(super) fn new() -> Mark {
        Mark(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> String {
        self.0.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Changes with the devices and orders that a shopper has; empty if there are none.
pub(super) fn directory(shopper: &Shopper) -> String {
    if shopper.devices.is_empty() && shopper.orders.is_empty() {
        return String::new();
    }
    let mut mark = Mark::new();
    shopper.devices.keys().for_each(|device| mark.add(device.as_str().as_bytes()));
    mark.add(b"");
    shopper.orders.keys().for_each(|order| mark.add(order.as_str().as_bytes()));
    mark.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_what_is_none_is_refused() {
        assert_eq!(
            Stored::parse(b"4294967297 ab \nbody\n2"),
            Some(Stored { version: 4_294_967_297, body: b"body\n2" })
        );
        for odd in [&b""[..], b"\n", b"x a b\nbody", b"7 a b", b"\xff a b\nbody"] {
            assert_eq!(Stored::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn marks_tell_parts_apart() {
        let mark = |parts: &[&str]| {
            let mut mark = Mark::new();
            parts.iter().for_each(|part| mark.add(part.as_bytes()));
            mark.finish()
        };
        assert_eq!(mark(&["a", "b"]), mark(&["a", "b"]));
        assert_ne!(mark(&["a", "b"]), mark(&["ab"]));
        assert_eq!(mark(&[]).len(), 16);
    }
}
