//! Eddystone-EID: beacons whose identifier changes, so that only who has their key knows them
//! (github.com/google/eddystone, "EID Computation").
//!
//! Keys come in and never go out: nothing here prints, serialises or compares them.

mod clock;
mod resolver;
mod table;

use std::{fmt, str::FromStr};

use aes::{
    Aes128,
    cipher::{BlockCipherEncrypt, KeyInit},
};

pub use resolver::Resolver;

use crate::{Ephemeral, id::hexadecimal};

/// The secret that a beacon shares with who may know it.
#[derive(Clone)]
pub struct IdentityKey([u8; 16]);

impl IdentityKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 16]) -> IdentityKey {
        IdentityKey(bytes)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(..)")
    }
}

/// The error does not repeat what it was given.
impl FromStr for IdentityKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<IdentityKey, &'static str> {
        hexadecimal(text, b'-').map(IdentityKey).ok_or("is not a key of 32 hexadecimal digits")
    }
}

/// How often a beacon changes its identifier: every 2^K seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exponent(u8);

impl Exponent {
    /// Between two changes, seconds.
    pub fn period_s(self) -> u32 {
        1 << self.0
    }
}

impl TryFrom<u8> for Exponent {
    type Error = &'static str;

    fn try_from(exponent: u8) -> Result<Exponent, &'static str> {
        if exponent > 15 { Err("is to be between 0 and 15") } else { Ok(Exponent(exponent)) }
    }
}

/// What is known of a beacon that was provisioned.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its secret.
    pub identity_key: IdentityKey,
    /// How often it changes its identifier.
    pub exponent: Exponent,
    /// When its clock stood at zero, milliseconds since 1970: the time of provisioning less what the clock showed then.
    pub began_at_ms: i64,
}

/// What a beacon calls itself when its clock, which counts seconds, shows `clock_s`.
pub fn ephemeral(identity_key: &IdentityKey, exponent: Exponent, clock_s: u32) -> Ephemeral {
    let [high, low, ..] = clock_s.to_be_bytes();
    let temporary_key = encrypt(&identity_key.0, [0xff, 0, 0, high, low]);
    let [first, second, third, fourth] = (clock_s & !(exponent.period_s() - 1)).to_be_bytes();
    let [eid @ .., _, _, _, _, _, _, _, _] = encrypt(&temporary_key, [exponent.0, first, second, third, fourth]);
    Ephemeral(eid)
}

/// AES-128 of one block, of which only the last five bytes are not zero.
fn encrypt(key: &[u8; 16], last: [u8; 5]) -> [u8; 16] {
    let mut block = [0; 16];
    block[11..].copy_from_slice(&last);
    let mut block = block.into();
    Aes128::new(key.into()).encrypt_block(&mut block);
    block.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> IdentityKey {
        "0102030405060708090A111213141516".parse().expect("a key")
    }

    /// The first two are published with another implementation (github.com/RadiusNetworks/ephemeral_calc), the others
    /// were made with OpenSSL.
    #[test]
    fn identifiers_are_those_that_others_compute() {
        for (exponent, clock_s, expected) in [
            (10, 0, "a9b76a71c5f89290"),
            (10, 2_000, "4144413e45fefa58"),
            (10, 65_536, "396973b40660265b"),
            (4, u32::MAX, "1a5c56d85ef2980c"),
            (15, 81_936, "078bf863b67343bb"),
        ] {
            let exponent = Exponent::try_from(exponent).expect("an exponent");
            assert_eq!(ephemeral(&key(), exponent, clock_s).to_string(), expected);
        }
    }

    #[test]
    fn an_identifier_lasts_for_its_period() {
        let exponent = Exponent::try_from(10).expect("an exponent");
        let at = |clock_s| ephemeral(&key(), exponent, clock_s);
        assert_eq!(at(1_024), at(2_047));
        assert_ne!(at(1_023), at(1_024));
        assert!(Exponent::try_from(16).is_err());
    }

    #[test]
    fn a_key_is_never_printed() {
        let registration =
            Registration { identity_key: key(), exponent: Exponent::try_from(4).expect("4"), began_at_ms: 0 };
        let printed = format!("{registration:?}");
        assert!(!printed.contains("01") && !printed.contains("[1"), "{printed}");
        let refusal = "0102030405060708090A1112131415".parse::<IdentityKey>().expect_err("too short");
        assert!(!refusal.contains("0102"), "{refusal}");
    }
}
