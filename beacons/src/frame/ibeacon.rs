//! iBeacon and AltBeacon: manufacturer data that name a beacon by UUID, major and minor.

use crate::{Frame, Ibeacon, Uuid};

/// Apple's company identifier.
pub(super) const APPLE: u16 = 0x004c;

/// Type and length of Apple's own structure; the company sends many others.
const APPLE_BEACON: [u8; 2] = [0x02, 0x15];
const ALTBEACON: [u8; 2] = [0xbe, 0xac];

pub(super) fn ibeacon(data: &[u8]) -> Option<Frame> {
    let (beacon, rest) = beacon(data.strip_prefix(&APPLE_BEACON)?)?;
    // Some makers add a byte of their own.
    let ([byte] | [byte, _]) = *rest else { return None };
    // Without its top bit the byte is no signal strength; those who leave it away send the battery's voltage there.
    let power = i8::from_le_bytes([byte]);
    let (measured_power_dbm, battery_v) = match power {
        ..0 => (Some(power), None),
        0 => (None, None),
        1.. => (None, Some(f64::from(power) / 10.0)),
    };
    Some(Frame::Ibeacon { beacon, measured_power_dbm, battery_v })
}

pub(super) fn altbeacon(manufacturer: u16, data: &[u8]) -> Option<Frame> {
    let (beacon, rest) = beacon(data.strip_prefix(&ALTBEACON)?)?;
    let (byte, reserved) = match *rest {
        [byte] => (byte, 0),
        [byte, reserved] | [byte, reserved, _] => (byte, reserved),
        _ => return None,
    };
    let measured_power_dbm = Some(i8::from_le_bytes([byte])).filter(|power| *power < 0);
    Some(Frame::AltBeacon { beacon, manufacturer, measured_power_dbm, reserved })
}

fn beacon(data: &[u8]) -> Option<(Ibeacon, &[u8])> {
    let (uuid, data) = data.split_first_chunk()?;
    let (major, data) = data.split_first_chunk()?;
    let (minor, data) = data.split_first_chunk()?;
    let (major, minor) = (u16::from_be_bytes(*major), u16::from_be_bytes(*minor));
    Some((Ibeacon { uuid: Uuid(*uuid), major, minor }, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, advertisement::Payload};

    /// The example of Apple's specification, behind the company identifier.
    const DATA: &str = "0215 f7826da64fa24e988024bc5b71e0893e 0007 0001 c5";

    fn read(text: &str) -> Option<Frame> {
        let payload: Payload = text.parse().expect("digits");
        Frame::from_manufacturer_data(APPLE, &payload)
    }

    #[test]
    fn only_the_company_is_little_endian() {
        let frame = read(DATA).expect("an iBeacon");
        let identity = frame.identity().expect("says who it is");
        assert_eq!(identity.to_string(), "f7826da6-4fa2-4e98-8024-bc5b71e0893e-7-1");
        assert_eq!((frame.measured_power_dbm(), frame.battery_v()), (Some(-59.0), None));
    }

    #[test]
    fn a_last_byte_without_its_top_bit_is_a_voltage() {
        let frame = read("0215fda50693a4e24fb1afcfc6eb07647825000100021a").expect("an iBeacon");
        assert_eq!((frame.measured_power_dbm(), frame.battery_v()), (None, Some(2.6)));
        let silent = read("0215fda50693a4e24fb1afcfc6eb076478250001000200").expect("an iBeacon");
        assert_eq!((silent.measured_power_dbm(), silent.battery_v()), (None, None));
    }

    #[test]
    fn one_more_byte_is_let_pass_and_nothing_else() {
        assert_eq!(read(&format!("{DATA} 64")), read(DATA));
        assert!(read(DATA).is_some());
        for text in [
            format!("{DATA} 64 00"),
            DATA.replace("c5", ""),
            DATA.replace("0215", "0214"),
            DATA.replace("0215", "0315"),
            DATA.replace("0215", "1006"),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
        let payload: Payload = DATA.parse().expect("digits");
        assert_eq!(Frame::from_manufacturer_data(0x0118, &payload), None, "another company's");
    }

    #[test]
    fn an_altbeacon_of_any_company_is_known_by_its_code() {
        let payload: Payload = "beac2f234454cf6d4a0fadf2f4911ba9ffa600010002c509".parse().expect("digits");
        for company in [0x0118, APPLE] {
            let frame = Frame::from_manufacturer_data(company, &payload).expect("an AltBeacon");
            let uuid: Uuid = "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6".parse().expect("a UUID");
            let beacon = Ibeacon { uuid, major: 1, minor: 2 };
            let expected =
                Frame::AltBeacon { beacon, manufacturer: company, measured_power_dbm: Some(-59), reserved: 9 };
            assert_eq!(frame, expected);
            assert_eq!(frame.identity(), Some(Identity::Ibeacon(beacon)));
        }
        let positive: Payload = "beac2f234454cf6d4a0fadf2f4911ba9ffa6000100021509".parse().expect("digits");
        assert_eq!(Frame::from_manufacturer_data(1, &positive).and_then(|frame| frame.measured_power_dbm()), None);
        assert_eq!(Frame::from_manufacturer_data(1, &payload[..22]), None);
    }
}
