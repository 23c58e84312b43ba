//! The store on Redis, shared by any number of nodes.

mod address;
mod call;
mod cluster;
mod config;
mod link;
mod node;
mod opener;
mod refusal;
mod script;

pub use self::{
    address::Address,
    call::Call,
    config::{Config, Demand, Topology},
    link::Link,
    script::Script,
};
