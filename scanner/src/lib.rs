//! The scanner agent: hears beacons, sums up what it heard by second, and sends it to Parvis; keeps it while Parvis is
//! away.
//!
//! ```text
//! radio -> intake -> aggregate -> uplink -> the server
//!                                 queue
//! ```
//!
//! Decides nothing about shoppers, and tells of no beacon that its configuration does not name.

pub mod agent;
pub mod aggregate;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod intake;
pub mod probe;
pub mod queue;
pub mod radio;
pub mod status;
pub mod tally;
pub mod uplink;
