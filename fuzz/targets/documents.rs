//! Any text as a file, an object or a body: see `tests/corpus/checks/documents.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parvis_fuzz::documents(bytes));
