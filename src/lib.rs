//! The daemon: sockets, stores, providers, clock and shutdown around the pure engine.

pub mod catalog;
pub mod check;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod document;
pub mod entropy;
pub mod http;
pub mod ingest;
pub mod json;
pub mod keys;
pub mod report;
pub mod shard;
pub mod store;
