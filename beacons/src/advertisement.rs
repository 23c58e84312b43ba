//! Advertisements as they are on the air: a row of structures, each with its length and its type.
//!
//! Reads any bytes: what does not fit ends the row. Knows nothing of what the structures mean.

use std::{error, fmt, ops::Deref, str::FromStr};

/// Longest advertisement that is read from text, bytes. Legacy ones have 31, as many again with their scan response;
/// one packet of an extended one has at most 254.
pub const BYTES_MAX: usize = 255;

/// The type of a structure that holds what a manufacturer defines.
pub const MANUFACTURER_DATA: u8 = 0xff;
/// The type of a structure that holds the data of a service with an identifier of 16 bits.
pub const SERVICE_DATA: u8 = 0x16;

/// One structure of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure<'a> {
    /// What `data` is, as the Bluetooth SIG's assigned numbers for advertising data types have it.
    pub kind: u8,
    /// What follows the type; may be empty.
    pub data: &'a [u8],
}

/// The structures of an advertisement or of a scan response, in their order.
///
/// Ends at a length of zero, behind which there is only padding, and at a length that leads beyond the end
/// (Bluetooth Core Specification, volume 3, part C, section 11).
#[derive(Clone, Debug)]
pub struct Structures<'a>(&'a [u8]);

/// The structures in the bytes of an advertisement.
pub fn structures(bytes: &[u8]) -> Structures<'_> {
    Structures(bytes)
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        let (length, rest) = std::mem::take(&mut self.0).split_first()?;
        let (structure, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, data) = structure.split_first()?;
        self.0 = rest;
        Some(Structure { kind: *kind, data })
    }
}

/// The two bytes with which manufacturer and service data begin, and the rest.
pub fn numbered(data: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = data.split_first_chunk()?;
    Some((u16::from_le_bytes(*number), rest))
}

/// The bytes of an advertisement that came as text. Held in place: reading one allocates nothing.
#[derive(Clone, Copy)]
pub struct Payload {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is no advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// There is nothing in it.
    Empty,
    /// A character that is neither a hexadecimal digit nor a separator, and where it stands, in bytes.
    Digit(usize),
    /// The last byte has one digit only.
    Half,
    /// More than [`BYTES_MAX`] bytes.
    Long,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Empty => f.write_str("is empty"),
            Malformed::Digit(at) => write!(f, "has no hexadecimal digit at {at}"),
            Malformed::Half => f.write_str("has an odd number of hexadecimal digits"),
            Malformed::Long => write!(f, "is longer than {BYTES_MAX} bytes"),
        }
    }
}

impl error::Error for Malformed {}

/// Accepts hexadecimal digits in any case, behind `0x` or not, with spaces, colons and dashes between them.
impl FromStr for Payload {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Payload, Malformed> {
        let digits = text.trim_start();
        let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits);
        let skipped = text.len() - digits.len();
        let mut payload = Payload { bytes: [0; BYTES_MAX], length: 0 };
        let mut high = None;
        for (at, character) in digits.bytes().enumerate() {
            let digit = match character {
                b'0'..=b'9' => character - b'0',
                b'a'..=b'f' => character - b'a' + 10,
                b'A'..=b'F' => character - b'A' + 10,
                b' ' | b'\t' | b'\r' | b'\n' | b':' | b'-' => continue,
                _ => return Err(Malformed::Digit(skipped + at)),
            };
            let Some(above) = high.take() else {
                high = Some(digit << 4);
                continue;
            };
            *payload.bytes.get_mut(payload.length).ok_or(Malformed::Long)? = above | digit;
            payload.length += 1;
        }
        match (high, payload.length) {
            (Some(_), _) => Err(Malformed::Half),
            (None, 0) => Err(Malformed::Empty),
            (None, _) => Ok(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<(u8, &[u8])> {
        structures(bytes).map(|structure| (structure.kind, structure.data)).collect()
    }

    #[test]
    fn structures_follow_each_other() {
        let bytes = [2, 0x01, 0x06, 1, 0x09, 3, 0xff, 0x4c, 0x00];
        assert_eq!(read(&bytes), [(0x01, &[0x06][..]), (0x09, &[]), (0xff, &[0x4c, 0x00])]);
    }

    #[test]
    fn what_does_not_fit_ends_the_row() {
        assert_eq!(read(&[2, 0x01, 0x06, 4, 0xff, 0x4c, 0x00]), [(0x01, &[0x06][..])]);
        assert_eq!(read(&[2, 0x01, 0x06, 0, 2, 0x0a, 0x04]), [(0x01, &[0x06][..])]);
        assert!(read(&[]).is_empty());
        assert!(read(&[255]).is_empty());
    }

    #[test]
    fn the_ways_gateways_write_bytes_are_all_read() {
        for text in ["0201060303AAFE", "0x0201060303aafe", " 02 01 06 03 03 aa fe\n", "02:01:06:03:03:AA:FE"] {
            let payload: Payload = text.parse().expect(text);
            assert_eq!(*payload, [2, 1, 6, 3, 3, 0xaa, 0xfe], "{text}");
        }
        assert_eq!("ab".repeat(BYTES_MAX).parse::<Payload>().expect("the longest").len(), BYTES_MAX);
    }

    #[test]
    fn text_that_is_no_advertisement_is_refused_by_name() {
        let refusal = |text: &str| text.parse::<Payload>().expect_err(text);
        assert_eq!([refusal(""), refusal("0x"), refusal(" ")], [Malformed::Empty; 3]);
        assert_eq!(refusal("02016"), Malformed::Half);
        assert_eq!(refusal("0x02zz"), Malformed::Digit(4));
        assert_eq!(refusal("02\u{fc}1"), Malformed::Digit(2));
        assert_eq!(refusal(&"00".repeat(BYTES_MAX + 1)), Malformed::Long);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_loss_up_to_the_first_that_do_not_fit(bytes: Vec<u8>) {
            let read: usize = structures(&bytes).map(|structure| structure.data.len() + 2).sum();
            prop_assert!(read <= bytes.len());
            if let Some(length) = bytes.get(read) {
                prop_assert!(*length == 0 || usize::from(*length) > bytes.len() - read - 1);
            }
        }

        #[test]
        fn bytes_survive_being_written(bytes in prop::collection::vec(any::<u8>(), 1..BYTES_MAX)) {
            let text: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            let payload: Payload = text.parse().expect("digits");
            prop_assert_eq!(&*payload, &bytes[..]);
            prop_assert_eq!(format!("{payload:?}"), text.to_lowercase());
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<Payload>();
        }
    }
}
