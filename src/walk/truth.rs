//! Where devices truly were, as somebody noted it down on a walk.

use std::{collections::BTreeMap, io::BufRead};

use anyhow::{Context, Result, bail, ensure};
use parvis_beacons::calibration::Stay;
use parvis_engine::{
    id::{DeviceId, RegionId},
    registry::{Plan, Registry},
    time::Timestamp,
};
use serde::Deserialize;

/// Where devices truly were.
#[derive(Debug, Default)]
pub struct Truth(BTreeMap<DeviceId, Vec<Whereabouts>>);

/// Where a device was for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Whereabouts {
    /// From when.
    pub from: Timestamp,
    /// Until before when.
    pub until: Timestamp,
    /// In which zone.
    pub zone: Option<RegionId>,
    /// Where on the floor plan.
    pub plan: Option<Plan>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    device: DeviceId,
    from: Timestamp,
    until: Timestamp,
    zone: Option<RegionId>,
    plan: Option<Plan>,
}

impl Truth {
    /// Reads one JSON object a line: `device`, `from`, `until`, and `zone`, `plan` or both.
    ///
    /// # Errors
    /// If a line can't be read, names a zone that is not in the registry, ends before it begins, or says of a device
    /// where it was while another line says it too; with its number.
    pub fn read(lines: impl BufRead, registry: &Registry) -> Result<Truth> {
        let mut truth: BTreeMap<DeviceId, Vec<(usize, Whereabouts)>> = BTreeMap::new();
        for (number, line) in (1..).zip(lines.lines()) {
            let line = line.context("can't read the truth")?;
            if line.trim().is_empty() {
                continue;
            }
            let at = || format!("truth, line {number}");
            let Line { device, from, until, zone, plan } = serde_json::from_str(&line).with_context(at)?;
            ensure!(from < until, "{}: until ({until}) must be after from ({from})", at());
            ensure!(zone.is_some() || plan.is_some(), "{}: neither zone nor plan says where", at());
            if let Some(zone) = zone.as_ref().filter(|zone| registry.zone(zone).is_none()) {
                bail!("{}: there is no zone {zone}", at());
            }
            truth.entry(device).or_default().push((number, Whereabouts { from, until, zone, plan }));
        }
        for (device, stays) in &mut truth {
            stays.sort_by_key(|(_, stay)| stay.from);
            if let Some([(one, _), (other, _)]) = stays.windows(2).find(|pair| pair[1].1.from < pair[0].1.until) {
                bail!("truth, lines {one} and {other}: {device} can't be at two places at once");
            }
        }
        let plain = |stays: Vec<(usize, Whereabouts)>| stays.into_iter().map(|(_, stay)| stay).collect();
        Ok(Truth(truth.into_iter().map(|(device, stays)| (device, plain(stays))).collect()))
    }

    /// The devices that it tells of.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.0.keys()
    }

    /// Whether it tells of a device.
    pub fn tells_of(&self, device: &DeviceId) -> bool {
        self.0.contains_key(device)
    }

    /// Where a device was at a moment.
    pub fn at(&self, device: &DeviceId, at: Timestamp) -> Option<&Whereabouts> {
        let stays = self.0.get(device)?;
        let next = stays.partition_point(|stay| stay.from <= at);
        stays.get(next.checked_sub(1)?).filter(|stay| at < stay.until)
    }

    /// In which zones a device was, as far as that was noted down.
    pub fn stays(&self, device: &DeviceId) -> Vec<Stay<RegionId>> {
        let stays = self.0.get(device).map_or(&[][..], Vec::as_slice).iter();
        let zoned = stays.filter_map(|stay| {
            let zone = stay.zone.clone()?;
            Some(Stay { from_ms: stay.from.as_millis(), until_ms: stay.until.as_millis(), zone })
        });
        zoned.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use parvis_engine::registry::{Parts, Zone};
    use serde_json::json;

    fn registry() -> Registry {
        let zone = |id: &str| {
            let spec = serde_json::from_value(json!({ "id": id, "store": "opera" })).expect("well formed");
            Arc::new(Zone::compile(spec).expect("sound"))
        };
        Registry::new(Parts { zones: vec![zone("tv"), zone("hifi")], ..Parts::default() })
    }

    fn refusal(lines: &str) -> String {
        format!("{:#}", Truth::read(lines.as_bytes(), &registry()).expect_err("a refusal"))
    }

    #[test]
    fn truth_is_found_by_device_and_time() {
        let lines = r#"{"device":"tag","from":"2026-11-21T10:01:00Z","until":"2026-11-21T10:02:00Z","plan":{"x_m":1.0,"y_m":2.0}}

            {"device":"tag","from":"2026-11-21T10:00:00Z","until":"2026-11-21T10:01:00Z","zone":"tv"}"#;
        let truth = Truth::read(lines.as_bytes(), &registry()).expect("sound");
        let tag: DeviceId = "tag".parse().expect("an id");
        let at = |text: &str| truth.at(&tag, text.parse().expect("a time"));
        assert_eq!(at("2026-11-21T09:59:59.999Z"), None);
        assert_eq!(
            at("2026-11-21T10:00:59.999Z").and_then(|stay| stay.zone.as_ref()).map(RegionId::as_str),
            Some("tv")
        );
        assert_eq!(at("2026-11-21T10:01:00Z").and_then(|stay| stay.plan).map(|plan| plan.y_m), Some(2.0));
        assert_eq!(at("2026-11-21T10:02:00Z"), None);
        assert_eq!(truth.stays(&tag).len(), 1, "only a zone can be judged by");
        assert_eq!(truth.devices().count(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        let line = |from: &str, until: &str, place: &str| {
            format!("{{\"device\":\"tag\",\"from\":\"2026-11-21T{from}Z\",\"until\":\"2026-11-21T{until}Z\"{place}}}\n")
        };
        let tv = r#","zone":"tv""#;
        let good = line("10:00:00", "10:01:00", tv);
        assert_eq!(
            refusal(&format!("{good}{}", line("10:02:00", "10:03:00", ""))),
            "truth, line 2: neither zone nor plan says where"
        );
        assert_eq!(
            refusal(&line("10:02:00", "10:03:00", r#","zone":"tills""#)),
            "truth, line 1: there is no zone tills"
        );
        assert!(refusal(&line("10:02:00", "10:02:00", tv)).contains("must be after from"));
        let overlap = format!("{good}{}", line("10:00:30", "10:03:00", tv));
        assert_eq!(refusal(&overlap), "truth, lines 1 and 2: tag can't be at two places at once");
        assert!(refusal(&line("10:02:00", "10:03:00", r#","aisle":"tv""#)).contains("aisle"));
    }
}
