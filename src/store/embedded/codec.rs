//! How values become bytes: self-describing MessagePack, so that fields can be added, inside frames that say whose they
//! are without being decoded.

use parvis_engine::{id::ShopperId, time::Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use crate::store::Error;

/// Writes a value.
///
/// The human-readable form of times and ids costs bytes. But serde's buffer for flattened and tagged types always says
/// that it is human-readable, so a value written in the other form could not be read back through it.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value.serialize(&mut serializer).map_err(|error| Error::Unavailable(format!("can't be encoded: {error}")))?;
    Ok(bytes)
}

/// Reads a value; `what` names it in the error.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<T, Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    T::deserialize(&mut deserializer).map_err(|error| Error::Corrupt(format!("{}: {error}", what())))
}

/// How rows name a shopper where the id itself must not remain after an erasure.
pub(super) fn mark(shopper: &ShopperId) -> u64 {
    shopper.stable_hash()
}

/// One shopper's record in a row of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) id: &'a str,
    pub(super) version: u64,
    pub(super) wake: Option<Timestamp>,
    pub(super) body: &'a [u8],
}

/// Stands for a shopper who is not to be woken.
const NO_WAKE: i64 = i64::MAX;

impl<'a> Frame<'a> {
    pub(super) fn write(&self, row: &mut Vec<u8>) {
        write_part(row, self.id.as_bytes());
        row.extend_from_slice(&self.version.to_le_bytes());
        row.extend_from_slice(&self.wake.map_or(NO_WAKE, Timestamp::as_millis).to_le_bytes());
        write_part(row, self.body);
    }

    /// How many bytes it takes in a row.
    pub(super) fn len(&self) -> u64 {
        (self.id.len() + self.body.len() + 24) as u64
    }

    /// Every frame of a row.
    pub(super) fn read_all(row: u64, mut bytes: &'a [u8]) -> Result<Vec<Frame<'a>>, Error> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let frame = Frame::read(&mut bytes);
            frames.push(frame.ok_or_else(|| Error::Corrupt(format!("row {row} of the shopper log is cut short")))?);
        }
        Ok(frames)
    }

    fn read(bytes: &mut &'a [u8]) -> Option<Frame<'a>> {
        let id = std::str::from_utf8(read_part(bytes)?).ok()?;
        let version = u64::from_le_bytes(read_word(bytes)?);
        let wake = i64::from_le_bytes(read_word(bytes)?);
        let wake = (wake != NO_WAKE).then(|| Timestamp::from_millis(wake));
        Some(Frame { id, version, wake, body: read_part(bytes)? })
    }
}

/// Appends one event to a row of the journal.
pub(super) fn write_event(row: &mut Vec<u8>, mark: u64, body: &[u8]) {
    row.extend_from_slice(&mark.to_le_bytes());
    write_part(row, body);
}

/// The events of a journal row, undecoded, each with its shopper's mark.
pub(super) fn read_events(mut bytes: &[u8]) -> Result<Vec<(u64, &[u8])>, Error> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let cut = || Error::Corrupt("a row of the journal is cut short".to_owned());
        let (mark, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        bytes = rest;
        events.push((u64::from_le_bytes(*mark), read_part(&mut bytes).ok_or_else(cut)?));
    }
    Ok(events)
}

fn write_part(row: &mut Vec<u8>, part: &[u8]) {
    row.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    row.extend_from_slice(part);
}

fn read_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(part)
}

fn read_word(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parvis_engine::{
        decide::Suppression,
        id::{NotificationId, RegionId},
        matching::{Transition, TransitionCause, TransitionKind},
        notification::{Cause, Channel, Content, Milestone, Notification, Purpose},
        order::{Arrival, Arrived, Fulfilment, Order, OrderState, Told},
        region::RegionKind,
        shopper::{
            ApnsEnvironment, Attribute, Consent, Device, Interest, Loyalty, Presence, PresenceState, PushTarget, Send,
            Shopper, Subscription, SubscriptionKeys, Witness,
        },
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        report::{Event, What},
        store::{Answer, End, life::Progress},
    };

    /// Draws optional parts from bits, so that every combination can come.
    struct Bits(u64);

    impl Bits {
        fn flip(&mut self) -> bool {
            let bit = self.0 & 1 == 1;
            self.0 = self.0.rotate_right(1);
            bit
        }

        fn maybe<T>(&mut self, value: T) -> Option<T> {
            self.flip().then_some(value)
        }

        fn one_of<T>(&mut self, one: T, other: T) -> T {
            if self.flip() { one } else { other }
        }
    }

    fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
        text.parse().expect("a valid name")
    }

    fn target(bits: &mut Bits) -> PushTarget {
        let environment = bits.one_of(ApnsEnvironment::Production, ApnsEnvironment::Sandbox);
        let apns = PushTarget::Apns { token: "a0".to_owned(), topic: "com.example".to_owned(), environment };
        let fcm = PushTarget::Fcm { token: bits.maybe("t".to_owned()), fid: bits.maybe("f".to_owned()) };
        let keys = SubscriptionKeys { p256dh: "BA".to_owned(), auth: "_-".to_owned() };
        let endpoint = "https://push.example/1".to_owned();
        let subscription = Subscription { endpoint, expiration_time: bits.maybe(-5), keys };
        let other = bits.one_of(fcm, PushTarget::WebPush { subscription: Box::new(subscription) });
        bits.one_of(apns, other)
    }

    fn device(bits: &mut Bits, at: Timestamp) -> Device {
        let state = bits.one_of(PresenceState::Near, PresenceState::Inside);
        let presence = Presence {
            region: name("shop"),
            state,
            since: at,
            seen: at,
            dwelled: bits.flip(),
            witness: Witness::Position,
        };
        let target = target(bits);
        Device {
            platform: "ios".into(),
            target: bits.maybe(target),
            locale: bits.maybe("fr-FR".into()),
            time_zone: bits.maybe("Europe/Paris".into()),
            preferred: bits.flip(),
            registered_at: at,
            presences: bits.maybe(presence).into_iter().collect(),
            left_at: bits.maybe(at),
            linked_until: bits.maybe(Box::new(at)),
        }
    }

    fn shopper(bits: &mut Bits, at: Timestamp, number: f64) -> Shopper {
        let mut shopper = Shopper::new(name("~Zoë-日本"));
        shopper.profile.locale = bits.maybe("en".into());
        shopper.profile.segments = bits.maybe("vip".to_owned()).into_iter().collect();
        let attribute = bits.one_of(Attribute::Number(number), Attribute::Text("1".to_owned()));
        let attribute = bits.one_of(attribute, Attribute::Flag(true));
        shopper.profile.attributes.insert("a".to_owned(), attribute);
        let loyalty = Loyalty { tier: bits.maybe("gold".to_owned()), points: i64::MIN };
        shopper.profile.loyalty = bits.maybe(Box::new(loyalty));
        let consent = Consent { granted: bits.flip(), at, text: bits.maybe("v1".into()) };
        shopper.profile.consents.offers = bits.maybe(consent);
        shopper.interests.insert("tv".to_owned(), Interest { weight: number, at, signals: vec![7] });
        shopper.devices.insert(name("phone"), device(bits, at));
        let purpose = bits.one_of(Purpose::Offer, Purpose::Order);
        let notification = NotificationId::derive(at, &shopper.id, &["x"]);
        shopper.sends =
            bits.maybe(Send { at, not_before: at, notification, campaign: name("c"), purpose }).into_iter().collect();
        shopper.orders.insert(name("o"), order(bits, at, number));
        shopper
    }

    fn order(bits: &mut Bits, at: Timestamp, number: f64) -> Order {
        let line = serde_json::json!({"n": number, "big": u64::MAX, "low": i64::MIN, "deep": [null, true, {"a": []}]});
        Order {
            id: name("o"),
            state: OrderState::Shipped,
            at,
            fulfilment: bits.maybe(Fulfilment::Pickup),
            store: bits.maybe(name("s")),
            eta: bits.maybe(at),
            lines: bits.maybe(line).into_iter().collect(),
            adviser: bits.maybe("Ada".to_owned()),
            events: BTreeMap::from([(name("e"), (OrderState::Registered, at))]),
            notifications: BTreeMap::from([(name("e"), vec![NotificationId::derive(at, &name("A"), &["y"])])]),
            newest: bits.maybe((at, OrderState::Registered, name("e"))),
            sources: BTreeMap::from([("eta".to_owned(), (at, OrderState::Shipped, name("e")))]),
            told: BTreeMap::from([(OrderState::Shipped, Told { at, eta: bits.maybe(at), offer_only: bits.flip() })]),
            arrived: bits.maybe(Arrived { transition: TransitionKind::Approach, at }),
        }
    }

    fn cause(bits: &mut Bits) -> Cause {
        let transition = Cause::Transition { transition: TransitionKind::Pass, region: name::<RegionId>("r") };
        bits.one_of(transition, Cause::Order { order: name("o"), state: OrderState::Delayed })
    }

    fn message(bits: &mut Bits, at: Timestamp) -> Notification {
        let data = bits.maybe(("k".to_owned(), "v".to_owned())).into_iter().collect();
        let deep_link = bits.maybe("app://x".to_owned());
        Notification {
            id: NotificationId::derive(at, &name("A"), &["m"]),
            shopper: name("A"),
            device: name("phone"),
            channel: bits.one_of(Channel::WebPush, Channel::Apns),
            purpose: Purpose::Order,
            campaign: name("c"),
            cause: cause(bits),
            content: Content { title: "é".to_owned(), body: String::new(), deep_link, data, locale: "fr".to_owned() },
            collapse: "k".to_owned(),
            observed_at: at,
            decided_at: Timestamp::MIN,
            not_before: at,
            expires_at: Timestamp::MAX,
        }
    }

    fn events(bits: &mut Bits, at: Timestamp, confidence: f64) -> Vec<Event> {
        let transition = Transition {
            kind: TransitionKind::Dwell,
            device: name("phone"),
            region: name("r"),
            region_kind: RegionKind::Geofence,
            store: bits.maybe(name("s")),
            at,
            received_at: at,
            confidence,
            cause: TransitionCause::Timeout,
            entered_at: bits.maybe(at),
            replayed: bits.flip(),
        };
        let notification = NotificationId::derive(at, &name("A"), &["m"]);
        let decision = What::Decision {
            campaign: name("c"),
            device: bits.maybe(name("phone")),
            cause: cause(bits),
            notification: bits.maybe(notification),
            not_before: bits.maybe(at),
            suppressed: bits.maybe(Suppression::Expired { expires_at: at }),
        };
        let milestone =
            What::Milestone { notification, milestone: Milestone::Dead, detail: bits.maybe("why".to_owned()) };
        let adviser = bits.maybe("Ada".to_owned());
        let transition_kind = TransitionKind::Enter;
        let arrival = What::Arrival(Arrival {
            order: name("o"),
            store: name("s"),
            shopper: name("A"),
            device: name("d"),
            at,
            transition: transition_kind,
            lines: Vec::new(),
            adviser,
        });
        let order = What::Order { order: name("o"), state: OrderState::PickedUp };
        [What::Transition(transition), decision, milestone, order, arrival]
            .map(|what| Event { at, recorded_at: at, shopper: name("A"), what })
            .to_vec()
    }

    fn assert_returns<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = encode(value).expect("encodes");
        assert_eq!(&decode::<T>(&bytes, || "the value".to_owned()).expect("decodes"), value);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn every_stored_type_returns_as_it_was(
            seed: u64,
            millis in Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis(),
            number in -1.0e12..1.0e12_f64,
        ) {
            let (mut bits, at) = (Bits(seed), Timestamp::from_millis(millis));
            assert_returns(&shopper(&mut bits, at, number));
            for event in events(&mut bits, at, number) {
                let bytes = encode(&event).expect("encodes");
                prop_assert_eq!(decode::<Event>(&bytes, String::new).expect("decodes"), event);
            }
            let message = message(&mut bits, at);
            let mut progress = Progress::begin(&message);
            progress.settle(at, &End::Again { at, attempts: 1, detail: bits.maybe("slow".to_owned()) });
            assert_returns(&progress);
            assert_returns(&message);
            let answer = Answer { status: 200, content_type: String::new(), body: seed.to_le_bytes().to_vec(), request_hash: seed };
            assert_returns(&answer);
        }

        #[test]
        fn rows_return_their_frames_and_no_cut_row_does(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            wake in prop::option::of(0_i64..1_000_000),
            cut in 1_usize..20,
        ) {
            let wake = wake.map(Timestamp::from_millis);
            let frames: Vec<_> =
                bodies.iter().map(|body| Frame { id: "C-1", version: 7, wake, body }).collect();
            let mut row = Vec::new();
            frames.iter().for_each(|frame| frame.write(&mut row));
            prop_assert_eq!(row.len() as u64, frames.iter().map(Frame::len).sum::<u64>());
            prop_assert_eq!(&Frame::read_all(1, &row).expect("whole"), &frames);
            let last = usize::try_from(frames.last().map_or(0, Frame::len)).expect("small");
            let short = &row[..row.len() - cut.min(last - 1)];
            prop_assert!(matches!(Frame::read_all(1, short), Err(Error::Corrupt(_))));
        }
    }

    #[test]
    fn fields_that_were_added_later_are_defaults_in_old_records() {
        let old = encode(&serde_json::json!({"id": "A"})).expect("encodes");
        let shopper: Shopper = decode(&old, || "the shopper".to_owned()).expect("decodes");
        assert_eq!(shopper, Shopper::new(name("A")));
    }
}
