//! `parvis calibrate`: learns from a recorded walk how scanners and beacons differ, and tells what that is worth.
//!
//! What it prints is TOML for the registry; nothing is changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Write},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, ensure};
use parvis_beacons::calibration::{Estimate, Learned, Sample, learn};
use parvis_engine::{
    id::{BeaconId, DeviceId, RegionId, ScannerId},
    observation::{Observation, Sighting},
    problem::Problem,
    registry::{Beacon, BeaconSpec, Parts, Plan, Registry, Role, Scanner, ScannerSpec},
    world::World,
};
use serde::Serialize;

use crate::{
    replay::{self, Line, Replay},
    walk::{Truth, Verdict, percent},
};

/// What a beacon is taken to announce of which nobody knows, dBm at one metre.
const ANNOUNCED_DBM: f64 = -59.0;

/// Who heard a beacon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Listener {
    Scanner(ScannerId),
    Phone(DeviceId),
}

/// Learns from a recording, which `open` gives anew each time it is asked, and prints what is to stand in the registry.
///
/// # Errors
/// If the recording can't be read, nothing can be learned from it, or the output can't be written.
pub fn run<R: BufRead>(world: &World, open: impl Fn() -> Result<R>, truth: &Truth, out: &mut impl Write) -> Result<()> {
    let samples = samples(&world.registry, replay::lines(open()?), truth)?;
    let announced: BTreeMap<BeaconId, f64> =
        samples.iter().map(|(sample, announced)| (sample.beacon.clone(), *announced)).collect();
    let samples: Vec<Sample<Listener, BeaconId>> = samples.into_iter().map(|(sample, _)| sample).collect();
    let announced = |beacon: &BeaconId| announced.get(beacon).copied().unwrap_or(ANNOUNCED_DBM);
    let learned = learn(&samples, announced, world.settings.ranging.path_loss_exponent);
    ensure!(
        learned.offsets.values().chain(learned.powers.values()).any(Estimate::is_sound),
        "too little to learn from: {} sightings of the recording are of a beacon in a place that is known relative to \
         who heard it (both on the floor plan and not too near or far, or both in one zone)",
        samples.len()
    );
    let advice = Advice::new(&world.registry, &learned);
    let verdict = |world: &World| {
        let mut replay = Replay::judged(world, truth);
        replay.observations(open()?)?;
        replay.verdict()
    };
    let corrected = world.clone().with_registry(advice.registry(&world.registry)?);
    let (before, after) = (verdict(world)?, verdict(&corrected)?);
    let readings: usize = learned.powers.values().map(|estimate| estimate.count).sum();
    write!(out, "# Learned from {readings} readings.")?;
    match learned.exponent {
        Some(exponent) => writeln!(out, " Signal strength falls with the exponent {exponent:.1}.")?,
        None => writeln!(out, " No distances are known, so only differences were learned.")?,
    }
    compare(out, &before, &after)?;
    advice.write(out)
}

/// What is to change in the registry.
struct Advice {
    scanners: Vec<(ScannerSpec, Estimate)>,
    beacons: Vec<(BeaconSpec, Estimate)>,
    /// Names of what was heard too rarely, and how often it was.
    scant: Vec<(String, usize)>,
}

impl Advice {
    fn new(registry: &Registry, learned: &Learned<Listener, BeaconId>) -> Advice {
        let mut advice = Advice { scanners: Vec::new(), beacons: Vec::new(), scant: Vec::new() };
        for (listener, estimate) in &learned.offsets {
            let Listener::Scanner(id) = listener else { continue };
            match registry.scanner(id) {
                Some(scanner) if estimate.is_sound() => {
                    let spec = ScannerSpec { offset_db: tenth(estimate.value), ..scanner.spec.clone() };
                    advice.scanners.push((spec, *estimate));
                }
                Some(_) | None => advice.scant.push((format!("scanner {id}"), estimate.count)),
            }
        }
        for (id, estimate) in &learned.powers {
            match registry.beacon(id) {
                Some(beacon) if estimate.is_sound() => {
                    let measured_power_dbm = Some(tenth(estimate.value));
                    advice.beacons.push((BeaconSpec { measured_power_dbm, ..beacon.spec.clone() }, *estimate));
                }
                Some(_) | None => advice.scant.push((format!("beacon {id}"), estimate.count)),
            }
        }
        advice
    }

    /// The registry as it would be.
    fn registry(&self, known: &Registry) -> Result<Registry> {
        let changed: BTreeSet<&str> = (self.scanners.iter().map(|(spec, _)| spec.id.as_str()))
            .chain(self.beacons.iter().map(|(spec, _)| spec.id.as_str()))
            .collect();
        let refused = |id: &str, problems: Vec<Problem>| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!("what was learned of {id} can't be: {}", problems.join("; "))
        };
        let mut parts = Parts {
            beacons: known.beacons().filter(|it| !changed.contains(it.spec.id.as_str())).cloned().collect(),
            scanners: known.scanners().filter(|it| !changed.contains(it.spec.id.as_str())).cloned().collect(),
            zones: known.zones().cloned().collect(),
            regions: known.beacon_regions().cloned().collect(),
        };
        for (spec, _) in &self.scanners {
            let scanner = Scanner::compile(spec.clone()).map_err(|problems| refused(spec.id.as_str(), problems))?;
            parts.scanners.push(Arc::new(scanner));
        }
        for (spec, _) in &self.beacons {
            let beacon = Beacon::compile(spec.clone()).map_err(|problems| refused(spec.id.as_str(), problems))?;
            parts.beacons.push(Arc::new(beacon));
        }
        Ok(Registry::new(parts))
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        for (name, count) in &self.scant {
            writeln!(out, "# {name} stays as it is: only {count} readings.")?;
        }
        for (spec, estimate) in &self.scanners {
            entry(out, "scanner", spec, estimate)?;
        }
        for (spec, estimate) in &self.beacons {
            entry(out, "beacon", spec, estimate)?;
        }
        out.flush().context("can't write the results")
    }
}

fn entry(out: &mut impl Write, kind: &str, spec: &impl Serialize, estimate: &Estimate) -> Result<()> {
    let Estimate { deviation_db, count, .. } = estimate;
    let text = toml::to_string(&BTreeMap::from([(kind, [spec])]))?;
    writeln!(out, "\n# {count} readings, half of them within {deviation_db:.1} dB.\n{}", text.trim_end())?;
    Ok(())
}

fn compare(out: &mut impl Write, before: &Verdict, after: &Verdict) -> Result<()> {
    let (Some(was), Some(is)) = (before.judgement.accuracy(), after.judgement.accuracy()) else {
        writeln!(out, "# The truth names no zones, so what this is worth can't be told.")?;
        return Ok(());
    };
    let (switches, now) = (before.judgement.switches, after.judgement.switches);
    writeln!(
        out,
        "# On this walk, the right zone is told for {} of the time instead of {},",
        percent(is),
        percent(was)
    )?;
    let changes = before.judgement.true_switches;
    writeln!(out, "# with {now} switches instead of {switches} for {changes} true changes.")?;
    Ok(())
}

/// Tenths of a decibel: more would be noise.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Every sighting whose beacon's place is known relative to who heard it, and the power that the beacon announces.
fn samples(
    registry: &Registry,
    lines: impl Iterator<Item = Result<Line>>,
    truth: &Truth,
) -> Result<Vec<(Sample<Listener, BeaconId>, f64)>> {
    let mut samples = Vec::new();
    for line in lines {
        let Line { device, observation } = line?;
        if let Observation::Sighting(sighting) = observation {
            samples.extend(sample(registry, &device, &sighting, truth));
        }
    }
    Ok(samples)
}

fn sample(
    registry: &Registry,
    device: &DeviceId,
    sighting: &Sighting,
    truth: &Truth,
) -> Option<(Sample<Listener, BeaconId>, f64)> {
    let beacon = &registry.heard(&sighting.heard)?.spec;
    let scanner = match &sighting.observer {
        Some(observer) => Some(&registry.scanner(observer)?.spec),
        None => None,
    };
    let fixed = Place { plan: beacon.plan, zone: beacon.zone.as_ref() };
    let known = || {
        let known = truth.at(device, sighting.at)?;
        Some(Place { plan: known.plan, zone: known.zone.as_ref() })
    };
    let distance_m = match scanner {
        Some(scanner) => {
            let heard = if beacon.role == Role::Tag { known()? } else { fixed };
            heard.from(&Place { plan: scanner.plan, zone: scanner.zone.as_ref() })?
        }
        None => known()?.from(&fixed)?,
    };
    let listener =
        scanner.map_or_else(|| Listener::Phone(device.clone()), |scanner| Listener::Scanner(scanner.id.clone()));
    let announced = beacon.measured_power_dbm.or(sighting.measured_power_dbm).unwrap_or(ANNOUNCED_DBM);
    let beacon = beacon.id.clone();
    Some((Sample { scanner: listener, beacon, rssi_dbm: sighting.rssi_dbm, distance_m }, announced))
}

/// Where something is.
struct Place<'a> {
    plan: Option<Plan>,
    zone: Option<&'a RegionId>,
}

impl Place<'_> {
    /// How far from something else, or that both are in one zone, or that neither is known.
    fn from(&self, other: &Place<'_>) -> Option<Option<f64>> {
        if let (Some(here), Some(there)) = (self.plan, other.plan) {
            return (here.floor == there.floor).then(|| Some((here.x_m - there.x_m).hypot(here.y_m - there.y_m)));
        }
        (self.zone.is_some() && self.zone == other.zone).then_some(None)
    }
}
