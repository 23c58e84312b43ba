//! The registry: which beacons there are, which scanners, and of which zones and beacon regions they speak.
//!
//! Knows nothing of devices or of time; who changes identity over time is told apart before.

mod around;
mod beacon;
mod scanner;
#[cfg(test)]
mod tests;
mod zone;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parvis_beacons::Identity;
use serde::{Deserialize, Serialize};

pub use self::{
    around::{Neighbour, What},
    beacon::{Beacon, Role, Rotation, Spec as BeaconSpec},
    scanner::{Scanner, Spec as ScannerSpec},
    zone::{BeaconRegion, BeaconRegionSpec, Zone, ZoneSpec},
};
use crate::{
    id::{BeaconId, DeviceId, RegionId, ScannerId},
    observation::{Heard, Position},
    problem::Problem,
    region::{Region, distance_m, sphere::Rect},
    rtree::RTree,
};

/// A place on a shop's floor plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// To the right, metres.
    pub x_m: f64,
    /// Upwards, metres.
    pub y_m: f64,
    /// Storey, 0 for the ground floor.
    #[serde(default)]
    pub floor: i32,
}

/// Beacons, scanners, zones and beacon regions, found by name, by what they say on the air, and by place.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    beacons: BTreeMap<BeaconId, Arc<Beacon>>,
    scanners: BTreeMap<ScannerId, Arc<Scanner>>,
    zones: BTreeMap<RegionId, Arc<Zone>>,
    regions: BTreeMap<RegionId, Arc<BeaconRegion>>,
    by_identity: BTreeMap<Identity, Arc<Beacon>>,
    by_code: BTreeMap<String, Arc<Zone>>,
    by_zone: BTreeMap<RegionId, Vec<Arc<Scanner>>>,
    /// Sorted by UUID, then by id.
    by_uuid: Vec<Arc<BeaconRegion>>,
    tree: RTree<Slot>,
}

/// Something that hangs somewhere.
#[derive(Clone, Debug)]
pub enum Fixture {
    /// A beacon.
    Beacon(Arc<Beacon>),
    /// A scanner.
    Scanner(Arc<Scanner>),
}

#[derive(Clone, Debug)]
struct Slot {
    position: Position,
    fixture: Fixture,
}

/// The parts of a registry.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Beacons.
    pub beacons: Vec<Arc<Beacon>>,
    /// Scanners.
    pub scanners: Vec<Arc<Scanner>>,
    /// Zones.
    pub zones: Vec<Arc<Zone>>,
    /// Beacon regions.
    pub regions: Vec<Arc<BeaconRegion>>,
}

impl Registry {
    /// Indexes the parts. Of two with the same id the later counts; of two with the same identity or code the one whose
    /// id sorts last.
    pub fn new(parts: Parts) -> Registry {
        let beacons: BTreeMap<_, _> = parts.beacons.into_iter().map(|it| (it.spec.id.clone(), it)).collect();
        let scanners: BTreeMap<_, _> = parts.scanners.into_iter().map(|it| (it.spec.id.clone(), it)).collect();
        let zones: BTreeMap<_, _> = parts.zones.into_iter().map(|it| (it.spec.id.clone(), it)).collect();
        let regions: BTreeMap<_, _> = parts.regions.into_iter().map(|it| (it.spec.id.clone(), it)).collect();
        let mut by_zone: BTreeMap<RegionId, Vec<Arc<Scanner>>> = BTreeMap::new();
        for scanner in scanners.values() {
            if let Some(zone) = &scanner.spec.zone {
                by_zone.entry(zone.clone()).or_default().push(scanner.clone());
            }
        }
        let slot = |position: Option<Position>, fixture| position.map(|position| Slot { position, fixture });
        let hung = beacons.values().filter_map(|it| slot(it.spec.position, Fixture::Beacon(it.clone())));
        let scanning = scanners.values().filter_map(|it| slot(it.spec.position, Fixture::Scanner(it.clone())));
        let code = |zone: &Arc<Zone>| {
            let zone = zone.clone();
            zone.spec.codes.clone().into_iter().map(move |code| (code, zone.clone()))
        };
        let mut by_uuid: Vec<Arc<BeaconRegion>> = regions.values().cloned().collect();
        by_uuid.sort_by_key(|region| region.spec.uuid);
        Registry {
            tree: RTree::new(
                hung.chain(scanning).map(|slot| (Rect::EMPTY.including([slot.position.lon, slot.position.lat]), slot)),
            ),
            by_identity: beacons.values().filter_map(|it| Some((it.identity?, it.clone()))).collect(),
            by_code: zones.values().flat_map(code).collect(),
            by_zone,
            by_uuid,
            regions,
            beacons,
            scanners,
            zones,
        }
    }

    /// The beacon with this id.
    pub fn beacon(&self, id: &BeaconId) -> Option<&Arc<Beacon>> {
        self.beacons.get(id)
    }

    /// Every beacon, in the order of their ids.
    pub fn beacons(&self) -> impl Iterator<Item = &Arc<Beacon>> {
        self.beacons.values()
    }

    /// The beacon that was heard. An ephemeral identity is to be resolved before.
    pub fn heard(&self, heard: &Heard) -> Option<&Arc<Beacon>> {
        match heard {
            Heard::Beacon { beacon } => self.beacons.get(beacon),
            Heard::Identity(identity) => self.by_identity.get(identity),
        }
    }

    /// The carried tag that a device is, if it is one.
    pub fn tag(&self, device: &DeviceId) -> Option<&Arc<Beacon>> {
        self.beacons.get(device.as_str()).filter(|beacon| beacon.spec.role == Role::Tag)
    }

    /// The scanner with this id.
    pub fn scanner(&self, id: &ScannerId) -> Option<&Arc<Scanner>> {
        self.scanners.get(id)
    }

    /// Every scanner, in the order of their ids.
    pub fn scanners(&self) -> impl Iterator<Item = &Arc<Scanner>> {
        self.scanners.values()
    }

    /// The scanners that speak for a zone.
    pub fn scanners_of(&self, zone: &RegionId) -> &[Arc<Scanner>] {
        self.by_zone.get(zone).map_or(&[], Vec::as_slice)
    }

    /// The zone with this id.
    pub fn zone(&self, id: &RegionId) -> Option<&Arc<Zone>> {
        self.zones.get(id)
    }

    /// Every zone, in the order of their ids.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.values()
    }

    /// The zone that a code hangs in.
    pub fn zone_of_code(&self, code: &str) -> Option<&Arc<Zone>> {
        self.by_code.get(code)
    }

    /// The beacon region with this id.
    pub fn beacon_region(&self, id: &RegionId) -> Option<&Arc<BeaconRegion>> {
        self.regions.get(id)
    }

    /// Every beacon region, in the order of their ids.
    pub fn beacon_regions(&self) -> impl Iterator<Item = &Arc<BeaconRegion>> {
        self.regions.values()
    }

    /// The beacon regions that a beacon is one of.
    pub fn beacon_regions_of<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Arc<BeaconRegion>> {
        let uuid = match identity {
            Identity::Ibeacon(ibeacon) => Some(ibeacon.uuid),
            Identity::Eddystone { .. } | Identity::Ephemeral { .. } | Identity::Mac { .. } => None,
        };
        let first = uuid.map_or(self.by_uuid.len(), |uuid| self.by_uuid.partition_point(|it| it.spec.uuid < uuid));
        let same = move |it: &&Arc<BeaconRegion>| Some(it.spec.uuid) == uuid;
        self.by_uuid[first..].iter().take_while(same).filter(move |it| it.covers(identity))
    }

    /// What is said of a zone or a beacon region.
    pub fn region(&self, id: &RegionId) -> Option<&Region> {
        let zone = self.zones.get(id).map(|zone| &zone.region);
        zone.or_else(|| self.regions.get(id).map(|region| &region.region))
    }

    /// How long nothing may be heard in a zone or a beacon region, if it says so itself.
    pub fn exit_after(&self, id: &RegionId) -> Option<Duration> {
        let zone = self.zones.get(id).map(|zone| zone.spec.exit_after_s);
        let seconds = zone.or_else(|| self.regions.get(id).map(|region| region.spec.exit_after_s));
        seconds.flatten().map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// What hangs within a radius, nearest first, with its distance in metres; at the same distance beacons before
    /// scanners, each by id.
    pub fn around(&self, position: Position, radius_m: f64) -> Vec<(f64, Fixture)> {
        // Rounding, and the two longitudes of the antimeridian, must not cost what is just there.
        const SLACK_M: f64 = 0.01;
        let around = Rect::EMPTY.including([position.lon, position.lat]).grown(radius_m + SLACK_M);
        let mut found = Vec::new();
        for rect in around.wrapped().iter().flatten() {
            self.tree.meeting(rect, |_, slot| {
                let distance = distance_m(position, slot.position);
                if distance <= radius_m {
                    found.push((distance, slot.fixture.clone()));
                }
            });
        }
        found.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.name().cmp(&y.name())));
        found
    }
}

impl Fixture {
    fn name(&self) -> (u8, &str) {
        match self {
            Fixture::Beacon(beacon) => (1, beacon.spec.id.as_str()),
            Fixture::Scanner(scanner) => (2, scanner.spec.id.as_str()),
        }
    }
}

/// The longest name, bytes.
const NAME_MAX: usize = 256;
/// The furthest from the origin of a floor plan, metres.
const PLAN_MAX_M: f64 = 100_000.0;

fn name_problem(name: Option<&String>) -> Option<Problem> {
    name.filter(|name| name.len() > NAME_MAX).map(|_| Problem::new("/name", format!("at most {NAME_MAX} bytes")))
}

fn place_problems(position: Option<Position>, plan: Option<Plan>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if position.is_some_and(|it| !(-90.0..=90.0).contains(&it.lat)) {
        problems.push(Problem::new("/position/lat", "must be from -90 to 90 degrees"));
    }
    if position.is_some_and(|it| !(-180.0..=180.0).contains(&it.lon)) {
        problems.push(Problem::new("/position/lon", "must be from -180 to 180 degrees"));
    }
    if plan.is_some_and(|it| [it.x_m, it.y_m].into_iter().any(|at| !(-PLAN_MAX_M..=PLAN_MAX_M).contains(&at))) {
        problems.push(Problem::new("/plan", format!("x_m and y_m must be from -{PLAN_MAX_M} to {PLAN_MAX_M} metres")));
    }
    problems
}
