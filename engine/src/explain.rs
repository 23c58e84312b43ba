//! Why a shopper did or did not get a campaign's message: every gate's answer with the numbers it saw. Decides
//! nothing and changes nothing.

use serde::Serialize;

use crate::{
    campaign::Campaign,
    decide::{Budgets, Suppression, live, message::Round},
    gates::{self, Answer, Case, GATES, Gate, Notes},
    id::{CampaignId, DeviceId, ShopperId},
    matching::Transition,
    notification::{Cause, LiveEvent, Purpose},
    order::Order,
    shopper::Shopper,
    time::Timestamp,
    world::World,
};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Which campaign.
    pub campaign: &'a CampaignId,
    /// What happened, or might happen.
    pub transition: &'a Transition,
    /// What may still be sent of campaigns with a budget.
    pub budgets: &'a Budgets,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Which campaign.
    pub campaign: CampaignId,
    /// Who.
    pub shopper: ShopperId,
    /// On which device.
    pub device: Option<DeviceId>,
    /// What is answered.
    pub cause: Cause,
    /// The moment of the decision.
    pub at: Timestamp,
    /// Whether the campaign answers this cause at all.
    pub triggered: bool,
    /// What it comes to.
    pub verdict: Verdict,
    /// Every gate, in the order in which refusals are explained.
    pub gates: Vec<GateAnswer>,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// A message would be sent.
    Send {
        /// Not before then.
        not_before: Timestamp,
        /// What it does to what the phone shows of the order all the time, if it goes there.
        #[serde(skip_serializing_if = "Option::is_none")]
        live: Option<LiveEvent>,
    },
    /// Nothing would be sent.
    Suppress {
        /// Why.
        why: Suppression,
    },
    /// The campaign does not answer this cause.
    NotTriggered,
}

/// One gate's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateAnswer {
    /// The gate.
    pub gate: &'static str,
    /// The marketer's sentence.
    pub sentence: &'static str,
    /// Whether it counts for this campaign's purpose.
    pub holds: bool,
    /// Whether it is asked when the message is decided.
    pub when_decided: bool,
    /// Whether it is asked when the message is about to be sent.
    pub when_sent: bool,
    /// `pass`, `defer` or `suppress`.
    pub answer: &'static str,
    /// Until when it defers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why it suppresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Suppression>,
    /// The numbers that it saw.
    pub saw: String,
}

/// Explains one campaign for one shopper; nothing if there is no such campaign.
pub fn campaign(world: &World, shopper: &Shopper, question: &Question<'_>) -> Option<Explanation> {
    let campaign = world.campaigns.get(question.campaign)?;
    let (round, triggered) = round(world, shopper, campaign, question);
    let case = round.case(shopper, campaign, question.budgets);
    let told = match &round.cause {
        Cause::Order { .. } => {
            case.order.and_then(|order| crate::order::already_told(order, case.campaign.spec.purpose))
        }
        Cause::Transition { .. } | Cause::Pickup { .. } => None,
    };
    let verdict = match (told, gates::judge(&case, |gate: &Gate| gate.when_decided)) {
        _ if !triggered => Verdict::NotTriggered,
        (Some(why), _) | (None, Answer::Suppress(why)) => Verdict::Suppress { why },
        (None, Answer::Pass) => outcome(&round, shopper, &case, question, question.now),
        (None, Answer::Defer(until)) => outcome(&round, shopper, &case, question, until),
    };
    Some(Explanation {
        campaign: question.campaign.clone(),
        shopper: shopper.id.clone(),
        device: case.device_id.cloned(),
        cause: round.cause.clone(),
        at: question.now,
        triggered,
        verdict,
        gates: GATES.iter().map(|gate| answer(gate, &case)).collect(),
    })
}

/// The cause that the campaign would answer, and whether it is there.
fn round<'a>(world: &'a World, shopper: &Shopper, campaign: &Campaign, question: &Question<'_>) -> (Round<'a>, bool) {
    let (transition, on) = (question.transition, &campaign.spec.on);
    let of_transition = Round::of_transition(world, shopper, transition, question.now);
    if let Some(states) = &on.order {
        let told = |order: &&Order| states.0.contains(&order.state);
        let newest = shopper.orders.values().filter(told).max_by_key(|order| order.at);
        let fits = |order: &Order| selected(&world.campaigns.on_order(order.state, order.store.as_ref()), campaign);
        return match newest {
            Some(order) => (Round::of_order(world, shopper, order, question.now), fits(order)),
            None => (of_transition, false),
        };
    }
    if on.pickup.is_some() {
        let mut arriving = std::sync::Arc::new(shopper.clone());
        let arrivals = crate::order::arrivals(world, &mut arriving, transition, question.now);
        return match arrivals.first() {
            Some(arrival) => {
                let fits = selected(&world.campaigns.on_pickup(transition.kind, &arrival.store), campaign);
                (Round::of_arrival(world, shopper, transition, arrival, question.now), fits && !transition.replayed)
            }
            None => (of_transition, false),
        };
    }
    let region = world.region(&transition.region);
    let fits = selected(&world.campaigns.on_transition(transition, region), campaign);
    (of_transition, fits && !transition.replayed)
}

fn selected(found: &[&std::sync::Arc<Campaign>], campaign: &Campaign) -> bool {
    found.iter().any(|found| found.spec.id == campaign.spec.id)
}

/// What becomes of a campaign that may speak: a more important one may, too.
fn outcome(
    round: &Round<'_>,
    shopper: &Shopper,
    case: &Case<'_>,
    question: &Question<'_>,
    not_before: Timestamp,
) -> Verdict {
    let rivals = match &round.cause {
        Cause::Transition { .. } => {
            let region = round.world.region(&question.transition.region);
            round.world.campaigns.on_transition(question.transition, region)
        }
        Cause::Order { state, .. } => {
            round.world.campaigns.on_order(*state, case.order.and_then(|order| order.store.as_ref()))
        }
        Cause::Pickup { transition, .. } => {
            let store = case.order.and_then(|order| order.store.as_ref());
            store.map(|store| round.world.campaigns.on_pickup(*transition, store)).unwrap_or_default()
        }
    };
    let purpose = case.campaign.spec.purpose;
    let above = rivals.into_iter().take_while(|rival| rival.spec.id != case.campaign.spec.id);
    for rival in above.filter(|rival| rival.spec.purpose == purpose) {
        let theirs = round.case(shopper, rival, question.budgets);
        if !matches!(gates::judge(&theirs, |gate: &Gate| gate.when_decided), Answer::Suppress(_)) {
            return Verdict::Suppress { why: crate::decide::outranked(rival) };
        }
    }
    match round.message(case, not_before) {
        crate::decide::Verdict::Send(message) => {
            Verdict::Send { not_before: message.not_before, live: shown(round.world, case) }
        }
        crate::decide::Verdict::Suppress(why) => Verdict::Suppress { why },
    }
}

/// What the news of an order does to what the phone shows of it.
fn shown(world: &World, case: &Case<'_>) -> Option<LiveEvent> {
    let (device, order) = case.device.zip(case.order)?;
    let is_news = case.campaign.spec.purpose == Purpose::Order && matches!(case.cause, Cause::Order { .. });
    let shows = is_news && world.settings.live.enabled;
    live::next(device, &order.id, &live::state(world, order), true).filter(|_| shows)
}

fn answer(gate: &Gate, case: &Case<'_>) -> GateAnswer {
    let mut notes = Notes::kept();
    let (answer, until, why) = match (gate.judge)(case, &mut notes) {
        Answer::Pass => ("pass", None, None),
        Answer::Defer(until) => ("defer", Some(until), None),
        Answer::Suppress(why) => ("suppress", None, Some(why)),
    };
    GateAnswer {
        gate: gate.name,
        sentence: gate.sentence,
        holds: gate.holds_for(case.campaign.spec.purpose),
        when_decided: gate.when_decided,
        when_sent: gate.when_sent,
        answer,
        until,
        why,
        saw: notes.text(),
    }
}

#[cfg(test)]
mod tests;
