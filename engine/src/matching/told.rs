//! One moment in which what was heard, read or noticed becomes transitions. Which zone it is, and which beacon regions,
//! is not decided here.

use std::time::Duration;

use super::{
    TransitionCause, TransitionKind,
    round::{Round, remember},
    timer,
    verdict::rounded,
};
use crate::{
    id::RegionId,
    region::{Region, RegionKind},
    shopper::{Presence, PresenceState, Radio, Stretch, Witness},
    time::Timestamp,
};

/// Of how many zones that were dwelt in and left the memory is kept; beyond it the one that was left first goes.
const LEFT_MAX: usize = 64;

/// One moment in which transitions are told.
pub(super) struct Told<'r, 'a> {
    pub(super) round: &'r mut Round<'a>,
    pub(super) at: Timestamp,
    pub(super) witness: Witness,
    pub(super) cause: TransitionCause,
}

impl Told<'_, '_> {
    pub(super) fn radio(&mut self) -> &mut Radio {
        self.round.track.radio.get_or_insert_default()
    }

    pub(super) fn inside(&self, region: &RegionId) -> Option<&Presence> {
        self.round.presence(region).filter(|presence| presence.state == PresenceState::Inside)
    }

    pub(super) fn confirm(&mut self, region: &RegionId, at: Timestamp) {
        let radio = self.radio();
        match radio.heard.iter_mut().find(|(known, _)| known == region) {
            Some((_, heard)) => *heard = at.max(*heard),
            None => radio.heard.push((region.clone(), at)),
        }
    }

    /// What was heard of regions in which the device is not need not be remembered.
    pub(super) fn forget_unheard(&mut self) {
        let mut heard = std::mem::take(&mut self.radio().heard);
        heard.retain(|(region, _)| self.inside(region).is_some());
        self.radio().heard = heard;
    }

    /// Into a region, unless it is known to have been left since; whoever has dwelt there on this visit of the shop is
    /// not to be told again.
    pub(super) fn enter(&mut self, region: &Region, confidence: f64) {
        if self.round.track.past.iter().any(|past| past.inside && past.region == region.id && past.to >= self.at) {
            return;
        }
        let dwelled = self.round.presence(&region.id).is_some_and(|presence| presence.dwelled);
        self.round.forget(&region.id);
        let (at, witness) = (self.at, self.witness);
        let presence = self.round.put(region, PresenceState::Inside, at);
        (presence.dwelled, presence.witness) = (dwelled, witness);
        self.tell(region, TransitionKind::Enter, confidence, at);
    }

    pub(super) fn exit(&mut self, region: &Region, confidence: f64) {
        let Some(presence) = self.inside(&region.id).cloned() else { return };
        self.round.forget(&region.id);
        if region.kind == RegionKind::Zone {
            let presences = self.round.presences_mut();
            presences.extend(left(&presence, self.at));
            trim_left(presences);
        } else {
            let stretch = Stretch { region: region.id.clone(), inside: true, from: presence.since, to: self.at };
            remember(self.round.track, stretch);
        }
        self.tell(region, TransitionKind::Exit, confidence, presence.since);
    }

    pub(super) fn dwell(&mut self, region: &Region, confidence: f64) {
        let Some(presence) = self.round.presence_mut(&region.id) else { return };
        if std::mem::replace(&mut presence.dwelled, true) {
            return;
        }
        let since = presence.since;
        self.tell(region, TransitionKind::Dwell, confidence, since);
    }

    /// What is so old that nobody is known to be there any more tells nobody.
    fn tell(&mut self, region: &Region, kind: TransitionKind, confidence: f64, since: Timestamp) {
        let world = self.round.world;
        let age_max = match self.cause {
            TransitionCause::Sighting => world.settings.presence.sighting_age_max,
            TransitionCause::Scan => timer::silence(world, region, self.witness),
            TransitionCause::Fix
            | TransitionCause::Crossing
            | TransitionCause::Silence
            | TransitionCause::Timer
            | TransitionCause::Timeout
            | TransitionCause::Removed => Duration::MAX,
        };
        let old = self.round.now.since(self.at) > age_max;
        let (at, cause) = (self.at, self.cause);
        let told = self.round.tell(region, kind, at);
        (told.cause, told.confidence, told.entered_at) = (cause, rounded(confidence), Some(since));
        told.replayed = old;
    }
}

/// What is remembered of a zone that was dwelt in when it is left: that it is not to be told again.
pub(super) fn left(presence: &Presence, at: Timestamp) -> Option<Presence> {
    let left = Presence { state: PresenceState::Left, since: at, seen: at, ..presence.clone() };
    presence.dwelled.then_some(left)
}

/// Puts presences in the order of their regions, and keeps of the zones that were left the newest only.
pub(super) fn trim_left(presences: &mut Vec<Presence>) {
    presences.sort_by(|a, b| a.region.cmp(&b.region));
    let is_left = |presence: &Presence| presence.state == PresenceState::Left;
    while presences.iter().filter(|presence| is_left(presence)).count() > LEFT_MAX {
        let left = presences.iter().enumerate().filter(|(_, presence)| is_left(presence));
        let Some((first, _)) = left.min_by_key(|(_, presence)| presence.since) else { return };
        presences.remove(first);
    }
}
