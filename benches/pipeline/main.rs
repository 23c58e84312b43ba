//! What the machine does, and what a node takes: one observation through the engine, changes through shards and store beside what the disk alone
//! allows, the same over Redis beside bare Redis, pings over HTTP, how soon what they cause is accepted, how soon a node
//! is ready and how much memory it needs, and how all that grows.
//!
//! Prints a table a part; `cargo bench --bench pipeline -- http` prints only that one. Who asks shares the cores with
//! the node. Rates are medians of rounds.

#![allow(clippy::print_stdout, reason = "a bench tells whoever runs it")]

mod accepted;
mod caller;
mod city;
mod engine;
mod footprint;
mod growth;
mod http;
mod machine;
mod node;
mod rate;
mod shards;
mod shared;
#[path = "../decide/shop.rs"]
mod shop;

use std::{path::Path, time::Duration};

/// The daemon's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
struct Scale {
    fences: [usize; 3],
    phones: usize,
    crowd: usize,
    rounds: usize,
    span: Duration,
    askers: [usize; 3],
    connections: [usize; 3],
    senders: [usize; 3],
    paces: [usize; 2],
    /// How long pings come at a pace.
    stretch: Duration,
    growth: growth::Growth,
}

const WHOLE: Scale = Scale {
    fences: [1_000, 23_000, 100_000],
    phones: 20_000,
    crowd: 1_000_000,
    rounds: 5,
    span: Duration::from_secs(1),
    askers: [1, 64, 1_024],
    connections: [1, 64, 256],
    senders: [1, 4, 16],
    paces: [500, 2_000],
    stretch: Duration::from_secs(5),
    growth: growth::WHOLE,
};

/// Shows that everything still runs; measures nothing.
const SMOKE: Scale = Scale {
    fences: [10, 200, 100],
    phones: 400,
    crowd: 500,
    rounds: 1,
    span: Duration::from_millis(1),
    askers: [1, 2, 8],
    connections: [1, 2, 4],
    senders: [1, 1, 2],
    paces: [100, 200],
    stretch: Duration::from_millis(1),
    growth: growth::SMOKE,
};

/// A part's name and what measures it.
type Part = (&'static str, fn(&Scale));

fn main() {
    // Only `cargo bench` says this.
    let scale = if std::env::args().any(|argument| argument == "--bench") { &WHOLE } else { &SMOKE };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let parts: [Part; 13] = [
        ("machine", machine::part),
        ("engine", engine::part),
        ("shards", shards::part),
        ("shared", shared::part),
        ("http", http::part),
        ("accepted", accepted::part),
        ("start", footprint::start),
        ("memory", footprint::memory),
        ("fences", growth::fences),
        ("vertices", growth::vertices),
        ("devices", growth::devices),
        ("campaigns", growth::campaigns),
        ("nodes", growth::nodes),
    ];
    if let Some(folder) = std::env::var_os(footprint::REOPENED) {
        return footprint::reopened(Path::new(&folder));
    }
    println!("{} cores", std::thread::available_parallelism().map_or(1, usize::from));
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(scale);
        }
    }
}
