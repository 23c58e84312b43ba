//! What a recording with known truth teaches: how scanners and beacons differ, and how well zones were told.
//!
//! Pure: whoever calls this has read the recording. Times are milliseconds since an epoch of the caller's.

mod judgement;
mod learning;

pub use judgement::{Judgement, Stay, judge};
pub use learning::{Estimate, Learned, Sample, learn};
