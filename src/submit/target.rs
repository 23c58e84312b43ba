//! One recipient of a handed-in message: a registered device, a shopper, or an address that nobody registered.

use parvis_engine::{
    change,
    id::{AppId, DeviceId, ShopperId},
    notification::Address,
    shopper::{ApnsEnvironment, Device, PushTarget, Shopper},
};
use serde::{Deserialize, Serialize};

use super::{Reason, Refusal, address};

/// One recipient.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A registered device.
    Device(DeviceId),
    /// A person.
    Shopper(ShopperId, Which),
    /// An address, checked for its form.
    Address(Box<Address>),
}

/// Which of a shopper's devices get the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The one that order news goes to.
    #[default]
    Preferred,
    /// All that can be reached.
    All,
}

/// A target as it is written; exactly one of the first six says who.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `device`, `shopper`, `target`, `fcm_topic` or the like")]
pub(super) struct Written {
    device: Option<DeviceId>,
    shopper: Option<ShopperId>,
    target: Option<PushTarget>,
    fcm_topic: Option<String>,
    fcm_condition: Option<String>,
    apns_channel: Option<ApnsChannel>,
    devices: Option<Which>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApnsChannel {
    bundle: String,
    channel: String,
    #[serde(default)]
    environment: ApnsEnvironment,
    #[serde(default)]
    stored: bool,
}

impl Written {
    pub(super) fn read(self) -> Result<Target, Refusal> {
        if self.devices.is_some() && self.shopper.is_none() {
            return Err(Refusal::at(Reason::Invalid, "/devices", "goes only with `shopper`"));
        }
        let which = self.devices.unwrap_or_default();
        let topic = |topic| Address::FcmTopic { topic };
        let condition = |condition| Address::FcmCondition { condition };
        let channel = |it: ApnsChannel| {
            let ApnsChannel { bundle, channel, environment, stored } = it;
            Address::ApnsChannel { bundle, channel, environment, stored }
        };
        let address = |(name, address)| {
            address::check(&address)
                .map_err(|(pointer, why)| Refusal::at(Reason::Invalid, format!("/{name}{pointer}"), why))?;
            Ok(Target::Address(Box::new(address)))
        };
        let mut said = [
            self.device.map(|device| Ok(Target::Device(device))),
            self.shopper.map(|shopper| Ok(Target::Shopper(shopper, which))),
            self.target.map(read_push_target),
            self.fcm_topic.map(|text| address(("fcm_topic", topic(text)))),
            self.fcm_condition.map(|text| address(("fcm_condition", condition(text)))),
            self.apns_channel.map(|it| address(("apns_channel", channel(it)))),
        ]
        .into_iter()
        .flatten();
        let (Some(target), None) = (said.next(), said.next()) else {
            let names = "`device`, `shopper`, `target`, `fcm_topic`, `fcm_condition` and `apns_channel`";
            return Err(Refusal::new(Reason::Invalid, format!("needs exactly one of {names}")));
        };
        target
    }
}

fn read_push_target(target: PushTarget) -> Result<Target, Refusal> {
    match change::target_problems(&target).into_iter().next() {
        Some(problem) => Err(Refusal::at(Reason::Invalid, format!("/target{}", problem.path), problem.message)),
        None => Ok(Target::Address(Box::new(Address::Target(target)))),
    }
}

/// The devices that get a message for a shopper, of one app if it names one.
pub(super) fn reachable<'a>(
    shopper: &'a Shopper,
    which: Which,
    app: Option<&AppId>,
) -> Vec<(&'a DeviceId, &'a Device)> {
    let fits = |device: &Device| device.target.is_some() && app.is_none_or(|app| *app == device.app());
    let devices = shopper.devices.iter().filter(|(_, device)| fits(device));
    match which {
        Which::All => devices.collect(),
        Which::Preferred => {
            devices.max_by_key(|(_, device)| (device.preferred, device.registered_at)).into_iter().collect()
        }
    }
}
