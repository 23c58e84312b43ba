//! Any bytes in the store's file: see `src/store/embedded/any_bytes.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parvis_fuzz::rows(bytes));
