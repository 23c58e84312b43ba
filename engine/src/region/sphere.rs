//! Distances on the sphere and the flat frame around a position. Knows nothing of fences.

use crate::observation::Position;

/// Mean radius of the Earth (IUGG), metres.
pub(crate) const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Length of one degree on a great circle, metres.
pub(crate) const DEGREE_M: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

/// Above this latitude the flat frame bends too much over a few kilometres; the azimuthal projection takes over.
pub(crate) const POLAR_LATITUDE_DEG: f64 = 85.0;

/// Great-circle distance in metres on the mean sphere (haversine formula).
pub fn distance_m(from: Position, to: Position) -> f64 {
    haversine_m(from, to, from.lat.to_radians().cos() * to.lat.to_radians().cos())
}

/// The haversine formula with the product of the two cosines of latitude given.
pub(crate) fn haversine_m(from: Position, to: Position, cosines: f64) -> f64 {
    let half_lat = ((to.lat - from.lat).to_radians() / 2.0).sin();
    let half_lon = ((to.lon - from.lon).to_radians() / 2.0).sin();
    let square = half_lat * half_lat + cosines * half_lon * half_lon;
    2.0 * EARTH_RADIUS_M * square.clamp(0.0, 1.0).sqrt().asin()
}

/// How far east and west a disc reaches, degrees of longitude; 180 if it holds a pole.
pub(crate) fn reach_lon_deg(lat: f64, radius_m: f64) -> f64 {
    let angle = radius_m / EARTH_RADIUS_M;
    if lat.abs() + angle.to_degrees() >= 90.0 {
        return 180.0;
    }
    (angle.sin() / lat.to_radians().cos()).clamp(-1.0, 1.0).asin().to_degrees()
}

/// The multiple of 360 degrees that brings a longitude next to another.
pub(crate) fn turn_towards(lon: f64, towards: f64) -> f64 {
    if lon - towards > 180.0 {
        -360.0
    } else if lon - towards < -180.0 {
        360.0
    } else {
        0.0
    }
}

/// A position with the flat (equirectangular) frame around it: metres east and north, true at its latitude.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) position: Position,
    /// Metres for one degree of longitude here.
    pub(crate) east_m: f64,
    /// Cosine of the latitude.
    pub(crate) cosine: f64,
}

impl Site {
    pub(crate) fn new(position: Position) -> Site {
        let cosine = position.lat.to_radians().cos();
        Site { position, east_m: DEGREE_M * cosine, cosine }
    }

    pub(crate) fn is_polar(&self) -> bool {
        self.position.lat.abs() > POLAR_LATITUDE_DEG
    }

    /// The same place with its longitude turned next to another.
    pub(crate) fn turned(mut self, towards: f64) -> Site {
        self.position.lon += turn_towards(self.position.lon, towards);
        self
    }

    /// Metres east and north of here.
    pub(crate) fn flat(&self, [lon, lat]: [f64; 2]) -> [f64; 2] {
        [(lon - self.position.lon) * self.east_m, (lat - self.position.lat) * DEGREE_M]
    }

    /// Azimuthal equidistant projection: distances from here are true everywhere (Snyder 1987, section 25).
    pub(crate) fn azimuthal(&self, [lon, lat]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = lat.to_radians().sin_cos();
        let (turn_sin, turn_cos) = (lon - self.position.lon).to_radians().sin_cos();
        let here_sin = self.position.lat.to_radians().sin();
        let east = cos * turn_sin;
        let north = self.cosine * sin - here_sin * cos * turn_cos;
        let up = here_sin * sin + self.cosine * cos * turn_cos;
        let span = east.hypot(north);
        if span == 0.0 {
            return [0.0, if up > 0.0 { 0.0 } else { EARTH_RADIUS_M * std::f64::consts::PI }];
        }
        let scale = span.atan2(up) / span * EARTH_RADIUS_M;
        [east * scale, north * scale]
    }

    /// What a distance in the flat frame is at least worth on the sphere, as a factor, if it is below `within_m`:
    /// no way of that length leaves the band of latitudes around here, and in it a degree of longitude is
    /// nowhere shorter than at the band's poleward edge.
    pub(crate) fn shrink(&self, within_m: f64) -> f64 {
        if self.is_polar() {
            // Distances are true there, but for the chords that stand for pieces of edges.
            return 0.999;
        }
        let edge = (self.position.lat.abs() + within_m / DEGREE_M).min(90.0);
        (edge.to_radians().cos() / self.cosine).clamp(0.0, 1.0)
    }
}

/// A rectangle of longitudes and latitudes, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub(crate) west: f64,
    pub(crate) south: f64,
    pub(crate) east: f64,
    pub(crate) north: f64,
}

impl Rect {
    pub(crate) const EMPTY: Rect =
        Rect { west: f64::INFINITY, south: f64::INFINITY, east: f64::NEG_INFINITY, north: f64::NEG_INFINITY };

    pub(crate) fn including(self, [lon, lat]: [f64; 2]) -> Rect {
        Rect {
            west: self.west.min(lon),
            south: self.south.min(lat),
            east: self.east.max(lon),
            north: self.north.max(lat),
        }
    }

    pub(crate) fn union(self, other: Rect) -> Rect {
        self.including([other.west, other.south]).including([other.east, other.north])
    }

    pub(crate) fn meets(&self, other: &Rect) -> bool {
        self.west <= other.east && other.west <= self.east && self.south <= other.north && other.south <= self.north
    }

    pub(crate) fn center_lon(&self) -> f64 {
        (self.west + self.east) / 2.0
    }

    /// Distance in the flat frame of a site whose longitude has been turned next to this rectangle.
    pub(crate) fn flat_distance_m(&self, site: &Site) -> f64 {
        let Position { lat, lon } = site.position;
        let east = (self.west - lon).max(lon - self.east).max(0.0) * site.east_m;
        let north = (self.south - lat).max(lat - self.north).max(0.0) * DEGREE_M;
        (east * east + north * north).sqrt()
    }

    /// This rectangle with everything that is within `margin_m` of it.
    pub(crate) fn grown(self, margin_m: f64) -> Rect {
        let margin = margin_m / DEGREE_M;
        let poleward = self.south.abs().max(self.north.abs());
        let sideways = reach_lon_deg(poleward, margin_m);
        let full = sideways >= 180.0 || self.east - self.west + 2.0 * sideways >= 360.0;
        Rect {
            west: if full { -180.0 } else { self.west - sideways },
            east: if full { 180.0 } else { self.east + sideways },
            south: (self.south - margin).max(-90.0),
            north: (self.north + margin).min(90.0),
        }
    }

    /// The same rectangle in longitudes from -180 to 180: one or two of them.
    pub(crate) fn wrapped(self) -> [Option<Rect>; 2] {
        if self.west < -180.0 {
            [Some(Rect { west: -180.0, ..self }), Some(Rect { west: self.west + 360.0, east: 180.0, ..self })]
        } else if self.east > 180.0 {
            [Some(Rect { east: 180.0, ..self }), Some(Rect { west: -180.0, east: self.east - 360.0, ..self })]
        } else {
            [Some(self), None]
        }
    }
}
