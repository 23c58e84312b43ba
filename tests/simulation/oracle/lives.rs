//! What became of every message: one end each, the end that the push service gave it, and no second copy without a
//! reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parvis::{
    report::What as Happened,
    shard::{Answer, Input},
    store::Life,
};
use parvis_engine::{
    id::{CampaignId, NotificationId, RegionId, ShopperId},
    notification::{Cause, Channel, Milestone},
    shopper::Shopper,
    time::Timestamp,
};

use super::{
    Counts, is_gone,
    story::{Sent, Story, UNDER_WAY},
};
use crate::{
    log::{Fate, Request},
    node::{ATTEMPTS_MOST, BACKOFF_LEAST, BACKOFF_MOST, LEASE},
    run::Run,
    services::PATIENCE,
};

/// A settlement is stored within this after the answer, or the node has crashed meanwhile.
const SETTLING: Duration = Duration::from_secs(60);
/// Two moments may seem so much nearer than they are.
const TICK: Duration = Duration::from_millis(50);

/// Every message whose life is not in order.
pub(super) fn broken(run: &Run, story: &Story<'_>, counts: &mut Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    for (channel, waiting) in run.sizes.waiting.iter().filter(|(_, waiting)| **waiting > 0) {
        complaints.push(format!("{waiting} messages still wait for {}", channel.name()));
    }
    let mut sent: BTreeMap<NotificationId, Vec<&Sent<'_>>> = BTreeMap::new();
    for one in &story.sent {
        sent.entry(one.request.id).or_default().push(one);
    }
    for (id, life) in &run.lives {
        counts.decided += 1;
        match life {
            Some(life) => complaints.extend(ended(story, *id, life, sent.get(id), counts)),
            None => complaints.push(format!("{id} was decided and has no life")),
        }
    }
    for (id, requests) in &sent {
        if !run.lives.contains_key(id) && !story.erased(requests[0].person) {
            complaints.push(format!("{id} was sent and never decided"));
        }
        complaints.extend(copies(story, *id, requests, counts));
    }
    complaints.extend(holdouts(run, counts));
    complaints.extend(once(run));
    complaints.extend(orders(run, story));
    complaints
}

/// One end, and the right one.
fn ended(
    story: &Story<'_>,
    id: NotificationId,
    life: &Life,
    sent: Option<&Vec<&Sent<'_>>>,
    counts: &mut Counts,
) -> Vec<String> {
    let ends: Vec<Milestone> =
        life.milestones.iter().map(|step| step.milestone).filter(|milestone| milestone.is_terminal()).collect();
    let [end] = ends[..] else { return vec![format!("{id} has the ends {ends:?}")] };
    let replies = story.replies.get(&id).map_or(&[][..], Vec::as_slice);
    let heard = |fate: fn(Fate) -> bool| replies.iter().any(|(_, _, said)| fate(*said));
    let mut complaints = Vec::new();
    let mut require = |holds: bool, what: &str| {
        if !holds {
            complaints.push(format!(
                "{id} of {} ended as {end:?}, but {what}",
                life.notification.campaign().expect("a campaign")
            ));
        }
    };
    match end {
        Milestone::Accepted => {
            counts.accepted += 1;
            require(heard(|fate| fate == Fate::Accepted), "no service has said so");
        }
        Milestone::Unregistered => {
            counts.unregistered += 1;
            require(heard(is_gone), "no service has said so");
        }
        Milestone::Dead => {
            counts.dead += 1;
            // Who gets no access token has tried all the same.
            require(life.attempts > 0, "nothing was tried");
        }
        Milestone::Expired => counts.expired += 1,
        Milestone::Suppressed => counts.suppressed_later += 1,
        Milestone::Observed | Milestone::Decided | Milestone::Stored | Milestone::Attempted => {
            require(false, "goes on")
        }
        Milestone::Opened | Milestone::Dismissed | Milestone::Redeemed => require(false, "no app is there"),
    }
    let ttl =
        crate::city::rule(life.notification.campaign().expect("a campaign").as_str()).expect("a known campaign").ttl;
    // Whoever waits for an access token, and for another after that was called too old, is under way for longer.
    let limit = life.notification.decided_at.plus(ttl).plus(2 * UNDER_WAY);
    let certain = |one: &&&Sent<'_>| !Story::any(&story.clock_set, one.at.minus(UNDER_WAY), one.at);
    let late = sent.into_iter().flatten().filter(certain).any(|one| one.told > limit);
    require(!late, "it was sent after it had lost its use");
    complaints
}

/// All requests for a message say the same, and a message that was taken is sent again only if nobody heard of it.
fn copies(story: &Story<'_>, id: NotificationId, requests: &[&Sent<'_>], counts: &mut Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    let first = requests[0].request;
    let same = |one: &&Sent<'_>| {
        let it = one.request;
        (&it.collapse, &it.campaign, &it.body) == (&first.collapse, &first.campaign, &first.body)
    };
    if !requests.iter().all(same) || requests.iter().any(|one| one.person != requests[0].person) {
        complaints.push(format!("{id} was sent with different words"));
    }
    let taken = requests.iter().filter(|one| one.fate.taken()).count();
    counts.duplicates += taken.saturating_sub(1);
    let replies = story.replies.get(&id).map_or(&[][..], Vec::as_slice);
    for (heard, _, _) in replies.iter().filter(|(_, _, fate)| *fate == Fate::Accepted) {
        if let Some(again) = requests.iter().find(|one| one.at > *heard)
            && !is_excused(story, *heard, again.at)
        {
            complaints.push(format!("{id} was accepted at {heard} and sent again at {}", again.at));
        }
    }
    for pair in requests.windows(2) {
        let [one, other] = [pair[0], pair[1]];
        let at_once = one.node != other.node && other.at.since(one.at) < LEASE.saturating_sub(UNDER_WAY);
        let answered = replies.iter().any(|(at, _, _)| one.at <= *at && *at <= other.at);
        if at_once && !answered && !story.storm.clocks_were_wrong(one.at.minus(LEASE), other.at) {
            complaints.push(format!("{id} was sent by two nodes at once, at {} and {}", one.at, other.at));
        }
    }
    complaints.extend(patience(story, id, requests, replies));
    complaints
}

/// An answer may be lost when its node ends, when the store takes no settlement before the lease is over, or when a
/// clock says that it is.
fn is_excused(story: &Story<'_>, heard: Timestamp, again: Timestamp) -> bool {
    let ended = Story::any(&story.ends, heard, heard.plus(SETTLING));
    ended
        || story.storm.was_away_long(heard, heard.plus(SETTLING))
        || story.storm.clocks_were_wrong(heard.minus(LEASE), again)
}

/// After a failure the next attempt comes neither too soon nor too late, and there is an end to it.
fn patience(
    story: &Story<'_>,
    id: NotificationId,
    requests: &[&Sent<'_>],
    replies: &[(Timestamp, &Request, Fate)],
) -> Vec<String> {
    let mut complaints = Vec::new();
    let rule = requests[0].rule;
    let unheard = replies.iter().filter(|(_, _, fate)| *fate == Fate::Lost);
    let unheard = unheard.map(|(at, request, _)| (at.minus(PATIENCE), request.channel));
    let mut attempts: Vec<(Timestamp, Channel)> = requests.iter().map(|one| (one.at, one.request.channel)).collect();
    attempts.extend(unheard);
    attempts.sort_unstable();
    for (heard, request, fate) in replies {
        let asked = match fate {
            Fate::Throttled(wait_s) => Duration::from_secs(*wait_s),
            Fate::Broken | Fate::Lost | Fate::AcceptedUnheard => Duration::ZERO,
            Fate::Accepted | Fate::Gone | Fate::Refused | Fate::Stale => continue,
        };
        let Some((next, channel)) = attempts.iter().find(|(at, _)| at > heard) else { continue };
        if Story::any(&story.trouble, heard.minus(LEASE), *next) || story.storm.clocks_were_wrong(*heard, *next) {
            continue;
        }
        let waited = next.since(*heard);
        if waited.saturating_add(TICK + story.storm.skew()) < asked.max(BACKOFF_LEAST) {
            complaints.push(format!("{id} failed at {heard} with {fate:?} and was tried again after {waited:?}"));
        }
        // A message that may be sent at any time waits for nothing else, nor does one that needs no access token.
        let free = rule.quiet.is_none() && *channel != Channel::Fcm && request.channel == *channel;
        let slow = story.storm.store_is_slow(*heard) || story.storm.store_is_slow(*next);
        if free && !slow && waited > BACKOFF_MOST.max(asked.mul_f64(1.1)) + UNDER_WAY / 2 {
            complaints.push(format!("{id} failed at {heard} with {fate:?} and waited for {waited:?}"));
        }
    }
    let counted = requests.iter().filter(|one| one.fate != Fate::Stale).count();
    let (first, last) = (requests[0].at, requests[requests.len() - 1].at);
    if counted > ATTEMPTS_MOST && !is_excused(story, first.minus(LEASE), last) && !Story::any(&story.ends, first, last)
    {
        complaints.push(format!("{id} was sent {counted} times"));
    }
    complaints
}

/// Who is held out of a campaign once is held out always.
fn holdouts(run: &Run, counts: &mut Counts) -> Vec<String> {
    let mut held: BTreeSet<(String, &ShopperId)> = BTreeSet::new();
    let mut spoken: BTreeSet<(String, &ShopperId)> = BTreeSet::new();
    for (_, event) in &run.recorded {
        let Happened::Decision { campaign, suppressed, notification, .. } = &event.what else { continue };
        if let Some(why) = suppressed {
            counts.refusals.insert(why.name().to_owned());
            if why.name() == "holdout" {
                held.insert((campaign.to_string(), &event.shopper));
            }
        }
        if notification.is_some() {
            spoken.insert((campaign.to_string(), &event.shopper));
        }
    }
    held.intersection(&spoken)
        .map(|(campaign, shopper)| format!("{shopper} is held out of {campaign}, mostly"))
        .collect()
}

/// One message of a campaign for one crossing of a border, at the most.
fn once(run: &Run) -> Vec<String> {
    let mut crossings: BTreeMap<(&ShopperId, &RegionId, &str), usize> = BTreeMap::new();
    let mut spoken: BTreeMap<(&ShopperId, &RegionId, &str, &CampaignId), BTreeSet<NotificationId>> = BTreeMap::new();
    for (_, event) in &run.recorded {
        match &event.what {
            Happened::Transition(it) if !it.replayed => {
                *crossings.entry((&event.shopper, &it.region, it.kind.name())).or_default() += 1;
            }
            Happened::Decision { campaign, cause: Cause::Transition { transition, region }, notification, .. } => {
                let place = (&event.shopper, region, transition.name(), campaign);
                spoken.entry(place).or_default().extend(notification);
            }
            Happened::Transition(_)
            | Happened::Decision { .. }
            | Happened::Milestone { .. }
            | Happened::Order { .. }
            | Happened::Arrival(_) => {}
        }
    }
    let too_often = spoken.iter().filter(|((shopper, region, kind, _), ids)| {
        ids.len() > crossings.get(&(*shopper, *region, *kind)).copied().unwrap_or(0)
    });
    too_often.map(|(place, ids)| format!("{place:?} was answered {} times", ids.len())).collect()
}

/// Each state of an order is told once, and what an answer promised is there, then and in the end.
fn orders(run: &Run, story: &Story<'_>) -> Vec<String> {
    let mut told: BTreeMap<(usize, &str), BTreeSet<NotificationId>> = BTreeMap::new();
    for one in story.sent.iter().filter(|one| one.rule.id == "order-news" && !story.erased(one.person)) {
        told.entry((one.person, &one.request.body)).or_default().insert(one.request.id);
    }
    let twice = told.iter().filter(|(_, ids)| ids.len() > 1);
    let mut complaints: Vec<String> =
        twice.map(|((_, news), ids)| format!("{news:?} was told {} times", ids.len())).collect();
    for (person, done) in
        story.done.iter().enumerate().flat_map(|(person, done)| done.iter().map(move |it| (person, it)))
    {
        let (Input::Order { order, event }, Answer::Order { .. }) = (&done.step.input, done.answer) else { continue };
        let knows =
            |shopper: &Shopper| shopper.orders.get(order).is_some_and(|known| known.events.contains_key(&event.event));
        let forgotten = story.erased(person);
        let last = &run.known[&done.step.shopper].shopper;
        if !forgotten && (!knows(&done.seen.shopper) || !knows(last)) {
            complaints.push(format!("{} of {order} was answered at {} and is not stored", event.event, done.answered));
        }
    }
    complaints
}
