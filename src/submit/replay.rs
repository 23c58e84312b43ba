//! A message that was given up is tried anew: as a new message, once however often it is asked for.

use std::time::Duration;

use parvis_engine::{
    decide::{self, Wanted},
    id::NotificationId,
    notification::{Body, Milestone, Notification, Recipient},
    shopper::Shopper,
    time::Timestamp,
    world::World,
};

use crate::store::Life;

/// Why a message is not tried anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It was not given up: it waits, or has ended in this other way.
    NotDead(Option<Milestone>),
    /// The device is gone or can't be reached any more.
    NoTarget,
    /// It would not be sent, for this reason.
    Unwanted(&'static str),
}

impl Spent {
    /// The name in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Spent::NotDead(_) => "not_dead",
            Spent::NoTarget => "no_target",
            Spent::Unwanted(reason) => reason,
        }
    }
}

/// The message that tries a dead one anew, with `ttl` or as long a life as that one had from now on.
///
/// # Errors
/// Why it is not tried.
pub fn replay(
    life: &Life,
    shopper: &Shopper,
    world: &World,
    ttl: Option<Duration>,
    now: Timestamp,
) -> Result<Notification, Spent> {
    let end = life.milestones.iter().find(|step| step.milestone.is_terminal());
    let dead = end.filter(|step| step.milestone == Milestone::Dead);
    let Some(dead) = dead else { return Err(Spent::NotDead(end.map(|step| step.milestone))) };
    let old = &life.notification;
    let (channel, app) = match &old.recipient {
        Recipient::Address(_) | Recipient::Endpoint(_) => (old.channel, old.app.clone()),
        Recipient::Device(id) => {
            let device = shopper.devices.get(id);
            let place = device.and_then(|device| Some((device.target.as_ref()?.channel(), device.app())));
            let place = place.ok_or(Spent::NoTarget)?;
            // What the phone shows all the time has an address of its own, of the same service.
            if matches!(old.body, Body::Live(_)) { (old.channel, old.app.clone()) } else { place }
        }
    };
    let span = ttl.unwrap_or_else(|| old.expires_at.since(old.not_before.max(old.observed_at)));
    let anew = Notification {
        // When it was given up stays what it is, so that a repeat gives the same id.
        id: NotificationId::derive(dead.at, &old.shopper, &["replay", &old.id.to_string()]),
        replays: Some(old.id),
        channel,
        app,
        decided_at: now,
        not_before: now,
        expires_at: now.plus(span),
        ..old.clone()
    };
    match decide::still_wanted(world, shopper, &anew, now) {
        Wanted::Yes | Wanted::NotBefore(_) => Ok(anew),
        Wanted::No(reason) => Err(Spent::Unwanted(reason.name())),
    }
}
