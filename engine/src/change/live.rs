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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{change::register, decide::Settings, fixture::*, shopper::ApnsEnvironment};

    fn phone() -> DeviceId {
        "phone".parse().expect("an id")
    }

    fn order(name: &str) -> OrderId {
        name.parse().expect("an id")
    }

    fn token(text: &str) -> Token {
        Token { token: text.to_owned() }
    }

    fn apns(token: &str) -> PushTarget {
        let (token, topic) = (token.to_owned(), "com.example.shop".to_owned());
        PushTarget::Apns { token: token.into(), topic: topic.into(), environment: ApnsEnvironment::Production }
    }

    /// A registration of the phone for this shopper, or for nobody.
    fn registration(shopper: Option<&str>, target: PushTarget, progress: bool) -> Registration {
        let json = serde_json::json!({"shopper": shopper, "platform": "phone", "target": target, "progress": progress});
        serde_json::from_value(json).expect("well formed")
    }

    /// A shopper whose app has reported a start token and the activity of an order.
    fn following(shopper: &str) -> Shopper {
        let mut shopper = Shopper::new(shopper.parse().expect("an id"));
        let owner = (!shopper.id.is_anonymous()).then(|| shopper.id.to_string());
        let first = registration(owner.as_deref(), apns("d0"), false);
        register(&mut shopper, None, (&phone(), first), &Settings::default(), at(NOON));
        for said in [Report::Start(token("a0")), Report::Activity(order("O-1"), token("b0"))] {
            assert_eq!(report(&mut shopper, &phone(), &said, at(NOON)), Ok(true));
            assert_eq!(report(&mut shopper, &phone(), &said, at(NOON)), Ok(false), "a repeat is harmless");
        }
        shopper
    }

    fn live(shopper: &Shopper) -> Option<&Following> {
        shopper.devices.get("phone").and_then(|device| device.live.as_deref())
    }

    /// Whether there is a start token, which orders are followed, and how many of them can be changed.
    fn sums(shopper: &Shopper) -> (bool, Vec<&str>, usize) {
        let Some(live) = live(shopper) else { return (false, Vec::new(), 0) };
        let orders = live.orders.keys().map(OrderId::as_str).collect();
        (live.start.is_some(), orders, live.orders.values().filter(|it| it.token.is_some()).count())
    }

    #[test]
    fn an_app_that_announces_itself_again_keeps_its_tokens_and_an_installed_one_has_none() {
        let settings = Settings::default();
        let mut shopper = following("C-1");
        let same = registration(Some("C-1"), apns("d0"), false);
        register(&mut shopper, None, (&phone(), same), &settings, at(NOON));
        assert_eq!(sums(&shopper), (true, vec!["O-1"], 1));
        let installed = registration(Some("C-1"), apns("d1"), false);
        register(&mut shopper, None, (&phone(), installed), &settings, at(NOON));
        assert_eq!(sums(&shopper), (false, vec!["O-1"], 0), "it is not begun a second time");
    }

    #[test]
    fn what_a_device_shows_goes_with_the_orders() {
        let (settings, mut known) = (Settings::default(), Shopper::new("C-2".parse().expect("an id")));
        let claim = || registration(Some("C-2"), apns("d0"), false);
        let mut anonymous = following("~phone");
        register(&mut known, Some(&mut anonymous), (&phone(), claim()), &settings, at(NOON));
        assert_eq!(sums(&known), (true, vec!["O-1"], 1), "an anonymous shopper's orders come along");
        let (mut other, mut next) = (following("C-1"), Shopper::new("C-2".parse().expect("an id")));
        register(&mut next, Some(&mut other), (&phone(), claim()), &settings, at(NOON));
        assert_eq!(sums(&next), (true, Vec::new(), 0), "another shopper's do not");
        let mut nobody = Shopper::new("~phone".parse().expect("an id"));
        let logged_out = registration(None, apns("d0"), false);
        register(&mut nobody, Some(&mut next), (&phone(), logged_out), &settings, at(NOON));
        assert_eq!(sums(&nobody), (true, Vec::new(), 0));
    }

    #[test]
    fn a_gone_device_takes_every_token_along() {
        let mut shopper = following("C-1");
        assert!(super::super::remove_target(&mut shopper, &phone(), &apns("d0"), None, at(NOON)));
        assert_eq!(sums(&shopper), (false, vec!["O-1"], 0));
        let refused = report(&mut shopper, &phone(), &Report::Start(token("a1")), at(NOON));
        assert_eq!(refused, Err(Refusal::NoApnsTarget));
    }

    #[test]
    fn progress_is_for_data_messages_and_begins_anew_with_another_installation() {
        let fcm = |token: &str| PushTarget::Fcm { token: Some(token.into()), fid: None };
        let wrong = registration(Some("C-1"), apns(&"d0".repeat(32)), true).problems();
        assert_eq!(wrong.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["/progress"]);
        let (settings, mut shopper) = (Settings::default(), Shopper::new("C-1".parse().expect("an id")));
        let mut go = |token: &str, progress: bool| {
            let registration = registration(Some("C-1"), fcm(token), progress);
            assert_eq!(registration.problems(), []);
            register(&mut shopper, None, (&phone(), registration), &settings, at(NOON));
            let live = &mut shopper.devices.get_mut("phone").expect("a phone").live;
            let orders = live.as_ref().map(|it| (it.progress, it.orders.len()));
            let shows = |it: &mut Box<Following>| it.orders.insert(order("O-1"), Activity::new(at(NOON)));
            live.as_mut().map(shows);
            orders
        };
        assert_eq!(
            [go("t0", true), go("t0", true), go("t1", true)],
            [Some((true, 0)), Some((true, 1)), Some((true, 0))]
        );
        let fcm_only = report(&mut shopper, &phone(), &Report::Activity(order("O-2"), token("b0")), at(NOON));
        assert_eq!(fcm_only, Err(Refusal::NoApnsTarget));
        let unknown = report(&mut shopper, &"other".parse().expect("an id"), &Report::NoStart, at(NOON));
        assert_eq!(unknown, Err(Refusal::UnknownDevice));
    }

    #[test]
    fn a_token_is_hexadecimal() {
        let wrong = |text: &str| Token { token: text.to_owned() }.problems().len();
        assert_eq!(wrong(&"80ab".repeat(40)), 0);
        for text in ["", "80ab", "80AB80AB80AB80AB80AB80AB80AB80ABC", &"xy".repeat(40), &"80".repeat(257)] {
            assert_eq!(wrong(text), 1, "{text}");
        }
    }
}
