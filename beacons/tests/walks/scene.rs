//! Many walks through one shop under the same conditions, and what was told on them.

use parvis_beacons::{
    calibration::{Judgement, Stay, judge},
    ranging::Settings,
};

use crate::{
    chance::Dice,
    listen::{self, Ears, Told, changes},
    radio::{self, Heard, Radio},
    shop::Shop,
    survey,
    walker::{Gait, Way},
};

/// Somebody who looks around, somebody who shops, somebody who knows what they want.
pub(crate) const GAITS: [Gait; 3] = [
    Gait { speed_mps: 0.4, stops_s: (10.0, 40.0) },
    Gait { speed_mps: 0.8, stops_s: (5.0, 30.0) },
    Gait { speed_mps: 1.4, stops_s: (2.0, 10.0) },
];

/// The conditions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) ears: Ears,
    pub(crate) gait: Gait,
    pub(crate) sources_per_zone: usize,
    pub(crate) pitch_m: f64,
    pub(crate) radio: Radio,
    /// Whether somebody has walked the site before with a known place at every moment, and what that taught is used.
    pub(crate) surveyed: bool,
}

impl Conditions {
    pub(crate) fn new(ears: Ears, gait: Gait, sources_per_zone: usize) -> Conditions {
        Conditions { ears, gait, sources_per_zone, pitch_m: 5.5, radio: Radio::SHOP, surveyed: false }
    }

    pub(crate) fn shop(&self) -> Shop {
        let height_m = match self.ears {
            Ears::Scanners => 2.0,
            Ears::Phone => 0.8,
        };
        Shop::new(self.pitch_m, self.sources_per_zone, height_m)
    }
}

/// A recorded walk.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) stays: Vec<Stay<usize>>,
    pub(crate) heard: Vec<Heard>,
}

/// Recorded walks.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) ears: Ears,
    pub(crate) shop: Shop,
    pub(crate) walks: Vec<Walk>,
}

/// How long each walk is.
pub(crate) const LENGTH_S: i64 = 240;

impl Scene {
    /// So many walks of [`LENGTH_S`] each. The same seed is the same way through the shop under any conditions of air.
    pub(crate) fn record(conditions: Conditions, walks: u64) -> Scene {
        let shop = conditions.shop();
        let walk = |seed: u64| {
            let way = Way::shopping(&shop, conditions.gait, LENGTH_S as f64, &mut Dice::new(seed));
            let mut heard = radio::heard(&shop, &way, &conditions.radio, (seed, &mut Dice::new(seed + 1_000)));
            if conditions.surveyed {
                let corrections = survey::corrections(&conditions, &shop, seed);
                heard.iter_mut().for_each(|reading| reading.rssi_dbm += corrections[reading.source]);
            }
            Walk { stays: way.stays(&shop), heard }
        };
        Scene { ears: conditions.ears, walks: (0..walks).map(walk).collect(), shop }
    }

    /// What is told on each walk.
    pub(crate) fn told(&self, settings: &Settings) -> Vec<Vec<Told>> {
        let told = |walk: &Walk| listen::told(&self.shop, self.ears, &walk.heard, LENGTH_S, settings);
        self.walks.iter().map(told).collect()
    }

    pub(crate) fn judgement(&self, settings: &Settings) -> Judgement<usize> {
        let told = self.told(settings);
        let walks = self.walks.iter().zip(&told);
        let judged = walks.map(|(walk, told)| judge(&walk.stays, &changes(told)));
        judged.fold(Judgement::default(), Judgement::and)
    }
}

/// Offers that are made on walks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offers {
    pub(crate) made: usize,
    /// Of these, to somebody who was in the zone.
    pub(crate) right: usize,
    /// Stays of at least 15 seconds.
    pub(crate) stays: usize,
    /// Of these, with an offer for the zone while they lasted.
    pub(crate) reached: usize,
}

impl Offers {
    /// One offer for each stay in a zone as it is told, once the dwell is over and the confidence is there.
    pub(crate) fn make(mut self, walk: &Walk, told: &[Told], settings: &Settings) -> Offers {
        let mut made = Vec::new();
        let (mut zone, mut since_ms, mut done) = (None, 0, false);
        for now in told {
            if now.zone != zone {
                (zone, since_ms, done) = (now.zone, now.at_ms, false);
            }
            let dwelt = (now.at_ms - since_ms) as f64 >= settings.offer_dwell_s * 1_000.0;
            let sure = now.choice.as_ref().is_some_and(|choice| choice.confidence >= settings.offer_confidence);
            if let Some(zone) = zone
                && dwelt
                && sure
                && !done
            {
                made.push((now.at_ms, zone));
                done = true;
            }
        }
        let fits = |stay: &Stay<usize>, (at_ms, zone): (i64, usize)| {
            stay.zone == zone && stay.from_ms <= at_ms && at_ms <= stay.until_ms
        };
        self.made += made.len();
        self.right += made.iter().filter(|offer| walk.stays.iter().any(|stay| fits(stay, **offer))).count();
        let long = walk.stays.iter().filter(|stay| stay.until_ms - stay.from_ms >= 15_000);
        for stay in long {
            self.stays += 1;
            self.reached += usize::from(made.iter().any(|offer| fits(stay, *offer)));
        }
        self
    }
}
