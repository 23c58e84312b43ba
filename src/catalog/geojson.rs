//! Geofences as GeoJSON (RFC 7946). What a geofence may be is the engine's to say.

use std::borrow::Cow;

use parvis_engine::{
    problem::Problem,
    region::{Feature, Geofence},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::objects::checked;

/// Compiles a Feature.
///
/// # Errors
/// Everything that is wrong with it, with pointers into it.
pub fn compile(mut feature: Value) -> Result<Geofence, Vec<Problem>> {
    // RFC 7946 lets an id be a number; here all ids are text.
    if let Some(id) = feature.get_mut("id").filter(|id| id.is_i64() || id.is_u64()) {
        *id = Value::String(id.to_string());
    }
    checked::<Feature, _>(feature, Geofence::compile)
}

/// Compiles a Feature from its text. What is right is read only once.
///
/// # Errors
/// Everything that is wrong with it, with pointers into it.
pub fn compile_text(text: &str) -> Result<Geofence, Vec<Problem>> {
    if let Ok(feature) = serde_json::from_str(text) {
        return Geofence::compile(feature);
    }
    let feature = serde_json::from_str(text).map_err(|error| vec![Problem::new("", error.to_string())])?;
    compile(feature)
}

/// The id that a Feature says it has, whatever else is wrong with it.
pub fn id(feature: &Value) -> Option<Cow<'_, str>> {
    let id = feature.get("id")?;
    id.as_str().map(Cow::from).or_else(|| id.as_i64().map(|number| number.to_string().into()))
}

/// One Feature of a file.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Its text.
    pub text: &'a str,
    /// The byte of the file at which it begins.
    pub at: usize,
}

/// The Features of a FeatureCollection, or of a file that is one Feature, as text.
///
/// # Errors
/// What is wrong with the file as a whole; with a place if it is its syntax.
pub fn features(text: &str) -> Result<Vec<Written<'_>>, serde_json::Error> {
    let body = text.trim();
    let begin = text.len() - text.trim_start().len();
    let envelope: Envelope<'_> = serde_json::from_str(text)?;
    let Some(features) = envelope.features else {
        if envelope.kind == "Feature" {
            return Ok(vec![Written { text: body, at: begin }]);
        }
        return Err(serde::de::Error::custom("must be a FeatureCollection with features, or a Feature"));
    };
    if envelope.kind != "FeatureCollection" {
        return Err(serde::de::Error::custom("has features, so its type must be \"FeatureCollection\""));
    }
    let offset = |raw: &RawValue| raw.get().as_ptr() as usize - text.as_ptr() as usize;
    Ok(features.into_iter().map(|raw| Written { text: raw.get(), at: offset(raw) }).collect())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    features: Option<Vec<&'a RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_know_where_they_begin() {
        let text = "\n{\"type\": \"FeatureCollection\", \"bbox\": [1], \"features\": [ {\"id\": 1},\n {\"id\": 2}]}";
        let features = features(text).expect("valid");
        assert_eq!(features.len(), 2);
        assert!(features.iter().all(|feature| text[feature.at..].starts_with(feature.text)));
    }

    #[test]
    fn a_number_is_an_id() {
        let fence = r#"{"type": "Feature", "id": 7, "geometry": {"type": "Point", "coordinates": [2.3, 48.8]},
            "properties": {"radius_m": 50.0}}"#;
        assert_eq!(compile_text(fence).expect("valid").region.id.as_str(), "7");
    }

    #[test]
    fn every_problem_of_a_feature_is_told() {
        let feature = serde_json::json!({"type": "Fence", "id": "", "properties": {"tags": [1], "store": 5}});
        let problems = compile(feature).expect_err("all wrong");
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["/id", "/properties/store", "/properties/tags/0", "/type", ""]);
    }
}
