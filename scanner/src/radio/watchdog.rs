//! What to do about silence, step by step. Pure: time is an argument.
//!
//! Radios and their drivers fall silent without an error, so that silence itself is the only sign. Each rung is stronger
//! than the one before; who reaches the last one ends the process.

use std::time::Duration;

use crate::clock::Moment;

/// How long a silence must last for each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Scanning is stopped and started.
    pub restart_after: Duration,
    /// The adapter is powered off and on.
    pub power_cycle_after: Duration,
    /// The session with the bus is opened anew.
    pub reopen_after: Duration,
    /// The process ends with a failure.
    pub exit_after: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            restart_after: Duration::from_secs(30),
            power_cycle_after: Duration::from_secs(60),
            reopen_after: Duration::from_secs(90),
            exit_after: Duration::from_secs(120),
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Stop scanning and start it again.
    Restart,
    /// Power the adapter off and on.
    PowerCycle,
    /// Open the session with the bus anew.
    Reopen,
    /// End the process.
    Exit,
}

/// Watches one silence.
#[derive(Clone, Debug)]
pub struct Watchdog {
    rungs: Vec<(Duration, Step)>,
    since: Moment,
    climbed: usize,
}

impl Watchdog {
    /// For one adapter: what can be done to it alone.
    pub fn of_adapter(patience: Patience, now: Moment) -> Watchdog {
        let rungs = vec![(patience.restart_after, Step::Restart), (patience.power_cycle_after, Step::PowerCycle)];
        Watchdog { rungs, since: now, climbed: 0 }
    }

    /// For all adapters together: what concerns every one of them.
    pub fn of_host(patience: Patience, now: Moment) -> Watchdog {
        let rungs = vec![(patience.reopen_after, Step::Reopen), (patience.exit_after, Step::Exit)];
        Watchdog { rungs, since: now, climbed: 0 }
    }

    /// When something was last heard; may be told again and again.
    pub fn heard(&mut self, at: Moment) {
        if at > self.since {
            self.since = at;
            self.climbed = 0;
        }
    }

    /// When to look again.
    pub fn due(&self) -> Moment {
        match self.rungs.get(self.climbed) {
            Some((after, _)) => self.since.plus(*after),
            None => self.round_end(),
        }
    }

    /// The step that is to be taken now, if one is. Every step is told once in a silence; behind the last one the
    /// ladder begins anew.
    pub fn step(&mut self, now: Moment) -> Option<Step> {
        if self.climbed == self.rungs.len() && now >= self.round_end() {
            self.since = self.round_end();
            self.climbed = 0;
        }
        let (after, step) = *self.rungs.get(self.climbed)?;
        if now.since(self.since) < after {
            return None;
        }
        self.climbed += 1;
        Some(step)
    }

    /// When a full round of the ladder is over: as long after the last rung as that one came after the rung below.
    fn round_end(&self) -> Moment {
        let last = self.rungs.last().map_or(Duration::ZERO, |(after, _)| *after);
        let below = self.rungs.iter().rev().nth(1).map_or(Duration::ZERO, |(after, _)| *after);
        self.since.plus(last + last.saturating_sub(below).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000)
    }

    #[test]
    fn silence_climbs_the_ladder_once_and_then_again() {
        let mut watchdog = Watchdog::of_adapter(Patience::default(), at(0));
        assert_eq!((watchdog.due(), watchdog.step(at(29))), (at(30), None));
        assert_eq!(watchdog.step(at(30)), Some(Step::Restart));
        assert_eq!((watchdog.due(), watchdog.step(at(31))), (at(60), None));
        assert_eq!(watchdog.step(at(61)), Some(Step::PowerCycle));
        assert_eq!((watchdog.due(), watchdog.step(at(89))), (at(90), None));
        assert_eq!((watchdog.step(at(90)), watchdog.due()), (None, at(120)));
        assert_eq!(watchdog.step(at(120)), Some(Step::Restart));
    }

    #[test]
    fn one_advertisement_ends_a_silence() {
        let mut watchdog = Watchdog::of_adapter(Patience::default(), at(0));
        assert_eq!(watchdog.step(at(40)), Some(Step::Restart));
        watchdog.heard(at(45));
        assert_eq!((watchdog.due(), watchdog.step(at(74))), (at(75), None));
        assert_eq!(watchdog.step(at(75)), Some(Step::Restart));
    }

    #[test]
    fn an_advertisement_that_is_told_again_is_no_other_one() {
        let mut watchdog = Watchdog::of_adapter(Patience::default(), at(0));
        let mut steps = Vec::new();
        for second in 5..90 {
            watchdog.heard(at(5));
            steps.extend(watchdog.step(at(second)));
        }
        assert_eq!(steps, [Step::Restart, Step::PowerCycle]);
    }

    #[test]
    fn what_was_heard_before_the_silence_began_does_not_shorten_it() {
        let mut watchdog = Watchdog::of_host(Patience::default(), at(100));
        watchdog.heard(at(50));
        assert_eq!(watchdog.due(), at(190));
    }

    #[test]
    fn steps_that_were_slept_over_come_one_by_one() {
        let mut watchdog = Watchdog::of_host(Patience::default(), at(0));
        assert_eq!((watchdog.step(at(500)), watchdog.step(at(500))), (Some(Step::Reopen), Some(Step::Exit)));
    }
}
