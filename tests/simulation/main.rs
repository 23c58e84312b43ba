//! The whole pipeline in one thread on a clock that is made up: real shards, lanes, couriers and encoders, over a
//! store that fails, push services with moods, and nodes that are cut off at any instant. Everything comes from a seed.
//!
//! `PARVIS_SIM_SEED=7` plays one seed, `PARVIS_SIM_SEEDS=500` that many.

mod browser;
mod chance;
mod city;
mod disk;
mod log;
mod node;
mod oracle;
mod plan;
mod power;
mod run;
mod services;
mod storm;
mod walk;

use std::env;

/// So many take well under a minute in the development profile.
const SEEDS: u64 = 26;

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds().into_iter().take(3) {
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
fn whatever_happens_the_promises_hold() {
    let mut total = oracle::Counts::default();
    let mut broken = Vec::new();
    for seed in seeds() {
        let (counts, complaints) = oracle::judge(&run::play(seed));
        total.add(&counts);
        if !complaints.is_empty() {
            let shown = complaints.iter().take(8).cloned().collect::<Vec<_>>().join("\n  ");
            broken.push(format!("PARVIS_SIM_SEED={seed}: {} promises broken\n  {shown}", complaints.len()));
        }
    }
    assert!(broken.is_empty(), "{} seeds\n{}", broken.len(), broken.join("\n"));
    tell(&total);
    total.require_variety();
}

#[allow(clippy::print_stdout, reason = "the figures are for whoever runs the simulation")]
fn tell(total: &oracle::Counts) {
    println!("{total:?}");
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("PARVIS_SIM_SEED"), number("PARVIS_SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (1..=count.unwrap_or(SEEDS)).collect(),
    }
}
