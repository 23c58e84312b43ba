//! Towns as grids of streets, and where shops stand along them.

use super::{Gait, Plan, TOWN_SHOPS_MAX, chance::Chance, shop::Shop};

/// Metres of one degree on a great circle of the mean sphere.
const DEGREE_M: f64 = 111_195.08;

/// The country: south, west, and how far it reaches north and east, degrees.
const COUNTRY: [f64; 4] = [43.6, -0.8, 5.6, 7.2];

/// Shops of a town of middling size.
const TOWN_SHOPS: usize = 100;

/// A town: a grid of streets, turned in some direction.
#[derive(Clone, Debug)]
pub(super) struct Town {
    lat: f64,
    lon: f64,
    /// Degrees of latitude and of longitude for a metre along, and for a metre across.
    along: [f64; 2],
    across: [f64; 2],
    turn_sin: f32,
    turn_cos: f32,
    /// From corner to corner, metres.
    pub(super) block_m: f32,
    /// Corners from the middle to the edge.
    pub(super) reach: i32,
    shops: usize,
    /// Its first street among all of the country.
    pub(super) first_street: u32,
}

/// Towns that together have so many shops: the largest first, the n-th in proportion to 1 / (n + 4).
pub(super) fn towns(chance: &mut Chance, shops: usize) -> Vec<Town> {
    let count = (shops / TOWN_SHOPS).clamp(1, 2_000);
    let weights: Vec<f64> = (0..count).map(|at| 1.0 / (at as f64 + 4.0)).collect();
    let whole: f64 = weights.iter().sum();
    let mut left = shops;
    let side = (count as f64).sqrt().ceil() as usize;
    let mut towns: Vec<Town> = (0..count)
        .map(|at| {
            let share = (weights[at] / whole * shops as f64) as usize;
            let own = share.clamp(1, TOWN_SHOPS_MAX).min(left);
            left -= own;
            // Towns of all sizes are everywhere: neighbours in the list are not neighbours in the country.
            let cell = at * 7_919 % (side * side);
            Town::new(chance, own, [cell % side, cell / side], side)
        })
        .collect();
    let count = towns.len();
    (0..left).for_each(|at| towns[at % count].shops += 1);
    towns.iter_mut().for_each(Town::measure);
    towns
}

impl Town {
    fn new(chance: &mut Chance, shops: usize, [column, row]: [usize; 2], side: usize) -> Town {
        let [south, west, height, width] = COUNTRY;
        // In the middle half of its cell, so that towns keep apart.
        let mut place = |cell: usize| (cell as f64 + 0.25 + 0.5 * f64::from(chance.share())) / side as f64;
        let (lat, lon) = (south + height * place(row), west + width * place(column));
        let turn = f64::from(chance.within(0.0, std::f32::consts::FRAC_PI_2));
        let (north, east) = (1.0 / DEGREE_M, 1.0 / (DEGREE_M * lat.to_radians().cos()));
        Town {
            lat,
            lon,
            along: [turn.sin() * north, turn.cos() * east],
            across: [turn.cos() * north, -turn.sin() * east],
            turn_sin: turn.sin() as f32,
            turn_cos: turn.cos() as f32,
            block_m: chance.within(90.0, 140.0).round(),
            reach: 1,
            shops,
            first_street: 0,
        }
    }

    /// As large as its shops need: one in two streets on average, and far more in the middle.
    fn measure(&mut self) {
        self.reach = ((self.shops as f64 / 4.0).sqrt().ceil() as i32).max(2);
    }

    pub(super) fn position(&self, x_m: f32, y_m: f32) -> (f64, f64) {
        let (x, y) = (f64::from(x_m), f64::from(y_m));
        (self.lat + self.along[0] * x + self.across[0] * y, self.lon + self.along[1] * x + self.across[1] * y)
    }

    fn corners(&self) -> i32 {
        2 * self.reach + 1
    }

    /// The number within the town of the street from a corner to the next one, along (0) or across (1).
    pub(super) fn street(&self, [column, row]: [i32; 2], axis: u32) -> u32 {
        let corners = self.corners();
        axis * (corners * corners) as u32 + ((row + self.reach) * corners + column + self.reach) as u32
    }

    /// The heading from a corner, or the one back if that leads out of town.
    pub(super) fn kept_in(&self, [column, row]: [i32; 2], heading: u8) -> u8 {
        let leaves = match heading {
            0 => column >= self.reach,
            1 => row >= self.reach,
            2 => column <= -self.reach,
            _ => row <= -self.reach,
        };
        if leaves { (heading + 2) % 4 } else { heading }
    }

    /// Degrees clockwise from north of a move along and across its streets.
    pub(super) fn course_deg(&self, (x_m, y_m): (f32, f32)) -> f32 {
        let (sin, cos) = (self.turn_sin, self.turn_cos);
        let course_deg = (x_m * cos - y_m * sin).atan2(x_m * sin + y_m * cos).to_degrees();
        if course_deg < 0.0 { course_deg + 360.0 } else { course_deg }
    }

    /// Puts its shops along its streets; gives those of each street.
    pub(super) fn settle(&self, town: u32, chance: &mut Chance, plan: &Plan) -> Vec<Vec<Shop>> {
        let mut streets: Vec<Vec<Shop>> = Vec::new();
        streets.resize_with(2 * (self.corners() * self.corners()) as usize, Vec::new);
        let mut left = self.shops;
        while left > 0 {
            let mut toward = || {
                let bell = chance.share() + chance.share() + chance.share() - 1.5;
                (bell / 1.5 * self.reach as f32).round() as i32
            };
            let corner = [toward(), toward()].map(|at| at.clamp(-self.reach, self.reach - 1));
            let axis = chance.below(2);
            let mall = plan.gait != Gait::Border && chance.happens(0.01);
            let count = if mall { (8 + chance.below(24) as usize).min(left) } else { 1 };
            let street = &mut streets[self.street(corner, axis) as usize];
            let first = self.shop(town, (corner, axis), chance, plan);
            if mall {
                street.extend((1..count).map(|_| inside(&first, chance)));
                street.push(Shop { radius_m: chance.within(70.0, 110.0), ..first });
            } else {
                street.push(first);
            }
            left -= count;
        }
        streets
    }

    fn shop(&self, town: u32, (corner, axis): ([i32; 2], u32), chance: &mut Chance, plan: &Plan) -> Shop {
        let [x, y] = corner.map(|at| at as f32 * self.block_m);
        let along = chance.within(0.15, 0.85) * self.block_m;
        let side = if chance.happens(0.5) { 1.0 } else { -1.0 };
        let back_m = side * chance.within(18.0, 35.0);
        let radius_m = chance.within(15.0, 40.0);
        let (door_x_m, door_y_m) = if axis == 0 { (x + along, y) } else { (x, y + along) };
        let (x_m, y_m) = if axis == 0 { (x + along, y + back_m) } else { (x + back_m, y + along) };
        let polygon = f64::from(chance.share()) < plan.polygon_share;
        let vertices = polygon.then_some(plan.vertices.max(3) as u32);
        Shop { town, x_m, y_m, door_x_m, door_y_m, radius_m, vertices }
    }
}

/// A shop within a mall: small, and reached by the mall's own door.
fn inside(mall: &Shop, chance: &mut Chance) -> Shop {
    Shop {
        x_m: mall.x_m + chance.within(-50.0, 50.0),
        y_m: mall.y_m + chance.within(-50.0, 50.0),
        radius_m: chance.within(8.0, 14.0),
        ..mall.clone()
    }
}
