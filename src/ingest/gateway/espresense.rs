//! ESPresense: one JSON object for each device and room, under `espresense/devices/<device>/<room>`.
//!
//! Signal strengths are smoothed over about 15 seconds, and there is no time. The room is the gateway. Devices that
//! ESPresense tells apart by its own means, such as phones and watches, are nobody's beacons.

use parvis_engine::{
    beacons::{Ibeacon, Identity, Instance, Mac, Namespace},
    observation::Rejected,
};
use serde_json::Value;

use super::{Batch, Heard, Said, announced, invalid, json, mac, number, rssi_dbm, text};
use crate::json::Malformed;

/// Reads a message. Without a topic its `id` says which device, and nothing says which room.
///
/// # Errors
/// If it is no JSON.
pub fn batch(topic: Option<&str>, bytes: &[u8]) -> Result<Batch, Malformed> {
    let mut batch = Batch::default();
    let device = match topic.map(|topic| topic.split('/').collect::<Vec<&str>>()) {
        None => None,
        Some(segments) => match segments[..] {
            [.., "devices", device, room] => {
                batch.scanner = room.parse().ok();
                Some(device)
            }
            // States of rooms, settings, and a device's single values.
            _ => return Ok(Batch { ignored: 1, ..batch }),
        },
    };
    let message = json(bytes)?;
    batch.note(0, heard(text(&message, "id").or(device), &message));
    Ok(batch)
}

fn heard(device: Option<&str>, message: &Value) -> Result<Option<Heard>, Rejected> {
    let device = device.ok_or_else(|| invalid("`id` is missing"))?;
    let Some(identity) = identity(device)? else { return Ok(None) };
    let battery_v = number(message, "mV").filter(|millivolts| *millivolts > 0.0).map(|millivolts| millivolts / 1_000.0);
    let said = Said { identity, measured_power_dbm: announced(message, "rssi@1m"), battery_v };
    Ok(Some(said.heard(rssi_dbm(message)?, None, mac(text(message, "mac")))))
}

fn identity(device: &str) -> Result<Option<Identity>, Rejected> {
    let wrong = || invalid(format!("`id` {device:?} does not name a beacon as its kind does"));
    let known = match device.split_once(':') {
        Some(("iBeacon" | "altBeacon", name)) => ibeacon(name).map(Identity::Ibeacon),
        Some(("eddy", name)) => eddystone(name),
        Some(("known", address)) => address.parse().ok().map(|mac| Identity::Mac { mac }),
        Some(_) => return Ok(None),
        // Devices whose address is their own are named by it.
        None => return Ok(device.parse::<Mac>().ok().map(|mac| Identity::Mac { mac })),
    };
    known.ok_or_else(wrong).map(Some)
}

/// `<uuid>-<major>-<minor>`.
fn ibeacon(name: &str) -> Option<Ibeacon> {
    let mut parts = name.rsplitn(3, '-');
    let (minor, major, uuid) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Ibeacon { uuid: uuid.parse().ok()?, major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// `<namespace>-<instance>`, in which most versions write the fifth byte of the namespace twice.
fn eddystone(name: &str) -> Option<Identity> {
    let (namespace, instance) = name.split_once('-')?;
    let instance: Instance = instance.parse().ok()?;
    let namespace: Namespace = match (namespace.len(), namespace.get(8..10), namespace.get(10..12)) {
        (22, Some(fifth), Some(again)) if fifth == again => {
            format!("{}{}", namespace.get(..10)?, namespace.get(12..)?).parse().ok()?
        }
        _ => namespace.parse().ok()?,
    };
    Some(Identity::Eddystone { namespace, instance })
}
