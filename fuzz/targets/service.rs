//! Any bytes as service data: an identifier of 16 bits, little-endian, and what follows it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parvis_beacons::{Frame, advertisement::numbered};

fuzz_target!(|bytes: &[u8]| {
    let Some((service, data)) = numbered(bytes) else { return };
    if let Some(frame) = Frame::from_service_data(service, data) {
        let _ = frame.identity();
        assert!(frame.measured_power_dbm().is_none_or(f64::is_finite));
        assert!(frame.battery_v().is_none_or(|volts| volts > 0.0));
    }
});
