//! What goes wrong and when: crashes, a store that is away, moods of the push services. All of it from the seed, and
//! none of it after the calm has begun.

use std::time::Duration;

use parvis_engine::{notification::Channel, time::Timestamp};

use crate::{
    chance::Dice,
    city::{self, at},
};

/// Everything that goes wrong in a run.
#[derive(Debug)]
pub(crate) struct Storm {
    /// When nodes are cut off, in order.
    pub(crate) crashes: Vec<Crash>,
    outages: Vec<(Timestamp, Timestamp)>,
    moods: Vec<(Channel, Timestamp, Timestamp, Mood)>,
    fault_rate: f64,
    calm: Timestamp,
}

/// A node is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    /// From then on.
    pub(crate) at: Timestamp,
    /// After so many further calls; at once if none.
    pub(crate) calls: Option<u32>,
    /// For so long.
    pub(crate) down: Duration,
}

/// How a push service feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers nearly everything, soon.
    Well,
    /// Answers late, often too late.
    Slow,
    /// Sends most away.
    Busy,
    /// Answers nothing, or with server errors.
    Down,
}

/// The longest that a store is away, a node is down, or a repeat of the two lasts, seconds.
const OUTAGE_S: f64 = 20.0;
/// The longest that a node is down, seconds.
const DOWN_S: f64 = 60.0;

impl Storm {
    /// The storm of a seed.
    pub(crate) fn new(seed: u64) -> Storm {
        let dice = Dice::new(seed, "storm");
        let (start, calm) = (at(city::START), at(city::CALM));
        let span_s = calm.since(start).as_secs_f64();
        let any = || start.plus(dice.span(0.0, span_s - 600.0));
        let crash = |_| {
            let calls = dice.chance(0.7).then(|| dice.below(40) as u32);
            Crash { at: any(), calls, down: dice.span(0.5, DOWN_S) }
        };
        let mut crashes: Vec<Crash> = (0..dice.below(13)).map(crash).collect();
        crashes.sort_by_key(|crash| crash.at);
        let outage = |_| {
            let from = any();
            (from, from.plus(dice.span(0.1, OUTAGE_S)))
        };
        let outages = (0..dice.below(15)).map(outage).collect();
        let mood = |_| {
            let from = any();
            let channel = *dice.pick(&Channel::ALL);
            let mood = *dice.pick(&[Mood::Slow, Mood::Busy, Mood::Down]);
            (channel, from, from.plus(dice.span(30.0, 1_800.0)).min(calm), mood)
        };
        let moods = (0..6 + dice.below(18)).map(mood).collect();
        let fault_rate = *dice.pick(&[0.0, 0.01, 0.05]);
        Storm { crashes, outages, moods, fault_rate, calm }
    }

    /// Whether the store answers nothing.
    pub(crate) fn store_is_away(&self, now: Timestamp) -> bool {
        self.outages.iter().any(|(from, until)| *from <= now && now < *until)
    }

    /// How often a single call to the store fails.
    pub(crate) fn store_fault_rate(&self, now: Timestamp) -> f64 {
        if now < self.calm { self.fault_rate } else { 0.0 }
    }

    /// How a push service feels now.
    pub(crate) fn mood(&self, channel: Channel, now: Timestamp) -> Mood {
        let holds = |(of, from, until, _): &&(Channel, Timestamp, Timestamp, Mood)| {
            *of == channel && *from <= now && now < *until
        };
        self.moods.iter().find(holds).map_or(Mood::Well, |(_, _, _, mood)| *mood)
    }

    /// Whether things go wrong at all.
    pub(crate) fn is_calm(&self, now: Timestamp) -> bool {
        now >= self.calm
    }
}
