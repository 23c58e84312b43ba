//! Ranging on synthetic walks through a shop: what must hold on every walk, and the tables of `docs/ranging.md`.
//!
//! `cargo test -p parvis-beacons --test walks -- --nocapture --test-threads 1 table` prints the tables.

mod chance;
mod listen;
mod properties;
mod radio;
mod scene;
mod shop;
mod survey;
mod tables;
mod walker;
