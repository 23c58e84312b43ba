//! Beacons: who they say they are. Pure: bytes and numbers in, values out; no radio, no clock.

pub mod advertisement;
pub mod calibration;
pub mod eid;
pub mod frame;
mod id;
pub mod ranging;
pub mod report;

pub use frame::Frame;
pub use id::{Ephemeral, Ibeacon, Identity, Instance, Mac, Namespace, Uuid};
