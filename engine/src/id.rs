//! Identifiers. Names given by others are checked text; ids made here are stable hashes, so that deciding
//! twice gives the same id.

use std::{borrow::Borrow, fmt, marker::PhantomData, str::FromStr};

use arcstr::{ArcStr, literal};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_64;

use crate::time::Timestamp;

/// The longest name that is taken, in bytes.
pub const NAME_MAX: usize = 128;

fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an id must not be empty".to_owned());
    }
    if text.len() > NAME_MAX {
        return Err(format!("an id has at most {NAME_MAX} bytes, this one has {}", text.len()));
    }
    if let Some(odd) = text.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '/') {
        return Err(format!("an id has no {odd:?}"));
    }
    Ok(())
}

/// Reads a name where it stands, without a copy of its text.
struct Checked<N>(PhantomData<N>);

impl<N: FromStr<Err = String>> de::Visitor<'_> for Checked<N> {
    type Value = N;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<N, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ArcStr);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<$name, String> {
                check(text).map(|()| $name(text.into()))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                deserializer.deserialize_str(Checked(PhantomData))
            }
        }
    )*};
}

names! {
    /// A person, by the retailer's customer id, or [`ShopperId::anonymous`].
    ShopperId,
    /// A registered installation of the retailer's app.
    DeviceId,
    /// A geofence, a beacon region or a zone.
    RegionId,
    /// A beacon of the registry. A carried tag is a device of this name.
    BeaconId,
    /// A scanner host or a gateway.
    ScannerId,
    /// A shop.
    StoreId,
    /// A campaign.
    CampaignId,
    /// An order.
    OrderId,
    /// One event of an order, unique within it.
    EventId,
    /// One of the retailer's apps, as the configuration names it.
    AppId,
    /// Where webhooks go, as the configuration names it.
    EndpointId,
}

impl AppId {
    /// The app of whoever names none.
    pub const DEFAULT: &str = "default";

    /// Whether it is the app of whoever names none.
    pub fn is_default(&self) -> bool {
        self.as_str() == AppId::DEFAULT
    }
}

impl Default for AppId {
    fn default() -> AppId {
        // No allocation: nearly every message is of this app.
        AppId(literal!("default"))
    }
}

impl ShopperId {
    /// The shopper that a device is as long as nobody has claimed it.
    pub fn anonymous(device: &DeviceId) -> ShopperId {
        ShopperId(format!("~{device}").into())
    }

    /// Tells which shard decides for the shopper and where the shopper is kept; the same for ever.
    pub fn stable_hash(&self) -> u64 {
        stable_hash(&[self.as_str()])
    }

    /// Whether this shopper is a device that nobody has claimed.
    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with('~')
    }
}

/// A notification's id: an RFC 9562 version-8 UUID. Its first 48 bits are the time of what caused it, so that ids sort by
/// time; its last 16 bits are those of the shopper's hash, so that the id alone leads to where the shopper is kept; what
/// is between is a stable hash of the cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(u128);

impl NotificationId {
    /// The id for a shopper's cause, named by its parts.
    pub fn derive(at: Timestamp, shopper: &ShopperId, parts: &[&str]) -> NotificationId {
        let millis = u128::from(at.as_millis().unsigned_abs()) & ((1 << 48) - 1);
        let cause = u128::from(stable_hash(parts)) << 16 | u128::from(shopper.stable_hash() as u16);
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0x3 << 62;
        NotificationId((millis << 80 | cause) & !VERSION & !VARIANT | 0x8 << 76 | 0x2 << 62)
    }

    /// The last 16 bits of [`ShopperId::stable_hash`] of whose notification it is.
    pub fn shopper_hash(self) -> u16 {
        self.0 as u16
    }

    /// The 128 bits of the UUID.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The UUID with these bits.
    pub fn from_u128(bits: u128) -> NotificationId {
        NotificationId(bits)
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NotificationId {
    type Err = String;

    fn from_str(text: &str) -> Result<NotificationId, String> {
        let malformed = || format!("{text:?} is not a UUID");
        let dashes_fit =
            text.len() == 36 && text.char_indices().all(|(at, c)| (c == '-') == matches!(at, 8 | 13 | 18 | 23));
        if !dashes_fit || text.contains('+') {
            return Err(malformed());
        }
        u128::from_str_radix(&text.replace('-', ""), 16).map(NotificationId).map_err(|_| malformed())
    }
}

impl Serialize for NotificationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NotificationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NotificationId, D::Error> {
        deserializer.deserialize_str(Checked(PhantomData))
    }
}

/// A hash of several texts that stays the same over versions and machines (XXH3 over the parts, each behind
/// its length).
pub fn stable_hash(parts: &[&str]) -> u64 {
    with_joined(parts, xxh3_64)
}

/// Several times for each observation, so names must not cost an allocation.
fn with_joined<T>(parts: &[&str], hash: impl FnOnce(&[u8]) -> T) -> T {
    const ROOM: usize = 2 * (NAME_MAX + 8);
    let (mut room, mut heap) = ([0; ROOM], Vec::new());
    let length = parts.iter().map(|part| part.len() + 8).sum();
    let joined = if length <= ROOM {
        &mut room[..length]
    } else {
        heap.resize(length, 0);
        &mut heap[..]
    };
    let mut rest = &mut *joined;
    for part in parts {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(8);
        head.copy_from_slice(&(part.len() as u64).to_le_bytes());
        let (text, tail) = tail.split_at_mut(part.len());
        text.copy_from_slice(part.as_bytes());
        rest = tail;
    }
    hash(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!("C-1001".parse::<ShopperId>().is_ok());
        assert!("".parse::<ShopperId>().is_err());
        assert!("two words".parse::<ShopperId>().is_err());
        assert!("a/b".parse::<RegionId>().is_err());
        assert!("x".repeat(129).parse::<RegionId>().is_err());
    }

    #[test]
    fn notification_ids_are_stable_time_ordered_uuids() {
        let shopper: ShopperId = "C-1".parse().expect("an id");
        let id = |millis| NotificationId::derive(Timestamp::from_millis(millis), &shopper, &["tv", "C-1"]);
        let (early, late) = (id(1_700_000_000_000), id(1_700_000_000_001));
        assert!(early < late);
        assert_eq!(early, id(1_700_000_000_000));
        assert_eq!(early.shopper_hash(), shopper.stable_hash() as u16);
        let text = early.to_string();
        assert_eq!(&text[14..15], "8", "version: {text}");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "variant: {text}");
        assert_eq!(text.parse(), Ok(early));
        assert!("nonsense".parse::<NotificationId>().is_err());
    }

    #[test]
    fn hashes_stay_the_same() {
        assert_eq!(stable_hash(&["C-1001"]), xxh3_64(b"\x06\0\0\0\0\0\0\0C-1001"));
        let long = "x".repeat(1_000);
        let joined = [&1_000_u64.to_le_bytes(), long.as_bytes(), &1_u64.to_le_bytes(), b"y"].concat();
        assert_eq!(stable_hash(&[&long, "y"]), xxh3_64(&joined));
        assert_eq!(stable_hash(&[]), xxh3_64(b""));
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(stable_hash(&["ab", "c"]), stable_hash(&["a", "bc"]));
    }
}
