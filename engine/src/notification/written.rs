//! A notification as it is kept and shown. Fields that were added later are missing in older ones.

use serde::{Deserialize, Serialize};

use super::{Address, Body, Cause, Channel, Content, Custom, Fact, Live, Notification, Origin, Purpose, Recipient};
use crate::{
    id::{AppId, CampaignId, DeviceId, EndpointId, NotificationId, ShopperId},
    time::Timestamp,
};

#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    id: NotificationId,
    shopper: ShopperId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<Box<Address>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<EndpointId>,
    channel: Channel,
    #[serde(default, skip_serializing_if = "AppId::is_default")]
    app: AppId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<Purpose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    campaign: Option<CampaignId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replays: Option<NotificationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live: Option<Box<Live>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom: Option<Box<Custom>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fact: Option<Box<Fact>>,
    collapse: String,
    observed_at: Timestamp,
    decided_at: Timestamp,
    not_before: Timestamp,
    expires_at: Timestamp,
}

impl From<Notification> for Written {
    fn from(message: Notification) -> Written {
        let Notification { id, shopper, recipient, channel, app, origin, body, .. } = message;
        let (device, address, endpoint) = match recipient {
            Recipient::Device(device) => (Some(device), None, None),
            Recipient::Address(address) => (None, Some(address), None),
            Recipient::Endpoint(endpoint) => (None, None, Some(endpoint)),
        };
        let purpose = match &origin {
            Origin::Campaign { purpose, .. } | Origin::Request { purpose, .. } => Some(*purpose),
            Origin::Event { .. } => None,
        };
        let (campaign, cause, request, event) = match origin {
            Origin::Campaign { campaign, cause, .. } => (Some(campaign), Some(cause), None, None),
            Origin::Request { request, .. } => (None, None, Some(request), None),
            Origin::Event { event } => (None, None, None, Some(event)),
        };
        let (content, live, custom, fact) = match body {
            Body::Content(content) => (Some(content), None, None, None),
            Body::Live(live) => (None, Some(live), None, None),
            Body::Custom(custom) => (None, None, Some(custom), None),
            Body::Fact(fact) => (None, None, None, Some(fact)),
        };
        Written {
            id,
            shopper,
            device,
            address,
            endpoint,
            channel,
            app,
            purpose,
            campaign,
            cause,
            request,
            event,
            replays: message.replays,
            content,
            live,
            custom,
            fact,
            collapse: message.collapse,
            observed_at: message.observed_at,
            decided_at: message.decided_at,
            not_before: message.not_before,
            expires_at: message.expires_at,
        }
    }
}

impl TryFrom<Written> for Notification {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Notification, &'static str> {
        let recipient = match (written.device, written.address, written.endpoint) {
            (Some(device), None, None) => Recipient::Device(device),
            (None, Some(address), None) => Recipient::Address(address),
            (None, None, Some(endpoint)) => Recipient::Endpoint(endpoint),
            _ => return Err("a notification has one of `device`, `address` and `endpoint`"),
        };
        let origin = match (written.campaign, written.cause, written.request, written.event, written.purpose) {
            (Some(campaign), Some(cause), None, None, Some(purpose)) => Origin::Campaign { campaign, purpose, cause },
            (None, None, Some(request), None, Some(purpose)) => Origin::Request { request, purpose },
            (None, None, None, Some(event), None) => Origin::Event { event },
            _ => {
                return Err(
                    "a notification has `campaign`, `cause` and `purpose`, or `request` and `purpose`, or `event`",
                );
            }
        };
        let body = match (written.content, written.live, written.custom, written.fact) {
            (Some(content), None, None, None) => Body::Content(content),
            (None, Some(live), None, None) => Body::Live(live),
            (None, None, Some(custom), None) => Body::Custom(custom),
            (None, None, None, Some(fact)) => Body::Fact(fact),
            _ => return Err("a notification has one of `content`, `live`, `custom` and `fact`"),
        };
        Ok(Notification {
            id: written.id,
            shopper: written.shopper,
            recipient,
            channel: written.channel,
            app: written.app,
            origin,
            replays: written.replays,
            body,
            collapse: written.collapse,
            observed_at: written.observed_at,
            decided_at: written.decided_at,
            not_before: written.not_before,
            expires_at: written.expires_at,
        })
    }
}
