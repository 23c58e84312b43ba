//! The daemon: sockets, stores, providers, clock and shutdown around the pure engine.

pub mod catalog;
pub mod check;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod document;
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
