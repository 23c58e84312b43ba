//! iBeacon identities. Pure: bytes and numbers in, values out; no radio, no clock.

mod id;

pub use id::{BeaconId, Uuid};
