//! What was heard of each beacon, summed up by second. Pure: time is an argument.
//!
//! A second's median carries what ranging needs of five or ten advertisements and is a tenth of their size.

use std::collections::BTreeMap;

use parvis_beacons::{Identity, Mac, report::Heard};

use crate::clock::Moment;

/// The most beacons that are summed up in one second.
pub const BEACONS_MAX: usize = 1_000;
/// The most signal strengths that are kept of one beacon in one second; beacons send at most ten, three channels each.
const SAMPLES_MAX: usize = 64;

/// One advertisement that is worth telling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Whose it is.
    pub identity: Identity,
    /// Which address sent it.
    pub address: Option<Mac>,
    /// How strong, dBm.
    pub rssi_dbm: i16,
    /// How strong it says it is at one metre, dBm.
    pub measured_power_dbm: Option<f64>,
    /// Its battery's voltage, if this advertisement tells it.
    pub battery_v: Option<f64>,
    /// When it was heard.
    pub at: Moment,
}

/// A beacon's second.
#[derive(Clone, Debug, PartialEq)]
pub struct Second {
    /// When the last of its advertisements was heard.
    pub at: Moment,
    /// Which address sent that one.
    pub address: Option<Mac>,
    /// The rest; its age is still zero.
    pub heard: Heard,
}

/// The seconds that are not told yet.
#[derive(Debug, Default)]
pub struct Aggregate {
    /// By second, so that what is taken out is in the order of time.
    open: BTreeMap<u64, BTreeMap<Identity, Samples>>,
}

#[derive(Debug)]
struct Samples {
    rssi_dbm: Vec<i16>,
    count: u32,
    last: Sample,
    measured_power_dbm: Option<f64>,
    battery_v: Option<f64>,
}

impl Aggregate {
    /// Adds an advertisement; false if there are too many beacons.
    pub fn add(&mut self, sample: Sample) -> bool {
        let second = self.open.entry(sample.at.second()).or_default();
        if second.len() >= BEACONS_MAX && !second.contains_key(&sample.identity) {
            return false;
        }
        let samples = second.entry(sample.identity).or_insert_with(|| Samples {
            rssi_dbm: Vec::with_capacity(4),
            count: 0,
            last: sample,
            measured_power_dbm: None,
            battery_v: None,
        });
        if samples.rssi_dbm.len() < SAMPLES_MAX {
            samples.rssi_dbm.push(sample.rssi_dbm);
        }
        samples.count = samples.count.saturating_add(1);
        if sample.at >= samples.last.at {
            samples.last = sample;
        }
        samples.measured_power_dbm = sample.measured_power_dbm.or(samples.measured_power_dbm);
        samples.battery_v = sample.battery_v.or(samples.battery_v);
        true
    }

    /// Takes out the seconds that were over before `now`'s began, oldest first.
    pub fn take(&mut self, now: Moment) -> Vec<Second> {
        let still_open = self.open.split_off(&now.second());
        std::mem::replace(&mut self.open, still_open)
            .into_values()
            .flat_map(BTreeMap::into_values)
            .map(sum_up)
            .collect()
    }

    /// Takes out everything, oldest first.
    pub fn take_all(&mut self) -> Vec<Second> {
        std::mem::take(&mut self.open).into_values().flat_map(BTreeMap::into_values).map(sum_up).collect()
    }
}

fn sum_up(mut samples: Samples) -> Second {
    samples.rssi_dbm.sort_unstable();
    let rssi = &samples.rssi_dbm;
    let middle = |at: usize| rssi.get(at).copied().map_or(0.0, f64::from);
    let upper = middle(rssi.len() / 2);
    let median = if rssi.len().is_multiple_of(2) { f64::midpoint(middle(rssi.len() / 2 - 1), upper) } else { upper };
    let several = rssi.len() > 1;
    let heard = Heard {
        age_ms: 0,
        identity: samples.last.identity,
        rssi_dbm: median,
        rssi_min_dbm: rssi.first().copied().map(f64::from).filter(|_| several),
        rssi_max_dbm: rssi.last().copied().map(f64::from).filter(|_| several),
        count: samples.count,
        measured_power_dbm: samples.measured_power_dbm,
        battery_v: samples.battery_v,
    };
    Second { at: samples.last.at, address: samples.last.address, heard }
}

#[cfg(test)]
mod tests {
    use parvis_beacons::{Ibeacon, Uuid};
    use proptest::prelude::*;

    use super::*;

    fn sample(minor: u16, rssi_dbm: i16, at: u64) -> Sample {
        let identity = Identity::Ibeacon(Ibeacon { uuid: Uuid([7; 16]), major: 1, minor });
        let at = Moment(at);
        Sample { identity, address: None, rssi_dbm, measured_power_dbm: Some(-59.0), battery_v: None, at }
    }

    #[test]
    fn a_second_has_a_median_and_its_bounds() {
        let mut aggregate = Aggregate::default();
        for (rssi, at) in [(-60, 1_000), (-70, 1_200), (-61, 1_400), (-90, 1_999)] {
            assert!(aggregate.add(sample(1, rssi, at)));
        }
        aggregate.add(sample(1, -50, 2_000));
        let seconds = aggregate.take(Moment(2_100));
        assert_eq!(seconds.len(), 1);
        let heard = &seconds[0].heard;
        assert_eq!((heard.rssi_dbm, heard.rssi_min_dbm, heard.rssi_max_dbm), (-65.5, Some(-90.0), Some(-60.0)));
        assert_eq!((heard.count, seconds[0].at), (4, Moment(1_999)));
        assert_eq!(aggregate.take(Moment(2_900)), []);
        let rest = aggregate.take(Moment(3_000));
        assert_eq!((rest[0].heard.rssi_dbm, rest[0].heard.rssi_min_dbm), (-50.0, None));
    }

    #[test]
    fn a_crowd_is_bounded() {
        let mut aggregate = Aggregate::default();
        for minor in 0..1_000 {
            assert!(aggregate.add(sample(minor, -70, 5)));
        }
        assert!(!aggregate.add(sample(1_000, -70, 5)));
        assert!(aggregate.add(sample(3, -71, 5)));
        assert!(aggregate.add(sample(1_000, -70, 1_005)), "another second has room of its own");
        assert_eq!(aggregate.take_all().len(), 1_001);
    }

    proptest! {
        #[test]
        fn nothing_is_counted_twice_or_lost(heard in prop::collection::vec((0_u16..5, -100_i16..-30, 0_u64..5_000), 0..200)) {
            let mut aggregate = Aggregate::default();
            for (minor, rssi, at) in &heard {
                prop_assert!(aggregate.add(sample(*minor, *rssi, *at)));
            }
            let mut seconds = aggregate.take(Moment(2_500));
            prop_assert!(seconds.iter().all(|second| second.at.second() < 2));
            seconds.extend(aggregate.take_all());
            let counted: u32 = seconds.iter().map(|second| second.heard.count).sum();
            prop_assert_eq!(usize::try_from(counted).expect("small"), heard.len());
            for second in &seconds {
                let (low, high) = (second.heard.rssi_min_dbm, second.heard.rssi_max_dbm);
                prop_assert!(low.unwrap_or(-100.0) <= second.heard.rssi_dbm);
                prop_assert!(high.unwrap_or(-30.0) >= second.heard.rssi_dbm);
            }
            prop_assert!(seconds.is_sorted_by_key(|second| second.at.second()));
        }
    }
}
