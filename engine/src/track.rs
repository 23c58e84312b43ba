//! From single fixes to movement: which fix is newest, which is late, which jump is not to be believed yet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    observation::{Crossing, Fix},
    shopper::Track,
};

/// What a device did, as far as one observation tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Movement {
    /// Said before; changes nothing.
    Repeat,
    /// Too far from the last fix to be believed alone; waits for a second one.
    Held,
    /// The newest fix, and the one before it if the way between them is plausible.
    Advanced {
        /// Where it was.
        from: Option<Fix>,
        /// Where it is.
        to: Fix,
    },
    /// A jump that a second fix has confirmed: both are new, oldest first.
    Confirmed {
        /// The fix that was held.
        held: Fix,
        /// The fix that confirms it.
        to: Fix,
    },
    /// Older than the newest fix.
    Late {
        /// Where it was then.
        fix: Fix,
    },
    /// The phone noticed a border.
    Crossed(Crossing),
}

/// Which jumps are believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The fastest that a shopper is believed to travel, metres per second.
    pub speed_max_mps: f64,
    /// The longest time between two fixes for which the straight way between them counts as passed.
    #[serde(with = "crate::time::duration")]
    pub pass_gap_max: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { speed_max_mps: 100.0, pass_gap_max: Duration::from_secs(300) }
    }
}

/// Takes one trusted fix into the track.
pub fn advance(_track: &mut Track, fix: Fix, _settings: &Settings) -> Movement {
    Movement::Advanced { from: None, to: fix }
}
