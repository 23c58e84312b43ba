//! Chance with a seed: PCG-XSH-RR (O'Neill 2014), 16 bytes of state, the same numbers on every machine.

use rand_pcg::{
    Pcg32,
    rand_core::{Rng, SeedableRng},
};

/// Chance of one phone, or of one thing that is built.
#[derive(Clone, Debug)]
pub(super) struct Chance(Pcg32);

impl Chance {
    /// The chance that belongs to a number under a seed. Neighbouring numbers share nothing: both halves of the state
    /// are mixed from them.
    pub(super) fn new(seed: u64, number: u64) -> Chance {
        Chance(Pcg32::seed_from_u64(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    /// 0 to below 1.
    pub(super) fn share(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// From one number to below another.
    pub(super) fn within(&mut self, least: f32, most: f32) -> f32 {
        least + (most - least) * self.share()
    }

    /// 0 to below `count`, which is at least 1.
    pub(super) fn below(&mut self, count: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(count)) >> 32) as u32
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(&mut self, probability: f32) -> bool {
        self.share() < probability
    }

    /// Two numbers of mean 0 and variance 1, near enough to normal for the error of a fix: the sum of four bytes each.
    pub(super) fn bells(&mut self) -> [f32; 2] {
        // The mean of the sum is 510, its variance 4 * (256^2 - 1) / 12.
        const SPREAD: f32 = 147.8;
        [self.0.next_u32(), self.0.next_u32()]
            .map(|bits| (bits.to_le_bytes().map(u32::from).iter().sum::<u32>() as f32 - 510.0) / SPREAD)
    }
}
