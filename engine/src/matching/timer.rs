//! What time alone causes.

use std::time::Duration;

use super::{
    Matched, Subject, Transition, TransitionCause, TransitionKind,
    round::{remember, seen},
    told::{left, trim_left},
    zone,
};
use crate::{
    id::{DeviceId, RegionId},
    region::{Region, RegionKind},
    shopper::{Presence, PresenceState, Stretch, Track, Whereabouts, Witness},
    time::Timestamp,
    world::World,
};

/// What time alone has caused up to and including `until`: dwell, presence time-out, silence, removed regions; in the
/// order in which it fell due. A time-out that newer fixes or sightings have put off moves the presence's `seen`, so
/// that [`next_wake`] moves too: after this, it is later than `until`.
pub fn elapsed(world: &World, subject: Subject<'_>, until: Timestamp, now: Timestamp) -> Matched {
    if next_wake(world, subject.presences).is_none_or(|wake| wake > until) {
        return Matched::default();
    }
    let Subject { device, presences, track, .. } = subject;
    let known = confirmed(world, presences, track, until);
    let mut due = Vec::new();
    let mut presences = Vec::with_capacity(known.len());
    for presence in &known {
        let region = world.region(&presence.region);
        let end = Some(due_end(world, presence, &known)).filter(|(at, _)| *at <= until);
        let mut presence = presence.clone();
        if let Some(at) = due_dwell(&presence, region).filter(|at| *at <= end.map_or(until, |(at, _)| at)) {
            presence.dwelled = true;
            due.push(Due {
                at,
                kind: TransitionKind::Dwell,
                cause: TransitionCause::Timer,
                told_at: at,
                presence: presence.clone(),
            });
        }
        let Some((at, cause)) = end else {
            presences.push(presence);
            continue;
        };
        forget(track, &presence.region, (cause == TransitionCause::Silence).then_some(at));
        if presence.state != PresenceState::Inside {
            continue;
        }
        let left_at = if cause == TransitionCause::Removed { until.max(presence.seen) } else { presence.seen };
        if region.is_some_and(|region| region.kind == RegionKind::Zone) {
            let lasts = |left: &Presence| left.seen.plus(world.settings.presence.timeout) > until;
            presences.extend(left(&presence, left_at).filter(lasts));
        } else {
            let (region, from) = (presence.region.clone(), presence.since);
            remember(track, Stretch { region, inside: true, from, to: left_at });
        }
        due.push(Due { at, kind: TransitionKind::Exit, cause, told_at: left_at, presence });
    }
    trim_left(&mut presences);
    due.sort_by(|a, b| (a.at, &a.presence.region).cmp(&(b.at, &b.presence.region)));
    let transitions = due.into_iter().map(|due| due.told(world, device, now)).collect();
    Matched { transitions, presences: Some(presences) }
}

/// When [`elapsed`] will next have something to do, if no observation comes. Made from durable presences alone, so
/// never later than it must be.
pub fn next_wake(world: &World, presences: &[Presence]) -> Option<Timestamp> {
    let wakes = presences.iter().map(|presence| {
        let (end, _) = due_end(world, presence, presences);
        due_dwell(presence, world.region(&presence.region)).map_or(end, |dwell| dwell.min(end))
    });
    wakes.min()
}

/// How long nothing may be heard of a device in a zone or a beacon region before it counts as gone.
pub(super) fn silence(world: &World, region: &Region, witness: Witness) -> Duration {
    let settings = world.ranging(region.store.as_ref());
    world.registry.exit_after(&region.id).unwrap_or_else(|| {
        Duration::from_secs_f64(match witness {
            Witness::Scanners => settings.tag_exit_after_s,
            Witness::Position | Witness::Phone | Witness::System => settings.exit_after_s,
        })
    })
}

/// What has fallen due.
struct Due {
    at: Timestamp,
    kind: TransitionKind,
    cause: TransitionCause,
    told_at: Timestamp,
    presence: Presence,
}

impl Due {
    /// What only old sightings support is on record, and tells nobody.
    fn told(self, world: &World, device: &DeviceId, now: Timestamp) -> Transition {
        let region = world.region(&self.presence.region);
        let age = now.since(self.at.max(self.presence.seen));
        Transition {
            kind: self.kind,
            device: device.clone(),
            region_kind: region.map_or_else(RegionKind::default, |region| region.kind),
            store: region.and_then(|region| region.store.clone()),
            at: self.told_at,
            received_at: now,
            confidence: 1.0,
            cause: self.cause,
            entered_at: Some(self.presence.since),
            replayed: is_by_radio(&self.presence) && age > world.settings.presence.sighting_age_max,
            region: self.presence.region,
        }
    }
}

/// The presences with when they were last confirmed, as far as is known. What was heard is volatile, and its durable
/// part up to one silence old: whoever may have been heard since is given as much again after a restart.
fn confirmed(world: &World, presences: &[Presence], track: &mut Track, until: Timestamp) -> Vec<Presence> {
    let restarted = track.radio.is_none();
    let confirm = |presence: &Presence| {
        let mut seen = seen(presence, track);
        let region = world.region(&presence.region);
        if presence.state == PresenceState::Left {
            let here =
                |last: &&Whereabouts| last.store.is_some() && last.store == region.and_then(|it| it.store.clone());
            let last = track.radio.as_ref().and_then(|radio| radio.last.as_ref()).filter(here);
            seen = last.map_or(seen, |last| last.at.max(seen));
        } else if let Some(region) = region.filter(|_| restarted && is_by_radio(presence)) {
            let silence = silence(world, region, presence.witness);
            let latest = seen.plus(silence);
            seen = if until < latest.plus(silence) { seen.max(until.min(latest)) } else { seen };
        }
        Presence { seen, ..presence.clone() }
    };
    let confirmed: Vec<Presence> = presences.iter().map(confirm).collect();
    if restarted && confirmed.iter().any(is_by_radio) {
        track.radio = Some(Box::default());
    }
    confirmed
}

fn is_by_radio(presence: &Presence) -> bool {
    matches!(presence.witness, Witness::Phone | Witness::Scanners)
}

/// A presence has ended, by silence if there is a time for it.
fn forget(track: &mut Track, region: &RegionId, silent_at: Option<Timestamp>) {
    track.calm = None;
    if let Some(radio) = &mut track.radio {
        radio.chosen.take_if(|zone| zone == region);
        radio.heard.retain(|(heard, _)| heard != region);
        radio.silent_at = radio.silent_at.max(silent_at);
    }
    if !track.marks.is_empty() {
        track.marks.retain(|mark| mark.region != *region);
    }
}

/// When and why a presence ends without a further observation. A group lasts as long as the zone of it that the device
/// is in.
fn due_end(world: &World, presence: &Presence, all: &[Presence]) -> (Timestamp, TransitionCause) {
    let own = due_end_of_its_own(world, presence);
    if presence.state != PresenceState::Inside || own.1 != TransitionCause::Silence {
        return own;
    }
    let is_part = |part: &&Presence| {
        part.state == PresenceState::Inside
            && part.region != presence.region
            && zone::chain(world, &part.region).any(|group| *group == presence.region)
    };
    let parts = all.iter().filter(is_part).map(|part| due_end_of_its_own(world, part));
    parts.fold(own, |(at, cause), (part_at, _)| (at.max(part_at), cause))
}

fn due_end_of_its_own(world: &World, presence: &Presence) -> (Timestamp, TransitionCause) {
    let as_it_was = |region: &&Region| (region.kind == RegionKind::Geofence) == (presence.witness == Witness::Position);
    let Some(region) = world.region(&presence.region).filter(as_it_was) else {
        return (presence.seen, TransitionCause::Removed);
    };
    let silent = is_by_radio(presence) && presence.state != PresenceState::Left;
    if silent {
        (presence.seen.plus(silence(world, region, presence.witness)), TransitionCause::Silence)
    } else {
        (presence.seen.plus(world.settings.presence.timeout), TransitionCause::Timeout)
    }
}

/// In a zone it takes confidence to dwell, which no timer has: sightings tell it.
fn due_dwell(presence: &Presence, region: Option<&Region>) -> Option<Timestamp> {
    let region = region?;
    let dwell = region.dwell?;
    let waits = presence.state == PresenceState::Inside && !presence.dwelled;
    (waits && region.kind != RegionKind::Zone).then(|| presence.since.plus(dwell))
}
