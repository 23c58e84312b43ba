//! Beacons as apps hear them: the JSON of the common plugins over Core Location's ranging and over the Android Beacon
//! Library, as the app gets it.

use parvis_engine::{
    beacons::{Ibeacon, Identity, Uuid},
    id::DeviceId,
    observation::{Observation, Rejected, Sighting},
    time::Timestamp,
};
use serde_json::Value;

use super::{Batch, device, instant, invalid};
use crate::json::{self, Malformed};

/// The most beacons that one request tells of.
const BEACONS_MAX: usize = 10_000;

/// Reads a list of beacons, or an object with `beacons` and perhaps `device` and `timestamp`. `known` is the device as
/// the key or the query names it. What has no time of its own was heard when the request came. Beacons of which nothing
/// was heard in the period (`rssi` 0 or -1, `accuracy` below 0 without one) are no sightings and are counted as ignored.
///
/// # Errors
/// If it is no such body as a whole.
pub fn batch(bytes: &[u8], known: Option<&DeviceId>, received_at: Timestamp) -> Result<Batch, Malformed> {
    let malformed = |pointer: &str, detail: &str| Malformed { pointer: pointer.to_owned(), detail: detail.to_owned() };
    let body = json::value(bytes)?;
    let (beacons, named) = match &body {
        Value::Array(beacons) => (beacons, None),
        Value::Object(object) => match object.get("beacons") {
            Some(Value::Array(beacons)) => (beacons, object.get("device").and_then(Value::as_str)),
            Some(_) | None => return Err(malformed("/beacons", "must be a list of beacons")),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(malformed("", "the body must be a list of beacons, or an object with `beacons`"));
        }
    };
    if beacons.len() > BEACONS_MAX {
        return Err(malformed("/beacons", &format!("at most {BEACONS_MAX} beacons")));
    }
    let mut batch = Batch::default();
    for (index, beacon) in beacons.iter().enumerate() {
        match device(named, known).and_then(|device| Ok((device, sighting(beacon, &body, received_at)?))) {
            Ok((device, Some(sighting))) => batch.note(index, &device, Ok(Observation::Sighting(sighting))),
            Ok((_, None)) => batch.ignored += 1,
            Err(rejected) => batch.rejected.push((index, rejected)),
        }
    }
    Ok(batch)
}

fn sighting(beacon: &Value, body: &Value, received_at: Timestamp) -> Result<Option<Sighting>, Rejected> {
    let uuid = first(beacon, &["uuid", "proximityUUID", "id1"]).and_then(Value::as_str);
    let uuid: Uuid = uuid.ok_or_else(|| invalid("`uuid` is missing"))?.parse().map_err(invalid)?;
    let (major, minor) = (part(beacon, &["major", "id2"])?, part(beacon, &["minor", "id3"])?);
    let Some(rssi_dbm) = first(beacon, &["rssi"]).and_then(Value::as_f64).filter(|rssi| *rssi < -1.0) else {
        return Ok(None);
    };
    let at = first(beacon, &["timestamp", "lastCycleDetectionTimestamp"]).or_else(|| body.get("timestamp"));
    Ok(Some(Sighting {
        at: at.map_or(Ok(received_at), |at| instant(Some(at), "timestamp"))?,
        heard: Identity::Ibeacon(Ibeacon { uuid, major, minor }).into(),
        rssi_dbm,
        measured_power_dbm: first(beacon, &["txPower", "tx"]).and_then(Value::as_f64).filter(|power| *power < 0.0),
        count: None,
        distance_m: distance_m(beacon),
        observer: None,
    }))
}

/// The phone's own estimate in metres, else the middle of the class that it gives.
fn distance_m(beacon: &Value) -> Option<f64> {
    let estimate = first(beacon, &["accuracy", "distance"]).and_then(Value::as_f64);
    let class = beacon.get("proximity");
    let name = class.and_then(Value::as_str).map(|name| name.to_ascii_lowercase());
    let named = |ending: &str| name.as_ref().is_some_and(|name| name.ends_with(ending));
    let number = class.and_then(Value::as_u64);
    estimate.filter(|metres| *metres >= 0.0).or(match number {
        Some(1) => Some(0.3),
        Some(2) => Some(1.5),
        Some(3) => Some(6.0),
        Some(_) | None if named("immediate") => Some(0.3),
        Some(_) | None if named("near") => Some(1.5),
        Some(_) | None if named("far") => Some(6.0),
        Some(_) | None => None,
    })
}

fn first<'a>(beacon: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| beacon.get(name)).filter(|value| !value.is_null())
}

/// A major or minor, as a number or as text.
fn part(beacon: &Value, names: &[&str]) -> Result<u16, Rejected> {
    let value = first(beacon, names).ok_or_else(|| invalid(format!("`{}` is missing", names[0])))?;
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    let number = number.and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| invalid(format!("`{}` must be a whole number from 0 to 65535", names[0])))
}

#[cfg(test)]
mod tests {
    use parvis_engine::observation::Heard;

    use super::*;

    const NOW: i64 = 1_764_000_000_000;

    fn read(text: &str) -> Batch {
        let known = "phone".parse().expect("an id");
        batch(text.as_bytes(), Some(&known), Timestamp::from_millis(NOW)).expect("a list of beacons")
    }

    fn only(text: &str) -> Sighting {
        let batch = read(text);
        assert_eq!((batch.reports.len(), batch.rejected.len()), (1, 0), "{batch:?}");
        let Observation::Sighting(sighting) = batch.reports[0].observation.clone() else { panic!("a sighting") };
        sighting
    }

    #[test]
    fn the_shapes_of_the_common_plugins_are_read() {
        let cordova = only(
            r#"{"eventType":"didRangeBeaconsInRegion","region":{"identifier":"shop"},"beacons":[
                {"uuid":"37D34481-3585-45DA-BE7B-381DDD9AE0C7","major":4,"minor":0,"rssi":-61,
                 "proximity":"ProximityNear","accuracy":0.6}]}"#,
        );
        assert_eq!((cordova.rssi_dbm, cordova.distance_m, cordova.at), (-61.0, Some(0.6), Timestamp::from_millis(NOW)));
        let flutter = only(
            r#"[{"proximityUUID":"37d3448135854 5DABE7B381DDD9AE0C7","major":"4","minor":"1","rssi":-60,"accuracy":-1,
                "proximity":"near","txPower":-59,"macAddress":"00:11:22:33:44:55"}]"#
                .replace(' ', "")
                .as_str(),
        );
        assert_eq!((flutter.measured_power_dbm, flutter.distance_m), (Some(-59.0), Some(1.5)));
        let android = only(
            r#"{"device":"other","beacons":[{"id1":"37d34481-3585-45da-be7b-381ddd9ae0c7","id2":"4","id3":"2","rssi":-70,
                "txPower":-65,"distance":2.25,"lastCycleDetectionTimestamp":1764000000500,"beaconTypeCode":533}]}"#,
        );
        assert_eq!((android.at.as_millis(), android.distance_m), (NOW + 500, Some(2.25)));
        let Heard::Identity(Identity::Ibeacon(beacon)) = android.heard else { panic!("an iBeacon") };
        assert_eq!((beacon.major, beacon.minor), (4, 2));
    }

    #[test]
    fn what_was_not_heard_is_no_sighting() {
        let beacon =
            |rest: &str| format!(r#"[{{"uuid":"37D34481-3585-45DA-BE7B-381DDD9AE0C7","major":4,"minor":0,{rest}}}]"#);
        for rest in [r#""rssi":0,"accuracy":-1,"proximity":"ProximityUnknown""#, r#""rssi":-1"#, r#""rssi":null"#] {
            assert_eq!(read(&beacon(rest)).ignored, 1, "{rest}");
        }
        for (class, metres) in [("1", 0.3), ("2", 1.5), ("3", 6.0), (r#""CLProximityFar""#, 6.0), (r#""near""#, 1.5)] {
            assert_eq!(
                only(&beacon(&format!(r#""rssi":-50,"proximity":{class}"#))).distance_m,
                Some(metres),
                "{class}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| read(text).rejected.remove(0).1.detail;
        assert!(wrong(r#"[{"major":1}]"#).contains("`uuid`"));
        assert!(wrong(r#"[{"uuid":"x","major":1}]"#).contains("\"x\""));
        let uuid = r#""uuid":"37D34481-3585-45DA-BE7B-381DDD9AE0C7""#;
        assert!(wrong(&format!(r#"[{{{uuid},"major":70000,"minor":1}}]"#)).contains("`major`"));
        assert!(wrong(&format!(r#"[{{{uuid},"major":1}}]"#)).contains("`minor`"));
        assert!(batch(b"7", None, Timestamp::default()).is_err());
        assert!(batch(b"{\"beacons\":7}", None, Timestamp::default()).is_err_and(|it| it.pointer == "/beacons"));
    }
}
