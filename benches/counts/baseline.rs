//! What was counted beside what was counted before, and what of it is too much. Runs nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How far instructions and bytes may be above the baseline. benches/counts/baseline.toml says where the number is from.
pub(crate) const MORE_MAX: f64 = 0.10;

/// How far allocations a ping may be above the baseline: rounding, and tables that grow a ping earlier or later.
pub(crate) const ALLOCATIONS_MORE_MAX: f64 = 0.05;

/// Paths through a whole node, whose housekeeping goes on meanwhile: their allocations may be above as far as the rest.
pub(crate) const WHOLE_NODE: &str = "http/";

/// What one ping costs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) instructions: f64,
    /// How often memory was asked for, reallocations included.
    pub(crate) allocations: f64,
    /// How much was asked for.
    pub(crate) bytes: f64,
}

impl Counts {
    pub(crate) fn least(&self, other: &Counts) -> Counts {
        Counts {
            instructions: self.instructions.min(other.instructions),
            allocations: self.allocations.min(other.allocations),
            bytes: self.bytes.min(other.bytes),
        }
    }
}

/// By the name of the path.
pub(crate) type Paths = BTreeMap<String, Counts>;

/// By the cargo profile that the paths were built with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Baseline(pub(crate) BTreeMap<String, Paths>);

/// Reads the file.
///
/// # Errors
/// What is wrong with it and where.
pub(crate) fn parse(text: &str) -> Result<Baseline, String> {
    toml::from_str(text).map_err(|error| format!("benches/counts/baseline.toml: {error}"))
}

/// Writes a file: its comments as they were, its numbers anew.
pub(crate) fn write(before: &str, baseline: &Baseline) -> String {
    let mut text: String =
        before.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for (profile, paths) in &baseline.0 {
        text += &format!("\n[{profile}]\n");
        for (name, Counts { instructions, allocations, bytes }) in paths {
            text += &format!(
                "\"{name}\" = {{ instructions = {instructions:.0}, allocations = {allocations:.2}, bytes = {bytes:.0} }}\n"
            );
        }
    }
    text
}

/// Reads what a child says of one path, `name pings allocations bytes`, of which the instructions are known.
///
/// # Errors
/// If it is no such line.
pub(crate) fn told(line: &str, instructions: u64) -> Result<(String, Counts), String> {
    let strange = || format!("the counted program said {line:?}");
    let mut words = line.split_ascii_whitespace();
    let name = words.next().ok_or_else(strange)?;
    let numbers: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| strange())?;
    let [pings, allocations, bytes] = numbers[..] else { return Err(strange()) };
    let each = |all: f64| all / pings;
    let counts = Counts { instructions: each(instructions as f64), allocations: each(allocations), bytes: each(bytes) };
    Ok((name.to_owned(), counts))
}

/// A table of the change, and what of it is too much: nothing if there is nothing to compare with.
pub(crate) fn compare(counted: &Paths, baseline: Option<&Paths>) -> (String, Vec<String>) {
    let mut table = "| path | instructions | change | allocations | change | bytes | change |\n|---|---:|---:|---:|---:|---:|---:|\n".to_owned();
    for (name, now) in counted {
        let was = baseline.and_then(|paths| paths.get(name));
        let part = |now: f64, was: Option<f64>| was.map_or("new".to_owned(), |was| percent(now, was));
        let Counts { instructions, allocations, bytes } = now;
        table += &format!(
            "| {name} | {instructions:.0} | {} | {allocations:.2} | {} | {bytes:.0} | {} |\n",
            part(*instructions, was.map(|was| was.instructions)),
            was.map_or("new".to_owned(), |was| format!("{:+.2}", allocations - was.allocations)),
            part(*bytes, was.map(|was| was.bytes)),
        );
    }
    let Some(baseline) = baseline else { return (table, Vec::new()) };
    let missing = baseline.keys().filter(|name| !counted.contains_key(*name));
    let missing = missing.map(|name| format!("{name}: stands in the baseline and was not counted"));
    let found = counted.iter().flat_map(|(name, now)| match baseline.get(name) {
        Some(was) => excess(name, now, was),
        None => vec![format!("{name}: does not stand in the baseline")],
    });
    (table, missing.chain(found).collect())
}

/// What of a path's counts is too much.
fn excess(name: &str, now: &Counts, was: &Counts) -> Vec<String> {
    let mut found = Vec::new();
    let more_max = if name.starts_with(WHOLE_NODE) { was.allocations * MORE_MAX } else { ALLOCATIONS_MORE_MAX };
    if now.allocations > was.allocations + more_max {
        found
            .push(format!("{name}: {:.2} allocations a ping, {:.2} in the baseline", now.allocations, was.allocations));
    }
    for (what, now, was) in [("instructions", now.instructions, was.instructions), ("bytes", now.bytes, was.bytes)] {
        if now > was * (1.0 + MORE_MAX) {
            let change = percent(now, was);
            found.push(format!("{name}: {now:.0} {what} a ping, {was:.0} in the baseline ({change})"));
        }
    }
    found
}

fn percent(now: f64, was: f64) -> String {
    if now == was { "0.0 %".to_owned() } else { format!("{:+.1} %", (now / was - 1.0) * 100.0) }
}
