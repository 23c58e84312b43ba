//! Whether a provider is asked at all: after too many failures it is left alone for a while, then tried with one message
//! at a time until it answers well again.
//!
//! Pure: time and chance are arguments. It must not know what is sent nor to whom; it counts failures of the provider,
//! not of messages.

use std::{collections::VecDeque, time::Duration};

use parvis_engine::{
    problem::{Problem, Requirements},
    time::{Timestamp, duration},
};
use serde::{Deserialize, Serialize};

/// When a provider is left alone, and for how long; section `[lanes.breaker]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// From this share of failures among the recent attempts on, 0 to 1.
    pub failure_share: f64,
    /// How many attempts are recent.
    pub recent: usize,
    /// Fewer attempts prove nothing.
    pub recent_min: usize,
    /// How long it is left alone at first; doubles as long as it fails.
    #[serde(with = "duration")]
    pub open_min: Duration,
    /// The longest time, unless the provider asks for more.
    #[serde(with = "duration")]
    pub open_max: Duration,
    /// How many probes it must answer well, one after the other.
    pub probes: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            failure_share: 0.5,
            recent: 100,
            recent_min: 20,
            open_min: Duration::from_secs(5),
            open_max: Duration::from_secs(5 * 60),
            probes: 3,
        }
    }
}

impl Config {
    /// What can't work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        let share = self.failure_share > 0.0 && self.failure_share <= 1.0;
        must.require(share, "/failure_share", "must be more than 0 and at most 1");
        must.require((1..=10_000).contains(&self.recent), "/recent", "must be from 1 to 10000");
        must.require((1..=self.recent).contains(&self.recent_min), "/recent_min", "must be from 1 to recent");
        must.require(!self.open_min.is_zero(), "/open_min", "must be longer than 0s");
        must.require(self.open_min <= self.open_max, "/open_max", "must not be shorter than open_min");
        must.require((1..=1_000).contains(&self.probes), "/probes", "must be from 1 to 1000");
        must.into_problems()
    }
}

/// How a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is asked.
    Closed,
    /// It is tried, with one message at a time.
    HalfOpen,
    /// It is left alone.
    Open,
}

impl State {
    /// Every state.
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    /// The name in logs and in the API.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        }
    }
}

/// What an attempt said of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It works, whatever it thinks of the message.
    Works,
    /// It does not.
    Fails {
        /// For how long it asked to be left alone.
        wait: Option<Duration>,
    },
    /// Nothing.
    Says,
}

/// The right to one attempt.
#[derive(Debug, PartialEq, Eq)]
pub struct Permission(u64);

/// How many attempts may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Any number.
    Any,
    /// One.
    One,
    /// None before this time.
    NoneUntil(Timestamp),
}

/// One provider's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: Config,
    /// After this time a probe that has not ended counts as lost.
    probe_max: Duration,
    phase: Phase,
    /// Counts phases: what was permitted in an earlier one proves nothing now.
    epoch: u64,
    /// How often it was opened since it was closed.
    openings: u32,
}

#[derive(Clone, Debug)]
enum Phase {
    Closed { recent: VecDeque<bool>, failed: usize },
    HalfOpen { good: u32, lost_at: Option<Timestamp> },
    Open { since: Timestamp, until: Timestamp },
}

impl Breaker {
    /// Closed. A probe that has not ended after `probe_max` counts as lost.
    pub fn new(config: Config, probe_max: Duration) -> Breaker {
        Breaker { config, probe_max, phase: Phase::closed(), epoch: 0, openings: 0 }
    }

    /// How the provider stands. It is left alone until a probe is permitted, even if its time has passed.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Open { .. } => State::Open,
        }
    }

    /// How many attempts would be permitted now. If the clock was put back to before the phase began, nobody knows how
    /// much of it has passed: then a probe will tell.
    pub fn room(&self, now: Timestamp) -> Room {
        match self.phase {
            Phase::Closed { .. } => Room::Any,
            Phase::Open { since, until } if (since..until).contains(&now) => Room::NoneUntil(until),
            Phase::HalfOpen { lost_at: Some(at), .. } if (at.minus(self.probe_max)..at).contains(&now) => {
                Room::NoneUntil(at)
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } => Room::One,
        }
    }

    /// Permits an attempt.
    ///
    /// # Errors
    /// The time before which there is none.
    pub fn permit(&mut self, now: Timestamp) -> Result<Permission, Timestamp> {
        if let Room::NoneUntil(at) = self.room(now) {
            return Err(at);
        }
        let lost_at = Some(now.plus(self.probe_max));
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::HalfOpen { lost_at: probe, .. } => *probe = lost_at,
            Phase::Open { .. } => self.enter(Phase::HalfOpen { good: 0, lost_at }),
        }
        Ok(Permission(self.epoch))
    }

    /// Takes in what came of a permitted attempt; `jitter` is uniform in 0..1.
    pub fn record(&mut self, permission: Permission, answer: Answer, now: Timestamp, jitter: f64) {
        if permission.0 != self.epoch {
            self.record_late(answer, now);
            return;
        }
        match &mut self.phase {
            Phase::Closed { recent, failed } => {
                let fails = match answer {
                    Answer::Says => return,
                    Answer::Works => false,
                    Answer::Fails { .. } => true,
                };
                if recent.len() >= self.config.recent {
                    *failed -= usize::from(recent.pop_front() == Some(true));
                }
                recent.push_back(fails);
                *failed += usize::from(fails);
                let share = *failed as f64 / recent.len() as f64;
                if recent.len() >= self.config.recent_min && fails && share >= self.config.failure_share {
                    self.open(answer, now, jitter);
                }
            }
            Phase::HalfOpen { good, lost_at } => match answer {
                Answer::Says => *lost_at = None,
                Answer::Fails { .. } => self.open(answer, now, jitter),
                Answer::Works if *good + 1 >= self.config.probes => {
                    self.openings = 0;
                    self.enter(Phase::closed());
                }
                Answer::Works => (*good, *lost_at) = (*good + 1, None),
            },
            // Nothing is permitted while it is open.
            Phase::Open { .. } => {}
        }
    }

    /// An answer from before: the provider's wish for rest still counts, for it is the provider's.
    fn record_late(&mut self, answer: Answer, now: Timestamp) {
        if let (Phase::Open { until, .. }, Answer::Fails { wait: Some(wait) }) = (&mut self.phase, answer) {
            *until = (*until).max(now.plus(wait));
        }
    }

    fn open(&mut self, answer: Answer, now: Timestamp, jitter: f64) {
        let doublings = self.openings.min(20);
        let full = self.config.open_min.saturating_mul(1 << doublings).min(self.config.open_max);
        // Half of it by chance, so that nodes do not come back together.
        let jitter = jitter.clamp(0.0, 1.0);
        let jittered = full.mul_f64(0.5 + 0.5 * jitter);
        let asked = match answer {
            Answer::Fails { wait } => wait.unwrap_or_default().mul_f64(1.0 + 0.1 * jitter),
            Answer::Works | Answer::Says => Duration::ZERO,
        };
        self.openings = self.openings.saturating_add(1);
        self.enter(Phase::Open { since: now, until: now.plus(jittered.max(asked)) });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Phase {
    fn closed() -> Phase {
        Phase::Closed { recent: VecDeque::new(), failed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILS: Answer = Answer::Fails { wait: None };
    const PROBE_MAX: Duration = Duration::from_secs(30);

    fn at(s: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(s))
    }

    fn breaker() -> Breaker {
        Breaker::new(Config::default(), PROBE_MAX)
    }

    fn attempt(breaker: &mut Breaker, answer: Answer, now: Timestamp) {
        let permission = breaker.permit(now).expect("permitted");
        breaker.record(permission, answer, now, 1.0);
    }

    fn opened() -> Breaker {
        let mut breaker = breaker();
        (0..20).for_each(|_| attempt(&mut breaker, FAILS, at(0)));
        breaker
    }

    #[test]
    fn it_opens_at_the_share_and_not_before_enough_attempts() {
        let mut breaker = breaker();
        (0..19).for_each(|_| attempt(&mut breaker, FAILS, at(0)));
        assert_eq!((breaker.state(), breaker.room(at(0))), (State::Closed, Room::Any));
        attempt(&mut breaker, FAILS, at(0));
        assert_eq!((breaker.state(), breaker.room(at(4))), (State::Open, Room::NoneUntil(at(5))));
        assert_eq!(breaker.permit(at(4)), Err(at(5)));
    }

    #[test]
    fn only_recent_failures_count() {
        let mut breaker = breaker();
        for _ in 0..10 {
            (0..100).for_each(|_| attempt(&mut breaker, Answer::Works, at(0)));
            (0..49).for_each(|_| attempt(&mut breaker, FAILS, at(0)));
            assert_eq!(breaker.state(), State::Closed, "49 of the last 100");
        }
        (0..51).for_each(|_| attempt(&mut breaker, Answer::Works, at(0)));
        (0..49).for_each(|_| attempt(&mut breaker, FAILS, at(0)));
        attempt(&mut breaker, FAILS, at(0));
        assert_eq!(breaker.state(), State::Open, "50 of the last 100");
    }

    #[test]
    fn good_probes_close_it_and_a_bad_one_opens_it_for_twice_as_long() {
        let mut breaker = opened();
        let probe = breaker.permit(at(5)).expect("a probe");
        assert_eq!((breaker.state(), breaker.room(at(6))), (State::HalfOpen, Room::NoneUntil(at(35))));
        breaker.record(probe, FAILS, at(6), 1.0);
        assert_eq!(breaker.room(at(6)), Room::NoneUntil(at(16)));
        for _ in 0..3 {
            assert_eq!(breaker.room(at(16)), Room::One);
            attempt(&mut breaker, Answer::Works, at(16));
        }
        assert_eq!((breaker.state(), breaker.room(at(16))), (State::Closed, Room::Any));
        (0..20).for_each(|_| attempt(&mut breaker, FAILS, at(20)));
        assert_eq!(breaker.room(at(20)), Room::NoneUntil(at(25)), "the first time again");
    }

    #[test]
    fn a_lost_probe_is_followed_by_another_and_one_that_says_nothing_too() {
        let mut breaker = opened();
        let lost = breaker.permit(at(5)).expect("a probe");
        assert_eq!(breaker.permit(at(34)), Err(at(35)));
        let next = breaker.permit(at(35)).expect("another");
        breaker.record(next, Answer::Says, at(36), 0.0);
        assert_eq!(breaker.room(at(36)), Room::One);
        breaker.record(lost, FAILS, at(36), 1.0);
        assert_eq!(breaker.state(), State::Open, "late, but of this phase");
    }

    #[test]
    fn a_clock_that_was_wrong_does_not_keep_it_open() {
        let mut breaker = opened();
        let before = at(0).minus(Duration::from_secs(3_600));
        assert_eq!((breaker.state(), breaker.room(before)), (State::Open, Room::One));
        breaker.permit(at(5)).expect("a probe, which is lost");
        assert_eq!((breaker.state(), breaker.room(before)), (State::HalfOpen, Room::One));
    }

    #[test]
    fn a_provider_gets_the_rest_that_it_asks_for() {
        let asks = Answer::Fails { wait: Some(Duration::from_secs(600)) };
        let mut breaker = breaker();
        (0..20).for_each(|_| attempt(&mut breaker, asks, at(0)));
        assert_eq!(breaker.room(at(0)), Room::NoneUntil(at(660)), "with a tenth of jitter on top");
        let mut breaker = self::breaker();
        let late = breaker.permit(at(0)).expect("permitted");
        (0..20).for_each(|_| attempt(&mut breaker, FAILS, at(0)));
        breaker.record(late, asks, at(2), 0.0);
        assert_eq!(breaker.room(at(2)), Room::NoneUntil(at(602)), "also when it asks late");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Permit,
        Record(usize, Answer, f64),
    }

    fn answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            3 => Just(Answer::Works),
            4 => (0_u64..900).prop_map(|s| Answer::Fails { wait: (s > 450).then(|| Duration::from_secs(s)) }),
            1 => Just(Answer::Says),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0_u64..40).prop_map(Step::Wait),
            6 => Just(Step::Permit),
            6 => (any::<usize>(), answer(), 0.0..1.0).prop_map(|(which, answer, jitter)| Step::Record(which, answer, jitter)),
        ]
    }

    fn rules() -> impl Strategy<Value = Config> {
        (1_usize..8, 1_u32..4, 0.1..=1.0).prop_map(|(recent_min, probes, failure_share)| Config {
            recent_min,
            recent: 10,
            probes,
            failure_share,
            ..Config::default()
        })
    }

    proptest! {
        #[test]
        fn what_is_closed_permits_and_what_is_not_permits_one_at_a_time(
            config in rules(),
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut breaker = Breaker::new(config, PROBE_MAX);
            let (mut now, mut out, mut probed_at) = (at(0), Vec::new(), None);
            for step in steps {
                let before = breaker.state();
                match step {
                    Step::Wait(s) => now = now.plus(Duration::from_secs(s)),
                    Step::Permit => {
                        let room = breaker.room(now);
                        match breaker.permit(now) {
                            Ok(permission) => {
                                prop_assert!(!matches!(room, Room::NoneUntil(_)));
                                out.push(permission);
                                if before != State::Closed {
                                    prop_assert_eq!(breaker.state(), State::HalfOpen);
                                    probed_at = Some(now);
                                }
                            }
                            Err(until) => {
                                prop_assert_eq!(room, Room::NoneUntil(until));
                                prop_assert!(until > now && before != State::Closed);
                                if before == State::HalfOpen {
                                    prop_assert!(probed_at.is_some_and(|at| now < at.plus(PROBE_MAX)));
                                }
                            }
                        }
                    }
                    Step::Record(which, answer, jitter) if !out.is_empty() => {
                        let permission = out.swap_remove(which % out.len());
                        breaker.record(permission, answer, now, jitter);
                        let after = breaker.state();
                        if after != before {
                            let opened = after == State::Open && matches!(answer, Answer::Fails { .. });
                            let closed = after == State::Closed && answer == Answer::Works;
                            prop_assert!(opened || closed, "{:?} to {:?} by {:?}", before, after, answer);
                            if let Room::NoneUntil(until) = breaker.room(now) {
                                let rest = until.since(now);
                                prop_assert!(rest >= Config::default().open_min / 2);
                                prop_assert!(rest <= Duration::from_secs(990));
                            }
                        }
                    }
                    Step::Record(..) => {}
                }
            }
        }

        #[test]
        fn whatever_has_happened_good_probes_close_it(
            config in rules(),
            steps in proptest::collection::vec(step(), 0..100),
        ) {
            let probes = config.probes;
            let mut breaker = Breaker::new(config, PROBE_MAX);
            let (mut now, mut out) = (at(0), Vec::new());
            for step in steps {
                match step {
                    Step::Wait(s) => now = now.plus(Duration::from_secs(s)),
                    Step::Permit => out.extend(breaker.permit(now)),
                    Step::Record(which, answer, jitter) if !out.is_empty() => {
                        breaker.record(out.swap_remove(which % out.len()), answer, now, jitter);
                    }
                    Step::Record(..) => {}
                }
            }
            // Longer than any rest and any probe.
            now = now.plus(Duration::from_secs(4_000));
            for _ in 0..probes {
                let permission = breaker.permit(now).expect("its time has passed");
                breaker.record(permission, Answer::Works, now, 0.5);
            }
            prop_assert_eq!(breaker.state(), State::Closed);
        }

        #[test]
        fn what_only_works_or_says_nothing_never_opens(answers in proptest::collection::vec(any::<bool>(), 0..300)) {
            let mut breaker = breaker();
            for works in answers {
                attempt(&mut breaker, if works { Answer::Works } else { Answer::Says }, at(0));
            }
            prop_assert_eq!(breaker.state(), State::Closed);
        }
    }
}
