//! The HTTP side over a real socket: every shape of failure, who may what, repeats, streams, formats of others.

mod access;
mod apps;
mod backup;
mod beacons;
mod catalog;
mod contract;
mod dead_letters;
mod formats;
mod live;
mod observations;
mod people;
mod repeats;
mod scanners;
mod sending;
mod server;
mod shutdown;
mod stream;
