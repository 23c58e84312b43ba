//! Several nodes as one product: real processes over a real Redis or a real cluster, under load, while things break.
//!
//! Nothing here reaches into a node. `PARVIS_NODES_ROUNDS` plays so many times as many rounds, for a long run.

#![allow(clippy::print_stderr, reason = "figures are told to whoever runs the tests")]

#[allow(dead_code, reason = "the rig of one node is shared, and this binary needs less of it")]
#[path = "../blackbox/caller.rs"]
mod caller;
#[allow(dead_code, reason = "the rig of one node is shared, and this binary needs less of it")]
#[path = "../blackbox/life.rs"]
mod life;
#[allow(dead_code, unused_imports, reason = "the rig of one node is shared, and this binary needs less of it")]
#[path = "../blackbox/rig.rs"]
mod rig;
#[allow(dead_code, reason = "the servers are shared, and this binary needs less of them")]
#[path = "../redis/server.rs"]
mod server;

mod catalog;
mod clusters;
mod crashes;
mod load;
mod nodes;
mod outages;
mod proxy;
mod rules;
