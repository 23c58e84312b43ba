//! The pure core of Parvis.
//!
//! World, shopper state, observation and time go in; decisions come out. There is no clock, no randomness, no
//! network, no file and no task here: time and chance are arguments, outcomes are values, and the same input
//! gives the same output on every machine. `src/pipeline.rs` of the daemon shows the order of the calls:
//! [`normalise`], [`track`], [`matching`], [`decide`].

pub mod audience;
pub mod campaign;
pub mod change;
pub mod content;
pub mod decide;
pub mod explain;
#[cfg(test)]
mod fixture;
pub mod gates;
pub mod id;
pub mod matching;
pub mod normalise;
pub mod notification;
pub mod observation;
pub mod order;
pub mod per_device;
pub mod problem;
pub mod rare;
pub mod region;
pub mod registry;
pub mod retry;
mod rtree;
pub mod schedule;
pub mod shopper;
pub mod store;
pub mod time;
pub mod track;
pub mod word;
pub mod world;

pub use parvis_beacons as beacons;
