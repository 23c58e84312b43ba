//! How values become bytes, the same for every engine: self-describing MessagePack, so that fields can be added. What
//! stands around a value is its engine's affair.

use serde::{Serialize, de::DeserializeOwned};

use super::Error;

/// Writes a value.
///
/// The human-readable form of times and ids costs bytes. But serde's buffer for flattened and tagged types always says
/// that it is human-readable, so a value written in the other form could not be read back through it.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(512);
    encode_onto(&mut bytes, value)?;
    Ok(bytes)
}

/// Writes a value behind what is there.
pub(super) fn encode_onto<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    let mut serializer = rmp_serde::Serializer::new(bytes).with_struct_map().with_human_readable();
    value.serialize(&mut serializer).map_err(|error| Error::Unavailable(format!("can't be encoded: {error}")))
}

/// Reads a value; `what` names it in the error.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<T, Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    T::deserialize(&mut deserializer).map_err(|error| Error::Corrupt(format!("{}: {error}", what())))
}

/// Appends bytes behind their length.
pub(super) fn write_part(row: &mut Vec<u8>, part: &[u8]) {
    row.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    row.extend_from_slice(part);
}

/// Appends what `write` writes behind its length.
pub(super) fn write_part_with(
    row: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let begun = row.len();
    row.extend_from_slice(&[0; 4]);
    write(row)?;
    let len = u32::try_from(row.len() - begun - 4).unwrap_or(u32::MAX);
    row[begun..begun + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// Takes the bytes that [`write_part`] wrote, and leaves what follows; none if they are cut short.
pub(super) fn read_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parvis_engine::{
        decide::Suppression,
        id::{AppId, NotificationId, RegionId},
        matching::{Transition, TransitionCause, TransitionKind},
        notification::{Body, Cause, Channel, Content, LiveState, Milestone, Notification, Origin, Purpose, Recipient},
        order::{Arrival, Arrived, Fulfilment, Order, OrderState, Told},
        region::RegionKind,
        shopper::{
            Activity, ApnsEnvironment, Attribute, Consent, Device, Following, Interest, LiveToken, Loyalty, Presence,
            PresenceState, PushTarget, Send, Shopper, Subscription, SubscriptionKeys, Witness,
        },
        time::Timestamp,
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
        let apns = PushTarget::Apns { token: "a0".into(), topic: "com.example".into(), environment };
        let fcm = PushTarget::Fcm { token: bits.maybe("t".into()), fid: bits.maybe("f".into()) };
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
            app: bits.maybe(Box::new(name("loyalty"))),
            target: bits.maybe(target),
            locale: bits.maybe("fr-FR".into()),
            time_zone: bits.maybe("Europe/Paris".into()),
            preferred: bits.flip(),
            registered_at: at,
            presences: bits.maybe(presence).into_iter().collect(),
            left_at: bits.maybe(at),
            linked_until: bits.maybe(Box::new(at)),
            live: {
                let following = following(bits, at);
                bits.maybe(Box::new(following))
            },
        }
    }

    fn following(bits: &mut Bits, at: Timestamp) -> Following {
        let token = || LiveToken { token: "b0".to_owned(), registered_at: at };
        let shown = LiveState {
            state: OrderState::Delayed,
            step: 3,
            steps: 5,
            fulfilment: bits.maybe(Fulfilment::Delivery),
            eta: bits.maybe(at),
            store: bits.maybe("Opéra".to_owned()),
            at,
        };
        let activity = Activity {
            token: bits.maybe(token()),
            campaign: bits.maybe(name("c")),
            shown: bits.maybe(shown),
            urgent: bits.maybe(at).into_iter().collect(),
            ended_at: bits.maybe(at),
            dismissed_at: bits.maybe(at),
            ..Activity::new(at)
        };
        let orders = bits.maybe((name("o"), activity)).into_iter().collect();
        Following { start: bits.maybe(token()), progress: bits.flip(), orders }
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
            recipient: Recipient::Device(name("phone")),
            channel: bits.one_of(Channel::WebPush, Channel::Apns),
            app: AppId::default(),
            origin: Origin::Campaign { campaign: name("c"), purpose: Purpose::Order, cause: cause(bits) },
            replays: None,
            body: Body::Content(Content {
                title: "é".to_owned(),
                body: String::new(),
                deep_link,
                data,
                locale: "fr".to_owned(),
            }),
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
    }

    #[test]
    fn fields_that_were_added_later_are_defaults_in_old_records() {
        let old = encode(&serde_json::json!({"id": "A"})).expect("encodes");
        let shopper: Shopper = decode(&old, || "the shopper".to_owned()).expect("decodes");
        assert_eq!(shopper, Shopper::new(name("A")));
    }
}
