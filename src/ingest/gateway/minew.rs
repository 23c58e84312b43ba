//! Minew's gateways G1, MG3 and MG4 ("JSON-LONG"), over HTTP or a broker: an array of which one element is the gateway.
//!
//! Times have whole seconds, and a gateway that has not reached a time server shows one of its own.

use parvis_engine::{
    beacons::{Ibeacon, Identity},
    observation::Rejected,
    time::Timestamp,
};
use serde_json::Value;

use super::{
    Batch, Heard, Said, advertised, announced, by_unsure_clock, instant, invalid, json, mac, mac_in, malformed, number,
    rssi_dbm, scanner, text,
};
use crate::json::Malformed;

/// Reads an upload.
///
/// # Errors
/// If it is no JSON array.
pub fn batch(topic: Option<&str>, bytes: &[u8], received_at: Timestamp) -> Result<Batch, Malformed> {
    let Value::Array(rows) = json(bytes)? else {
        return Err(malformed("", "must be an array: the gateway and what it heard"));
    };
    let gateway = rows.iter().find(|row| is_gateway(row));
    let address = gateway.and_then(|row| mac(text(row, "mac"))).or_else(|| mac_in(topic));
    let mut batch = Batch { scanner: address.and_then(scanner), ..Batch::default() };
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| !is_gateway(row)) {
        batch.note(index, heard(row, received_at));
    }
    Ok(batch)
}

fn is_gateway(row: &Value) -> bool {
    text(row, "type") == Some("Gateway")
}

fn heard(row: &Value, received_at: Timestamp) -> Result<Option<Heard>, Rejected> {
    let mac = mac(text(row, "mac"));
    let said = if text(row, "type") == Some("iBeacon") {
        Some(ibeacon(row)?)
    } else {
        advertised(text(row, "rawData").unwrap_or_default(), "rawData", mac)?
    };
    let Some(said) = said else { return Ok(None) };
    let at = instant(row, "timestamp")?.and_then(|at| by_unsure_clock(at, received_at));
    Ok(Some(said.heard(rssi_dbm(row)?, at, mac)))
}

/// `battery` is a percentage, and 0 if it is not known: no voltage either way.
fn ibeacon(row: &Value) -> Result<Said, Rejected> {
    let part = |name: &str| {
        let part = number(row, name).filter(|part| part.fract() == 0.0 && (0.0..=65_535.0).contains(part));
        part.map(|part| part as u16).ok_or_else(|| invalid(format!("`{name}` is to be a number from 0 to 65535")))
    };
    let uuid = text(row, "ibeaconUuid").ok_or_else(|| invalid("`ibeaconUuid` is missing"))?;
    let beacon = Ibeacon {
        uuid: uuid.parse().map_err(|why| invalid(format!("`ibeaconUuid`: {why}")))?,
        major: part("ibeaconMajor")?,
        minor: part("ibeaconMinor")?,
    };
    let measured_power_dbm = announced(row, "ibeaconTxPower");
    Ok(Said { identity: Identity::Ibeacon(beacon), measured_power_dbm, battery_v: None })
}
