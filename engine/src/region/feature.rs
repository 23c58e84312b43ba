//! Geofences as they are written: GeoJSON features (RFC 7946).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::{RegionId, StoreId};

/// A GeoJSON Feature that describes a geofence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Always `Feature`.
    #[serde(rename = "type")]
    pub kind: FeatureKind,
    /// The geofence's id; in a request that names it in the path it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RegionId>,
    /// Where it is.
    pub geometry: Geometry,
    /// What it means.
    #[serde(default)]
    pub properties: Properties,
}

/// The word `Feature`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureKind {
    /// A feature.
    #[default]
    Feature,
}

/// A GeoJSON FeatureCollection of geofences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Always `FeatureCollection`.
    #[serde(rename = "type")]
    pub kind: CollectionKind,
    /// The geofences.
    pub features: Vec<Feature>,
}

/// The word `FeatureCollection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionKind {
    /// A collection of features.
    #[default]
    FeatureCollection,
}

/// A GeoJSON geometry. Rings are closed: the last position repeats the first. Edges are straight in longitude and
/// latitude; what crosses the antimeridian is cut there into the parts of a MultiPolygon (RFC 7946, section 3.1.9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Geometry {
    /// The centre of a circle whose radius is the property `radius_m`.
    Point {
        /// The centre.
        coordinates: LonLat,
    },
    /// A shell and its holes.
    Polygon {
        /// The rings, the shell first.
        coordinates: Vec<Vec<LonLat>>,
    },
    /// Several polygons.
    MultiPolygon {
        /// The rings of each.
        coordinates: Vec<Vec<Vec<LonLat>>>,
    },
}

/// A GeoJSON position, degrees. A third number, the altitude, is read and dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LonLat {
    /// Longitude, -180 to 180.
    pub lon: f64,
    /// Latitude, -90 to 90.
    pub lat: f64,
}

/// What a geofence means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Radius of a circle, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_m: Option<f64>,
    /// The store that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreId>,
    /// By which campaigns select it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// How long a visit must last to count as a dwell, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_s: Option<u32>,
    /// How near counts as approaching, metres from the border.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approach_m: Option<f64>,
    /// Opening hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<serde_json::Value>,
    /// Instead of the operator's setting: probability of being inside from which a device enters, 0.5 to 0.99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enter_probability: Option<f64>,
    /// Instead of the operator's setting: probability of being inside down to which a device exits, 0.01 to 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_probability: Option<f64>,
}

impl From<[f64; 2]> for LonLat {
    fn from([lon, lat]: [f64; 2]) -> LonLat {
        LonLat { lon, lat }
    }
}

impl Serialize for LonLat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.lon, self.lat].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LonLat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LonLat, D::Error> {
        struct Numbers;
        impl<'de> de::Visitor<'de> for Numbers {
            type Value = LonLat;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position: [longitude, latitude] in degrees")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut numbers: A) -> Result<LonLat, A::Error> {
                let lon = numbers.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let lat = numbers.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let altitude: Option<f64> = numbers.next_element()?;
                if altitude.is_some() && numbers.next_element::<f64>()?.is_some() {
                    return Err(de::Error::invalid_length(4, &self));
                }
                Ok(LonLat { lon, lat })
            }
        }
        deserializer.deserialize_seq(Numbers)
    }
}
