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

/// Learns from a recording, which `open` gives anew each time it is asked, and prints what is to stand in the registry.
///
/// # Errors
/// If the recording can't be read, nothing can be learned from it, or the output can't be written.
pub fn run<R: BufRead>(world: &World, open: impl Fn() -> Result<R>, truth: &Truth, out: &mut impl Write) -> Result<()> {
    let samples = Samples::read(&world.registry, replay::lines(open()?), truth)?;
    let announced = |beacon: &BeaconId| samples.announced.get(beacon).copied().unwrap_or(ANNOUNCED_DBM);
    let exponent = world.settings.ranging.path_loss_exponent;
    let by_scanners = learn(&samples.of_scanners, announced, exponent);
    let by_phones = learn(&samples.of_phones, announced, exponent);
    let advice = Advice::new(&world.registry, &by_scanners, &by_phones);
    ensure!(
        !(advice.scanners.is_empty() && advice.beacons.is_empty()),
        "too little to learn from: in {} sightings the place of the beacon is known relative to who heard it (both on \
         the floor plan and 1.5 to 12 m apart, or both in one zone)",
        samples.of_scanners.len() + samples.of_phones.len()
    );
    let verdict = |world: &World| {
        let mut replay = Replay::judged(world, truth);
        replay.observations(open()?)?;
        replay.verdict()
    };
    let corrected = world.clone().with_registry(advice.registry(&world.registry)?);
    let (before, after) = (verdict(world)?, verdict(&corrected)?);
    for (who, exponent) in [("scanners", by_scanners.exponent), ("phones", by_phones.exponent)] {
        if let Some(exponent) = exponent {
            writeln!(out, "# What {who} hear falls with the exponent {exponent:.1}.")?;
        }
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
    /// What scanners hear tells of tags and references, and what phones hear of what hangs there for them; how phones
    /// differ is nothing that the registry could know.
    fn new(
        registry: &Registry,
        by_scanners: &Learned<ScannerId, BeaconId>,
        by_phones: &Learned<DeviceId, BeaconId>,
    ) -> Advice {
        let mut advice = Advice { scanners: Vec::new(), beacons: Vec::new(), scant: Vec::new() };
        for (id, estimate) in &by_scanners.offsets {
            match registry.scanner(id) {
                Some(scanner) if estimate.is_sound() => {
                    let spec = ScannerSpec { offset_db: tenth(estimate.value), ..scanner.spec.clone() };
                    advice.scanners.push((spec, *estimate));
                }
                Some(_) | None => advice.scant.push((format!("scanner {id}"), estimate.count)),
            }
        }
        let powers = by_scanners.powers.iter().map(|power| (power, false));
        for ((id, estimate), to_phones) in powers.chain(by_phones.powers.iter().map(|power| (power, true))) {
            let Some(beacon) = registry.beacon(id).filter(|it| (it.spec.role == Role::Fixed) == to_phones) else {
                continue;
            };
            if estimate.is_sound() {
                let measured_power_dbm = Some(tenth(estimate.value));
                advice.beacons.push((BeaconSpec { measured_power_dbm, ..beacon.spec.clone() }, *estimate));
            } else {
                advice.scant.push((format!("beacon {id}"), estimate.count));
            }
        }
        advice
    }

    /// The registry as it would be.
    fn registry(&self, known: &Registry) -> Result<Registry> {
        let scanners: BTreeSet<&ScannerId> = self.scanners.iter().map(|(spec, _)| &spec.id).collect();
        let beacons: BTreeSet<&BeaconId> = self.beacons.iter().map(|(spec, _)| &spec.id).collect();
        let refused = |id: &str, problems: Vec<Problem>| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!("what was learned of {id} can't be: {}", problems.join("; "))
        };
        let mut parts = Parts {
            beacons: known.beacons().filter(|it| !beacons.contains(&it.spec.id)).cloned().collect(),
            scanners: known.scanners().filter(|it| !scanners.contains(&it.spec.id)).cloned().collect(),
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

/// Every sighting whose beacon's place is known relative to who heard it.
#[derive(Default)]
struct Samples {
    of_scanners: Vec<Sample<ScannerId, BeaconId>>,
    of_phones: Vec<Sample<DeviceId, BeaconId>>,
    /// The power that each beacon announces.
    announced: BTreeMap<BeaconId, f64>,
}

impl Samples {
    fn read(registry: &Registry, lines: impl Iterator<Item = Result<Line>>, truth: &Truth) -> Result<Samples> {
        let mut samples = Samples::default();
        for line in lines {
            let Line { device, observation } = line?;
            if let Observation::Sighting(sighting) = observation {
                let place = truth.at(&device, sighting.at);
                let place = place.map(|known| Place { plan: known.plan, zone: known.zone.as_ref() });
                samples.take(registry, device.clone(), &sighting, place);
            }
        }
        Ok(samples)
    }

    /// Takes a sighting of a device whose place is known, or of a beacon that hangs.
    fn take(&mut self, registry: &Registry, device: DeviceId, sighting: &Sighting, place: Option<Place<'_>>) {
        let Some(spec) = registry.heard(&sighting.heard).map(|beacon| &beacon.spec) else { return };
        let (beacon, rssi_dbm) = (spec.id.clone(), sighting.rssi_dbm);
        let hangs = Place { plan: spec.plan, zone: spec.zone.as_ref() };
        if let Some(observer) = &sighting.observer {
            let heard = if spec.role == Role::Tag { place } else { Some(hangs) };
            let scanner = registry.scanner(observer).map(|scanner| &scanner.spec);
            let listens = scanner.map(|scanner| Place { plan: scanner.plan, zone: scanner.zone.as_ref() });
            let Some(distance_m) = apart(heard, listens) else { return };
            self.of_scanners.push(Sample { scanner: observer.clone(), beacon, rssi_dbm, distance_m });
        } else {
            let Some(distance_m) = apart(place, Some(hangs)) else { return };
            self.of_phones.push(Sample { scanner: device, beacon, rssi_dbm, distance_m });
        }
        let announced = spec.measured_power_dbm.or(sighting.measured_power_dbm).unwrap_or(ANNOUNCED_DBM);
        self.announced.insert(spec.id.clone(), announced);
    }
}

/// Where something is.
struct Place<'a> {
    plan: Option<Plan>,
    zone: Option<&'a RegionId>,
}

/// How far apart two are, or nothing inside if it is only known that both are in one zone.
fn apart(one: Option<Place<'_>>, other: Option<Place<'_>>) -> Option<Option<f64>> {
    let (one, other) = (one?, other?);
    if let (Some(here), Some(there)) = (one.plan, other.plan) {
        return (here.floor == there.floor).then(|| Some((here.x_m - there.x_m).hypot(here.y_m - there.y_m)));
    }
    (one.zone.is_some() && one.zone == other.zone).then_some(None)
}
