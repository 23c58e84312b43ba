//! The daemon: sockets, stores, providers, clock and shutdown around the pure engine.

pub mod catalog;
pub mod clock;
pub mod delivery;
pub mod entropy;
pub mod report;
pub mod sandbox;
pub mod shard;
pub mod store;
pub mod client;
pub mod lane;
pub mod pipeline;
pub mod replay;
pub mod waker;
