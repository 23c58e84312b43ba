//! What beacons say: the frames that an advertisement can hold, whichever way it was received.
//!
//! Reads any bytes: what is none of these frames is nothing. Trusts nothing either: whoever has a transmitter can send
//! any of them.

mod eddystone;
mod ibeacon;
mod ruuvi;

pub use eddystone::Telemetry;
pub use ruuvi::Ruuvi;

use crate::{
    Ephemeral, Ibeacon, Identity, Instance, Namespace,
    advertisement::{MANUFACTURER_DATA, SERVICE_DATA, Structure, numbered, structures},
};

/// What a beacon sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frame {
    /// Apple's, Proximity Beacon Specification R1.
    Ibeacon {
        /// Who.
        beacon: Ibeacon,
        /// Signal strength at one metre, dBm; nothing if the byte can't be one.
        measured_power_dbm: Option<i8>,
        /// The battery's voltage: some makers send tenths of a volt in place of the measured power.
        battery_v: Option<f64>,
    },
    /// Its open counterpart (github.com/AltBeacon/spec), with the identifier divided as an iBeacon's.
    AltBeacon {
        /// Who.
        beacon: Ibeacon,
        /// The company identifier of the manufacturer.
        manufacturer: u16,
        /// Signal strength at one metre, dBm; nothing if the byte can't be one.
        measured_power_dbm: Option<i8>,
        /// What the manufacturer makes of the last byte; zero if it is not sent.
        reserved: u8,
    },
    /// Eddystone-UID (github.com/google/eddystone, as are the next two).
    EddystoneUid {
        /// Whose.
        namespace: Namespace,
        /// Which.
        instance: Instance,
        /// Signal strength right at the beacon, dBm.
        power_at_0m_dbm: i8,
    },
    /// Eddystone-TLM: how a beacon fares. Does not say which; only the address that sent it tells.
    EddystoneTlm(Telemetry),
    /// Eddystone-EID.
    EddystoneEid {
        /// What it calls itself until the next rotation.
        eid: Ephemeral,
        /// Signal strength right at the beacon, dBm.
        power_at_0m_dbm: i8,
    },
    /// A Ruuvi tag, data format 5.
    Ruuvi(Ruuvi),
}

/// What the signal loses over the first metre (Eddystone-UID specification), dB.
const FIRST_METRE_DB: f64 = 41.0;

impl Frame {
    /// What an advertisement says: its first frame that says who sent it, else its first frame.
    pub fn from_advertisement(bytes: &[u8]) -> Option<Frame> {
        let first = frames(bytes).next()?;
        if first.identity().is_some() {
            return Some(first);
        }
        frames(bytes).find(|frame| frame.identity().is_some()).or(Some(first))
    }

    /// What is in manufacturer data; `data` begins behind the company identifier.
    pub fn from_manufacturer_data(company: u16, data: &[u8]) -> Option<Frame> {
        match company {
            ibeacon::APPLE => ibeacon::ibeacon(data),
            ruuvi::RUUVI => ruuvi::format_5(data).map(Frame::Ruuvi),
            _ => None,
        }
        .or_else(|| ibeacon::altbeacon(company, data))
    }

    /// What is in service data; `data` begins behind the service's identifier of 16 bits.
    pub fn from_service_data(service: u16, data: &[u8]) -> Option<Frame> {
        if service == eddystone::SERVICE { eddystone::frame(data) } else { None }
    }

    /// Who sent it, if the frame says so.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Frame::Ibeacon { beacon, .. } | Frame::AltBeacon { beacon, .. } => Some(Identity::Ibeacon(*beacon)),
            Frame::EddystoneUid { namespace, instance, .. } => {
                Some(Identity::Eddystone { namespace: *namespace, instance: *instance })
            }
            Frame::EddystoneEid { eid, .. } => Some(Identity::Ephemeral { eid: *eid }),
            Frame::Ruuvi(ruuvi) => ruuvi.mac.map(|mac| Identity::Mac { mac }),
            Frame::EddystoneTlm(_) => None,
        }
    }

    /// The signal strength that the beacon announces for one metre, dBm. What a radio was set to send is no such thing.
    pub fn measured_power_dbm(&self) -> Option<f64> {
        match self {
            Frame::Ibeacon { measured_power_dbm, .. } | Frame::AltBeacon { measured_power_dbm, .. } => {
                measured_power_dbm.map(f64::from)
            }
            Frame::EddystoneUid { power_at_0m_dbm, .. } | Frame::EddystoneEid { power_at_0m_dbm, .. } => {
                Some(f64::from(*power_at_0m_dbm) - FIRST_METRE_DB)
            }
            Frame::EddystoneTlm(_) | Frame::Ruuvi(_) => None,
        }
    }

    /// The voltage of the beacon's battery.
    pub fn battery_v(&self) -> Option<f64> {
        match self {
            Frame::Ibeacon { battery_v, .. } => *battery_v,
            Frame::EddystoneTlm(telemetry) => telemetry.battery_v,
            Frame::Ruuvi(ruuvi) => ruuvi.battery_v,
            Frame::AltBeacon { .. } | Frame::EddystoneUid { .. } | Frame::EddystoneEid { .. } => None,
        }
    }
}

/// All frames in an advertisement, in their order. An advertisement with its scan response can hold several.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame> {
    structures(bytes).filter_map(frame)
}

fn frame(structure: Structure<'_>) -> Option<Frame> {
    match structure.kind {
        MANUFACTURER_DATA => {
            numbered(structure.data).and_then(|(company, data)| Frame::from_manufacturer_data(company, data))
        }
        SERVICE_DATA => numbered(structure.data).and_then(|(service, data)| Frame::from_service_data(service, data)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::advertisement::Payload;

    #[test]
    fn the_frame_that_says_who_goes_first() {
        let both = "020106 1116aafe20000b18130000001467 00002ac4 \
            1aff4c000215fda50693a4e24fb1afcfc6eb0764782500010002d8";
        let payload: Payload = both.parse().expect("digits");
        let found: Vec<Frame> = frames(&payload).collect();
        assert!(matches!(found[..], [Frame::EddystoneTlm(_), Frame::Ibeacon { .. }]), "{found:?}");
        assert_eq!(Frame::from_advertisement(&payload), Some(found[1]));
        assert_eq!(Frame::from_advertisement(&payload[..21]), Some(found[0]));
    }

    #[test]
    fn what_comes_from_elsewhere_is_nothing() {
        for text in [
            "02011a020a070bff4c0010061f1978d89a28",
            "07ff4c0012020001",
            "0201060303E1FF0D16E1FFA10264000832A03F23AC",
            "0303aafe1316aafe10f803676974687562 00 63697472757a",
            "03ff4c00",
            "02ff4c",
            "0316aafe",
        ] {
            let payload: Payload = text.parse().expect(text);
            assert_eq!(Frame::from_advertisement(&payload), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_nothing(number: u16, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for company in [number, 0x004c, 0x0499] {
                let _ = Frame::from_manufacturer_data(company, &bytes).map(|frame| frame.identity());
            }
            for service in [number, 0xfeaa] {
                let _ = Frame::from_service_data(service, &bytes).map(|frame| frame.measured_power_dbm());
            }
            let _ = Frame::from_advertisement(&bytes).map(|frame| frame.battery_v());
        }

        /// Bytes that nearly are a frame reach deeper than random ones.
        #[test]
        fn bytes_behind_a_frames_beginning_are_a_frame_or_nothing(
            beginning in prop::sample::select(vec![
                "1aff4c000215", "1bff1801beac", "1716aafe00", "1116aafe2000", "0d16aafe30", "1bff990405",
            ]),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            cut in 0_u8..8,
        ) {
            let beginning: Payload = beginning.parse().expect("digits");
            let mut advertisement = [&beginning[..], &bytes].concat();
            advertisement[0] -= cut;
            for frame in frames(&advertisement) {
                let _ = (frame.identity(), frame.measured_power_dbm(), frame.battery_v());
            }
        }
    }
}
