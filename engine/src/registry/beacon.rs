//! Beacons as they are written, and whether they are sound.

use parvis_beacons::{Ibeacon, Identity, Instance, Mac, Namespace, Uuid};
use serde::{Deserialize, Serialize};

use super::{Plan, name_problem, place_problems};
use crate::{
    id::{BeaconId, RegionId, StoreId},
    observation::Position,
    problem::Problem,
    time::Timestamp,
};

/// A beacon as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id; a carried tag is the device of this name.
    pub id: BeaconId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The store that it belongs to; a tag may belong to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// The zone that hearing it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<RegionId>,
    /// What it is there for.
    #[serde(default)]
    pub role: Role,
    /// Proximity UUID of an iBeacon or AltBeacon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Major of an iBeacon or AltBeacon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<u16>,
    /// Minor of an iBeacon or AltBeacon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<u16>,
    /// Namespace of an Eddystone-UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Instance of an Eddystone-UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// Address of a beacon that is known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// How an Eddystone-EID changes its identity. Its key stands in the file of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eid: Option<Rotation>,
    /// Where it is on earth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Where it is on the shop's floor plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Its signal strength at one metre as measured on site, dBm; what it announces if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_power_dbm: Option<f64>,
}

/// What a beacon is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Hangs in the shop and is heard by phones.
    #[default]
    Fixed,
    /// Is carried, and heard by scanners.
    Tag,
    /// Hangs near a scanner, so that its silence shows that the scanner is deaf.
    Reference,
}

/// How an Eddystone-EID rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// A new identity every two to the power of this many seconds, 0 to 15.
    pub exponent: u8,
    /// When the beacon's clock began at 0.
    pub started_at: Timestamp,
}

/// A beacon, checked. It serialises as the [`Spec`] that it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Beacon {
    /// As it was written.
    pub spec: Spec,
    /// Who it says it is; none if that changes.
    pub identity: Option<Identity>,
}

impl Beacon {
    /// Checks a beacon.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: Spec) -> Result<Beacon, Vec<Problem>> {
        let mut problems = Vec::new();
        let identity = identity(&spec).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        match spec.role {
            Role::Fixed | Role::Reference => {
                if spec.store.is_none() {
                    problems.push(Problem::new("/store", "a beacon that hangs in a shop needs its store"));
                }
            }
            Role::Tag => {
                if spec.zone.is_some() {
                    problems.push(Problem::new("/zone", "a tag is carried, so it speaks for no zone"));
                }
            }
        }
        if spec.eid.is_some_and(|rotation| rotation.exponent > 15) {
            problems.push(Problem::new("/eid/exponent", "must be from 0 to 15"));
        }
        if spec.measured_power_dbm.is_some_and(|power| !(-100.0..=20.0).contains(&power)) {
            problems.push(Problem::new("/measured_power_dbm", "must be from -100 to 20 dBm"));
        }
        problems.extend(name_problem(spec.name.as_ref()));
        problems.extend(place_problems(spec.position, spec.plan));
        if problems.is_empty() { Ok(Beacon { spec, identity }) } else { Err(problems) }
    }
}

/// Exactly one way of saying who it is, and all of it.
fn identity(spec: &Spec) -> Result<Option<Identity>, Problem> {
    let ibeacon = spec.uuid.is_some() || spec.major.is_some() || spec.minor.is_some();
    let eddystone = spec.namespace.is_some() || spec.instance.is_some();
    let ways = [ibeacon, eddystone, spec.mac.is_some(), spec.eid.is_some()];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        let message = "a beacon says who it is in exactly one way: uuid, major and minor; namespace and instance; mac; \
                       or eid";
        return Err(Problem::new("", message));
    }
    let missing = |field: &'static str| Problem::new(format!("/{field}"), format!("{field} is missing"));
    if ibeacon {
        return Ok(Some(Identity::Ibeacon(Ibeacon {
            uuid: spec.uuid.ok_or_else(|| missing("uuid"))?,
            major: spec.major.ok_or_else(|| missing("major"))?,
            minor: spec.minor.ok_or_else(|| missing("minor"))?,
        })));
    }
    if eddystone {
        return Ok(Some(Identity::Eddystone {
            namespace: spec.namespace.ok_or_else(|| missing("namespace"))?,
            instance: spec.instance.ok_or_else(|| missing("instance"))?,
        }));
    }
    Ok(spec.mac.map(|mac| Identity::Mac { mac }))
}
