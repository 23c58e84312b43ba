//! OwnTracks JSON (owntracks.org/booklet/tech/json): one message or an array of them, over HTTP or a broker.
//!
//! The phone sends again whatever is not answered with success. So what can never be read is counted and taken as
//! done; it must not come back for ever.

use parvis_engine::{
    beacons::{Ibeacon, Identity},
    id::DeviceId,
    observation::{Crossing, Edge, Fix, Observation, Position, Rejected, Sighting},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Batch, device, instant, invalid, number, positive};

/// Kilometres per hour in one metre per second: OwnTracks gives `vel` in km/h.
const KMH_PER_MPS: f64 = 3.6;

/// Reads a body. `known` is the device as the key, the query or the headers name it; without it the `topic`, and
/// without that the `tid` of each message does.
pub fn batch(bytes: &[u8], known: Option<&DeviceId>) -> Batch {
    let mut batch = Batch::default();
    let messages = match serde_json::from_slice(bytes) {
        Ok(Value::Array(messages)) => messages,
        Ok(message @ (Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => {
            vec![message]
        }
        Err(_) => vec![Value::Null],
    };
    for (index, message) in messages.iter().enumerate() {
        match read(message) {
            None => batch.ignored += 1,
            Some(observation) => match device(sender(message), known) {
                Ok(device) => batch.note(index, &device, observation),
                Err(rejected) => batch.rejected.push((index, rejected)),
            },
        }
    }
    batch
}

/// What a message says; nothing if it is none of our business.
fn read(message: &Value) -> Option<Result<Observation, Rejected>> {
    match message.get("_type").and_then(Value::as_str)? {
        "location" => Some(location(message)),
        "transition" => Some(transition(message)),
        "beacon" => Some(beacon(message)),
        _ => None,
    }
}

fn location(message: &Value) -> Result<Observation, Rejected> {
    Ok(Observation::Fix(Fix {
        at: instant(message.get("tst"), "tst")?,
        position: Position { lat: number(message, "lat")?, lon: number(message, "lon")? },
        accuracy_m: message.get("acc").and_then(Value::as_f64).unwrap_or_default(),
        speed_mps: positive(message, "vel").map(|kmh| kmh / KMH_PER_MPS),
        course_deg: positive(message, "cog"),
        floor: None,
    }))
}

/// The app's region carries the id of ours as its description.
fn transition(message: &Value) -> Result<Observation, Rejected> {
    let region = message.get("desc").and_then(Value::as_str).ok_or_else(|| invalid("`desc` is missing"))?;
    let edge = match message.get("event").and_then(Value::as_str) {
        Some("enter") => Edge::Enter,
        Some("leave") => Edge::Exit,
        Some(_) | None => return Err(invalid("`event` must be enter or leave")),
    };
    let region = region.parse().map_err(|why| invalid(format!("`desc` is to be a region's id: {why}")))?;
    Ok(Observation::Crossing(Crossing { at: instant(message.get("tst"), "tst")?, region, edge }))
}

fn beacon(message: &Value) -> Result<Observation, Rejected> {
    let beacon = Ibeacon::deserialize(message).map_err(|error| invalid(error.to_string()))?;
    Ok(Observation::Sighting(Sighting {
        at: instant(message.get("tst"), "tst")?,
        heard: Identity::Ibeacon(beacon).into(),
        rssi_dbm: number(message, "rssi")?,
        measured_power_dbm: None,
        count: None,
        distance_m: None,
        observer: None,
    }))
}

/// `owntracks/<user>/<device>[/event]`, or the two letters of the tracker.
fn sender(message: &Value) -> Option<&str> {
    let topic = message.get("topic").and_then(Value::as_str).and_then(|topic| topic.split('/').nth(2));
    topic.or_else(|| message.get("tid").and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use parvis_engine::observation::Rejection;

    use super::*;

    fn one(text: &str) -> Batch {
        batch(text.as_bytes(), None)
    }

    #[test]
    fn units_and_names_are_translated() {
        let text = r#"{"_type":"location","topic":"owntracks/jane/phone","tid":"JP","lat":1,"lon":2,"acc":15,"tst":1497349316,"vel":36,"cog":271}"#;
        let report = one(text).reports.remove(0);
        assert_eq!(report.device.as_str(), "phone");
        let Observation::Fix(fix) = report.observation else { panic!("a fix") };
        assert_eq!((fix.speed_mps, fix.course_deg, fix.accuracy_m), (Some(10.0), Some(271.0), 15.0));
        assert_eq!(fix.at.to_string(), "2017-06-13T10:21:56.000Z");
    }

    #[test]
    fn leaving_is_an_exit_of_the_region_that_desc_names() {
        let report = one(r#"{"_type":"transition","tid":"ce","tst":1603209966,"desc":"shop-7","event":"leave"}"#)
            .reports
            .remove(0);
        let Observation::Crossing(crossing) = report.observation else { panic!("a crossing") };
        assert_eq!((crossing.region.as_str(), crossing.edge), ("shop-7", Edge::Exit));
    }

    #[test]
    fn what_can_not_be_read_is_counted() {
        for text in ["", "nonsense", "null", "{}", r#"{"_type":"lwt","tst":1}"#, r#"{"_type":"encrypted","data":"x"}"#]
        {
            let batch = one(text);
            assert_eq!((batch.ignored, batch.reports.len(), batch.rejected.len()), (1, 0, 0), "{text}");
        }
        for text in [
            r#"{"_type":"location","tid":"xx","tst":0,"lat":0,"lon":0}"#,
            r#"{"_type":"location","tst":1778266175,"lat":0,"lon":0}"#,
            r#"{"_type":"location","tid":"xx","tst":1778266175}"#,
            r#"{"_type":"transition","tid":"xx","tst":1778266175,"desc":"two words","event":"enter"}"#,
        ] {
            assert_eq!(one(text).rejected[0].1.reason, Rejection::Invalid, "{text}");
        }
    }
}
