//! Eddystone: service data that name a beacon, or say how it fares. Its fourth frame, a link, is not read: a link from
//! the air has no place in what shoppers are told.

use std::time::Duration;

use crate::{Ephemeral, Frame, Instance, Namespace};

/// The service's identifier.
pub(super) const SERVICE: u16 = 0xfeaa;

const UID: u8 = 0x00;
const TLM: u8 = 0x20;
const EID: u8 = 0x30;
/// Telemetry that is not encrypted.
const TLM_PLAIN: u8 = 0x00;

/// How a beacon fares: the content of an Eddystone-TLM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telemetry {
    /// The battery's voltage; nothing if the beacon has none or does not measure it.
    pub battery_v: Option<f64>,
    /// The beacon's temperature, degrees Celsius; nothing if it does not measure it.
    pub temperature_c: Option<f64>,
    /// How many advertisements it has sent since it was powered or reset.
    pub advertisements: u32,
    /// Since when, to a tenth of a second.
    pub uptime: Duration,
}

pub(super) fn frame(data: &[u8]) -> Option<Frame> {
    let (kind, data) = data.split_first()?;
    match *kind {
        UID => uid(data),
        TLM => telemetry(data).map(Frame::EddystoneTlm),
        EID => eid(data),
        _ => None,
    }
}

fn uid(data: &[u8]) -> Option<Frame> {
    let (power, data) = data.split_first()?;
    let (namespace, data) = data.split_first_chunk()?;
    let (instance, reserved) = data.split_first_chunk()?;
    // Two bytes are reserved; old beacons leave them away.
    let frame = Frame::EddystoneUid {
        namespace: Namespace(*namespace),
        instance: Instance(*instance),
        power_at_0m_dbm: i8::from_le_bytes([*power]),
    };
    (reserved.len() <= 2).then_some(frame)
}

fn telemetry(data: &[u8]) -> Option<Telemetry> {
    let [TLM_PLAIN, rest @ ..] = data else { return None };
    let [b0, b1, t0, t1, a0, a1, a2, a3, u0, u1, u2, u3] = *rest else { return None };
    let millivolts = u16::from_be_bytes([b0, b1]);
    // A signed 8.8 fixed-point number; its lowest value stands for no sensor.
    let temperature = i16::from_be_bytes([t0, t1]);
    let tenths = u32::from_be_bytes([u0, u1, u2, u3]);
    Some(Telemetry {
        battery_v: (millivolts > 0).then(|| f64::from(millivolts) / 1_000.0),
        temperature_c: (temperature > i16::MIN).then(|| f64::from(temperature) / 256.0),
        advertisements: u32::from_be_bytes([a0, a1, a2, a3]),
        uptime: Duration::from_millis(u64::from(tenths) * 100),
    })
}

fn eid(data: &[u8]) -> Option<Frame> {
    let (power, data) = data.split_first()?;
    let eid = Ephemeral(data.try_into().ok()?);
    Some(Frame::EddystoneEid { eid, power_at_0m_dbm: i8::from_le_bytes([*power]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, advertisement::Payload};

    fn read(text: &str) -> Option<Frame> {
        let payload: Payload = text.parse().expect("digits");
        Frame::from_service_data(SERVICE, &payload)
    }

    #[test]
    fn a_uid_names_namespace_and_instance() {
        let frame = read("00 e3 12345678901234678901 000000000001 0000").expect("a UID");
        assert_eq!(frame.identity().map(|id| id.to_string()).as_deref(), Some("12345678901234678901-000000000001"));
        assert_eq!(frame.measured_power_dbm(), Some(-70.0), "-29 dBm at the beacon");
        assert_eq!(read("00 e3 12345678901234678901 000000000001"), Some(frame));
        assert_eq!(read("00 e3 12345678901234678901 0000000000"), None);
        assert_eq!(read("00 e3 12345678901234678901 000000000001 0000 00"), None);
    }

    #[test]
    fn telemetry_tells_volts_degrees_and_seconds() {
        let frame = read("20 00 0b18 1380 00001467 00002ac4").expect("telemetry");
        let telemetry = Telemetry {
            battery_v: Some(2.84),
            temperature_c: Some(19.5),
            advertisements: 5_223,
            uptime: Duration::from_millis(1_094_800),
        };
        assert_eq!(frame, Frame::EddystoneTlm(telemetry));
        assert_eq!((frame.identity(), frame.battery_v()), (None, Some(2.84)));
        let cold = read("20 00 0000 ff80 ffffffff ffffffff").expect("telemetry");
        let Frame::EddystoneTlm(cold) = cold else { panic!("telemetry") };
        assert_eq!((cold.battery_v, cold.temperature_c), (None, Some(-0.5)));
        let blind = read("20 00 0b18 8000 00000000 00000000").expect("telemetry");
        assert!(matches!(blind, Frame::EddystoneTlm(Telemetry { temperature_c: None, .. })));
    }

    #[test]
    fn encrypted_or_broken_telemetry_is_nothing() {
        assert_eq!(read("20 01 414141414141414141414141 dead beef"), None);
        assert_eq!(read("20 00 0b18 1300 00001467 00002a"), None);
        assert_eq!(read("20"), None);
    }

    #[test]
    fn an_ephemeral_identifier_has_eight_bytes() {
        let frame = read("30 e3 4549445f74657374").expect("an EID");
        assert_eq!(frame.identity(), Some(Identity::Ephemeral { eid: Ephemeral(*b"EID_test") }));
        assert_eq!(frame.measured_power_dbm(), Some(-70.0));
        assert_eq!(read("30 e3 4549445f746573"), None);
        assert_eq!(read("30 e3 4549445f7465737400"), None);
    }
}
