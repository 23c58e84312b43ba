//! The report of our own scanner hosts. Its times are ages, so it needs no clock but ours.

use std::time::Duration;

use parvis_engine::{
    beacons::{Identity, report::Heard as Line, report::Report},
    observation::Rejected,
    time::Timestamp,
};

use super::{Batch, Heard, invalid, malformed, measured};
use crate::json::{self, Malformed};

/// Reads a report.
///
/// # Errors
/// If it is none, with the place of the mistake.
pub fn batch(bytes: &[u8], received_at: Timestamp) -> Result<Batch, Malformed> {
    sightings(&json::typed(bytes)?, received_at)
}

/// What a report says was heard. Its sequence number is the batch's nonce.
///
/// # Errors
/// If what it calls its scanner can't be an id.
pub fn sightings(report: &Report, received_at: Timestamp) -> Result<Batch, Malformed> {
    let scanner = report.scanner.parse().map_err(|why: String| malformed("/scanner", why))?;
    let mut batch = Batch { scanner: Some(scanner), nonce: Some(report.seq), ..Batch::default() };
    for (index, line) in report.heard.iter().enumerate() {
        batch.note(index, heard(line, received_at).map(Some));
    }
    Ok(batch)
}

fn heard(line: &Line, received_at: Timestamp) -> Result<Heard, Rejected> {
    let mac = match line.identity {
        Identity::Mac { mac } => Some(mac),
        Identity::Ibeacon(_) | Identity::Eddystone { .. } | Identity::Ephemeral { .. } => None,
    };
    let rssi_dbm = measured(line.rssi_dbm).map_err(|why| invalid(why.detail.replace("`rssi`", "`rssi_dbm`")))?;
    Ok(Heard {
        index: 0,
        identity: line.identity,
        rssi_dbm,
        measured_power_dbm: line.measured_power_dbm,
        count: Some(line.count),
        battery_v: line.battery_v,
        at: Some(received_at.minus(Duration::from_millis(line.age_ms))),
        mac,
    })
}
