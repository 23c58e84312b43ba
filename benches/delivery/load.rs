//! How many a second, and at what cost.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{fs, sync::Arc, time::Instant};

use tokio::task::JoinSet;

use crate::{Scale, sink::Sink};

pub(crate) struct Rate {
    pub(crate) per_s: f64,
    /// Processor time of everything but the sinks, which says more than a rate where others use the machine (Linux).
    pub(crate) cpu_us: f64,
}

/// Asks again and again, so many at a time.
pub(crate) async fn rate<A, F>(scale: &Scale, in_flight: usize, sinks: &[Sink], ask: A) -> Rate
where
    A: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let ask = Arc::new(ask);
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..=scale.rounds {
        let (begun, used) = (Instant::now(), used_us(sinks));
        let (mut askers, span) = (JoinSet::new(), scale.span);
        for number in 0..in_flight {
            let ask = Arc::clone(&ask);
            askers.spawn(async move {
                let mut count = 0_usize;
                while count == 0 || begun.elapsed() < span {
                    ask(number).await;
                    count += 1;
                }
                count
            });
        }
        let mut total = 0;
        while let Some(count) = askers.join_next().await {
            total += count.expect("asks");
        }
        rates.push(total as f64 / begun.elapsed().as_secs_f64());
        costs.push((used_us(sinks) - used) / total as f64);
    }
    // The first round warms up.
    Rate { per_s: median(rates.split_off(1)), cpu_us: median(costs.split_off(1)) }
}

fn used_us(sinks: &[Sink]) -> f64 {
    processor_us("/proc/self/stat") - sinks.iter().map(Sink::processor_us).sum::<f64>()
}

/// User and system time of a process or a thread.
pub(crate) fn processor_us(file: &str) -> f64 {
    let stat = fs::read_to_string(file).unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    // In ticks of a hundredth of a second.
    let ticks = behind_name.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() * 1e4
}

pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
