//! The native format: JSON with one device's observations, and one observation a line (NDJSON).
//!
//! Good input is read in one pass into flat fields. Only a request with a mistake in it is read again as a tree, to
//! name the culprit; one bad observation never costs the others.

use parvis_beacons::{Ephemeral, Ibeacon, Identity, Instance, Mac, Namespace, Uuid};
use parvis_engine::{
    beacons as parvis_beacons,
    id::{BeaconId, DeviceId, RegionId, ScannerId},
    observation::{Crossing, Edge, Fix, Heard, Observation, Position, Rejected, Scan, Sighting},
    time::Timestamp,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{Batch, Report, invalid};
use crate::json::{self, Malformed};

/// The most observations that one JSON request carries. More go as NDJSON, which needs no memory for all at once.
pub const OBSERVATIONS_MAX: usize = 10_000;

/// Reads a JSON request: whose it is and what it carries.
///
/// # Errors
/// If it is no such request as a whole.
pub fn batch(bytes: &[u8]) -> Result<(DeviceId, Batch), Malformed> {
    let mut batch = Batch::default();
    match serde_json::from_slice::<Request>(bytes) {
        Ok(Request { device, observations: Bounded(observations) }) => {
            for (index, fields) in observations.into_iter().enumerate() {
                batch.note(index, &device, fields.observation());
            }
            Ok((device, batch))
        }
        Err(_) => careful(bytes),
    }
}

/// Reads one line of NDJSON: an observation with its `device`.
///
/// # Errors
/// What is wrong with it.
pub fn line(index: usize, bytes: &[u8]) -> Result<Report, Rejected> {
    let mut fields = match serde_json::from_slice::<Fields>(bytes) {
        Ok(fields) => fields,
        Err(_) => culprit(json::value(bytes).map_err(|malformed| invalid(malformed.detail))?)?,
    };
    let device = fields.device.take().ok_or_else(|| missing("device", "line"))?;
    Ok(Report { index, device, observation: fields.observation()? })
}

#[derive(Deserialize)]
struct Request {
    device: DeviceId,
    observations: Bounded,
}

struct Bounded(Vec<Fields>);

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Fix,
    Sighting,
    Crossing,
    Scan,
}

impl Kind {
    fn fields(self) -> &'static [&'static str] {
        match self {
            Kind::Fix => &["lat", "lon", "accuracy_m", "speed_mps", "course_deg", "floor"],
            Kind::Sighting => &["uuid", "major", "minor", "rssi_dbm", "measured_power_dbm", "observer"],
            Kind::Crossing => &["region", "edge"],
            Kind::Scan => &["tag"],
        }
    }
}

/// Every field of every kind: reading a tagged enum would build a tree first.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    kind: Option<Kind>,
    device: Option<DeviceId>,
    at: Option<Timestamp>,
    lat: Option<f64>,
    lon: Option<f64>,
    accuracy_m: Option<f64>,
    speed_mps: Option<f64>,
    course_deg: Option<f64>,
    floor: Option<i32>,
    uuid: Option<Uuid>,
    major: Option<u16>,
    minor: Option<u16>,
    rssi_dbm: Option<f64>,
    beacon: Option<BeaconId>,
    namespace: Option<Namespace>,
    instance: Option<Instance>,
    eid: Option<Ephemeral>,
    mac: Option<Mac>,
    measured_power_dbm: Option<f64>,
    count: Option<u32>,
    distance_m: Option<f64>,
    observer: Option<ScannerId>,
    region: Option<RegionId>,
    edge: Option<Edge>,
    tag: Option<String>,
}

impl Fields {
    fn observation(self) -> Result<Observation, Rejected> {
        let kind = self.kind.ok_or_else(|| missing("kind", "observation"))?;
        let at = self.at.ok_or_else(|| missing("at", "observation"))?;
        Ok(match kind {
            Kind::Fix => Observation::Fix(Fix {
                at,
                position: Position {
                    lat: self.lat.ok_or_else(|| missing("lat", "fix"))?,
                    lon: self.lon.ok_or_else(|| missing("lon", "fix"))?,
                },
                accuracy_m: self.accuracy_m.unwrap_or_default(),
                speed_mps: self.speed_mps,
                course_deg: self.course_deg,
                floor: self.floor,
            }),
            Kind::Sighting => Observation::Sighting(Sighting {
                at,
                heard: self.heard()?,
                rssi_dbm: self.rssi_dbm.ok_or_else(|| missing("rssi_dbm", "sighting"))?,
                measured_power_dbm: self.measured_power_dbm,
                count: self.count,
                distance_m: self.distance_m,
                observer: self.observer,
            }),
            Kind::Crossing => Observation::Crossing(Crossing {
                at,
                region: self.region.ok_or_else(|| missing("region", "crossing"))?,
                edge: self.edge.ok_or_else(|| missing("edge", "crossing"))?,
            }),
            Kind::Scan => Observation::Scan(Scan { at, tag: self.tag.ok_or_else(|| missing("tag", "scan"))? }),
        })
    }
}

impl Fields {
    /// Which beacon: by the first that is there of its name here, an Eddystone's parts, an address, an iBeacon's parts.
    fn heard(&self) -> Result<Heard, Rejected> {
        let need = |name| missing(name, "sighting");
        let identity = match self {
            Fields { beacon: Some(beacon), .. } => return Ok(Heard::Beacon { beacon: beacon.clone() }),
            Fields { namespace: Some(namespace), instance, .. } => {
                Identity::Eddystone { namespace: *namespace, instance: instance.ok_or_else(|| need("instance"))? }
            }
            Fields { eid: Some(eid), .. } => Identity::Ephemeral { eid: *eid },
            Fields { mac: Some(mac), uuid: None, .. } => Identity::Mac { mac: *mac },
            Fields { uuid, major, minor, .. } => Identity::Ibeacon(Ibeacon {
                uuid: uuid.ok_or_else(|| need("uuid"))?,
                major: major.ok_or_else(|| need("major"))?,
                minor: minor.ok_or_else(|| need("minor"))?,
            }),
        };
        Ok(identity.into())
    }
}

fn missing(name: &str, of: &str) -> Rejected {
    invalid(format!("`{name}` is missing: a {of} needs it"))
}

fn careful(bytes: &[u8]) -> Result<(DeviceId, Batch), Malformed> {
    let malformed = |pointer: &str, detail: String| Malformed { pointer: pointer.to_owned(), detail };
    let Value::Object(mut request) = json::value(bytes)? else {
        return Err(malformed("", "the body must be an object with `device` and `observations`".to_owned()));
    };
    let device = request.remove("device").unwrap_or_default();
    let device = DeviceId::deserialize(device)
        .map_err(|error| malformed("/device", format!("`device` must be a device's id: {error}")))?;
    let Some(Value::Array(elements)) = request.remove("observations") else {
        return Err(malformed("/observations", "`observations` must be an array".to_owned()));
    };
    if elements.len() > OBSERVATIONS_MAX {
        let detail =
            format!("a JSON request carries at most {OBSERVATIONS_MAX} observations; send application/x-ndjson");
        return Err(malformed("/observations", detail));
    }
    let mut batch = Batch::default();
    for (index, element) in elements.into_iter().enumerate() {
        batch.note(index, &device, culprit(element).and_then(Fields::observation));
    }
    Ok((device, batch))
}

/// Reads one observation leniently: fields of other kinds do not count. What is wrong is named.
fn culprit(element: Value) -> Result<Fields, Rejected> {
    let Value::Object(mut object) = element else {
        return Err(invalid("an observation is a JSON object"));
    };
    let kind = object.get("kind").cloned().ok_or_else(|| missing("kind", "observation"))?;
    let kind = Kind::deserialize(kind).map_err(|error| invalid(format!("`kind`: {error}")))?;
    object
        .retain(|name, _| matches!(name.as_str(), "kind" | "device" | "at") || kind.fields().contains(&name.as_str()));
    for (name, value) in &object {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        if let Err(error) = Fields::deserialize(alone) {
            return Err(invalid(format!("`{name}`: {error}")));
        }
    }
    Fields::deserialize(Value::Object(object)).map_err(|error| invalid(error.to_string()))
}

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bounded, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Bounded;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of observations")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Bounded, A::Error> {
                let mut all = Vec::new();
                while let Some(fields) = access.next_element()? {
                    if all.len() == OBSERVATIONS_MAX {
                        return Err(A::Error::custom("too many observations"));
                    }
                    all.push(fields);
                }
                Ok(Bounded(all))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(observation: &Value) -> Result<Observation, Rejected> {
        let request = json!({"device": "d", "observations": [observation]}).to_string();
        let (_, mut batch) = batch(request.as_bytes()).expect("a request");
        assert_eq!(batch.reports.len() + batch.rejected.len(), 1);
        batch.reports.pop().map(|report| report.observation).ok_or_else(|| batch.rejected.remove(0).1)
    }

    const AT: &str = "2026-11-21T10:00:00Z";

    #[test]
    fn every_kind_is_read_as_the_engine_writes_it() {
        let uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
        for observation in [
            json!({"kind": "fix", "at": AT, "lat": 48.8, "lon": 2.3, "accuracy_m": 5, "speed_mps": 1, "floor": -1}),
            json!({"kind": "sighting", "at": AT, "uuid": uuid, "major": 1, "minor": 2, "rssi_dbm": -60, "observer": "s"}),
            json!({"kind": "crossing", "at": AT, "region": "r", "edge": "enter"}),
            json!({"kind": "scan", "at": AT, "tag": "t"}),
        ] {
            let expected: Observation = serde_json::from_value(observation.clone()).expect("the engine's form");
            assert_eq!(read(&observation).expect("good"), expected);
        }
    }

    #[test]
    fn a_mistake_names_its_field() {
        let cases = [
            (json!({"kind": "fix", "at": AT, "lon": 2.3}), "`lat` is missing"),
            (json!({"kind": "fix", "at": AT, "lat": "48", "lon": 2.3}), "`lat`: invalid type: string"),
            (json!({"kind": "fix", "at": 1_700_000_000, "lat": 48, "lon": 2.3}), "`at`: invalid type: integer"),
            (json!({"kind": "fix", "at": "2026-11-21T10:00:00", "lat": 48, "lon": 2.3}), "RFC 3339"),
            (json!({"kind": "walk", "at": AT}), "`kind`: unknown variant `walk`"),
            (json!({"at": AT}), "`kind` is missing"),
            (json!({"kind": "sighting", "at": AT, "uuid": "zz", "major": 1, "minor": 1, "rssi_dbm": -5}), "`uuid`:"),
            (json!({"kind": "sighting", "at": AT, "major": 70_000}), "`major`:"),
            (json!(7), "JSON object"),
        ];
        for (observation, why) in cases {
            let rejected = read(&observation).expect_err("wrong");
            assert!(rejected.detail.contains(why), "{observation}: {}", rejected.detail);
        }
    }

    #[test]
    fn other_kinds_fields_and_unknown_fields_are_nobodys_business() {
        assert!(read(&json!({"kind": "scan", "at": AT, "tag": "t", "lat": "none", "battery": {"level": 1}})).is_ok());
    }

    #[test]
    fn a_whole_request_that_is_wrong_names_the_place() {
        let cases: [(&str, &str); 5] = [
            (r#"{"device":"","observations":[]}"#, "/device"),
            (r#"{"observations":[]}"#, "/device"),
            (r#"{"device":"d"}"#, "/observations"),
            (r#"{"device":"d","device":"e","observations":[]}"#, ""),
            ("[]", ""),
        ];
        for (text, pointer) in cases {
            assert_eq!(batch(text.as_bytes()).expect_err(text).pointer, pointer);
        }
        let many = format!(r#"{{"device":"d","observations":[{}{{}}]}}"#, "{},".repeat(OBSERVATIONS_MAX));
        assert!(batch(many.as_bytes()).expect_err("too many").detail.contains("ndjson"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = batch(&bytes);
            let _ = line(0, &bytes);
        }
    }
}
