//! One cause, seen by every campaign that it triggers: the case that the gates judge, and the message that comes of
//! it.

use crate::{
    campaign::{Campaign, Collapse},
    content::facts::Facts,
    decide::{Budgets, Decision, Suppression, Verdict},
    gates::Case,
    id::{DeviceId, NotificationId, OrderId, RegionId, stable_hash},
    matching::{Transition, TransitionKind},
    notification::{Body, Cause, Channel, Notification, Origin, Recipient},
    order::{Arrival, Order},
    region::Region,
    shopper::{Device, Shopper},
    store::Store,
    time::Timestamp,
    world::World,
};

pub(crate) struct Round<'a> {
    pub(crate) world: &'a World,
    pub(crate) now: Timestamp,
    pub(crate) cause: Cause,
    device: Option<DeviceId>,
    region: Option<&'a Region>,
    store: Option<&'a Store>,
    observed_at: Timestamp,
    /// What tells this visit from the next one.
    visit: Timestamp,
    channel: Option<Channel>,
}

impl<'a> Round<'a> {
    /// A tag gets no messages: what it causes goes to the shopper's preferred device.
    pub(crate) fn of_transition(
        world: &'a World,
        shopper: &Shopper,
        transition: &Transition,
        now: Timestamp,
    ) -> Round<'a> {
        let is_tag = world.registry.tag(&transition.device).is_some();
        let device = if is_tag { preferred(shopper).cloned() } else { Some(transition.device.clone()) };
        let region = world.region(&transition.region);
        let store = transition.store.as_ref().or_else(|| region.and_then(|region| region.store.as_ref()));
        Round {
            world,
            now,
            cause: Cause::Transition { transition: transition.kind, region: transition.region.clone() },
            device,
            region,
            store: store.and_then(|store| world.stores.get(store)).map(std::convert::AsRef::as_ref),
            observed_at: transition.at,
            visit: transition.entered_at.unwrap_or(transition.at),
            channel: None,
        }
    }

    /// The phone that is there hears of the pick-up if it can be reached, else the preferred device.
    pub(crate) fn of_arrival(
        world: &'a World,
        shopper: &Shopper,
        transition: &Transition,
        arrival: &Arrival,
        now: Timestamp,
    ) -> Round<'a> {
        let round = Round::of_transition(world, shopper, transition, now);
        let (order, region) = (arrival.order.clone(), transition.region.clone());
        let there = shopper.devices.get(&transition.device).is_some_and(|device| device.target.is_some());
        Round {
            cause: Cause::Pickup { order, transition: transition.kind, region },
            device: if there { round.device } else { preferred(shopper).cloned() },
            store: world.stores.get(&arrival.store).map(std::convert::AsRef::as_ref),
            ..round
        }
    }

    pub(crate) fn of_order(world: &'a World, shopper: &Shopper, order: &Order, now: Timestamp) -> Round<'a> {
        Round {
            world,
            now,
            cause: Cause::Order { order: order.id.clone(), state: order.state },
            device: preferred(shopper).cloned(),
            region: None,
            store: order.store.as_ref().and_then(|id| world.stores.get(id)).map(std::convert::AsRef::as_ref),
            observed_at: order.at,
            visit: order.at,
            channel: None,
        }
    }

    pub(crate) fn of_notification(
        world: &'a World,
        shopper: &Shopper,
        (notification, cause): (&Notification, &Cause),
        now: Timestamp,
    ) -> Round<'a> {
        let (region, _, order) = parts(cause);
        let region = region.and_then(|region| world.region(region));
        let of_order = order.and_then(|order| shopper.orders.get(order)).and_then(|order| order.store.as_ref());
        let store = of_order.or_else(|| region.and_then(|region| region.store.as_ref()));
        Round {
            world,
            now,
            cause: cause.clone(),
            device: notification.device().cloned(),
            region,
            store: store.and_then(|store| world.stores.get(store)).map(std::convert::AsRef::as_ref),
            observed_at: notification.observed_at,
            visit: notification.observed_at,
            channel: Some(notification.channel),
        }
    }

    pub(crate) fn case<'c>(&'c self, shopper: &'c Shopper, campaign: &'c Campaign, budgets: &Budgets) -> Case<'c> {
        let (_, _, order) = parts(&self.cause);
        Case {
            world: self.world,
            shopper,
            campaign,
            cause: &self.cause,
            device_id: self.device.as_ref(),
            device: self.device.as_ref().and_then(|id| shopper.devices.get(id)),
            channel: self.channel,
            store: self.store,
            region: self.region,
            order: order.and_then(|order| shopper.orders.get(order)),
            observed_at: self.observed_at,
            expires_at: self.observed_at.plus(campaign.ttl),
            budget_left: budgets.get(&campaign.spec.id).copied().unwrap_or(0),
            now: self.now,
        }
    }

    pub(crate) fn decision(&self, campaign: &Campaign, verdict: Verdict) -> Decision {
        let cause = self.cause.clone();
        Decision { campaign: campaign.spec.id.clone(), device: self.device.clone(), cause, verdict }
    }

    pub(crate) fn message(&self, case: &Case<'_>, not_before: Timestamp) -> Verdict {
        let (region, transition, _) = parts(&self.cause);
        let facts = Facts { case, region, transition };
        let profile = &case.shopper.profile;
        let wanted = [case.device.and_then(|device| device.locale.as_deref()), profile.locale.as_deref()];
        let target = case.device.and_then(|device| device.target.as_ref()).zip(case.device_id);
        let rendered = case.campaign.templates.render(&wanted, &facts);
        let (content, (target, device)) = match (rendered, target) {
            (Ok(content), Some(target)) => (content, target),
            (Err(detail), _) => return Verdict::Suppress(unrenderable(detail)),
            (Ok(_), None) => return Verdict::Suppress(unrenderable("nobody to send it to".to_owned())),
        };
        Verdict::Send(Box::new(Notification {
            id: self.id(case),
            shopper: case.shopper.id.clone(),
            recipient: Recipient::Device(device.clone()),
            channel: target.channel(),
            app: case.device.map(Device::app).unwrap_or_default(),
            origin: Origin::Campaign {
                campaign: case.campaign.spec.id.clone(),
                purpose: case.campaign.spec.purpose,
                cause: self.cause.clone(),
            },
            replays: None,
            body: Body::Content(content),
            collapse: collapse(case),
            observed_at: case.observed_at,
            decided_at: case.now,
            not_before,
            expires_at: case.expires_at,
        }))
    }

    fn id(&self, case: &Case<'_>) -> NotificationId {
        let (campaign, shopper) = (case.campaign.spec.id.as_str(), &case.shopper.id);
        let device = case.device_id.map_or("", DeviceId::as_str);
        let visit = self.visit.as_millis().to_string();
        let (kind, place, what) = match &self.cause {
            Cause::Transition { transition, region } => ("transition", region.as_str(), transition.name()),
            Cause::Order { order, state } => ("order", order.as_str(), state.name()),
            Cause::Pickup { order, transition, .. } => ("pickup", order.as_str(), transition.name()),
        };
        // Two delays may have one time and differ in what they expect.
        let expected = match &self.cause {
            Cause::Order { .. } => case.order.and_then(|order| order.eta),
            Cause::Transition { .. } | Cause::Pickup { .. } => None,
        };
        let expected = expected.map_or_else(String::new, |eta| eta.as_millis().to_string());
        let parts = [kind, campaign, shopper.as_str(), device, place, what, &visit, &expected];
        NotificationId::derive(self.observed_at, shopper, &parts)
    }
}

/// The device that order news goes to: of those that can be reached the preferred one, else the one that registered
/// last.
pub(crate) fn preferred(shopper: &Shopper) -> Option<&DeviceId> {
    let rank = |device: &Device| (device.target.is_some(), device.preferred, device.registered_at);
    shopper.devices.iter().max_by_key(|(_, device)| rank(device)).map(|(id, _)| id)
}

pub(crate) fn parts(cause: &Cause) -> (Option<&RegionId>, Option<TransitionKind>, Option<&OrderId>) {
    match cause {
        Cause::Transition { transition, region } => (Some(region), Some(*transition), None),
        Cause::Order { order, .. } => (None, None, Some(order)),
        Cause::Pickup { order, transition, region } => (Some(region), Some(*transition), Some(order)),
    }
}

fn unrenderable(detail: String) -> Suppression {
    Suppression::Unrenderable { detail }
}

/// Eleven base64url characters, the same on every node.
fn collapse(case: &Case<'_>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (shopper, campaign) = (case.shopper.id.as_str(), case.campaign.spec.id.as_str());
    let store = case.store.map_or("", |store| store.spec.id.as_str());
    let order = case.order.map_or("", |order| order.id.as_str());
    let hash = match case.campaign.collapse {
        Collapse::Campaign => stable_hash(&["campaign", campaign, shopper]),
        Collapse::Store => stable_hash(&["store", store, shopper]),
        Collapse::Order => stable_hash(&["order", order, shopper]),
    };
    (0..11).map(|at| char::from(ALPHABET[(hash >> (6 * at)) as usize & 63])).collect()
}
