//! Seeded chance: one sequence for each purpose, so that a change in one place does not shift all others.

use std::time::Duration;

use parvis::entropy::Entropy;
use parvis_engine::id::stable_hash;

/// A seeded sequence.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Entropy);

impl Dice {
    /// The sequence of a seed for one purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Dice {
        Dice(Entropy::seeded(stable_hash(&[purpose, &seed.to_string()])))
    }

    /// From `low` to `high`.
    pub(crate) fn between(&self, low: f64, high: f64) -> f64 {
        low + self.0.unit() * (high - low)
    }

    /// Below `count`.
    pub(crate) fn below(&self, count: usize) -> usize {
        (self.0.bits() % count.max(1) as u64) as usize
    }

    /// True with this probability.
    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.0.unit() < probability
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// A span from `low` to `high` seconds, whole milliseconds.
    pub(crate) fn span(&self, low_s: f64, high_s: f64) -> Duration {
        Duration::from_millis((self.between(low_s, high_s) * 1_000.0) as u64)
    }

    /// Any order of these.
    pub(crate) fn shuffle<T>(&self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}
