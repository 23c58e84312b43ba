//! The JSON of Transistorsoft's background geolocation and of the Traccar client: one object or an array of them.

use parvis_engine::{
    id::DeviceId,
    observation::{Fix, Observation, Position, Rejected},
};
use serde_json::Value;

use super::{Batch, device, instant, invalid, number, positive};
use crate::json::Malformed;

/// Reads a body; `location` may itself be an array. `known` is the device as the key or the query names it.
///
/// # Errors
/// If it is no such body as a whole.
pub fn batch(bytes: &[u8], known: Option<&DeviceId>) -> Result<Batch, Malformed> {
    let malformed = |detail: String| Malformed { pointer: String::new(), detail };
    let body: Value = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let messages = match &body {
        Value::Array(messages) => messages.as_slice(),
        Value::Object(_) => std::slice::from_ref(&body),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(malformed("the body must be an object with `location`, or an array of them".to_owned()));
        }
    };
    let mut batch = Batch::default();
    let mut index = 0;
    for message in messages {
        let named = message.get("device_id").and_then(Value::as_str);
        let locations = match message.get("location") {
            Some(Value::Array(locations)) => locations.as_slice(),
            Some(location) => std::slice::from_ref(location),
            None => std::slice::from_ref(message),
        };
        for location in locations {
            match device(named, known) {
                Ok(device) => batch.note(index, &device, fix(location)),
                Err(rejected) => batch.rejected.push((index, rejected)),
            }
            index += 1;
        }
    }
    Ok(batch)
}

fn fix(location: &Value) -> Result<Observation, Rejected> {
    let coords = location.get("coords").ok_or_else(|| invalid("`coords` is missing"))?;
    Ok(Observation::Fix(Fix {
        at: instant(location.get("timestamp"), "timestamp")?,
        position: Position { lat: number(coords, "latitude")?, lon: number(coords, "longitude")? },
        accuracy_m: coords.get("accuracy").and_then(Value::as_f64).unwrap_or_default(),
        speed_mps: positive(coords, "speed"),
        course_deg: positive(coords, "heading"),
        floor: coords.get("floor").and_then(Value::as_i64).and_then(|floor| i32::try_from(floor).ok()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_many_with_unknowns_as_minus_one() {
        let one = r#"{"device_id":"8737","location":{"timestamp":"2025-06-15T13:45:12.862Z","coords":{"latitude":37.5,"longitude":-122,"accuracy":5,"speed":-1,"heading":63,"floor":null}}}"#;
        for (text, count) in [(one.to_owned(), 1), (format!("[{one},{one}]"), 2)] {
            let batch = batch(text.as_bytes(), None).expect("a batch");
            assert_eq!((batch.reports.len(), batch.reports[0].device.as_str()), (count, "8737"));
            let Observation::Fix(fix) = &batch.reports[0].observation else { panic!("a fix") };
            assert_eq!((fix.speed_mps, fix.course_deg, fix.accuracy_m), (None, Some(63.0), 5.0));
        }
    }

    #[test]
    fn a_message_without_coordinates_is_told_apart_from_a_body_that_is_none() {
        assert!(
            batch(b"{\"device_id\":\"d\",\"location\":{}}", None).expect("read").rejected[0]
                .1
                .detail
                .contains("coords")
        );
        assert!(batch(b"7", None).is_err());
    }
}
