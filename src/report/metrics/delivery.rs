//! What is counted on the way out: breakers, what is put off, credentials. Apps are named by the configuration, so there
//! are few.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

use parvis_engine::time::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::delivery::{Route, breaker::State, courier::Credential};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OnRoute {
    app: String,
    channel: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PutOff {
    app: String,
    channel: &'static str,
    reason: &'static str,
}

/// What is counted on the way out.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    breakers: Family<OnRoute, Gauge>,
    states: Mutex<BTreeMap<Route, State>>,
    postponed: Family<PutOff, Counter<u64, AtomicU64>>,
    token_age: Family<OnRoute, Gauge>,
    certificate_end: Family<OnRoute, Gauge>,
}

impl OnRoute {
    fn of(route: &Route) -> OnRoute {
        OnRoute { app: route.app.to_string(), channel: route.channel.name() }
    }
}

impl Delivery {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help =
            "Whether a provider is asked: 0 closed (it is), 1 half open (with one message at a time), 2 open (not)";
        registry.register("breaker_state", help, self.breakers.clone());
        let help = "Attempts that were put off without asking a provider, by reason";
        registry.register("postponed", help, self.postponed.clone());
        let help = "Age of the provider token in use";
        registry.register_with_unit("provider_token_age", help, Unit::Seconds, self.token_age.clone());
        let help = "When the certificate ends, as seconds since 1970";
        registry.register_with_unit("certificate_not_after", help, Unit::Seconds, self.certificate_end.clone());
    }

    pub(super) fn breaker(&self, route: &Route, state: State) {
        let value = match state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        self.breakers.get_or_create(&OnRoute::of(route)).set(value);
        self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(route.clone(), state);
    }

    pub(super) fn no_breaker(&self, route: &Route) {
        self.breakers.remove(&OnRoute::of(route));
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(route);
    }

    pub(super) fn breakers(&self) -> Vec<(Route, State)> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().map(|(route, state)| (route.clone(), *state)).collect()
    }

    pub(super) fn postponed(&self, route: &Route, reason: &'static str) {
        let OnRoute { app, channel } = OnRoute::of(route);
        self.postponed.get_or_create(&PutOff { app, channel, reason }).inc();
    }

    /// Replaces what was told before: apps come and go.
    pub(super) fn credentials(&self, credentials: &[Credential], now: Timestamp) {
        self.token_age.clear();
        self.certificate_end.clear();
        for Credential { route, issued_at, not_after } in credentials {
            if let Some(issued_at) = issued_at {
                let age_s = now.since(*issued_at).as_secs();
                self.token_age.get_or_create(&OnRoute::of(route)).set(super::level(age_s));
            }
            if let Some(not_after) = not_after {
                self.certificate_end.get_or_create(&OnRoute::of(route)).set(not_after.as_millis().div_euclid(1_000));
            }
        }
    }
}
