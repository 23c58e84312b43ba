//! The engine alone.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parvis::{
    pipeline::observe,
    shard::Work,
    store::{Durable, Record},
};
use parvis_engine::{
    observation::Observation,
    region::Geofence,
    time::Timestamp,
    world::{Settings, World},
};

use crate::{
    Scale,
    city::{Phone, Walk, fence_json},
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
            let feature = |index| serde_json::from_str(&fence_json(index, None)).expect("a feature");
            let fences_made = (0..fences).map(|index| Arc::new(Geofence::compile(feature(index)).expect("sound")));
            let world = World::new(1, fences_made.collect(), Vec::new(), Vec::new(), Settings::default());
            let mut now = Timestamp::from_millis(1_800_000_000_000);
            let mut phones: Vec<(Phone, Record)> = (0..PHONES.min(scale.phones))
                .map(|index| Phone::new(index * fences / PHONES % fences, walk))
                .map(|phone| {
                    let record = Record { version: 1, shopper: Arc::new(phone.shopper()), tracks: Default::default() };
                    (phone, record)
                })
                .collect();
            let rounds = (0..scale.rounds * 20).map(|_| {
                now = now.plus(Duration::from_secs(10));
                let begun = Instant::now();
                phones.iter_mut().for_each(|(phone, record)| step(&world, phone, record, now));
                begun.elapsed().as_secs_f64() / phones.len() as f64
            });
            format!("{:.2} µs", median(rounds.collect()) * 1e6)
        });
        println!("| {what} | {} |", cells.join(" | "));
    }
}

fn step(world: &World, phone: &mut Phone, record: &mut Record, now: Timestamp) {
    let mut work = Work::new(record.clone());
    let fix = vec![Observation::Fix(phone.next(now))];
    let (observed, decided) = observe(world, &mut work, &phone.id, &fix, now);
    assert_eq!(observed.transitions.len(), usize::from(phone.walk == Walk::Border));
    work.decided(decided, &observed.transitions, now);
    let Some(change) = work.change(world) else { return };
    record.tracks = change.tracks;
    if let Durable::Replaced { shopper, .. } = change.state {
        record.shopper = shopper;
    }
}
