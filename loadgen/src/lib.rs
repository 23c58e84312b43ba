//! The synthetic city: streets, shops, walkers and what their phones report, all from one seed. It opens no connection
//! and reads no clock; the driver in `main.rs` does both.

pub mod city;
pub mod scenario;
pub mod wire;
pub mod world;
