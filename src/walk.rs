//! A recorded walk of which the truth is known: what was told of zones on it, and how well.
//!
//! Plays nothing: it is told the transitions of whoever does.

mod truth;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use parvis_beacons::calibration::{Judgement, judge};
use parvis_engine::{
    id::{DeviceId, RegionId},
    matching::{Transition, TransitionKind},
    registry::Registry,
    time::Timestamp,
};

pub use truth::{Truth, Whereabouts};

/// How deep zones are nested at most: what the catalog refuses anyhow would otherwise never end.
const GROUPS_MAX: usize = 8;

/// What was told of zones on a walk.
pub struct Walk<'a> {
    registry: &'a Registry,
    truth: &'a Truth,
    moves: BTreeMap<DeviceId, Vec<Move>>,
}

struct Move {
    at: Timestamp,
    enters: bool,
    zone: RegionId,
}

/// How well zones were told.
#[derive(Debug)]
pub struct Verdict {
    /// How well, by time.
    pub judgement: Judgement<RegionId>,
    /// For how long, instead of the true zone, the group was told that it is a part of; milliseconds.
    pub group_ms: i64,
    /// Of how many devices.
    pub devices: usize,
}

impl<'a> Walk<'a> {
    /// A walk of which nothing was told yet.
    pub fn new(registry: &'a Registry, truth: &'a Truth) -> Walk<'a> {
        Walk { registry, truth, moves: BTreeMap::new() }
    }

    /// Something was told.
    pub fn told(&mut self, transition: &Transition) {
        let enters = match transition.kind {
            TransitionKind::Enter => true,
            TransitionKind::Exit => false,
            TransitionKind::Approach | TransitionKind::Dwell | TransitionKind::Pass => return,
        };
        let Transition { device, region, at, .. } = transition;
        if self.registry.zone(region).is_some() && self.truth.tells_of(device) {
            let moves = self.moves.entry(device.clone()).or_default();
            moves.push(Move { at: *at, enters, zone: region.clone() });
        }
    }

    /// Judges what was told by the truth.
    pub fn verdict(self) -> Verdict {
        let Walk { registry, truth, mut moves } = self;
        let mut judgement = Judgement::default();
        for device in truth.devices() {
            let told = zones(registry, moves.remove(device).unwrap_or_default());
            judgement = judgement.and(judge(&truth.stays(device), &told));
        }
        let rows = judgement.confusion.iter().flat_map(|(zone, row)| row.iter().map(move |cell| (zone, cell)));
        let group_ms = rows
            .filter(|(zone, (told, _))| {
                told.as_ref().is_some_and(|told| told != *zone && is_within(registry, zone, told))
            })
            .map(|(_, (_, span_ms))| span_ms)
            .sum();
        Verdict { judgement, group_ms, devices: truth.devices().count() }
    }
}

impl Verdict {
    /// Writes it for people to read.
    ///
    /// # Errors
    /// If `out` can't be written to.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Verdict { judgement, group_ms, devices } = self;
        let judged_ms = judgement.judged_ms();
        let Some(accuracy) = judgement.accuracy() else {
            return writeln!(out, "the truth names no zone at any time, so there is nothing to judge by");
        };
        let group = accuracy + *group_ms as f64 / judged_ms as f64;
        let seconds = |span_ms: Option<i64>| {
            span_ms.map_or_else(|| "-".to_owned(), |span_ms| format!("{:.1} s", span_ms as f64 / 1_000.0))
        };
        let stays = judgement.delays_ms.len() + judgement.missed;
        writeln!(
            out,
            "judged     {} of {devices} device{}",
            seconds(Some(judged_ms)),
            if *devices == 1 { "" } else { "s" }
        )?;
        writeln!(out, "right      {} of the time; {} with the group", percent(accuracy), percent(group))?;
        writeln!(out, "switches   {} told, {} true", judgement.switches, judgement.true_switches)?;
        let (median, most) = (seconds(judgement.delay_ms(0.5)), seconds(judgement.delay_ms(0.9)));
        writeln!(out, "delay      {median} at the median, {most} for nine of ten")?;
        writeln!(out, "missed     {} of {stays} stays", judgement.missed)?;
        writeln!(out, "\n% of the time: the truth in rows, what was told in columns")?;
        self.matrix(out)
    }

    fn matrix(&self, out: &mut impl Write) -> io::Result<()> {
        let confusion = &self.judgement.confusion;
        let columns: BTreeSet<&Option<RegionId>> = confusion.values().flat_map(BTreeMap::keys).collect();
        let name = |zone: &Option<RegionId>| zone.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let head = confusion.keys().map(|zone| zone.as_str().chars().count()).max().unwrap_or(0);
        let wide = |told: &Option<RegionId>| name(told).chars().count().max(5);
        let line: String = columns.iter().map(|told| format!("  {:>1$}", name(told), wide(told))).collect();
        writeln!(out, "{:head$}{line}", "")?;
        for (zone, row) in confusion {
            let all_ms: i64 = row.values().sum();
            let share =
                |told: &Option<RegionId>| 100.0 * row.get(told).copied().unwrap_or(0) as f64 / all_ms.max(1) as f64;
            let line: String = columns.iter().map(|told| format!("  {:>1$.1}", share(told), wide(told))).collect();
            writeln!(out, "{:head$}{line}", zone.as_str())?;
        }
        Ok(())
    }
}

/// A share, for people to read.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The smallest zone that a device is in, from when on.
fn zones(registry: &Registry, mut moves: Vec<Move>) -> Vec<(i64, Option<RegionId>)> {
    // An exit by silence is told afterwards, for when something was last heard.
    moves.sort_by_key(|step| step.at);
    let mut inside: BTreeSet<RegionId> = BTreeSet::new();
    let mut told: Vec<(i64, Option<RegionId>)> = Vec::new();
    for step in moves {
        if step.enters {
            inside.insert(step.zone);
        } else {
            inside.remove(&step.zone);
        }
        let holds = |zone: &&RegionId| inside.iter().any(|other| other != *zone && is_within(registry, other, zone));
        let zone = inside.iter().find(|zone| !holds(zone)).cloned();
        let at_ms = step.at.as_millis();
        match told.last_mut() {
            Some(last) if last.0 == at_ms => last.1 = zone,
            Some(_) | None => told.push((at_ms, zone)),
        }
    }
    told
}

/// Whether a zone is, or is a part of, another.
fn is_within(registry: &Registry, zone: &RegionId, other: &RegionId) -> bool {
    let group = |zone: &&RegionId| registry.zone(zone).and_then(|zone| zone.spec.group.as_ref());
    let mut chain = std::iter::successors(registry.zone(zone).map(|zone| &zone.spec.id), group).take(GROUPS_MAX);
    chain.any(|zone| zone == other)
}
