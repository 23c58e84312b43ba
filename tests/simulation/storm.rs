//! What goes wrong and when: crashes and restarts, a store that is away or slow, clocks that are set, moods of the push
//! services. All of it from the seed, and none of it after the calm has begun.

use std::time::Duration;

use parvis_engine::{notification::Channel, time::Timestamp};

use crate::{
    chance::Dice,
    city::{self, at},
};

/// Everything that goes wrong in a run.
#[derive(Debug)]
pub(crate) struct Storm {
    /// How many nodes there are. One has the store for itself and keeps in its memory what others would share.
    pub(crate) nodes: usize,
    /// When nodes end, in order.
    pub(crate) ends: Vec<End>,
    /// How far each node's clock is ahead all the time, milliseconds.
    pub(crate) skews_ms: Vec<i64>,
    /// When clocks are set wrong for a while, in order.
    pub(crate) jumps: Vec<Jump>,
    outages: Vec<Span>,
    slow: Vec<Span>,
    moods: Vec<(Channel, Span, Mood)>,
    fault_rate: f64,
    calm: Timestamp,
}

/// A node ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    /// From then on.
    pub(crate) at: Timestamp,
    pub(crate) how: How,
    /// For so long.
    pub(crate) down: Duration,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Cut off at once.
    Cut,
    /// Cut off after so many further calls.
    CutAfter(u32),
    /// In the order that loses nothing.
    Stopped,
}

/// A node's clock is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(crate) node: usize,
    pub(crate) span: Span,
    pub(crate) by_ms: i64,
}

/// From one moment to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
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

/// The longest that a store is away, seconds; once in a while it is away for longer than a lease.
const OUTAGE_S: f64 = 20.0;
const LONG_OUTAGE_S: (f64, f64) = (61.0, 90.0);
/// The longest that a node is down, seconds.
const DOWN_S: f64 = 60.0;
/// By how much a clock is set wrong at the most, seconds.
pub(crate) const JUMP_S: f64 = 300.0;
/// How far clocks differ all the time at the most, milliseconds.
const SKEW_MS: f64 = 2_000.0;

impl Span {
    fn holds(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

impl Storm {
    /// The storm of a seed.
    pub(crate) fn new(seed: u64) -> Storm {
        let dice = Dice::new(seed, "storm");
        let (start, calm) = (at(city::START), at(city::CALM));
        let span_s = calm.since(start).as_secs_f64();
        let nodes = *dice.pick(&[1, 2, 2, 3]);
        let any = || start.plus(dice.span(0.0, span_s - 2_000.0));
        let span = |low_s: f64, high_s: f64| {
            let from = any();
            Span { from, until: from.plus(dice.span(low_s, high_s)) }
        };
        let end = |_| {
            let how = match dice.below(10) {
                0..=2 => How::Cut,
                3..=7 => How::CutAfter(dice.below(40) as u32),
                _ => How::Stopped,
            };
            End { node: dice.below(nodes), at: any(), how, down: dice.span(0.5, DOWN_S) }
        };
        let mut ends: Vec<End> = (0..dice.below(8 + 4 * nodes)).map(end).collect();
        ends.sort_by_key(|end| end.at);
        let mut outages: Vec<Span> = (0..dice.below(15)).map(|_| span(0.1, OUTAGE_S)).collect();
        if dice.chance(0.3) {
            outages.push(span(LONG_OUTAGE_S.0, LONG_OUTAGE_S.1));
        }
        let slow = (0..dice.below(8)).map(|_| span(30.0, 1_200.0)).collect();
        let mood = |_| {
            let channel = *dice.pick(&Channel::PUSH);
            (channel, span(30.0, 1_800.0), *dice.pick(&[Mood::Slow, Mood::Busy, Mood::Down]))
        };
        let mut moods: Vec<_> = (0..8 + dice.below(18)).map(mood).collect();
        for evening in ["2026-11-20T20:50:00+01:00", "2026-11-20T20:50:00+00:00"] {
            let span = Span { from: at(evening), until: at(evening).plus(Duration::from_secs(1_200)) };
            let mood = *dice.pick(&[Mood::Busy, Mood::Busy, Mood::Down]);
            moods.extend(Channel::PUSH.map(|channel| (channel, span, mood)));
        }
        let skews_ms = (0..nodes).map(|_| dice.between(-SKEW_MS, SKEW_MS) as i64).collect();
        let jump = |_| {
            let by_ms = dice.between(-JUMP_S, JUMP_S) * 1_000.0;
            // Half of them while most people are about.
            let from = if dice.chance(0.5) { start.plus(dice.span(0.0, 8.0 * 3_600.0)) } else { any() };
            let span = Span { from, until: from.plus(dice.span(20.0, 1_800.0)) };
            Jump { node: dice.below(nodes), span, by_ms: by_ms as i64 }
        };
        let count = if dice.chance(0.5) { 1 + dice.below(4) } else { 0 };
        let mut jumps: Vec<Jump> = (0..count).map(jump).collect();
        jumps.sort_by_key(|jump| jump.span.from);
        let fault_rate = *dice.pick(&[0.0, 0.01, 0.05]);
        Storm { nodes, ends, skews_ms, jumps, outages, slow, moods, fault_rate, calm }
    }

    /// Whether the store answers nothing.
    pub(crate) fn store_is_away(&self, now: Timestamp) -> bool {
        self.outages.iter().any(|span| span.holds(now))
    }

    /// Whether the store takes its time.
    pub(crate) fn store_is_slow(&self, now: Timestamp) -> bool {
        self.slow.iter().any(|span| span.holds(now))
    }

    /// Whether the store was away for long between two moments.
    pub(crate) fn was_away_long(&self, from: Timestamp, until: Timestamp) -> bool {
        self.outages.iter().any(|span| {
            let long = span.until.since(span.from) >= Duration::from_secs(30);
            long && span.from <= until && from <= span.until
        })
    }

    /// Whether a clock was wrong by more than what is usual, at any time between two moments.
    pub(crate) fn clocks_were_wrong(&self, from: Timestamp, until: Timestamp) -> bool {
        self.jumps.iter().any(|jump| jump.span.from <= until && from <= jump.span.until)
    }

    /// How much two clocks differ all the time.
    pub(crate) fn skew(&self) -> Duration {
        let (least, most) = (self.skews_ms.iter().min(), self.skews_ms.iter().max());
        Duration::from_millis(least.zip(most).map_or(0, |(least, most)| least.abs_diff(*most)))
    }

    /// How often a single call to the store fails.
    pub(crate) fn store_fault_rate(&self, now: Timestamp) -> f64 {
        if now < self.calm { self.fault_rate } else { 0.0 }
    }

    /// How a push service feels now.
    pub(crate) fn mood(&self, channel: Channel, now: Timestamp) -> Mood {
        let holds = |(of, span, _): &&(Channel, Span, Mood)| *of == channel && span.holds(now);
        let mood = self.moods.iter().find(holds).map_or(Mood::Well, |(_, _, mood)| *mood);
        if self.is_calm(now) { Mood::Well } else { mood }
    }

    /// Whether things go wrong at all.
    pub(crate) fn is_calm(&self, now: Timestamp) -> bool {
        now >= self.calm
    }
}
