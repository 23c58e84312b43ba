//! Any bytes from a broker: see `src/mqtt/any_bytes.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parvis_fuzz::packets(bytes));
