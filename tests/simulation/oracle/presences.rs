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
    shopper::{PresenceState, Shopper},
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

/// A timer fires within this.
const TIMER: Duration = Duration::from_secs(30);
/// What a wrong clock has ended or begun may last for so long.
const WRONG_CLOCKS: Duration = Duration::from_secs(3_600);

/// Every answer that the store does not bear out, and every visit out of order.
pub(super) fn broken(run: &Run, story: &Story<'_>, counts: &mut Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    let beginnings = beginnings(story);
    complaints.extend(answered(run, story));
    complaints.extend(in_the_end(run, story));
    complaints.extend(located(story, &beginnings));
    complaints.extend(visits((run, story), &beginnings, counts));
    complaints.extend(run.inside.iter().map(|left| format!("nobody was heard of for long, and {left}")));
    complaints
}

fn answered(run: &Run, story: &Story<'_>) -> Vec<String> {
    let mut recorded: BTreeMap<&DeviceId, Vec<&Transition>> = BTreeMap::new();
    for (_, event) in &run.recorded {
        if let Happened::Transition(transition) = &event.what {
            recorded.entry(&transition.device).or_default().push(transition);
        }
    }
    let mut complaints = Vec::new();
    for one in story.done.iter().flatten() {
        let shopper = &one.step.shopper;
        if let Answer::Observed(observed) = one.answer {
            let is_lost = |it: &&Transition| !recorded.get(&it.device).is_some_and(|known| known.contains(it));
            let lost = observed.transitions.iter().find(is_lost);
            complaints.extend(lost.map(|lost| format!("{shopper}: answered and not recorded: {lost:?}")));
        }
        if !is_stored(story, one, &one.seen.shopper) {
            complaints.push(format!("{shopper}: answered at {} and not stored: {:?}", one.answered, one.step.input));
        }
    }
    if story.unanswered() > 0 {
        complaints.push(format!("{} questions were never answered", story.unanswered()));
    }
    complaints
}

/// What people said last is what is known in the end, and the journal has all of it.
fn in_the_end(run: &Run, story: &Story<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    for done in &story.done {
        let mut last: BTreeMap<&str, &Done<'_>> = BTreeMap::new();
        for one in done {
            match &one.step.input {
                Input::Profile(_) => drop(last.insert("", one)),
                Input::Register { device, .. } | Input::Deregister { device } if !is_shared(device) => {
                    last.insert(device.as_str(), one);
                }
                Input::Erase => last.clear(),
                Input::Register { .. } | Input::Deregister { .. } | Input::Observed { .. } | Input::Wake => {}
                Input::Order { .. } | Input::Signal(_) | Input::Unregistered { .. } | Input::Live { .. } => {}
            }
        }
        for one in last.values() {
            if !is_stored(story, one, &run.known[&one.step.shopper].shopper) {
                complaints
                    .push(format!("in the end, {} is not known any more: {:?}", one.step.shopper, one.step.input));
            }
        }
    }
    let erased: BTreeSet<_> = (0..story.done.len()).filter(|person| story.erased(*person)).collect();
    let erased: BTreeSet<_> = erased.into_iter().map(|person| &story.plan.people[person].id).collect();
    let mut recorded: Vec<_> = run.recorded.iter().map(|(_, event)| event).collect();
    recorded.retain(|event| !erased.contains(&event.shopper));
    recorded.sort_by_key(|event| event.recorded_at);
    let journal: Vec<_> = run.journal.iter().filter(|event| !erased.contains(&event.shopper)).collect();
    if recorded != journal {
        let parting = recorded.iter().zip(&journal).find(|(one, other)| one != other);
        let (one, other) = (recorded.len(), journal.len());
        complaints.push(format!("{one} events were stored, the journal has {other}, they part at {parting:?}"));
    }
    complaints
}

fn is_shared(device: &DeviceId) -> bool {
    device.as_str().starts_with("tablet")
}

fn is_stored(story: &Story<'_>, done: &Done<'_>, shopper: &Shopper) -> bool {
    match &done.step.input {
        Input::Profile(profile) => shopper.profile == *profile,
        // Somebody else may have taken it before anybody could look.
        Input::Register { device, .. } if is_shared(device) => true,
        Input::Register { device, registration } => {
            let name = token(registration.target.as_ref());
            let gone = story.plan.gone.get(&name).is_some_and(|gone| *gone <= done.answered);
            let known = shopper.devices.get(device);
            known.is_some_and(|known| gone || known.target == registration.target)
        }
        Input::Deregister { device } => !shopper.devices.contains_key(device),
        Input::Erase => shopper.devices.is_empty() && shopper.sends.is_empty(),
        Input::Observed { .. } | Input::Order { .. } => true,
        Input::Wake | Input::Signal(_) | Input::Unregistered { .. } | Input::Live { .. } => true,
    }
}

/// After an answer whose newest fix leaves no doubt, the store says inside or outside as plain geometry does.
fn located(story: &Story<'_>, beginnings: &Beginnings) -> Vec<String> {
    let fences = city::fences();
    let mut known: BTreeMap<&DeviceId, Vec<Fix>> = BTreeMap::new();
    let mut complaints = Vec::new();
    for done in story.done.iter().flatten() {
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
        let mut anew = beginnings.get(device).into_iter().flatten();
        let unclear = anew.any(|(asked, answered)| *asked <= done.answered && done.asked <= *answered)
            || story.storm.clocks_were_wrong(done.asked.minus(WRONG_CLOCKS), done.answered);
        if newest_before.is_none_or(|before| before < newest.at) && plausible(before) && !unclear {
            let popup = story.popup(done.asked, done.answered).map(city::popup);
            complaints.extend(doubts(fences.iter().chain(&popup), done, device, newest));
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

fn doubts<'f>(
    fences: impl Iterator<Item = &'f Fence>,
    done: &Done<'_>,
    device: &DeviceId,
    newest: &Fix,
) -> Vec<String> {
    let Some(known) = done.seen.shopper.devices.get(device) else { return Vec::new() };
    let sure_m = 3.0 * newest.accuracy_m + 2.0;
    let wrong = fences.filter(|fence| {
        let depth_m = fence.depth_m(newest.position);
        let mut presences = known.presences.iter();
        let inside = presences.any(|it| it.region.as_str() == fence.id && it.state == PresenceState::Inside);
        depth_m.abs() > sure_m && inside != (depth_m > 0.0)
    });
    wrong.map(|fence| format!("{device} at {}: {newest:?} and {} do not agree", done.answered, fence.id)).collect()
}

/// Enter and exit take turns for each device and region, dwell lies between; a new beginning may cut a visit short.
fn visits((run, story): (&Run, &Story<'_>), beginnings: &Beginnings, counts: &mut Counts) -> Vec<String> {
    let mut inside: BTreeMap<(DeviceId, String), (bool, bool, Timestamp)> = BTreeMap::new();
    let mut complaints = Vec::new();
    let mut recorded = BTreeSet::new();
    for (at, event) in &run.recorded {
        let Happened::Transition(transition) = &event.what else { continue };
        counts.transitions += 1;
        let again = !recorded.insert(format!("{transition:?}"));
        // Which late fixes were told of already is known to one of several nodes.
        if again && !(transition.replayed && run.storm.nodes > 1) {
            complaints.push(format!("{} {} is recorded twice: {transition:?}", event.recorded_at, event.shopper));
        }
        if transition.replayed {
            continue;
        }
        let key = (transition.device.clone(), transition.region.to_string());
        let before = inside.get(&key).copied().filter(|(_, _, before)| {
            let mut anew = beginnings.get(&transition.device).into_iter().flatten();
            !anew.any(|(asked, answered)| before <= answered && asked <= at)
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
        if let (TransitionKind::Dwell, Some((true, _, entered))) = (transition.kind, before)
            && is_late(story, entered, transition.at, *at)
        {
            complaints.push(format!("{at} {}: nobody looked when it was time: {transition:?}", event.shopper));
        }
        let (was_inside, dwelled, _) = before.unwrap_or((false, false, *at));
        let after = match transition.kind {
            TransitionKind::Enter => (true, false),
            TransitionKind::Exit => (false, false),
            TransitionKind::Dwell => (true, true),
            TransitionKind::Pass | TransitionKind::Approach => (was_inside, dwelled),
        };
        inside.insert(key, (after.0, after.1, *at));
    }
    complaints
}

/// Whether a timer should have fired long before something was recorded, and nothing has kept it from that.
fn is_late(story: &Story<'_>, set: Timestamp, due: Timestamp, recorded: Timestamp) -> bool {
    let at_the_latest = due.plus(TIMER);
    let (from, until) = (due.minus(TIMER), at_the_latest);
    set < from
        && at_the_latest < recorded
        && !Story::any(&story.trouble, from, until)
        && !story.storm.clocks_were_wrong(from, until)
}

/// By device: from the asking to the answer.
type Beginnings = BTreeMap<DeviceId, Vec<(Timestamp, Timestamp)>>;

/// When presences may have ended silently: profiles without consent, erasures, registrations.
fn beginnings(story: &Story<'_>) -> Beginnings {
    let mut beginnings = Beginnings::new();
    let of: BTreeSet<(&DeviceId, usize)> =
        story.plan.targets.values().map(|(person, device)| (device, *person)).collect();
    for (device, person) in of {
        for done in &story.done[person] {
            let anew = match &done.step.input {
                Input::Profile(profile) => !profile.consents.allow_location(),
                Input::Erase => true,
                Input::Register { device: of, .. } | Input::Deregister { device: of } => of == device,
                Input::Observed { .. } | Input::Wake | Input::Order { .. } => false,
                Input::Signal(_) | Input::Unregistered { .. } | Input::Live { .. } => false,
            };
            if anew {
                beginnings.entry(device.clone()).or_default().push((done.asked, done.answered));
            }
        }
    }
    beginnings
}
