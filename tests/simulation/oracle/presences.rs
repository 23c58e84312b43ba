//! Whatever was answered is in the store, and where people are is where they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parvis::{
    report::What as Happened,
    shard::{Answer, Input},
};
use parvis_engine::{
    id::DeviceId,
    matching::{Transition, TransitionKind},
    observation::{Fix, Observation},
    shopper::PresenceState,
    time::Timestamp,
};

use super::{
    Counts,
    story::{Done, Story, token},
};
use crate::{
    city::{self, Fence, offset_m},
    run::Run,
};

/// Every answer that the store does not bear out, and every visit out of order.
pub(super) fn broken(run: &Run, story: &Story<'_>, counts: &mut Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    for person in 0..story.done.len() {
        complaints.extend(answered(run, story, person));
        complaints.extend(located(story, person));
    }
    complaints.extend(visits(run, story, counts));
    complaints.extend(run.inside.iter().map(|left| format!("nobody was heard of for long, and {left}")));
    complaints
}

fn answered(run: &Run, story: &Story<'_>, person: usize) -> Vec<String> {
    let mut complaints = Vec::new();
    let done = &story.done[person];
    for (at, one) in done.iter().enumerate() {
        let shopper = &one.step.shopper;
        let forgotten =
            done[at..].iter().any(|later| matches!(later.step.input, Input::Erase) && later.step.shopper == *shopper);
        if let Answer::Observed(observed) = one.answer
            && !forgotten
        {
            let recorded = |transition: &Transition| {
                let same = |event: &&parvis::report::Event| event.what == Happened::Transition(transition.clone());
                run.journal.iter().filter(|event| event.shopper == *shopper).any(|event| same(&event))
            };
            let lost = observed.transitions.iter().find(|transition| !recorded(transition));
            complaints.extend(lost.map(|lost| format!("{shopper}: answered and not recorded: {lost:?}")));
        }
        if !is_stored(story, one) {
            complaints.push(format!("{shopper}: answered at {} and not stored: {:?}", one.answered, one.step.input));
        }
    }
    complaints
}

fn is_stored(story: &Story<'_>, done: &Done<'_>) -> bool {
    let shopper = &done.seen.shopper;
    match &done.step.input {
        Input::Profile(profile) => shopper.profile == *profile,
        Input::Register { device, registration } => {
            let name = token(registration.target.as_ref());
            let gone = story.plan.gone.get(&name).is_some_and(|gone| *gone <= done.answered);
            let known = shopper.devices.get(device);
            known.is_some_and(|known| gone || known.target == registration.target)
        }
        Input::Deregister { device } => !shopper.devices.contains_key(device),
        Input::Erase => done.seen.version == 0 && shopper.devices.is_empty() && shopper.sends.is_empty(),
        Input::Observed { .. } | Input::Order { .. } => true,
        Input::Wake | Input::Signal(_) | Input::Unregistered { .. } => true,
    }
}

/// After an answer whose newest fix leaves no doubt, the store says inside or outside as plain geometry does.
fn located(story: &Story<'_>, person: usize) -> Vec<String> {
    let fences = city::fences();
    let mut known: BTreeMap<&DeviceId, Vec<Fix>> = BTreeMap::new();
    let mut complaints = Vec::new();
    for done in &story.done[person] {
        let (Input::Observed { device, observations }, Answer::Observed(observed)) = (&done.step.input, done.answer)
        else {
            continue;
        };
        let taken = observations.iter().zip(&observed.results).filter(|(_, result)| result.is_ok());
        let fixes: Vec<Fix> = taken.filter_map(|(observation, _)| fix(observation)).collect();
        let before = known.entry(device).or_default();
        let newest_before = before.iter().map(|fix| fix.at).max();
        before.extend(&fixes);
        before.sort_by_key(|fix| fix.at);
        let Some(newest) = fixes.iter().max_by_key(|fix| fix.at) else { continue };
        if newest_before.is_none_or(|before| before < newest.at) && plausible(before) {
            complaints.extend(doubts(&fences, done, device, newest));
        }
    }
    complaints
}

fn fix(observation: &Observation) -> Option<Fix> {
    if let Observation::Fix(fix) = observation { Some(*fix) } else { None }
}

/// Nobody has jumped lately; after a jump the service waits for a second fix.
fn plausible(fixes: &[Fix]) -> bool {
    let newest = fixes.last().map_or(Timestamp::MIN, |fix| fix.at);
    let lately = fixes.iter().filter(|fix| newest.since(fix.at) < Duration::from_secs(1_800)).collect::<Vec<_>>();
    lately.windows(2).all(|pair| {
        let (east, north) = offset_m(pair[0].position, pair[1].position);
        east.hypot(north) <= 60.0 * pair[1].at.since(pair[0].at).as_secs_f64()
    })
}

fn doubts(fences: &[Fence], done: &Done<'_>, device: &DeviceId, newest: &Fix) -> Vec<String> {
    let Some(known) = done.seen.shopper.devices.get(device) else { return Vec::new() };
    let sure_m = 3.0 * newest.accuracy_m + 2.0;
    let wrong = fences.iter().filter(|fence| {
        let depth_m = fence.depth_m(newest.position);
        let mut presences = known.presences.iter();
        let inside = presences.any(|it| it.region.as_str() == fence.id && it.state == PresenceState::Inside);
        depth_m.abs() > sure_m && inside != (depth_m > 0.0)
    });
    wrong.map(|fence| format!("{device} at {}: {newest:?} and {} do not agree", done.answered, fence.id)).collect()
}

/// Enter and exit take turns for each device and region, dwell lies between; a new beginning may cut a visit short.
fn visits(run: &Run, story: &Story<'_>, counts: &mut Counts) -> Vec<String> {
    let mut inside: BTreeMap<(DeviceId, String), (bool, bool, Timestamp)> = BTreeMap::new();
    let mut complaints = Vec::new();
    let beginnings = beginnings(story);
    let mut recorded = BTreeSet::new();
    for event in &run.journal {
        let Happened::Transition(transition) = &event.what else { continue };
        counts.transitions += 1;
        if !recorded.insert(format!("{transition:?}")) {
            complaints.push(format!("{} {} is recorded twice: {transition:?}", event.recorded_at, event.shopper));
        }
        if transition.replayed {
            continue;
        }
        let key = (transition.device.clone(), transition.region.to_string());
        let before = inside.get(&key).copied().filter(|(_, _, at)| {
            let anew = beginnings.get(&transition.device).into_iter().flatten();
            !anew.clone().any(|(asked, answered)| at <= answered && *asked <= event.recorded_at)
        });
        let sound = match (transition.kind, before) {
            (TransitionKind::Enter, Some((is_inside, _, _))) => !is_inside,
            (TransitionKind::Exit, Some((is_inside, _, _))) => is_inside,
            (TransitionKind::Dwell, Some((is_inside, dwelled, _))) => is_inside && !dwelled,
            (TransitionKind::Pass | TransitionKind::Approach, Some((is_inside, _, _))) => !is_inside,
            (_, None) => true,
        };
        if !sound {
            complaints.push(format!("{} {} after {before:?}: {transition:?}", event.recorded_at, event.shopper));
        }
        let (was_inside, dwelled, _) = before.unwrap_or((false, false, event.recorded_at));
        let after = match transition.kind {
            TransitionKind::Enter => (true, false),
            TransitionKind::Exit => (false, false),
            TransitionKind::Dwell => (true, true),
            TransitionKind::Pass | TransitionKind::Approach => (was_inside, dwelled),
        };
        inside.insert(key, (after.0, after.1, event.recorded_at));
    }
    complaints
}

/// When presences may have ended silently: profiles without consent, erasures, registrations.
fn beginnings(story: &Story<'_>) -> BTreeMap<DeviceId, Vec<(Timestamp, Timestamp)>> {
    let mut beginnings: BTreeMap<DeviceId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for (device, person) in story.plan.targets.values().map(|(person, device)| (device, *person)) {
        for done in &story.done[person] {
            let anew = match &done.step.input {
                Input::Profile(profile) => !profile.consents.allow_location(),
                Input::Erase => true,
                Input::Register { device: of, .. } | Input::Deregister { device: of } => of == device,
                Input::Observed { .. } | Input::Wake | Input::Order { .. } => false,
                Input::Signal(_) | Input::Unregistered { .. } => false,
            };
            if anew {
                beginnings.entry(device.clone()).or_default().push((done.asked, done.answered));
            }
        }
    }
    beginnings
}
