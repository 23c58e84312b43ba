//! The tables of `docs/ranging.md`. Each is computed anew and must stand there as it is, so that no number on that page
//! is older than the code.

use std::fmt::Write as _;

use parvis_beacons::{calibration::Judgement, ranging::Settings};

use crate::{
    listen::{Ears, Told},
    radio::Radio,
    scene::{Conditions, GAITS, Offers, Scene, Walk},
};

const PAGE: &str = include_str!("../../../docs/ranging.md");
const WALKS: u64 = 30;

#[test]
fn table_of_sources_and_speed() {
    let mut table = String::from("| who hears | walks at | 1 | 2 | 3 | 4 |\n|---|---|---|---|---|---|\n");
    for ears in [Ears::Scanners, Ears::Phone] {
        for gait in GAITS {
            let cells = (1..=4).map(|sources| {
                let scene = Scene::record(Conditions::new(ears, gait, sources), WALKS);
                let judgement = scene.judgement(&Settings::default());
                format!("{} · {} · {}", share(&judgement), switches(&judgement), delay(&judgement))
            });
            row(&mut table, [name(ears).to_owned(), format!("{} m/s", gait.speed_mps)].into_iter().chain(cells));
        }
    }
    stands("accuracy, switches for each true change, median delay, by sources for each zone", &table);
}

#[test]
fn table_of_sites() {
    let mut table = String::from(
        "| who hears | advertisements | sources differ by | 4 m | 5.5 m | 7 m |\n|---|---|---|---|---|---|\n",
    );
    for ears in [Ears::Scanners, Ears::Phone] {
        for (rate_hz, offset_db, surveyed) in
            [(1.0, 3.0, false), (2.0, 3.0, false), (5.0, 3.0, false), (2.0, 6.0, false), (2.0, 6.0, true)]
        {
            let cells = [4.0, 5.5, 7.0].map(|pitch_m| {
                let radio = Radio { rate_hz, offset_db, ..Radio::SHOP };
                let conditions = Conditions { pitch_m, radio, surveyed, ..Conditions::new(ears, GAITS[1], 3) };
                let judgement = Scene::record(conditions, WALKS).judgement(&Settings::default());
                format!("{} · {}", share(&judgement), switches(&judgement))
            });
            let known = if surveyed { ", learned" } else { "" };
            let head = [name(ears).to_owned(), format!("{rate_hz}/s"), format!("{offset_db} dB{known}")];
            row(&mut table, head.into_iter().chain(cells));
        }
    }
    stands("accuracy and switches for each true change, by the width of zones", &table);
}

#[test]
fn table_of_smoothing() {
    let scenes = scenes();
    let mut table = String::from(
        "| smoothing_s | rise_weight | margin_db | scanners | phone | switches | median delay | missed |\n|---|---|---|---|---|---|---|---|\n",
    );
    let tries = [1.0, 1.5, 2.0, 3.0, 4.0].into_iter().flat_map(|tau| [(tau, 1.0, 3.0), (tau, 2.0, 3.0)]);
    for (smoothing_s, rise_weight, margin_db) in
        tries.chain([1.0, 2.0, 4.0, 6.0].map(|margin_db| (2.0, 2.0, margin_db)))
    {
        let settings = Settings { smoothing_s, rise_weight, margin_db, ..Settings::default() };
        let of = |ears: Ears| {
            let scenes = scenes.iter().filter(|scene| scene.ears == ears);
            scenes.map(|scene| scene.judgement(&settings)).fold(Judgement::default(), Judgement::and)
        };
        let (scanners, phone) = (of(Ears::Scanners), of(Ears::Phone));
        let (scanners_share, phone_share) = (share(&scanners), share(&phone));
        let both = scanners.and(phone);
        let missed = both.missed as f64 / (both.missed + both.delays_ms.len()) as f64;
        let numbers = [smoothing_s, rise_weight, margin_db].map(|number| number.to_string());
        let results = [scanners_share, phone_share, switches(&both), delay(&both), percent(missed)];
        row(&mut table, numbers.into_iter().chain(results));
    }
    stands("smoothing, rises and margin", &table);
}

#[test]
fn table_of_confidence() {
    let scenes: Vec<Scene> = scenes().into_iter().chain(sparse()).collect();
    let mut table = String::from(
        "| spread_db | log loss | told at 0.6 to 0.7 | right | told at 0.8 to 0.9 | right |\n|---|---|---|---|---|---|\n",
    );
    for spread_db in [2.0, 3.0, 3.5, 4.0, 5.0, 7.0] {
        let settings = Settings { spread_db, ..Settings::default() };
        let mut told: Vec<(f64, bool)> = Vec::new();
        for scene in &scenes {
            for (walk, seconds) in scene.walks.iter().zip(scene.told(&settings)) {
                for (at_ms, choice) in seconds.into_iter().filter_map(|now| Some((now.at_ms, now.choice?))) {
                    let truth = walk.stays.iter().find(|stay| at_ms <= stay.until_ms);
                    told.push((choice.confidence, truth.is_some_and(|stay| stay.zone == choice.zone)));
                }
            }
        }
        let loss = |(confidence, right): &(f64, bool)| {
            let likely = if *right { *confidence } else { 1.0 - *confidence };
            -likely.max(1e-3).ln()
        };
        let loss = told.iter().map(loss).sum::<f64>() / told.len() as f64;
        let between = |low: f64, high: f64| {
            let all: Vec<bool> = told
                .iter()
                .filter(|(confidence, _)| (low..high).contains(confidence))
                .map(|(_, right)| *right)
                .collect();
            let right = all.iter().filter(|right| **right).count();
            [percent(all.len() as f64 / told.len() as f64), percent(right as f64 / all.len() as f64)]
        };
        let results = [format!("{spread_db}"), format!("{loss:.3}")].into_iter();
        row(&mut table, results.chain(between(0.6, 0.7)).chain(between(0.8, 0.9)));
    }
    stands("confidence", &table);
}

#[test]
fn table_of_offers() {
    // Neither dwell nor confidence changes which zone is told.
    let told: Vec<(Walk, Vec<Told>)> = scenes()
        .into_iter()
        .flat_map(|scene| {
            let told = scene.told(&Settings::default());
            scene.walks.into_iter().zip(told)
        })
        .collect();
    let mut table = String::from("| offer_dwell_s | any confidence | 0.6 | 0.7 | 0.8 |\n|---|---|---|---|---|\n");
    for offer_dwell_s in [0.0, 3.0, 6.0, 9.0] {
        let cells = [0.0, 0.6, 0.7, 0.8].map(|offer_confidence| {
            let settings = Settings { offer_dwell_s, offer_confidence, ..Settings::default() };
            let offers = told.iter().fold(Offers::default(), |offers, (walk, told)| offers.make(walk, told, &settings));
            let right = offers.right as f64 / offers.made as f64;
            format!("{} · {}", percent(right), percent(offers.reached as f64 / offers.stays as f64))
        });
        row(&mut table, [offer_dwell_s.to_string()].into_iter().chain(cells));
    }
    stands("offers made in the right zone, and stays of 15 s that were reached", &table);
}

/// Three sources a zone: both directions, at two speeds.
fn scenes() -> Vec<Scene> {
    let all = [Ears::Scanners, Ears::Phone].into_iter().flat_map(|ears| [(ears, GAITS[1]), (ears, GAITS[2])]);
    all.map(|(ears, gait)| Scene::record(Conditions::new(ears, gait, 3), WALKS)).collect()
}

/// One source a zone.
fn sparse() -> [Scene; 2] {
    [Ears::Scanners, Ears::Phone].map(|ears| Scene::record(Conditions::new(ears, GAITS[1], 1), WALKS))
}

fn name(ears: Ears) -> &'static str {
    match ears {
        Ears::Scanners => "scanners, a tag",
        Ears::Phone => "a phone, beacons",
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn share(judgement: &Judgement<usize>) -> String {
    judgement.accuracy().map_or_else(|| "-".to_owned(), percent)
}

fn switches(judgement: &Judgement<usize>) -> String {
    format!("{:.1}", judgement.switches as f64 / judgement.true_switches as f64)
}

fn delay(judgement: &Judgement<usize>) -> String {
    judgement.delay_ms(0.5).map_or_else(|| "-".to_owned(), |delay_ms| format!("{:.1} s", delay_ms as f64 / 1_000.0))
}

fn row(table: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    writeln!(table, "| {} |", cells.join(" | ")).expect("a string takes everything");
}

#[allow(clippy::print_stdout, reason = "the table is what is asked for when output is shown")]
fn stands(title: &str, table: &str) {
    println!("{title}:\n\n{table}");
    assert!(PAGE.contains(table), "docs/ranging.md lacks this table of {title}:\n\n{table}");
}
