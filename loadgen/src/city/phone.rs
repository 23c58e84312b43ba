//! A phone: where its bearer goes, and what it reports of that. Small and quick, because a generator holds a million of
//! them and asks them hundreds of thousands of times a second beside the daemon that it measures.

use super::{Chance, City, Gait, Shop, Town, ZONES_PER_SHOP};

/// What a phone reports once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ping {
    /// Whose it is: the phone's number.
    pub phone: u32,
    /// When the phone was there, milliseconds since 1970.
    pub at_ms: i64,
    /// Where it takes itself to be, degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Within how far of the truth that is with 68 % probability, metres.
    pub accuracy_m: f32,
    /// How fast it moves, metres per second; not every phone says.
    pub speed_mps: Option<f32>,
    /// Where it is headed, degrees clockwise from north; of phones that move and say so.
    pub course_deg: Option<f32>,
    /// A beacon that it hears.
    pub heard: Option<Heard>,
    /// How long the phone keeps this before it reports it, milliseconds: it saves its battery, or has no network.
    pub delay_ms: u32,
}

/// A beacon that a phone hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The beacon's number.
    pub beacon: u32,
    /// How strongly, dBm.
    pub rssi_dbm: i8,
}

/// A phone and its bearer.
#[derive(Clone, Debug)]
pub struct Phone {
    pub(super) chance: Chance,
    /// When it reported last; the least number before its first report.
    pub(super) at_ms: i64,
    /// Where it is, and where it goes in a straight line; metres along and across the town's streets.
    pub(super) x_m: f32,
    pub(super) y_m: f32,
    to_x_m: f32,
    to_y_m: f32,
    /// By how much its fixes are off just now, as shares of their standard deviation.
    pub(super) off_x: f32,
    pub(super) off_y: f32,
    /// How long it still stays where it is, seconds.
    stay_s: f32,
    pub(super) number: u32,
    /// The shop that it is about to enter, in, or has just left; its own shop, with gaits that have one.
    pub(super) shop: u32,
    town: u16,
    /// Decimetres per second.
    speed_dmps: u8,
    pub(super) errand: Errand,
}

/// What the next place is that a walker comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// A corner, headed east, north, west or south on the town's map.
    Corner(u8),
    /// The place in the street where one turns off to a shop.
    Door,
    /// The shop.
    Shop,
    /// The same place in the street, coming back.
    Street,
    /// An aisle of the shop that it does not leave.
    Aisle(u8),
}

const NEVER: i64 = i64::MIN;

/// Who was silent for longer has not walked all the while, seconds.
const WALK_MAX_S: f32 = 120.0;

/// How fast somebody may seem to go who crosses a border on every move, metres per second: less than what a fix is
/// refused for as a jump.
const BORDER_SPEED_MPS: f32 = 80.0;

impl Phone {
    pub(super) fn new(city: &City, index: usize) -> Phone {
        let mut chance = Chance::new(city.plan.seed, (1 << 41) + index as u64);
        let count = city.shops.len();
        let shop = match city.plan.gait {
            Gait::Stroll => chance.below(count as u32) as usize,
            Gait::Border => index % count,
            Gait::Crowd | Gait::Rim => 0,
            Gait::Aisle => index % city.shops_with_beacons().max(1),
        };
        let place = &city.shops[shop];
        let quick = chance.happens(0.1);
        let mut phone = Phone {
            at_ms: NEVER,
            x_m: place.x_m,
            y_m: place.y_m,
            to_x_m: place.x_m,
            to_y_m: place.y_m,
            off_x: 0.0,
            off_y: 0.0,
            stay_s: 0.0,
            number: index as u32,
            shop: shop as u32,
            town: place.town as u16,
            speed_dmps: if quick { 40 } else { 8 + chance.below(9) as u8 },
            errand: Errand::Street,
            chance,
        };
        phone.set_out(city, place);
        phone
    }

    /// Lets time pass until `at_ms`, milliseconds since 1970, and gives what the phone reports then. Times must rise
    /// from step to step of one phone; the same times give the same pings.
    pub fn step(&mut self, city: &City, at_ms: i64) -> Ping {
        let elapsed_s = if self.at_ms == NEVER { 0.0 } else { (at_ms - self.at_ms).max(0) as f32 / 1_000.0 };
        self.at_ms = at_ms;
        let town = &city.towns[usize::from(self.town)];
        let before = (self.x_m, self.y_m);
        match city.plan.gait {
            Gait::Stroll | Gait::Crowd => self.stroll(city, town, elapsed_s.min(WALK_MAX_S)),
            Gait::Border => self.cross(&city.shops[self.shop as usize], elapsed_s),
            Gait::Rim => self.rim(&city.shops[0], elapsed_s.min(WALK_MAX_S)),
            Gait::Aisle => self.browse(&city.shops[self.shop as usize], elapsed_s),
        }
        let moved = (self.x_m - before.0, self.y_m - before.1);
        self.report(city, town, elapsed_s, moved)
    }

    /// Where it is at first.
    fn set_out(&mut self, city: &City, place: &Shop) {
        let block_m = city.towns[usize::from(self.town)].block_m;
        let (sin, cos) = self.chance.within(0.0, std::f32::consts::TAU).sin_cos();
        match city.plan.gait {
            Gait::Stroll => {
                self.x_m = (place.door_x_m / block_m).round() * block_m;
                self.y_m = (place.door_y_m / block_m).round() * block_m;
                (self.to_x_m, self.to_y_m) = (self.x_m, self.y_m);
                self.errand = Errand::Corner(self.chance.below(4) as u8);
                self.stay_s = (self.chance.within(-300.0, 300.0)).max(0.0);
            }
            Gait::Border => self.x_m += place.radius_m + 20.0,
            Gait::Crowd => {
                let far_m = 0.8 * place.radius_m * self.chance.share().sqrt();
                (self.x_m, self.y_m) = (far_m * cos, far_m * sin);
                let out = |toward: f32| (toward * (place.radius_m + 1.5 * block_m) / block_m).round() * block_m;
                (self.to_x_m, self.to_y_m) = (out(cos), out(sin));
                self.errand = self.corner_ahead();
                self.stay_s = self.chance.within(20.0, 110.0);
            }
            // The place on the border as an angle, and where in the swing across it, both in radians.
            Gait::Rim => {
                self.to_x_m = self.chance.within(0.0, std::f32::consts::TAU);
                self.to_y_m = self.chance.within(0.0, std::f32::consts::TAU);
            }
            Gait::Aisle => self.errand = Errand::Aisle(self.chance.below(ZONES_PER_SHOP as u32) as u8),
        }
    }

    /// In and out of its own shop.
    fn cross(&mut self, shop: &Shop, elapsed_s: f32) {
        let (sin, cos) = self.chance.within(0.0, std::f32::consts::TAU).sin_cos();
        let leaves = self.errand == Errand::Shop;
        let far_m = if leaves {
            shop.radius_m + self.chance.within(15.0, 25.0)
        } else {
            shop.radius_m * self.chance.within(0.0, 0.3)
        };
        let (x_m, y_m) = (shop.x_m + far_m * cos, shop.y_m + far_m * sin);
        let reachable = (x_m - self.x_m).hypot(y_m - self.y_m) < BORDER_SPEED_MPS * elapsed_s;
        if reachable && self.chance.happens(0.9) {
            (self.x_m, self.y_m) = (x_m, y_m);
            self.errand = if leaves { Errand::Street } else { Errand::Shop };
        }
    }

    /// Along the border, swinging across it once in half a minute.
    fn rim(&mut self, fence: &Shop, elapsed_s: f32) {
        use std::f32::consts::TAU;
        let wrapped = |turn: f32| if turn > TAU { turn - TAU } else { turn };
        self.to_x_m = wrapped(self.to_x_m + self.speed_mps() * elapsed_s / fence.radius_m);
        self.to_y_m = wrapped(self.to_y_m + (elapsed_s / 60.0).min(1.0) * TAU);
        let far_m = fence.reach_m(self.to_x_m) + 40.0 * self.to_y_m.sin();
        let (sin, cos) = self.to_x_m.sin_cos();
        (self.x_m, self.y_m) = (fence.x_m + far_m * cos, fence.y_m + far_m * sin);
    }

    /// From aisle to aisle.
    fn browse(&mut self, shop: &Shop, elapsed_s: f32) {
        self.stay_s -= elapsed_s;
        if self.stay_s <= 0.0 {
            self.stay_s = self.chance.within(20.0, 120.0);
            let zone = self.chance.below(ZONES_PER_SHOP as u32) as u8;
            self.errand = Errand::Aisle(zone);
            self.to_x_m = shop.x_m + AISLE_M * (f32::from(zone % 2) - 0.5);
            self.to_y_m = shop.y_m + AISLE_M * (f32::from(zone / 2) - 0.5);
        }
        self.walk(elapsed_s);
    }

    fn stroll(&mut self, city: &City, town: &Town, mut left_s: f32) {
        for _ in 0..ARRIVALS_MAX {
            if self.stay_s > left_s {
                self.stay_s -= left_s;
                return;
            }
            left_s -= std::mem::take(&mut self.stay_s);
            match self.walk(left_s) {
                Some(remains_s) => left_s = remains_s,
                None => return,
            }
            self.arrive(city, town);
        }
    }

    /// Goes on for so long; gives what remains of the time if it has arrived.
    fn walk(&mut self, left_s: f32) -> Option<f32> {
        let (dx, dy) = (self.to_x_m - self.x_m, self.to_y_m - self.y_m);
        let way_m = (dx * dx + dy * dy).sqrt();
        let step_m = self.speed_mps() * left_s;
        if way_m > step_m {
            self.x_m += dx * step_m / way_m;
            self.y_m += dy * step_m / way_m;
            return None;
        }
        (self.x_m, self.y_m) = (self.to_x_m, self.to_y_m);
        Some(left_s - way_m / self.speed_mps())
    }

    /// What comes next.
    fn arrive(&mut self, city: &City, town: &Town) {
        let shop = &city.shops[self.shop as usize];
        match self.errand {
            Errand::Corner(heading) => self.turn(city, town, heading),
            Errand::Door => {
                (self.to_x_m, self.to_y_m) = (shop.x_m, shop.y_m);
                self.errand = Errand::Shop;
            }
            Errand::Shop => {
                self.stay_s = self.chance.within(60.0, 600.0);
                (self.to_x_m, self.to_y_m) = (shop.door_x_m, shop.door_y_m);
                self.errand = Errand::Street;
            }
            Errand::Street | Errand::Aisle(_) => {
                self.to_x_m = (self.x_m / town.block_m).round() * town.block_m;
                self.to_y_m = (self.y_m / town.block_m).round() * town.block_m;
                self.errand = self.corner_ahead();
            }
        }
    }

    /// At a corner: mostly straight on, never out of town, now and then into one of the street's shops.
    fn turn(&mut self, city: &City, town: &Town, heading: u8) {
        if self.chance.happens(0.15) {
            self.stay_s = self.chance.within(5.0, 60.0);
        }
        let turns = match self.chance.below(50) {
            0..30 => 0,
            30..39 => 1,
            39..48 => 3,
            _ => 2,
        };
        let corner = [self.x_m, self.y_m].map(|at| (at / town.block_m).round() as i32);
        let heading = town.kept_in(corner, (heading + turns) % 4);
        let next = ahead(corner, heading);
        let street = town.street([corner[0].min(next[0]), corner[1].min(next[1])], u32::from(heading % 2));
        let shops = city.along(town, street);
        if !shops.is_empty() && self.chance.happens(0.12) {
            self.shop = shops.start + self.chance.below(shops.end - shops.start);
            let shop = &city.shops[self.shop as usize];
            (self.to_x_m, self.to_y_m) = (shop.door_x_m, shop.door_y_m);
            self.errand = Errand::Door;
        } else {
            (self.to_x_m, self.to_y_m) = (next[0] as f32 * town.block_m, next[1] as f32 * town.block_m);
            self.errand = Errand::Corner(heading);
        }
    }

    fn corner_ahead(&self) -> Errand {
        let (dx, dy) = (self.to_x_m - self.x_m, self.to_y_m - self.y_m);
        let along = dx.abs() > dy.abs();
        Errand::Corner(match (along, dx > 0.0, dy > 0.0) {
            (true, true, _) => 0,
            (false, _, true) => 1,
            (true, false, _) => 2,
            (false, _, false) => 3,
        })
    }

    pub(super) fn is_in_shop(&self) -> bool {
        match self.errand {
            Errand::Street => self.stay_s > 0.0,
            Errand::Aisle(_) => true,
            Errand::Corner(_) | Errand::Door | Errand::Shop => false,
        }
    }

    pub(super) fn speed_mps(&self) -> f32 {
        f32::from(self.speed_dmps) / 10.0
    }
}

/// From the middle of one aisle to the middle of the next, metres.
const AISLE_M: f32 = 8.0;

/// So many corners and doors somebody passes between two reports at most: two minutes on a bicycle.
const ARRIVALS_MAX: usize = 12;

/// The next corner: east, north, west or south on the town's map.
fn ahead([column, row]: [i32; 2], heading: u8) -> [i32; 2] {
    match heading {
        0 => [column + 1, row],
        1 => [column, row + 1],
        2 => [column - 1, row],
        _ => [column, row - 1],
    }
}
