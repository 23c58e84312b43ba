//! The pure pipeline over recorded observations: no network, no store, no clock of its own.
//!
//! Every shopper's time is that of their own newest observation, so the result does not depend on how the recordings
//! of several devices are interleaved. At the end, everybody's time moves on to the newest observation of the file.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    sync::Arc,
};

use anyhow::{Context, Result};
use parvis_engine::{
    decide::{self, Budgets, Decision, Verdict},
    id::{DeviceId, ShopperId},
    matching::{self, Transition},
    observation::Observation,
    shopper::{Consent, Device, PushTarget, Shopper},
    time::Timestamp,
    world::World,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    pipeline,
    shard::Work,
    store::Record,
    walk::{Truth, Verdict as WalkVerdict, Walk},
};

/// What a replay prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Print {
    /// One JSON line for each transition.
    Transitions,
    /// One JSON line for each decision.
    Decisions,
    /// Counts, at the end.
    Summary,
}

/// A recorded observation.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// Whose.
    pub device: DeviceId,
    /// What.
    #[serde(flatten)]
    pub observation: Observation,
}

/// Reads recorded observations: one JSON object a line, with its `device`. A line that can't be read is an error with
/// its number.
pub fn lines(lines: impl BufRead) -> impl Iterator<Item = Result<Line>> {
    (1..).zip(lines.lines()).filter_map(|(number, line)| {
        let read = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("observations, line {number}: not an observation"))
        };
        match line.context("can't read the observations") {
            Ok(line) if line.trim().is_empty() => None,
            Ok(line) => Some(read(&line)),
            Err(error) => Some(Err(error)),
        }
    })
}

/// A replay in progress.
pub struct Replay<'a, W: Write> {
    world: &'a World,
    print: Option<Print>,
    out: W,
    walk: Option<Walk<'a>>,
    works: BTreeMap<ShopperId, Played>,
    owners: BTreeMap<DeviceId, ShopperId>,
    budgets: Budgets,
    newest: Timestamp,
    counts: BTreeMap<String, u64>,
}

struct Played {
    work: Work,
    now: Timestamp,
}

impl<'a, W: Write> Replay<'a, W> {
    /// A replay against a world, writing to `out`.
    pub fn new(world: &'a World, print: Print, out: W) -> Self {
        Replay { print: Some(print), ..Replay::silent(world, out) }
    }

    fn silent(world: &'a World, out: W) -> Self {
        let budgets = world.campaigns.budgets().collect();
        Replay {
            world,
            print: None,
            out,
            walk: None,
            works: BTreeMap::new(),
            owners: BTreeMap::new(),
            budgets,
            newest: Timestamp::MIN,
            counts: BTreeMap::new(),
        }
    }

    /// Takes in who the shoppers are: one JSON object a line, as `GET /v1/shoppers/{shopper}` gives it under `shopper`.
    ///
    /// # Errors
    /// If a line can't be read, with its number.
    pub fn shoppers(&mut self, lines: impl BufRead) -> Result<()> {
        for (number, line) in lines.lines().enumerate() {
            let line = line.context("can't read the shoppers")?;
            if line.trim().is_empty() {
                continue;
            }
            let shopper: Shopper =
                serde_json::from_str(&line).with_context(|| format!("shoppers, line {}: not a shopper", number + 1))?;
            self.owners.extend(shopper.devices.keys().map(|device| (device.clone(), shopper.id.clone())));
            self.works.insert(shopper.id.clone(), Played::new(shopper));
        }
        Ok(())
    }

    /// Plays recorded observations, in the order of the file.
    ///
    /// # Errors
    /// If a line can't be read, with its number, or the output can't be written.
    pub fn observations(&mut self, observations: impl BufRead) -> Result<()> {
        lines(observations).try_for_each(|line| self.observe(line?))
    }

    /// Lets everybody's time run on to the newest observation, and prints the summary if that was asked for.
    ///
    /// # Errors
    /// If the output can't be written.
    pub fn finish(mut self) -> Result<()> {
        self.run_out()?;
        if self.print == Some(Print::Summary) {
            writeln!(self.out, "{}", serde_json::to_string(&self.counts)?)?;
        }
        self.out.flush().context("can't write the results")
    }

    fn run_out(&mut self) -> Result<()> {
        let (world, newest) = (self.world, self.newest);
        let mut last = Vec::new();
        for played in self.works.values_mut() {
            played.work.budgets = std::mem::take(&mut self.budgets);
            for device in played.work.shopper.devices.keys().cloned().collect::<Vec<_>>() {
                let transitions = played.work.matched(&device, |it| matching::elapsed(world, it, newest, newest));
                let work = &mut played.work;
                let decided = decide::campaigns(world, &mut work.shopper, &transitions, &mut work.budgets, newest);
                last.push((transitions, decided.decisions));
            }
            self.budgets = std::mem::take(&mut played.work.budgets);
        }
        last.sort_by_key(|(transitions, _)| transitions.first().map(|transition| transition.at));
        last.iter().try_for_each(|(transitions, decisions)| self.results(transitions, decisions))
    }

    fn observe(&mut self, line: Line) -> Result<()> {
        let owner = self.owners.entry(line.device.clone()).or_insert_with(|| ShopperId::anonymous(&line.device));
        let played = self.works.entry(owner.clone()).or_insert_with(|| Played::new(consenting(owner, &line.device)));
        played.now = played.now.max(line.observation.at());
        self.newest = self.newest.max(played.now);
        played.work.budgets = std::mem::take(&mut self.budgets);
        let (observed, decided) = pipeline::observe(
            self.world,
            &mut played.work,
            &line.device,
            std::slice::from_ref(&line.observation),
            played.now,
        );
        self.budgets = std::mem::take(&mut played.work.budgets);
        for result in &observed.results {
            let name = result.as_ref().map_or_else(|rejected| rejected.reason.name(), |()| "accepted");
            *self.counts.entry(name.to_owned()).or_insert(0) += 1;
        }
        self.results(&observed.transitions, &decided.decisions)
    }

    fn results(&mut self, transitions: &[Transition], decisions: &[Decision]) -> Result<()> {
        for transition in transitions {
            *self.counts.entry(transition.kind.name().to_owned()).or_insert(0) += 1;
            if let Some(walk) = &mut self.walk {
                walk.told(transition);
            }
            if self.print == Some(Print::Transitions) {
                writeln!(self.out, "{}", serde_json::to_string(transition)?)?;
            }
        }
        for decision in decisions {
            let (result, more) = match &decision.verdict {
                Verdict::Send(message) => ("send", json!({ "notification": message })),
                Verdict::Suppress(why) => (why.name(), json!({ "suppressed": why })),
            };
            *self.counts.entry(result.to_owned()).or_insert(0) += 1;
            if self.print == Some(Print::Decisions) {
                let Decision { campaign, device, cause, .. } = decision;
                let line =
                    json!({ "campaign": campaign, "device": device, "cause": cause, "result": result, "more": more });
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }
}

impl<'a> Replay<'a, io::Sink> {
    /// A replay that prints nothing and is judged by the truth.
    pub fn judged(world: &'a World, truth: &'a Truth) -> Self {
        let walk = Some(Walk::new(&world.registry, truth));
        Replay { walk, ..Replay::silent(world, io::sink()) }
    }

    /// Lets everybody's time run on to the newest observation, and judges what was told.
    ///
    /// # Errors
    /// None as long as nothing is printed.
    pub fn verdict(mut self) -> Result<WalkVerdict> {
        self.run_out()?;
        Ok(self.walk.context("no truth to judge by")?.verdict())
    }
}

impl Played {
    fn new(shopper: Shopper) -> Played {
        let record = Record { version: 0, shopper: Arc::new(shopper), tracks: Default::default() };
        Played { work: Work::new(record), now: Timestamp::MIN }
    }
}

/// Somebody of whom only a recording is known counts as consenting: the recording exists.
fn consenting(id: &ShopperId, device: &DeviceId) -> Shopper {
    let mut shopper = Shopper::new(id.clone());
    let consent = || Some(Consent { granted: true, at: Timestamp::MIN, text: None });
    shopper.profile.consents.location = consent();
    shopper.profile.consents.offers = consent();
    shopper.profile.consents.orders = consent();
    let target = PushTarget::Fcm { token: Some("replay".into()), fid: None };
    let platform = "unknown".to_owned();
    shopper.devices.insert(device.clone(), Device::new(platform, Some(target), Timestamp::MIN));
    shopper
}
