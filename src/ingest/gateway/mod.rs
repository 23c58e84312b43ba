//! What BLE gateways of other makers send, over HTTP or a broker, and what our own scanner hosts do. One file for each
//! format; each only reads.
//!
//! Nothing here decides whether a gateway is known, speaks for itself, or hears beacons of ours.

pub mod espresense;
pub mod minew;
pub mod raw;
pub mod report;
pub mod ruuvi;
pub mod theengs;

use std::{fmt, str::FromStr, time::Duration};

use parvis_engine::{
    beacons::{Frame, Identity, Mac, advertisement::Payload, frame::frames},
    id::ScannerId,
    observation::Rejected,
    time::Timestamp,
};
use serde_json::Value;

use super::{epoch, invalid};
use crate::json::Malformed;

/// How a gateway writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// The report of our own scanner hosts.
    Parvis,
    /// Theengs Gateway and OpenMQTTGateway.
    Theengs,
    /// Minew's gateways G1, MG3 and MG4.
    Minew,
    /// Ruuvi Gateway.
    Ruuvi,
    /// ESPresense.
    Espresense,
    /// Advertisements as they are on the air, from programs of one's own.
    Raw,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] =
        [Format::Parvis, Format::Theengs, Format::Minew, Format::Ruuvi, Format::Espresense, Format::Raw];

    /// Its name in the configuration and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parvis => "parvis",
            Format::Theengs => "theengs",
            Format::Minew => "minew",
            Format::Ruuvi => "ruuvi",
            Format::Espresense => "espresense",
            Format::Raw => "raw",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let names = || Format::ALL.map(Format::name).join(", ");
        let format = Format::ALL.into_iter().find(|format| format.name() == text);
        format.ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// What a message was read as.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The gateway, if the message or its topic names it: an address in lower case without separators, or a name.
    pub scanner: Option<ScannerId>,
    /// A number that grows from message to message of this gateway, if it counts them.
    pub nonce: Option<u64>,
    /// What was heard.
    pub sightings: Vec<Heard>,
    /// What can't be read, by place.
    pub rejected: Vec<(usize, Rejected)>,
    /// Advertisements that are no beacon's, and messages about other things.
    pub ignored: usize,
}

/// One heard advertisement, or what a gateway made of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Its place in the message, counted from 0.
    pub index: usize,
    /// Which beacon.
    pub identity: Identity,
    /// Received signal strength, dBm.
    pub rssi_dbm: f64,
    /// Signal strength at one metre that the beacon announces, dBm.
    pub measured_power_dbm: Option<f64>,
    /// How many advertisements this sums up, if the gateway says so.
    pub count: Option<u32>,
    /// The voltage of the beacon's battery.
    pub battery_v: Option<f64>,
    /// When; nothing if the gateway does not say so or can't know it, and then the time of arrival stands for it.
    pub at: Option<Timestamp>,
    /// The address that sent it. Many beacons change theirs.
    pub mac: Option<Mac>,
}

/// Reads a message. `topic` is a broker's; `received_at` is when the message arrived.
///
/// # Errors
/// If it is no message of this format as a whole.
pub fn read(format: Format, topic: Option<&str>, bytes: &[u8], received_at: Timestamp) -> Result<Batch, Malformed> {
    match format {
        Format::Parvis => report::batch(bytes, received_at),
        Format::Theengs => theengs::batch(topic, bytes),
        Format::Minew => minew::batch(topic, bytes, received_at),
        Format::Ruuvi => ruuvi::batch(topic, bytes),
        Format::Espresense => espresense::batch(topic, bytes),
        Format::Raw => raw::batch(topic, bytes),
    }
}

impl Batch {
    fn note(&mut self, index: usize, read: Result<Option<Heard>, Rejected>) {
        match read {
            Ok(Some(heard)) => self.sightings.push(Heard { index, ..heard }),
            Ok(None) => self.ignored += 1,
            Err(rejected) => self.rejected.push((index, rejected)),
        }
    }
}

/// Who was heard, and what it said of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    identity: Identity,
    measured_power_dbm: Option<f64>,
    battery_v: Option<f64>,
}

impl Said {
    /// `index` is filled in by who notes it.
    fn heard(self, rssi_dbm: f64, at: Option<Timestamp>, mac: Option<Mac>) -> Heard {
        let Said { identity, measured_power_dbm, battery_v } = self;
        Heard { index: 0, identity, rssi_dbm, measured_power_dbm, count: None, battery_v, at, mac }
    }
}

/// What frames say together. Telemetry names nobody, so it is taken for that of the address that sent it.
fn said(frames: &[Frame], mac: Option<Mac>) -> Option<Said> {
    let named = frames.iter().find_map(|frame| Some((frame.identity()?, frame.measured_power_dbm())));
    let (identity, measured_power_dbm) = match (named, frames, mac) {
        (Some(named), _, _) => named,
        (None, [_, ..], Some(mac)) => (Identity::Mac { mac }, None),
        (None, _, _) => return None,
    };
    Some(Said { identity, measured_power_dbm, battery_v: frames.iter().find_map(Frame::battery_v) })
}

/// What an advertisement says that stands as hexadecimal digits in the field `name`; nothing if it is no beacon's.
fn advertised(digits: &str, name: &str, mac: Option<Mac>) -> Result<Option<Said>, Rejected> {
    if digits.is_empty() {
        return Ok(None);
    }
    let payload: Payload = digits.parse().map_err(|why| invalid(format!("`{name}` {why}")))?;
    let frames: Vec<Frame> = frames(&payload).collect();
    Ok(said(&frames, mac))
}

fn json(bytes: &[u8]) -> Result<Value, Malformed> {
    serde_json::from_slice(bytes).map_err(|error| malformed("", error))
}

fn malformed(pointer: &str, detail: impl fmt::Display) -> Malformed {
    Malformed { pointer: pointer.to_owned(), detail: detail.to_string() }
}

/// An array's elements, or the one element that came without an array.
fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// A number, which some gateways write as text.
fn number(object: &Value, name: &str) -> Option<f64> {
    let value = object.get(name)?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Some(number).filter(|number| number.is_finite())
}

/// Radios give a signed byte, of which -128 and what is not negative stand for no measurement.
fn rssi_dbm(object: &Value) -> Result<f64, Rejected> {
    let rssi_dbm = number(object, "rssi").ok_or_else(|| invalid("`rssi` is missing or no number"))?;
    measured(rssi_dbm)
}

fn measured(rssi_dbm: f64) -> Result<f64, Rejected> {
    if (-127.0..0.0).contains(&rssi_dbm) {
        Ok(rssi_dbm)
    } else {
        Err(invalid(format!("`rssi` is {rssi_dbm}, which is no signal strength: at least -127 and less than 0 dBm")))
    }
}

/// An announced strength, or nothing where a gateway passes on what can't be one.
fn announced(object: &Value, name: &str) -> Option<f64> {
    number(object, name).filter(|power_dbm| (-127.0..0.0).contains(power_dbm))
}

fn mac(text: Option<&str>) -> Option<Mac> {
    text?.parse().ok()
}

/// An optional time: RFC 3339, epoch seconds or milliseconds, as a number or as text.
fn instant(object: &Value, name: &str) -> Result<Option<Timestamp>, Rejected> {
    let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let wrong = || invalid(format!("`{name}` is no time: RFC 3339, or seconds or milliseconds after 1970"));
    if let Some(number) = number(object, name) {
        return epoch(number).ok_or_else(wrong).map(Some);
    }
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(wrong).map(Some)
}

/// A clock that was never set shows a year long past; one that was set wrong, any time to come.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(365 * 86_400);
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(86_400);

/// The time by a clock that may not have been set; nothing if it was not.
fn by_unsure_clock(at: Timestamp, received_at: Timestamp) -> Option<Timestamp> {
    let set = at.since(received_at) <= CLOCK_AHEAD_MAX && received_at.since(at) <= CLOCK_BEHIND_MAX;
    set.then_some(at)
}

/// The id of a gateway that names itself by its address.
fn scanner(mac: Mac) -> Option<ScannerId> {
    mac.to_string().replace(':', "").parse().ok()
}

/// The gateway that a broker's topic names by its address.
pub(crate) fn scanner_in(topic: &str) -> Option<ScannerId> {
    mac_in(Some(topic)).and_then(scanner)
}

/// The first segment of a topic that is an address.
fn mac_in(topic: Option<&str>) -> Option<Mac> {
    topic?.split('/').find_map(|segment| segment.parse().ok())
}

#[cfg(test)]
mod tests;
