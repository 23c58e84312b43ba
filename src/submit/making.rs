//! From a request and a target to notifications.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parvis_engine::{
    id::{AppId, NotificationId, ShopperId},
    notification::{Channel, Notification, Origin, Purpose, Recipient},
    shopper::{Device, Shopper},
    time::Timestamp,
};

use super::{Reason, Refusal, Request, Target, Which, address::stand_in, target::reachable};

/// The notifications for one target; `shopper` is its owner, if it has one. The same request and target give the same
/// ids, whenever.
///
/// # Errors
/// Why there is nothing to be sent.
pub fn notifications(
    request: &Request,
    target: &Target,
    shopper: Option<&Shopper>,
    now: Timestamp,
) -> Result<Vec<Notification>, Refusal> {
    let making = Making { request, now };
    match target {
        Target::Address(address) => {
            let (who, app) = (stand_in(address), request.head.app.clone().unwrap_or_default());
            let parts = ["address", who.as_str()];
            let place = (Recipient::Address(address.clone()), address.channel(), app);
            Ok(vec![making.notification(&who, place, parts)])
        }
        Target::Device(id) => {
            let known = shopper.and_then(|shopper| Some((shopper, shopper.devices.get(id)?)));
            let Some((shopper, device)) = known else {
                let detail = format!("nobody registered device {:?}; PUT /v1/devices/{id} does", id.as_str());
                return Err(Refusal::at(Reason::UnknownDevice, "/device", detail));
            };
            making.consents(shopper)?;
            let app = making.app_of(device)?;
            let Some(target) = &device.target else {
                return Err(Refusal::at(Reason::NoTarget, "/device", "the device has no push target (any more)"));
            };
            let place = (Recipient::Device(id.clone()), target.channel(), app);
            Ok(vec![making.notification(&shopper.id, place, ["device", id.as_str()])])
        }
        Target::Shopper(id, which) => {
            let Some(shopper) = shopper else {
                let detail = format!("nothing is known of shopper {:?}", id.as_str());
                return Err(Refusal::at(Reason::UnknownShopper, "/shopper", detail));
            };
            making.consents(shopper)?;
            let devices = reachable(shopper, *which, request.head.app.as_ref());
            if devices.is_empty() {
                let detail = "the shopper has no device that can be reached";
                return Err(Refusal::at(Reason::NoTarget, "/shopper", detail));
            }
            let made = devices.into_iter().filter_map(|(id, device)| {
                let place = (Recipient::Device(id.clone()), device.target.as_ref()?.channel(), device.app());
                // Whichever device is preferred by then: a repeat must not tell a second one.
                let parts = match which {
                    Which::Preferred => ["shopper", ""],
                    Which::All => ["device", id.as_str()],
                };
                Some(making.notification(&shopper.id, place, parts))
            });
            Ok(made.collect())
        }
    }
}

struct Making<'a> {
    request: &'a Request,
    now: Timestamp,
}

impl Making<'_> {
    fn consents(&self, shopper: &Shopper) -> Result<(), Refusal> {
        let purpose = self.request.head.purpose;
        if shopper.profile.consents.allow(purpose) {
            return Ok(());
        }
        let what = match purpose {
            Purpose::Offer => "offers",
            Purpose::Order => "order news",
        };
        Err(Refusal::new(Reason::NoConsent, format!("the shopper did not consent to {what}")))
    }

    fn app_of(&self, device: &Device) -> Result<AppId, Refusal> {
        let app = device.app();
        match &self.request.head.app {
            Some(wanted) if *wanted != app => {
                let detail = format!("the device is an installation of app {:?}", app.as_str());
                Err(Refusal::at(Reason::OtherApp, "/device", detail))
            }
            Some(_) | None => Ok(app),
        }
    }

    fn notification(
        &self,
        shopper: &ShopperId,
        (recipient, channel, app): (Recipient, Channel, AppId),
        [kind, key]: [&str; 2],
    ) -> Notification {
        let Request { caller, name, at, head } = self.request;
        // Not the device's app: it may be another one by the time of a repeat.
        let named = head.app.as_ref().map_or("", AppId::as_str);
        let id = NotificationId::derive(*at, shopper, &["request", caller, name, named, kind, key]);
        Notification {
            id,
            shopper: shopper.clone(),
            recipient,
            channel,
            app,
            origin: Origin::Request { request: name.clone(), purpose: head.purpose },
            replays: None,
            body: head.message.to_body(),
            collapse: head.collapse.clone().unwrap_or_else(|| own_collapse(id, channel)),
            observed_at: *at,
            decided_at: self.now,
            not_before: head.not_before.map_or(*at, |not_before| not_before.max(*at)),
            expires_at: head.expires_at(*at),
        }
    }
}

/// A message of its own key replaces nothing but itself, sent twice. Not with FCM, which keeps only four keys for a
/// phone that is off.
fn own_collapse(id: NotificationId, channel: Channel) -> String {
    match channel {
        Channel::Apns | Channel::WebPush => BASE64_URL_SAFE_NO_PAD.encode(id.as_u128().to_be_bytes()),
        Channel::Fcm | Channel::Webhook => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use parvis_engine::{
        notification::Address,
        shopper::{Consent, PushTarget},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::submit;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
    }

    fn request(more: Value) -> Request {
        let mut head = json!({ "message": { "title": "T" } });
        head.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Request {
            caller: "shop".to_owned(),
            name: "r-1".to_owned(),
            at: at(0),
            head: serde_json::from_value(head).expect("a head"),
        }
    }

    fn shopper(devices: &[(&str, bool, i64)]) -> Shopper {
        let mut shopper = Shopper::new("C-1".parse().expect("an id"));
        let yes = Consent { granted: true, at: at(0), text: None };
        shopper.profile.consents.orders = Some(yes);
        for (id, preferred, registered) in devices {
            let target = PushTarget::Fcm { token: Some(format!("token-{id}").into()), fid: None };
            let mut device = Device::new("android", Some(target), at(*registered));
            device.preferred = *preferred;
            shopper.devices.insert(id.parse().expect("an id"), device);
        }
        shopper
    }

    fn target(json: Value) -> Target {
        submit::target(json.to_string().as_bytes()).expect("a target")
    }

    fn made(request: &Request, target: &Target, shopper: &Shopper) -> Vec<String> {
        let made = notifications(request, target, Some(shopper), at(1)).expect("notifications");
        made.iter().map(|it| it.device().expect("a device").to_string()).collect()
    }

    #[test]
    fn a_shopper_is_told_on_the_preferred_device_or_on_all() {
        let three = shopper(&[("old", false, 1), ("mine", true, 2), ("new", false, 3)]);
        let one = target(json!({ "shopper": "C-1" }));
        let all = target(json!({ "shopper": "C-1", "devices": "all" }));
        assert_eq!(made(&request(json!({})), &one, &three), ["mine"]);
        assert_eq!(made(&request(json!({})), &all, &three).len(), 3);
        let none = notifications(&request(json!({ "app": "other" })), &all, Some(&three), at(1));
        assert_eq!(none.expect_err("another app").reason, Reason::NoTarget);
    }

    #[test]
    fn a_repeat_tells_no_second_device_when_another_one_is_preferred_by_then() {
        let one = target(json!({ "shopper": "C-1" }));
        let id = |devices: &[(&str, bool, i64)], now| {
            notifications(&request(json!({})), &one, Some(&shopper(devices)), now).expect("made")[0].id
        };
        assert_eq!(id(&[("a", true, 1), ("b", false, 2)], at(1)), id(&[("a", false, 1), ("b", true, 2)], at(900)));
    }

    #[test]
    fn a_repeat_tells_nobody_twice_who_has_another_app_by_then() {
        let mut known = shopper(&[("a", true, 1), ("b", false, 2)]);
        let ids = |known: &Shopper| {
            [json!({ "shopper": "C-1" }), json!({ "device": "b" })]
                .map(|json| notifications(&request(json!({})), &target(json), Some(known), at(1)).expect("made")[0].id)
        };
        let first = ids(&known);
        known.devices.get_mut("a").expect("there").preferred = false;
        known.devices.get_mut("b").expect("there").app = Some(Box::new("other".parse().expect("an id")));
        assert_eq!(ids(&known), first);
    }

    #[test]
    fn names_callers_apps_and_targets_make_ids() {
        let address = |token: &str| target(json!({ "target": { "channel": "fcm", "token": token } }));
        let id = |request: &Request, target: &Target| notifications(request, target, None, at(1)).expect("made")[0].id;
        let base = request(json!({}));
        let ids: BTreeSet<_> = [
            id(&base, &address("a")),
            id(&base, &address("b")),
            id(&Request { name: "r-2".to_owned(), ..base.clone() }, &address("a")),
            id(&Request { caller: "till".to_owned(), ..base.clone() }, &address("a")),
            id(&request(json!({ "app": "other" })), &address("a")),
        ]
        .into();
        assert_eq!(ids.len(), 5);
        assert_eq!(id(&base, &address("a")), id(&base, &address("a")));
    }

    #[test]
    fn consent_app_and_target_are_asked_for() {
        let reason = |request: Value, json: Value, shopper: Option<&Shopper>| {
            notifications(&self::request(request), &target(json), shopper, at(1)).expect_err("refused").reason
        };
        let mut known = shopper(&[("d", false, 1)]);
        let device = || json!({ "device": "d" });
        assert_eq!(reason(json!({}), device(), None), Reason::UnknownDevice);
        assert_eq!(reason(json!({}), json!({ "shopper": "C-1" }), None), Reason::UnknownShopper);
        assert_eq!(reason(json!({ "purpose": "offer" }), device(), Some(&known)), Reason::NoConsent);
        assert_eq!(reason(json!({ "app": "other" }), device(), Some(&known)), Reason::OtherApp);
        known.devices.get_mut("d").expect("there").target = None;
        assert_eq!(reason(json!({}), device(), Some(&known)), Reason::NoTarget);
        assert_eq!(reason(json!({}), json!({ "shopper": "C-1" }), Some(&known)), Reason::NoTarget);
    }

    #[test]
    fn what_is_made_carries_what_was_said() {
        let request = request(json!({ "purpose": "offer", "collapse": "news", "not_before": at(60).to_string(),
            "ttl": "1h", "message": { "title": "T", "data": { "k": "v" }, "push": "background" } }));
        let topic = target(json!({ "fcm_topic": "news" }));
        let made = notifications(&request, &topic, None, at(1)).expect("made").remove(0);
        assert_eq!(made.recipient, Recipient::Address(Box::new(Address::FcmTopic { topic: "news".to_owned() })));
        assert_eq!((made.purpose(), made.collapse.as_str()), (Some(Purpose::Offer), "news"));
        assert_eq!((made.not_before, made.expires_at, made.decided_at), (at(60), at(3_660), at(1)));
        let again: Notification = serde_json::from_str(&serde_json::to_string(&made).expect("writes")).expect("reads");
        assert_eq!(again, made);
    }

    #[test]
    fn a_message_of_its_own_key_replaces_only_itself() {
        let id = NotificationId::from_u128(u128::MAX);
        assert_eq!(own_collapse(id, Channel::Apns).len(), 22);
        assert_eq!(own_collapse(id, Channel::Fcm), "");
    }
}
