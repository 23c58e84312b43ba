//! Geofences as GeoJSON (RFC 7946). What a geofence may be is the engine's to say.

use std::{borrow::Cow, sync::Arc};

use parvis_engine::{id::RegionId, problem::Problem, region::Geofence};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Compiles a Feature.
///
/// # Errors
/// Everything that is wrong with it, with pointers into it.
pub fn compile_geofence(feature: Value) -> Result<Arc<Geofence>, Vec<Problem>> {
    let mut problems = Vec::new();
    if feature.get("type").and_then(Value::as_str) != Some("Feature") {
        problems.push(Problem::new("/type", "must be \"Feature\""));
    }
    if !feature.get("geometry").is_some_and(Value::is_object) {
        problems.push(Problem::new("/geometry", "a geofence needs a geometry: Point, Polygon or MultiPolygon"));
    }
    match id(&feature).map(|id| id.parse::<RegionId>()) {
        Some(Ok(id)) if problems.is_empty() => return Ok(Arc::new(Geofence { id })),
        Some(Ok(_)) => {}
        Some(Err(message)) => problems.push(Problem::new("/id", message)),
        None => problems.push(Problem::new("/id", "a geofence needs an id, a text or a whole number")),
    }
    Err(problems)
}

/// The id of a Feature: its own, or else the one among its properties, where some programs put it.
pub fn id(feature: &Value) -> Option<Cow<'_, str>> {
    let id = feature.get("id").or_else(|| feature.pointer("/properties/id"))?;
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

/// The same JSON without the white space between its parts.
pub fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for part in json.chars() {
        if in_text || !part.is_ascii_whitespace() {
            compact.push(part);
        }
        let quote = part == '"' && !escaped;
        escaped = in_text && part == '\\' && !escaped;
        in_text ^= quote;
    }
    compact.shrink_to_fit();
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_keeps_what_stands_in_texts() {
        let json = "{ \"a b\" : [ 1 ,\n 2.50 ] , \"c\\\" \" : \"\\\\\" , \"é\" : null }";
        assert_eq!(compact(json), "{\"a b\":[1,2.50],\"c\\\" \":\"\\\\\",\"é\":null}");
    }

    #[test]
    fn features_know_where_they_begin() {
        let text = "\n{\"type\": \"FeatureCollection\", \"bbox\": [1], \"features\": [ {\"id\": 1},\n {\"id\": 2}]}";
        let features = features(text).expect("valid");
        assert_eq!(features.len(), 2);
        assert!(features.iter().all(|feature| text[feature.at..].starts_with(feature.text)));
    }

    #[test]
    fn a_number_is_an_id_and_so_is_a_property() {
        let number = serde_json::json!({"type": "Feature", "id": 7, "geometry": {}});
        let property = serde_json::json!({"type": "Feature", "geometry": {}, "properties": {"id": "p"}});
        assert_eq!(compile_geofence(number).expect("valid").id.as_str(), "7");
        assert_eq!(compile_geofence(property).expect("valid").id.as_str(), "p");
        assert_eq!(compile_geofence(serde_json::json!({"id": ""})).expect_err("all wrong").len(), 3);
    }
}
