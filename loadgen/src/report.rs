//! What a run gave, as JSON and as a table. The JSON's shape is documented in `docs/load.md` and only ever grows.

pub(crate) mod machine;
pub(crate) mod table;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use parvis_loadgen::scenario::{Providers, Scenario, Shape};
use serde::Serialize;

use self::machine::Machine;
use crate::{
    drive::Run,
    measure::{Second, arrivals::Taken, process::Usage, quantile_ms},
};

/// The shape of the JSON; raised when a field changes its meaning.
const SHAPE: u32 = 1;
/// Where the curve of waits is drawn: shares of pings that waited longer, from one to one in a million.
const CURVE_POINTS: usize = 61;
const CURVE_DECADES: f64 = 6.0;

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) shape: u32,
    /// Who made it.
    pub(crate) generator: String,
    pub(crate) machine: Machine,
    pub(crate) scenario: Parameters,
    pub(crate) server: Server,
    pub(crate) stretches: Vec<Stretch>,
}

/// What was tried, after all options.
#[derive(Debug, Serialize)]
pub(crate) struct Parameters {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) fences: usize,
    pub(crate) polygon_share: f64,
    pub(crate) vertices: usize,
    pub(crate) hot_vertices: Option<usize>,
    pub(crate) phones: usize,
    pub(crate) beacons: usize,
    pub(crate) campaigns: usize,
    pub(crate) gait: String,
    pub(crate) format: String,
    pub(crate) batch: usize,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) http2: bool,
    pub(crate) keep_alive: bool,
    pub(crate) load: String,
    pub(crate) providers: String,
    /// Settings that the daemon was started with beside its defaults.
    pub(crate) settings: Vec<String>,
}

/// Whom it was tried on.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Server {
    /// "parvis", or "resp".
    pub(crate) kind: String,
    pub(crate) version: Option<String>,
    pub(crate) start_ms: Option<f64>,
    pub(crate) registered: Option<usize>,
    pub(crate) registration_s: Option<f64>,
    /// Fences that a RESP server took and refused.
    pub(crate) fences_set: Option<u64>,
    pub(crate) fences_refused: Option<u64>,
    pub(crate) exit_code: Option<i32>,
}

/// One stretch of load.
#[derive(Debug, Serialize)]
pub(crate) struct Stretch {
    pub(crate) load: String,
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) unsent: u64,
    /// Answers 429 and 503.
    pub(crate) refusals: u64,
    pub(crate) pings_per_s: f64,
    pub(crate) requests_per_s: f64,
    /// From due to answered.
    pub(crate) answer: Waits,
    /// From due to sent.
    pub(crate) late: Waits,
    /// From due to taken by a provider, or heard as an event.
    pub(crate) arrival: Option<Waits>,
    pub(crate) arrivals: Option<u64>,
    pub(crate) arrivals_unknown: Option<u64>,
    /// Messages that still waited in the daemon when it was no longer waited for.
    pub(crate) waiting: Option<f64>,
    /// Transitions in the daemon, from its metrics.
    pub(crate) transitions: Option<f64>,
    pub(crate) usage: Option<Used>,
    pub(crate) own_processor_us_per_ping: Option<f64>,
    /// Processors that the generator kept busy.
    pub(crate) own_processors: Option<f64>,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) series: Vec<Second>,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Waits {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// Pairs: the share that waited longer, and how long the quickest of them waited.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// What the server used in a stretch.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    pub(crate) processor_us_per_ping: f64,
    /// Processors that it kept busy.
    pub(crate) processors: f64,
    pub(crate) written_bytes_per_ping: Option<f64>,
    /// The most memory since its start.
    pub(crate) peak_bytes: u64,
    /// The memory at the end.
    pub(crate) resident_bytes: u64,
}

/// What was looked at around a stretch.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) server: Option<(Usage, Usage)>,
    pub(crate) own: Option<(Usage, Usage)>,
    pub(crate) transitions: Option<f64>,
    pub(crate) waiting: Option<f64>,
    pub(crate) arrived: Option<Taken>,
}

impl Report {
    pub(crate) fn new(scenario: Parameters, server: Server, stretches: Vec<Stretch>) -> Report {
        let generator = format!("parvis-loadgen {}", env!("CARGO_PKG_VERSION"));
        Report { shape: SHAPE, generator, machine: Machine::this(), scenario, server, stretches }
    }
}

impl Parameters {
    pub(crate) fn new(scenario: &Scenario, streams: usize, settings: &[String]) -> Parameters {
        let Scenario { name, about, plan, format, batch, load, providers } = scenario;
        Parameters {
            name: (*name).to_owned(),
            about: (*about).to_owned(),
            seed: plan.seed,
            fences: plan.fences,
            polygon_share: plan.polygon_share,
            vertices: plan.vertices,
            hot_vertices: plan.hot_vertices,
            phones: plan.phones,
            beacons: plan.beacons,
            campaigns: plan.campaigns,
            gait: format!("{:?}", plan.gait).to_lowercase(),
            format: format.to_string(),
            batch: *batch,
            connections: load.connections,
            streams: if load.http2 { streams } else { 1 },
            http2: load.http2,
            keep_alive: load.keep_alive,
            load: words(load.shape),
            providers: match providers {
                Providers::None => "none".to_owned(),
                Providers::Fast => "fast".to_owned(),
                Providers::Slow { answer_ms } => format!("{answer_ms} ms"),
            },
            settings: settings.to_vec(),
        }
    }
}

/// A shape as the option `--shape` takes it.
pub(crate) fn words(shape: Shape) -> String {
    match shape {
        Shape::Saturate => "saturate".to_owned(),
        Shape::HalfOfSaturated => "half".to_owned(),
        Shape::Steady { per_s } => format!("steady:{per_s:.0}"),
        Shape::Ramp { from_per_s, to_per_s, seconds } => format!("ramp:{from_per_s:.0}:{to_per_s:.0}:{seconds}"),
        Shape::Burst { per_s, factor, seconds } => format!("burst:{per_s:.0}:{factor}:{seconds}"),
    }
}

impl Stretch {
    pub(crate) fn new(shape: Shape, run: Run, around: Around) -> Stretch {
        let Run { tally, seconds, unsent } = run;
        // What broke or was sent back would make a ping look cheap.
        let pings = (tally.accepted + tally.rejected).max(1) as f64;
        let used = |(before, after): &(Usage, Usage)| after.processor_us - before.processor_us;
        let arrived = around.arrived;
        Stretch {
            load: words(shape),
            seconds,
            requests: tally.requests,
            sent: tally.sent,
            accepted: tally.accepted,
            rejected: tally.rejected,
            refused: tally.refused,
            failed: tally.failed,
            unsent,
            refusals: tally.refusals,
            pings_per_s: tally.accepted as f64 / seconds,
            requests_per_s: tally.requests as f64 / seconds,
            answer: Waits::of(&tally.answer),
            late: Waits::of(&tally.late),
            arrival: arrived.as_ref().map(|taken| Waits::of(&taken.waits)),
            arrivals: arrived.as_ref().map(|taken| taken.count),
            arrivals_unknown: arrived.as_ref().map(|taken| taken.unknown),
            waiting: around.waiting,
            transitions: around.transitions,
            usage: around.server.as_ref().map(|both| Used::between(both, pings, seconds)),
            own_processor_us_per_ping: around.own.as_ref().map(|both| used(both) / pings),
            own_processors: around.own.as_ref().map(|both| used(both) / 1e6 / seconds),
            failures: tally.failures,
            series: tally.series,
        }
    }
}

impl Used {
    fn between((before, after): &(Usage, Usage), pings: f64, seconds: f64) -> Used {
        let processor_us = after.processor_us - before.processor_us;
        let written = after.written_bytes.zip(before.written_bytes).map(|(after, before)| after.saturating_sub(before));
        Used {
            processor_us_per_ping: processor_us / pings,
            processors: processor_us / 1e6 / seconds,
            written_bytes_per_ping: written.map(|bytes| bytes as f64 / pings),
            peak_bytes: after.peak_bytes,
            resident_bytes: after.resident_bytes,
        }
    }
}

impl Waits {
    fn of(histogram: &Histogram<u64>) -> Waits {
        let at = |quantile| quantile_ms(histogram, quantile);
        let share = |point: usize| 10_f64.powf(-(point as f64) * CURVE_DECADES / (CURVE_POINTS - 1) as f64);
        let told = (0..CURVE_POINTS).map(share).take_while(|share| share * histogram.len() as f64 >= 1.0);
        Waits {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1_000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1_000.0,
            curve: told.map(|share| (share, at(1.0 - share))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram;

    #[test]
    fn a_curve_goes_no_further_than_there_are_pings() {
        let mut waits = histogram();
        (1..=1_000).for_each(|wait_us| waits.saturating_record(wait_us * 1_000));
        let waits = Waits::of(&waits);
        let (share, wait_ms) = *waits.curve.last().expect("points");
        assert!((0.000_9..=0.001_1).contains(&share) && wait_ms >= 998.0, "{share} {wait_ms}");
        assert!(waits.curve.is_sorted_by(|one, next| one.0 > next.0 && one.1 <= next.1));
        assert!(Waits::of(&histogram()).curve.is_empty());
    }
}
