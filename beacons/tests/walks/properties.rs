//! What must hold on every walk.

use parvis_beacons::{
    calibration::{Judgement, judge},
    ranging::Settings,
};
use proptest::prelude::*;

use crate::{
    chance::Dice,
    listen::{self, Ears, Told, changes},
    radio::{self, Heard, Radio},
    scene::{Conditions, GAITS, LENGTH_S, Offers, Scene, Walk},
    shop::Shop,
    walker::Way,
};

/// Seconds during which somebody stands.
const STANDING_S: i64 = 60;

#[test]
fn more_sources_for_each_zone_are_not_worse() {
    for ears in [Ears::Scanners, Ears::Phone] {
        let accuracy = |sources: usize| {
            let scenes = GAITS.map(|gait| Scene::record(Conditions::new(ears, gait, sources), 15));
            let judged = scenes.iter().map(|scene| scene.judgement(&Settings::default()));
            judged.fold(Judgement::default(), Judgement::and).accuracy().expect("a truth")
        };
        let accuracies = [1, 2, 3, 4].map(accuracy);
        assert!(accuracies.windows(2).all(|pair| pair[1] > pair[0] - 0.01), "{ears:?}: {accuracies:?}");
        assert!(accuracies[3] > accuracies[0] + 0.05, "{ears:?}: {accuracies:?}");
    }
}

#[test]
fn in_clean_air_only_the_delay_is_wrong() {
    let still = Radio { shadow_db: 0.0, body_db: 0.0, crowd_db: 0.0, offset_db: 0.0, ..Radio::SHOP };
    let radio = Radio { loss: 0.0, rate_hz: 5.0, ..still };
    for ears in [Ears::Scanners, Ears::Phone] {
        let scene = Scene::record(Conditions { radio, ..Conditions::new(ears, GAITS[0], 4) }, 10);
        let judgement = scene.judgement(&Settings::default());
        let accuracy = judgement.accuracy().expect("a truth");
        assert!(accuracy > 0.8, "{ears:?}: {accuracy}");
        assert!(
            judgement.switches <= judgement.true_switches * 2,
            "{ears:?}: {} of {}",
            judgement.switches,
            judgement.true_switches
        );
    }
}

#[test]
fn dwell_and_confidence_make_offers_right() {
    let plain = Settings { offer_dwell_s: 0.0, offer_confidence: 0.0, ..Settings::default() };
    for ears in [Ears::Scanners, Ears::Phone] {
        let scene = Scene::record(Conditions::new(ears, GAITS[1], 3), 20);
        let right = |settings: &Settings| {
            let walks = scene.walks.iter().zip(scene.told(settings));
            let offers = walks.fold(Offers::default(), |offers, (walk, told)| offers.make(walk, &told, settings));
            offers.right as f64 / offers.made as f64
        };
        let (with, without) = (right(&Settings::default()), right(&plain));
        assert!(with > without + 0.1, "{ears:?}: {with} {without}");
    }
}

/// Somebody who stands in the middle of a zone, with four sources around.
fn standing(ears: Ears, seed: u64) -> (Shop, Walk) {
    let conditions = Conditions::new(ears, GAITS[0], 4);
    let shop = conditions.shop();
    let mut dice = Dice::new(seed);
    let zone = dice.below(shop.zones());
    let way = Way::standing(shop.at(zone, 0.5, 0.5), dice.between(0.0, 6.0), STANDING_S as f64);
    let heard = radio::heard(&shop, &way, &conditions.radio, (seed, &mut dice));
    let stays = way.stays(&shop);
    (shop, Walk { stays, heard })
}

#[test]
fn who_stands_still_settles() {
    let settings = Settings::default();
    for ears in [Ears::Scanners, Ears::Phone] {
        let (mut all, mut still, mut latest_ms) = (Judgement::default(), 0, 0);
        for seed in 0..200 {
            let (shop, walk) = standing(ears, seed);
            let told = listen::told(&shop, ears, &walk.heard, STANDING_S, &settings);
            let first = told.iter().find(|now| now.zone.is_some()).expect("a zone");
            latest_ms = latest_ms.max(first.at_ms);
            let settled: Vec<Told> = told.into_iter().filter(|now| now.at_ms >= 10_000).collect();
            let changes = changes(&settled);
            still += usize::from(changes.len() == 1);
            all = all.and(judge(&walk.stays, &changes));
        }
        let right = all.accuracy().expect("a truth");
        assert!(latest_ms <= 4_000, "{ears:?}: told after {latest_ms} ms");
        assert!(still >= 140, "{ears:?}: {still} of 200 have no switch after ten seconds");
        assert!(right > 0.6, "{ears:?}: right for {right} of the time");
    }
}

/// A walk, and what is told on it.
fn walk(ears: Ears, seed: u64) -> (Shop, Vec<Heard>, Vec<Told>) {
    let conditions = Conditions::new(ears, GAITS[1], 2);
    let shop = conditions.shop();
    let way = Way::shopping(&shop, conditions.gait, LENGTH_S as f64, &mut Dice::new(seed));
    let heard = radio::heard(&shop, &way, &conditions.radio, (seed, &mut Dice::new(seed + 1)));
    let told = listen::told(&shop, ears, &heard, LENGTH_S, &Settings::default());
    (shop, heard, told)
}

fn ears() -> impl Strategy<Value = Ears> {
    prop_oneof![Just(Ears::Scanners), Just(Ears::Phone)]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, cases: 24, ..Default::default() })]

    #[test]
    fn an_absurd_reading_changes_nothing(ears in ears(), seed in any::<u32>(), at in any::<prop::sample::Index>()) {
        let (shop, mut heard, told) = walk(ears, seed.into());
        let mut outlier = heard[at.index(heard.len())];
        outlier.rssi_dbm = 42.0;
        outlier.at_ms += 1;
        let next = heard.partition_point(|reading| reading.at_ms <= outlier.at_ms);
        heard.insert(next, outlier);
        prop_assert_eq!(listen::told(&shop, ears, &heard, LENGTH_S, &Settings::default()), told);
    }

    #[test]
    fn repeats_and_the_order_of_sources_change_nothing(ears in ears(), seed in any::<u32>()) {
        let (shop, heard, told) = walk(ears, seed.into());
        let mut twice: Vec<Heard> = heard.iter().chain(&heard).copied().collect();
        twice.reverse();
        twice.sort_by_key(|reading| reading.at_ms);
        prop_assert_eq!(listen::told(&shop, ears, &twice, LENGTH_S, &Settings::default()), told);
    }

    #[test]
    fn silence_means_left_only_when_it_is_long(ears in ears(), seed in any::<u32>(), from_s in 20_i64..150, span_s in 1_i64..60) {
        let settings = Settings::default();
        let (shop, mut heard, _) = walk(ears, seed.into());
        let (from_ms, until_ms) = (from_s * 1_000, (from_s + span_s) * 1_000);
        heard.retain(|reading| !(from_ms..until_ms).contains(&reading.at_ms));
        let told = listen::told(&shop, ears, &heard, LENGTH_S, &settings);
        let exit_after_s = match ears {
            Ears::Scanners => settings.tag_exit_after_s,
            Ears::Phone => settings.exit_after_s,
        };
        let entered = told.iter().position(|now| now.zone.is_some()).expect("a zone");
        let left = told[entered..].iter().find(|now| now.zone.is_none());
        match left {
            None => prop_assert!((span_s as f64) <= exit_after_s + 1.0),
            // The newest reading may be from the second before the silence.
            Some(left) => prop_assert!((left.at_ms - from_ms) as f64 >= (exit_after_s - 1.0) * 1_000.0),
        }
    }
}
