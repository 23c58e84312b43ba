//! What every gate looks at.

use jiff::tz::TimeZone;

use crate::{
    campaign::Campaign,
    id::DeviceId,
    notification::{Cause, Channel, Live},
    order::{Order, OrderState},
    region::Region,
    schedule::Hours,
    shopper::{Device, Shopper},
    store::Store,
    time::Timestamp,
    world::World,
};

/// One campaign, one shopper, one cause and one moment: what every gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The catalog and the settings.
    pub world: &'a World,
    /// Who would be told.
    pub shopper: &'a Shopper,
    /// By which campaign.
    pub campaign: &'a Campaign,
    /// What it answers.
    pub cause: &'a Cause,
    /// On which device.
    pub device_id: Option<&'a DeviceId>,
    /// That device, if the shopper has it.
    pub device: Option<&'a Device>,
    /// The service that a stored message was made for.
    pub channel: Option<Channel>,
    /// What a stored message shows all the time.
    pub live: Option<&'a Live>,
    /// In which shop.
    pub store: Option<&'a Store>,
    /// In which region.
    pub region: Option<&'a Region>,
    /// About which order.
    pub order: Option<&'a Order>,
    /// When the cause happened.
    pub observed_at: Timestamp,
    /// When the message loses its use.
    pub expires_at: Timestamp,
    /// What may still be sent, if the campaign has a budget.
    pub budget_left: u64,
    /// The moment.
    pub now: Timestamp,
}

impl Case<'_> {
    /// The time zone of the device, else of the shopper, else of the store, else UTC.
    pub fn shopper_zone(&self) -> TimeZone {
        let named = [self.device.and_then(|device| device.time_zone.as_ref()), self.shopper.profile.time_zone.as_ref()];
        let zone = named.into_iter().flatten().find_map(|name| TimeZone::get(name).ok());
        zone.or_else(|| self.store.map(|store| store.zone.clone())).unwrap_or(TimeZone::UTC)
    }

    /// The time zone of the store, else the shopper's.
    pub fn store_zone(&self) -> TimeZone {
        self.store.map_or_else(|| self.shopper_zone(), |store| store.zone.clone())
    }

    /// The state of the order that the message tells, if it tells one.
    pub fn order_state(&self) -> Option<OrderState> {
        match self.cause {
            Cause::Order { state, .. } => Some(*state),
            Cause::Pickup { .. } => Some(OrderState::ReadyForPickup),
            Cause::Transition { .. } => None,
        }
    }

    /// The region's opening hours, else the store's.
    pub(super) fn hours(&self) -> Option<&Hours> {
        let own = self.region.and_then(|region| region.hours.as_ref());
        own.or_else(|| self.store.and_then(|store| store.spec.hours.as_ref()))
    }
}
