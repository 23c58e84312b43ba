//! What a phone says of where it is: with the error of its fixes, silent about what it does not know, late now and then.

use super::{
    BEACONS_PER_SHOP, City, Gait, Phone, Town, ZONES_PER_SHOP,
    phone::{Errand, Heard, Ping},
};

/// The 68 % radius of a circular Gaussian in standard deviations along one axis: `sqrt(-2 ln 0.32)`.
const RADIUS_68: f32 = 1.509_592;

/// After so long the error of a fix has become another one, seconds: satellites and reflections move slowly.
const ERROR_LASTS_S: f32 = 30.0;

impl Phone {
    pub(super) fn report(&mut self, city: &City, town: &Town, elapsed_s: f32, moved: (f32, f32)) -> Ping {
        let accuracy_m = self.accuracy_m(city);
        self.drift(elapsed_s);
        let off_m = accuracy_m / RADIUS_68;
        let (lat, lon) = town.position(self.x_m + self.off_x * off_m, self.y_m + self.off_y * off_m);
        let moves = moved.0 != 0.0 || moved.1 != 0.0;
        let says_speed = !self.number.is_multiple_of(4);
        Ping {
            phone: self.number,
            at_ms: self.at_ms,
            lat,
            lon,
            accuracy_m,
            speed_mps: says_speed.then(|| if moves { self.speed_mps() } else { 0.0 }),
            course_deg: (says_speed && moves).then(|| town.course_deg(moved)),
            heard: self.hear(city),
            delay_ms: self.delay_ms(city.plan.gait),
        }
    }

    /// Mostly 5 to 30 m, worse indoors, and now and then far worse.
    fn accuracy_m(&mut self, city: &City) -> f32 {
        match city.plan.gait {
            Gait::Border => 5.0,
            Gait::Stroll | Gait::Crowd | Gait::Rim | Gait::Aisle => {
                if self.chance.happens(0.02) {
                    return self.chance.within(100.0, 500.0).round();
                }
                let indoors = self.is_in_shop();
                let (least, most) = if indoors { (12.0, 30.0) } else { (4.0, 15.0) };
                self.chance.within(least, most).round()
            }
        }
    }

    /// The error of fixes wanders: one that was off is off likewise a moment later (an autoregressive process of order
    /// one and variance 1).
    fn drift(&mut self, elapsed_s: f32) {
        let kept = 1.0 / (1.0 + elapsed_s / ERROR_LASTS_S);
        let fresh = (1.0 - kept * kept).sqrt();
        let [x, y] = self.chance.bells();
        self.off_x = kept * self.off_x + fresh * x;
        self.off_y = kept * self.off_y + fresh * y;
    }

    /// A beacon of the shop that it is in, mostly of the aisle that it stands in.
    fn hear(&mut self, city: &City) -> Option<Heard> {
        let has_beacons = (self.shop as usize) < city.shops_with_beacons();
        let zone = match self.errand {
            Errand::Aisle => self.zone(&city.shops[self.shop as usize]),
            Errand::Street if self.is_in_shop() => (self.at_ms / 60_000) as u32 % ZONES_PER_SHOP as u32,
            Errand::Street | Errand::Corner(_) | Errand::Door | Errand::Shop => return None,
        };
        if !has_beacons {
            return None;
        }
        let strays = self.chance.happens(0.2);
        let zone = if strays { self.chance.below(ZONES_PER_SHOP as u32) } else { zone };
        let mean_dbm = if strays { -78.0 } else { -62.0 };
        let beacon = self.shop * BEACONS_PER_SHOP as u32 + 3 * zone + self.chance.below(3);
        let rssi_dbm = mean_dbm + 4.0 * self.chance.bells()[0];
        Some(Heard { beacon: beacon.min(city.plan.beacons as u32 - 1), rssi_dbm: rssi_dbm as i8 })
    }

    /// One phone in ten reports once a minute what it has gathered; each loses its network now and then.
    fn delay_ms(&mut self, gait: Gait) -> u32 {
        const BATCH_MS: i64 = 60_000;
        if gait == Gait::Border {
            return 0;
        }
        if self.number % 10 == 7 {
            let into = (self.at_ms + i64::from(self.number) * 617).rem_euclid(BATCH_MS);
            return (BATCH_MS - into) as u32;
        }
        if self.chance.happens(0.004) { 5_000 + self.chance.below(115_000) } else { 0 }
    }
}
