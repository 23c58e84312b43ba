//! Which zone: a score for each zone that is heard, and a choice that does not flap.

use std::collections::BTreeMap;

use super::{Level, Settings};

/// How strongly a zone is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Score<Z> {
    /// The zone.
    pub zone: Z,
    /// The mean of its sources, dBm.
    pub level_dbm: f64,
}

/// The zone that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<Z> {
    /// The zone.
    pub zone: Z,
    /// How sure that is among all zones that are heard, 0 to 1; not above a half while another zone is stronger, but
    /// not by the margin.
    pub confidence: f64,
    /// The strongest other zone.
    pub runner_up: Option<Z>,
}

/// The zones that are heard at a moment, in their order: for each, the mean of its live sources, where each of the
/// `silent` ones (healthy scanners of the zone that do not hear what its others hear) counts as `silent_dbm`.
///
/// A source that rests on a single sighting is left out, as if it were not there at all, and so is a zone of which
/// no other source is live. The order of the sources does not matter.
pub fn scores<Z: Ord + Clone>(
    sources: impl Iterator<Item = (Z, Level)>,
    silent: impl Fn(&Z) -> usize,
    at_ms: i64,
    settings: &Settings,
) -> Vec<Score<Z>> {
    let mut heard: BTreeMap<Z, Vec<f64>> = BTreeMap::new();
    for (zone, level) in sources.filter(|(_, level)| level.is_supported() && level.is_live(at_ms, settings)) {
        heard.entry(zone).or_default().push(level.value_dbm);
    }
    let scores = heard.into_iter().map(|(zone, mut levels)| {
        // The sum of floating-point numbers depends on their order.
        levels.sort_by(f64::total_cmp);
        let silent = silent(&zone) as f64;
        let level_dbm = (levels.iter().sum::<f64>() + silent * settings.silent_dbm) / (levels.len() as f64 + silent);
        Score { zone, level_dbm }
    });
    scores.collect()
}

/// The zone that somebody is in, who was in `incumbent` before.
///
/// The incumbent stays as long as it is heard at all and no other is stronger by at least `margin_db`. Another zone
/// must besides reach `floor_dbm`. Of equally strong zones the first in their order wins. Nothing is chosen if the
/// incumbent is not heard and nothing reaches the floor: that is no sign of having left, which silence alone is.
pub fn choose<Z: Ord + Clone>(incumbent: Option<&Z>, scores: &[Score<Z>], settings: &Settings) -> Option<Choice<Z>> {
    let strongest = strongest(scores.iter())?;
    let held = incumbent.and_then(|zone| scores.iter().find(|score| score.zone == *zone));
    let enters = strongest.level_dbm >= settings.floor_dbm;
    let chosen = match held {
        Some(held) => {
            let lead_db = strongest.level_dbm - held.level_dbm;
            if enters && lead_db > 0.0 && lead_db >= settings.margin_db { strongest } else { held }
        }
        None if enters => strongest,
        None => return None,
    };
    let runner_up = self::strongest(scores.iter().filter(|score| score.zone != chosen.zone));
    Some(Choice {
        zone: chosen.zone.clone(),
        confidence: confidence(chosen, scores, settings),
        runner_up: runner_up.map(|score| score.zone.clone()),
    })
}

fn strongest<'a, Z: Ord + 'a>(scores: impl Iterator<Item = &'a Score<Z>>) -> Option<&'a Score<Z>> {
    // Of equal elements `max_by` takes the last.
    scores.max_by(|one, other| one.level_dbm.total_cmp(&other.level_dbm).then_with(|| other.zone.cmp(&one.zone)))
}

/// The softmax of the levels, of which `spread_db` is the temperature.
fn confidence<Z: Ord>(chosen: &Score<Z>, scores: &[Score<Z>], settings: &Settings) -> f64 {
    let mut shares: Vec<f64> =
        scores.iter().map(|score| ((score.level_dbm - chosen.level_dbm) / settings.spread_db).exp()).collect();
    shares.sort_by(f64::total_cmp);
    1.0 / shares.iter().sum::<f64>().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn level(value_dbm: f64, at_ms: i64) -> Level {
        Level { value_dbm, at_ms, since_ms: at_ms - 5_000, count: 5 }
    }

    fn score(zone: u8, level_dbm: f64) -> Score<u8> {
        Score { zone, level_dbm }
    }

    fn chosen(incumbent: Option<u8>, scores: &[Score<u8>]) -> Option<u8> {
        choose(incumbent.as_ref(), scores, &Settings::default()).map(|choice| choice.zone)
    }

    #[test]
    fn a_zone_is_the_mean_of_its_live_sources_and_the_silent_ones() {
        let settings = Settings::default();
        let sources =
            [(2, level(-60.0, 9_000)), (1, level(-70.0, 9_500)), (2, level(-70.0, 8_000)), (3, level(-50.0, 0))];
        let silent = |zone: &u8| usize::from(*zone == 2);
        let heard = scores(sources.into_iter(), silent, 10_000, &settings);
        assert_eq!(heard, [score(1, -70.0), score(2, -75.0)], "zone 3 was last heard ten seconds ago");
    }

    #[test]
    fn a_single_sighting_scores_nothing() {
        let settings = Settings::default();
        let once = super::super::smoothed(None, -30.0, 10_000, &settings).expect("a level");
        let sources = || [(1, level(-70.0, 9_500)), (1, once), (2, once)].into_iter();
        assert_eq!(scores(sources(), |_| 0, 10_000, &settings), [score(1, -70.0)]);
    }

    #[test]
    fn the_margin_keeps_the_incumbent_and_the_floor_keeps_out() {
        assert_eq!(chosen(Some(1), &[score(1, -70.0), score(2, -67.1)]), Some(1));
        assert_eq!(chosen(Some(1), &[score(1, -70.0), score(2, -67.0)]), Some(2));
        assert_eq!(chosen(None, &[score(1, -70.0), score(2, -69.9)]), Some(2));
        assert_eq!(chosen(None, &[score(1, -85.1)]), None);
        assert_eq!(chosen(Some(1), &[score(1, -94.0), score(2, -86.0)]), Some(1), "nobody enters below the floor");
        assert_eq!(chosen(Some(3), &[score(2, -86.0)]), None, "silence of the incumbent alone is no move");
        assert_eq!(chosen(Some(3), &[score(2, -80.0)]), Some(2));
        assert_eq!(chosen(Some(3), &[]), None);
    }

    #[test]
    fn ties_go_to_the_first_zone_and_to_the_incumbent() {
        assert_eq!(chosen(None, &[score(1, -70.0), score(2, -70.0)]), Some(1));
        let settings = Settings { margin_db: 0.0, ..Settings::default() };
        let choice = choose(Some(&2), &[score(1, -70.0), score(2, -70.0)], &settings).expect("a choice");
        assert_eq!((choice.zone, choice.runner_up), (2, Some(1)));
    }

    #[test]
    fn confidence_falls_with_what_competes() {
        let sure = |scores: &[Score<u8>]| choose(None, scores, &Settings::default()).expect("a choice").confidence;
        assert_eq!(sure(&[score(1, -70.0)]), 1.0);
        assert_eq!(sure(&[score(1, -70.0), score(2, -70.0)]), 0.5);
        assert!(sure(&[score(1, -60.0), score(2, -80.0)]) > 0.9);
        assert!(sure(&[score(1, -60.0), score(2, -61.0), score(3, -61.0)]) < 0.5);
    }

    fn zones() -> impl Strategy<Value = Vec<Score<u8>>> {
        prop::collection::btree_map(0_u8..12, -100.0_f64..-20.0, 0..12)
            .prop_map(|levels| levels.into_iter().map(|(zone, level_dbm)| score(zone, level_dbm)).collect())
    }

    proptest! {
        #[test]
        fn nothing_flaps_within_the_margin(
            levels in prop::collection::vec(prop::collection::vec(-61.5_f64..-58.51, 2..5), 1..40),
            first in 0_u8..2,
        ) {
            let mut incumbent = first;
            for now in levels {
                let scores: Vec<_> = now.into_iter().zip(0_u8..).map(|(level_dbm, zone)| score(zone, level_dbm)).collect();
                incumbent = chosen(Some(incumbent), &scores).expect("a choice");
                prop_assert_eq!(incumbent, first);
            }
        }

        #[test]
        fn a_choice_repeats_itself(scores in zones(), incumbent in prop::option::of(0_u8..12)) {
            if let Some(zone) = chosen(incumbent, &scores) {
                prop_assert_eq!(chosen(Some(zone), &scores), Some(zone));
            }
        }

        #[test]
        fn confidence_is_a_probability(
            scores in zones(),
            incumbent in prop::option::of(0_u8..12),
            spread_db in 0.1_f64..30.0,
        ) {
            let settings = Settings { spread_db, ..Settings::default() };
            if let Some(choice) = choose(incumbent.as_ref(), &scores, &settings) {
                prop_assert!((0.0..=1.0).contains(&choice.confidence), "{}", choice.confidence);
                prop_assert!(choice.runner_up != Some(choice.zone));
                prop_assert_eq!(choice.runner_up.is_some(), scores.len() > 1);
            }
        }

        #[test]
        fn the_order_of_sources_does_not_matter(
            sources in prop::collection::vec((0_u8..6, -100.0_f64..-20.0, 0_i64..20_000), 0..20)
                .prop_flat_map(|sources| (Just(sources.clone()), Just(sources).prop_shuffle())),
            incumbent in prop::option::of(0_u8..6),
        ) {
            let settings = Settings::default();
            let heard = |sources: Vec<(u8, f64, i64)>| {
                let levels = sources.into_iter().map(|(zone, value_dbm, at_ms)| (zone, level(value_dbm, at_ms)));
                scores(levels, |zone| usize::from(*zone) % 3, 20_000, &settings)
            };
            let (one, other) = (heard(sources.0), heard(sources.1));
            prop_assert_eq!(&one, &other);
            let backwards: Vec<_> = one.iter().rev().cloned().collect();
            let choice = choose(incumbent.as_ref(), &one, &settings);
            prop_assert_eq!(choice, choose(incumbent.as_ref(), &backwards, &settings));
        }
    }
}
