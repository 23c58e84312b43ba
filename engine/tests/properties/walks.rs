//! Random walks through random shops: what must hold of zones whatever is heard, late, twice, after a gap or a restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parvis_beacons::Ibeacon;
use parvis_engine::{
    matching::{self, Matched, Subject, Transition, TransitionCause, TransitionKind},
    normalise,
    observation::{Crossing, Edge, Observation, Scan, Sighting},
    region::RegionKind,
    registry::{BeaconRegion, Parts, Registry},
    shopper::{Presence, PresenceState, Track, Witness},
    time::Timestamp,
    track::{self, Movement},
    world::{self, World},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    cases,
    driver::START,
    zones::{beacon, name, read, scanner, zone},
};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
const ZONES: usize = 5;

/// What the catalog says of one zone: its group among the zones before it, and how long it lasts.
#[derive(Clone, Debug)]
struct Aisle {
    group: Option<usize>,
    exit_after_s: Option<u32>,
}

/// A shop of beacons for phones, or of scanners for tags.
#[derive(Clone, Debug)]
struct Shop {
    aisles: Vec<Aisle>,
    scanners: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Hear { source: usize, rssi_dbm: f64, count: u32, late_ms: i64 },
    Scan { zone: usize, late_ms: i64 },
    Cross { edge: Edge, late_ms: i64 },
    Wait,
    Restart,
}

impl Shop {
    fn world(&self) -> World {
        let more = |aisle: &Aisle, at: usize| {
            let mut more = json!({"codes": [format!("qr-{at}")]});
            if let Some(group) = aisle.group.filter(|group| *group < at) {
                more["group"] = Value::from(format!("z-{group}"));
            }
            if let Some(seconds) = aisle.exit_after_s {
                more["exit_after_s"] = Value::from(seconds);
            }
            zone(&format!("z-{at}"), &more)
        };
        let minors = 0..u16::try_from(2 * ZONES).expect("few");
        let mut beacons: Vec<_> = minors
            .map(|it| beacon(&format!("b-{it}"), it, &json!({"store": "opera", "zone": format!("z-{}", it / 2)})))
            .collect();
        beacons.push(beacon("d-1", 100, &json!({"role": "tag"})));
        let parts = Parts {
            beacons,
            scanners: (0..2 * ZONES)
                .map(|it| scanner(&format!("s-{it}"), &json!({"zone": format!("z-{}", it / 2)})))
                .collect(),
            zones: self.aisles.iter().enumerate().map(|(at, aisle)| more(aisle, at)).collect(),
            regions: [json!({"id": "all", "uuid": UUID}), json!({"id": "near", "uuid": UUID, "proximity": "near"})]
                .map(|spec| Arc::new(BeaconRegion::compile(read(spec)).expect("sound")))
                .to_vec(),
        };
        World::new(1, Vec::new(), Vec::new(), Vec::new(), world::Settings::default())
            .with_registry(Registry::new(parts))
    }

    /// A zone and all that it is a part of.
    fn chain(&self, zone: usize) -> Vec<usize> {
        let above = self.aisles[zone].group.filter(|group| *group < zone);
        let mut chain = vec![zone];
        chain.extend(above.into_iter().flat_map(|group| self.chain(group)));
        chain
    }

    fn silence_ms(&self, zone: usize) -> i64 {
        let usual = if self.scanners { 12 } else { 30 };
        i64::from(self.aisles[zone].exit_after_s.unwrap_or(usual)) * 1_000
    }

    fn observation(&self, step: &Step, now_ms: i64) -> Option<Observation> {
        let ago = |late_ms: i64| Timestamp::from_millis(now_ms - late_ms);
        Some(match step {
            Step::Hear { source, rssi_dbm, count, late_ms } => {
                let minor = if self.scanners { 100 } else { u16::try_from(*source).expect("few") };
                let heard = Ibeacon { uuid: UUID.parse().expect("a UUID"), major: 7, minor };
                Observation::Sighting(Sighting {
                    at: ago(*late_ms),
                    heard: parvis_beacons::Identity::Ibeacon(heard).into(),
                    rssi_dbm: *rssi_dbm,
                    measured_power_dbm: None,
                    count: Some(*count),
                    distance_m: None,
                    observer: self.scanners.then(|| name(&format!("s-{source}"))),
                })
            }
            Step::Scan { zone, late_ms } => Observation::Scan(Scan { at: ago(*late_ms), tag: format!("qr-{zone}") }),
            Step::Cross { edge, late_ms } => {
                Observation::Crossing(Crossing { at: ago(*late_ms), region: name("all"), edge: *edge })
            }
            Step::Wait | Step::Restart => return None,
        })
    }
}

/// One device, driven the way the daemon does it, and what is to be expected of it.
struct Machine<'s> {
    shop: &'s Shop,
    world: World,
    presences: Vec<Presence>,
    track: Track,
    now_ms: i64,
    told: Vec<Transition>,
    /// Since when the device is inside.
    since: BTreeMap<String, Timestamp>,
    left: BTreeMap<String, Timestamp>,
    confirmed: BTreeMap<String, i64>,
    /// The first and the last sighting of each source, and how many advertisements.
    heard: BTreeMap<usize, (i64, i64, u32)>,
    scanned: bool,
    restarts: i64,
}

impl<'s> Machine<'s> {
    fn new(shop: &'s Shop) -> Machine<'s> {
        Machine {
            shop,
            world: shop.world(),
            presences: Vec::new(),
            track: Track::default(),
            now_ms: START,
            told: Vec::new(),
            since: BTreeMap::new(),
            left: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            heard: BTreeMap::new(),
            scanned: false,
            restarts: 0,
        }
    }

    fn runs(&mut self, steps: &[(i64, Step)]) -> Result<(), TestCaseError> {
        for (pause_ms, step) in steps {
            self.now_ms += pause_ms;
            if matches!(step, Step::Restart) {
                self.track = Track::default();
                self.restarts += 1;
            }
            self.wakes()?;
            if let Some(raw) = self.shop.observation(step, self.now_ms) {
                self.takes(raw.clone(), step)?;
                self.repeats(raw.clone(), step)?;
                self.wakes()?;
                self.repeats(raw, step)?;
            }
            self.holds()?;
        }
        Ok(())
    }

    fn repeats(&mut self, raw: Observation, step: &Step) -> Result<(), TestCaseError> {
        let before = self.presences.clone();
        let told = self.takes(raw, step)?;
        prop_assert_eq!((told, &before), (0, &self.presences), "a repeat");
        Ok(())
    }

    fn wakes(&mut self) -> Result<(), TestCaseError> {
        let now = Timestamp::from_millis(self.now_ms);
        self.matches(|world, subject| matching::elapsed(world, subject, now, now))?;
        let next = matching::next_wake(&self.world, &self.presences);
        prop_assert!(next.is_none_or(|next| next > now), "{next:?} {:?}", self.presences);
        Ok(())
    }

    fn takes(&mut self, raw: Observation, step: &Step) -> Result<usize, TestCaseError> {
        let (now, at) = (Timestamp::from_millis(self.now_ms), raw.at());
        let Ok(trusted) = normalise::observation(&self.world, &name("d-1"), raw, now) else { return Ok(0) };
        let told = self.matches(|world, subject| matching::elapsed(world, subject, at, now))?;
        let movement = track::movement(&self.world, &mut self.track, trusted).expect("one shop");
        self.expects(step, at.as_millis(), &movement);
        Ok(told + self.matches(|world, subject| matching::transitions(world, subject, &movement, now))?)
    }

    fn expects(&mut self, step: &Step, at_ms: i64, movement: &Movement) {
        prop_assert_is_heard(step, movement);
        let zone = match step {
            Step::Hear { source, count, .. } => {
                let known = self.heard.entry(*source).or_insert((at_ms, at_ms, 0));
                *known = (known.0.min(at_ms), known.1.max(at_ms), known.2 + count);
                source / 2
            }
            Step::Scan { zone, .. } => {
                self.scanned = true;
                *zone
            }
            Step::Cross { .. } | Step::Wait | Step::Restart => return,
        };
        for zone in self.shop.chain(zone) {
            let known = self.confirmed.entry(format!("z-{zone}")).or_insert(at_ms);
            *known = at_ms.max(*known);
        }
    }

    fn matches(&mut self, look: impl FnOnce(&World, Subject<'_>) -> Matched) -> Result<usize, TestCaseError> {
        let (device, world) = (name("d-1"), self.world.clone());
        let subject = Subject { device: &device, presences: &self.presences, left_at: None, track: &mut self.track };
        let matched = look(&world, subject);
        if let Some(presences) = &matched.presences {
            self.presences.clone_from(presences);
        }
        for told in &matched.transitions {
            self.judges(told)?;
        }
        self.told.extend(matched.transitions.iter().cloned());
        Ok(matched.transitions.len())
    }

    fn judges(&mut self, told: &Transition) -> Result<(), TestCaseError> {
        let region = told.region.to_string();
        let by_sighting = told.cause == TransitionCause::Sighting;
        let age = Timestamp::from_millis(self.now_ms).since(told.at);
        prop_assert!(!by_sighting || told.replayed == (age > Duration::from_secs(15)), "{:?}", told);
        match told.kind {
            TransitionKind::Enter => {
                prop_assert_eq!(told.entered_at, Some(told.at));
                prop_assert!(self.since.insert(region.clone(), told.at).is_none(), "came twice: {:?}", told);
                let left = self.left.get(&region);
                prop_assert!(self.restarts > 0 || left.is_none_or(|left| *left <= told.at), "{:?} {:?}", told, left);
                prop_assert!(!by_sighting || self.is_supported(&region), "by a single sighting: {:?}", told);
            }
            TransitionKind::Exit => {
                prop_assert_eq!(self.since.remove(&region), told.entered_at, "{:?}", told);
                prop_assert!(Some(told.at) >= told.entered_at, "{:?}", told);
                self.left.insert(region, told.at);
            }
            TransitionKind::Dwell => {
                prop_assert_eq!(self.since.get(&region).copied(), told.entered_at, "{:?}", told);
                let of_zone = told.region_kind == RegionKind::Zone;
                prop_assert!(!of_zone || told.cause != TransitionCause::Timer, "{:?}", told);
                let twice = self.told.iter().any(|it| it.kind == told.kind && it.region == told.region);
                prop_assert!(self.restarts > 0 || !of_zone || !twice, "dwelt twice: {:?}", told);
            }
            TransitionKind::Approach | TransitionKind::Pass => prop_assert!(false, "{:?}", told),
        }
        Ok(())
    }

    /// Whether any source that may have told of a region has been heard three times, or twice a second apart.
    fn is_supported(&self, region: &str) -> bool {
        self.heard.iter().any(|(source, (first_ms, last_ms, count))| {
            let about = !region.starts_with("z-")
                || self.shop.chain(source / 2).iter().any(|zone| format!("z-{zone}") == region);
            about && (*count >= 3 || (*count > 1 && last_ms - first_ms >= 1_000))
        })
    }

    /// What holds at any moment.
    fn holds(&self) -> Result<(), TestCaseError> {
        let inside: Vec<&Presence> = self.presences.iter().filter(|it| it.state == PresenceState::Inside).collect();
        prop_assert!(inside.iter().all(|it| self.since.get(it.region.as_str()) == Some(&it.since)));
        prop_assert_eq!(inside.len(), self.since.len());
        let zones: Vec<usize> =
            inside.iter().filter_map(|it| it.region.as_str().strip_prefix("z-")?.parse().ok()).collect();
        let leaves = zones
            .iter()
            .filter(|zone| !zones.iter().any(|other| other != *zone && self.shop.chain(*other).contains(zone)));
        prop_assert!(leaves.count() <= 1, "{zones:?}");
        for zone in &zones {
            prop_assert!(self.shop.chain(*zone).iter().all(|group| zones.contains(group)), "{zones:?}");
        }
        for presence in inside.iter().filter(|it| matches!(it.witness, Witness::Phone | Witness::Scanners)) {
            let Some(zone) = presence.region.as_str().strip_prefix("z-") else { continue };
            let zone: usize = zone.parse().expect("a number");
            let parts = zones.iter().filter(|part| self.shop.chain(**part).contains(&zone));
            let ends = parts.map(|part| {
                let known = self.confirmed.get(&format!("z-{part}")).copied().unwrap_or(0);
                let entered = self.since.get(&format!("z-{part}")).map_or(0, |since| since.as_millis());
                // A code makes the presence a phone's, which lasts longer than a tag's.
                let silence_ms = self.shop.silence_ms(*part).max(if self.scanned { 30_000 } else { 0 });
                known.max(entered) + (1 + self.restarts) * silence_ms
            });
            prop_assert!(ends.max() > Some(self.now_ms), "{presence:?} at {}", self.now_ms);
        }
        prop_assert!(self.presences.len() <= 64 + ZONES + 2);
        Ok(())
    }
}

/// Every step that hears somebody must get as far as matching.
fn prop_assert_is_heard(step: &Step, movement: &Movement) {
    let heard = matches!(movement, Movement::Heard(_) | Movement::Scanned { .. } | Movement::Crossed(_));
    assert!(heard, "{step:?} became {movement:?}");
}

fn shop() -> impl Strategy<Value = Shop> {
    let exit_after_s = prop_oneof![2 => Just(None), 1 => (2_u32..60).prop_map(Some)];
    let aisle =
        (prop::option::of(0..ZONES), exit_after_s).prop_map(|(group, exit_after_s)| Aisle { group, exit_after_s });
    (prop::collection::vec(aisle, ZONES), any::<bool>()).prop_map(|(aisles, scanners)| Shop { aisles, scanners })
}

/// Restarts only if `restarts`; a pause is long now and then.
fn steps(restarts: bool) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let late_ms = || prop_oneof![6 => Just(0_i64), 2 => 0..5_000_i64, 1 => 0..120_000_i64];
    let hear = (0..2 * ZONES, -95.0..-40.0_f64, prop_oneof![4 => Just(1_u32), 1 => 2..5_u32], late_ms())
        .prop_map(|(source, rssi_dbm, count, late_ms)| Step::Hear { source, rssi_dbm, count, late_ms });
    let scan = (0..ZONES, late_ms()).prop_map(|(zone, late_ms)| Step::Scan { zone, late_ms });
    let edge = prop_oneof![Just(Edge::Enter), Just(Edge::Exit)];
    let cross = (edge, late_ms()).prop_map(|(edge, late_ms)| Step::Cross { edge, late_ms });
    let step = prop_oneof![
        40 => hear,
        1 => scan,
        1 => cross,
        2 => Just(Step::Wait),
        1 => Just(if restarts { Step::Restart } else { Step::Wait }),
    ];
    let pause_ms = prop_oneof![30 => 0..1_500_i64, 5 => 1_500..15_000_i64, 1 => 15_000..60_000_i64];
    prop::collection::vec((pause_ms, step), 1..120)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn zones_hold_whatever_is_heard(shop in shop(), steps in any::<bool>().prop_flat_map(steps)) {
        let mut machine = Machine::new(&shop);
        machine.runs(&steps)?;
        let mut again = Machine::new(&shop);
        again.runs(&steps)?;
        prop_assert_eq!(&machine.told, &again.told);
        prop_assert_eq!(&machine.track, &again.track);
        // Whatever it was, it ends: after a visit's time nothing is left that a timer would have to look at.
        let timeout_ms = 30 * 60 * 1_000;
        for _ in 0..3 {
            machine.now_ms += timeout_ms;
            machine.wakes()?;
        }
        prop_assert!(machine.presences.is_empty(), "{:?}", machine.presences);
        prop_assert!(machine.since.is_empty());
    }
}
