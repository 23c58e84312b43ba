//! One movement of one device: judges the regions it may be about and applies what they are told.

use super::{
    MARKS_MAX, Matched, Subject, Transition, TransitionCause, TransitionKind, beacon_region, calm,
    verdict::{Sight, Verdict, rounded},
};
use crate::{
    id::{DeviceId, RegionId},
    observation::{Crossing, Edge, Place},
    region::{Geofence, Region, gaussian::half_plane, index::REARM},
    shopper::{Mark, Presence, PresenceState, Stretch, Track, Witness},
    time::Timestamp,
    world::World,
};

/// How sure a phone's own geofencing is taken to be.
pub(super) const CROSSING_CONFIDENCE: f64 = 0.9;

/// How many stretches of the recent past are kept of one device.
const PAST_MAX: usize = 16;

pub(super) struct Round<'a> {
    pub(super) world: &'a World,
    pub(super) device: &'a DeviceId,
    pub(super) before: &'a [Presence],
    after: Option<Vec<Presence>>,
    pub(super) track: &'a mut Track,
    pub(super) now: Timestamp,
    transitions: Vec<Transition>,
    /// The last word, outside, on every region without a mark and a presence.
    implied_at: Timestamp,
    /// Whether the fix at hand is the newest and not only one of the newest time.
    newest: bool,
    pub(super) undecided: bool,
    /// The radius of the disc around the fix at hand that no border crosses, as far as is known.
    pub(super) calm_m: f64,
    /// How far borders were looked for.
    pub(super) searched_m: f64,
}

/// A decisive word on one region.
struct Word<'s> {
    at: Timestamp,
    inside: bool,
    /// The fix that says so; none if the phone noticed a crossing.
    sight: Option<&'s Sight>,
    /// Whether a device that leaves by this word is still too near to approach again.
    lingers: bool,
}

impl<'a> Round<'a> {
    pub(super) fn new(world: &'a World, subject: Subject<'a>, now: Timestamp) -> Round<'a> {
        // Where nothing volatile is known, at least nobody re-enters by what happened before they were told to leave.
        if subject.track.settled_at.is_none() && subject.track.marks.is_empty() {
            subject.track.settled_at = subject.left_at;
        }
        Round {
            world,
            device: subject.device,
            before: subject.presences,
            after: None,
            implied_at: subject.track.settled_at.unwrap_or(Timestamp::MIN),
            track: subject.track,
            now,
            transitions: Vec::new(),
            newest: false,
            undecided: false,
            calm_m: 0.0,
            searched_m: 0.0,
        }
    }

    /// A fix in the disc in which nothing changes: it confirms what is known.
    pub(super) fn stay(&mut self, fix: &Place) {
        self.track.settled_at = self.track.settled_at.max(Some(fix.at));
        if !self.track.marks.is_empty() {
            self.track.marks.iter_mut().for_each(|mark| mark.decided_at = mark.decided_at.max(fix.at));
        }
    }

    /// A fix anywhere. Only `newest` approaches and passes.
    pub(super) fn observe(&mut self, fix: &Place, newest: bool) {
        let sight = Sight::new(fix, self.world);
        let told = self.transitions.len();
        self.implied_at = self.track.settled_at.unwrap_or(Timestamp::MIN);
        if fix.at >= self.implied_at {
            self.track.settled_at = Some(fix.at);
        }
        self.newest = newest;
        self.undecided = false;
        self.calm_m = if newest { calm::search_m(self.track.calm.as_ref()).max(sight.outside_m) } else { 0.0 };
        self.searched_m = self.calm_m;
        let radius_m = self.calm_m.max(sight.outside_m);
        let known = self.weigh_known(&sight);
        let world = self.world;
        world.regions.near(&sight.site, radius_m, |candidate| {
            let silent = candidate.lower_m > 0.0 && candidate.lower_m >= sight.outside_m;
            let beyond = silent && candidate.lower_m >= self.calm_m;
            if silent && candidate.looks_small() {
                self.calm_m = self.calm_m.min(candidate.lower_m);
            } else if !beyond && known.binary_search(&candidate.place).is_err() {
                self.weigh(candidate.fence, &sight, false);
            }
        });
        if newest {
            self.track.calm = calm::settled_disc(self, &sight);
        } else if self.undecided || self.transitions.len() > told {
            self.track.calm = None;
        }
    }

    /// A crossing that the phone noticed. It says nothing of where the device is otherwise.
    pub(super) fn crossed(&mut self, crossing: &Crossing) {
        let world = self.world;
        let Some(fence) = world.regions.get(&crossing.region) else {
            return beacon_region::crossed(self, crossing);
        };
        self.track.calm = None;
        self.hear(fence, &Word { at: crossing.at, inside: crossing.edge == Edge::Enter, sight: None, lingers: true });
    }

    pub(super) fn finish(mut self) -> Matched {
        let timeout = self.world.settings.presence.timeout;
        let quiet = |presence: &Presence, track: &Track| {
            presence.witness == Witness::Position && seen(presence, track).since(presence.seen) > timeout / 4
        };
        if self.after.is_some() || self.before.iter().any(|presence| quiet(presence, self.track)) {
            let mut presences = self.after.take().unwrap_or_else(|| self.before.to_vec());
            for presence in &mut presences {
                presence.seen = seen(presence, self.track);
            }
            self.after = Some(presences);
        }
        // Who steps from one fence into the next leaves before entering.
        let rank = |it: &Transition| (it.at, it.kind != TransitionKind::Exit);
        self.transitions.sort_by(|a, b| (rank(a), &a.region, a.kind).cmp(&(rank(b), &b.region, b.kind)));
        Matched { transitions: self.transitions, presences: self.after }
    }

    pub(super) fn presence(&self, region: &RegionId) -> Option<&Presence> {
        self.presences().iter().find(|presence| presence.region == *region)
    }

    pub(super) fn presence_mut(&mut self, region: &RegionId) -> Option<&mut Presence> {
        self.presence(region)?;
        self.presences_mut().iter_mut().find(|presence| presence.region == *region)
    }

    pub(super) fn presences(&self) -> &[Presence] {
        self.after.as_deref().unwrap_or(self.before)
    }

    pub(super) fn presences_mut(&mut self) -> &mut Vec<Presence> {
        self.after.get_or_insert_with(|| self.before.to_vec())
    }

    pub(super) fn tell(&mut self, region: &Region, kind: TransitionKind, at: Timestamp) -> &mut Transition {
        self.transitions.push(Transition {
            kind,
            device: self.device.clone(),
            region: region.id.clone(),
            region_kind: region.kind,
            store: region.store.clone(),
            at,
            received_at: self.now,
            confidence: 1.0,
            cause: TransitionCause::Fix,
            entered_at: None,
            replayed: false,
        });
        let last = self.transitions.len() - 1;
        &mut self.transitions[last]
    }

    fn tell_word(&mut self, fence: &Geofence, kind: TransitionKind, word: &Word<'_>) -> &mut Transition {
        let (cause, confidence) = match word.sight {
            Some(sight) => (TransitionCause::Fix, sight.confidence(fence, word.inside)),
            None => (TransitionCause::Crossing, CROSSING_CONFIDENCE),
        };
        let told = self.tell(&fence.region, kind, word.at);
        (told.cause, told.confidence) = (cause, confidence);
        told
    }

    /// Regions that something is known of are judged wherever they are; all others are outside if they are not near.
    /// Gives their places, sorted.
    fn weigh_known(&mut self, sight: &Sight) -> Vec<u32> {
        let regions = &self.world.regions;
        let presences = self.before.iter().chain(self.after.iter().flatten());
        let mut known: Vec<u32> = presences.filter_map(|presence| regions.place(&presence.region)).collect();
        if !self.track.marks.is_empty() {
            self.track.marks.retain(|mark| {
                let place = regions.place(&mark.region);
                known.extend(place);
                place.is_some()
            });
        }
        known.sort_unstable();
        known.dedup();
        for place in &known {
            self.weigh(regions.fence(*place), sight, true);
        }
        known
    }

    /// Judges a fence. Being outside is known already of each that nothing is known of.
    fn weigh(&mut self, fence: &Geofence, sight: &Sight, known: bool) {
        let verdict = sight.judge(fence, &self.world.settings.presence, calm::look_m(fence, sight, self.calm_m));
        let gap_m = verdict.outlook.gap_m();
        match verdict.inside {
            Some(false) if !known => {}
            Some(inside) => {
                let lingers = fence.approach_m.is_some_and(|near_m| gap_m - sight.fix.accuracy_m <= REARM * near_m);
                self.hear(fence, &Word { at: sight.fix.at, inside, sight: Some(sight), lingers });
            }
            None => self.remain_undecided(fence, sight.fix.at),
        }
        if self.newest {
            self.weigh_approach(fence, sight, &verdict);
            let state = self.presence(&fence.region.id).map(|presence| presence.state);
            self.calm_m = self.calm_m.min(calm::room_to_m(fence, state, verdict.outlook, sight));
        }
    }

    fn hear(&mut self, fence: &Geofence, word: &Word<'_>) {
        let visit = self.visit(&fence.region.id);
        let decided_at = self.decided_at(&fence.region.id);
        let inside = visit.is_some();
        if (word.at, word.inside) <= (decided_at, inside) {
            // The newest fix is overruled by another of its time: the next one will decide, wherever it is.
            self.undecided |= self.newest && word.inside != inside;
            if word.inside != inside && word.at < decided_at {
                self.replay(fence, word, visit);
            }
            return;
        }
        self.decide(&fence.region.id, word);
        if word.inside && !inside {
            self.enter(fence, word);
        } else if let (false, Some(since)) = (word.inside, visit) {
            self.exit(fence, word, since);
        }
    }

    /// When the present visit began, if there is one.
    fn visit(&self, region: &RegionId) -> Option<Timestamp> {
        self.presence(region).filter(|presence| presence.state == PresenceState::Inside).map(|presence| presence.since)
    }

    /// The time of the last decisive word on a region.
    fn decided_at(&self, region: &RegionId) -> Timestamp {
        match (self.mark(region), self.presence(region)) {
            (Ok(at), _) => self.track.marks[at].decided_at,
            (Err(_), Some(presence)) if presence.state == PresenceState::Inside => presence.seen,
            (Err(_), _) => self.implied_at,
        }
    }

    fn mark(&self, region: &RegionId) -> Result<usize, usize> {
        self.track.marks.binary_search_by(|mark| mark.region.cmp(region))
    }

    fn decide(&mut self, region: &RegionId, word: &Word<'_>) {
        let implied = !word.inside && self.track.settled_at == Some(word.at);
        match self.mark(region) {
            Ok(at) if implied => {
                self.track.marks.remove(at);
            }
            Ok(at) => {
                self.track.marks[at].decided_at = word.at;
                self.track.marks[at].inside = word.inside;
            }
            Err(_) if implied => {}
            Err(at) => {
                let mark = Mark { region: region.clone(), decided_at: word.at, inside: word.inside };
                self.track.marks.insert(at, mark);
            }
        }
    }

    fn remain_undecided(&mut self, fence: &Geofence, at: Timestamp) {
        self.undecided = true;
        let becomes_newest = self.track.settled_at == Some(at);
        let Err(place) = self.mark(&fence.region.id) else { return };
        if becomes_newest && self.track.marks.len() < MARKS_MAX {
            let decided_at = self.decided_at(&fence.region.id);
            let inside = self.visit(&fence.region.id).is_some();
            self.track.marks.insert(place, Mark { region: fence.region.id.clone(), decided_at, inside });
        }
    }

    fn enter(&mut self, fence: &Geofence, word: &Word<'_>) {
        self.forget(&fence.region.id);
        self.put(&fence.region, PresenceState::Inside, word.at);
        let told = self.tell_word(fence, TransitionKind::Enter, word);
        told.entered_at = Some(word.at);
    }

    fn exit(&mut self, fence: &Geofence, word: &Word<'_>, since: Timestamp) {
        self.forget(&fence.region.id);
        if word.lingers && fence.approach_m.is_some() {
            self.put(&fence.region, PresenceState::Near, word.at);
        }
        remember(self.track, Stretch { region: fence.region.id.clone(), inside: true, from: since, to: word.at });
        let told = self.tell_word(fence, TransitionKind::Exit, word);
        told.entered_at = Some(since);
    }

    /// A word that would have been a transition, had not newer ones come before it. Each stretch of time is told once.
    fn replay(&mut self, fence: &Geofence, word: &Word<'_>, visit: Option<Timestamp>) {
        if visit.is_some_and(|since| word.at <= since) {
            return;
        }
        let known = |stretch: &&mut Stretch| stretch.region == fence.region.id && stretch.inside == word.inside;
        if let Some(stretch) = self.track.past.iter_mut().rev().find(known) {
            stretch.from = stretch.from.min(word.at);
            stretch.to = stretch.to.max(word.at);
            return;
        }
        remember(
            self.track,
            Stretch { region: fence.region.id.clone(), inside: word.inside, from: word.at, to: word.at },
        );
        let kind = if word.inside { TransitionKind::Enter } else { TransitionKind::Exit };
        let told = self.tell_word(fence, kind, word);
        told.entered_at = Some(visit.unwrap_or(word.at));
        told.replayed = true;
    }

    /// Approaching counts once, until the device has gone clearly further away again or has been inside.
    fn weigh_approach(&mut self, fence: &Geofence, sight: &Sight, verdict: &Verdict) {
        let Some(approach_m) = fence.approach_m else { return };
        let gap_m = verdict.outlook.gap_m();
        match self.presence(&fence.region.id).map(|presence| presence.state) {
            Some(PresenceState::Inside | PresenceState::Left) => {}
            Some(PresenceState::Near) => {
                if gap_m - sight.fix.accuracy_m > REARM * approach_m {
                    self.forget(&fence.region.id);
                }
            }
            None => {
                if gap_m <= approach_m && sight.fix.accuracy_m <= approach_m {
                    self.put(&fence.region, PresenceState::Near, sight.fix.at);
                    // The ring's border is taken for straight.
                    let sure = if sight.sigma_m > 0.0 { half_plane((gap_m - approach_m) / sight.sigma_m) } else { 1.0 };
                    self.tell(&fence.region, TransitionKind::Approach, sight.fix.at).confidence = rounded(sure);
                }
            }
        }
    }

    pub(super) fn put(&mut self, region: &Region, state: PresenceState, since: Timestamp) -> &mut Presence {
        let presences = self.presences_mut();
        let place = presences.partition_point(|presence| presence.region < region.id);
        let (region, witness) = (region.id.clone(), Witness::Position);
        presences.insert(place, Presence { region, state, since, seen: since, dwelled: false, witness });
        &mut presences[place]
    }

    pub(super) fn forget(&mut self, region: &RegionId) {
        if self.presence(region).is_some() {
            self.presences_mut().retain(|presence| presence.region != *region);
        }
    }
}

/// Keeps a stretch on record, and the newest few only.
pub(super) fn remember(track: &mut Track, stretch: Stretch) {
    if track.past.len() >= PAST_MAX {
        track.past.remove(0);
    }
    track.past.push(stretch);
}

/// When a device was last heard of in this state: every fix that does not end a presence confirms it.
pub(super) fn seen(presence: &Presence, track: &Track) -> Timestamp {
    if presence.witness != Witness::Position {
        let heard = track.radio.as_ref().and_then(|radio| radio.heard_at(&presence.region));
        return heard.map_or(presence.seen, |heard| heard.max(presence.seen));
    }
    let marked = track.marks.iter().find(|mark| mark.inside && mark.region == presence.region);
    let heard = track.settled_at.max(marked.map(|mark| mark.decided_at));
    heard.map_or(presence.seen, |heard| heard.max(presence.seen))
}
