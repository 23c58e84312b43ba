//! The whole pipeline in one thread on a clock that is made up: nodes with real shards, lanes, couriers and encoders,
//! over a store that they share and that fails, push services with moods, people who reach any node, and nodes that are
//! cut off at any instant. Everything comes from a seed; `docs/testing.md` says what is judged.
//!
//! `PARVIS_SIM_SEED=7` plays one seed, `PARVIS_SIM_FROM=1000 PARVIS_SIM_SEEDS=500` plays that many from there on.

#![allow(
    clippy::disallowed_macros,
    reason = "a panic hook counts for the thread that panicked, and knows no other place"
)]

mod browser;
mod chance;
mod city;
mod disk;
mod log;
mod node;
mod operator;
mod oracle;
mod people;
mod plan;
mod power;
mod run;
mod services;
mod shared;
mod storm;
mod walk;

use std::{
    env, panic,
    sync::{Mutex, Once, PoisonError},
    thread::{self, ThreadId},
};

/// In the development profile two cores play so many in well under a minute.
const SEEDS: u64 = 240;
/// The seeds are dealt out to so many tests, which run side by side.
const PARTS: u64 = 8;
/// Seeds that have found something, each with what it was.
const KEPT: &str = include_str!("seeds.txt");

#[test]
fn the_same_seed_gives_the_same_trace() {
    let asked = seeds().unwrap_or_else(|| (1..=4).collect());
    for seed in asked.into_iter().take(4) {
        let (one, two) = (run::play(seed), run::play(seed));
        let parting = one.lines.iter().zip(&two.lines).find(|(one, two)| log::text(one) != log::text(two));
        if let Some((one, two)) = parting {
            panic!("seed {seed}: two runs part at\n{}\n{}", log::text(one), log::text(two));
        }
        assert_eq!(one.lines.len(), two.lines.len(), "seed {seed}: one run goes on longer");
        assert_eq!(log::hash(&one.lines), log::hash(&two.lines), "seed {seed}");
    }
    let (one, two) = (run::play(1), run::play(2));
    assert_ne!(log::hash(&one.lines), log::hash(&two.lines), "another seed is another run");
}

#[test]
fn seeds_that_once_found_something_stay_quiet() {
    let kept = KEPT.lines().filter(|line| !line.starts_with('#'));
    let number = |line: &str| line.split_whitespace().next().expect("a seed").parse::<u64>().expect("a number");
    hold(kept.map(number).collect());
}

#[test]
fn the_promises_hold_in_the_1st_part() {
    hold(part(0));
}

#[test]
fn the_promises_hold_in_the_2nd_part() {
    hold(part(1));
}

#[test]
fn the_promises_hold_in_the_3rd_part() {
    hold(part(2));
}

#[test]
fn the_promises_hold_in_the_4th_part() {
    hold(part(3));
}

#[test]
fn the_promises_hold_in_the_5th_part() {
    hold(part(4));
}

#[test]
fn the_promises_hold_in_the_6th_part() {
    hold(part(5));
}

#[test]
fn the_promises_hold_in_the_7th_part() {
    hold(part(6));
}

#[test]
fn the_promises_hold_in_the_8th_part() {
    hold(part(7));
}

/// The threads on which something has panicked, be it in a task that nobody waits for: a hook gets nothing passed.
static PANICKED: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

/// How often that was on this one, which is then forgotten.
fn panics() -> usize {
    let here = thread::current().id();
    let mut panicked = PANICKED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = panicked.len();
    panicked.retain(|thread| *thread != here);
    before - panicked.len()
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICKED.lock().unwrap_or_else(PoisonError::into_inner).push(thread::current().id());
            before(panic);
        }));
    });
}

fn hold(seeds: Vec<u64>) {
    count_panics();
    let mut total = oracle::Counts::default();
    let mut broken = Vec::new();
    for seed in seeds {
        let (counts, mut complaints) = oracle::judge(&run::play(seed));
        total.add(&counts);
        let panics = panics();
        if panics > 0 {
            complaints.push(format!("{panics} tasks have panicked"));
        }
        if !complaints.is_empty() {
            let shown = complaints.iter().take(8).cloned().collect::<Vec<_>>().join("\n  ");
            broken.push(format!("PARVIS_SIM_SEED={seed}: {} promises broken\n  {shown}", complaints.len()));
        }
    }
    tell(&total);
    assert!(broken.is_empty(), "{} seeds\n{}", broken.len(), broken.join("\n"));
    total.require_variety();
}

#[allow(clippy::print_stdout, reason = "the figures are for whoever runs the simulation")]
fn tell(total: &oracle::Counts) {
    println!("{total:?}");
}

fn part(number: u64) -> Vec<u64> {
    let seeds = seeds().unwrap_or_else(|| (1..=SEEDS).collect());
    seeds.into_iter().filter(|seed| seed % PARTS == number).collect()
}

/// The seeds that somebody asks for.
fn seeds() -> Option<Vec<u64>> {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (from, count) = (number("PARVIS_SIM_FROM"), number("PARVIS_SIM_SEEDS"));
    match number("PARVIS_SIM_SEED") {
        Some(seed) => Some(vec![seed]),
        None if from.is_none() && count.is_none() => None,
        None => {
            let from = from.unwrap_or(1);
            Some((from..from.saturating_add(count.unwrap_or(SEEDS))).collect())
        }
    }
}
