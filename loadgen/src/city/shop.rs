//! A place that has a geofence: where it is, and its outline.

use super::{Chance, City, Gait, Plan};

/// A place that has a geofence. Its number is its place in [`City::shops`].
#[derive(Clone, Debug, PartialEq)]
pub struct Shop {
    /// The town that it is in.
    pub town: u32,
    /// Where its middle is, metres along the town's streets.
    pub x_m: f32,
    /// Metres across.
    pub y_m: f32,
    /// Where one turns off the street to enter it, metres along.
    pub door_x_m: f32,
    /// Metres across.
    pub door_y_m: f32,
    /// Radius of the circle, or the mean radius of the polygon, metres.
    pub radius_m: f32,
    /// How many vertices the polygon has; a circle has none.
    pub vertices: Option<u32>,
}

/// How many waves an outline has on its way round, and how high they are, as a share of the radius.
const WAVES: [(f32, f32); 3] = [(3.0, 0.08), (7.0, 0.05), (23.0, 0.02)];

/// The radius of a hot fence, metres.
const HOT_RADIUS_M: f32 = 2_000.0;

/// The radius of a stadium, metres.
const STADIUM_RADIUS_M: f32 = 130.0;

impl Shop {
    /// The place that everybody is at, in the middle of the largest town.
    pub(super) fn landmark(plan: &Plan) -> Shop {
        let vertices = plan.hot_vertices.unwrap_or(plan.vertices).max(3) as u32;
        let radius_m = if plan.gait == Gait::Crowd { STADIUM_RADIUS_M } else { HOT_RADIUS_M };
        Shop { town: 0, x_m: 0.0, y_m: 0.0, door_x_m: radius_m, door_y_m: 0.0, radius_m, vertices: Some(vertices) }
    }

    /// How far the border of a polygon is from its middle in one direction, without the small roughness, metres.
    pub(super) fn reach_m(&self, turn: f32) -> f32 {
        let waves: f32 = WAVES.iter().map(|(count, height)| height * (count * turn).cos()).sum();
        self.radius_m * (1.0 + waves)
    }

    /// The vertices of its polygon, metres along and across the town's streets, from the middle; none of a circle. A ray
    /// from the middle meets the outline once, so it never touches itself, however rough it is.
    pub fn outline(&self, city: &City, number: usize) -> impl Iterator<Item = (f32, f32)> {
        let vertices = self.vertices.unwrap_or_default();
        let mut chance = Chance::new(city.plan().seed, (1 << 40) + number as u64);
        let edge_m = std::f32::consts::TAU * self.radius_m / vertices.max(1) as f32;
        let rough_m = (2.0 * edge_m).min(0.05 * self.radius_m);
        (0..vertices).map(move |vertex| {
            let turn = vertex as f32 / vertices as f32 * std::f32::consts::TAU;
            let reach_m = self.reach_m(turn) + chance.within(-rough_m, rough_m);
            (reach_m * turn.cos(), reach_m * turn.sin())
        })
    }
}
