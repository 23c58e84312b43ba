//! Ruuvi's data format 5 (docs.ruuvi.com, "Data format 5 (RAWv2)"). What a tag could not measure is nothing.

use crate::Mac;

/// Ruuvi Innovations' company identifier.
pub(super) const RUUVI: u16 = 0x0499;

const FORMAT_5: u8 = 5;

/// What a Ruuvi tag measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ruuvi {
    /// Temperature, degrees Celsius, in steps of 0.005.
    pub temperature_c: Option<f64>,
    /// Relative humidity, percent, in steps of 0.0025; a faulty sensor gives more than 100.
    pub humidity_percent: Option<f64>,
    /// Air pressure, pascals.
    pub pressure_pa: Option<u32>,
    /// Acceleration along x, y and z, thousandths of the standard gravity.
    pub acceleration_mg: [Option<i16>; 3],
    /// The battery's voltage.
    pub battery_v: Option<f64>,
    /// What the radio is set to send, dBm.
    pub power_dbm: Option<i8>,
    /// Counts movements that the accelerometer noticed, and begins again.
    pub movements: Option<u8>,
    /// Counts measurements, and begins again; packets with the same number hold the same measurement.
    pub sequence: Option<u16>,
    /// The tag's address.
    pub mac: Option<Mac>,
}

pub(super) fn format_5(data: &[u8]) -> Option<Ruuvi> {
    let [FORMAT_5, t0, t1, h0, h1, p0, p1, x0, x1, y0, y1, z0, z1, b0, b1, movements, s0, s1, mac @ ..] = data else {
        return None;
    };
    let mac = Mac(mac.try_into().ok()?);
    let [temperature, x, y, z] = [[t0, t1], [x0, x1], [y0, y1], [z0, z1]].map(signed);
    let [humidity, pressure, sequence] = [[h0, h1], [p0, p1], [s0, s1]].map(unsigned);
    let supply = u16::from_be_bytes([*b0, *b1]);
    Some(Ruuvi {
        temperature_c: temperature.map(|steps| f64::from(steps) * 0.005),
        humidity_percent: humidity.map(|steps| f64::from(steps) * 0.0025),
        pressure_pa: pressure.map(|pascals| u32::from(pascals) + 50_000),
        acceleration_mg: [x, y, z],
        battery_v: Some(supply >> 5).filter(|bits| *bits < 0x7ff).map(|bits| f64::from(bits + 1_600) / 1_000.0),
        power_dbm: i8::try_from(supply & 0x1f).ok().filter(|bits| *bits < 0x1f).map(|bits| bits * 2 - 40),
        movements: Some(*movements).filter(|count| *count < u8::MAX),
        sequence,
        mac: Some(mac).filter(|mac| mac.0 != [0xff; 6]),
    })
}

/// Of a signed number the lowest value stands for none, of an unsigned one the highest.
fn signed([high, low]: [&u8; 2]) -> Option<i16> {
    Some(i16::from_be_bytes([*high, *low])).filter(|value| *value > i16::MIN)
}

fn unsigned([high, low]: [&u8; 2]) -> Option<u16> {
    Some(u16::from_be_bytes([*high, *low])).filter(|value| *value < u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Identity, advertisement::Payload};

    // The four vectors are those of Ruuvi's documentation.
    fn read(text: &str) -> Ruuvi {
        let payload: Payload = text.parse().expect("digits");
        let Some(Frame::Ruuvi(ruuvi)) = Frame::from_manufacturer_data(RUUVI, &payload) else { panic!("{text}") };
        ruuvi
    }

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn a_measurement_is_read_in_its_units() {
        let ruuvi = read("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F");
        assert!(near(ruuvi.temperature_c, 24.3) && near(ruuvi.humidity_percent, 53.49), "{ruuvi:?}");
        assert_eq!((ruuvi.pressure_pa, ruuvi.acceleration_mg), (Some(100_044), [Some(4), Some(-4), Some(1_036)]));
        assert_eq!((ruuvi.battery_v, ruuvi.power_dbm), (Some(2.977), Some(4)));
        assert_eq!((ruuvi.movements, ruuvi.sequence), (Some(66), Some(205)));
        let mac = "cb:b8:33:4c:88:4f".parse().expect("an address");
        assert_eq!(Frame::Ruuvi(ruuvi).identity(), Some(Identity::Mac { mac }));
        assert_eq!(Frame::Ruuvi(ruuvi).measured_power_dbm(), None);
    }

    #[test]
    fn the_greatest_values_are_values() {
        let ruuvi = read("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F");
        assert!(near(ruuvi.temperature_c, 163.835) && near(ruuvi.humidity_percent, 163.835), "{ruuvi:?}");
        assert_eq!((ruuvi.pressure_pa, ruuvi.acceleration_mg), (Some(115_534), [Some(i16::MAX); 3]));
        assert_eq!((ruuvi.battery_v, ruuvi.power_dbm), (Some(3.646), Some(20)));
        assert_eq!((ruuvi.movements, ruuvi.sequence), (Some(254), Some(65_534)));
    }

    #[test]
    fn the_least_values_are_values() {
        let ruuvi = read("058001000000008001800180010000000000CBB8334C884F");
        assert!(near(ruuvi.temperature_c, -163.835) && near(ruuvi.humidity_percent, 0.0), "{ruuvi:?}");
        assert_eq!((ruuvi.pressure_pa, ruuvi.acceleration_mg), (Some(50_000), [Some(-32_767); 3]));
        assert_eq!((ruuvi.battery_v, ruuvi.power_dbm), (Some(1.6), Some(-40)));
        assert_eq!((ruuvi.movements, ruuvi.sequence), (Some(0), Some(0)));
    }

    #[test]
    fn what_is_not_known_is_nothing() {
        let nothing = Ruuvi {
            temperature_c: None,
            humidity_percent: None,
            pressure_pa: None,
            acceleration_mg: [None; 3],
            battery_v: None,
            power_dbm: None,
            movements: None,
            sequence: None,
            mac: None,
        };
        assert_eq!(read("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"), nothing);
        assert_eq!(Frame::Ruuvi(nothing).identity(), None);
    }

    #[test]
    fn other_formats_and_lengths_are_none_of_it() {
        let payload: Payload = "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F".parse().expect("digits");
        assert_eq!(Frame::from_manufacturer_data(RUUVI, &payload[..23]), None);
        assert_eq!(Frame::from_manufacturer_data(RUUVI, &[&payload[..], &[0]].concat()), None);
        let mut other = payload.to_vec();
        other[0] = 3;
        assert_eq!(Frame::from_manufacturer_data(RUUVI, &other), None);
    }
}
