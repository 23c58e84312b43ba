//! An interest shown elsewhere: a click in the newsletter, a search in the shop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{check_text, not_after};
use crate::{
    id::stable_hash,
    problem::Problem,
    shopper::{Interest, Shopper},
    time::Timestamp,
};

/// The heaviest signal.
const WEIGHT_MAX: f64 = 100.0;
/// The most that an interest may come to.
const TOTAL_MAX: f64 = 1_000.0;
/// The most interests of a shopper; the faintest goes first.
const INTERESTS_MAX: usize = 200;
/// So many signals are known again if they are repeated.
const REPEATS_KNOWN: usize = 16;
/// The longest name of an interest or a source, in bytes.
const NAME_MAX: usize = 64;

/// An interest shown elsewhere; the body of `POST /v1/shoppers/{shopper}/signals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Its name, such as `tv`.
    pub interest: String,
    /// How much it says.
    #[serde(default = "one")]
    pub weight: f64,
    /// Where it was shown, such as `newsletter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Signal {
    /// What is wrong with the signal.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(check_text("/interest", &self.interest, NAME_MAX));
        if let Some(source) = &self.source {
            problems.extend(check_text("/source", source, NAME_MAX));
        }
        if !(self.weight > 0.0 && self.weight <= WEIGHT_MAX) {
            problems.push(Problem::new("/weight", format!("must be greater than 0 and at most {WEIGHT_MAX}")));
        }
        problems
    }
}

/// Takes a signal: what is left of the interest and the signal add up, whichever is older. Says whether anything
/// changed; a repeat changes nothing.
pub fn signal(shopper: &mut Shopper, signal: &Signal, half_life: Duration, now: Timestamp) -> bool {
    let written = (signal.at.as_millis().to_string(), signal.weight.to_string());
    let hash = stable_hash(&[&written.0, &written.1, signal.source.as_deref().unwrap_or("")]);
    let known = shopper.interests.get(&signal.interest);
    if known.is_some_and(|interest| interest.signals.contains(&hash)) {
        return false;
    }
    let shown = Interest { weight: signal.weight, at: not_after(signal.at, now), signals: vec![hash] };
    let sum = known.map_or_else(|| shown.clone(), |known| added(known, &shown, half_life));
    shopper.interests.insert(signal.interest.clone(), sum);
    prune(shopper, half_life, now);
    true
}

/// Adds the interests of one shopper to those of another.
pub fn merge_interests(into: &mut Shopper, from: &Shopper, half_life: Duration, now: Timestamp) {
    for (name, shown) in from.interests.iter() {
        let sum = into.interests.get(name).map_or_else(|| shown.clone(), |known| added(known, shown, half_life));
        into.interests.insert(name.clone(), sum);
    }
    prune(into, half_life, now);
}

fn one() -> f64 {
    1.0
}

fn added(known: &Interest, shown: &Interest, half_life: Duration) -> Interest {
    let at = known.at.max(shown.at);
    let weight = known.weight_at(at, half_life) + shown.weight_at(at, half_life);
    let mut signals: Vec<u64> = known.signals.iter().chain(&shown.signals).copied().collect();
    signals.drain(..signals.len().saturating_sub(REPEATS_KNOWN));
    Interest { weight: weight.min(TOTAL_MAX), at, signals }
}

fn prune(shopper: &mut Shopper, half_life: Duration, now: Timestamp) {
    while shopper.interests.len() > INTERESTS_MAX {
        let left = |interest: &Interest| interest.weight_at(now, half_life);
        let faintest = shopper.interests.iter().min_by(|(_, a), (_, b)| left(a).total_cmp(&left(b)));
        let Some(faintest) = faintest.map(|(name, _)| name.clone()) else { return };
        shopper.interests.remove(&faintest);
    }
}
