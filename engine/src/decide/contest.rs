//! Several campaigns answer the same cause: who may speak.

use std::sync::Arc;

use super::{Budgets, Decision, Suppression, Verdict, memory, message::Round};
use crate::{
    campaign::Campaign,
    gates::{self, Answer, Gate},
    notification::Purpose,
    shopper::Shopper,
};

pub(super) fn refuse(round: &Round<'_>, selected: &[&Arc<Campaign>], why: &Suppression) -> Vec<Decision> {
    selected.iter().map(|campaign| round.decision(campaign, Verdict::Suppress(why.clone()))).collect()
}

/// Asks all selected campaigns against the same state; the first that may speak wins for its purpose.
pub(super) fn contest(
    round: &Round<'_>,
    shopper: &mut Arc<Shopper>,
    selected: &[&Arc<Campaign>],
    budgets: &mut Budgets,
) -> Vec<Decision> {
    let mut winners: Vec<(Purpose, &Campaign)> = Vec::new();
    let mut decisions = Vec::with_capacity(selected.len());
    for campaign in selected {
        let purpose = campaign.spec.purpose;
        let case = round.case(shopper, campaign, budgets);
        let winner = winners.iter().find(|(won, _)| *won == purpose);
        let verdict = match (gates::judge(&case, |gate: &Gate| gate.when_decided), winner) {
            (Answer::Suppress(reason), _) => Verdict::Suppress(reason),
            (Answer::Pass | Answer::Defer(_), Some((_, by))) => Verdict::Suppress(outranked(by)),
            (Answer::Pass, None) => round.message(&case, case.now),
            (Answer::Defer(until), None) => round.message(&case, until),
        };
        if matches!(verdict, Verdict::Send(_)) {
            winners.push((purpose, campaign));
        }
        decisions.push(round.decision(campaign, verdict));
    }
    for decision in &decisions {
        if let Verdict::Send(notification) = &decision.verdict {
            memory::remember(round, shopper, notification, budgets);
        }
    }
    decisions
}

/// "The most important offer, and only that."
pub(crate) fn outranked(by: &Campaign) -> Suppression {
    Suppression::Outranked { by: by.spec.id.clone() }
}
