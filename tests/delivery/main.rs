//! From the outbox to push services that fail: real lanes and couriers, real connections, the services on this machine.
//!
//! Nothing is lost, nothing is sent after its expiry, and a provider in trouble holds up nobody else.

mod apps;
mod duplicates;
mod reload;
mod rig;
mod storm;
