//! What entered the outbox and what became of it. Counted where entries come and go, so that sums agree at any moment.

use std::collections::BTreeMap;

use parvis_engine::notification::{Channel, Milestone};

/// The messages of one channel since the store was opened. `stored` is always the sum of all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Messages that entered the outbox, or were in it when the store was opened.
    pub stored: u64,
    /// Those that are in it still.
    pub waiting: u64,
    /// Those that have left it, by the milestone that ended their life.
    pub ended: BTreeMap<Milestone, u64>,
    /// Those that were withdrawn because their shopper was erased.
    pub erased: u64,
}

impl Sums {
    /// The milestones that end a life.
    pub fn ends() -> impl Iterator<Item = Milestone> {
        Milestone::ALL.into_iter().filter(|milestone| milestone.is_terminal())
    }
}

/// How an entry left the outbox for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its life has ended so.
    Ended(Milestone),
    /// Its shopper was erased.
    Erased,
}

/// The sums of every channel.
#[derive(Clone, Debug)]
pub(super) struct Tally(BTreeMap<Channel, Sums>);

impl Default for Tally {
    fn default() -> Tally {
        Tally(Channel::ALL.into_iter().map(|channel| (channel, Sums::default())).collect())
    }
}

impl Tally {
    pub(super) fn entered(&mut self, channel: Channel, count: u64) {
        let sums = self.0.entry(channel).or_default();
        sums.stored += count;
        sums.waiting += count;
    }

    pub(super) fn left(&mut self, channel: Channel, left: Left) {
        let sums = self.0.entry(channel).or_default();
        sums.waiting = sums.waiting.saturating_sub(1);
        match left {
            Left::Ended(milestone) => *sums.ended.entry(milestone).or_default() += 1,
            Left::Erased => sums.erased += 1,
        }
    }

    pub(super) fn sums(&self) -> BTreeMap<Channel, Sums> {
        self.0.clone()
    }
}
