//! What names a beacon: proximity UUID, major, minor.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A proximity UUID, in network order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Accepts upper and lower case, with and without dashes, as apps and gateways write them.
impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Uuid, String> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let malformed = || format!("{text:?} is not a UUID of 32 hexadecimal digits");
        if digits.len() != 32 {
            return Err(malformed());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (high, low) else { return Err(malformed()) };
            *byte = u8::try_from(high << 4 | low).map_err(|_| malformed())?;
        }
        Ok(Uuid(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One iBeacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BeaconId {
    /// The retailer's proximity UUID.
    pub uuid: Uuid,
    /// Usually the shop.
    pub major: u16,
    /// Usually the place in the shop.
    pub minor: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings() {
        let dashed: Uuid = "F7826DA6-4FA2-4E98-8024-BC5B71E0893E".parse().expect("dashed");
        let bare: Uuid = "f7826da64fa24e988024bc5b71e0893e".parse().expect("bare");
        assert_eq!(dashed, bare);
        assert_eq!(bare.to_string(), "f7826da6-4fa2-4e98-8024-bc5b71e0893e");
        assert!("f7826da6".parse::<Uuid>().is_err());
        assert!("g7826da64fa24e988024bc5b71e0893e".parse::<Uuid>().is_err());
    }
}
