//! Tests of [`super`].

use std::time::Duration;

use super::*;
use crate::{
    decide::Settings,
    fixture::*,
    id::{DeviceId, NotificationId},
    notification::Purpose,
    shopper::{Consent, Consents, Interest, Profile, PushTarget, Send, Shopper},
};

const P256DH: &str = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM";
const AUTH: &str = "tBHItJI5svbpez7KI4CCXg";

fn registration(json: &str) -> Registration {
    serde_json::from_str(json).expect("well formed")
}

fn paths(registration: &Registration) -> Vec<String> {
    registration.problems().into_iter().map(|problem| problem.path).collect()
}

fn phone() -> DeviceId {
    "phone".parse().expect("an id")
}

#[test]
fn sound_registrations_are_taken() {
    let token = "ab".repeat(32);
    for target in [
        format!(r#"{{"channel":"apns","token":"{token}","topic":"com.example.shop","environment":"production"}}"#),
        r#"{"channel":"fcm","token":"abc:def"}"#.to_owned(),
        r#"{"channel":"fcm","fid":"abc"}"#.to_owned(),
        format!(
            r#"{{"channel":"webpush","subscription":{{"endpoint":"https://push.example/x","expirationTime":null,
                "keys":{{"p256dh":"{P256DH}","auth":"{AUTH}=="}}}}}}"#
        ),
    ] {
        let json = format!(
            r#"{{"shopper":"C-1","platform":"ios","target":{target},"locale":"fr-FR","time_zone":"Europe/Paris"}}"#
        );
        assert_eq!(paths(&registration(&json)), Vec::<String>::new(), "{json}");
    }
}

#[test]
fn every_unsound_field_is_named() {
    let found = paths(&registration(
        r#"{"shopper":"~x","platform":"","target":{"channel":"apns","token":"xyz","topic":""},
            "locale":"french language","time_zone":"Paris","consents":{}}"#,
    ));
    assert_eq!(
        found,
        ["/shopper", "/platform", "/locale", "/time_zone", "/target/token", "/target/topic", "/consents"]
    );
    let both = registration(r#"{"platform":"android","target":{"channel":"fcm","token":"a","fid":"b"}}"#);
    assert_eq!(paths(&both), ["/target"]);
    assert_eq!(paths(&registration(r#"{"platform":"tag"}"#)), ["/platform"]);
    assert_eq!(paths(&carried("C-1", None)), Vec::<String>::new());
    let neither = registration(r#"{"platform":"android","target":{"channel":"fcm"}}"#);
    assert_eq!(paths(&neither), ["/target"]);
    let browser = registration(
        r#"{"platform":"web","target":{"channel":"webpush","subscription":{"endpoint":"http://push.example",
            "keys":{"p256dh":"AAAA","auth":"%%"}}}}"#,
    );
    let under = |end: &str| format!("/target/subscription/{end}");
    assert_eq!(paths(&browser), [under("endpoint"), under("keys/p256dh"), under("keys/auth")]);
    assert!(serde_json::from_str::<Registration>(r#"{"platform":"ios","shoper":"C-1"}"#).is_err());
}

#[test]
fn a_claimed_device_brings_its_anonymous_past() {
    let settings = Settings::default();
    let anonymous_id = registration(r#"{"platform":"ios"}"#).owner(&phone());
    assert!(anonymous_id.is_anonymous());
    let mut anonymous = Shopper::clone(&shopper("C-x"));
    anonymous.id = anonymous_id;
    let interest = Interest { weight: 1.0, at: at(NOON), signals: vec![7] };
    anonymous.interests.insert("tv".to_owned(), interest.clone());
    let send = Send {
        at: at(NOON),
        not_before: at(NOON),
        notification: NotificationId::derive(at(NOON), &anonymous.id, &["a"]),
        campaign: "c".parse().expect("an id"),
        purpose: Purpose::Offer,
    };
    anonymous.sends.push(send.clone());
    let mut moving = std::sync::Arc::new(anonymous);
    inside(&mut moving, "rivoli", at(NOON));
    let mut anonymous = Shopper::clone(&moving);

    let mut known = Shopper::new("C-1".parse().expect("an id"));
    let no = Consent { granted: false, at: at(NOON), text: None };
    known.profile.consents.offers = Some(no.clone());
    known.interests.insert("tv".to_owned(), interest);
    known.sends.push(send);
    let claim = registration(r#"{"shopper":"C-1","platform":"ios","target":{"channel":"fcm","token":"t1"}}"#);
    register(&mut known, Some(&mut anonymous), (&phone(), claim), &settings, at(NOON));
    assert_eq!(known.devices.get(&phone()).expect("a phone").presences.len(), 1, "still in the shop");
    assert_eq!(known.sends.len(), 1, "the same send counts once");
    assert!((known.interests["tv"].weight - 2.0).abs() < 1e-9);
    assert_eq!(known.profile.consents.offers, Some(no), "not overwritten");
    assert!(known.profile.consents.allow_location(), "a gap is filled");
    assert!(anonymous.devices.is_empty() && anonymous.sends.is_empty() && anonymous.interests.is_empty());
}

#[test]
fn a_device_that_changes_hands_brings_no_past_but_where_it_is() {
    let settings = Settings::default();
    let mut seller = shopper("C-2");
    inside(&mut seller, "rivoli", at(NOON));
    let mut seller = Shopper::clone(&seller);
    seller.interests.insert("tv".to_owned(), Interest { weight: 1.0, at: at(NOON), signals: Vec::new() });
    let mut buyer = Shopper::clone(&shopper("C-1"));
    buyer.devices.clear();
    let claim = registration(r#"{"shopper":"C-1","platform":"ios","preferred":true}"#);
    register(&mut buyer, Some(&mut seller), (&phone(), claim), &settings, at(NOON));
    assert!(buyer.interests.is_empty() && !seller.interests.is_empty());
    assert_eq!((seller.devices.len(), buyer.devices.get(&phone()).expect("a phone").presences.len()), (0, 1));
}

#[test]
fn one_device_is_preferred_and_their_number_is_limited() {
    let mut owner = Shopper::clone(&shopper("C-1"));
    let mut gone = Vec::new();
    for count in 0..40 {
        let device = format!("d-{count}").parse().expect("an id");
        let claim = registration(r#"{"shopper":"C-1","platform":"ios","preferred":true}"#);
        let now = at(NOON).plus(Duration::from_secs(count));
        gone.extend(register(&mut owner, None, (&device, claim), &Settings::default(), now));
    }
    assert_eq!((owner.devices.len(), gone.len()), (20, 21));
    assert!(gone.contains(&phone()) && gone.iter().all(|device| !owner.devices.contains_key(device)));
    assert_eq!(owner.devices.values().filter(|device| device.preferred).count(), 1);
    assert!(owner.devices.contains_key(&"d-39".parse::<DeviceId>().expect("an id")));
}

#[test]
fn withdrawn_location_ends_presences() {
    let mut owner = shopper("C-1");
    inside(&mut owner, "rivoli", at(NOON));
    let mut owner = Shopper::clone(&owner);
    let consents = owner.profile.consents.clone();
    replace_profile(&mut owner, Profile { consents, ..Profile::default() });
    assert_eq!(owner.devices.get(&phone()).expect("a phone").presences.len(), 1);
    replace_profile(&mut owner, Profile { consents: Consents::default(), ..Profile::default() });
    assert!(owner.devices.get(&phone()).expect("a phone").presences.is_empty());
}

#[test]
fn profiles_have_limits() {
    let mut profile = Profile { time_zone: Some("Mars/Olympus".into()), ..Profile::default() };
    profile.segments = (0..201).map(|count| format!("s-{count}")).collect();
    profile.attributes.insert("first name".to_owned(), crate::shopper::Attribute::Flag(true));
    let found: Vec<String> = profile_problems(&profile).into_iter().map(|problem| problem.path).collect();
    assert_eq!(found, ["/time_zone", "/segments", "/attributes/first name"]);
}

#[test]
fn signals_add_up_in_any_order_and_repeats_are_harmless() {
    let half_life = Settings::default().interest_half_life;
    let json = |when: &str, weight: f64| {
        let json = format!(r#"{{"interest":"tv","weight":{weight},"source":"newsletter","at":"{when}"}}"#);
        serde_json::from_str::<Signal>(&json).expect("well formed")
    };
    let (old, new) = (json("2026-11-07T12:00:00+01:00", 2.0), json(NOON, 1.0));
    let sum = |signals: &[&Signal]| {
        let mut shopper = Shopper::new("C-1".parse().expect("an id"));
        for shown in signals {
            assert!(shown.problems().is_empty());
            signal(&mut shopper, shown, half_life, at(NOON));
        }
        shopper.interests["tv"].weight_at(at(NOON), half_life)
    };
    assert!((sum(&[&old, &new]) - 2.0).abs() < 1e-9, "half of the old one is left");
    assert!((sum(&[&new, &old]) - 2.0).abs() < 1e-9);
    assert!((sum(&[&old, &new, &old, &new]) - 2.0).abs() < 1e-9);
    assert_eq!(json(NOON, 0.0).problems().len(), 1);
    let ahead = json("2026-11-22T12:00:00+01:00", 1.0);
    assert!((sum(&[&ahead]) - 1.0).abs() < 1e-9, "times to come are now");
}

#[test]
fn interests_are_limited_and_the_faintest_goes() {
    let mut shopper = Shopper::new("C-1".parse().expect("an id"));
    for count in 0..250_u32 {
        let shown =
            Signal { interest: format!("i-{count}"), weight: f64::from(1 + count % 100), source: None, at: at(NOON) };
        signal(&mut shopper, &shown, Duration::from_secs(1), at(NOON));
    }
    assert_eq!(shopper.interests.len(), 200);
    assert!(!shopper.interests.contains_key("i-0") && shopper.interests.contains_key("i-99"));
}

#[test]
fn a_target_goes_only_if_it_is_older_than_the_news() {
    let mut owner = Shopper::clone(&shopper("C-1"));
    let target = owner.devices.get(&phone()).expect("a phone").target.clone().expect("a target");
    let other = PushTarget::Fcm { token: Some("other".into()), fid: None };
    assert!(!remove_target(&mut owner, &phone(), &other, None, at(NOON)), "registered anew with another token");
    assert!(
        !remove_target(&mut owner, &phone(), &target, Some(at(NOON).minus(hours(1))), at(NOON)),
        "registered since then"
    );
    assert!(
        remove_target(&mut owner, &phone(), &target, Some(at(NOON)), at(NOON)),
        "in the same moment is not since then"
    );
    assert!(!remove_target(&mut owner, &phone(), &target, None, at(NOON)), "gone already");
}

fn carried(shopper: &str, until: Option<i64>) -> Registration {
    let link = Link { until: until.map(Timestamp::from_millis) };
    Registration::of_tag(shopper.parse().expect("an id"), link)
}

#[test]
fn a_tag_brings_nothing_of_its_last_bearer_along() {
    let (mut first, mut second) = (shopper("C-1"), shopper("C-2"));
    let cart: DeviceId = "cart".parse().expect("an id");
    let (first, second) = (std::sync::Arc::make_mut(&mut first), std::sync::Arc::make_mut(&mut second));
    let settings = Settings::default();
    register(first, None, (&cart, carried("C-1", Some(5_000))), &settings, Timestamp::from_millis(1_000));
    let known = first.devices.get_mut(&cart).expect("linked");
    assert_eq!((known.platform.as_ref(), known.target.is_none()), ("tag", true));
    assert_eq!(known.linked_until.as_deref(), Some(&Timestamp::from_millis(5_000)));
    known.left_at = Some(Timestamp::from_millis(1_500));
    register(second, Some(first), (&cart, carried("C-2", None)), &settings, Timestamp::from_millis(2_000));
    assert!(!first.devices.contains_key(&cart));
    let known = second.devices.get(&cart).expect("linked");
    assert_eq!((known.left_at, known.linked_until.is_none()), (None, true));
    second.devices.get_mut(&cart).expect("linked").left_at = Some(Timestamp::from_millis(2_500));
    register(second, None, (&cart, carried("C-2", Some(9_000))), &settings, Timestamp::from_millis(3_000));
    let known = second.devices.get(&cart).expect("linked");
    assert!(known.left_at.is_some(), "linked again to the same shopper, it is the same visit");
}

#[test]
fn tags_whose_time_is_over_make_room() {
    let mut owner = shopper("C-1");
    let owner = std::sync::Arc::make_mut(&mut owner);
    let settings = Settings::default();
    for visit in 0..40_i64 {
        let cart: DeviceId = format!("cart-{visit}").parse().expect("an id");
        let now = Timestamp::from_millis(visit * 10_000);
        let gone = register(owner, None, (&cart, carried("C-1", Some(visit * 10_000 + 5_000))), &settings, now);
        assert_eq!(gone.len(), usize::from(visit > 0), "the cart of the visit before");
    }
    assert!(owner.devices.contains_key(&phone()));
    assert_eq!(owner.devices.len(), 2);
}
