//! What is around a place: one question over geofences and what hangs in shops.

use std::{cmp::Ordering, sync::Arc};

use super::Fixture;
use crate::{
    observation::Position,
    region::{Geofence, sphere::Site},
    world::World,
};

/// Something around a position.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Metres to it: to the border of a geofence, inside or outside, and to where anything else hangs.
    pub distance_m: f64,
    /// What it is.
    pub what: What,
}

/// What is around a position.
#[derive(Clone, Debug)]
pub enum What {
    /// A geofence.
    Geofence {
        /// Which.
        fence: Arc<Geofence>,
        /// Whether the position is in it, border included.
        inside: bool,
    },
    /// A beacon or a scanner.
    Fixture(Fixture),
}

impl Neighbour {
    /// Metres to the nearest position of it: 0 within a geofence.
    pub fn gap_m(&self) -> f64 {
        if matches!(self.what, What::Geofence { inside: true, .. }) { 0.0 } else { self.distance_m }
    }

    /// Nearest first; at the same distance geofences, beacons, scanners, each by id.
    fn order(&self, other: &Neighbour) -> Ordering {
        let by_distance = |it: &Neighbour, other: &Neighbour| {
            it.gap_m().total_cmp(&other.gap_m()).then(it.distance_m.total_cmp(&other.distance_m))
        };
        by_distance(self, other).then_with(|| self.what.name().cmp(&other.what.name()))
    }
}

impl What {
    fn name(&self) -> (u8, &str) {
        match self {
            What::Geofence { fence, .. } => (0, fence.region.id.as_str()),
            What::Fixture(fixture) => fixture.name(),
        }
    }
}

impl World {
    /// Geofences that the position is in or whose border is within a radius, and beacons and scanners within it;
    /// nearest first, at most `limit`.
    pub fn around(&self, position: Position, radius_m: f64, limit: usize) -> Vec<Neighbour> {
        let fixture = |(distance_m, fixture)| Neighbour { distance_m, what: What::Fixture(fixture) };
        let mut found: Vec<Neighbour> = self.registry.around(position, radius_m).into_iter().map(fixture).collect();
        let site = Site::new(position);
        self.regions.near(&site, radius_m, |candidate| {
            let outlook = candidate.fence.outlook(&site, f64::INFINITY);
            if outlook.gap_m() <= radius_m {
                let what = What::Geofence { fence: candidate.fence.clone(), inside: outlook.inside };
                found.push(Neighbour { distance_m: outlook.border_m, what });
            }
        });
        if found.len() > limit {
            found.select_nth_unstable_by(limit, Neighbour::order);
            found.truncate(limit);
        }
        found.sort_by(Neighbour::order);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        region::Regions,
        registry::{Parts, Registry, tests as registry},
        world,
    };

    fn fence(feature: &serde_json::Value) -> Arc<Geofence> {
        let feature = serde_json::from_value(feature.clone()).expect("well formed");
        Arc::new(Geofence::compile(feature).expect("sound"))
    }

    fn fences(places: &[Position]) -> Vec<Arc<Geofence>> {
        let circle = |(at, place): (usize, &Position)| {
            let geometry = serde_json::json!({"type": "Point", "coordinates": [place.lon, place.lat]});
            let radius_m = 10.0 + 37.0 * (at % 50) as f64;
            let properties = serde_json::json!({"radius_m": radius_m, "approach_m": 200.0});
            fence(
                &serde_json::json!({"type": "Feature", "id": format!("c{at}"), "geometry": geometry, "properties": properties}),
            )
        };
        let square = |(at, place): (usize, &Position)| {
            let [w, e] = [place.lon - 0.003, place.lon + 0.003].map(|lon| lon.clamp(-180.0, 180.0));
            let [s, n] = [place.lat - 0.002, place.lat + 0.002].map(|lat| lat.clamp(-90.0, 90.0));
            let ring = serde_json::json!([[[w, s], [e, s], [e, n], [w, n], [w, s]]]);
            let geometry = serde_json::json!({"type": "Polygon", "coordinates": ring});
            fence(
                &serde_json::json!({"type": "Feature", "id": format!("p{at}"), "geometry": geometry, "properties": {}}),
            )
        };
        let circles = places.iter().enumerate().map(circle);
        circles.chain(places.iter().enumerate().step_by(3).map(square)).collect()
    }

    #[test]
    fn finds_what_looking_at_everything_finds() {
        for (seed, center) in registry::corners().into_iter().enumerate() {
            let places = registry::scattered(seed as u64 + 1, center, 120);
            let fences = fences(&places);
            let beacons: Vec<_> = places.iter().enumerate().map(|(at, place)| registry::beacon(at, *place)).collect();
            let world = World {
                regions: Arc::new(Regions::new(fences.clone())),
                registry: Arc::new(Registry::new(Parts { beacons: beacons.clone(), ..Parts::default() })),
                ..World::new(1, Vec::new(), Vec::new(), Vec::new(), world::Settings::default())
            };
            for (place, radius_m) in places.iter().zip([0.0, 5.0, 80.0, 900.0, 20_000.0].into_iter().cycle()).take(40) {
                let gap_m = |fence: &Geofence| {
                    if fence.contains(*place) { 0.0 } else { fence.border_distance_m(*place) }
                };
                let near = fences.iter().filter(|fence| gap_m(fence) <= radius_m);
                let mut expected: Vec<String> = near.map(|fence| fence.region.id.to_string()).collect();
                let heard = registry::within(&beacons, *place, radius_m);
                expected.extend(heard.into_iter().map(|(_, id)| id));
                expected.sort();
                let found = world.around(*place, radius_m, usize::MAX);
                assert!(found.is_sorted_by(|a, b| a.gap_m() <= b.gap_m()), "seed {seed}");
                let mut names: Vec<String> = found.iter().map(|it| it.what.name().1.to_owned()).collect();
                names.sort();
                assert_eq!(names, expected, "seed {seed}, {place:?}, {radius_m} m");
                let few: Vec<String> =
                    world.around(*place, radius_m, 3).iter().map(|it| it.what.name().1.to_owned()).collect();
                let all: Vec<&str> = found.iter().map(|it| it.what.name().1).take(3).collect();
                assert_eq!(few, all, "the nearest are kept");
            }
        }
    }

    #[test]
    fn who_is_inside_is_told_with_the_distance_to_the_border() {
        let center = Position { lat: 48.87, lon: 2.33 };
        let geometry = serde_json::json!({"type": "Point", "coordinates": [2.33, 48.87]});
        let shop = fence(
            &serde_json::json!({"type": "Feature", "id": "shop", "geometry": geometry, "properties": {"radius_m": 50.0}}),
        );
        let world = World::new(1, vec![shop], Vec::new(), Vec::new(), world::Settings::default());
        let found = world.around(center, 10.0, 9);
        assert!(
            matches!(&found[..], [Neighbour { distance_m, what: What::Geofence { inside: true, .. } }] if (*distance_m - 50.0).abs() < 1e-6),
            "{found:?}"
        );
        assert_eq!(found[0].gap_m(), 0.0);
    }
}
