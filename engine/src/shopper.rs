//! What is known of a person: profile, consents, interests, devices with their presences, what was sent, orders.
//!
//! [`Shopper`] is durable: whatever changes it is committed before anybody is answered. [`Track`] is volatile:
//! losing it in a crash costs sharpness (a pass, a late fix), never a message.

mod following;
mod target;
mod volatile;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{
    following::{Activity, Following, LiveToken},
    target::{ACTIVITY_SUFFIX, ApnsEnvironment, PushTarget, Subscription, SubscriptionKeys},
    volatile::{Calm, Mark, Radio, Source, SourceName, Stretch, Track, Whereabouts},
};
use crate::{
    id::{AppId, CampaignId, NotificationId, OrderId, RegionId, ShopperId},
    notification::Purpose,
    order::Order,
    per_device::PerDevice,
    rare::Rare,
    time::Timestamp,
    word::Word,
};

/// A person and everything durable about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shopper {
    /// Who it is.
    pub id: ShopperId,
    /// What the retailer told us.
    #[serde(default)]
    pub profile: Profile,
    /// Interests shown, by name.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub interests: Rare<BTreeMap<String, Interest>>,
    /// Registered installations.
    #[serde(default, skip_serializing_if = "PerDevice::is_empty")]
    pub devices: PerDevice<Device>,
    /// What was decided to be sent, oldest first, as far back as any cap looks.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub sends: Rare<Vec<Send>>,
    /// Orders, by id.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub orders: Rare<BTreeMap<OrderId, Order>>,
}

impl Shopper {
    /// A shopper of whom nothing is known.
    pub fn new(id: ShopperId) -> Shopper {
        Shopper {
            id,
            profile: Profile::default(),
            interests: Rare::new(),
            devices: PerDevice::new(),
            sends: Rare::new(),
            orders: Rare::new(),
        }
    }
}

/// What the retailer says of a shopper; the body of `PUT /v1/shoppers/{shopper}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// BCP 47 language tag, such as `fr-FR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Word>,
    /// IANA time zone, such as `Europe/Paris`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Word>,
    /// Groups that the retailer puts the shopper into.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub segments: Rare<BTreeSet<String>>,
    /// Facts for audiences and templates.
    #[serde(default, skip_serializing_if = "Rare::is_empty")]
    pub attributes: Rare<BTreeMap<String, Attribute>>,
    /// Standing in the loyalty programme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loyalty: Option<Box<Loyalty>>,
    /// What the shopper allowed.
    #[serde(default)]
    pub consents: Consents,
}

/// One fact about a shopper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// True or false.
    Flag(bool),
    /// A number.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl Attribute {
    /// The longest text of an attribute, in bytes.
    pub const TEXT_MAX: usize = 256;
    /// The longest name of an attribute, in bytes.
    pub const NAME_MAX: usize = 64;

    /// Whether templates and audiences can use this attribute under this name.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self, name: &str) -> Result<(), String> {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first
            || name.len() > Self::NAME_MAX
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(format!(
                "{name:?} is not a name of letters, digits and underscores, at most {} bytes, not beginning with a digit",
                Self::NAME_MAX
            ));
        }
        match self {
            Attribute::Flag(_) => Ok(()),
            Attribute::Number(number) if number.is_finite() => Ok(()),
            Attribute::Number(_) => Err("a number must be finite".to_owned()),
            Attribute::Text(text) if text.len() <= Self::TEXT_MAX => Ok(()),
            Attribute::Text(_) => Err(format!("a text has at most {} bytes", Self::TEXT_MAX)),
        }
    }
}

/// As people read it: whole numbers without a point.
impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Attribute::Flag(flag) => write!(f, "{flag}"),
            Attribute::Number(number) => write!(f, "{number}"),
            Attribute::Text(text) => f.write_str(text),
        }
    }
}

/// Standing in the loyalty programme.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loyalty {
    /// Tier, such as `gold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Points in the account.
    #[serde(default)]
    pub points: i64,
}

/// What a shopper allowed, purpose by purpose. Nothing said means no.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consents {
    /// The use of positions and sightings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Consent>,
    /// Offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offers: Option<Consent>,
    /// News about orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Consent>,
}

impl Consents {
    /// Whether positions may be processed.
    pub fn allow_location(&self) -> bool {
        self.location.as_ref().is_some_and(|consent| consent.granted)
    }

    /// Whether messages of this purpose may be sent.
    pub fn allow(&self, purpose: Purpose) -> bool {
        let consent = match purpose {
            Purpose::Offer => &self.offers,
            Purpose::Order => &self.orders,
        };
        consent.as_ref().is_some_and(|consent| consent.granted)
    }
}

/// One answer to one question, with its proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Yes or no.
    pub granted: bool,
    /// When it was given or withdrawn.
    pub at: Timestamp,
    /// The version of the text that the shopper saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Word>,
}

/// An interest and when it was last shown; it fades with a half-life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interest {
    /// Its weight at `at`.
    pub weight: f64,
    /// When that was.
    pub at: Timestamp,
    /// Hashes of the newest signals, so that a repeat is known as one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<u64>,
}

impl Interest {
    /// What is left of the weight at a moment: half of it after every half-life.
    pub fn weight_at(&self, now: Timestamp, half_life: Duration) -> f64 {
        if half_life.is_zero() {
            return self.weight;
        }
        self.weight * (-now.since(self.at).div_duration_f64(half_life)).exp2()
    }
}

/// A registered installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The kind of phone or browser, such as `ios`.
    pub platform: Word,
    /// The app that is installed; the default app if absent. In a box because it is rare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<Box<AppId>>,
    /// Where its messages go; none once a provider has said that the target is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PushTarget>,
    /// BCP 47 language tag; the shopper's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Word>,
    /// IANA time zone; the shopper's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Word>,
    /// Whether the shopper wants order news on this device rather than on others.
    #[serde(default)]
    pub preferred: bool,
    /// When the current target was registered.
    pub registered_at: Timestamp,
    /// The regions that the device is in or near.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presences: Vec<Presence>,
    /// When the device last left a region, as far as it has been told: what a late fix says of the time before is
    /// history, also when a crash has taken the [`Track`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Timestamp>,
    /// Until when a carried tag speaks for the shopper; none if for good. In a box because it is rare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_until: Option<Box<Timestamp>>,
    /// What it shows of orders all the time. In a box because it is rare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Box<Following>>,
}

impl Device {
    /// A device that is nowhere yet.
    pub fn new(platform: impl Into<Word>, target: Option<PushTarget>, registered_at: Timestamp) -> Device {
        Device {
            platform: platform.into(),
            app: None,
            target,
            locale: None,
            time_zone: None,
            preferred: false,
            registered_at,
            presences: Vec::new(),
            left_at: None,
            linked_until: None,
            live: None,
        }
    }

    /// The app that is installed.
    pub fn app(&self) -> AppId {
        self.app.as_deref().cloned().unwrap_or_default()
    }
}

/// A device's standing with one region that it is in or near.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// The region.
    pub region: RegionId,
    /// Near or inside.
    pub state: PresenceState,
    /// When this state began.
    pub since: Timestamp,
    /// When the device was last known to be in this state, as far as it is durable; [`Track`] may know better.
    pub seen: Timestamp,
    /// Whether this visit's dwell has been told.
    #[serde(default)]
    pub dwelled: bool,
    /// Who says that the device is there.
    #[serde(default)]
    pub witness: Witness,
}

/// Who says that a device is in a region, and so what ends the presence when nothing more is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// Its positions.
    #[default]
    Position,
    /// The phone, which hears beacons.
    Phone,
    /// Scanners, which hear the tag.
    Scanners,
    /// The phone's operating system, which watches a beacon region by itself and will say when it is left.
    System,
}

/// Near, inside, or lately left; otherwise outside is having no presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// Within `approach_m` of the region, told, and not inside.
    Near,
    /// Inside.
    Inside,
    /// Has dwelt in this zone on this visit of the shop and has left it; not to be told again if it comes back.
    Left,
}

/// One decided message, as caps and cooldowns remember it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Send {
    /// When it was decided.
    pub at: Timestamp,
    /// When it may be sent: later than `at` if quiet hours made it wait. Caps count until then and from then on.
    #[serde(default)]
    pub not_before: Timestamp,
    /// The message.
    pub notification: NotificationId,
    /// The campaign that it came from.
    pub campaign: CampaignId,
    /// Offers count against caps, order news does not.
    pub purpose: Purpose,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DeviceId;

    /// A million of them, the directories over them and 100,000 fences are to fit in 1 GiB.
    #[test]
    fn one_phone_costs_little_memory() {
        let record = size_of::<Shopper>() + size_of::<(DeviceId, Device)>();
        let track = size_of::<(DeviceId, Track)>();
        assert!(record <= 296, "{record} bytes, besides the texts of ids and tokens");
        assert!(track <= 120, "{track} bytes");
    }
}
