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
    id::{NotificationId, ShopperId},
    notification::Milestone,
};

use super::{
    Counts, is_gone,
    story::{Sent, Story, UNDER_WAY},
};
use crate::{log::Fate, run::Run};

/// A settlement is stored within this after the answer, or the node has crashed meanwhile.
const SETTLING: Duration = Duration::from_secs(60);

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
    complaints.extend(orders(story));
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
            complaints.push(format!("{id} of {} ended as {end:?}, but {what}", life.notification.campaign));
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
    let ttl = crate::city::rule(life.notification.campaign.as_str()).expect("a known campaign").ttl;
    let limit = life.notification.decided_at.plus(ttl).plus(UNDER_WAY);
    let late = sent.into_iter().flatten().any(|one| one.at > limit);
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
    let accepted = |fate: Fate| fate == Fate::Accepted;
    let heard = story.replies.get(&id).into_iter().flatten().find(|(_, _, fate)| accepted(*fate)).map(|(at, _, _)| *at);
    if let Some(heard) = heard
        && let Some(again) = requests.iter().find(|one| one.at > heard)
    {
        let excused = story.cuts.iter().any(|cut| heard <= *cut && *cut <= heard.plus(SETTLING));
        if !excused {
            complaints.push(format!("{id} was accepted at {heard} and sent again at {}", again.at));
        }
    }
    complaints
}

/// Who is held out of a campaign once is held out always.
fn holdouts(run: &Run, counts: &mut Counts) -> Vec<String> {
    let mut held: BTreeSet<(String, &ShopperId)> = BTreeSet::new();
    let mut spoken: BTreeSet<(String, &ShopperId)> = BTreeSet::new();
    for event in &run.journal {
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

/// Each state of an order is told once, and what an answer promised is there.
fn orders(story: &Story<'_>) -> Vec<String> {
    let mut told: BTreeMap<(usize, &str), BTreeSet<NotificationId>> = BTreeMap::new();
    for one in story.sent.iter().filter(|one| one.rule.id == "order-news" && !story.erased(one.person)) {
        told.entry((one.person, &one.request.body)).or_default().insert(one.request.id);
    }
    let twice = told.iter().filter(|(_, ids)| ids.len() > 1);
    let mut complaints: Vec<String> =
        twice.map(|((_, news), ids)| format!("{news:?} was told {} times", ids.len())).collect();
    for done in story.done.iter().flatten() {
        if let (Input::Order { order, event }, Answer::Order { .. }) = (&done.step.input, done.answer)
            && !done.seen.shopper.orders.get(order).is_some_and(|known| known.events.contains_key(&event.event))
        {
            complaints.push(format!("{} of {order} was answered at {} and is not stored", event.event, done.answered));
        }
    }
    complaints
}
