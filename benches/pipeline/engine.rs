//! The engine alone.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::time::{Duration, Instant};

use parvis::store::Record;
use parvis_engine::time::Timestamp;

use crate::{
    Scale,
    city::{Phone, Walk, pass, world},
    rate::median,
};

/// One observation through normalise, track, match and decide, and what the shard then does with the result.
pub(crate) fn part(scale: &Scale) {
    const PHONES: usize = 1_000;
    println!(
        "\n| one observation through the engine, circles | {} | {} | {} |",
        scale.fences[0], scale.fences[1], scale.fences[2]
    );
    println!("|---|---:|---:|---:|");
    for (walk, what) in Walk::ALL {
        let cells = scale.fences.map(|fences| {
            let world = world(fences);
            let mut now = Timestamp::from_millis(1_800_000_000_000);
            let mut phones: Vec<(Phone, Record)> = (0..PHONES.min(scale.phones))
                .map(|index| Phone::new(index * fences / PHONES % fences, walk))
                .map(|phone| {
                    let record = phone.record();
                    (phone, record)
                })
                .collect();
            let rounds = (0..scale.rounds * 20).map(|_| {
                now = now.plus(Duration::from_secs(10));
                let begun = Instant::now();
                phones.iter_mut().for_each(|(phone, record)| pass(&world, phone, record, now));
                begun.elapsed().as_secs_f64() / phones.len() as f64
            });
            format!("{:.2} µs", median(rounds.collect()) * 1e6)
        });
        println!("| {what} | {} |", cells.join(" | "));
    }
}
