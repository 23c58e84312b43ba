//! `parvis fleet`: how the scanners and beacons of a running daemon fare, as a table.

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::Value;

use crate::client::Client;

/// `parvis fleet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to list.
    #[arg(value_enum, default_value_t = What::Scanners)]
    what: What,
    /// The daemon.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "PARVIS_URL")]
    url: String,
    /// A file that holds a key with the scope `read`.
    #[arg(long, env = "PARVIS_KEY_FILE")]
    key_file: PathBuf,
    /// Only those in this state, such as `silent` or `cloned`.
    #[arg(long)]
    state: Option<String>,
    /// Only those of this shop.
    #[arg(long)]
    store: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Scanners.
    Scanners,
    /// Registered beacons.
    Beacons,
    /// Beacons that are heard but not registered.
    Unknown,
}

const SCANNERS: &[&str] =
    &["id", "store", "zone", "state", "deaf", "reported_at", "sightings_hz", "clock_offset_s", "queued", "missing"];
const BEACONS: &[&str] = &[
    "id",
    "role",
    "store",
    "zone",
    "state",
    "heard_at",
    "scanner",
    "rate_hz",
    "median_rssi_dbm",
    "battery_v",
    "drift_db",
];
const UNKNOWN: &[&str] = &["uuid", "major", "minor", "namespace", "instance", "count", "heard_at", "scanner"];

/// Carries out `parvis fleet`.
///
/// # Errors
/// If the daemon can't be asked, or says no.
pub async fn run(args: Args, out: &mut impl Write) -> Result<()> {
    let Args { what, url, key_file, state, store } = args;
    let key = fs::read_to_string(&key_file).with_context(|| format!("{} can't be read", key_file.display()))?;
    let client = Client::new(url, key.trim());
    let (path, columns) = match what {
        What::Scanners => ("/v1/fleet/scanners", SCANNERS),
        What::Beacons => ("/v1/fleet/beacons", BEACONS),
        What::Unknown => ("/v1/fleet/unknown", UNKNOWN),
    };
    let mut filters: Vec<(&str, String)> = Vec::new();
    filters.extend(state.map(|state| ("state", state)));
    filters.extend(store.map(|store| ("store", store)));
    let mut rows = vec![columns.iter().map(|name| (*name).to_owned()).collect()];
    let mut after = None;
    loop {
        let asked = filters.iter().cloned().chain(after.map(|after| ("after", after)));
        let query: Vec<String> = asked.map(|(name, text)| format!("{name}={}", escaped(&text))).collect();
        let page = client.must(Method::GET, &format!("{path}?{}", query.join("&")), &Value::Null).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            rows.push(columns.iter().map(|name| cell(&item[*name])).collect());
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    write(&rows, out)
}

/// A value as a cell of a table.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Every byte but the plainest as its number (RFC 3986).
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Writes a table with columns as wide as they need to be.
pub(crate) fn write(rows: &[Vec<String>], out: &mut impl Write) -> Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["id", "state"], ["opera-3", "ok"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        write(&rows, &mut out).expect("writes");
        assert_eq!(String::from_utf8(out).expect("text"), "id       state\nopera-3  ok\n");
        assert_eq!(escaped("a b/\u{e9}~"), "a%20b%2F%C3%A9~");
    }
}
