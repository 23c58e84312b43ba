//! Theengs Gateway and OpenMQTTGateway, which share a decoder (decoder.theengs.io): one JSON object for each
//! advertisement, under `<base>/<gateway>/BTtoMQTT/<address>`.
//!
//! The gateway is named by the topic alone, and there is no time.

use parvis_engine::{
    beacons::{Frame, Ibeacon, Identity, Mac, advertisement::Payload, advertisement::numbered},
    id::ScannerId,
    observation::Rejected,
};
use serde_json::Value;

use super::{Batch, Heard, Said, announced, elements, invalid, json, mac, number, rssi_dbm, said, text};
use crate::json::Malformed;

/// Reads a message, or an array of them.
///
/// # Errors
/// If it is no JSON.
pub fn batch(topic: Option<&str>, bytes: &[u8]) -> Result<Batch, Malformed> {
    let named = topic.map(gateway);
    if named == Some(None) {
        // The gateway's state, and what its other receivers hear.
        return Ok(Batch { ignored: 1, ..Batch::default() });
    }
    let scanner = named.flatten().and_then(|name| name.parse::<ScannerId>().ok());
    let mut batch = Batch { scanner, ..Batch::default() };
    for (index, message) in elements(&json(bytes)?).iter().enumerate() {
        batch.note(index, heard(message));
    }
    Ok(batch)
}

/// `<base>/<gateway>/BTtoMQTT/<address>`, or `<base>/presence/<gateway>`, which older versions call `home_presence`.
fn gateway(topic: &str) -> Option<&str> {
    let segments: Vec<&str> = topic.split('/').collect();
    let pair = segments.windows(2).find_map(|pair| match pair {
        [gateway, "BTtoMQTT"] => Some(*gateway),
        ["presence" | "home_presence", gateway] => Some(*gateway),
        _ => None,
    });
    pair.filter(|name| !name.is_empty())
}

fn heard(message: &Value) -> Result<Option<Heard>, Rejected> {
    // With "use beacon UUID" the id is the UUID, and the address has a field of its own.
    let mac = mac(text(message, "mac")).or_else(|| mac(text(message, "id")));
    let said = match decoded(message)? {
        Some(said) => Some(said),
        None => undecoded(message, mac)?,
    };
    let Some(said) = said.or_else(|| ruuvi(message, mac)) else { return Ok(None) };
    Ok(Some(said.heard(rssi_dbm(message)?, None, mac)))
}

fn decoded(message: &Value) -> Result<Option<Said>, Rejected> {
    let (Some(uuid), Some(major), Some(minor)) = (text(message, "uuid"), message.get("major"), message.get("minor"))
    else {
        return Ok(None);
    };
    let part = |value: &Value, name: &str| {
        let part = value.as_u64().and_then(|part| u16::try_from(part).ok());
        part.ok_or_else(|| invalid(format!("`{name}` is to be a number from 0 to 65535")))
    };
    let beacon = Ibeacon {
        uuid: uuid.parse().map_err(|why| invalid(format!("`uuid`: {why}")))?,
        major: part(major, "major")?,
        minor: part(minor, "minor")?,
    };
    // Decoders before `txpower` gave the byte without its sign.
    let signed = |power: f64| if power > 127.0 { power - 256.0 } else { power };
    let power_dbm = number(message, "power").map(signed).filter(|power_dbm| (-127.0..0.0).contains(power_dbm));
    Ok(Some(Said {
        identity: Identity::Ibeacon(beacon),
        measured_power_dbm: announced(message, "txpower").or(power_dbm),
        battery_v: volts(message),
    }))
}

/// What the decoder does not know comes as it was on the air, if the gateway is set to publish it.
fn undecoded(message: &Value, mac: Option<Mac>) -> Result<Option<Said>, Rejected> {
    let bytes = |name: &str| -> Result<Option<Payload>, Rejected> {
        let digits = text(message, name).filter(|digits| !digits.is_empty());
        let payload = digits.map(|digits| digits.parse().map_err(|why| invalid(format!("`{name}` {why}"))));
        payload.transpose()
    };
    let manufacturer = bytes("manufacturerdata")?.and_then(|data| {
        let (company, data) = numbered(&data)?;
        Frame::from_manufacturer_data(company, data)
    });
    let service = bytes("servicedata")?.and_then(|data| {
        let service = text(message, "servicedatauuid")?.trim_start_matches("0x");
        Frame::from_service_data(u16::from_str_radix(service, 16).ok()?, &data)
    });
    let frames: Vec<Frame> = manufacturer.into_iter().chain(service).collect();
    Ok(said(&frames, mac))
}

/// Ruuvi tags come decoded, and are known by their address.
fn ruuvi(message: &Value, mac: Option<Mac>) -> Option<Said> {
    let is_ruuvi = text(message, "model_id").is_some_and(|model| model.starts_with("RuuviTag"));
    let identity = Identity::Mac { mac: mac.filter(|_| is_ruuvi)? };
    Some(Said { identity, measured_power_dbm: None, battery_v: volts(message) })
}

fn volts(message: &Value) -> Option<f64> {
    number(message, "volt").filter(|volts| *volts > 0.0)
}
