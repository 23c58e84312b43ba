//! The shape of Amazon Location's device positions: `DevicePositionUpdates` or `Updates`, an array of positions.

use parvis_engine::{
    id::DeviceId,
    observation::{Fix, Observation, Position, Rejected},
};
use serde_json::Value;

use super::{Batch, device, instant, invalid};
use crate::json::Malformed;

/// Reads a body. `known` is the device as the key names it; without it each position's `DeviceId` does.
///
/// # Errors
/// If it is no such body as a whole.
pub fn batch(bytes: &[u8], known: Option<&DeviceId>) -> Result<Batch, Malformed> {
    let malformed = |pointer: &str, detail: String| Malformed { pointer: pointer.to_owned(), detail };
    let body: Value = serde_json::from_slice(bytes).map_err(|error| malformed("", error.to_string()))?;
    let Some(Value::Array(positions)) = body.get("DevicePositionUpdates").or_else(|| body.get("Updates")) else {
        let detail = "`DevicePositionUpdates` must be an array of positions".to_owned();
        return Err(malformed("/DevicePositionUpdates", detail));
    };
    let mut batch = Batch::default();
    for (index, position) in positions.iter().enumerate() {
        match device(position.get("DeviceId").and_then(Value::as_str), known) {
            Ok(device) => batch.note(index, &device, fix(position)),
            Err(rejected) => batch.rejected.push((index, rejected)),
        }
    }
    Ok(batch)
}

fn fix(position: &Value) -> Result<Observation, Rejected> {
    let coordinate = |at: usize| position.pointer(&format!("/Position/{at}")).and_then(Value::as_f64);
    let (Some(lon), Some(lat)) = (coordinate(0), coordinate(1)) else {
        return Err(invalid("`Position` must be [longitude, latitude]"));
    };
    Ok(Observation::Fix(Fix {
        at: instant(position.get("SampleTime"), "SampleTime")?,
        position: Position { lat, lon },
        accuracy_m: position.pointer("/Accuracy/Horizontal").and_then(Value::as_f64).unwrap_or_default(),
        speed_mps: None,
        course_deg: None,
        floor: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_longitude_first() {
        let text = r#"{"DevicePositionUpdates":[{"DeviceId":"v-1","Position":[-123.4,45.6],"SampleTime":"2020-10-02T19:09:07.327Z","Accuracy":{"Horizontal":30}},{"DeviceId":"v-1","Position":[1]}]}"#;
        let batch = batch(text.as_bytes(), None).expect("a body");
        let Observation::Fix(fix) = &batch.reports[0].observation else { panic!("a fix") };
        assert_eq!((fix.position.lat, fix.position.lon, fix.accuracy_m), (45.6, -123.4, 30.0));
        assert_eq!(batch.rejected.len(), 1);
        assert!(self::batch(b"{}", None).is_err());
    }
}
