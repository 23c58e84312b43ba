//! A walk through the shop with a known place at every moment, from which offsets are learned.

use parvis_beacons::calibration::{Learned, Sample, learn};

use crate::{
    chance::Dice,
    listen::Ears,
    radio,
    scene::{Conditions, GAITS},
    shop::Shop,
    walker::Way,
};

/// How long a survey takes.
const SURVEY_S: f64 = 600.0;

/// What is to be added to the readings of each source.
pub(crate) fn corrections(conditions: &Conditions, shop: &Shop, site: u64) -> Vec<f64> {
    let way = Way::shopping(shop, GAITS[1], SURVEY_S, &mut Dice::new(site + 2_000));
    let heard = radio::heard(shop, &way, &conditions.radio, (site, &mut Dice::new(site + 3_000)));
    let samples = heard.iter().map(|reading| {
        let spot = way.pose(reading.at_ms as f64 / 1_000.0).spot;
        let distance_m = Some(spot.distance_m(shop.sources[reading.source].spot));
        let (scanner, beacon) = match conditions.ears {
            Ears::Scanners => (reading.source, 0),
            Ears::Phone => (0, reading.source),
        };
        Sample { scanner, beacon, rssi_dbm: reading.rssi_dbm, distance_m }
    });
    let samples: Vec<Sample<usize, usize>> = samples.collect();
    let Learned { offsets, powers, .. } = learn(&samples, |_| conditions.radio.power_dbm, conditions.radio.exponent);
    let correction = |source: usize| match conditions.ears {
        Ears::Scanners => offsets.get(&source).map(|offset| offset.value),
        Ears::Phone => powers.get(&source).map(|power| conditions.radio.power_dbm - power.value),
    };
    (0..shop.sources.len()).map(|source| correction(source).unwrap_or(0.0)).collect()
}
