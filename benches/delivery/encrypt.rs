//! What the encryption of a Web Push message costs: a new key pair, the agreement, the keys and one record of 1 KB.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{hint::black_box, time::Instant};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use parvis::{
    delivery::webpush::ece::{self, Fresh, Keys},
    entropy::Entropy,
};

use crate::{
    Scale,
    load::{median, processor_us},
};

pub(crate) fn part(scale: &Scale) {
    let browser = PrivateKey::generate(&ECDH_P256).expect("a key").compute_public_key().expect("a public key");
    let keys = Keys { public: browser.as_ref().try_into().expect("65 bytes"), auth: [9; 16] };
    let (entropy, plaintext) = (Entropy::System, vec![b'x'; 1_024]);
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..=scale.rounds {
        let (begun, used) = (Instant::now(), processor_us("/proc/thread-self/stat"));
        for _ in 0..scale.messages {
            let fresh = Fresh::draw(&entropy).expect("chance");
            black_box(ece::encrypt(black_box(&plaintext), &keys, &fresh).expect("encrypts"));
        }
        rates.push(scale.messages as f64 / begun.elapsed().as_secs_f64());
        costs.push((processor_us("/proc/thread-self/stat") - used) / scale.messages as f64);
    }
    println!("\n| Web Push encryption, 1 KB, one thread | a second | processor time each |");
    println!("|---|---:|---:|");
    println!("| a new key pair for each | {:.0} | {:.1} µs |", median(rates.split_off(1)), median(costs.split_off(1)));
}
