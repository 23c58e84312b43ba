//! What sending costs: APNs requests through provider, courier and transport beside the same over another client, the
//! encryption of Web Push alone, Web Push to several services, the way from the outbox to settled, and what a backlog
//! takes of memory.
//!
//! Prints a table a part; `cargo bench --bench delivery -- apns` prints only that one. The sink that answers runs in the
//! same process, on a thread and a core of its own if there is one; its processor time is left out. Rates are medians
//! of rounds.

#![allow(clippy::print_stdout, reason = "a bench tells whoever runs it")]

mod encrypt;
mod line;
mod load;
mod message;
mod others;
mod send;
mod sink;

use std::time::Duration;

/// The daemon's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
struct Scale {
    rounds: usize,
    span: Duration,
    /// Requests in flight.
    in_flight: [usize; 2],
    /// Push services.
    services: usize,
    /// Messages encrypted in a round.
    messages: usize,
    /// Messages in the outbox to be sent now, and those for later.
    due: usize,
    backlog: usize,
}

const WHOLE: Scale = Scale {
    rounds: 5,
    span: Duration::from_secs(2),
    in_flight: [100, 900],
    services: 6,
    messages: 20_000,
    due: 50_000,
    backlog: 1_000_000,
};

/// Shows that everything still runs; measures nothing.
const SMOKE: Scale = Scale {
    rounds: 1,
    span: Duration::from_millis(1),
    in_flight: [2, 5],
    services: 2,
    messages: 5,
    due: 50,
    backlog: 100,
};

/// A part's name and what measures it.
type Part = (&'static str, fn(&Scale));

fn main() {
    // Only `cargo bench` says this.
    let scale = if std::env::args().any(|argument| argument == "--bench") { &WHOLE } else { &SMOKE };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let parts: [Part; 5] = [
        ("apns", send::apns),
        ("encrypt", encrypt::part),
        ("webpush", send::webpush),
        ("line", line::line),
        ("backlog", line::backlog),
    ];
    println!("{} cores", std::thread::available_parallelism().map_or(1, usize::from));
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(scale);
        }
    }
}
