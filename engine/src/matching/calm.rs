//! The disc in which nothing can change: how large it is, and whether a fix lies in it.

use super::{round::Round, verdict::Sight};
use crate::{
    observation::Place,
    region::{
        Geofence, Outlook, distance_m,
        gaussian::{SHARP, sigma_m},
        index::REARM,
    },
    shopper::{Calm, PresenceState},
};

/// The largest disc that is looked for: what lies beyond is cheap to look at again.
pub(super) const RADIUS_MAX_M: f64 = 5_000.0;

/// The smallest radius in which borders are looked for, and the first where nothing is known: among crowded fences a
/// wider one costs many times as much.
const SEARCH_MIN_M: f64 = 25.0;

/// How many times as far to look where nothing was found.
const SEARCH_GROWTH: f64 = 4.0;

/// Taken off every disc, for the rounding of distances.
const ROUNDING_M: f64 = 0.001;

/// The same near the poles, where chords of a tenth of a degree stand for the edges of polygons: at 85 degrees of
/// latitude they are 0.21 m off.
const CHORD_M: f64 = 0.25;

/// Whether every device that this fix may stand for lies in the disc.
pub(super) fn covers(calm: Option<&Calm>, generation: u64, fix: &Place) -> bool {
    calm.is_some_and(|calm| calm.generation == generation && room_m(calm, fix) >= 0.0)
}

/// How much further a fix of this accuracy may be from this one and still lie in the disc.
pub(super) fn room_m(calm: &Calm, fix: &Place) -> f64 {
    calm.radius_m - SHARP * sigma_m(fix.accuracy_m) - distance_m(calm.center, fix.position)
}

/// How far to look for borders first: little further than the last disc reached, so that crowded places stay cheap.
pub(super) fn search_m(last: Option<&Calm>) -> f64 {
    last.map_or(SEARCH_MIN_M, |calm| (1.5 * calm.radius_m).clamp(SEARCH_MIN_M, RADIUS_MAX_M))
}

/// How far the border of a fence must be known to judge a disc of `radius_m`.
pub(super) fn look_m(fence: &Geofence, sight: &Sight, radius_m: f64) -> f64 {
    let ring_m = fence.approach_m.map_or(0.0, |approach_m| approach_m * REARM + sight.fix.accuracy_m);
    // A percent covers what the flat frame shrinks below 85 degrees of latitude.
    radius_m * 1.01 + ring_m * 1.01
}

/// The disc around the newest fix in which nothing can change, if everything is decided.
pub(super) fn settled_disc(round: &mut Round<'_>, sight: &Sight) -> Option<Calm> {
    let settled = !round.undecided && round.track.held.is_none() && round.track.marks.iter().all(|mark| mark.inside);
    if !settled {
        return None;
    }
    widen(round, sight);
    let radius_m = round.calm_m.min(RADIUS_MAX_M);
    (radius_m > 0.0).then_some(Calm { center: sight.fix.position, radius_m, generation: round.world.generation })
}

/// Looks for borders further away, as long as none limits the disc.
fn widen(round: &mut Round<'_>, sight: &Sight) {
    let regions = &round.world.regions;
    let may_widen = |round: &Round<'_>| round.calm_m >= round.searched_m && round.searched_m < RADIUS_MAX_M;
    if !may_widen(round) {
        return;
    }
    let presences = round.presences().iter();
    let mut present: Vec<(u32, PresenceState)> =
        presences.filter_map(|presence| Some((regions.place(&presence.region)?, presence.state))).collect();
    present.sort_unstable_by_key(|(place, _)| *place);
    while may_widen(round) {
        round.searched_m = (SEARCH_GROWTH * round.searched_m).min(RADIUS_MAX_M);
        let mut calm_m = round.searched_m;
        for (place, state) in &present {
            calm_m = calm_m.min(room_m_around(regions.fence(*place), Some(*state), sight, calm_m));
        }
        regions.near(&sight.site, round.searched_m, |candidate| {
            if candidate.looks_small() {
                calm_m = calm_m.min(candidate.lower_m);
            } else if candidate.lower_m < calm_m
                && present.binary_search_by_key(&candidate.place, |(place, _)| *place).is_err()
            {
                calm_m = calm_m.min(room_m_around(candidate.fence, None, sight, calm_m));
            }
        });
        round.calm_m = calm_m;
    }
}

/// The largest disc around a fix that no border of a fence crosses, nor any ring around it that counts in this state;
/// 0 if a fix at the same place, but better, could change something.
pub(super) fn room_to_m(fence: &Geofence, state: Option<PresenceState>, outlook: Outlook, sight: &Sight) -> f64 {
    let reach_m = outlook.border_m.min(RADIUS_MAX_M + fence.approach_m.unwrap_or_default() * REARM);
    let shrink = sight.site.shrink(reach_m);
    let rounding_m = if sight.site.is_polar() { CHORD_M } else { ROUNDING_M };
    let border_m = outlook.border_m * shrink - rounding_m;
    let Some(approach_m) = fence.approach_m else { return border_m };
    // The next fix measures in its own flat frame.
    let own = shrink * shrink;
    let ring_m = match state {
        Some(PresenceState::Inside) => return border_m,
        Some(PresenceState::Near) if own > 0.0 => REARM * approach_m * own - outlook.gap_m() / shrink,
        Some(PresenceState::Near) => 0.0,
        Some(PresenceState::Left) | None if own > 0.0 => outlook.gap_m() * shrink - approach_m / own,
        Some(PresenceState::Left) | None => 0.0,
    };
    border_m.min(ring_m - rounding_m).max(0.0)
}

/// The same for a fence that has not been judged.
fn room_m_around(fence: &Geofence, state: Option<PresenceState>, sight: &Sight, radius_m: f64) -> f64 {
    let outlook = fence.outlook(&sight.site, look_m(fence, sight, radius_m));
    room_to_m(fence, state, outlook, sight)
}
