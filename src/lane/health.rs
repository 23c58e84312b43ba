//! How the provider at the end of a lane fares: its breaker and the budget of repetitions, kept together and told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use parvis_engine::{retry::Outcome, time::Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Config, budget::Budget};
use crate::{
    delivery::{
        Route,
        breaker::{Breaker, Permission, Room, State},
        courier::Attempted,
    },
    report::Reporter,
};

/// The right to one attempt.
#[derive(Debug)]
pub struct Pass {
    permission: Permission,
    repeats: bool,
}

/// How the provider at the end of a lane fares.
pub(super) struct Health {
    /// None if there is no provider that could be told of.
    route: Option<Route>,
    reporter: Reporter,
    /// A lane that is ending tells nothing more: what is told of its route is another's by then, or nobody's.
    ending: CancellationToken,
    standing: Mutex<Standing>,
}

struct Standing {
    breaker: Breaker,
    budget: Budget,
    /// How many entries are claimed to find one to probe with: what has expired is none.
    probes: usize,
}

impl Health {
    pub(super) fn new(route: Option<Route>, config: &Config, reporter: Reporter, ending: CancellationToken) -> Health {
        // A lease outlives every attempt, so whatever is out for longer is lost.
        let breaker = Breaker::new(config.breaker.clone(), config.lease);
        let standing = Standing { breaker, budget: Budget::new(config.retries.clone()), probes: 1 };
        if let Some(route) = &route {
            reporter.breaker(route, State::Closed);
        }
        Health { route, reporter, ending, standing: Mutex::new(standing) }
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// How many entries may be claimed now.
    pub(super) fn room(&self, now: Timestamp) -> Room {
        self.standing().breaker.room(now)
    }

    /// How many entries to claim to find one to probe with: more and more, as long as all that are claimed turn out to be
    /// wanted no longer, so that a backlog which has expired is soon settled.
    pub(super) fn probes(&self) -> usize {
        self.standing().probes
    }

    /// So many entries were claimed to find one to probe with.
    pub(super) fn claimed_probes(&self, count: usize) {
        self.standing().probes = count.saturating_mul(2).max(1);
    }

    /// The right to attempt an entry that was attempted so often before.
    pub(super) fn permit(&self, attempts: u32, now: Timestamp, jitter: f64) -> Result<Pass, Timestamp> {
        let mut standing = self.standing();
        let before = standing.breaker.state();
        // A probe is for the provider's sake, so it costs nothing.
        let repeats = attempts > 0 && before == State::Closed;
        if repeats && let Err(wait) = standing.budget.repeat(now, jitter) {
            self.postponed("retry_budget");
            return Err(now.plus(wait));
        }
        let permitted = standing.breaker.permit(now);
        match permitted {
            Ok(_) if attempts == 0 => standing.budget.first(now),
            Err(_) if repeats => standing.budget.give_back(now),
            Ok(_) | Err(_) => {}
        }
        if permitted.is_ok() {
            standing.probes = 1;
        }
        self.tell(before, standing.breaker.state());
        drop(standing);
        permitted.map(|permission| Pass { permission, repeats }).inspect_err(|_| self.postponed("breaker"))
    }

    /// Takes in what a provider said.
    pub(super) fn record(&self, pass: Pass, attempted: &Attempted, now: Timestamp, jitter: f64) {
        let Pass { permission, repeats } = pass;
        let Attempted { outcome, answer } = attempted;
        let mut standing = self.standing();
        let before = standing.breaker.state();
        standing.breaker.record(permission, *answer, now, jitter);
        if repeats && *outcome == Outcome::Accepted {
            standing.budget.give_back(now);
        }
        self.tell(before, standing.breaker.state());
    }

    pub(super) fn postponed(&self, reason: &'static str) {
        if let Some(route) = &self.route {
            self.reporter.postponed(route, reason);
        }
    }

    fn tell(&self, before: State, after: State) {
        let Some(route) = self.route.as_ref().filter(|_| before != after && !self.ending.is_cancelled()) else {
            return;
        };
        self.reporter.breaker(route, after);
        let (app, channel) = (route.app.as_str(), route.channel.name());
        match after {
            State::Open => tracing::warn!(app, channel, "the provider fails: it is left alone for a while"),
            State::HalfOpen => tracing::info!(app, channel, "the provider is tried with one message at a time"),
            State::Closed => tracing::info!(app, channel, "the provider works again"),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
