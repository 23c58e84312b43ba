//! What time alone causes.

use std::time::Duration;

use super::{
    Matched, Subject, Transition, TransitionCause, TransitionKind,
    round::{remember, seen},
};
use crate::{
    id::StoreId,
    region::{Region, RegionKind},
    shopper::{Presence, PresenceState, Stretch, Witness},
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
        region_kind: world.region(&presence.region).map_or_else(RegionKind::default, |region| region.kind),
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
        let region = world.region(&presence.region);
        let store = || region.and_then(|region| region.store.clone());
        let end = due_end(world, &presence, region).filter(|(at, _)| *at <= until);
        let last = end.map_or(until, |(at, _)| at);
        if let Some(at) = due_dwell(&presence, region).filter(|at| *at <= last) {
            presence.dwelled = true;
            due.push((at, tell(&presence, store(), TransitionKind::Dwell, TransitionCause::Timer, at)));
        }
        let Some((at, cause)) = end else {
            presences.push(presence);
            continue;
        };
        subject.track.calm = None;
        if let Some(radio) = &mut subject.track.radio {
            radio.chosen.take_if(|zone| *zone == presence.region);
        }
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
            let region = world.region(&presence.region);
            let end = due_end(world, presence, region).map(|(at, _)| at);
            due_dwell(presence, region).into_iter().chain(end).min()
        })
        .min()
}

/// When and why a presence ends without a further observation.
fn due_end(world: &World, presence: &Presence, region: Option<&Region>) -> Option<(Timestamp, TransitionCause)> {
    let Some(region) = region else { return Some((presence.seen, TransitionCause::Removed)) };
    let timeout = (presence.seen.plus(world.settings.presence.timeout), TransitionCause::Timeout);
    let silence = |after_s: f64| {
        let after = world.registry.exit_after(&region.id).unwrap_or_else(|| Duration::from_secs_f64(after_s));
        (presence.seen.plus(after), TransitionCause::Silence)
    };
    let ranging = || world.ranging(region.store.as_ref());
    Some(match (presence.state, presence.witness) {
        (PresenceState::Left, _) | (_, Witness::Position | Witness::System) => timeout,
        (_, Witness::Phone) => silence(ranging().exit_after_s),
        (_, Witness::Scanners) => silence(ranging().tag_exit_after_s),
    })
}

/// In a zone it takes confidence to dwell, which no timer has: sightings tell it.
fn due_dwell(presence: &Presence, region: Option<&Region>) -> Option<Timestamp> {
    let region = region?;
    let dwell = region.dwell?;
    let waits = presence.state == PresenceState::Inside && !presence.dwelled;
    (waits && region.kind != RegionKind::Zone).then(|| presence.since.plus(dwell))
}
