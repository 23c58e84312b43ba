//! Ruuvi Gateway (docs.ruuvi.com, "GW Data formats"): a batch over HTTP that holds the latest advertisement of each tag,
//! or one advertisement under `<prefix>/<gateway>/<tag>`. Any beacon's, if the gateway's filter is off.
//!
//! A gateway that is set to have no clock sends counters in place of times. Its coordinates are not read: where a
//! gateway hangs stands in the registry.

use parvis_engine::{beacons::Mac, observation::Rejected, time::Timestamp};
use serde_json::{Map, Value};

use super::{Batch, Heard, advertised, instant, invalid, json, mac, mac_in, malformed, rssi_dbm, scanner, text};
use crate::json::Malformed;

/// Reads a message of either kind. Tags are counted in the order of their addresses.
///
/// # Errors
/// If it is neither.
pub fn batch(topic: Option<&str>, bytes: &[u8]) -> Result<Batch, Malformed> {
    let message = json(bytes)?;
    match message.get("data") {
        Some(Value::Object(data)) => upload(data),
        Some(Value::String(_)) => Ok(single(topic, &message)),
        // `gw_status`, which tells that a gateway comes or goes.
        None if message.get("state").is_some() => Ok(Batch { ignored: 1, ..Batch::default() }),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {
            Err(malformed("/data", "must be an object with `gw_mac` and `tags`, or an advertisement's digits"))
        }
    }
}

fn upload(data: &Map<String, Value>) -> Result<Batch, Malformed> {
    let Some(Value::Object(tags)) = data.get("tags") else {
        return Err(malformed("/data/tags", "`tags` must be an object: addresses and what was heard of them"));
    };
    let gateway = mac(data.get("gw_mac").and_then(Value::as_str));
    let nonce = data.get("nonce").and_then(|nonce| nonce.as_u64().or_else(|| nonce.as_str()?.parse().ok()));
    let mut batch = Batch { scanner: gateway.and_then(scanner), nonce, ..Batch::default() };
    for (index, (address, tag)) in tags.iter().enumerate() {
        let heard = || heard(tag, address.parse().ok(), instant(tag, "timestamp")?);
        batch.note(index, heard().map_err(|why| invalid(format!("{address}: {}", why.detail))));
    }
    Ok(batch)
}

/// The tag's address is the end of the topic alone.
fn single(topic: Option<&str>, message: &Value) -> Batch {
    let gateway = mac(text(message, "gw_mac")).or_else(|| mac_in(topic));
    let tag = topic.and_then(|topic| topic.rsplit('/').next()?.parse().ok());
    let mut batch = Batch { scanner: gateway.and_then(scanner), ..Batch::default() };
    let heard = || heard(message, tag, instant(message, "ts")?);
    batch.note(0, heard());
    batch
}

fn heard(tag: &Value, mac: Option<Mac>, at: Option<Timestamp>) -> Result<Option<Heard>, Rejected> {
    let digits = text(tag, "data").ok_or_else(|| invalid("`data` is missing"))?;
    let Some(said) = advertised(digits, "data", mac)? else { return Ok(None) };
    Ok(Some(said.heard(rssi_dbm(tag)?, at, mac)))
}
