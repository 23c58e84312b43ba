//! How near a phone is to one beacon: immediate, near or far, without flapping at the borders.

use serde::{Deserialize, Serialize};

use super::Settings;

/// How near a beacon is, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proximity {
    /// In the hand, or a hand's breadth away.
    Immediate,
    /// At the same shelf.
    Near,
    /// Heard.
    Far,
}

/// The proximity at a distance in metres, after `known`. A nearer zone is taken at its border, a farther one only at
/// `leave_factor` times that border. A distance that is negative or no number leaves what is known, or is far.
pub fn proximity(known: Option<Proximity>, distance_m: f64, settings: &Settings) -> Proximity {
    if !(0.0..=f64::INFINITY).contains(&distance_m) {
        return known.unwrap_or(Proximity::Far);
    }
    let at = |factor: f64| {
        if distance_m < settings.immediate_m * factor {
            Proximity::Immediate
        } else if distance_m < settings.near_m * factor {
            Proximity::Near
        } else {
            Proximity::Far
        }
    };
    // As near as the plain borders say, and otherwise no farther than the widened ones make necessary.
    known.map_or(at(1.0), |known| at(1.0).min(known.max(at(settings.leave_factor))))
}

/// The distance in metres at which a beacon is heard this strongly, if it is heard at `measured_power_dbm` at one
/// metre: `10^((measured_power - rssi) / (10 exponent))`. Source: the log-distance path loss model, T. S. Rappaport,
/// Wireless Communications: Principles and Practice, section 4.9. Between shelves it is often wrong by a factor of two
/// or more; only zones are told by it that are that coarse.
pub fn distance_m(rssi_dbm: f64, measured_power_dbm: f64, exponent: f64) -> f64 {
    10_f64.powf((measured_power_dbm - rssi_dbm) / (10.0 * exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn distance_follows_the_model() {
        assert!((distance_m(-59.0, -59.0, 2.7) - 1.0).abs() < 1e-12);
        assert!((distance_m(-79.0, -59.0, 2.0) - 10.0).abs() < 1e-9);
        assert!(distance_m(-40.0, -59.0, 2.7) < 0.2);
    }

    #[test]
    fn a_zone_is_left_only_beyond_its_border() {
        let settings = Settings::default();
        let next = |known, distance_m| proximity(known, distance_m, &settings);
        assert_eq!(next(None, 0.4), Proximity::Immediate);
        assert_eq!(next(None, 0.6), Proximity::Near);
        assert_eq!(next(Some(Proximity::Immediate), 0.6), Proximity::Immediate);
        assert_eq!(next(Some(Proximity::Immediate), 0.7), Proximity::Near);
        assert_eq!(next(Some(Proximity::Immediate), 3.5), Proximity::Near);
        assert_eq!(next(Some(Proximity::Immediate), 4.0), Proximity::Far);
        assert_eq!(next(Some(Proximity::Near), 3.8), Proximity::Near);
        assert_eq!(next(Some(Proximity::Far), 3.8), Proximity::Far);
        assert_eq!(next(Some(Proximity::Far), 2.9), Proximity::Near);
        assert_eq!(next(Some(Proximity::Far), 0.1), Proximity::Immediate);
    }

    #[test]
    fn no_distance_leaves_what_is_known() {
        let settings = Settings::default();
        for nothing in [-1.0, f64::NAN] {
            assert_eq!(proximity(Some(Proximity::Near), nothing, &settings), Proximity::Near);
            assert_eq!(proximity(None, nothing, &settings), Proximity::Far);
        }
    }

    proptest! {
        #[test]
        fn noise_within_the_hysteresis_changes_nothing(
            border in prop_oneof![Just(0.5), Just(3.0)],
            noise in prop::collection::vec(1.0_f64..1.29, 1..30),
            start in prop_oneof![Just(None), Just(Some(Proximity::Immediate)), Just(Some(Proximity::Near)), Just(Some(Proximity::Far))],
        ) {
            let settings = Settings::default();
            let first = proximity(start, border * noise[0], &settings);
            let last = noise.iter().fold(first, |known, factor| proximity(Some(known), border * factor, &settings));
            prop_assert_eq!(first, last);
        }

        #[test]
        fn repeating_a_distance_changes_nothing(distance_m in 0.0_f64..20.0, before in 0.0_f64..20.0) {
            let settings = Settings::default();
            let once = proximity(Some(proximity(None, before, &settings)), distance_m, &settings);
            prop_assert_eq!(proximity(Some(once), distance_m, &settings), once);
        }
    }
}
