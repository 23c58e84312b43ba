//! What an app reports of Live Activities: tokens, and what was put away.
//!
//! Tokens belong to an installation. With another push target it counts as another installation: its tokens are
//! forgotten until the app reports them again, and orders of which an activity had begun are told by plain messages, for
//! the phone may still show it. A device that comes from a known shopper to another one brings its start token along
//! and no order; from an anonymous one, whose orders come along, it brings everything.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::Registration;
use crate::{
    id::{DeviceId, OrderId},
    problem::Problem,
    shopper::{Activity, Device, Following, LiveToken, PushTarget, Shopper},
    time::Timestamp,
};

/// The longest token, in hexadecimal digits. Those of Live Activities have some 160 today; Apple promises no length.
const DIGITS_MAX: usize = 512;
const DIGITS_MIN: usize = 32;
/// iOS ends a Live Activity after this time. One whose token is gone earlier was put away by the shopper.
/// Source: Apple, "Displaying live data with Live Activities".
const LIFE_MAX: Duration = Duration::from_secs(8 * 3_600);

/// The body of `PUT /v1/devices/{device}/live-activities/...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// As ActivityKit gives it, in hexadecimal.
    pub token: String,
}

impl Token {
    /// What is wrong with the token.
    pub fn problems(&self) -> Vec<Problem> {
        let token = &self.token;
        let hex = token.bytes().all(|byte| byte.is_ascii_hexdigit()) && token.len().is_multiple_of(2);
        if hex && (DIGITS_MIN..=DIGITS_MAX).contains(&token.len()) {
            return Vec::new();
        }
        let message = format!("must be a token in hexadecimal, {DIGITS_MIN} to {DIGITS_MAX} digits");
        vec![Problem::new("/token", message)]
    }
}

/// What an app reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// What begins activities.
    Start(Token),
    /// They are not to be begun by a push.
    NoStart,
    /// What changes and ends the activity of an order.
    Activity(OrderId, Token),
    /// The activity of an order was put away.
    Dismissed(OrderId),
}

/// Why a report is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The shopper has no such device.
    UnknownDevice,
    /// The device has no target at Apple's service, whose topic and environment are needed.
    NoApnsTarget,
    /// The device follows as many orders as it may.
    TooMany,
}

/// Takes a report. Says whether it changed anything; a repeat changes nothing.
///
/// # Errors
/// If it can't be of use.
pub fn report(shopper: &mut Shopper, device: &DeviceId, report: &Report, now: Timestamp) -> Result<bool, Refusal> {
    let known = shopper.devices.get_mut(device).ok_or(Refusal::UnknownDevice)?;
    let reachable = matches!(known.target, Some(PushTarget::Apns { .. }));
    match report {
        Report::Start(_) | Report::Activity(..) if !reachable => Err(Refusal::NoApnsTarget),
        Report::Start(Token { token }) => Ok(put(&mut following(known).start, token, now)),
        Report::Activity(order, Token { token }) => activity(following(known), order, token, now),
        Report::NoStart => {
            let known_token = known.live.as_mut().and_then(|live| live.start.take());
            tidy(known);
            Ok(known_token.is_some())
        }
        Report::Dismissed(order) => {
            let shown = known.live.as_mut().and_then(|live| live.orders.get_mut(order));
            Ok(shown.filter(|it| it.dismissed_at.is_none()).map(|it| put_away(it, now)).is_some())
        }
    }
}

/// What a device keeps that is registered anew.
pub(super) fn kept(known: Option<&mut Device>, registration: &Registration) -> Option<Following> {
    let same = known.as_ref().is_some_and(|known| known.target == registration.target);
    let app = known.as_ref().is_some_and(|known| known.app() == registration.app.clone().unwrap_or_default());
    let known = known.map(|known| {
        if !(same && app) {
            forget_tokens(known);
        }
        known.live.take().map(|live| *live).unwrap_or_default()
    });
    let mut live = known.unwrap_or_default();
    live.progress = registration.progress;
    (!live.is_empty()).then_some(live)
}

/// The orders of the shopper who had the device are none of the next one's.
pub(super) fn leave_orders(device: &mut Device) {
    if let Some(live) = &mut device.live {
        live.orders.clear();
    }
}

/// Forgets how an installation was reached. An app that draws progress itself begins anew, which only draws it again.
pub(super) fn forget_tokens(device: &mut Device) {
    let Some(live) = &mut device.live else { return };
    live.start = None;
    if live.progress {
        live.orders.clear();
    }
    live.orders.values_mut().for_each(|activity| activity.token = None);
    tidy(device);
}

/// Removes a token that a service has called gone, unless it was reported again since then. Says whether it did.
///
/// With a start token, whatever it has begun and what the app has not reported goes, too. An activity whose token is gone
/// before iOS would have ended it was put away by the shopper, and is not begun again; a later one may be.
pub(super) fn remove_token(device: &mut Device, target: &PushTarget, since: Option<Timestamp>, now: Timestamp) -> bool {
    let PushTarget::Apns { token, .. } = target else { return false };
    let Some(live) = &mut device.live else { return false };
    let gone = |known: &LiveToken| known.token == *token && since.is_none_or(|since| known.registered_at <= since);
    let gone_at = since.unwrap_or(now);
    let mut changed = false;
    if live.start.as_ref().is_some_and(gone) {
        live.start = None;
        live.orders.retain(|_, activity| activity.token.is_some() || activity.is_over());
        changed = true;
    }
    let of_order = live.orders.iter().find(|(_, activity)| activity.token.as_ref().is_some_and(gone));
    if let Some(order) = of_order.map(|(order, _)| order.clone())
        && let Some(activity) = live.orders.get_mut(&order)
    {
        if activity.is_over() || gone_at.since(activity.began_at) < LIFE_MAX {
            put_away(activity, gone_at);
        } else {
            live.orders.remove(&order);
        }
        changed = true;
    }
    tidy(device);
    changed
}

/// Forgets what is shown of orders that are not known any more. One that the app has reported may be told of later.
pub(crate) fn prune(live: &mut Following, orders: &BTreeMap<OrderId, crate::order::Order>, now: Timestamp) {
    const UNKNOWN_MAX: Duration = Duration::from_secs(86_400);
    live.orders.retain(|order, activity| orders.contains_key(order) || now.since(activity.began_at) < UNKNOWN_MAX);
}

fn activity(live: &mut Following, order: &OrderId, token: &str, now: Timestamp) -> Result<bool, Refusal> {
    if !live.orders.contains_key(order) && !live.make_room() {
        return Err(Refusal::TooMany);
    }
    let activity = live.orders.entry(order.clone()).or_insert_with(|| Activity::new(now));
    let changed = put(&mut activity.token, token, now);
    if changed && activity.dismissed_at.take().is_some() && activity.ended_at.is_none() {
        // The app has begun another one.
        (activity.began_at, activity.shown) = (now, None);
    }
    Ok(changed)
}

/// A repeat is as good as new: what was called gone before it is there.
fn put(place: &mut Option<LiveToken>, token: &str, now: Timestamp) -> bool {
    let repeated = place.as_ref().is_some_and(|known| known.token == token && known.registered_at == now);
    *place = Some(LiveToken { token: token.to_owned(), registered_at: now });
    !repeated
}

fn put_away(activity: &mut Activity, at: Timestamp) {
    activity.token = None;
    activity.dismissed_at = Some(at);
}

fn following(device: &mut Device) -> &mut Following {
    device.live.get_or_insert_default()
}

fn tidy(device: &mut Device) {
    if device.live.as_ref().is_some_and(|live| live.is_empty()) {
        device.live = None;
    }
}
