//! What phones show of an order all the time: when that begins, changes and ends. It follows the news that campaigns
//! tell, which is told once: with the activity where there is one, else by a plain message.

mod settings;

use std::sync::Arc;

pub use self::settings::Settings;
use super::{
    Decision, Suppression, Verdict,
    message::{self, Round, preferred},
};
use crate::{
    campaign::Campaign,
    gates::{self, Answer, Gate},
    id::{DeviceId, EventId, NotificationId, OrderId},
    notification::{Body, Content, Live, LiveEvent, LiveState, Notification, Purpose},
    order::{self, Order, OrderState},
    shopper::{Activity, Device, PushTarget, Shopper},
    time::Timestamp,
    world::World,
};

/// An hour, for the budget of urgent changes.
const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What every device is to be shown of an order.
struct Step<'a> {
    world: &'a World,
    order: &'a Order,
    state: LiveState,
    /// Names what led to it, so that deciding twice gives the same messages.
    trigger: String,
    now: Timestamp,
}

/// What phones are shown of an order that an event has changed. News among the decisions takes the form of what it is
/// shown by; what is shown without words is added.
pub(super) fn follow(
    world: &World,
    shopper: &mut Arc<Shopper>,
    (order, event): (&OrderId, &EventId),
    decisions: &mut Vec<Decision>,
    now: Timestamp,
) {
    if !world.settings.live.enabled || shopper.devices.values().all(|device| device.live.is_none()) {
        return;
    }
    forget(shopper, now);
    let Some(order) = shopper.orders.get(order).cloned() else { return };
    let step = Step { world, order: &order, state: state(world, &order), trigger: event.to_string(), now };
    let following = shopper.devices.iter().filter(|(_, device)| device.live.is_some());
    for device in following.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
        let news = decisions.iter_mut().find_map(|decision| news_for(decision, &device));
        match news {
            Some(message) => step.tell(shopper, &device, message),
            None => decisions.extend(step.show(shopper, &device)),
        }
    }
}

/// What a device is to be shown at once whose app has just reported how.
pub fn catch_up(
    world: &World,
    shopper: &mut Arc<Shopper>,
    (device, order): (&DeviceId, &OrderId),
    now: Timestamp,
) -> Option<Decision> {
    let order = shopper.orders.get(order).filter(|_| world.settings.live.enabled)?.clone();
    let trigger = format!("token {}", now.as_millis());
    Step { world, order: &order, state: state(world, &order), trigger, now }.show(shopper, device)
}

/// What becomes of what a device shows of an order, if this is to be shown, with words or without.
pub(crate) fn next(device: &Device, order: &OrderId, state: &LiveState, with_words: bool) -> Option<LiveEvent> {
    let live = device.live.as_ref()?;
    let (draws, can_begin) = match device.target.as_ref()? {
        PushTarget::Apns { .. } => (false, with_words && live.start.is_some()),
        PushTarget::Fcm { .. } => (live.progress, live.progress),
        PushTarget::WebPush { .. } => (false, false),
    };
    match live.orders.get(order) {
        None => (can_begin && !state.state.is_final()).then_some(LiveEvent::Start),
        Some(activity) if activity.is_over() || !(draws || activity.token.is_some()) => None,
        Some(_) if state.state.is_final() => Some(LiveEvent::End),
        Some(activity) => (with_words || activity.shown.as_ref() != Some(state)).then_some(LiveEvent::Update),
    }
}

/// Where an order stands, as an app draws it.
pub(crate) fn state(world: &World, order: &Order) -> LiveState {
    let (step, steps) = order::progress(order);
    LiveState {
        state: order.state,
        step,
        steps,
        fulfilment: order.fulfilment,
        eta: order.eta,
        store: order.store.as_ref().and_then(|id| world.stores.get(id)).map(|store| store.spec.name.clone()),
        at: order.at,
    }
}

impl Step<'_> {
    /// News that goes to this device takes the form of what the device shows.
    fn tell(&self, shopper: &mut Arc<Shopper>, device: &DeviceId, message: &mut Notification) {
        let Some(event) = shopper.devices.get(device).and_then(|it| next(it, &self.order.id, &self.state, true)) else {
            return;
        };
        let Body::Content(content) = &message.body else { return };
        let content = content.clone();
        let Some(live) = self.live(shopper, device, (event, message.campaign().cloned()), Some(content)) else {
            return;
        };
        message.body = Body::Live(Box::new(live));
        message.collapse = message::order_key(shopper, &self.order.id);
    }

    /// What is shown on this device without words.
    fn show(&self, shopper: &mut Arc<Shopper>, id: &DeviceId) -> Option<Decision> {
        let device = shopper.devices.get(id)?;
        let event = next(device, &self.order.id, &self.state, false)?;
        // What begins, begins where the shopper reads news of orders.
        let begins = event == LiveEvent::Start;
        if begins && preferred(shopper) != Some(id) {
            return None;
        }
        let round = Round::of_order(self.world, shopper, self.order, self.now).on(id);
        let (campaign, refusal) = self.speaker(&round, shopper, device)?;
        if let Some(why) = refusal {
            return Some(round.decision(&campaign, Verdict::Suppress(why)));
        }
        let case = round.case(shopper, &campaign, &Default::default());
        let mut message = round.notification(&case, Body::Content(Content::default()), self.now)?;
        let key = &message::order_key(shopper, &self.order.id);
        key.clone_into(&mut message.collapse);
        let parts = ["live", self.order.id.as_str(), id.as_str(), &self.trigger];
        message.id = NotificationId::derive(self.order.at, &shopper.id, &parts);
        message.expires_at = self.now.plus(campaign.ttl);
        let live = self.live(shopper, id, (event, Some(campaign.spec.id.clone())), None)?;
        message.body = Body::Live(Box::new(live));
        Some(round.decision(&campaign, Verdict::Send(Box::new(message))))
    }

    /// In whose name something is shown without words, and why not, if it is not to be: the campaign that spoke of the
    /// order last, as long as it is in the catalog; else the most important one that speaks of orders and could now.
    fn speaker(
        &self,
        round: &Round<'_>,
        shopper: &Shopper,
        device: &Device,
    ) -> Option<(Arc<Campaign>, Option<Suppression>)> {
        let activity = device.live.as_ref().and_then(|live| live.orders.get(&self.order.id));
        let of_activity = activity.and_then(|activity| activity.campaign.as_ref());
        let judge = |campaign: &Campaign, asked: fn(&Gate) -> bool| {
            let case = round.case(shopper, campaign, &Default::default());
            match gates::judge(&crate::gates::Case { expires_at: self.now.plus(campaign.ttl), ..case }, asked) {
                Answer::Suppress(why) => Some(why),
                Answer::Pass | Answer::Defer(_) => None,
            }
        };
        if let Some(known) = of_activity.and_then(|id| self.world.campaigns.get(id)) {
            let refusal = judge(known, |gate| gate.when_silent && gate.when_decided);
            return Some((known.clone(), refusal));
        }
        let all = self.world.campaigns.of_orders(self.order.store.as_ref());
        let mut speaking = all.into_iter().filter(|campaign| campaign.spec.purpose == Purpose::Order);
        speaking.find(|campaign| judge(campaign, |gate| gate.when_decided).is_none()).map(|it| (it.clone(), None))
    }

    /// What is sent, and remembered as shown; nothing if there is no room to begin.
    fn live(
        &self,
        shopper: &mut Arc<Shopper>,
        device: &DeviceId,
        (event, campaign): (LiveEvent, Option<crate::id::CampaignId>),
        alert: Option<Content>,
    ) -> Option<Live> {
        let settings = &self.world.settings.live;
        let following = Arc::make_mut(shopper).devices.get_mut(device)?.live.as_mut()?;
        if event == LiveEvent::Start && !following.make_room() {
            return None;
        }
        let activity = following.orders.entry(self.order.id.clone()).or_insert_with(|| Activity::new(self.now));
        let urgent =
            self.is_key(event, activity, alert.is_some()) && spend(activity, settings.urgent_per_hour, self.now);
        activity.campaign = campaign.or(activity.campaign.take());
        activity.shown = Some(self.state.clone());
        let is_end = event == LiveEvent::End;
        if is_end {
            activity.ended_at = Some(self.now);
        }
        let expected = self.state.eta.filter(|eta| *eta > self.now);
        Some(Live {
            order: self.order.id.clone(),
            event,
            state: self.state.clone(),
            stale_at: (!is_end).then(|| expected.unwrap_or_else(|| self.now.plus(settings.stale_after))),
            dismiss_at: is_end.then(|| self.now.plus(settings.dismiss_after)),
            urgent,
            alert,
        })
    }

    /// Whether the shopper would want to know at once. The same once more is no key change, unless it is told by words.
    fn is_key(&self, event: LiveEvent, activity: &Activity, with_words: bool) -> bool {
        let state = self.state.state;
        let is_key = match state {
            OrderState::OutForDelivery
            | OrderState::ReadyForPickup
            | OrderState::AttemptFailed
            | OrderState::Delayed
            | OrderState::Delivered
            | OrderState::PickedUp
            | OrderState::Cancelled => true,
            OrderState::Registered
            | OrderState::Confirmed
            | OrderState::Preparing
            | OrderState::Shipped
            | OrderState::Returned => event == LiveEvent::Start && with_words,
        };
        let differs = activity
            .shown
            .as_ref()
            .is_none_or(|shown| shown.state != state || (state == OrderState::Delayed && shown.eta != self.state.eta));
        is_key && (differs || with_words)
    }
}

/// The news of an order among the decisions for a device.
fn news_for<'a>(decision: &'a mut Decision, device: &DeviceId) -> Option<&'a mut Notification> {
    match &mut decision.verdict {
        Verdict::Send(message) if message.purpose() == Some(Purpose::Order) && message.device() == Some(device) => {
            Some(message)
        }
        Verdict::Send(_) | Verdict::Suppress(_) => None,
    }
}

/// Takes one of the urgent changes that an hour allows, if there is one left.
fn spend(activity: &mut Activity, per_hour: u32, now: Timestamp) -> bool {
    activity.urgent.retain(|at| now.since(*at) < HOUR);
    let left = activity.urgent.len() < per_hour as usize;
    if left {
        activity.urgent.push(now);
    }
    left
}

/// Forgets what is shown of orders that are forgotten.
fn forget(shopper: &mut Arc<Shopper>, now: Timestamp) {
    let gone = |device: &Device| {
        device.live.as_ref().is_some_and(|live| live.orders.keys().any(|order| !shopper.orders.contains_key(order)))
    };
    if !shopper.devices.values().any(gone) {
        return;
    }
    let Shopper { devices, orders, .. } = Arc::make_mut(shopper);
    for live in devices.values_mut().filter_map(|device| device.live.as_mut()) {
        crate::change::live::prune(live, orders, now);
    }
}

#[cfg(test)]
mod tests;
