//! Load in an open loop: what is due is sent at its time or as soon as there is a connection for it, and every wait counts
//! from the due time, so that what a slow answer holds up is seen in the waits of all that it holds up. It must not know
//! the protocol; carriers do.

mod crowd;
mod schedule;

use std::{cell::RefCell, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use parvis_loadgen::{
    city::{City, Ping},
    scenario::Shape,
};

pub(crate) use self::crowd::Crowd;
use self::schedule::Schedule;
use crate::{
    clock::Clock,
    measure::{Tally, Verdict, arrivals::Arrivals},
};

/// What could not be sent or was sent back is tried for so long after the last due time.
const OVERTIME: Duration = Duration::from_secs(30);
/// After a connection that failed, so that a dead server is not asked in a circle.
const PAUSE: Duration = Duration::from_millis(50);
const SECOND_US: u64 = 1_000_000;
/// What is left at the end of a stretch is a line of progress of its own if it is so long, seconds.
const TAIL_S: f64 = 0.5;

/// A worker's way to whoever is driven: one request at a time.
pub(crate) trait Carrier {
    /// A request that is ready to go out, more than once if it must.
    type Packed;

    /// Makes a request of pings; called when they are due.
    fn pack(&mut self, city: &City, pings: &[Ping]) -> Self::Packed;

    /// Sends it and waits for what becomes of its pings.
    async fn send(&mut self, packed: &Self::Packed) -> Reply;
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It was answered.
    Settled(Verdict),
    /// It is to be sent again after this time.
    Later { wait: Duration, why: String },
    /// There was no answer.
    Broken(String),
}

/// How long which pings are due when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) shape: Shape,
    pub(crate) seconds: f64,
    /// Pings in a request.
    pub(crate) batch: usize,
}

/// Who walks, and who waits for what comes of it.
pub(crate) struct Street<'a> {
    pub(crate) clock: Clock,
    pub(crate) city: &'a City,
    pub(crate) crowd: RefCell<Crowd>,
    /// Where messages or events are taken, if anywhere.
    pub(crate) arrivals: Option<&'a Arrivals>,
}

/// What a stretch gave.
pub(crate) struct Run {
    pub(crate) tally: Tally,
    /// From the first due time to the last answer, seconds.
    pub(crate) seconds: f64,
    /// Pings that were due and never sent, because what came before them took too long.
    pub(crate) unsent: u64,
}

impl Stretch {
    /// A closed loop: as fast as answers come.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.shape, Shape::Saturate | Shape::HalfOfSaturated)
    }
}

/// Drives one stretch with so many workers as there are carriers. `tell` gets each second as it ends.
pub(crate) async fn run<C: Carrier>(
    street: &Street<'_>,
    stretch: Stretch,
    carriers: &mut [C],
    tell: impl Fn(&crate::measure::Second),
) -> Run {
    let schedule = Schedule::new(stretch, street.clock.now_us(), OVERTIME);
    let began_us = schedule.began_us();
    let shared = Shared { street, schedule: RefCell::new(schedule), tally: RefCell::new(Tally::new()) };
    let mut workers: FuturesUnordered<_> = carriers.iter_mut().map(|carrier| shared.work(carrier)).collect();
    let all = async { while workers.next().await.is_some() {} };
    tokio::select! { biased;
        () = all => {}
        () = shared.watch(began_us, &tell) => {}
    }
    drop(workers);
    let ended_us = street.clock.now_us() - began_us;
    let Shared { schedule, tally, .. } = shared;
    let (mut tally, due) = (tally.into_inner(), schedule.into_inner().due_in_all());
    // The rate of a moment would stand out in a plot, and say nothing.
    if tally.series.last().is_none_or(|last| ended_us as f64 / 1e6 - last.at_s >= TAIL_S) {
        tally.second(ended_us, due.max(tally.sent) - tally.settled());
    }
    let unsent = due.saturating_sub(tally.sent);
    Run { tally, seconds: ended_us as f64 / 1e6, unsent }
}

struct Shared<'a> {
    street: &'a Street<'a>,
    schedule: RefCell<Schedule>,
    tally: RefCell<Tally>,
}

impl Shared<'_> {
    async fn work<C: Carrier>(&self, carrier: &mut C) {
        let Street { clock, city, crowd, arrivals } = self.street;
        let mut pings = Vec::new();
        loop {
            let turn = self.schedule.borrow_mut().take(clock.now_us());
            let Some(due_us) = turn else { return };
            clock.sleep_until_us(due_us).await;
            crowd.borrow_mut().next(city, clock.wall_ms(due_us), &mut pings);
            let packed = carrier.pack(city, &pings);
            if let Some(arrivals) = arrivals {
                pings.iter().for_each(|ping| arrivals.sending(ping.phone, due_us));
            }
            let count = pings.len() as u64;
            self.tally.borrow_mut().sending(count, clock.now_us().saturating_sub(due_us));
            self.deliver(carrier, &packed, count, due_us).await;
        }
    }

    async fn deliver<C: Carrier>(&self, carrier: &mut C, packed: &C::Packed, pings: u64, due_us: u64) {
        let clock = self.street.clock;
        loop {
            match carrier.send(packed).await {
                Reply::Settled(verdict) => {
                    let wait_us = clock.now_us().saturating_sub(due_us);
                    return self.tally.borrow_mut().answered(verdict, wait_us);
                }
                Reply::Later { wait, why } => {
                    self.tally.borrow_mut().sent_back(why);
                    let again_us = clock.now_us() + u64::try_from(wait.as_micros()).unwrap_or(u64::MAX / 2);
                    if again_us > self.schedule.borrow().gives_up_us() {
                        self.tally.borrow_mut().refused += pings;
                        return;
                    }
                    clock.sleep_until_us(again_us).await;
                }
                Reply::Broken(why) => {
                    let verdict = Verdict { failed: pings, why: Some(why), ..Verdict::default() };
                    self.tally.borrow_mut().answered(verdict, 0);
                    return clock.sleep(PAUSE).await;
                }
            }
        }
    }

    async fn watch(&self, began_us: u64, tell: &impl Fn(&crate::measure::Second)) {
        let clock = self.street.clock;
        for number in 1.. {
            clock.sleep_until_us(began_us + number * SECOND_US).await;
            let now_us = clock.now_us();
            let due = self.schedule.borrow_mut().due_by(now_us);
            let mut tally = self.tally.borrow_mut();
            let backlog = due.unwrap_or(tally.sent).saturating_sub(tally.settled());
            tell(&tally.second(now_us - began_us, backlog));
        }
    }
}

#[cfg(test)]
mod tests;
