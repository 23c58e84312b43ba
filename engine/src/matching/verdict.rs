//! What one fix says of one fence. A function of the two and of the thresholds alone: whatever else is known of the
//! device must not matter, or the order of arrival would.

use super::Settings;
use crate::{
    observation::Place,
    region::{
        Geofence, Outlook,
        gaussian::{SHARP, sigma_m},
        sphere::Site,
    },
    world::World,
};

/// A fix, prepared for many fences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) fix: Place,
    pub(super) site: Site,
    pub(super) sigma_m: f64,
    /// From this distance to the border on, a fix is decisive.
    pub(super) sharp_m: f64,
    /// The same where the fix is outside, for whatever fence of the world.
    pub(super) outside_m: f64,
}

/// What a fix says of a fence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Inside, outside, or nothing.
    pub(super) inside: Option<bool>,
    pub(super) outlook: Outlook,
}

impl Sight {
    pub(super) fn new(fix: &Place, world: &World) -> Sight {
        let sigma_m = sigma_m(fix.accuracy_m);
        let exit = world.settings.presence.exit_probability.min(world.regions.exit_least());
        // Nothing that is judged is nearer than the index says; what is added is for rounding.
        let outside_m = 1.01 * sigma_m * (-2.0 * exit.ln()).sqrt();
        let sharp_m = SHARP * sigma_m;
        Sight { fix: *fix, site: Site::new(fix.position), sigma_m, sharp_m, outside_m: outside_m.min(sharp_m) }
    }

    /// Judges a fence, and tells the distance to its border at least as far as `look_m`. The integral is taken only
    /// where the largest disc around the fix that the border leaves alone does not settle it.
    pub(super) fn judge(&self, fence: &Geofence, settings: &Settings, look_m: f64) -> Verdict {
        let outlook = fence.outlook(&self.site, look_m.max(self.sharp_m));
        if outlook.border_m >= self.sharp_m {
            return Verdict { inside: Some(outlook.inside), outlook };
        }
        let enter = fence.enter_probability.unwrap_or(settings.enter_probability);
        let exit = fence.exit_probability.unwrap_or(settings.exit_probability);
        let variance = self.sigma_m * self.sigma_m;
        let beyond = (-outlook.border_m * outlook.border_m / (2.0 * variance)).exp();
        if outlook.inside && 1.0 - beyond >= enter || !outlook.inside && beyond <= exit {
            return Verdict { inside: Some(outlook.inside), outlook };
        }
        // No shape of this area holds more of the mass than a disc around the fix. A fix that cannot confirm a
        // presence cannot refute it by being poor either, only by being far away.
        let best = -(-fence.area_m2() / (std::f64::consts::TAU * variance)).exp_m1();
        if best < enter {
            return Verdict { inside: None, outlook };
        }
        let probability = fence.mass(&self.site, self.sigma_m);
        let inside = if probability >= enter {
            Some(true)
        } else if probability <= exit {
            Some(false)
        } else {
            None
        };
        Verdict { inside, outlook }
    }

    /// How sure it is that the device is inside, or outside.
    pub(super) fn confidence(&self, fence: &Geofence, inside: bool) -> f64 {
        let probability = fence.probability(self.fix.position, self.fix.accuracy_m);
        rounded(if inside { probability } else { 1.0 - probability })
    }
}

/// Three digits are more than the approximation holds.
pub(super) fn rounded(probability: f64) -> f64 {
    (probability * 1_000.0).round() / 1_000.0
}
