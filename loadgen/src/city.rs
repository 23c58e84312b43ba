//! A country of towns with shops along their streets, and the people who walk there, all from one seed. Knows no wire
//! format, and no time but what it is told.

mod chance;
mod phone;
mod report;
mod shop;
mod streets;

use self::{
    chance::Chance,
    streets::{Town, towns},
};
pub use self::{
    phone::{Heard, Phone, Ping},
    shop::Shop,
};

/// What a city is to be like. The same plan gives the same city and the same pings, on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What all chance comes from.
    pub seed: u64,
    /// How many geofences there are, at least one.
    pub fences: usize,
    /// The share of them that are polygons, 0 to 1; the others are circles.
    pub polygon_share: f64,
    /// Vertices of a polygon, at least 3.
    pub vertices: usize,
    /// Makes the first fence one of so many vertices, some kilometres wide, in the midst of the largest town.
    pub hot_vertices: Option<usize>,
    /// How many phones there are, at least one.
    pub phones: usize,
    /// How many beacons hang in shops, [`BEACONS_PER_SHOP`] in each of the first ones.
    pub beacons: usize,
    /// How many campaigns run.
    pub campaigns: usize,
    /// How people move.
    pub gait: Gait,
}

/// How people move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gait {
    /// Along streets, round corners, into shops and out again; phones with poor fixes, gaps and batches.
    Stroll,
    /// Across the border of the phone's own shop on nine of ten moves, with good fixes.
    Border,
    /// Out of a stadium, the first fence: everybody is inside at first and leaves within two minutes.
    Crowd,
    /// To and fro across the border of the first fence, and along it.
    Rim,
    /// From aisle to aisle of the phone's own shop, hearing its beacons.
    Aisle,
}

/// Zones in each shop that has beacons.
pub const ZONES_PER_SHOP: usize = 4;

/// Beacons in each shop that has any: three to a zone.
pub const BEACONS_PER_SHOP: usize = 3 * ZONES_PER_SHOP;

/// The most shops of one town: a metropolis.
const TOWN_SHOPS_MAX: usize = 8_000;

/// Towns, shops and streets. Of a phone it holds nothing.
#[derive(Debug)]
pub struct City {
    plan: Plan,
    towns: Vec<Town>,
    /// By town, then by street.
    shops: Vec<Shop>,
    /// The first shop of each street of each town, and at the end how many shops there are.
    street_shops: Vec<u32>,
}

impl City {
    /// Builds the city of a plan.
    pub fn build(plan: &Plan) -> City {
        let mut chance = Chance::new(plan.seed, 0);
        let landmark = plan.has_landmark();
        let along_streets = plan.fences.max(1) - usize::from(landmark);
        let mut city = City {
            plan: plan.clone(),
            towns: towns(&mut chance, along_streets),
            shops: Vec::with_capacity(plan.fences),
            street_shops: Vec::new(),
        };
        if landmark {
            city.shops.push(Shop::landmark(plan));
        }
        for at in 0..city.towns.len() {
            let streets = city.towns[at].settle(at as u32, &mut chance, plan);
            city.towns[at].first_street = city.street_shops.len() as u32;
            for mut shops in streets {
                city.street_shops.push(city.shops.len() as u32);
                city.shops.append(&mut shops);
            }
        }
        city.street_shops.push(city.shops.len() as u32);
        city
    }

    /// What it was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Every place that has a geofence.
    pub fn shops(&self) -> &[Shop] {
        &self.shops
    }

    /// How many shops have beacons: the first ones.
    pub fn shops_with_beacons(&self) -> usize {
        self.plan.beacons.div_ceil(BEACONS_PER_SHOP).min(self.shops.len()).min(usize::from(u16::MAX))
    }

    /// Where a place of a town lies, degrees of latitude and longitude. `x_m` and `y_m` run along its streets.
    pub fn position(&self, town: u32, x_m: f32, y_m: f32) -> (f64, f64) {
        self.towns[town as usize].position(x_m, y_m)
    }

    /// What a beacon says on the air beside the UUID: its major, which is the number of its shop, and its minor.
    pub fn beacon(&self, number: u32) -> (u16, u16) {
        let of_shop = BEACONS_PER_SHOP as u32;
        ((number / of_shop) as u16, (number % of_shop) as u16)
    }

    /// A phone before its first report. Phones have the numbers from 0 to `plan.phones - 1`; the same number is always
    /// the same phone.
    pub fn phone(&self, index: usize) -> Phone {
        Phone::new(self, index)
    }

    /// The shops along a street of a town.
    fn along(&self, town: &Town, street: u32) -> std::ops::Range<u32> {
        let at = (town.first_street + street) as usize;
        self.street_shops[at]..self.street_shops[at + 1]
    }
}

impl Plan {
    /// Whether the first fence is a place that everybody is at, rather than a shop in a street.
    fn has_landmark(&self) -> bool {
        self.hot_vertices.is_some() || matches!(self.gait, Gait::Crowd | Gait::Rim)
    }
}

/// What a phone's installation is called.
pub fn device_id(phone: u32) -> String {
    format!("phone-{phone}")
}

/// The shopper of a phone. Everybody is anonymous, as an app's users are before they log in; so one request registers
/// a phone with its consents.
pub fn shopper_id(phone: u32) -> String {
    format!("~phone-{phone}")
}
