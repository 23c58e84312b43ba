//! Any requests to a node: see `tests/corpus/checks/api.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parvis_fuzz::api(bytes));
