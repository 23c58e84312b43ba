//! The daemon: sockets, stores, providers, clock and shutdown around the pure engine.

pub mod catalog;
pub mod check;
pub mod client;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod document;
pub mod entropy;
pub mod lane;
pub mod log;
pub mod pipeline;
pub mod replay;
pub mod report;
pub mod retention;
pub mod sandbox;
pub mod shard;
pub mod store;
pub mod waker;
