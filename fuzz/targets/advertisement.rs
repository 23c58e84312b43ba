//! Any bytes as an advertisement.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parvis_beacons::{Frame, advertisement::structures, frame::frames};

fuzz_target!(|bytes: &[u8]| {
    let length: usize = structures(bytes).map(|structure| structure.data.len() + 2).sum();
    assert!(length <= bytes.len());
    let mut found = 0;
    for frame in frames(bytes) {
        let (measured_power_dbm, battery_v) = (frame.measured_power_dbm(), frame.battery_v());
        assert!(measured_power_dbm.is_none_or(f64::is_finite));
        assert!(battery_v.is_none_or(|volts| volts.is_finite() && volts > 0.0));
        found += 1;
    }
    assert_eq!(Frame::from_advertisement(bytes).is_some(), found > 0);
});
