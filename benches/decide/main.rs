//! What deciding costs, with more and more campaigns of which three answer the transition.

mod shop;

use std::hint::black_box;

use divan::Bencher;
use parvis_engine::{
    decide::{self, Budgets},
    matching::Transition,
    world::World,
};

use crate::shop::{enter, now, shopper, world};

const CAMPAIGNS: [usize; 4] = [3, 100, 1_000, 10_000];

fn main() {
    divan::main();
}

/// Three campaigns pass; one is sent and two are outranked.
#[divan::bench(args = CAMPAIGNS)]
fn one_sent(bencher: Bencher<'_, '_>, campaigns: usize) {
    run(bencher, &world(campaigns, "newsletter"), &[enter()]);
}

/// Three campaigns answer, and their audience refuses each.
#[divan::bench(args = CAMPAIGNS)]
fn all_refused(bencher: Bencher<'_, '_>, campaigns: usize) {
    run(bencher, &world(campaigns, "staff"), &[enter()]);
}

/// No campaign answers to this place.
#[divan::bench(args = CAMPAIGNS)]
fn none_selected(bencher: Bencher<'_, '_>, campaigns: usize) {
    let elsewhere = Transition { region: "elsewhere".parse().expect("an id"), ..enter() };
    run(bencher, &world(campaigns, "newsletter"), &[elsewhere]);
}

/// Most observations: nothing happened.
#[divan::bench(args = CAMPAIGNS)]
fn no_transition(bencher: Bencher<'_, '_>, campaigns: usize) {
    run(bencher, &world(campaigns, "newsletter"), &[]);
}

fn run(bencher: Bencher<'_, '_>, world: &World, transitions: &[Transition]) {
    let now = now();
    bencher.with_inputs(|| (shopper(), Budgets::new())).bench_local_refs(|(shopper, budgets)| {
        black_box(decide::campaigns(world, shopper, black_box(transitions), budgets, now));
    });
}
