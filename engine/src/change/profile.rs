//! What the retailer says of a shopper.

use super::{check_locale, check_text, check_zone};
use crate::{
    problem::Problem,
    shopper::{Consents, Profile, Shopper},
};

/// The most segments of a shopper.
const SEGMENTS_MAX: usize = 200;
/// The most attributes of a shopper.
const ATTRIBUTES_MAX: usize = 100;
/// The longest name of a segment, a tier or a consent text, in bytes.
const NAME_MAX: usize = 64;

/// What is wrong with a profile.
pub fn profile_problems(profile: &Profile) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(check_locale("/locale", profile.locale.as_deref()));
    problems.extend(check_zone("/time_zone", profile.time_zone.as_deref()));
    if profile.segments.len() > SEGMENTS_MAX {
        problems.push(Problem::new("/segments", format!("at most {SEGMENTS_MAX} segments")));
    }
    for (at, segment) in profile.segments.iter().take(SEGMENTS_MAX).enumerate() {
        problems.extend(check_text(&format!("/segments/{at}"), segment, NAME_MAX));
    }
    if profile.attributes.len() > ATTRIBUTES_MAX {
        problems.push(Problem::new("/attributes", format!("at most {ATTRIBUTES_MAX} attributes")));
    }
    for (name, attribute) in profile.attributes.iter().take(ATTRIBUTES_MAX) {
        problems
            .extend(attribute.check(name).err().map(|message| Problem::new(format!("/attributes/{name}"), message)));
    }
    if let Some(tier) = profile.loyalty.as_ref().and_then(|loyalty| loyalty.tier.as_ref()) {
        problems.extend(check_text("/loyalty/tier", tier, NAME_MAX));
    }
    problems.extend(consent_problems(&profile.consents));
    problems
}

/// Puts a profile in the place of the old one; devices, sends, interests and orders stay. Without consent to the use
/// of locations every presence ends, silently.
pub fn replace_profile(shopper: &mut Shopper, profile: Profile) {
    shopper.profile = profile;
    if !shopper.profile.consents.allow_location() {
        end_presences(shopper);
    }
}

/// Forgets where a shopper's devices are. Nobody is told, and no visit ends by it.
pub fn end_presences(shopper: &mut Shopper) {
    for device in shopper.devices.values_mut() {
        device.presences.clear();
        device.left_at = None;
    }
}

pub(super) fn consent_problems(consents: &Consents) -> Vec<Problem> {
    let all = [("location", &consents.location), ("offers", &consents.offers), ("orders", &consents.orders)];
    let texts = all.into_iter().filter_map(|(name, consent)| Some((name, consent.as_ref()?.text.as_ref()?)));
    texts.filter_map(|(name, text)| check_text(&format!("/consents/{name}/text"), text, NAME_MAX)).collect()
}
