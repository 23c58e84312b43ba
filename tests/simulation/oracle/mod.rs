//! Judges a run by what went in and what came out at the push services, without a line of the engine. Slow and plain
//! on purpose.

mod lives;
mod presences;
mod promises;
mod story;

use std::collections::BTreeSet;

use crate::{
    log::{Fate, What},
    run::Run,
};
use story::Story;

/// How much happened, so that nobody takes silence for success.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    runs: usize,
    /// With several nodes.
    shared: usize,
    nodes: usize,
    cut: usize,
    clocks_set: usize,
    /// Shoppers whom another writer had changed.
    conflicts: usize,
    store_failures: usize,
    answers: usize,
    transitions: usize,
    decided: usize,
    accepted: usize,
    unregistered: usize,
    dead: usize,
    expired: usize,
    suppressed_later: usize,
    requests: usize,
    taken: usize,
    /// Taken more than once: the price of never losing one.
    duplicates: usize,
    /// By campaign gates, at the time of the decision.
    refusals: BTreeSet<String>,
    campaigns: BTreeSet<String>,
}

/// Everything that is wrong with a run, and how much there was to judge.
pub(crate) fn judge(run: &Run) -> (Counts, Vec<String>) {
    let story = Story::new(run);
    let shared = usize::from(run.storm.nodes > 1);
    let mut counts = Counts { runs: 1, shared, ..Counts::default() };
    let mut complaints = Vec::new();
    for line in &run.lines {
        match &line.what {
            What::Started { .. } => counts.nodes += 1,
            What::Cut { .. } => counts.cut += 1,
            What::ClockSet { .. } => counts.clocks_set += 1,
            What::Conflict { shoppers } => counts.conflicts += shoppers,
            What::Wrong(why) => complaints.push(format!("{}: {why}", line.at)),
            What::Counted { decided, ended, open, waiting } => {
                if decided != &(ended + open) || *open as u64 != *waiting {
                    complaints.push(format!("{}: of {decided} messages {ended} have ended, {waiting} wait", line.at));
                }
            }
            What::Failed { .. } => counts.store_failures += 1,
            What::Answered { .. } => counts.answers += 1,
            What::Requested { request, fate, .. } => {
                counts.requests += 1;
                counts.taken += usize::from(fate.taken());
                counts.campaigns.insert(request.campaign.clone());
            }
            What::Stopped { .. }
            | What::Changed { .. }
            | What::Asked { .. }
            | What::Replied { .. }
            | What::Settled { .. } => {}
        }
    }
    complaints.extend(promises::broken(&story));
    complaints.extend(lives::broken(run, &story, &mut counts));
    complaints.extend(presences::broken(run, &story, &mut counts));
    (counts, complaints)
}

impl Counts {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Counts) {
        self.runs += other.runs;
        self.shared += other.shared;
        self.nodes += other.nodes;
        self.cut += other.cut;
        self.clocks_set += other.clocks_set;
        self.conflicts += other.conflicts;
        self.store_failures += other.store_failures;
        self.answers += other.answers;
        self.transitions += other.transitions;
        self.decided += other.decided;
        self.accepted += other.accepted;
        self.unregistered += other.unregistered;
        self.dead += other.dead;
        self.expired += other.expired;
        self.suppressed_later += other.suppressed_later;
        self.requests += other.requests;
        self.taken += other.taken;
        self.duplicates += other.duplicates;
        self.refusals.extend(other.refusals.iter().cloned());
        self.campaigns.extend(other.campaigns.iter().cloned());
    }

    /// Enough runs together see every campaign, every gate and every end of a message.
    pub(crate) fn require_variety(&self) {
        if self.runs < 20 {
            return;
        }
        assert_eq!(self.campaigns.len(), crate::city::RULES.len(), "not every campaign was sent: {self:?}");
        let gates = ["no_consent", "outside_schedule", "quiet_hours", "frequency_cap", "cooldown", "holdout", "budget"];
        for gate in gates {
            assert!(self.refusals.contains(gate), "{gate} has refused nothing: {self:?}");
        }
        let ends = [self.accepted, self.unregistered, self.dead, self.expired, self.suppressed_later];
        assert!(ends.iter().all(|count| *count > 0), "not every end was seen: {self:?}");
        let troubles = [self.shared, self.cut, self.clocks_set, self.conflicts, self.store_failures, self.duplicates];
        assert!(troubles.iter().all(|count| *count > 0), "something has never gone wrong: {self:?}");
        assert!(self.duplicates * 5 < self.taken, "more than a fifth was sent twice: {self:?}");
    }
}

/// Whether a push service has said that a target is gone.
fn is_gone(fate: Fate) -> bool {
    fate == Fate::Gone
}
