//! Any bytes as a report: see `tests/corpus/checks/reports.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parvis_fuzz::reports(bytes));
