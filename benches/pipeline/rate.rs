//! How often askers get their answer.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{fs, future::Future, time::Instant};

use tokio::task::JoinSet;

use crate::Scale;

/// Who asks, waits for the answer, and asks again.
pub(crate) trait Asker: Send + 'static {
    /// Asks once; tells how many pings that were.
    fn ask(&mut self) -> impl Future<Output = usize> + Send;
}

pub(crate) struct Rate {
    /// All there were.
    pub(crate) pings: usize,
    pub(crate) pings_per_s: f64,
    /// Processor time of node and askers together, which says more than a rate where others use the machine (Linux).
    pub(crate) cpu_us_per_ping: f64,
    /// Of the answers, milliseconds.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

pub(crate) async fn rate<A: Asker>(askers: &mut Vec<A>, scale: &Scale) -> Rate {
    let (mut rates, mut waits) = (Vec::new(), Vec::new());
    let (mut all, used) = (0, processor_us());
    for _ in 0..=scale.rounds {
        let begun = Instant::now();
        let (mut tasks, span) = (JoinSet::new(), scale.span);
        for mut asker in askers.drain(..) {
            tasks.spawn(async move {
                let (mut pings, mut waits) = (0, Vec::new());
                while pings == 0 || begun.elapsed() < span {
                    let asked = Instant::now();
                    pings += asker.ask().await;
                    waits.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                (asker, pings, waits)
            });
        }
        let mut total = 0;
        waits.push(Vec::new());
        while let Some(done) = tasks.join_next().await {
            let (asker, pings, mut waited) = done.expect("asks");
            total += pings;
            askers.push(asker);
            waits.last_mut().expect("pushed").append(&mut waited);
        }
        all += total;
        rates.push(total as f64 / begun.elapsed().as_secs_f64());
    }
    let cpu_us_per_ping = (processor_us() - used) / all as f64;
    // The first round warms up.
    rates.remove(0);
    let mut waits: Vec<f64> = waits.into_iter().skip(1).flatten().collect();
    waits.sort_by(f64::total_cmp);
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    Rate { pings: all, pings_per_s: median(rates), cpu_us_per_ping, p50_ms: at(0.5), p99_ms: at(0.99) }
}

/// Processor time of this process so far.
pub(crate) fn processor_us() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    // User and system time, in ticks of a hundredth of a second.
    let ticks = behind_name.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() * 1e4
}

pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
