//! Sightings become zones: phones that hear beacons, scanners that hear tags.

use std::sync::Arc;

use parvis_engine::{
    campaign::Campaign,
    decide::{self, Budgets, Verdict},
    id::{DeviceId, RegionId},
    matching::{self, Subject, Transition, TransitionCause, TransitionKind},
    normalise,
    observation::{Crossing, Edge, Heard, Observation, Position, Rejected, Rejection, Scan, Sighting},
    registry::{Beacon, BeaconRegion, Parts, Registry, Scanner, Zone},
    shopper::{Consent, Device, PresenceState, PushTarget, Shopper, Track},
    store::Store,
    time::Timestamp,
    track,
    world::{self, World},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::driver::{at, fix};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

pub(crate) fn read<S: DeserializeOwned>(value: Value) -> S {
    serde_json::from_value(value).expect("well formed")
}

pub(crate) fn beacon(id: &str, minor: u16, more: &Value) -> Arc<Beacon> {
    let mut spec = json!({"id": id, "uuid": UUID, "major": 7, "minor": minor});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Arc::new(Beacon::compile(read(spec)).expect("sound"))
}

pub(crate) fn scanner(id: &str, more: &Value) -> Arc<Scanner> {
    let mut spec = json!({"id": id, "store": "opera"});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Arc::new(Scanner::compile(read(spec)).expect("sound"))
}

pub(crate) fn zone(id: &str, more: &Value) -> Arc<Zone> {
    let mut spec = json!({"id": id, "store": "opera"});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Arc::new(Zone::compile(read(spec)).expect("sound"))
}

pub(crate) fn opera() -> Position {
    Position { lat: 48.8706, lon: 2.3319 }
}

/// Two aisles of one department and the tills, each with a beacon and a scanner; a tag; a beacon in another town.
pub(crate) fn shop(campaigns: Vec<Value>) -> World {
    let here = json!(opera());
    let parts = Parts {
        beacons: vec![
            beacon("b-tv", 1, &json!({"store": "opera", "zone": "tv", "position": here})),
            beacon("b-hifi", 2, &json!({"store": "opera", "zone": "hifi"})),
            beacon("b-tills", 3, &json!({"store": "opera", "zone": "tills"})),
            beacon("b-lyon", 4, &json!({"store": "lyon", "position": {"lat": 45.76, "lon": 4.84}})),
            beacon("b-door", 5, &json!({"store": "opera"})),
            beacon("tag", 100, &json!({"role": "tag"})),
        ],
        scanners: vec![
            scanner("s-tv", &json!({"zone": "tv"})),
            scanner("s-hifi", &json!({"zone": "hifi", "offset_db": 5.0})),
            scanner("s-tills", &json!({"zone": "tills"})),
            scanner("s-lyon", &json!({"store": "lyon"})),
        ],
        zones: vec![
            zone("electronics", &json!({})),
            zone("tv", &json!({"group": "electronics", "tags": ["aisle"], "codes": ["qr-tv"]})),
            zone("hifi", &json!({"group": "electronics", "tags": ["aisle"]})),
            zone("tills", &json!({})),
        ],
        regions: vec![
            Arc::new(BeaconRegion::compile(read(json!({"id": "all", "uuid": UUID}))).expect("sound")),
            Arc::new(
                BeaconRegion::compile(read(
                    json!({"id": "door", "uuid": UUID, "major": 7, "minor": 5, "proximity": "near"}),
                ))
                .expect("sound"),
            ),
        ],
    };
    let store = |id: &str| {
        let spec = json!({"id": id, "name": id, "time_zone": "Europe/Paris"});
        Arc::new(Store::compile(read(spec)).expect("sound"))
    };
    let campaigns = campaigns.into_iter().map(|it| Arc::new(Campaign::compile(read(it)).expect("sound")));
    let stores = vec![store("opera"), store("lyon")];
    World::new(1, Vec::new(), campaigns.collect(), stores, world::Settings::default())
        .with_registry(Registry::new(parts))
}

/// A shopper with one device, driven the way the daemon does it.
pub(crate) struct Walk {
    pub(crate) world: World,
    pub(crate) device: DeviceId,
    pub(crate) shopper: Arc<Shopper>,
    pub(crate) track: Track,
    pub(crate) told: Vec<Transition>,
    pub(crate) sent: Vec<(String, DeviceId)>,
    pub(crate) refused: Vec<(String, &'static str)>,
}

impl Walk {
    pub(crate) fn new(world: World, device: &str) -> Walk {
        let mut shopper = Shopper::new("C-1".parse().expect("an id"));
        let yes = Some(Consent { granted: true, at: at(0.0), text: None });
        shopper.profile.consents.location.clone_from(&yes);
        shopper.profile.consents.offers = yes;
        let target = PushTarget::Fcm { token: Some("t".into()), fid: None };
        shopper.devices.insert(name("phone"), Device::new("android", Some(target), at(0.0)));
        shopper.devices.insert(name("tag"), Device::new("tag", None, at(0.0)));
        Walk {
            world,
            device: name(device),
            shopper: Arc::new(shopper),
            track: Track::default(),
            told: Vec::new(),
            sent: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub(crate) fn takes(&mut self, raw: Observation, now: Timestamp) -> Result<(), Rejected> {
        let until = raw.at();
        let trusted = normalise::observation(&self.world, &self.device, raw, now)?;
        self.waits(until, now);
        let movement = track::movement(&self.world, &mut self.track, trusted)?;
        self.matches(now, |world, subject| matching::transitions(world, subject, &movement, now));
        Ok(())
    }

    pub(crate) fn waits(&mut self, until: Timestamp, now: Timestamp) {
        self.matches(now, |world, subject| matching::elapsed(world, subject, until, now));
    }

    pub(crate) fn matches(&mut self, now: Timestamp, look: impl FnOnce(&World, Subject<'_>) -> matching::Matched) {
        let known = self.shopper.devices.get(&self.device).expect("registered");
        let subject =
            Subject { device: &self.device, presences: &known.presences, left_at: None, track: &mut self.track };
        let matched = look(&self.world, subject);
        if let Some(presences) = matched.presences {
            let shopper = Arc::make_mut(&mut self.shopper);
            shopper.devices.get_mut(&self.device).expect("registered").presences = presences;
        }
        let decided = decide::campaigns(&self.world, &mut self.shopper, &matched.transitions, &mut Budgets::new(), now);
        for decision in decided.decisions {
            let campaign = decision.campaign.to_string();
            match decision.verdict {
                Verdict::Send(message) => self.sent.push((campaign, message.device().expect("a device").clone())),
                Verdict::Suppress(why) => self.refused.push((campaign, why.name())),
            }
        }
        self.told.extend(matched.transitions);
    }

    /// The phone hears a beacon.
    pub(crate) fn hears(&mut self, second: f64, minor: u16, rssi_dbm: f64) {
        self.takes(heard(second, minor, rssi_dbm, None), at(second)).expect("a sighting that is taken");
    }

    /// A scanner hears the tag.
    pub(crate) fn is_heard(&mut self, second: f64, scanner: &str, rssi_dbm: f64) {
        self.takes(heard(second, 100, rssi_dbm, Some(scanner)), at(second)).expect("a sighting that is taken");
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.told.iter().map(|it| format!("{} {}", it.kind.name(), it.region)).collect()
    }

    /// What was told of zones alone.
    pub(crate) fn zones(&self) -> Vec<String> {
        self.kinds().into_iter().filter(|told| !told.ends_with(" all") && !told.ends_with(" door")).collect()
    }

    pub(crate) fn reason(&mut self, raw: Observation, second: f64) -> Rejection {
        self.takes(raw, at(second)).expect_err("a refusal").reason
    }
}

pub(crate) fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("an id")
}

pub(crate) fn heard(second: f64, minor: u16, rssi_dbm: f64, observer: Option<&str>) -> Observation {
    let heard: Heard = read(json!({"uuid": UUID, "major": 7, "minor": minor}));
    Observation::Sighting(Sighting {
        at: at(second),
        heard,
        rssi_dbm,
        measured_power_dbm: None,
        count: None,
        distance_m: None,
        observer: observer.map(|id| id.parse().expect("an id")),
    })
}

pub(crate) fn offer(id: &str, on: &Value) -> Value {
    json!({"id": id, "purpose": "offer", "on": on, "content": {"en": {"title": "Offer", "body": "For you"}}})
}

#[test]
fn one_sighting_alone_causes_nothing() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    walk.hears(0.0, 1, -50.0);
    assert_eq!(walk.kinds(), Vec::<String>::new());
    walk.hears(0.5, 1, -50.0);
    assert_eq!(walk.kinds(), Vec::<String>::new(), "within a second it is still one");
    walk.hears(1.0, 1, -50.0);
    assert_eq!(walk.kinds(), ["enter all", "enter electronics", "enter tv"]);
    assert!(walk.told.iter().all(|it| it.cause == TransitionCause::Sighting && it.at == at(1.0)));
}

#[test]
fn a_phone_walks_from_aisle_to_aisle() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..20 {
        let second = f64::from(second);
        let tv = if second < 10.0 { -55.0 } else { -75.0 };
        walk.hears(second, 1, tv);
        walk.hears(second + 0.2, 2, -130.0 - tv);
    }
    let expected =
        ["enter electronics", "enter tv", "dwell electronics", "dwell tv", "exit tv", "enter hifi", "dwell hifi"];
    assert_eq!(walk.zones(), expected, "the department stays one visit");
    walk.waits(at(19.2 + 29.9), at(60.0));
    assert_eq!(walk.zones().len(), expected.len(), "not silent for long enough");
    walk.waits(at(19.2 + 30.0), at(60.0));
    let gone = &walk.told[walk.told.len() - 3..];
    assert!(gone.iter().all(|it| it.kind == TransitionKind::Exit && it.cause == TransitionCause::Silence), "{gone:?}");
    assert_eq!(gone.iter().map(|it| it.at).max(), Some(at(19.2)), "when it was last heard");
}

#[test]
fn scanners_hear_a_tag_and_offsets_count() {
    let mut walk = Walk::new(shop(Vec::new()), "tag");
    for second in 0..4 {
        // With its offset of 5 dB it is the stronger one.
        walk.is_heard(f64::from(second), "s-hifi", -66.0);
        walk.is_heard(f64::from(second) + 0.1, "s-tv", -64.0);
    }
    assert_eq!(walk.zones(), ["enter electronics", "enter hifi"]);
    assert!(walk.told[1].confidence >= 0.6, "{:?}", walk.told[1]);
    walk.waits(at(3.1 + 12.0), at(20.0));
    assert_eq!(walk.zones().len(), 4, "a tag is gone sooner than a phone");
}

#[test]
fn who_stands_between_two_aisles_is_in_the_department() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..10 {
        walk.hears(f64::from(second), 1, -60.0);
        walk.hears(f64::from(second) + 0.1, 2, -60.0);
        walk.hears(f64::from(second) + 0.2, 3, -60.5);
    }
    // For a moment only the first had been heard twice.
    assert!(!walk.zones().contains(&"dwell tv".to_owned()), "{:?}", walk.zones());
    assert!(walk.zones().contains(&"dwell electronics".to_owned()), "{:?}", walk.zones());
}

#[test]
fn an_offer_for_an_aisle_waits_until_somebody_lingers() {
    let on = |transition: &str| json!({"transition": transition, "regions": ["tv"]});
    let world = shop(vec![offer("at-once", &on("enter")), offer("lingers", &on("dwell"))]);
    let mut walk = Walk::new(world, "phone");
    for second in 0..60 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.refused, [("at-once".to_owned(), "unsettled")]);
    assert_eq!(walk.sent, [("lingers".to_owned(), name("phone"))]);
    // Back and forth between the aisles: the offer was made on this visit.
    for second in 60..200 {
        let near = if (second / 20) % 2 == 0 { -50.0 } else { -80.0 };
        walk.hears(f64::from(second), 1, near);
        walk.hears(f64::from(second) + 0.1, 2, -130.0 - near);
    }
    let entered = walk.zones().iter().filter(|told| *told == "enter tv").count();
    assert!(entered >= 4, "{:?}", walk.zones());
    assert_eq!(walk.zones().iter().filter(|told| *told == "dwell tv").count(), 1);
    assert_eq!(walk.sent.len(), 1);
    // After the visit of the shop it is another one.
    let tomorrow = 200.0 + 3.0 * 3_600.0;
    walk.waits(at(tomorrow), at(tomorrow));
    assert!(walk.shopper.devices.get("phone").expect("a phone").presences.is_empty());
    for second in 0..20 {
        walk.hears(tomorrow + f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.sent.len(), 2);
}

#[test]
fn two_devices_of_one_shopper_hear_of_an_aisle_once() {
    let on = json!({"transition": "dwell", "regions": ["tv"]});
    let mut walk = Walk::new(shop(vec![offer("lingers", &on)]), "tag");
    for second in 0..10 {
        walk.is_heard(f64::from(second), "s-tv", -55.0);
    }
    assert_eq!(walk.sent, [("lingers".to_owned(), name("phone"))], "a tag can't be told, the phone can");
    walk.device = name("phone");
    walk.track = Track::default();
    for second in 10..30 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    assert_eq!(walk.refused, [("lingers".to_owned(), "told_here")]);
    assert_eq!(walk.sent.len(), 1);
}

#[test]
fn a_code_that_is_read_places_somebody_at_once() {
    let on = json!({"transition": "dwell", "regions": ["tv"]});
    let mut walk = Walk::new(shop(vec![offer("scanned", &on)]), "phone");
    let scan = |tag: &str, second| Observation::Scan(Scan { at: at(second), tag: tag.to_owned() });
    assert_eq!(walk.reason(scan("qr-nowhere", 0.0), 0.0), Rejection::UnknownTag);
    walk.takes(scan("qr-tv", 0.0), at(0.0)).expect("a code of the shop");
    assert_eq!(walk.zones(), ["enter electronics", "enter tv", "dwell tv"]);
    assert_eq!(walk.sent.len(), 1);
    walk.takes(scan("qr-tv", 5.0), at(5.0)).expect("a code of the shop");
    assert_eq!(walk.sent.len(), 1, "once on a visit");
}

#[test]
fn old_sightings_are_on_record_and_tell_nobody() {
    let on = json!({"transition": "dwell", "regions": ["tv"]});
    let mut walk = Walk::new(shop(vec![offer("lingers", &on)]), "phone");
    for second in 0..30 {
        walk.takes(heard(f64::from(second), 1, -55.0, None), at(120.0)).expect("taken late");
    }
    assert_eq!(walk.zones(), ["enter electronics", "enter tv", "dwell electronics", "dwell tv"]);
    assert!(walk.told.iter().all(|it| it.replayed));
    assert!(walk.sent.is_empty() && walk.refused.is_empty());
}

#[test]
fn repeats_and_late_readings_change_nothing() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..5 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    let (track, told) = (walk.track.clone(), walk.told.len());
    for second in 0..5 {
        walk.takes(heard(f64::from(second), 1, -20.0, None), at(5.0)).expect("harmless");
    }
    assert_eq!(
        (walk.track.radio.as_ref().map(|it| &it.sources), walk.told.len()),
        (track.radio.as_ref().map(|it| &it.sources), told)
    );
}

#[test]
fn directions_are_kept_apart_and_refusals_have_names() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    assert_eq!(walk.reason(heard(0.0, 99, -50.0, None), 0.0), Rejection::UnknownBeacon);
    assert_eq!(walk.reason(heard(0.0, 100, -50.0, None), 0.0), Rejection::WrongRole, "a phone hears no tags");
    assert_eq!(walk.reason(heard(0.0, 1, -50.0, Some("s-tv")), 0.0), Rejection::WrongRole, "a phone is no tag");
    assert_eq!(walk.reason(heard(0.0, 1, 42.0, None), 0.0), Rejection::Invalid);
    assert_eq!(walk.reason(heard(300.0, 1, -50.0, None), 0.0), Rejection::Future);
    assert_eq!(walk.reason(heard(0.0, 1, -50.0, None), 700.0), Rejection::Stale);
    let mut tag = Walk::new(shop(Vec::new()), "tag");
    assert_eq!(tag.reason(heard(0.0, 100, -50.0, Some("s-none")), 0.0), Rejection::UnknownScanner);
    assert_eq!(tag.reason(heard(0.0, 1, -50.0, Some("s-tv")), 0.0), Rejection::WrongRole);
}

#[test]
fn nobody_is_in_two_places_at_once() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    walk.hears(0.0, 1, -50.0);
    walk.hears(1.0, 1, -50.0);
    assert_eq!(walk.reason(heard(10.0, 4, -50.0, None), 10.0), Rejection::Elsewhere, "400 km away");
    walk.hears(11.0, 1, -50.0);
    let later = 11.0 + 2.0 * 3_600.0;
    walk.hears(later, 4, -50.0);

    let mut tag = Walk::new(shop(Vec::new()), "tag");
    tag.is_heard(0.0, "s-tv", -50.0);
    tag.is_heard(1.0, "s-tv", -50.0);
    assert_eq!(tag.reason(heard(20.0, 100, -50.0, Some("s-lyon")), 20.0), Rejection::Elsewhere, "no positions known");
    tag.is_heard(90.0, "s-lyon", -50.0);

    let mut far = Walk::new(shop(Vec::new()), "phone");
    let home = Observation::Fix(fix(0.0, Position { lat: 48.80, lon: 2.33 }, 20.0));
    far.takes(home, at(0.0)).expect("a fix");
    assert_eq!(far.reason(heard(5.0, 1, -50.0, None), 5.0), Rejection::Elsewhere, "the phone is 8 km away");
}

#[test]
fn a_beacon_region_is_near_or_not_with_hysteresis() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    // With an exponent of 2.7, -72 dBm is at 3.0 m.
    for (second, rssi_dbm) in [(0.0, -80.0), (2.0, -80.0), (12.5, -65.0), (14.0, -65.0), (25.0, -73.0), (26.0, -73.0)] {
        walk.hears(second, 5, rssi_dbm);
    }
    assert_eq!(walk.kinds(), ["enter all", "enter door"], "3.3 m is not yet far again");
    for (second, rssi_dbm) in [(37.0, -85.0), (38.0, -85.0)] {
        walk.hears(second, 5, rssi_dbm);
    }
    assert_eq!(walk.kinds(), ["enter all", "enter door", "exit door"]);
}

#[test]
fn what_the_phone_itself_watches_lasts_without_sightings() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    let region: RegionId = name("all");
    let crossing = |second, edge| Observation::Crossing(Crossing { at: at(second), region: region.clone(), edge });
    walk.takes(crossing(0.0, Edge::Enter), at(0.0)).expect("a beacon region");
    walk.waits(at(600.0), at(600.0));
    assert_eq!(walk.kinds(), ["enter all"]);
    walk.takes(crossing(900.0, Edge::Exit), at(900.0)).expect("a beacon region");
    assert_eq!(walk.kinds(), ["enter all", "exit all"]);
}

#[test]
fn a_restart_in_an_aisle_goes_on_there() {
    let mut walk = Walk::new(shop(Vec::new()), "phone");
    for second in 0..10 {
        walk.hears(f64::from(second), 1, -55.0);
    }
    let told = walk.told.len();
    walk.track = Track::default();
    for second in 11..20 {
        walk.hears(f64::from(second), 1, -55.0);
        walk.hears(f64::from(second) + 0.1, 2, -56.0);
    }
    assert_eq!(walk.told.len(), told, "{:?}", walk.kinds());
    let inside = walk.shopper.devices.get("phone").expect("a phone").presences.iter();
    assert_eq!(inside.filter(|it| it.state == PresenceState::Inside).count(), 3);
}
