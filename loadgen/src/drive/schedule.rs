//! When which request is due. Time is an argument.

use std::time::Duration;

use super::Stretch;

/// The due times of one stretch's requests, handed out in their order.
pub(super) struct Schedule {
    stretch: Stretch,
    began_us: u64,
    gives_up_us: u64,
    /// The next request.
    next: u64,
    /// The first request that [`Schedule::due_by`] has not counted yet.
    counted: u64,
}

impl Schedule {
    pub(super) fn new(stretch: Stretch, began_us: u64, overtime: Duration) -> Schedule {
        let overtime_us = u64::try_from(overtime.as_micros()).unwrap_or(u64::MAX / 2);
        let gives_up_us = began_us + micros(stretch.seconds) + overtime_us;
        Schedule { stretch, began_us, gives_up_us, next: 0, counted: 0 }
    }

    pub(super) fn began_us(&self) -> u64 {
        self.began_us
    }

    /// From then on nothing is sent any more.
    pub(super) fn gives_up_us(&self) -> u64 {
        self.gives_up_us
    }

    /// When the next request is due; nothing when the stretch is over. In a closed loop that is always now.
    pub(super) fn take(&mut self, now_us: u64) -> Option<u64> {
        if self.stretch.is_closed() {
            return (now_us < self.began_us + micros(self.stretch.seconds)).then_some(now_us);
        }
        if now_us > self.gives_up_us {
            return None;
        }
        let due_us = self.due_us(self.next)?;
        self.next += 1;
        Some(due_us)
    }

    /// How many pings were due by then; nothing in a closed loop, where what is due is what is sent.
    pub(super) fn due_by(&mut self, now_us: u64) -> Option<u64> {
        if self.stretch.is_closed() {
            return None;
        }
        while self.due_us(self.counted).is_some_and(|due_us| due_us <= now_us) {
            self.counted += 1;
        }
        Some(self.counted * self.stretch.batch as u64)
    }

    /// How many pings of an open loop are due in the whole stretch.
    pub(super) fn due_in_all(mut self) -> u64 {
        self.due_by(u64::MAX).unwrap_or(0)
    }

    /// A request is due when its last ping is.
    fn due_us(&self, request: u64) -> Option<u64> {
        let last = (request + 1) * self.stretch.batch as u64 - 1;
        let due_s = self.stretch.shape.due(last).filter(|due_s| *due_s < self.stretch.seconds)?;
        Some(self.began_us + micros(due_s))
    }
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use parvis_loadgen::scenario::Shape;

    use super::*;

    const OVERTIME: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_is_due_when_its_last_ping_is() {
        let stretch = Stretch { shape: Shape::Steady { per_s: 100.0 }, seconds: 1.0, batch: 10 };
        let mut schedule = Schedule::new(stretch, 5_000_000, OVERTIME);
        let first = schedule.take(5_000_000).expect("due");
        let second = schedule.take(5_000_000).expect("due");
        assert_eq!(second - first, 100_000, "ten pings at a hundred a second");
        assert!(first >= 5_080_000, "the tenth ping, not the first: {first}");
        let more = std::iter::from_fn(|| schedule.take(5_900_000)).count();
        assert!((7..=8).contains(&more), "a second has no more than ten requests: {more}");
        assert_eq!(schedule.due_in_all(), (more as u64 + 2) * 10);
    }

    #[test]
    fn what_is_late_is_still_due_until_it_is_given_up() {
        let stretch = Stretch { shape: Shape::Steady { per_s: 10.0 }, seconds: 1.0, batch: 1 };
        let mut schedule = Schedule::new(stretch, 0, OVERTIME);
        assert!(schedule.take(1_900_000).is_some_and(|due_us| due_us <= 100_000), "its time stays");
        assert_eq!(schedule.take(2_000_001), None);
        assert_eq!(schedule.gives_up_us(), 2_000_000);
    }

    #[test]
    fn a_closed_loop_is_due_now() {
        let stretch = Stretch { shape: Shape::Saturate, seconds: 1.0, batch: 100 };
        let mut schedule = Schedule::new(stretch, 0, OVERTIME);
        assert_eq!(
            (schedule.take(7), schedule.take(999_999), schedule.take(1_000_000)),
            (Some(7), Some(999_999), None)
        );
        assert_eq!((schedule.due_by(7), schedule.due_in_all()), (None, 0));
    }
}
