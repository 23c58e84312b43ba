//! Where a message goes when its turn comes, which may be long after it was decided.

use crate::{
    notification::{Address, Body, Live, LiveEvent, Notification, Recipient},
    shopper::{ACTIVITY_SUFFIX, Device, LiveToken, PushTarget, Shopper},
};

/// Where a message goes, by what is known of its recipient now; none if it can't be sent.
///
/// What is to be shown all the time goes to the token for it. Without one, or if something newer has been decided to be
/// shown meanwhile, its words go to the device as a plain message, and without words nothing goes. The topic tells a provider
/// which of the two it is: that of Live Activities ends with [`ACTIVITY_SUFFIX`].
pub fn address(shopper: &Shopper, notification: &Notification) -> Option<Address> {
    let address = match &notification.recipient {
        Recipient::Device(id) => {
            let device = shopper.devices.get(id)?;
            match &notification.body {
                Body::Live(live) => of_live(shopper, device, live)?,
                Body::Content(_) | Body::Custom(_) | Body::Fact(_) => Address::Target(device.target.clone()?),
            }
        }
        Recipient::Address(address) => (**address).clone(),
        Recipient::Endpoint(endpoint) => Address::Endpoint(endpoint.clone()),
    };
    (address.channel() == notification.channel).then_some(address)
}

fn of_live(shopper: &Shopper, device: &Device, live: &Live) -> Option<Address> {
    let target = device.target.as_ref()?;
    let following = device.live.as_deref();
    let plain = || live.alert.as_ref().map(|_| Address::Target(target.clone()));
    match target {
        PushTarget::Fcm { .. } if following.is_some_and(|it| it.progress) => Some(Address::Target(target.clone())),
        PushTarget::Fcm { .. } | PushTarget::WebPush { .. } => plain(),
        PushTarget::Apns { topic, environment, .. } => {
            let activity = following.and_then(|it| it.orders.get(&live.order));
            let token = activity.and_then(|activity| match live.event {
                // Without an end the order would be shown for ever.
                LiveEvent::Start => following
                    .and_then(|it| it.start.as_ref())
                    .filter(|_| !activity.is_over() && activity.token.is_none() && !is_done(shopper, live)),
                LiveEvent::Update | LiveEvent::End => {
                    activity.token.as_ref().filter(|_| activity.shown.as_ref() == Some(&live.state))
                }
            });
            let to = |LiveToken { token, .. }: &LiveToken| {
                let (token, topic) = (token.clone(), format!("{topic}{ACTIVITY_SUFFIX}"));
                Address::Target(PushTarget::Apns {
                    token: token.into(),
                    topic: topic.into(),
                    environment: *environment,
                })
            };
            token.map(to).or_else(plain)
        }
    }
}

fn is_done(shopper: &Shopper, live: &Live) -> bool {
    shopper.orders.get(&live.order).is_none_or(|order| order.state.is_final())
}
