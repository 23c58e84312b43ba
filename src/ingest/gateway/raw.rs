//! Advertisements as they are on the air, for programs that only listen: `{"mac", "rssi", "data" or "adv", "ts"}`, or
//! an array of them. The end of the topic names the gateway.

use parvis_engine::observation::Rejected;
use serde_json::Value;

use super::{Batch, Heard, advertised, elements, instant, invalid, json, rssi_dbm, text};
use crate::json::Malformed;

/// Reads advertisements.
///
/// # Errors
/// If it is no JSON.
pub fn batch(topic: Option<&str>, bytes: &[u8]) -> Result<Batch, Malformed> {
    let scanner = topic.and_then(|topic| topic.rsplit('/').next()?.parse().ok());
    let mut batch = Batch { scanner, ..Batch::default() };
    for (index, row) in elements(&json(bytes)?).iter().enumerate() {
        batch.note(index, heard(row));
    }
    Ok(batch)
}

fn heard(row: &Value) -> Result<Option<Heard>, Rejected> {
    let name = if row.get("data").is_some() { "data" } else { "adv" };
    let digits = text(row, name).ok_or_else(|| invalid("`data` is missing: the advertisement's hexadecimal digits"))?;
    let mac = match text(row, "mac") {
        Some(text) => Some(text.parse().map_err(|why| invalid(format!("`mac`: {why}")))?),
        None => None,
    };
    let Some(said) = advertised(digits, name, mac)? else { return Ok(None) };
    Ok(Some(said.heard(rssi_dbm(row)?, instant(row, "ts")?, mac)))
}
