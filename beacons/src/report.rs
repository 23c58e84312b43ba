//! What a scanner host sends: what it heard, summed up by beacon and second, and how it fares.
//!
//! Times are ages, because small hosts have no clock that survives a power cut: whoever receives a report reckons
//! `received - age`. Knows nothing of how a report travels.

use serde::{Deserialize, Serialize};

use crate::{Identity, Mac};

/// One upload. Of one boot the sequence numbers grow; the same number again is the same report again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scanner host's id in the registry.
    pub scanner: String,
    /// Names the row that sequence numbers count in: another one after every start of the program, and when fresh reports
    /// begin to pass those that had to wait.
    pub boot: String,
    /// Counts the reports of this row, from 1.
    pub seq: u64,
    /// The host's own wall clock when this was sent, RFC 3339; only to tell how far it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// How the host fares, in about one report of ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What was heard, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Heard>,
}

/// What was heard of one beacon within about a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// How long before sending the last of these advertisements was heard, milliseconds.
    pub age_ms: u64,
    /// Which beacon.
    #[serde(flatten)]
    pub identity: Identity,
    /// The median of the signal strengths, dBm.
    pub rssi_dbm: f64,
    /// The weakest, dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rssi_min_dbm: Option<f64>,
    /// The strongest, dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rssi_max_dbm: Option<f64>,
    /// How many advertisements were heard.
    #[serde(default = "one")]
    pub count: u32,
    /// Signal strength at one metre that the beacon announces, dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_power_dbm: Option<f64>,
    /// The battery's voltage, if the beacon told it in this second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_v: Option<f64>,
}

/// How a scanner host fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The program's version.
    pub version: String,
    /// How long the program has been running, seconds.
    pub uptime_s: u64,
    /// The radios.
    pub adapters: Vec<Adapter>,
    /// Reports that wait on disk.
    pub queued: u64,
    /// Reports that were dropped since the program began: because the queue was full or damaged, because the server
    /// refused them, or because their age could not be told any more.
    pub dropped: u64,
}

/// One radio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// Its address.
    pub address: Mac,
    /// How it scans: `monitor`, `discovery`, `cycling`.
    pub mode: String,
    /// Advertisements heard a second, of any kind, over the last minute.
    pub rate_hz: f64,
    /// The best rate of the beacons by which the radio is judged, because they are always there, advertisements a second;
    /// none if no such beacon is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_rate_hz: Option<f64>,
    /// How often scanning had to be started anew since the program began.
    pub restarts: u64,
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_is_written() {
        let text = r#"{"scanner":"opera-3","boot":"b1","seq":7,"sent_at":"2026-11-21T12:00:00Z",
            "health":{"version":"0.1.0","uptime_s":60,"queued":0,"dropped":0,
                "adapters":[{"address":"00:1a:7d:da:71:13","mode":"monitor","rate_hz":12.5,"restarts":0}]},
            "heard":[{"age_ms":40,"uuid":"f7826da6-4fa2-4e98-8024-bc5b71e0893e","major":7,"minor":1,
                "measured_power_dbm":-59,"rssi_dbm":-63,"rssi_min_dbm":-70,"rssi_max_dbm":-61,"count":4},
                {"age_ms":900,"mac":"c6:a5:b9:e0:ad:06","rssi_dbm":-71,"battery_v":2.9}]}"#;
        let report: Report = serde_json::from_str(text).expect("a report");
        assert_eq!((report.heard.len(), report.heard[0].count, report.heard[1].count), (2, 4, 1));
        let again = serde_json::to_string(&report).expect("text");
        assert_eq!(serde_json::from_str::<Report>(&again).expect("a report"), report);
    }
}
