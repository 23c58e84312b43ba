//! What is heard on a walk: log-distance loss, shadowing that is correlated along the path, bodies in between, fading
//! of every packet, packets that are lost.

use crate::{
    chance::Dice,
    shop::{Shop, Source},
    walker::{Pose, Way},
};

/// How the air is, and who sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Radio {
    /// Advertisements a second.
    pub(crate) rate_hz: f64,
    pub(crate) power_dbm: f64,
    pub(crate) exponent: f64,
    /// Standard deviation of shadowing by shelves.
    pub(crate) shadow_db: f64,
    /// After so many metres, shadowing is correlated by 1/e (M. Gudmundson, 1991).
    pub(crate) shadow_m: f64,
    /// What the walker's own body takes from what is behind it, at most.
    pub(crate) body_db: f64,
    /// What people who stand in between take, at most.
    pub(crate) crowd_db: f64,
    /// Standard deviation of what differs from source to source for good.
    pub(crate) offset_db: f64,
    /// The share of packets that are lost however strong they are.
    pub(crate) loss: f64,
}

impl Radio {
    pub(crate) const SHOP: Radio = Radio {
        rate_hz: 2.0,
        power_dbm: -59.0,
        exponent: 2.7,
        shadow_db: 7.0,
        shadow_m: 2.0,
        body_db: 8.0,
        crowd_db: 12.0,
        offset_db: 3.0,
        loss: 0.3,
    };
}

/// What one source told within a second, as scanner hosts and phones sum it up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heard {
    /// When the last of the packets was heard.
    pub(crate) at_ms: i64,
    pub(crate) source: usize,
    /// The median.
    pub(crate) rssi_dbm: f64,
    pub(crate) count: u32,
}

/// Everything that is heard on a walk, in the order of time. The seed of the site is what its sources have for good.
pub(crate) fn heard(shop: &Shop, way: &Way, radio: &Radio, (site, dice): (u64, &mut Dice)) -> Vec<Heard> {
    let mut site = Dice::new(site);
    let link = |source: &Source| Link {
        source: *source,
        height_m: shop.height_m,
        radio: *radio,
        offset_db: radio.offset_db * site.normal(),
        shadow_db: radio.shadow_db * dice.normal(),
        crowd_db: 0.0,
    };
    let mut links: Vec<Link> = shop.sources.iter().map(link).collect();
    let mut all = Vec::new();
    let mut walked_m = 0.0;
    for second in 0..way.length_s as i64 {
        let mut packets: Vec<Vec<f64>> = vec![Vec::new(); links.len()];
        let mut last_ms = 0;
        for packet in 0..radio.rate_hz as i64 {
            let at_s = second as f64 + (packet as f64 + dice.between(0.0, 0.05)) / radio.rate_hz;
            last_ms = (at_s * 1_000.0) as i64;
            let pose = way.pose(at_s);
            for (at, link) in links.iter_mut().enumerate() {
                link.move_on(pose.walked_m - walked_m, dice);
                packets[at].extend(link.rssi_dbm(pose, dice));
            }
            walked_m = pose.walked_m;
        }
        for (source, mut rssi) in packets.into_iter().enumerate().filter(|(_, rssi)| !rssi.is_empty()) {
            rssi.sort_by(f64::total_cmp);
            all.push(Heard { at_ms: last_ms, source, rssi_dbm: rssi[rssi.len() / 2], count: rssi.len() as u32 });
        }
    }
    all
}

/// The air between the walker and one source.
struct Link {
    source: Source,
    height_m: f64,
    radio: Radio,
    offset_db: f64,
    shadow_db: f64,
    /// What people who stand in between take, for a while.
    crowd_db: f64,
}

impl Link {
    /// To the next packet, so many metres on.
    fn move_on(&mut self, metres: f64, dice: &mut Dice) {
        let (radio, seconds) = (self.radio, 1.0 / self.radio.rate_hz);
        if metres > 0.0 {
            let kept = (-metres / radio.shadow_m).exp();
            self.shadow_db = kept * self.shadow_db + (1.0 - kept * kept).sqrt() * radio.shadow_db * dice.normal();
        }
        // Somebody comes by every 17 seconds and stays for 3.
        if self.crowd_db > 0.0 {
            if dice.chance(seconds / 3.0) {
                self.crowd_db = 0.0;
            }
        } else if dice.chance(seconds / 17.0) {
            self.crowd_db = dice.between(radio.crowd_db / 3.0, radio.crowd_db);
        }
    }

    /// The signal strength of one packet, unless it is lost.
    fn rssi_dbm(&self, pose: Pose, dice: &mut Dice) -> Option<f64> {
        let (radio, spot) = (self.radio, self.source.spot);
        let flat_m = pose.spot.distance_m(spot);
        let metres = flat_m.hypot(self.height_m).max(0.3);
        let (along_m, across_m) = (spot.x_m - pose.spot.x_m, spot.y_m - pose.spot.y_m);
        let ahead = (along_m * pose.facing.0 + across_m * pose.facing.1) / flat_m.max(0.01);
        let body_db = radio.body_db * (1.0 - ahead) / 2.0;
        let level_dbm = radio.power_dbm + self.offset_db - 10.0 * radio.exponent * metres.log10() + self.shadow_db
            - body_db
            - self.crowd_db
            + fading_db(dice);
        let heard = (1.0 - radio.loss) / (1.0 + ((-92.0 - level_dbm) / 1.5).exp());
        let rssi_dbm = level_dbm.round();
        (dice.chance(heard) && rssi_dbm < 0.0).then_some(rssi_dbm)
    }
}

/// Rician fading with as much direct as scattered power: deep dips, low peaks.
fn fading_db(dice: &mut Dice) -> f64 {
    let (one, other) = dice.normals();
    let (along, across) = (0.5_f64.sqrt() + 0.5 * one, 0.5 * other);
    10.0 * (along * along + across * across).max(1e-3).log10()
}
