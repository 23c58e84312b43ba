//! Fences that were crossed between two fixes, neither of which lies inside.

use super::{TransitionKind, round::Round, verdict::rounded};
use crate::{
    observation::{Place, Position},
    region::{
        Geofence, Way,
        sphere::{Rect, turn_towards},
    },
    shopper::{Presence, PresenceState},
    time::Timestamp,
};

/// Tells the fences that the straight way between two consecutive fixes has crossed.
pub(super) fn passes(round: &mut Round<'_>, from: &Place, to: &Place) {
    if to.at.since(from.at) > round.world.settings.track.pass_gap_max || from.position == to.position {
        return;
    }
    let way = Way { from: from.position, to: to.position };
    let end = [to.position.lon + turn_towards(to.position.lon, from.position.lon), to.position.lat];
    let rect = Rect::EMPTY.including([from.position.lon, from.position.lat]).including(end);
    let world = round.world;
    world.regions.meeting(rect, |fence| pass(round, fence, &way, [from, to]));
}

fn pass(round: &mut Round<'_>, fence: &Geofence, way: &Way, [from, to]: [&Place; 2]) {
    let accuracy_m = from.accuracy_m.max(to.accuracy_m);
    if accuracy_m > fence.scale_m() || fence.contains(from.position) || fence.contains(to.position) {
        return;
    }
    let Some((first, last)) = fence.crossing(way) else { return };
    let visits = |presence: &Presence| presence.region == fence.region.id && presence.state == PresenceState::Inside;
    if round.before.iter().any(visits) || round.presence(&fence.region.id).is_some_and(visits) {
        return;
    }
    let middle = (first + last) / 2.0;
    let along = turn_towards(to.position.lon, from.position.lon) + to.position.lon - from.position.lon;
    let lon = from.position.lon + along * middle;
    let place = Position {
        lat: from.position.lat + (to.position.lat - from.position.lat) * middle,
        lon: lon + turn_towards(lon, 0.0),
    };
    let sure = rounded(fence.probability(place, accuracy_m));
    round.tell(&fence.region, TransitionKind::Pass, between(from.at, to.at, middle)).confidence = sure;
}

fn between(from: Timestamp, to: Timestamp, part: f64) -> Timestamp {
    from.plus(to.since(from).mul_f64(part.clamp(0.0, 1.0)))
}
