//! Zones and beacon regions as they are written, and whether they are sound.
//!
//! A zone is one of several places of a shop, of which a device is in one at most: an aisle. Beacons and scanners name
//! the zone that they speak for. A beacon region is wherever one of its beacons is heard, as phones monitor it.

use std::{collections::BTreeSet, time::Duration};

use parvis_beacons::{Identity, Uuid, ranging::Proximity};
use serde::{Deserialize, Serialize};

use super::name_problem;
use crate::{
    id::{RegionId, StoreId},
    problem::Problem,
    region::{Region, RegionKind},
    schedule::Hours,
};

/// The most tags of a region.
const TAGS_MAX: usize = 64;
/// The longest tag, bytes.
const TAG_MAX: usize = 128;

/// A zone as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneSpec {
    /// Its id; geofences, beacon regions and zones share their names.
    pub id: RegionId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The store that it is a part of.
    pub store: StoreId,
    /// The zone that this one is a part of, such as a department: what is told when it is not sure which aisle it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<RegionId>,
    /// By which campaigns select it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// How long somebody must stay to count as dwelling, seconds; the shop's setting if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_s: Option<u32>,
    /// Opening hours of this place, instead of its store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// The weakest signal with which the zone is entered, dBm, if that is more than the shop's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_dbm: Option<f64>,
    /// How long nothing may be heard before a device counts as gone, seconds; the shop's setting if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_after_s: Option<u32>,
    /// QR codes and NFC tags that hang here: who reads one is here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub codes: BTreeSet<String>,
}

/// A beacon region as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeaconRegionSpec {
    /// Its id; geofences, beacon regions and zones share their names.
    pub id: RegionId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The store that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// Every beacon with this proximity UUID,
    pub uuid: Uuid,
    /// and this major, if there is one here,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<u16>,
    /// and this minor, if there is one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<u16>,
    /// How near to one of the beacons counts as being there; hearing it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proximity: Option<Proximity>,
    /// By which campaigns select it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// How long a visit must last to count as a dwell, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_s: Option<u32>,
    /// Opening hours of this place, instead of its store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// How long nothing may be heard before a device counts as gone, seconds; the shop's setting if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_after_s: Option<u32>,
}

/// A zone, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// As it was written.
    pub spec: ZoneSpec,
    /// What is said of it as a region.
    pub region: Region,
}

/// A beacon region, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct BeaconRegion {
    /// As it was written.
    pub spec: BeaconRegionSpec,
    /// What is said of it as a region.
    pub region: Region,
}

impl Zone {
    /// The longest code, bytes.
    pub const CODE_MAX: usize = 512;
    /// The most codes of a zone.
    pub const CODES_MAX: usize = 1_000;

    /// Checks a zone.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: ZoneSpec) -> Result<Zone, Vec<Problem>> {
        let mut problems = shared(&spec.tags, (spec.dwell_s, spec.exit_after_s), spec.hours.as_ref());
        problems.extend(name_problem(spec.name.as_ref()));
        if spec.floor_dbm.is_some_and(|floor| !(-110.0..=-20.0).contains(&floor)) {
            problems.push(Problem::new("/floor_dbm", "must be from -110 to -20 dBm"));
        }
        if spec.group.as_ref() == Some(&spec.id) {
            problems.push(Problem::new("/group", "a zone is no part of itself"));
        }
        if spec.codes.len() > Self::CODES_MAX {
            problems.push(Problem::new("/codes", format!("at most {} codes", Self::CODES_MAX)));
        }
        if spec.codes.iter().any(|code| code.is_empty() || code.len() > Self::CODE_MAX) {
            problems.push(Problem::new("/codes", format!("a code has from 1 to {} bytes", Self::CODE_MAX)));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let region = Region {
            id: spec.id.clone(),
            kind: RegionKind::Zone,
            name: spec.name.clone(),
            store: Some(spec.store.clone()),
            tags: spec.tags.clone(),
            dwell: spec.dwell_s.map(seconds),
            hours: spec.hours.clone(),
        };
        Ok(Zone { spec, region })
    }
}

impl BeaconRegion {
    /// Checks a beacon region.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: BeaconRegionSpec) -> Result<BeaconRegion, Vec<Problem>> {
        let mut problems = shared(&spec.tags, (spec.dwell_s, spec.exit_after_s), spec.hours.as_ref());
        problems.extend(name_problem(spec.name.as_ref()));
        if spec.minor.is_some() && spec.major.is_none() {
            problems.push(Problem::new("/minor", "a minor says nothing without a major"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let region = Region {
            id: spec.id.clone(),
            kind: RegionKind::BeaconRegion,
            name: spec.name.clone(),
            store: spec.store.clone(),
            tags: spec.tags.clone(),
            dwell: spec.dwell_s.map(seconds),
            hours: spec.hours.clone(),
        };
        Ok(BeaconRegion { spec, region })
    }

    /// Whether a beacon is one of this region.
    pub fn covers(&self, identity: &Identity) -> bool {
        let BeaconRegionSpec { uuid, major, minor, .. } = &self.spec;
        matches!(identity, Identity::Ibeacon(heard) if heard.uuid == *uuid
            && major.is_none_or(|major| major == heard.major)
            && minor.is_none_or(|minor| minor == heard.minor))
    }
}

fn shared(
    tags: &BTreeSet<String>,
    (dwell_s, exit_after_s): (Option<u32>, Option<u32>),
    hours: Option<&Hours>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, seconds) in [("/dwell_s", dwell_s), ("/exit_after_s", exit_after_s)] {
        if seconds.is_some_and(|seconds| !(1..=86_400).contains(&seconds)) {
            problems.push(Problem::new(path, "must be from 1 to 86400 seconds, or left out"));
        }
    }
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_MAX) {
        problems.push(Problem::new("/tags", format!("at most {TAGS_MAX} tags of 1 to {TAG_MAX} bytes")));
    }
    problems.extend(hours.into_iter().flat_map(Hours::problems).map(|problem| problem.under("/hours")));
    problems
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
