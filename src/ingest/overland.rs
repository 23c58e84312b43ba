//! Overland (github.com/aaronpk/Overland-iOS, API): a batch of GeoJSON points, sent again until it is answered.

use parvis_engine::{
    id::DeviceId,
    observation::{Fix, Observation, Position, Rejected},
};
use serde_json::Value;

use super::{Batch, device, instant, invalid, positive};
use crate::json::Malformed;

/// Reads a body. `known` is the device as the key or the query names it; without it each point's `device_id` does.
/// `current` and `trip` may be ahead of the batch and come again in it; they are not read.
///
/// # Errors
/// If it is no Overland batch as a whole.
pub fn batch(bytes: &[u8], known: Option<&DeviceId>) -> Result<Batch, Malformed> {
    let malformed = |pointer: &str, detail: String| Malformed { pointer: pointer.to_owned(), detail };
    let body: Value = serde_json::from_slice(bytes).map_err(|error| malformed("", error.to_string()))?;
    let Some(Value::Array(points)) = body.get("locations") else {
        return Err(malformed("/locations", "`locations` must be an array of GeoJSON points".to_owned()));
    };
    let mut batch = Batch::default();
    for (index, point) in points.iter().enumerate() {
        let named = point.pointer("/properties/device_id").and_then(Value::as_str).filter(|name| !name.is_empty());
        match device(named, known) {
            Ok(device) => batch.note(index, &device, fix(point)),
            Err(rejected) => batch.rejected.push((index, rejected)),
        }
    }
    Ok(batch)
}

fn fix(point: &Value) -> Result<Observation, Rejected> {
    let coordinate = |at: usize| point.pointer(&format!("/geometry/coordinates/{at}")).and_then(Value::as_f64);
    let (Some(lon), Some(lat)) = (coordinate(0), coordinate(1)) else {
        return Err(invalid("`geometry.coordinates` must be [longitude, latitude]"));
    };
    let properties = point.get("properties").unwrap_or(&Value::Null);
    Ok(Observation::Fix(Fix {
        at: instant(properties.get("timestamp"), "timestamp")?,
        position: Position { lat, lon },
        accuracy_m: properties.get("horizontal_accuracy").and_then(Value::as_f64).unwrap_or_default(),
        speed_mps: positive(properties, "speed"),
        course_deg: positive(properties, "course"),
        floor: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_longitude_first_and_unknowns_are_minus_one() {
        let text = r#"{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[-122.03,37.33]},
            "properties":{"timestamp":"2015-10-01T08:00:00-0700","horizontal_accuracy":30,"speed":-1,"course":90,"device_id":"d"}},
            {"type":"Feature","geometry":null,"properties":{"device_id":"d"}}],"current":{}}"#;
        let batch = batch(text.as_bytes(), None).expect("a batch");
        let Observation::Fix(fix) = &batch.reports[0].observation else { panic!("a fix") };
        assert_eq!((fix.position.lat, fix.position.lon, fix.speed_mps), (37.33, -122.03, None));
        assert_eq!(fix.at.to_string(), "2015-10-01T15:00:00.000Z");
        assert_eq!(batch.rejected[0].0, 1);
    }

    #[test]
    fn a_body_without_locations_is_no_batch() {
        assert_eq!(batch(br#"{"locations":{}}"#, None).expect_err("no array").pointer, "/locations");
    }
}
