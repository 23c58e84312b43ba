//! How many attempts may be repetitions: a share of the first attempts, so that a provider in trouble is not asked more
//! than in good days.
//!
//! Pure: time and chance are arguments. What it refuses is put off, never dropped.

use std::time::Duration;

use parvis_engine::{
    problem::{Problem, Requirements},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// How many attempts may be repetitions; section `[lanes.retries]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Repetitions in a minute, as a share of the first attempts in it.
    pub share: f64,
    /// So many in a minute are always allowed, or little traffic would never be repeated.
    pub per_minute_min: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { share: 0.2, per_minute_min: 60 }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        must.require((0.0..=10.0).contains(&self.share), "/share", "must be from 0 to 10");
        must.require((1..=1_000_000).contains(&self.per_minute_min), "/per_minute_min", "must be from 1 to 1000000");
        must.into_problems()
    }
}

/// The rolling minute, in slots.
const SLOTS: usize = 6;
const SLOT_MS: i64 = 60_000 / SLOTS as i64;
/// What is refused is put off for so long at least.
const WAIT_MIN: Duration = Duration::from_secs(10);
/// And for so long at most.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// One provider's budget of repetitions.
#[derive(Clone, Debug)]
pub struct Budget {
    config: Config,
    slots: [Slot; SLOTS],
    /// The number of the newest slot, counted from the epoch.
    newest: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    firsts: u32,
    repeats: u32,
    refused: u32,
}

impl Budget {
    /// Nothing is spent.
    pub fn new(config: Config) -> Budget {
        Budget { config, slots: [Slot::default(); SLOTS], newest: i64::MIN }
    }

    /// A first attempt is made.
    pub fn first(&mut self, now: Timestamp) {
        let slot = self.slot(now);
        slot.firsts = slot.firsts.saturating_add(1);
    }

    /// A repetition is to be made; `jitter` is uniform in 0..1.
    ///
    /// # Errors
    /// For how long it is put off. The more are, the longer, so that they do not come back all at once.
    pub fn repeat(&mut self, now: Timestamp, jitter: f64) -> Result<(), Duration> {
        self.slot(now);
        let sum = |count: fn(&Slot) -> u32| self.slots.iter().map(|slot| f64::from(count(slot))).sum::<f64>();
        let allowed = f64::from(self.config.per_minute_min) + self.config.share * sum(|slot| slot.firsts);
        let (repeats, refused) = (sum(|slot| slot.repeats), sum(|slot| slot.refused));
        let slot = self.slot(now);
        if repeats + 1.0 <= allowed {
            slot.repeats = slot.repeats.saturating_add(1);
            return Ok(());
        }
        slot.refused = slot.refused.saturating_add(1);
        let minutes = (refused + 1.0) / allowed;
        let full = Duration::from_secs_f64((60.0 * minutes).min(WAIT_MAX.as_secs_f64())).max(WAIT_MIN);
        Err(full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)).max(WAIT_MIN))
    }

    /// A repetition was taken by the provider, or was not made after all: what helps is not limited.
    pub fn give_back(&mut self, now: Timestamp) {
        self.slot(now);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.repeats > 0) {
            slot.repeats -= 1;
        }
    }

    /// The slot of now; those that are over a minute old begin anew. A clock that was put back a little goes on in the
    /// newest slot; one that was put back by more than a minute begins anew.
    fn slot(&mut self, now: Timestamp) -> &mut Slot {
        let number = now.as_millis().div_euclid(SLOT_MS);
        let passed = number.saturating_sub(self.newest);
        if passed.unsigned_abs() >= SLOTS as u64 {
            self.slots = [Slot::default(); SLOTS];
            self.newest = number;
        }
        for next in self.newest + 1..=number {
            self.slots[place(next)] = Slot::default();
        }
        self.newest = self.newest.max(number);
        &mut self.slots[place(self.newest)]
    }
}

fn place(number: i64) -> usize {
    number.rem_euclid(SLOTS as i64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(s))
    }

    fn budget() -> Budget {
        Budget::new(Config { share: 0.2, per_minute_min: 5 })
    }

    fn taken(budget: &mut Budget, asked: usize, now: Timestamp) -> usize {
        (0..asked).filter(|_| budget.repeat(now, 0.0).is_ok()).count()
    }

    #[test]
    fn a_share_of_first_attempts_and_a_floor_are_allowed_in_a_rolling_minute() {
        let mut budget = budget();
        assert_eq!(taken(&mut budget, 20, at(0)), 5, "the floor");
        (0..100).for_each(|_| budget.first(at(10)));
        assert_eq!(taken(&mut budget, 50, at(20)), 20);
        assert_eq!(taken(&mut budget, 50, at(61)), 5, "those of the first slot are forgotten");
        assert_eq!(taken(&mut budget, 50, at(600)), 5, "and the first attempts too");
    }

    #[test]
    fn what_helps_is_not_limited() {
        let mut budget = budget();
        for _ in 0..1_000 {
            assert_eq!(budget.repeat(at(0), 0.0), Ok(()));
            budget.give_back(at(0));
        }
    }

    #[test]
    fn the_more_are_refused_the_longer_they_wait() {
        let mut budget = budget();
        assert_eq!(taken(&mut budget, 5, at(0)), 5);
        let waits: Vec<u64> =
            (0..100).filter_map(|_| budget.repeat(at(0), 1.0).err()).map(|wait| wait.as_secs()).collect();
        assert_eq!((waits.len(), waits[0], waits[4], waits[99]), (100, 12, 60, 900));
        assert!(waits.is_sorted());
    }

    proptest! {
        #[test]
        fn repetitions_that_fail_stay_within_the_budget(
            steps in proptest::collection::vec((0_u64..5, 0_usize..20, 0_usize..20), 1..100),
        ) {
            let mut budget = budget();
            let (mut now, mut firsts, mut repeats) = (0, Vec::new(), Vec::new());
            for (pause, more_firsts, more_repeats) in steps {
                now += pause;
                (0..more_firsts).for_each(|_| budget.first(at(now)));
                firsts.extend(std::iter::repeat_n(now, more_firsts));
                let taken = taken(&mut budget, more_repeats, at(now));
                repeats.extend(std::iter::repeat_n(now, taken));
                // Slots are coarse: of the last 50 seconds all is remembered, of the last 60 nothing else.
                let since = |times: &[u64], span: u64| times.iter().filter(|time| now - **time < span).count() as f64;
                prop_assert!(since(&repeats, 50) <= 5.0 + 0.2 * since(&firsts, 60 + 50));
            }
        }

        #[test]
        fn any_times_are_taken(times in proptest::collection::vec(any::<i64>(), 1..50)) {
            let mut budget = budget();
            for time in times {
                budget.first(Timestamp::from_millis(time));
                let wait = budget.repeat(Timestamp::from_millis(time), 0.5).err();
                prop_assert!(wait.is_none_or(|wait| (WAIT_MIN..=WAIT_MAX).contains(&wait)));
            }
        }
    }
}
