//! Any bytes as manufacturer data: a company identifier, little-endian, and what follows it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parvis_beacons::{Frame, advertisement::numbered};

fuzz_target!(|bytes: &[u8]| {
    let Some((company, data)) = numbered(bytes) else { return };
    if let Some(frame) = Frame::from_manufacturer_data(company, data) {
        let _ = frame.identity();
        assert!(frame.measured_power_dbm().is_none_or(|power_dbm| power_dbm < 0.0));
        assert!(frame.battery_v().is_none_or(|volts| volts > 0.0));
    }
});
