//! Where a message goes.

use serde::{Deserialize, Serialize};

use super::Channel;
use crate::{
    id::{DeviceId, EndpointId},
    shopper::{ApnsEnvironment, PushTarget},
};

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A registered device, by whatever target it has when the message's turn comes.
    Device(DeviceId),
    /// An address that came with the message.
    Address(Box<Address>),
    /// A webhook.
    Endpoint(EndpointId),
}

/// What a push service can be told to send to, beside registered devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Address {
    /// One installation of an app.
    Target(PushTarget),
    /// Every Live Activity that follows a broadcast channel.
    ApnsChannel {
        /// The app's bundle id.
        bundle: String,
        /// The channel's id, as Apple gave it.
        channel: String,
        /// Which of Apple's two environments has the channel.
        #[serde(default)]
        environment: ApnsEnvironment,
        /// Whether the channel keeps its last message for phones that are away. Only such a channel takes messages that
        /// outlive the moment.
        #[serde(default)]
        stored: bool,
    },
    /// Every installation that subscribed to a topic.
    FcmTopic {
        /// The topic, without `/topics/`.
        topic: String,
    },
    /// Every installation whose topics fulfil a condition.
    FcmCondition {
        /// Such as `'a' in topics && 'b' in topics`.
        condition: String,
    },
}

impl Address {
    /// The channel that reaches this address.
    pub fn channel(&self) -> Channel {
        match self {
            Address::Target(target) => target.channel(),
            Address::ApnsChannel { .. } => Channel::Apns,
            Address::FcmTopic { .. } | Address::FcmCondition { .. } => Channel::Fcm,
        }
    }
}
