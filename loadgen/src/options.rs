//! What can be said on the command line about what is tried, and what makes no sense. It must not try anything.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{ArgAction, Args};
use parvis_loadgen::{
    scenario::{self, Providers, Scenario, Shape},
    wire::Format,
};

/// A scenario, and what is to be different. Every part of it can be.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tried {
    /// Which; `parvis-loadgen list` tells what there is.
    scenario: String,
    /// So much of everything, more than 0 and up to 1: fences, phones, campaigns, connections, rates and time.
    #[arg(long, value_name = "FRACTION")]
    scale: Option<f64>,
    /// How the rate goes: saturate, half (of the saturated rate), steady:RATE, ramp:FROM:TO:SECONDS,
    /// burst:RATE:FACTOR:SECONDS.
    #[arg(long, value_parser = shape)]
    shape: Option<Shape>,
    /// Pings a second, all the time: the same as --shape steady:RATE.
    #[arg(long, conflicts_with = "shape", value_name = "RATE")]
    rate: Option<f64>,
    /// How long it goes on.
    #[arg(long)]
    seconds: Option<u32>,
    /// Connections that are open at once.
    #[arg(long)]
    connections: Option<usize>,
    /// With HTTP/2, requests that are open at once on each connection.
    #[arg(long, default_value_t = 32)]
    pub(crate) streams: usize,
    /// Pings in a request.
    #[arg(long)]
    batch: Option<usize>,
    /// How phones report: ndjson, json, owntracks, overland, sightings.
    #[arg(long)]
    format: Option<Format>,
    /// HTTP/2 by prior knowledge.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    http2: Option<bool>,
    /// A connection for each request.
    #[arg(long, conflicts_with = "http2")]
    no_keep_alive: bool,
    /// Geofences.
    #[arg(long)]
    fences: Option<usize>,
    /// Vertices of each polygon.
    #[arg(long)]
    vertices: Option<usize>,
    /// The share of geofences that are polygons, 0 to 1.
    #[arg(long)]
    polygon_share: Option<f64>,
    /// Phones.
    #[arg(long)]
    phones: Option<usize>,
    /// Campaigns.
    #[arg(long)]
    campaigns: Option<usize>,
    /// Beacons.
    #[arg(long)]
    beacons: Option<usize>,
    /// What all chance comes from.
    #[arg(long)]
    seed: Option<u64>,
    /// Who takes messages: none, fast, or a number of milliseconds until each is answered.
    #[arg(long, value_parser = providers)]
    providers: Option<Providers>,
}

/// Where the report goes, beside the table on standard output.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// Writes the report as JSON; `-` for standard output in place of the table.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes plots into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
}

impl Tried {
    /// What is tried.
    ///
    /// # Errors
    /// If there is no such scenario, or something in it makes no sense.
    pub(crate) fn scenario(&self) -> anyhow::Result<Scenario> {
        let known = || scenario::all().iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
        let found = scenario::find(&self.scenario);
        let mut scenario =
            found.with_context(|| format!("there is no scenario {:?}; there are {}", self.scenario, known()))?;
        if let Some(fraction) = self.scale {
            ensure!(fraction > 0.0 && fraction <= 1.0, "--scale: {fraction} is not more than 0 and at most 1");
            scenario = scenario.at_scale(fraction);
        }
        self.change(&mut scenario);
        check(&scenario, self.streams)?;
        Ok(scenario)
    }

    fn change(&self, scenario: &mut Scenario) {
        fn set<T: Clone>(place: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *place = value.clone();
            }
        }
        let Scenario { plan, load, .. } = scenario;
        set(&mut plan.seed, &self.seed);
        set(&mut plan.fences, &self.fences);
        set(&mut plan.vertices, &self.vertices);
        set(&mut plan.polygon_share, &self.polygon_share);
        set(&mut plan.phones, &self.phones);
        set(&mut plan.campaigns, &self.campaigns);
        set(&mut plan.beacons, &self.beacons);
        set(&mut load.shape, &self.shape);
        set(&mut load.shape, &self.rate.map(|per_s| Shape::Steady { per_s }));
        set(&mut load.seconds, &self.seconds);
        set(&mut load.connections, &self.connections);
        set(&mut load.http2, &self.http2);
        load.keep_alive &= !self.no_keep_alive;
        set(&mut scenario.batch, &self.batch);
        set(&mut scenario.format, &self.format);
        set(&mut scenario.providers, &self.providers);
    }
}

fn check(scenario: &Scenario, streams: usize) -> anyhow::Result<()> {
    let Scenario { plan, load, format, batch, .. } = scenario;
    let least = [
        ("--fences", plan.fences),
        ("--phones", plan.phones),
        ("--connections", load.connections),
        ("--streams", streams),
        ("--seconds", load.seconds as usize),
        ("--batch", *batch),
    ];
    if let Some((option, _)) = least.iter().find(|(_, number)| *number == 0) {
        bail!("{option}: must be at least 1");
    }
    ensure!(plan.vertices >= 3, "--vertices: a polygon has at least 3");
    ensure!((0.0..=1.0).contains(&plan.polygon_share), "--polygon-share: {} is not from 0 to 1", plan.polygon_share);
    ensure!(plan.phones <= u32::MAX as usize, "--phones: at most {}", u32::MAX);
    let batch_max = format.batch_max();
    ensure!(*batch <= batch_max, "--batch: a request in the format {format} holds at most {batch_max} pings");
    ensure!(load.keep_alive || !load.http2, "--no-keep-alive: a connection of HTTP/2 is for many requests");
    let rates = match load.shape {
        Shape::Saturate | Shape::HalfOfSaturated => vec![],
        Shape::Steady { per_s } => vec![per_s],
        Shape::Ramp { from_per_s, to_per_s, seconds } => vec![from_per_s + f64::MIN_POSITIVE, to_per_s, seconds],
        Shape::Burst { per_s, factor, seconds } => vec![per_s, factor, seconds],
    };
    ensure!(
        rates.iter().all(|number| number.is_finite() && *number > 0.0),
        "--rate, --shape: rates, factors and times must be more than 0"
    );
    Ok(())
}

fn shape(text: &str) -> Result<Shape, String> {
    let (name, numbers) = text.split_once(':').unwrap_or((text, ""));
    let numbers: Result<Vec<f64>, _> = numbers.split(':').filter(|part| !part.is_empty()).map(str::parse).collect();
    match (name, numbers.as_deref()) {
        ("saturate", Ok([])) => Ok(Shape::Saturate),
        ("half", Ok([])) => Ok(Shape::HalfOfSaturated),
        ("steady", Ok(&[per_s])) => Ok(Shape::Steady { per_s }),
        ("ramp", Ok(&[from_per_s, to_per_s, seconds])) => Ok(Shape::Ramp { from_per_s, to_per_s, seconds }),
        ("burst", Ok(&[per_s, factor, seconds])) => Ok(Shape::Burst { per_s, factor, seconds }),
        (_, Ok(_) | Err(_)) => {
            Err("must be saturate, half, steady:RATE, ramp:FROM:TO:SECONDS or burst:RATE:FACTOR:SECONDS".to_owned())
        }
    }
}

fn providers(text: &str) -> Result<Providers, String> {
    match text {
        "none" => Ok(Providers::None),
        "fast" => Ok(Providers::Fast),
        number => number
            .parse()
            .map(|answer_ms| Providers::Slow { answer_ms })
            .map_err(|_| "must be none, fast, or a number of milliseconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::report;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tried: Tried,
    }

    fn tried(line: &str) -> anyhow::Result<Scenario> {
        Line::try_parse_from(format!("test {line}").split_whitespace())?.tried.scenario()
    }

    #[test]
    fn everything_of_a_scenario_can_be_changed() {
        let changed = tried(
            "country --fences 7 --phones 9 --seed 3 --campaigns 0 --beacons 1 --vertices 5 --polygon-share 1 --batch 4 \
             --format json --connections 2 --seconds 8 --rate 50 --http2 --providers 20",
        )
        .expect("it makes sense");
        let plan = &changed.plan;
        assert_eq!((plan.fences, plan.phones, plan.seed, plan.campaigns, plan.beacons), (7, 9, 3, 0, 1));
        assert_eq!((plan.vertices, changed.batch, changed.format), (5, 4, Format::Json));
        let load = &changed.load;
        assert_eq!((load.connections, load.seconds, load.http2, load.keep_alive), (2, 8, true, true));
        assert_eq!(load.shape, Shape::Steady { per_s: 50.0 });
        assert_eq!(changed.providers, Providers::Slow { answer_ms: 20 });
        assert!(!tried("country --no-keep-alive").expect("it makes sense").load.keep_alive);
    }

    #[test]
    fn shapes_are_read_as_they_are_written() {
        for text in ["saturate", "half", "steady:50", "ramp:0:900:2.5", "burst:20:10:60"] {
            let read = tried(&format!("shops --shape {text}")).expect("it makes sense");
            assert_eq!(report::words(read.load.shape), text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, name) in [
            ("nowhere", "there are country, "),
            ("shops --scale 0", "--scale"),
            ("shops --scale 1.5", "--scale"),
            ("shops --batch 0", "--batch"),
            ("shops --batch 10001", "--batch"),
            ("shops --connections 0", "--connections"),
            ("shops --rate 0", "--rate"),
            ("shops --rate=-5", "--rate"),
            ("shops --shape steady", "steady:RATE"),
            ("shops --shape ramp:1:2", "ramp:FROM:TO:SECONDS"),
            ("shops --vertices 2", "--vertices"),
            ("shops --polygon-share 2", "--polygon-share"),
            ("shops --format xml", "there are ndjson, "),
            ("shops --providers soon", "milliseconds"),
        ] {
            let told = format!("{:#}", tried(line).expect_err(line));
            assert!(told.contains(name), "{line}: {told}");
        }
    }
}
