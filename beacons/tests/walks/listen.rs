//! What ranging makes of what was heard, second by second, as the engine calls it.

use std::collections::BTreeMap;

use parvis_beacons::ranging::{self, Choice, Level, Settings};

use crate::{radio::Heard, shop::Shop};

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ears {
    /// Fixed scanners hear a tag: one that hears nothing is known to be healthy.
    Scanners,
    /// A phone hears fixed beacons.
    Phone,
}

/// What was told at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) at_ms: i64,
    /// The zone that somebody is held to be in.
    pub(crate) zone: Option<usize>,
    /// What was chosen in this second, if anything was.
    pub(crate) choice: Option<Choice<usize>>,
}

/// What is told at the end of every second.
pub(crate) fn told(shop: &Shop, ears: Ears, heard: &[Heard], length_s: i64, settings: &Settings) -> Vec<Told> {
    let exit_after_s = match ears {
        Ears::Scanners => settings.tag_exit_after_s,
        Ears::Phone => settings.exit_after_s,
    };
    let mut levels: BTreeMap<usize, Level> = BTreeMap::new();
    let (mut zone, mut newest_ms, mut next) = (None, 0, 0);
    let mut all = Vec::new();
    for at_ms in (1..=length_s).map(|second| second * 1_000) {
        while let Some(reading) = heard.get(next).filter(|reading| reading.at_ms < at_ms) {
            let before = levels.get(&reading.source).copied();
            let after = ranging::smoothed(before, reading.rssi_dbm, reading.at_ms, settings);
            if let Some(level) = after.filter(|_| after != before) {
                levels.insert(reading.source, level.summing_up(reading.count));
                newest_ms = reading.at_ms;
            }
            next += 1;
        }
        let sources = levels.iter().map(|(source, level)| (shop.sources[*source].zone, *level));
        let silent = |zone: &usize| match ears {
            Ears::Phone => 0,
            Ears::Scanners => {
                let of_zone = shop.sources.iter().enumerate().filter(|(_, source)| source.zone == *zone);
                let hears = |at: usize| levels.get(&at).is_some_and(|level| level.is_live(at_ms, settings));
                of_zone.filter(|(at, _)| !hears(*at)).count()
            }
        };
        let scores = ranging::scores(sources, silent, at_ms, settings);
        let choice = ranging::choose(zone.as_ref(), &scores, settings);
        if let Some(choice) = &choice {
            zone = Some(choice.zone);
        } else if (at_ms - newest_ms) as f64 >= exit_after_s * 1_000.0 {
            zone = None;
        }
        all.push(Told { at_ms, zone, choice });
    }
    all
}

/// The moments at which another zone was told.
pub(crate) fn changes(told: &[Told]) -> Vec<(i64, Option<usize>)> {
    let mut changes: Vec<(i64, Option<usize>)> = told.iter().map(|told| (told.at_ms, told.zone)).collect();
    changes.dedup_by_key(|(_, zone)| *zone);
    changes
}
