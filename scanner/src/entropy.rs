//! The only source of chance: names of runs, and the spread of retries.

#![allow(clippy::disallowed_types, reason = "this is the exception that the rule points to")]

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// 64 random bits.
pub fn bits() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the system's random generator works");
    u64::from_le_bytes(bytes)
}

/// Uniform in 0..1.
pub fn unit() -> f64 {
    const DIGITS: u32 = f64::MANTISSA_DIGITS;
    (bits() >> (64 - DIGITS)) as f64 / (1_u64 << DIGITS) as f64
}
