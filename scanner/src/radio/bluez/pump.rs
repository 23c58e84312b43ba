//! From the Bluetooth library's events to advertisements.
//!
//! The library tells one advertisement as several events: its signal strength, then its data. The first one of a device
//! is told only as "discovered", and what was in it has to be asked for.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use bluez_async::{AdapterId, AddressType, BluetoothEvent, BluetoothSession, DeviceEvent, DeviceId, DeviceInfo};
use futures_util::stream::{FuturesUnordered, StreamExt};
use parvis_beacons::Mac;

use crate::{
    clock::{Clock, Moment},
    radio::{AddressKind, Advertisement, Outlet},
    status::{Loss, Status},
};

/// How many devices may be asked about at once.
const LOOKUPS_MAX: usize = 64;
/// How many signal strengths may wait for the data that belong to them.
const STRENGTHS_MAX: usize = 1_000;
/// How long a signal strength belongs to what follows it. Both are told in one message, so this bounds only what is
/// left over.
const STRENGTH_KEPT: Duration = Duration::from_secs(2);
/// What 16-bit UUIDs are short for (Bluetooth Core Specification, volume 3, part B, section 2.5.1).
const BASE_UUID: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// A signal strength, until each kind of data took it once.
#[derive(Clone, Copy)]
struct Strength {
    dbm: i16,
    at: Moment,
    for_manufacturer: bool,
    for_service: bool,
}

type Lookup = Pin<Box<dyn Future<Output = Option<(Moment, DeviceInfo)>> + Send>>;

/// Turns events into advertisements.
pub(super) struct Pump {
    session: BluetoothSession,
    outlet: Outlet,
    status: Status,
    clock: Clock,
    call_timeout: Duration,
    /// The adapters that are listened to.
    adapters: BTreeMap<AdapterId, Mac>,
    strengths: BTreeMap<(Mac, Mac), Strength>,
    lookups: FuturesUnordered<Lookup>,
}

impl Pump {
    pub(super) fn new(
        session: BluetoothSession,
        outlet: Outlet,
        status: Status,
        clock: Clock,
        call_timeout: Duration,
    ) -> Pump {
        let (adapters, strengths) = (BTreeMap::new(), BTreeMap::new());
        Pump { session, outlet, status, clock, call_timeout, adapters, strengths, lookups: FuturesUnordered::new() }
    }

    /// Listens to these adapters.
    pub(super) fn listen(&mut self, adapters: BTreeMap<AdapterId, Mac>) {
        self.adapters = adapters;
    }

    /// The address of an adapter that is listened to.
    pub(super) fn adapter(&self, id: &AdapterId) -> Option<Mac> {
        self.adapters.get(id).copied()
    }

    /// Takes an event of a device.
    pub(super) fn take(&mut self, event: BluetoothEvent) {
        let BluetoothEvent::Device { id, event } = event else { return };
        let Some(adapter) = self.adapter(&id.adapter()) else { return };
        let Some(address) = address(&id) else { return };
        let at = self.clock.now();
        if event == DeviceEvent::Discovered {
            self.look_up(id, at);
        } else if let DeviceEvent::Rssi { rssi } = event {
            self.make_room(at);
            let strength = Strength { dbm: rssi, at, for_manufacturer: true, for_service: true };
            self.strengths.insert((adapter, address), strength);
        } else if let DeviceEvent::ManufacturerData { manufacturer_data } = event {
            let rssi_dbm = self.strength((adapter, address), at, |strength| &mut strength.for_manufacturer);
            self.hear(Advertisement {
                manufacturer: manufacturer_data.into_iter().collect(),
                ..bare(adapter, address, rssi_dbm, at)
            });
        } else if let DeviceEvent::ServiceData { service_data } = event {
            let rssi_dbm = self.strength((adapter, address), at, |strength| &mut strength.for_service);
            let service = service_data.into_iter().filter_map(|(uuid, data)| Some((short(uuid.as_u128())?, data)));
            self.hear(Advertisement { service: service.collect(), ..bare(adapter, address, rssi_dbm, at) });
        }
    }

    /// Passes on what was looked up; waits for ever if nothing is being looked up.
    pub(super) async fn looked_up(&mut self) {
        let Some(found) = self.lookups.next().await else { return std::future::pending().await };
        let Some((at, device)) = found else { return };
        let Some(adapter) = self.adapter(&device.id.adapter()) else { return };
        let Some(address) = address(&device.id) else { return };
        let kind = match device.address_type {
            AddressType::Public => AddressKind::Public,
            AddressType::Random => AddressKind::Random,
        };
        let service = device.service_data.into_iter().filter_map(|(uuid, data)| Some((short(uuid.as_u128())?, data)));
        self.hear(Advertisement {
            address_kind: Some(kind),
            manufacturer: device.manufacturer_data.into_iter().collect(),
            service: service.collect(),
            ..bare(adapter, address, device.rssi, at)
        });
    }

    fn look_up(&mut self, id: DeviceId, at: Moment) {
        if self.lookups.len() >= LOOKUPS_MAX {
            self.status.lose(Loss::Overrun, 1);
            return;
        }
        let (session, clock, timeout) = (self.session.clone(), self.clock, self.call_timeout);
        self.lookups.push(Box::pin(async move {
            let info = clock.within(timeout, session.get_device_info(&id)).await?.ok()?;
            Some((at, info))
        }));
    }

    fn hear(&self, advertisement: Advertisement) {
        self.outlet.hear(advertisement);
    }

    /// The strength that was told right before the data, once for each kind of data: a strength that is not told again
    /// does not belong to what is told again.
    fn strength(&mut self, of: (Mac, Mac), at: Moment, flag: fn(&mut Strength) -> &mut bool) -> Option<i16> {
        let strength = self.strengths.get_mut(&of)?;
        let fresh = std::mem::take(flag(strength)) && at.since(strength.at) <= STRENGTH_KEPT;
        fresh.then_some(strength.dbm)
    }

    fn make_room(&mut self, now: Moment) {
        if self.strengths.len() < STRENGTHS_MAX {
            return;
        }
        self.strengths.retain(|_, strength| now.since(strength.at) <= STRENGTH_KEPT);
        if self.strengths.len() >= STRENGTHS_MAX {
            self.strengths.clear();
        }
    }
}

fn bare(adapter: Mac, address: Mac, rssi_dbm: Option<i16>, at: Moment) -> Advertisement {
    let (manufacturer, service) = (BTreeMap::new(), BTreeMap::new());
    Advertisement { adapter, address: Some(address), address_kind: None, rssi_dbm, manufacturer, service, at }
}

/// The address stands in the object's name, as in `hci0/dev_C6_A5_B9_E0_AD_06`.
fn address(id: &DeviceId) -> Option<Mac> {
    let path = id.to_string();
    let (_, address) = path.rsplit_once("dev_")?;
    address.replace('_', ":").parse().ok()
}

fn short(uuid: u128) -> Option<u16> {
    let number = u16::try_from(uuid >> 96).ok()?;
    (uuid & !(0xffff << 96) == BASE_UUID).then_some(number)
}
