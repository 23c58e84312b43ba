//! Geofences: how they are written, whether they are sound, and where a position stands to them.
//!
//! Knows nothing of devices or of time. Circles are great-circle discs on the mean sphere; the edges of polygons are
//! straight in longitude and latitude; the border belongs to the fence.

mod area;
mod chain;
mod circle;
mod feature;
pub(crate) mod gaussian;
pub(crate) mod index;
pub(crate) mod sphere;
mod validity;

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use self::{
    area::Area,
    circle::Circle,
    sphere::{Rect, Site},
};
pub use self::{
    feature::{Collection, CollectionKind, Feature, FeatureKind, Geometry, LonLat, Properties},
    index::Regions,
    sphere::distance_m,
};
use crate::{
    id::{RegionId, StoreId},
    observation::Position,
    problem::Problem,
    schedule::Hours,
};

/// The widest circle, metres: larger ones are better written as polygons.
pub const RADIUS_MAX_M: f64 = 1_000_000.0;

/// The widest ring around a fence that may count as approaching it, metres.
pub const APPROACH_MAX_M: f64 = 100_000.0;

/// The kinds of regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionKind {
    /// An area on the map.
    #[default]
    Geofence,
    /// Wherever one of certain beacons is heard.
    BeaconRegion,
    /// A part of a shop that beacons or scanners speak for.
    Zone,
}

/// What is said of a region, however it is told that somebody is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its id.
    pub id: RegionId,
    /// Of what kind it is.
    pub kind: RegionKind,
    /// What people call it.
    pub name: Option<String>,
    /// The store that it belongs to.
    pub store: Option<StoreId>,
    /// By which campaigns select it.
    pub tags: BTreeSet<String>,
    /// How long a visit must last to count as a dwell.
    pub dwell: Option<Duration>,
    /// Opening hours of this place, instead of its store's.
    pub hours: Option<Hours>,
}

/// The most rings of one geofence: each is compared with all others.
const RINGS_MAX: usize = 5_000;

/// A checked geofence. It serialises as the [`Feature`] that it was made from.
#[derive(Clone, Debug)]
pub struct Geofence {
    /// What is said of it.
    pub region: Region,
    /// How near counts as approaching, metres from the border.
    pub approach_m: Option<f64>,
    /// Probability of being inside from which a device enters.
    pub enter_probability: Option<f64>,
    /// Probability of being inside down to which a device exits.
    pub exit_probability: Option<f64>,
    shape: Shape,
    area_m2: f64,
}

/// A way from one position to another, straight in longitude and latitude, the short way round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: Position,
    pub(crate) to: Position,
}

/// How a position stands to a fence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outlook {
    /// Whether it is inside, border included.
    pub(crate) inside: bool,
    /// Distance to the nearest border, metres, or as far as was asked for.
    pub(crate) border_m: f64,
}

impl Outlook {
    /// Distance to the nearest position of the fence, metres.
    pub(crate) fn gap_m(self) -> f64 {
        if self.inside { 0.0 } else { self.border_m }
    }
}

#[derive(Clone, Debug)]
enum Shape {
    Circle(Circle),
    Area { area: Area, multi: bool },
}

impl Geofence {
    /// Checks a feature and prepares its geometry.
    ///
    /// # Errors
    /// Everything that is wrong with it; each message names the geofence, and the ring if it is about one.
    pub fn compile(feature: Feature) -> Result<Geofence, Vec<Problem>> {
        let name = feature.id.as_ref().map_or("?", RegionId::as_str).to_owned();
        let mut problems: Vec<Problem> = Vec::new();
        let mut report = |path: String, message: String| {
            problems.push(Problem::new(path, format!("geofence {name:?}{message}")));
        };
        if feature.id.is_none() {
            report("/id".to_owned(), ": an id is missing".to_owned());
        }
        check_properties(&feature, &mut report);
        check_geometry(&feature.geometry, &mut report);
        let (Some(id), true) = (feature.id, problems.is_empty()) else { return Err(problems) };
        let properties = feature.properties;
        let shape = Shape::new(feature.geometry, properties.radius_m.unwrap_or_default());
        let region = Region {
            id,
            kind: RegionKind::Geofence,
            name: properties.name,
            store: properties.store,
            tags: properties.tags,
            dwell: properties.dwell_s.map(|seconds| Duration::from_secs(seconds.into())),
            hours: properties.hours,
        };
        Ok(Geofence {
            region,
            approach_m: properties.approach_m,
            enter_probability: properties.enter_probability,
            exit_probability: properties.exit_probability,
            area_m2: shape.area_m2(),
            shape,
        })
    }

    /// The feature that this geofence was made from.
    pub fn feature(&self) -> Feature {
        let Region { id, kind: _, name, store, tags, dwell, hours } = self.region.clone();
        let (geometry, radius_m) = self.shape.geometry();
        Feature {
            kind: FeatureKind::Feature,
            id: Some(id),
            geometry,
            properties: Properties {
                name,
                radius_m,
                store,
                tags,
                dwell_s: dwell.map(|dwell| u32::try_from(dwell.as_secs()).unwrap_or(u32::MAX)),
                approach_m: self.approach_m,
                hours,
                enter_probability: self.enter_probability,
                exit_probability: self.exit_probability,
            },
        }
    }

    /// Whether a position is inside, border included.
    pub fn contains(&self, position: Position) -> bool {
        match &self.shape {
            Shape::Circle(circle) => circle.outlook(&Site::new(position)).inside,
            Shape::Area { area, .. } => area.contains(position),
        }
    }

    /// Distance from a position to the nearest border, metres, inside or outside. Exact for circles; for polygons in
    /// the flat frame around the position, beyond 85 degrees of latitude in the azimuthal projection around it.
    pub fn border_distance_m(&self, position: Position) -> f64 {
        self.outlook(&Site::new(position), f64::INFINITY).border_m
    }

    /// The probability that a device is inside, for a circular Gaussian around `position` whose 68 % radius is
    /// `accuracy_m`. With 0 it is the exact geometry. Polygons whose parts overlap count the overlap twice.
    pub fn probability(&self, position: Position, accuracy_m: f64) -> f64 {
        let site = Site::new(position);
        let sigma_m = gaussian::sigma_m(accuracy_m);
        let outlook = self.outlook(&site, gaussian::SHARP * sigma_m);
        if outlook.border_m >= gaussian::SHARP * sigma_m {
            return if outlook.inside { 1.0 } else { 0.0 };
        }
        self.mass(&site, sigma_m)
    }

    /// Surface on the mean sphere, square metres.
    pub fn area_m2(&self) -> f64 {
        self.area_m2
    }

    /// Radius of the disc with the same surface, metres.
    pub(crate) fn scale_m(&self) -> f64 {
        (self.area_m2 / std::f64::consts::PI).sqrt()
    }

    pub(crate) fn outlook(&self, site: &Site, within_m: f64) -> Outlook {
        match &self.shape {
            Shape::Circle(circle) => circle.outlook(site),
            Shape::Area { area, .. } => area.outlook(site, within_m),
        }
    }

    pub(crate) fn mass(&self, site: &Site, sigma_m: f64) -> f64 {
        match &self.shape {
            Shape::Circle(circle) => circle.probability(site, sigma_m),
            Shape::Area { area, .. } => area.probability(site, sigma_m),
        }
    }

    /// From the first to the last border on a way, as fractions of it; none if the way stays outside.
    pub(crate) fn crossing(&self, way: &Way) -> Option<(f64, f64)> {
        match &self.shape {
            Shape::Circle(circle) => circle.crossing(way),
            Shape::Area { area, .. } => area.crossing(way),
        }
    }

    fn bounds(&self) -> Vec<Rect> {
        match &self.shape {
            Shape::Circle(circle) => vec![circle.bounds()],
            Shape::Area { area, .. } => area.bounds(),
        }
    }
}

impl Serialize for Geofence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.feature().serialize(serializer)
    }
}

impl Shape {
    fn new(geometry: Geometry, radius_m: f64) -> Shape {
        let bare = |rings: Vec<Vec<LonLat>>| -> Vec<Vec<[f64; 2]>> { rings.iter().map(|ring| plain(ring)).collect() };
        match geometry {
            Geometry::Point { coordinates: LonLat { lon, lat } } => {
                Shape::Circle(Circle::new(Position { lat, lon }, radius_m))
            }
            Geometry::Polygon { coordinates } => Shape::Area { area: Area::new(vec![bare(coordinates)]), multi: false },
            Geometry::MultiPolygon { coordinates } => {
                Shape::Area { area: Area::new(coordinates.into_iter().map(bare).collect()), multi: true }
            }
        }
    }

    fn area_m2(&self) -> f64 {
        match self {
            Shape::Circle(circle) => circle.area_m2(),
            Shape::Area { area, .. } => area.area_m2(),
        }
    }

    fn geometry(&self) -> (Geometry, Option<f64>) {
        match self {
            Shape::Circle(circle) => {
                let coordinates = LonLat { lon: circle.center.lon, lat: circle.center.lat };
                (Geometry::Point { coordinates }, Some(circle.radius_m))
            }
            Shape::Area { area, multi } => {
                let ring = |ring: &area::Ring| ring.chain.points().iter().map(|point| LonLat::from(*point)).collect();
                let mut parts: Vec<Vec<Vec<LonLat>>> =
                    area.parts.iter().map(|part| part.rings.iter().map(ring).collect()).collect();
                match parts.pop() {
                    Some(coordinates) if !multi => (Geometry::Polygon { coordinates }, None),
                    last => {
                        parts.extend(last);
                        (Geometry::MultiPolygon { coordinates: parts }, None)
                    }
                }
            }
        }
    }
}

fn plain(ring: &[LonLat]) -> Vec<[f64; 2]> {
    ring.iter().map(|position| [position.lon, position.lat]).collect()
}

fn check_properties(feature: &Feature, report: &mut impl FnMut(String, String)) {
    let properties = &feature.properties;
    let circle = matches!(feature.geometry, Geometry::Point { .. });
    let ranges = [
        ("radius_m", properties.radius_m, 0.1, RADIUS_MAX_M),
        ("approach_m", properties.approach_m, 1.0, APPROACH_MAX_M),
        ("enter_probability", properties.enter_probability, 0.5, 0.99),
        ("exit_probability", properties.exit_probability, 0.01, 0.5),
    ];
    for (field, value, least, most) in ranges {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            report(format!("/properties/{field}"), format!(": {field} is {value}; it goes from {least} to {most}"));
        }
    }
    if properties.dwell_s == Some(0) {
        report("/properties/dwell_s".to_owned(), ": dwell_s is 0; it is at least 1, or left out".to_owned());
    }
    for problem in properties.hours.iter().flat_map(Hours::problems) {
        report(format!("/properties/hours{}", problem.path), format!(": {}", problem.message));
    }
    if circle && properties.radius_m.is_none() {
        report("/properties/radius_m".to_owned(), ": a Point needs radius_m to be a circle".to_owned());
    }
    if !circle && properties.radius_m.is_some() {
        report("/properties/radius_m".to_owned(), ": radius_m belongs to a Point, not to a polygon".to_owned());
    }
}

fn check_geometry(geometry: &Geometry, report: &mut impl FnMut(String, String)) {
    let rings = match geometry {
        Geometry::Point { .. } => 0,
        Geometry::Polygon { coordinates } => coordinates.len(),
        Geometry::MultiPolygon { coordinates } => coordinates.iter().map(Vec::len).sum(),
    };
    if rings > RINGS_MAX {
        let message = format!(": has {rings} rings, at most {RINGS_MAX} are taken; make several geofences of it");
        return report("/geometry/coordinates".to_owned(), message);
    }
    let mut left = validity::Comparisons::new();
    let mut check_polygon = |path: &str, part: &str, rings: &[Vec<LonLat>]| {
        let rings: Vec<Vec<[f64; 2]>> = rings.iter().map(|ring| plain(ring)).collect();
        for (ring, reason) in validity::polygon(&rings, &mut left) {
            match ring {
                Some(ring) => report(format!("{path}/{ring}"), format!("{part}, ring {ring} {reason}")),
                None => report(path.to_owned(), format!("{part}: {reason}")),
            }
        }
    };
    match geometry {
        Geometry::Point { coordinates: LonLat { lon, lat } } => {
            if !(-180.0..=180.0).contains(lon) || !(-90.0..=90.0).contains(lat) {
                report(
                    "/geometry/coordinates".to_owned(),
                    format!(": the centre is [{lon}, {lat}]; longitude is -180 to 180 and latitude -90 to 90"),
                );
            }
        }
        Geometry::Polygon { coordinates } => check_polygon("/geometry/coordinates", "", coordinates),
        Geometry::MultiPolygon { coordinates } if coordinates.is_empty() => {
            report("/geometry/coordinates".to_owned(), ": a MultiPolygon has at least one polygon".to_owned());
        }
        Geometry::MultiPolygon { coordinates } => {
            for (index, rings) in coordinates.iter().enumerate() {
                check_polygon(&format!("/geometry/coordinates/{index}"), &format!(", polygon {index}"), rings);
            }
        }
    }
}
