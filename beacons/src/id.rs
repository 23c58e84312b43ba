//! What names a beacon on the air.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A proximity UUID, in network order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Accepts upper and lower case, with and without dashes, as apps and gateways write them.
impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Uuid, String> {
        let bytes = hexadecimal(text, b'-');
        bytes.map(Uuid).ok_or_else(|| format!("{text:?} is not a UUID of 32 hexadecimal digits"))
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

/// Bytes that are written as hexadecimal digits: in any case, and with separators that may also be missing.
macro_rules! octets {
    ($($(#[$doc:meta])* $name:ident, $count:literal, $separator:literal, $what:literal);* $(;)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $count]);

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<$name, String> {
                let separator: &str = $separator;
                let bytes = hexadecimal(text, separator.bytes().next().unwrap_or_default());
                bytes.map($name).ok_or_else(|| format!("{text:?} is not {} of {} hexadecimal digits", $what, 2 * $count))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (at, byte) in self.0.iter().enumerate() {
                    write!(f, "{}{byte:02x}", if at > 0 { $separator } else { "" })?;
                }
                Ok(())
            }
        }
    )*};
}

octets! {
    /// The first ten bytes of an Eddystone-UID: whose beacon it is.
    Namespace, 10, "", "a namespace";
    /// The last six bytes of an Eddystone-UID: which beacon.
    Instance, 6, "", "an instance";
    /// An Eddystone-EID as it is sent: another one after every rotation.
    Ephemeral, 8, "", "an ephemeral identifier";
    /// A Bluetooth device address, most significant byte first.
    Mac, 6, ":", "a Bluetooth address";
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Uuid, Namespace, Instance, Ephemeral, Mac);

/// What an iBeacon sends of itself. An AltBeacon whose identifier has the usual parts is taken for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ibeacon {
    /// The retailer's proximity UUID.
    pub uuid: Uuid,
    /// Usually the shop.
    pub major: u16,
    /// Usually the place in the shop.
    pub minor: u16,
}

/// Who a beacon says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Identity {
    /// An iBeacon or an AltBeacon.
    Ibeacon(Ibeacon),
    /// An Eddystone-UID.
    Eddystone {
        /// Whose.
        namespace: Namespace,
        /// Which.
        instance: Instance,
    },
    /// An Eddystone-EID; says who it is only to whom has the beacon's key.
    Ephemeral {
        /// What was heard.
        eid: Ephemeral,
    },
    /// A device that is known by its address, such as a Ruuvi tag.
    Mac {
        /// Its address.
        mac: Mac,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Ibeacon(Ibeacon { uuid, major, minor }) => write!(f, "{uuid}-{major}-{minor}"),
            Identity::Eddystone { namespace, instance } => write!(f, "{namespace}-{instance}"),
            Identity::Ephemeral { eid } => write!(f, "{eid}"),
            Identity::Mac { mac } => write!(f, "{mac}"),
        }
    }
}

/// So many bytes, written as digits between which the separator may stand anywhere.
pub(crate) fn hexadecimal<const COUNT: usize>(text: &str, separator: u8) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    let mut digits = text.bytes().filter(|byte| *byte != separator).map(|digit| char::from(digit).to_digit(16));
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
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
        assert!("f7826da6-4fa2-4e98-8024-bc5b71e0893e00".parse::<Uuid>().is_err());
        assert!("g7826da64fa24e988024bc5b71e0893e".parse::<Uuid>().is_err());
    }

    #[test]
    fn addresses_are_read_with_and_without_colons() {
        let mac: Mac = "AC233FC001EA".parse().expect("bare");
        assert_eq!("ac:23:3f:c0:01:ea".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "ac:23:3f:c0:01:ea");
        assert!("ac:23:3f:c0:01".parse::<Mac>().is_err());
    }

    #[test]
    fn an_identity_is_told_by_its_fields() {
        let read = |json: &str| serde_json::from_str::<Identity>(json).expect("an identity");
        let ibeacon = read(r#"{"uuid":"f7826da64fa24e988024bc5b71e0893e","major":7,"minor":1}"#);
        assert_eq!(ibeacon.to_string(), "f7826da6-4fa2-4e98-8024-bc5b71e0893e-7-1");
        let uid = read(r#"{"namespace":"00112233445566778899","instance":"0A0B0C0D0E0F"}"#);
        assert_eq!(uid.to_string(), "00112233445566778899-0a0b0c0d0e0f");
        assert!(matches!(read(r#"{"eid":"0011223344556677"}"#), Identity::Ephemeral { .. }));
        assert!(matches!(read(r#"{"mac":"c6:a5:b9:e0:ad:06"}"#), Identity::Mac { .. }));
    }
}
