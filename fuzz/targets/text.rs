//! Any text as an advertisement in hexadecimal digits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parvis_beacons::advertisement::{BYTES_MAX, Payload};

fuzz_target!(|text: &str| {
    if let Ok(payload) = text.parse::<Payload>() {
        assert!((1..=BYTES_MAX).contains(&payload.len()));
        let again: Payload = format!("{payload:?}").parse().expect("what was written is read");
        assert_eq!(*again, *payload);
    }
});
