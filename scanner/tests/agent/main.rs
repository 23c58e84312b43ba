//! The agent's own program between a BlueZ without a radio and a server: what is heard arrives, whatever fails.

mod commands;
mod delivery;
mod faults;
#[cfg(feature = "btleplug")]
mod portable;
mod radio;
#[path = "../rig/mod.rs"]
mod rig;
mod scene;
mod server;
mod tls;
