//! From transitions and order news to decisions.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    id::{CampaignId, DeviceId, OrderId},
    matching::Transition,
    notification::{Cause, Notification},
    order::OrderEvent,
    shopper::Shopper,
    time::Timestamp,
    world::World,
};

/// Rules that hold for every campaign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

/// What may still be sent of each campaign that has a budget: the slices that this shard has leased.
pub type Budgets = BTreeMap<CampaignId, u64>;

/// What was decided for one campaign, one device and one cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// By which campaign.
    pub campaign: CampaignId,
    /// For which device.
    pub device: DeviceId,
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

/// Why a message is not sent. The name is part of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Suppression {
    /// The shopper did not consent to this purpose.
    NoConsent,
}

/// Decides for all campaigns that these transitions trigger. Sends are remembered in the shopper.
pub fn campaigns(
    _world: &World,
    _shopper: &mut Arc<Shopper>,
    _transitions: &[Transition],
    _budgets: &mut Budgets,
    _now: Timestamp,
) -> Vec<Decision> {
    Vec::new()
}

/// Takes an order event into the shopper's orders and decides who is to be told.
pub fn order(
    _world: &World,
    _shopper: &mut Arc<Shopper>,
    _order: &OrderId,
    _event: &OrderEvent,
    _now: Timestamp,
) -> Vec<Decision> {
    Vec::new()
}

/// Whether a stored message is still to be sent when its turn has come.
///
/// # Errors
/// Why it is not.
pub fn still_wanted(
    _world: &World,
    _shopper: &Shopper,
    _notification: &Notification,
    _now: Timestamp,
) -> Result<(), Suppression> {
    Ok(())
}
