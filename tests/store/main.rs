//! What every store must do, said once and asked of each engine; and what the embedded store must survive.

#![allow(clippy::print_stderr, reason = "figures are told to whoever runs the tests")]

mod contract;
mod crash;
mod damage;
mod faults;
mod model;
mod rig;
