//! A disc on the sphere.

use super::{
    Outlook, Way,
    gaussian::disc,
    sphere::{DEGREE_M, EARTH_RADIUS_M, Rect, Site, haversine_m, reach_lon_deg},
};
use crate::observation::Position;

/// Everything within a great-circle distance of a centre, the border included.
#[derive(Clone, Debug)]
pub(crate) struct Circle {
    pub(crate) center: Position,
    pub(crate) radius_m: f64,
    cosine: f64,
}

impl Circle {
    pub(crate) fn new(center: Position, radius_m: f64) -> Circle {
        Circle { center, radius_m, cosine: center.lat.to_radians().cos() }
    }

    pub(crate) fn bounds(&self) -> Rect {
        let north = self.radius_m / DEGREE_M;
        let sideways = reach_lon_deg(self.center.lat, self.radius_m);
        let Position { lat, lon } = self.center;
        let (west, east) = if sideways >= 180.0 { (-180.0, 180.0) } else { (lon - sideways, lon + sideways) };
        Rect { west, east, south: (lat - north).max(-90.0), north: (lat + north).min(90.0) }
    }

    pub(crate) fn area_m2(&self) -> f64 {
        let half = (self.radius_m / EARTH_RADIUS_M / 2.0).sin();
        4.0 * std::f64::consts::PI * EARTH_RADIUS_M * EARTH_RADIUS_M * half * half
    }

    pub(crate) fn outlook(&self, site: &Site) -> Outlook {
        let distance_m = haversine_m(self.center, site.position, self.cosine * site.cosine);
        Outlook { inside: distance_m <= self.radius_m, border_m: (distance_m - self.radius_m).abs() }
    }

    pub(crate) fn probability(&self, site: &Site, sigma_m: f64) -> f64 {
        let distance_m = haversine_m(self.center, site.position, self.cosine * site.cosine);
        disc(distance_m / sigma_m, self.radius_m / sigma_m)
    }

    /// The stretch of a way that lies inside: both ends in the azimuthal projection around the centre, in which
    /// distances to the centre are true.
    pub(crate) fn crossing(&self, way: &Way) -> Option<(f64, f64)> {
        let site = Site::new(self.center);
        let [from, to] = [way.from, way.to].map(|end| site.azimuthal([end.lon, end.lat]));
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let square = dx * dx + dy * dy;
        if square == 0.0 {
            return None;
        }
        let middle = -(from[0] * dx + from[1] * dy) / square;
        let near_square = (from[0] * dy - from[1] * dx).powi(2) / square;
        let room = self.radius_m * self.radius_m - near_square;
        if room < 0.0 || !(0.0..=1.0).contains(&middle) {
            return None;
        }
        let half = (room / square).sqrt();
        Some(((middle - half).max(0.0), (middle + half).min(1.0)))
    }
}
