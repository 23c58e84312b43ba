//! What time alone causes.

use std::sync::Arc;

use super::{
    Matched, Subject, Transition, TransitionCause, TransitionKind,
    round::{remember, seen},
};
use crate::{
    id::StoreId,
    region::Geofence,
    shopper::{Presence, PresenceState, Stretch},
    time::Timestamp,
    world::World,
};

/// What time alone has caused up to and including `until`: dwell, presence time-out, removed regions; in the order in
/// which it fell due. A time-out that newer fixes have put off moves the presence's `seen`, so that [`next_wake`]
/// moves too: after this, it is later than `until`.
pub fn elapsed(world: &World, subject: Subject<'_>, until: Timestamp, now: Timestamp) -> Matched {
    if next_wake(world, subject.presences).is_none_or(|wake| wake > until) {
        return Matched::default();
    }
    let device = subject.device;
    let tell = |presence: &Presence, store: Option<StoreId>, kind, cause, at| Transition {
        kind,
        device: device.clone(),
        region: presence.region.clone(),
        store,
        at,
        received_at: now,
        confidence: 1.0,
        cause,
        entered_at: Some(presence.since),
        replayed: false,
    };
    let mut due = Vec::new();
    let mut presences = Vec::with_capacity(subject.presences.len());
    for presence in subject.presences {
        let mut presence = presence.clone();
        presence.seen = seen(&presence, subject.track);
        let fence = world.regions.get(&presence.region);
        let store = || fence.and_then(|fence| fence.region.store.clone());
        let end = due_end(world, &presence, fence).filter(|(at, _)| *at <= until);
        let last = end.map_or(until, |(at, _)| at);
        if let Some(at) = due_dwell(&presence, fence).filter(|at| *at <= last) {
            presence.dwelled = true;
            due.push((at, tell(&presence, store(), TransitionKind::Dwell, TransitionCause::Timer, at)));
        }
        let Some((at, cause)) = end else {
            presences.push(presence);
            continue;
        };
        subject.track.calm = None;
        if !subject.track.marks.is_empty() {
            subject.track.marks.retain(|mark| mark.region != presence.region);
        }
        if presence.state == PresenceState::Inside {
            let left_at = if cause == TransitionCause::Removed { until.max(presence.seen) } else { presence.seen };
            due.push((at, tell(&presence, store(), TransitionKind::Exit, cause, left_at)));
            remember(
                subject.track,
                Stretch { region: presence.region, inside: true, from: presence.since, to: left_at },
            );
        }
    }
    due.sort_by(|(a, one), (b, other)| (a, &one.region).cmp(&(b, &other.region)));
    let transitions = due.into_iter().map(|(_, transition)| transition).collect();
    Matched { transitions, presences: Some(presences) }
}

/// When [`elapsed`] will next have something to do, if no observation comes. Made from durable presences alone, so
/// never later than it must be.
pub fn next_wake(world: &World, presences: &[Presence]) -> Option<Timestamp> {
    presences
        .iter()
        .filter_map(|presence| {
            let fence = world.regions.get(&presence.region);
            let end = due_end(world, presence, fence).map(|(at, _)| at);
            due_dwell(presence, fence).into_iter().chain(end).min()
        })
        .min()
}

/// When and why a presence ends without a further observation.
fn due_end(world: &World, presence: &Presence, fence: Option<&Arc<Geofence>>) -> Option<(Timestamp, TransitionCause)> {
    match fence {
        None => Some((presence.seen, TransitionCause::Removed)),
        Some(_) => Some((presence.seen.plus(world.settings.presence.timeout), TransitionCause::Timeout)),
    }
}

fn due_dwell(presence: &Presence, fence: Option<&Arc<Geofence>>) -> Option<Timestamp> {
    let waits = presence.state == PresenceState::Inside && !presence.dwelled;
    let dwell = fence?.region.dwell?;
    waits.then(|| presence.since.plus(dwell))
}
