//! A device that announces itself, and whose it is.

use serde::{Deserialize, Serialize};

use super::{check_locale, check_text, check_zone, end_presences, live, merge_interests, profile::consent_problems};
use crate::{
    decide::Settings,
    id::{AppId, DeviceId, ShopperId},
    problem::Problem,
    rare::Rare,
    shopper::{Consents, Device, PushTarget, Shopper, Subscription},
    time::Timestamp,
};

/// The most devices of a shopper. The one that registered first goes, and a tag before a phone, which messages reach.
const DEVICES_MAX: usize = 20;
/// The longest registration token that is taken, in bytes; services do not say how long theirs may become.
const TOKEN_MAX: usize = 4_096;
/// The longest endpoint of a browser's subscription, in bytes.
const ENDPOINT_MAX: usize = 2_048;

/// What the platform of a carried tag is called.
pub const TAG_PLATFORM: &str = "tag";

/// The body of `PUT /v1/devices/{device}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Whose device it is; without, it is its own anonymous shopper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopper: Option<ShopperId>,
    /// The kind of phone or browser, such as `ios`.
    pub platform: String,
    /// Which of the retailer's apps it is an installation of; the default app if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// Where its messages go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PushTarget>,
    /// BCP 47 language tag, such as `fr-FR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// IANA time zone, such as `Europe/Paris`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What an anonymous shopper allows; a known shopper's consents stand in the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consents: Option<Consents>,
    /// Whether the shopper wants order news on this device rather than on others.
    #[serde(default)]
    pub preferred: bool,
    /// Whether the app draws the progress of orders itself, from data messages; Android.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
    /// That it is a carried tag. Never read from a body.
    #[serde(skip)]
    pub link: Option<Link>,
}

/// That a carried tag speaks for a shopper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Until when; for good if absent.
    pub until: Option<Timestamp>,
}

impl Registration {
    /// The carried tag of a shopper.
    pub fn of_tag(shopper: ShopperId, link: Link) -> Registration {
        Registration {
            shopper: Some(shopper),
            platform: TAG_PLATFORM.to_owned(),
            app: None,
            target: None,
            locale: None,
            time_zone: None,
            consents: None,
            preferred: false,
            progress: false,
            link: Some(link),
        }
    }

    /// Who owns the device after this.
    pub fn owner(&self, device: &DeviceId) -> ShopperId {
        self.shopper.clone().unwrap_or_else(|| ShopperId::anonymous(device))
    }

    /// What is wrong with the registration.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.shopper.as_ref().is_some_and(ShopperId::is_anonymous) {
            problems.push(Problem::new("/shopper", "must not begin with '~', which marks anonymous shoppers"));
        }
        problems.extend(check_text("/platform", &self.platform, 32));
        if self.platform == TAG_PLATFORM && self.link.is_none() {
            let message = "is for carried tags; PUT /v1/beacons/{id}/link links one to a shopper";
            problems.push(Problem::new("/platform", message));
        }
        problems.extend(check_locale("/locale", self.locale.as_deref()));
        problems.extend(check_zone("/time_zone", self.time_zone.as_deref()));
        if let Some(target) = &self.target {
            problems.extend(target_problems(target).into_iter().map(|problem| problem.under("/target")));
        }
        if self.progress && !matches!(self.target, Some(PushTarget::Fcm { .. })) {
            let message = "is for apps that get data messages by FCM; add such a target, or report tokens of Live \
                           Activities under /v1/devices/{device}/live-activities";
            problems.push(Problem::new("/progress", message));
        }
        if let Some(consents) = &self.consents {
            if self.shopper.is_some() {
                let message = "a known shopper's consents stand in PUT /v1/shoppers/{shopper}; remove them here";
                problems.push(Problem::new("/consents", message));
            }
            problems.extend(consent_problems(consents));
        }
        problems
    }
}

/// Takes a device into its owner, and out of the shopper who had it before. What an anonymous shopper has gathered
/// comes along: sends, interests, presences and orders. Its consents fill gaps and overwrite nothing. The record of an
/// anonymous shopper stays without its device: the messages that were decided for it are looked up under its name.
/// What the device shows of orders stays with the installation: [`super::live`] says what comes along.
/// A carried tag brings nothing along: where it was with somebody else is no visit of its new owner. Tags whose time is
/// over go.
/// Gives the devices that had to go, because their time is over or because there were too many.
pub fn register(
    owner: &mut Shopper,
    previous: Option<&mut Shopper>,
    (device, registration): (&DeviceId, Registration),
    settings: &Settings,
    now: Timestamp,
) -> Vec<DeviceId> {
    let mut known = owner.devices.remove(device);
    if let Some(previous) = previous {
        let mut moved = previous.devices.remove(device).filter(|_| registration.link.is_none());
        if let Some(moved) = moved.as_mut().filter(|_| !previous.id.is_anonymous()) {
            live::leave_orders(moved);
        }
        known = known.or(moved);
        if previous.id.is_anonymous() {
            merge(owner, previous, settings, now);
        }
    }
    let live = live::kept(known.as_mut(), &registration).map(Box::new);
    if registration.preferred {
        owner.devices.values_mut().for_each(|other| other.preferred = false);
    }
    if let (true, Some(consents)) = (owner.id.is_anonymous(), registration.consents) {
        owner.profile.consents = consents;
    }
    let (presences, left_at) = known.map(|known| (known.presences, known.left_at)).unwrap_or_default();
    let registered = Device {
        platform: registration.platform.into(),
        app: registration.app.filter(|app| !app.is_default()).map(Box::new),
        target: registration.target,
        locale: registration.locale.map(Into::into),
        time_zone: registration.time_zone.map(Into::into),
        preferred: registration.preferred,
        registered_at: now,
        presences,
        left_at,
        linked_until: registration.link.and_then(|link| link.until).map(Box::new),
        live,
    };
    let over = |known: &Device| known.linked_until.as_deref().is_some_and(|until| *until <= now);
    let mut gone: Vec<DeviceId> =
        owner.devices.iter().filter(|(_, known)| over(known)).map(|(id, _)| id.clone()).collect();
    gone.iter().for_each(|device| drop(owner.devices.remove(device)));
    owner.devices.insert(device.clone(), registered);
    while owner.devices.len() > DEVICES_MAX {
        let others = owner.devices.iter().filter(|(id, _)| *id != device);
        let rank = |known: &Device| (&*known.platform != TAG_PLATFORM, known.registered_at);
        let Some(oldest) = others.min_by_key(|(_, known)| rank(known)).map(|(id, _)| id.clone()) else { break };
        owner.devices.remove(&oldest);
        gone.push(oldest);
    }
    if !owner.profile.consents.allow_location() {
        end_presences(owner);
    }
    gone
}

/// Removes a target that a service has called gone, unless it was registered again since then: the device's own, with
/// which everything for Live Activities goes, or one for Live Activities alone. Says whether it did.
pub fn remove_target(
    shopper: &mut Shopper,
    device: &DeviceId,
    target: &PushTarget,
    since: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let Some(known) = shopper.devices.get_mut(device) else { return false };
    if known.target.as_ref() != Some(target) {
        return live::remove_token(known, target, since, now);
    }
    let gone = since.is_none_or(|since| known.registered_at <= since);
    if gone {
        known.target = None;
        live::forget_tokens(known);
    }
    gone
}

fn merge(owner: &mut Shopper, anonymous: &mut Shopper, settings: &Settings, now: Timestamp) {
    merge_interests(owner, anonymous, settings.interest_half_life, now);
    anonymous.interests = Rare::new();
    for send in std::mem::take(&mut anonymous.sends).into_inner() {
        if !owner.sends.iter().any(|known| known.notification == send.notification) {
            owner.sends.push(send);
        }
    }
    owner.sends.sort_by_key(|send| (send.at, send.notification));
    for (id, order) in std::mem::take(&mut anonymous.orders).into_inner() {
        owner.orders.entry(id).or_insert(order);
    }
    let (known, said) = (&mut owner.profile.consents, &anonymous.profile.consents);
    known.location = known.location.take().or_else(|| said.location.clone());
    known.offers = known.offers.take().or_else(|| said.offers.clone());
    known.orders = known.orders.take().or_else(|| said.orders.clone());
}

/// What is wrong with a push target.
pub fn target_problems(target: &PushTarget) -> Vec<Problem> {
    let mut problems = Vec::new();
    match target {
        PushTarget::Apns { token, topic, .. } => {
            let hex = token.bytes().all(|byte| byte.is_ascii_hexdigit()) && token.len() % 2 == 0;
            if !hex || !(64..=200).contains(&token.len()) {
                problems.push(Problem::new("/token", "must be the device token in hexadecimal, 64 to 200 digits"));
            }
            problems.extend(check_text("/topic", topic, 128));
        }
        PushTarget::Fcm { token, fid } => {
            if token.is_some() == fid.is_some() {
                problems.push(Problem::new("", "needs exactly one of token and fid"));
            }
            for (path, text) in [("/token", token), ("/fid", fid)] {
                let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
                if text.as_ref().is_some_and(|text| text.len() > TOKEN_MAX || !printable(text)) {
                    let message = format!("must be 1 to {TOKEN_MAX} printable ASCII characters");
                    problems.push(Problem::new(path, message));
                }
            }
        }
        PushTarget::WebPush { subscription } => {
            let found = subscription_problems(subscription).into_iter();
            problems.extend(found.map(|problem| problem.under("/subscription")));
        }
    }
    problems
}

fn subscription_problems(subscription: &Subscription) -> Vec<Problem> {
    let mut problems = Vec::new();
    let endpoint = &subscription.endpoint;
    let host = endpoint.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let plain = endpoint.len() <= ENDPOINT_MAX && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || host.is_none_or(|host| host.is_empty() || host.contains('@')) {
        let message = format!("must be an https URL of at most {ENDPOINT_MAX} bytes, without a user");
        problems.push(Problem::new("/endpoint", message));
    }
    // An uncompressed point of P-256 has 65 bytes and begins with 4: 87 characters, the first of them `B`.
    let key = base64url(&subscription.keys.p256dh);
    if key.is_none_or(|key| key.len() != 87 || !key.starts_with('B')) {
        problems.push(Problem::new("/keys/p256dh", "must be an uncompressed P-256 key of 65 bytes in base64url"));
    }
    if base64url(&subscription.keys.auth).is_none_or(|secret| secret.len() != 22) {
        problems.push(Problem::new("/keys/auth", "must be a secret of 16 bytes in base64url"));
    }
    problems
}

/// The text without padding, if it is base64url.
fn base64url(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('=');
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_make_way_for_tags_and_no_phone_does() {
        let (mut shopper, settings) = (Shopper::new("C-1".parse().expect("an id")), Settings::default());
        let at = |second: usize| Timestamp::from_millis(1_700_000_000_000 + second as i64 * 1_000);
        let phone = Device::new("ios".to_owned(), None, at(0));
        shopper.devices.insert("phone".parse().expect("an id"), phone);
        let mut gone = Vec::new();
        for number in 1..=DEVICES_MAX + 1 {
            let device: DeviceId = format!("cart-{number}").parse().expect("an id");
            let link = Registration::of_tag(shopper.id.clone(), Link { until: None });
            gone.extend(register(&mut shopper, None, (&device, link), &settings, at(number)));
        }
        let gone: Vec<&str> = gone.iter().map(DeviceId::as_str).collect();
        assert_eq!((gone, shopper.devices.len()), (vec!["cart-1", "cart-2"], DEVICES_MAX));
        assert!(shopper.devices.keys().any(|device| device.as_str() == "phone"));
    }
}
