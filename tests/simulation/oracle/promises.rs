//! What marketing and shoppers were promised, checked at the push services: quiet hours, caps, cooldown, holdout,
//! budget, consent, expiry, and that nobody calls a target that is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::tz::TimeZone;
use parvis::shard::Input;
use parvis_engine::{
    id::{NotificationId, ShopperId},
    time::Timestamp,
};

use super::{
    is_gone,
    story::{SPREADING, Sent, Standing, Story, UNDER_WAY},
};
use crate::{city, log::Amendment};

/// From the moment at which a message is due until its first request arrives, at the most: all attempts with their
/// waits, and nodes that are down.
const DELAY: Duration = Duration::from_secs(1_800);
/// A gone target is removed by a commit, which a store that is away holds up.
const REMOVAL: Duration = Duration::from_secs(180);

/// Every promise that was broken.
pub(super) fn broken(story: &Story<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    for sent in &story.sent {
        let problems = [quiet(story, sent), closed(story, sent), consent(story, sent), target(story, sent)];
        complaints.extend(problems.into_iter().flatten().map(|problem| format!("{}: {problem}", shown(sent))));
    }
    complaints.extend(gone(story));
    let offers = offers(story);
    for (shopper, offers) in &offers {
        complaints.extend(caps(story, shopper, offers));
        complaints.extend(cooldowns(story, shopper, offers));
    }
    complaints.extend(merged(story, &offers));
    complaints.extend(budgets(story));
    complaints.extend(amended(story));
    complaints
}

fn shown(sent: &Sent<'_>) -> String {
    let Sent { at, request, .. } = sent;
    format!("{at} {} {} {} {:?}", request.channel.name(), request.campaign, request.id, request.body)
}

fn within(hours: (i8, i8), at: Timestamp, zone: &str) -> bool {
    let hour = at.in_zone(&TimeZone::get(zone).expect("a zone")).hour();
    let (from, to) = hours;
    if from < to { from <= hour && hour < to } else { hour >= from || hour < to }
}

/// True if it held, by the clock of the node, when the request arrived and when the message was judged, whenever that
/// was; false if the clock was set in between.
fn throughout(story: &Story<'_>, sent: &Sent<'_>, holds: impl Fn(Timestamp) -> bool) -> bool {
    let certain = !Story::any(&story.clock_set, sent.at.minus(UNDER_WAY), sent.at);
    certain && holds(sent.told) && holds(sent.told.minus(UNDER_WAY))
}

fn quiet(story: &Story<'_>, sent: &Sent<'_>) -> Option<String> {
    let zone = story.plan.people[sent.person].zone;
    let quiet = sent.rule.quiet?;
    throughout(story, sent, |at| within(quiet, at, zone)).then(|| format!("in quiet hours of {zone}"))
}

fn closed(story: &Story<'_>, sent: &Sent<'_>) -> Option<String> {
    let closed = |at| !within(city::OPEN, at, "Europe/Paris");
    (sent.rule.store_hours && throughout(story, sent, closed)).then(|| "while the shop is closed".to_owned())
}

/// No is no from the answer to it until somebody asks for something else.
fn consent(story: &Story<'_>, sent: &Sent<'_>) -> Option<String> {
    let person = &story.plan.people[sent.person];
    let judged = sent.at.minus(UNDER_WAY);
    let owner = |at| match story.standing(sent.device, at) {
        Standing::Owned { shopper, .. } => Some(shopper),
        Standing::Unknown { .. } | Standing::Unclear => None,
    };
    if owner(sent.at).as_ref() != Some(&person.id) || owner(judged).as_ref() != Some(&person.id) {
        return None;
    }
    let mut refused = None;
    for done in &story.done[sent.person] {
        if done.asked > sent.at && matches!(done.step.input, Input::Profile(_) | Input::Erase) {
            break;
        }
        // Who is forgotten has said nothing; what a phone allowed that comes to them then is theirs.
        if matches!(done.step.input, Input::Erase) {
            refused = None;
        }
        let Input::Profile(profile) = &done.step.input else { continue };
        let said = |consent: &Option<parvis_engine::shopper::Consent>| consent.as_ref().is_some_and(|it| it.granted);
        let consents = &profile.consents;
        let pickup = sent.rule.id == "pickup-here";
        let located = (!sent.rule.offer && !pickup) || said(&consents.location);
        let agreed = located && said(if sent.rule.offer { &consents.offers } else { &consents.orders });
        refused = (!agreed && done.answered <= judged).then_some(done.answered);
    }
    refused.map(|since| format!("without consent since {since}"))
}

/// The request goes to the target that the device has, as far as that is certain.
fn target(story: &Story<'_>, sent: &Sent<'_>) -> Option<String> {
    match story.standing(sent.device, sent.at) {
        Standing::Owned { target, since, .. } if since.plus(UNDER_WAY) < sent.at => {
            (target != sent.request.target).then(|| format!("to an old target, replaced at {since}"))
        }
        Standing::Unknown { since } if since.plus(UNDER_WAY) < sent.at => {
            Some(format!("to a device that is unknown since {since}"))
        }
        Standing::Owned { .. } | Standing::Unknown { .. } | Standing::Unclear => None,
    }
}

/// Once a node was told that a target is gone, it does not call it again, unless it crashed before that was stored.
fn gone(story: &Story<'_>) -> Vec<String> {
    let mut told: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (at, request, _) in story.replies.values().flatten().filter(|(_, _, fate)| is_gone(*fate)) {
        let first = told.entry(&request.target).or_insert(*at);
        *first = (*first).min(*at);
    }
    let mut complaints = Vec::new();
    for sent in &story.sent {
        let Some(first) = told.get(sent.request.target.as_str()) else { continue };
        let crashed = Story::any(&story.ends, *first, first.plus(REMOVAL));
        let Standing::Owned { since, .. } = story.standing(sent.device, sent.at) else { continue };
        let known_before = story.plan.gone.get(&sent.request.target).is_some_and(|gone| since < *gone);
        if sent.at > first.plus(REMOVAL) && !crashed && known_before {
            complaints.push(format!("{}: its target was called gone at {first}", shown(sent)));
        }
    }
    complaints
}

/// By shopper and life.
type Offers<'a> = BTreeMap<(ShopperId, usize), Vec<(Timestamp, &'a Sent<'a>)>>;

/// When each offer arrived first, by shopper, in order. What arrives around an erasure is left out: nobody can say
/// which life it belongs to; lives are told apart by their number.
fn offers<'a>(story: &'a Story<'_>) -> Offers<'a> {
    let mut offers = Offers::new();
    let mut known: BTreeSet<NotificationId> = BTreeSet::new();
    for sent in story.sent.iter().filter(|sent| sent.rule.offer) {
        if !known.insert(sent.request.id) {
            continue;
        }
        let Standing::Owned { shopper, .. } = story.standing(sent.device, sent.at) else { continue };
        let erasures = story.done[sent.person].iter().filter(|done| matches!(done.step.input, Input::Erase));
        let mut life = 0;
        let mut unclear = false;
        for erasure in erasures {
            unclear |= erasure.asked <= sent.at && sent.at <= erasure.answered.plus(UNDER_WAY);
            life += usize::from(erasure.answered <= sent.at);
        }
        if !unclear {
            offers.entry((shopper, life)).or_default().push((sent.at, sent));
        }
    }
    offers
}

fn caps(story: &Story<'_>, shopper: &(ShopperId, usize), offers: &[(Timestamp, &Sent<'_>)]) -> Vec<String> {
    let (count, span) = city::CAP;
    let mut complaints = Vec::new();
    for window in offers.windows(count + 1) {
        let (first, last) = (window[0].0, window[count].0);
        if last.since(first) < span.saturating_sub(DELAY).saturating_sub(story.blur()) {
            complaints.push(format!("{shopper:?}: {} offers from {first} to {last}", count + 1));
        }
    }
    let mut days: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (at, sent) in offers {
        // A message of an evening may arrive shortly after midnight; nobody can say which day it belongs to.
        if let (Some(most), true) = (sent.rule.per_day, *at == sent.at) {
            let zone = if sent.person % 2 == 0 { city::ZONES[0] } else { city::ZONES[1] };
            let local = at.in_zone(&TimeZone::get(zone).expect("a zone"));
            let sent_today = days.entry((sent.rule.id, local.date().to_string())).or_default();
            *sent_today += 1;
            if *sent_today > most {
                complaints.push(format!("{shopper:?}: {sent_today} of {} on {}", sent.rule.id, local.date()));
            }
        }
    }
    complaints
}

fn cooldowns(story: &Story<'_>, shopper: &(ShopperId, usize), offers: &[(Timestamp, &Sent<'_>)]) -> Vec<String> {
    let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut complaints = Vec::new();
    for (at, sent) in offers {
        let before = last.insert(sent.rule.id, *at);
        if let (Some(before), Some(pause)) = (before, sent.rule.cooldown)
            && at.since(before) < pause.saturating_sub(DELAY).saturating_sub(story.blur())
        {
            complaints.push(format!("{shopper:?}: {} at {before} and at {at}", sent.rule.id));
        }
    }
    complaints
}

/// What a phone was sent before anybody claimed it counts for whoever has.
fn merged(story: &Story<'_>, offers: &Offers<'_>) -> Vec<String> {
    let (count, span) = city::CAP;
    let slack = DELAY + story.blur();
    let mut complaints = Vec::new();
    for (person, done) in story.done.iter().enumerate().filter(|(person, _)| !story.erased(*person)) {
        let owner = &story.plan.people[person].id;
        let own = offers.get(&(owner.clone(), 0)).map_or(&[][..], Vec::as_slice);
        for claim in done {
            let Input::Register { device, registration } = &claim.step.input else { continue };
            let before = offers.get(&(ShopperId::anonymous(device), 0)).map_or(&[][..], Vec::as_slice);
            if registration.shopper.is_none() || before.is_empty() {
                continue;
            }
            for (at, _) in own.iter().filter(|(at, _)| claim.answered.plus(slack) < *at) {
                let counts = |then: &Timestamp| *then < *at && at.since(*then) < span.saturating_sub(slack);
                let before = before.iter().filter(|(then, _)| counts(then) && *then < claim.asked);
                let since = own.iter().filter(|(then, _)| counts(then));
                let known = before.count() + since.count();
                if known >= count {
                    complaints.push(format!("{owner}: an offer at {at} after {known}, some of them to {device}"));
                }
            }
        }
    }
    complaints
}

fn budgets(story: &Story<'_>) -> Vec<String> {
    let mut sent: BTreeMap<&str, BTreeSet<NotificationId>> = BTreeMap::new();
    for one in &story.sent {
        sent.entry(one.rule.id).or_default().insert(one.request.id);
    }
    let over = |(campaign, ids): (&&str, &BTreeSet<NotificationId>)| {
        let total = city::rule(campaign)?.budget?;
        (ids.len() > total).then(|| format!("{} of {campaign} sent, {total} were paid for", ids.len()))
    };
    sent.iter().filter_map(over).collect()
}

/// A campaign that is paused through one node is silent on all of them, and nobody spends more than the budget ever was.
fn amended(story: &Story<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut most, mut raffled) = (0, BTreeSet::new());
    for sent in &story.sent {
        let mut asked = story.amendments.iter().filter(|(asked, _, _)| *asked <= sent.at);
        match sent.rule.id {
            city::RAFFLE => {
                raffled.insert(sent.request.id);
                let totals = asked.filter_map(|(_, _, change)| match change {
                    Amendment::Allows(total) => Some(*total),
                    Amendment::Speaks(_) | Amendment::Stands(_) => None,
                });
                most = totals.max().unwrap_or(0);
            }
            city::FLASH => {
                let last = asked.rfind(|(_, _, change)| matches!(change, Amendment::Speaks(_)));
                if let Some((_, answered, Amendment::Speaks(false))) = last
                    && answered.plus(SPREADING).plus(UNDER_WAY) < sent.at
                {
                    complaints.push(format!("{}: paused at {answered}", shown(sent)));
                }
            }
            _ => {}
        }
    }
    if raffled.len() as u64 > most {
        complaints.push(format!("{} of {} sent, {most} were paid for at the most", raffled.len(), city::RAFFLE));
    }
    complaints
}
