//! What a shopper remembers of messages: as far back as any cap looks, and never without end.

use std::sync::Arc;

use super::{Budgets, message::Round};
use crate::{
    notification::{Notification, Origin},
    shopper::{Send, Shopper},
};

/// The fewest sends that are remembered of every shopper, so that a person can see what was sent.
const SENDS_MIN: usize = 50;
/// The most sends that are remembered; more than all caps of a campaign and of the house can count together.
const SENDS_MAX: usize = 1_000;

/// Counts a message at once, against caps and against its campaign's budget. It is never given back: the safe side is
/// the quiet side. Deciding the same again counts nothing.
pub(super) fn remember(
    round: &Round<'_>,
    shopper: &mut Arc<Shopper>,
    notification: &Notification,
    budgets: &mut Budgets,
) {
    if shopper.sends.iter().any(|send| send.notification == notification.id) {
        return;
    }
    let Origin::Campaign { campaign, purpose, .. } = &notification.origin else { return };
    if let Some(left) = budgets.get_mut(campaign) {
        *left = left.saturating_sub(1);
    }
    let global = round.world.settings.marketing.caps.iter().map(|cap| cap.per.reach()).max().unwrap_or_default();
    let horizon = round.now.minus(global.max(round.world.campaigns.look_back()));
    let sends = &mut Arc::make_mut(shopper).sends;
    sends.push(Send {
        at: notification.decided_at,
        not_before: notification.not_before,
        notification: notification.id,
        campaign: campaign.clone(),
        purpose: *purpose,
    });
    let kept_for_people = sends.len().saturating_sub(SENDS_MIN);
    let too_many = sends.len().saturating_sub(SENDS_MAX);
    let mut at = 0;
    sends.retain(|send| {
        at += 1;
        at > too_many && (at > kept_for_people || send.at.max(send.not_before) > horizon)
    });
}
