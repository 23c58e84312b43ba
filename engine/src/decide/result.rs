//! What deciding comes to.

use super::Suppression;
use crate::{
    id::{CampaignId, DeviceId, NotificationId},
    notification::{Cause, Notification},
    order::{Arrival, Change},
    time::Timestamp,
};

/// What was decided for one campaign, one device and one cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// By which campaign.
    pub campaign: CampaignId,
    /// For which device; none if the shopper has none.
    pub device: Option<DeviceId>,
    /// What it answers.
    pub cause: Cause,
    /// The result.
    pub verdict: Verdict,
}

/// The result of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// To be sent now, or from its `not_before` on.
    Send(Box<Notification>),
    /// Not to be sent.
    Suppress(Suppression),
}

/// What transitions led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// One for each campaign and cause, the most important campaign first.
    pub decisions: Vec<Decision>,
    /// Shoppers who come for their orders, for the staff.
    pub arrivals: Vec<Arrival>,
}

/// What an order event led to.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderTaken {
    /// What it changed.
    pub change: Change,
    /// One for each campaign, the most important first.
    pub decisions: Vec<Decision>,
    /// The messages that the event led to, also if it was taken before.
    pub notifications: Vec<NotificationId>,
}

impl Verdict {
    /// The message, if there is one.
    pub fn message(&self) -> Option<&Notification> {
        match self {
            Verdict::Send(message) => Some(message),
            Verdict::Suppress(_) => None,
        }
    }
}

/// Whether a stored message is still to be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Now.
    Yes,
    /// Quiet hours have begun: not before then.
    NotBefore(Timestamp),
    /// No longer.
    No(Suppression),
}
