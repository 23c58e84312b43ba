//! More circles at the same density, through the engine.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::time::{Duration, Instant};

use parvis_engine::time::Timestamp;

use super::{costs, each_us, head, row};
use crate::{
    Scale,
    city::{Phone, Walk, pass, world},
    footprint::resident_bytes,
};

/// So many that what they touch does not stay in the processor's caches.
const PHONES_MAX: usize = 10_000;

pub(crate) fn part(scale: &Scale) {
    let growth = &scale.growth;
    // All are kept until the end: memory that one has left would hide what the next one needs.
    let (mut worlds, mut bytes, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    for &fences in growth.fences {
        let (before, begun) = (resident_bytes(), Instant::now());
        worlds.push((fences, world(fences)));
        spans.push(begun.elapsed().as_secs_f64());
        bytes.push(resident_bytes().saturating_sub(before) / fences as u64);
    }
    head("circles", growth.fences);
    for (walk, what) in Walk::ALL {
        let cells: Vec<f64> = worlds
            .iter()
            .map(|(fences, world)| {
                let phones = PHONES_MAX.min(*fences);
                let mut crowd: Vec<_> = (0..phones)
                    .map(|index| Phone::new(index * fences / phones, walk))
                    .map(|phone| (phone.record(), phone))
                    .collect();
                let mut now = Timestamp::from_millis(1_800_000_000_000);
                each_us(growth, phones, || {
                    now = now.plus(Duration::from_secs(10));
                    crowd.iter_mut().for_each(|(record, phone)| pass(world, phone, record, now));
                })
            })
            .collect();
        costs(what, &cells);
    }
    row("memory a circle", bytes.iter().map(|bytes| format!("{bytes} B")));
    row("all made and indexed", spans.iter().map(|span_s| format!("{:.1} ms", span_s * 1e3)));
}
