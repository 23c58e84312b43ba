//! What is to be added to what each scanner hears, and how strong each beacon is, from readings of beacons whose place
//! was known.
//!
//! A reading is taken as `rssi + offset(scanner) = power(beacon) - loss`, where the loss is that of the log-distance
//! model if the distance is known, and otherwise one number for everybody who is in the scanner's own zone. Medians
//! throughout: bodies and reflections make the tails of such readings long.

use std::collections::BTreeMap;

use crate::ranging::usable;

/// Nearer than this, a difference in height that no floor plan knows matters most, and beyond it the model says little,
/// metres.
const DISTANCES_M: std::ops::RangeInclusive<f64> = 1.5..=12.0;
/// Where less than this is expected, only the lucky ones of the packets are heard, so that what is heard looks stronger
/// than it is, dBm. Judged by what is expected, not by what was heard: leaving out the unlucky ones would do the same.
const EXPECTED_MIN_DBM: f64 = -88.0;
/// What is expected depends on what was learned, which changes little after the second pass.
const PASSES: usize = 3;
/// With fewer readings an estimate is chance.
const COUNT_MIN: usize = 20;
/// Both medians are repeated until they agree; they do so to a thousandth of a decibel long before.
const ROUNDS_MAX: usize = 50;
/// Free space has 2, a metal-shelved store up to 4; what is farther off comes of too little to learn from.
const EXPONENTS: std::ops::RangeInclusive<f64> = 1.5..=4.5;

/// A reading of a beacon whose place was known.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<S, B> {
    /// Who heard it.
    pub scanner: S,
    /// Which beacon.
    pub beacon: B,
    /// How strongly, dBm.
    pub rssi_dbm: f64,
    /// From how far away, metres; absent if it is only known that both were in the same zone.
    pub distance_m: Option<f64>,
}

/// A learned number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number: dB for an offset, dBm for a power.
    pub value: f64,
    /// The median of how far single readings are from what the number predicts, dB.
    pub deviation_db: f64,
    /// From how many readings.
    pub count: usize,
}

impl Estimate {
    /// Whether there were enough readings to use it.
    pub fn is_sound(&self) -> bool {
        self.count >= COUNT_MIN
    }
}

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned<S, B> {
    /// What is to be added to what each scanner hears, dB, so that all hear alike; the median is 0.
    pub offsets: BTreeMap<S, Estimate>,
    /// Each beacon's signal strength at one metre, dBm, as a scanner of offset 0 hears it. Without distances, only the
    /// differences among beacons are learned, around the median of what they announce.
    pub powers: BTreeMap<B, Estimate>,
    /// How signal strength falls with distance; absent if there were no distances to learn it from.
    pub exponent: Option<f64>,
}

/// Learns from samples, where `announced_dbm` is the power that a beacon announces and `exponent` is used while nothing
/// better is learned. Unusable readings are left out, and so are those from where little is heard, from very near or very
/// far.
pub fn learn<S: Ord + Clone, B: Ord + Clone>(
    samples: &[Sample<S, B>],
    announced_dbm: impl Fn(&B) -> f64,
    exponent: f64,
) -> Learned<S, B> {
    let all: Vec<&Sample<S, B>> = samples.iter().filter(|sample| teaches(sample)).collect();
    let mut samples: Vec<&Sample<S, B>> = all.clone();
    samples.retain(|sample| sample.rssi_dbm >= EXPECTED_MIN_DBM);
    let (mut learned, mut fit) = fit(&samples, &announced_dbm, exponent);
    for _ in 0..PASSES {
        samples.clone_from(&all);
        samples.retain(|sample| fit.expected_dbm(sample).is_some_and(|expected_dbm| expected_dbm >= EXPECTED_MIN_DBM));
        (learned, fit) = self::fit(&samples, &announced_dbm, exponent);
    }
    // Whoever was heard at all has an estimate, be it of no reading.
    let mut by_scanner: BTreeMap<S, Vec<f64>> = all.iter().map(|it| (it.scanner.clone(), Vec::new())).collect();
    let mut by_beacon: BTreeMap<B, Vec<f64>> = all.iter().map(|it| (it.beacon.clone(), Vec::new())).collect();
    for sample in &samples {
        let off_db = fit.rest_db(sample).abs();
        by_scanner.entry(sample.scanner.clone()).or_default().push(off_db);
        by_beacon.entry(sample.beacon.clone()).or_default().push(off_db);
    }
    let offsets = by_scanner.into_iter().map(|(scanner, off)| (estimate(fit.offsets.get(&scanner), off), scanner));
    let powers = by_beacon.into_iter().map(|(beacon, off)| (estimate(fit.powers.get(&beacon), off), beacon));
    Learned {
        offsets: offsets.map(|(estimate, scanner)| (scanner, estimate)).collect(),
        powers: powers.map(|(estimate, beacon)| (beacon, estimate)).collect(),
        exponent: learned,
    }
}

fn teaches<S, B>(sample: &Sample<S, B>) -> bool {
    usable(sample.rssi_dbm) && sample.distance_m.is_none_or(|distance_m| DISTANCES_M.contains(&distance_m))
}

/// The exponent that was learned, and what fits the samples best with it.
fn fit<S: Ord + Clone, B: Ord + Clone>(
    samples: &[&Sample<S, B>],
    announced_dbm: &impl Fn(&B) -> f64,
    exponent: f64,
) -> (Option<f64>, Fit<S, B>) {
    let learned = slope(samples);
    let mut fit = Fit::new(samples, announced_dbm, learned.unwrap_or(exponent));
    for _ in 0..ROUNDS_MAX {
        if fit.round(samples, announced_dbm) < 1e-3 {
            break;
        }
    }
    (learned, fit)
}

/// The exponent, by least squares within each pair of scanner and beacon: there neither offset nor power matters.
fn slope<S: Ord, B: Ord>(samples: &[&Sample<S, B>]) -> Option<f64> {
    let mut pairs: BTreeMap<(&S, &B), Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples {
        if let Some(distance_m) = sample.distance_m {
            let point = (decades_db(distance_m), sample.rssi_dbm);
            pairs.entry((&sample.scanner, &sample.beacon)).or_default().push(point);
        }
    }
    let (mut along, mut across, mut count) = (0.0, 0.0, 0);
    for points in pairs.values() {
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        for (x, y) in points {
            along += (x - mean_x) * (x - mean_x);
            across += (x - mean_x) * (y - mean_y);
        }
        count += points.len();
    }
    // One decibel of spread in what is compared: less is the recording of somebody who stood still.
    (count >= COUNT_MIN && along >= count as f64).then(|| (-across / along).clamp(*EXPONENTS.start(), *EXPONENTS.end()))
}

/// Decibels for each unit of the exponent.
fn decades_db(distance_m: f64) -> f64 {
    10.0 * distance_m.log10()
}

/// What is known so far.
struct Fit<S, B> {
    offsets: BTreeMap<S, f64>,
    powers: BTreeMap<B, f64>,
    exponent: f64,
    home_loss_db: f64,
    anchored: bool,
}

impl<S: Ord + Clone, B: Ord + Clone> Fit<S, B> {
    fn new(samples: &[&Sample<S, B>], announced_dbm: &impl Fn(&B) -> f64, exponent: f64) -> Fit<S, B> {
        Fit {
            offsets: samples.iter().map(|sample| (sample.scanner.clone(), 0.0)).collect(),
            powers: samples.iter().map(|sample| (sample.beacon.clone(), announced_dbm(&sample.beacon))).collect(),
            exponent,
            home_loss_db: 0.0,
            anchored: samples.iter().any(|sample| sample.distance_m.is_some()),
        }
    }

    /// Nothing is expected of whom nothing is known.
    fn expected_dbm(&self, sample: &Sample<S, B>) -> Option<f64> {
        let (power_dbm, offset_db) = (self.powers.get(&sample.beacon)?, self.offsets.get(&sample.scanner)?);
        Some(power_dbm - offset_db - sample.distance_m.map_or(self.home_loss_db, |m| self.exponent * decades_db(m)))
    }

    /// By how much a reading is above what is expected, dB.
    fn rest_db(&self, sample: &Sample<S, B>) -> f64 {
        self.expected_dbm(sample).map_or(0.0, |expected_dbm| sample.rssi_dbm - expected_dbm)
    }

    /// Moves each number to where half of its readings are above and half below; tells the greatest step, dB.
    fn round(&mut self, samples: &[&Sample<S, B>], announced_dbm: &impl Fn(&B) -> f64) -> f64 {
        let home = samples.iter().filter(|sample| sample.distance_m.is_none());
        let home_step = median(home.map(|sample| self.rest_db(sample)).collect()).unwrap_or(0.0);
        self.home_loss_db -= home_step;

        let mut rests: BTreeMap<&S, Vec<f64>> = BTreeMap::new();
        samples.iter().for_each(|sample| rests.entry(&sample.scanner).or_default().push(self.rest_db(sample)));
        let mut greatest = home_step.abs() + step(&mut self.offsets, rests, -1.0);
        let centre_db = median(self.offsets.values().copied().collect()).unwrap_or(0.0);
        self.offsets.values_mut().for_each(|offset_db| *offset_db -= centre_db);

        let mut rests: BTreeMap<&B, Vec<f64>> = BTreeMap::new();
        samples.iter().for_each(|sample| rests.entry(&sample.beacon).or_default().push(self.rest_db(sample)));
        greatest += step(&mut self.powers, rests, 1.0);
        if !self.anchored {
            let lifted = self.powers.iter().map(|(beacon, power_dbm)| power_dbm - announced_dbm(beacon));
            let lift_db = median(lifted.collect()).unwrap_or(0.0);
            self.powers.values_mut().for_each(|power_dbm| *power_dbm -= lift_db);
            self.home_loss_db -= lift_db;
        }
        greatest
    }
}

fn step<K: Ord>(numbers: &mut BTreeMap<K, f64>, rests: BTreeMap<&K, Vec<f64>>, sign: f64) -> f64 {
    let mut greatest: f64 = 0.0;
    for (key, rests) in rests {
        if let (Some(number), Some(rest_db)) = (numbers.get_mut(key), median(rests)) {
            *number += sign * rest_db;
            greatest = greatest.max(rest_db.abs());
        }
    }
    greatest
}

fn estimate(value: Option<&f64>, off_db: Vec<f64>) -> Estimate {
    let count = off_db.len();
    Estimate { value: value.copied().unwrap_or_default(), deviation_db: median(off_db).unwrap_or_default(), count }
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    if numbers.len() % 2 == 1 { Some(upper) } else { Some((numbers[middle - 1] + upper) / 2.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const POWERS_DBM: [f64; 3] = [-59.0, -63.0, -55.0];

    /// Readings of three beacons by four scanners at known places, with noise of a fixed pattern.
    fn samples(offsets: &[f64; 4], exponent: f64, noise_db: f64) -> Vec<Sample<usize, usize>> {
        let mut samples = Vec::new();
        for at in 0..600_usize {
            let (scanner, beacon) = (at % 4, at / 4 % 3);
            let distance_m = 1.5 + (at * 37 % 80) as f64 / 10.0;
            let noise_db = noise_db * ((at * 53 % 101) as f64 / 50.0 - 1.0);
            let rssi_dbm = POWERS_DBM[beacon] - offsets[scanner] - exponent * 10.0 * distance_m.log10() + noise_db;
            samples.push(Sample { scanner, beacon, rssi_dbm, distance_m: Some(distance_m) });
        }
        samples
    }

    #[test]
    fn offsets_powers_and_exponent_are_recovered() {
        let offsets = [3.0, -1.0, 0.0, 1.0 / 3.0];
        let learned = learn(&samples(&offsets, 2.4, 4.0), |_| -59.0, 2.7);
        let exponent = learned.exponent.expect("learned");
        assert!((exponent - 2.4).abs() < 0.15, "{exponent}");
        let centre = (0.0 + 1.0 / 3.0) / 2.0;
        for (scanner, estimate) in &learned.offsets {
            assert!((estimate.value - (offsets[*scanner] - centre)).abs() < 0.7, "{scanner}: {estimate:?}");
            assert!(estimate.is_sound() && estimate.count > 100, "{estimate:?}");
            assert!((1.0..3.0).contains(&estimate.deviation_db), "{estimate:?}");
        }
        for (beacon, estimate) in &learned.powers {
            assert!((estimate.value - (POWERS_DBM[*beacon] - centre)).abs() < 1.0, "{beacon}: {estimate:?}");
        }
    }

    #[test]
    fn a_tenth_of_wild_readings_does_little() {
        let clean = samples(&[6.0, -2.0, 0.0, 0.5], 2.4, 3.0);
        let mut wild = clean.clone();
        wild.iter_mut().step_by(11).for_each(|sample| sample.rssi_dbm -= 25.0);
        wild.iter_mut().step_by(97).for_each(|sample| sample.rssi_dbm = 42.0);
        let (clean, wild) = (learn(&clean, |_| -59.0, 2.7), learn(&wild, |_| -59.0, 2.7));
        for (scanner, estimate) in &clean.offsets {
            assert!((estimate.value - wild.offsets[scanner].value).abs() < 1.0, "{scanner}");
        }
    }

    #[test]
    fn a_deaf_scanner_is_not_flattered_by_what_it_misses() {
        let mut samples = samples(&[0.0, 0.0, 9.0, 0.0], 2.7, 6.0);
        samples.retain(|sample| sample.rssi_dbm >= -93.0);
        let learned = learn(&samples, |_| -59.0, 2.7);
        assert!((learned.offsets[&2].value - 9.0).abs() < 1.0, "{:?}", learned.offsets);
        let exponent = learned.exponent.expect("learned");
        assert!((exponent - 2.7).abs() < 0.2, "{exponent}");
    }

    #[test]
    fn without_distances_differences_are_learned() {
        let mut samples = samples(&[4.0, 0.0, 0.0, -4.0], 2.4, 2.0);
        samples.iter_mut().for_each(|sample| sample.distance_m = None);
        let learned = learn(&samples, |_| -59.0, 2.7);
        assert_eq!(learned.exponent, None);
        assert!((learned.offsets[&0].value - learned.offsets[&3].value - 8.0).abs() < 2.0, "{:?}", learned.offsets);
        assert!((learned.powers[&2].value - learned.powers[&1].value - 8.0).abs() < 2.0, "{:?}", learned.powers);
        assert!((learned.powers[&0].value + 59.0).abs() < 1.0, "around what they announce: {:?}", learned.powers);
    }

    #[test]
    fn too_little_is_not_sound() {
        let few: Vec<_> = samples(&[0.0; 4], 2.4, 1.0).into_iter().take(40).collect();
        let learned = learn(&few, |_| -59.0, 2.7);
        assert!(learned.offsets.values().all(|estimate| !estimate.is_sound() && estimate.count <= 10));
        assert!(learn(&[] as &[Sample<u8, u8>], |_| -59.0, 2.7).offsets.is_empty());
        let still = vec![Sample { scanner: 1, beacon: 1, rssi_dbm: -70.0, distance_m: Some(3.0) }; 100];
        assert_eq!(learn(&still, |_| -59.0, 2.7).exponent, None, "nobody moved");
    }

    proptest! {
        #[test]
        fn corrected_readings_need_no_further_offset(offsets in prop::array::uniform4(-8.0_f64..8.0)) {
            let mut samples = samples(&offsets, 2.2, 2.0);
            let learned = learn(&samples, |_| -59.0, 2.7);
            samples.iter_mut().for_each(|sample| sample.rssi_dbm += learned.offsets[&sample.scanner].value);
            let again = learn(&samples, |_| -59.0, 2.7);
            for (scanner, estimate) in &again.offsets {
                prop_assert!(estimate.value.abs() < 0.8, "{}: {:?}", scanner, estimate);
            }
        }
    }
}
