//! The daemon: sockets, stores, providers, clock and shutdown around the pure engine.

pub mod app;
pub mod backup;
pub mod calibrate;
pub mod catalog;
pub mod check;
pub mod client;
pub mod clock;
pub mod config;
pub mod dead_letters;
pub mod delivery;
pub mod demo;
pub mod document;
pub mod entropy;
pub mod fleet;
pub mod http;
pub mod ingest;
pub mod json;
pub mod keys;
pub mod lane;
pub mod log;
pub mod mqtt;
pub mod pipeline;
mod rename;
pub mod replay;
#[cfg(test)]
#[path = "../tests/corpus/replay.rs"]
mod replay_corpus;
pub mod report;
pub mod retention;
pub mod sandbox;
pub mod shard;
pub mod store;
pub mod submit;
pub mod waker;
pub mod walk;
pub mod webhook;
