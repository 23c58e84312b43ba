//! The agent's own program between a BlueZ without a radio and a server: what is heard arrives, whatever fails.

mod delivery;
mod faults;
mod radio;
#[path = "../rig/mod.rs"]
mod rig;
mod scene;
mod server;
