//! What every store must do, said once and asked of each engine; and what the embedded store must survive.

#![allow(clippy::print_stderr, reason = "figures are told to whoever runs the tests")]

mod backup;
mod contract;
mod crash;
mod damage;
mod faults;
mod model;
mod moves;
mod rig;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../redis/server.rs"]
mod server;
mod together;
