//! What one fix says of one fence. A function of the two and of the thresholds alone: whatever else is known of the
//! device must not matter, or the order of arrival would.

use super::Settings;
use crate::{
    observation::Fix,
    region::{
        Geofence, Outlook,
        gaussian::{SHARP, sigma_m},
        sphere::Site,
    },
};

/// A fix, prepared for many fences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) fix: Fix,
    pub(super) site: Site,
    pub(super) sigma_m: f64,
    /// From this distance to the border on, a fix is decisive.
    pub(super) sharp_m: f64,
}

/// What a fix says of a fence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Inside, outside, or nothing.
    pub(super) inside: Option<bool>,
    /// The probability of being inside.
    pub(super) probability: f64,
    pub(super) outlook: Outlook,
}

impl Sight {
    pub(super) fn new(fix: &Fix) -> Sight {
        let sigma_m = sigma_m(fix.accuracy_m);
        Sight { fix: *fix, site: Site::new(fix.position), sigma_m, sharp_m: SHARP * sigma_m }
    }

    /// Judges a fence, and tells the distance to its border at least as far as `look_m`.
    pub(super) fn judge(&self, fence: &Geofence, settings: &Settings, look_m: f64) -> Verdict {
        let outlook = fence.outlook(&self.site, look_m.max(self.sharp_m));
        if outlook.border_m >= self.sharp_m {
            let probability = if outlook.inside { 1.0 } else { 0.0 };
            return Verdict { inside: Some(outlook.inside), probability, outlook };
        }
        let enter = fence.enter_probability.unwrap_or(settings.enter_probability);
        let exit = fence.exit_probability.unwrap_or(settings.exit_probability);
        let variance = self.sigma_m * self.sigma_m;
        let gap_m = outlook.gap_m();
        // No shape of this area holds more of the mass than a disc around the fix. A fix that cannot confirm a
        // presence cannot refute it by being poor either, only by being far away.
        let best = -(-fence.area_m2() / (std::f64::consts::TAU * variance)).exp_m1();
        if best < enter && (-gap_m * gap_m / (2.0 * variance)).exp() > exit {
            return Verdict { inside: None, probability: best.min(0.5), outlook };
        }
        let probability = fence.mass(&self.site, self.sigma_m);
        let inside = if probability >= enter {
            Some(true)
        } else if probability <= exit || best < enter {
            Some(false)
        } else {
            None
        };
        Verdict { inside, probability, outlook }
    }
}

impl Verdict {
    /// How sure the word is, to three digits.
    pub(super) fn confidence(&self) -> f64 {
        let sure = if self.inside == Some(false) { 1.0 - self.probability } else { self.probability };
        rounded(sure)
    }
}

/// Three digits are more than the approximation holds.
pub(super) fn rounded(probability: f64) -> f64 {
    (probability * 1_000.0).round() / 1_000.0
}
