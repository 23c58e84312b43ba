//! From advertisements to samples that may be told: what no operator has named stays on this host. Pure: time is an
//! argument.

use std::{collections::BTreeMap, time::Duration};

use parvis_beacons::{Frame, Identity, Mac};

use crate::{
    aggregate::{Sample, Second},
    clock::Moment,
    config::Beacons,
    radio::Advertisement,
};

/// The most devices whose battery is remembered.
const DEVICES_MAX: usize = 1_000;
/// How long a battery's voltage is believed to belong to the address that sent it; random addresses change.
const BATTERY_KEPT: Duration = Duration::from_secs(300);
/// Below this no receiver hears, and at or above zero none is that near: broken drivers and missing values.
const RSSI_DBM: std::ops::Range<i16> = -110..0;

/// Why an advertisement is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is none of the beacons that may be told.
    Stranger,
    /// Its signal strength is missing or can't be.
    Rssi,
}

/// Knows which beacons may be told, and joins what they send in several frames.
#[derive(Debug)]
pub struct Intake {
    beacons: Beacons,
    batteries: BTreeMap<Mac, Battery>,
}

#[derive(Clone, Copy, Debug)]
struct Battery {
    volts: f64,
    at: Moment,
}

impl Intake {
    /// Lets pass what is named here.
    pub fn new(beacons: Beacons) -> Intake {
        Intake { beacons, batteries: BTreeMap::new() }
    }

    /// What an advertisement tells.
    ///
    /// # Errors
    /// Why it tells nothing.
    pub fn take(&mut self, advertisement: &Advertisement) -> Result<Sample, Dropped> {
        let at = advertisement.at;
        let mut named = None;
        for frame in self.frames(advertisement) {
            let identity = frame.identity().filter(|identity| self.may_be_told(identity));
            match (identity, &frame, advertisement.address) {
                (Some(identity), _, _) => named = named.or(Some((identity, frame))),
                (None, Frame::EddystoneTlm(_), Some(address)) => {
                    frame.battery_v().into_iter().for_each(|volts| self.remember(address, Battery { volts, at }));
                }
                (None, _, _) => {}
            }
        }
        let (identity, frame) = named.ok_or(Dropped::Stranger)?;
        let rssi_dbm = advertisement.rssi_dbm.filter(|rssi| RSSI_DBM.contains(rssi)).ok_or(Dropped::Rssi)?;
        let (measured_power_dbm, battery_v) = (frame.measured_power_dbm(), frame.battery_v());
        Ok(Sample { identity, address: advertisement.address, rssi_dbm, measured_power_dbm, battery_v, at })
    }

    /// Tells batteries along with the beacons that their addresses belong to, each once.
    pub fn join(&mut self, seconds: &mut [Second], now: Moment) {
        self.batteries.retain(|_, battery| now.since(battery.at) <= BATTERY_KEPT);
        for second in seconds {
            let Some(battery) = second.address.and_then(|address| self.batteries.remove(&address)) else { continue };
            second.heard.battery_v.get_or_insert(battery.volts);
        }
    }

    fn frames(&self, advertisement: &Advertisement) -> Vec<Frame> {
        let looked_at =
            advertisement.manufacturer.iter().filter(|(company, _)| self.beacons.companies.contains(company));
        let manufacturers = looked_at.filter_map(|(company, data)| Frame::from_manufacturer_data(*company, data));
        let services =
            advertisement.service.iter().filter_map(|(service, data)| Frame::from_service_data(*service, data));
        manufacturers.chain(services).collect()
    }

    fn may_be_told(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Ibeacon(beacon) => self.beacons.uuids.contains(&beacon.uuid),
            Identity::Eddystone { namespace, .. } => self.beacons.namespaces.contains(namespace),
            Identity::Ephemeral { .. } => self.beacons.ephemeral,
            Identity::Mac { mac } => self.beacons.addresses.contains(mac),
        }
    }

    fn remember(&mut self, address: Mac, battery: Battery) {
        if self.batteries.len() >= DEVICES_MAX && !self.batteries.contains_key(&address) {
            self.batteries.retain(|_, known| battery.at.since(known.at) <= BATTERY_KEPT);
            let oldest = self.batteries.iter().min_by_key(|(_, known)| known.at).map(|(address, _)| *address);
            if self.batteries.len() >= DEVICES_MAX
                && let Some(oldest) = oldest
            {
                self.batteries.remove(&oldest);
            }
        }
        self.batteries.insert(address, battery);
    }
}

#[cfg(test)]
mod tests {
    use parvis_beacons::{Ibeacon, Uuid};

    use super::*;
    use crate::aggregate::Aggregate;

    const OURS: [u8; 16] = [0xf7; 16];

    fn ibeacon(uuid: [u8; 16], rssi_dbm: Option<i16>) -> Advertisement {
        let data = [&[0x02, 0x15][..], &uuid, &[0, 7, 0, 1, 0xc5]].concat();
        Advertisement { manufacturer: BTreeMap::from([(0x004c, data)]), ..nothing(rssi_dbm) }
    }

    fn nothing(rssi_dbm: Option<i16>) -> Advertisement {
        Advertisement {
            adapter: Mac([1; 6]),
            address: Some(Mac([2; 6])),
            address_kind: None,
            rssi_dbm,
            manufacturer: BTreeMap::new(),
            service: BTreeMap::new(),
            at: Moment(1_000),
        }
    }

    fn intake() -> Intake {
        let beacons = Beacons {
            uuids: [Uuid(OURS)].into(),
            companies: [0x004c, 0x0499].into(),
            addresses: [Mac([0xcb, 0xb8, 0x33, 0x4c, 0x88, 0x4f])].into(),
            ..Beacons::default()
        };
        Intake::new(beacons)
    }

    #[test]
    fn what_is_named_is_told_and_nothing_else() {
        let mut intake = intake();
        let sample = intake.take(&ibeacon(OURS, Some(-63))).expect("ours");
        assert_eq!(sample.identity, Identity::Ibeacon(Ibeacon { uuid: Uuid(OURS), major: 7, minor: 1 }));
        assert_eq!((sample.rssi_dbm, sample.measured_power_dbm), (-63, Some(-59.0)));
        assert_eq!(intake.take(&ibeacon([0xf8; 16], Some(-63))), Err(Dropped::Stranger));
        let mut cut = ibeacon(OURS, Some(-63));
        cut.manufacturer.values_mut().for_each(|data| data.truncate(21));
        assert_eq!(intake.take(&cut), Err(Dropped::Stranger));
        let elsewhere = Advertisement { manufacturer: [(0x0118, vec![0xbe, 0xac])].into(), ..nothing(Some(-63)) };
        assert_eq!(intake.take(&elsewhere), Err(Dropped::Stranger));
    }

    #[test]
    fn a_signal_strength_that_cannot_be_is_none() {
        for rssi in [None, Some(0), Some(42), Some(127), Some(-111), Some(i16::MIN)] {
            assert_eq!(intake().take(&ibeacon(OURS, rssi)), Err(Dropped::Rssi), "{rssi:?}");
        }
    }

    /// The valid vector of the format's description (docs.ruuvi.com, data format 5).
    const RUUVI: [u8; 24] = [
        0x05, 0x12, 0xfc, 0x53, 0x94, 0xc3, 0x7c, 0x00, 0x04, 0xff, 0xfc, 0x04, 0x0c, 0xac, 0x36, 0x42, 0x00, 0xcd,
        0xcb, 0xb8, 0x33, 0x4c, 0x88, 0x4f,
    ];

    #[test]
    fn devices_that_are_known_by_address_must_be_named_one_by_one() {
        let heard = |data: Vec<u8>| Advertisement { manufacturer: [(0x0499, data)].into(), ..nothing(Some(-70)) };
        let sample = intake().take(&heard(RUUVI.to_vec())).expect("named");
        assert_eq!(sample.identity, Identity::Mac { mac: "cbb8334c884f".parse().expect("an address") });
        assert!(sample.battery_v.is_some());
        let mut stranger = RUUVI;
        stranger[23] ^= 1;
        assert_eq!(intake().take(&heard(stranger.to_vec())), Err(Dropped::Stranger));
    }

    #[test]
    fn a_battery_is_told_once_with_the_beacon_of_the_same_address() {
        let mut intake = intake();
        let telemetry = vec![0x20, 0, 0x0b, 0x54, 0x15, 0, 0, 0, 0, 9, 0, 0, 0, 9];
        let telemetry = Advertisement { service: [(0xfeaa, telemetry)].into(), ..nothing(Some(-60)) };
        assert_eq!(intake.take(&telemetry), Err(Dropped::Stranger));
        let mut batteries = Vec::new();
        for _ in 0..2 {
            let mut aggregate = Aggregate::default();
            aggregate.add(intake.take(&ibeacon(OURS, Some(-63))).expect("ours"));
            let mut seconds = aggregate.take_all();
            intake.join(&mut seconds, Moment(60_000));
            batteries.push(seconds[0].heard.battery_v);
        }
        assert_eq!(batteries, [Some(2.9), None]);
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut intake = intake();
        for number in 0..5_000_u64 {
            let [.., a, b] = number.to_be_bytes();
            let battery = Battery { volts: 3.0, at: Moment(number) };
            intake.remember(Mac([0xc0, 0, 0, 0, a, b]), battery);
        }
        assert_eq!(intake.batteries.len(), DEVICES_MAX);
        assert!(intake.batteries.values().all(|battery| battery.at >= Moment(4_000)));
    }
}
