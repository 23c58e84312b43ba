//! Beacons: who they say they are. Pure: bytes and numbers in, values out; no radio, no clock.

mod id;
pub mod ranging;
pub mod report;

pub use id::{Ephemeral, Ibeacon, Identity, Instance, Mac, Namespace, Uuid};
