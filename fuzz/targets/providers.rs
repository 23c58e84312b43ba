//! Any answer of a push service, and any key: see `tests/corpus/checks/providers.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parvis_fuzz::providers(bytes));
