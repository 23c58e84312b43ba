//! What the children said before they died, one fact a line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use parvis_engine::id::NotificationId;

/// All of it.
#[derive(Default)]
pub(super) struct Told {
    /// By committer: its last step that was acknowledged.
    pub(super) steps: BTreeMap<usize, i64>,
    /// What ended, since the last check.
    pub(super) settled: BTreeSet<NotificationId>,
    /// Messages of committers that were reported as opened, since the last check.
    pub(super) reported: BTreeSet<(usize, i64)>,
    /// By committer: the last step whose answer was kept.
    pub(super) kept: BTreeMap<usize, i64>,
    /// What was taken from the budget.
    pub(super) leased: u64,
    /// The catalog's generation.
    pub(super) catalog: u64,
    /// Before this second, what has ended may have been forgotten.
    pub(super) pruned: i64,
    /// How many children were killed.
    pub(super) kills: u64,
}

impl Told {
    /// Takes in a line; false if it says nothing, or was cut.
    pub(super) fn hear(&mut self, line: &str) -> bool {
        let number = |word: &str| word.parse::<i64>().expect("a number");
        let committer = |word: &str| word.parse::<usize>().expect("a committer");
        let count = |word: &str| word.parse::<u64>().expect("a count");
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["step", of, n, "."] => drop(self.steps.insert(committer(of), number(n))),
            ["settled", id, "."] => drop(self.settled.insert(id.parse().expect("an id"))),
            ["reported", of, n, "."] => drop(self.reported.insert((committer(of), number(n)))),
            ["kept", of, n, "."] => drop(self.kept.insert(committer(of), number(n))),
            ["leased", taken, "."] => self.leased += count(taken),
            ["catalog", generation, "."] => self.catalog = count(generation),
            ["pruning", second, "."] => self.pruned = number(second),
            ["kills", kills, "."] => self.kills = count(kills),
            ["opening" | "opened" | "checked", "."] => {}
            [..] => return false,
        }
        true
    }

    /// The next child checks these.
    pub(super) fn forget_checked(&mut self) {
        self.settled.clear();
        self.reported.clear();
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|(of, n)| writeln!(f, "step {of} {n} ."))?;
        self.settled.iter().try_for_each(|id| writeln!(f, "settled {id} ."))?;
        self.reported.iter().try_for_each(|(of, n)| writeln!(f, "reported {of} {n} ."))?;
        self.kept.iter().try_for_each(|(of, n)| writeln!(f, "kept {of} {n} ."))?;
        writeln!(f, "leased {} .", self.leased)?;
        writeln!(f, "catalog {} .", self.catalog)?;
        writeln!(f, "pruning {} .", self.pruned)?;
        writeln!(f, "kills {} .", self.kills)
    }
}
