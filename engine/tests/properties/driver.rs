//! Runs fixes through the engine the way the daemon does.

use std::sync::Arc;

use parvis_engine::{
    id::DeviceId,
    matching::{self, Matched, Subject, Transition, TransitionKind},
    observation::{Fix, Position},
    shopper::{Presence, PresenceState, Track},
    time::Timestamp,
    track::{self, Movement},
    world::{self, World},
};
use proptest::prelude::*;

use crate::oracle::{Fence, destination};

pub(crate) const START: i64 = 1_700_000_000_000;

pub(crate) fn at(second: f64) -> Timestamp {
    Timestamp::from_millis(START + (second * 1_000.0) as i64)
}

pub(crate) fn fix(second: f64, position: Position, accuracy_m: f64) -> Fix {
    Fix { at: at(second), position, accuracy_m, speed_mps: None, course_deg: None, floor: None }
}

pub(crate) fn world(fences: &[Fence]) -> World {
    let fences = fences.iter().map(|fence| Arc::new(fence.compiled())).collect();
    World::new(1, fences, Vec::new(), Vec::new(), world::Settings::default())
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) presences: Vec<Presence>,
    pub(crate) left_at: Option<Timestamp>,
    pub(crate) track: Track,
}

impl Device {
    pub(crate) fn new() -> Device {
        Device { id: "d-1".parse().expect("a name"), presences: Vec::new(), left_at: None, track: Track::default() }
    }

    /// Loses what a crash loses.
    pub(crate) fn crashes(&mut self) {
        self.track = Track::default();
    }

    pub(crate) fn takes(&mut self, world: &World, fix: Fix) -> Matched {
        let movement = track::advance(&mut self.track, fix, &world.settings.track);
        self.moves(world, &movement, fix.at)
    }

    pub(crate) fn moves(&mut self, world: &World, movement: &Movement, now: Timestamp) -> Matched {
        let subject =
            Subject { device: &self.id, presences: &self.presences, left_at: self.left_at, track: &mut self.track };
        let matched = matching::transitions(world, subject, movement, now);
        self.keeps(&matched);
        matched
    }

    pub(crate) fn waits(&mut self, world: &World, until: Timestamp) -> Matched {
        let subject =
            Subject { device: &self.id, presences: &self.presences, left_at: self.left_at, track: &mut self.track };
        let matched = matching::elapsed(world, subject, until, until);
        self.keeps(&matched);
        matched
    }

    fn keeps(&mut self, matched: &Matched) {
        if let Some(presences) = &matched.presences {
            self.presences.clone_from(presences);
            self.left_at = self.left_at.max(matched.left_at());
        }
    }

    pub(crate) fn inside(&self) -> Vec<String> {
        self.states().into_iter().filter(|(_, state)| *state == PresenceState::Inside).map(|(id, _)| id).collect()
    }

    pub(crate) fn states(&self) -> Vec<(String, PresenceState)> {
        self.presences.iter().map(|presence| (presence.region.to_string(), presence.state)).collect()
    }
}

pub(crate) fn kinds(transitions: &[Transition]) -> Vec<(TransitionKind, String, bool)> {
    transitions.iter().map(|told| (told.kind, told.region.to_string(), told.replayed)).collect()
}

/// Fixes that are plausible relative to each other, oldest first, with equal times among them.
pub(crate) fn walk(base: Position, length: usize) -> impl Strategy<Value = Vec<Fix>> {
    let accuracy = prop_oneof![
        2 => Just(0.0),
        6 => 3.0..60.0_f64,
        2 => 60.0..400.0_f64,
        1 => 400.0..2_000.0_f64,
    ];
    let step = (0.0..std::f64::consts::TAU, 0.0..1.0_f64, prop_oneof![1 => Just(0.0), 4 => 1.0..40.0_f64], accuracy);
    let begin = (0.0..std::f64::consts::TAU, 0.0..800.0_f64);
    (begin, prop::collection::vec(step, 2..length)).prop_map(move |((bearing, distance_m), steps)| {
        let mut position = destination(base, bearing, distance_m);
        let mut second = 0.0;
        steps
            .into_iter()
            .map(|(bearing, part, seconds, accuracy_m)| {
                second += seconds;
                position = destination(position, bearing, part * 8.0 * (seconds + 1.0));
                fix(second, position, accuracy_m)
            })
            .collect()
    })
}

pub(crate) const PARIS: Position = Position { lat: 48.8584, lon: 2.2945 };
pub(crate) const TAVEUNI: Position = Position { lat: -16.8, lon: 179.999 };
pub(crate) const TROMSO: Position = Position { lat: 69.65, lon: 18.96 };
pub(crate) const POLE: Position = Position { lat: 89.995, lon: -120.0 };
