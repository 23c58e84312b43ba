//! The daemon as its users have it: the real binary in a process of its own, real HTTP, providers behind TLS.
//!
//! Nothing here reaches into the daemon. What it did is seen through its API, its log and what the providers received.

#![allow(clippy::print_stderr, reason = "figures are told to whoever runs the tests")]

mod backup;
mod beacons;
mod caller;
mod channels;
mod commands;
mod crash;
mod erasure;
mod formats;
mod full;
mod hurried;
mod input;
mod life;
mod lifecycle;
mod live;
mod orders;
mod providers;
mod radio;
mod restart;
mod rig;
mod scanners;
mod submit;
mod webhooks;
