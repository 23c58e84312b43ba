//! The only source of chance: the system's in production, a seed in simulation.

#![allow(clippy::disallowed_types, reason = "this is the exception that the rule points to")]

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Gives out randomness.
#[derive(Clone, Debug)]
pub enum Entropy {
    /// The system's generator, fit for keys.
    System,
    /// A seeded sequence, the same in every run. Never for keys.
    Seeded(Arc<Mutex<u64>>),
}

impl Entropy {
    /// The sequence of a seed.
    pub fn seeded(seed: u64) -> Entropy {
        Entropy::Seeded(Arc::new(Mutex::new(seed)))
    }

    /// Fills a buffer.
    pub fn fill(&self, bytes: &mut [u8]) {
        match self {
            Entropy::System => SystemRandom::new().fill(bytes).expect("the system's random generator works"),
            Entropy::Seeded(state) => {
                for chunk in bytes.chunks_mut(8) {
                    let word = step(&mut state.lock().unwrap_or_else(PoisonError::into_inner)).to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
            }
        }
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform in 0..1.
    pub fn unit(&self) -> f64 {
        const DIGITS: u32 = f64::MANTISSA_DIGITS;
        (self.bits() >> (64 - DIGITS)) as f64 / (1_u64 << DIGITS) as f64
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequence_and_stays_in_range() {
        let (one, two) = (Entropy::seeded(7), Entropy::seeded(7));
        for _ in 0..1_000 {
            let unit = one.unit();
            assert!((0.0..1.0).contains(&unit));
            assert_eq!(unit.to_bits(), two.unit().to_bits());
        }
        assert_ne!(Entropy::seeded(8).bits(), Entropy::seeded(7).bits());
    }
}
