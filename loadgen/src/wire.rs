//! The bodies of requests: what phones and servers send, byte for byte as the daemon takes it. Sends nothing.

mod digits;

use std::{fmt, str::FromStr};

use self::digits::{Clock, fixed, whole};
use crate::{
    city::{City, Heard, Ping},
    world::BEACON_UUID,
};

/// In which form pings are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The native form, one observation a line, of any phones.
    Ndjson,
    /// The native form, one request with one phone's observations.
    Json,
    /// OwnTracks over HTTP: one message, or an array of them, of one phone. Its times are whole seconds.
    OwnTracks,
    /// A batch of Overland, of one phone.
    Overland,
    /// Lines like [`Format::Ndjson`], but a phone that hears a beacon reports the beacon in place of its position.
    Sightings,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// The header `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// How many pings it carries.
    pub pings: usize,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 5] = [Format::Ndjson, Format::Json, Format::OwnTracks, Format::Overland, Format::Sightings];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ndjson => "ndjson",
            Format::Json => "json",
            Format::OwnTracks => "owntracks",
            Format::Overland => "overland",
            Format::Sightings => "sightings",
        }
    }

    /// The most pings of one request: the daemon takes no more in one JSON body, and the others stay below the size of
    /// a body that it takes.
    pub fn batch_max(self) -> usize {
        match self {
            Format::Ndjson | Format::Sightings | Format::Json | Format::OwnTracks | Format::Overland => 10_000,
        }
    }

    /// Whether all pings of a request must be of one phone.
    pub fn is_of_one_phone(self) -> bool {
        match self {
            Format::Json | Format::OwnTracks | Format::Overland => true,
            Format::Ndjson | Format::Sightings => false,
        }
    }

    /// The request that carries these pings, at least one and at most [`Format::batch_max`]. Where a request is of one
    /// phone it is that of the first ping, and it is the caller's to see that the others are.
    pub fn request(self, city: &City, pings: &[Ping]) -> Request {
        let phone = pings.first().map_or(0, |ping| ping.phone);
        debug_assert!(!self.is_of_one_phone() || pings.iter().all(|ping| ping.phone == phone), "pings of one phone");
        let mut body = Vec::with_capacity(64 + pings.len() * self.bytes_of_one());
        let mut clock = Clock::default();
        match self {
            Format::Ndjson => pings.iter().for_each(|ping| line(&mut body, &mut clock, city, (ping, None))),
            Format::Sightings => pings.iter().for_each(|ping| line(&mut body, &mut clock, city, (ping, ping.heard))),
            Format::Json => json(&mut body, &mut clock, phone, pings),
            Format::OwnTracks => owntracks(&mut body, pings),
            Format::Overland => overland(&mut body, &mut clock, pings),
        }
        Request { path: self.path(phone), content_type: self.content_type(), body, pings: pings.len() }
    }

    fn path(self, phone: u32) -> String {
        match self {
            Format::Ndjson | Format::Json | Format::Sightings => "/v1/observations".to_owned(),
            Format::OwnTracks => format!("/v1/ingest/owntracks?device=phone-{phone}"),
            Format::Overland => "/v1/ingest/overland".to_owned(),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Ndjson | Format::Sightings => "application/x-ndjson",
            Format::Json | Format::OwnTracks | Format::Overland => "application/json",
        }
    }

    fn bytes_of_one(self) -> usize {
        match self {
            Format::Ndjson | Format::Json => 176,
            Format::Sightings | Format::OwnTracks => 192,
            Format::Overland => 288,
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
        Format::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let names = Format::ALL.map(Format::name).join(", ");
            format!("there is no format {text:?}; there are {names}")
        })
    }
}

/// Seven decimals of a degree are a centimetre.
const DEGREE_DECIMALS: u32 = 7;

/// One line: what is heard, or where the phone is.
fn line(body: &mut Vec<u8>, clock: &mut Clock, city: &City, (ping, heard): (&Ping, Option<Heard>)) {
    body.extend_from_slice(b"{\"device\":\"phone-");
    whole(body, i64::from(ping.phone));
    body.extend_from_slice(b"\",");
    match heard {
        Some(heard) => sighting(body, clock, city, (ping, heard)),
        None => fix(body, clock, ping),
    }
    body.extend_from_slice(b"}\n");
}

fn json(body: &mut Vec<u8>, clock: &mut Clock, phone: u32, pings: &[Ping]) {
    body.extend_from_slice(b"{\"device\":\"phone-");
    whole(body, i64::from(phone));
    body.extend_from_slice(b"\",\"observations\":[");
    for (at, ping) in pings.iter().enumerate() {
        body.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        fix(body, clock, ping);
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
}

fn fix(body: &mut Vec<u8>, clock: &mut Clock, ping: &Ping) {
    body.extend_from_slice(b"\"kind\":\"fix\",\"at\":\"");
    clock.write(body, ping.at_ms);
    body.extend_from_slice(b"\",\"lat\":");
    fixed(body, ping.lat, DEGREE_DECIMALS);
    body.extend_from_slice(b",\"lon\":");
    fixed(body, ping.lon, DEGREE_DECIMALS);
    number(body, b",\"accuracy_m\":", Some(ping.accuracy_m), 1);
    number(body, b",\"speed_mps\":", ping.speed_mps, 1);
    number(body, b",\"course_deg\":", ping.course_deg, 0);
}

fn sighting(body: &mut Vec<u8>, clock: &mut Clock, city: &City, (ping, heard): (&Ping, Heard)) {
    body.extend_from_slice(b"\"kind\":\"sighting\",\"at\":\"");
    clock.write(body, ping.at_ms);
    body.extend_from_slice(b"\",\"uuid\":\"");
    body.extend_from_slice(BEACON_UUID.as_bytes());
    let (major, minor) = city.beacon(heard.beacon);
    body.extend_from_slice(b"\",\"major\":");
    whole(body, i64::from(major));
    body.extend_from_slice(b",\"minor\":");
    whole(body, i64::from(minor));
    body.extend_from_slice(b",\"rssi_dbm\":");
    whole(body, i64::from(heard.rssi_dbm));
}

fn owntracks(body: &mut Vec<u8>, pings: &[Ping]) {
    let array = pings.len() != 1;
    if array {
        body.push(b'[');
    }
    for (at, ping) in pings.iter().enumerate() {
        body.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        body.extend_from_slice(b"\"_type\":\"location\",\"tid\":\"sh\",\"t\":\"u\",\"conn\":\"m\",\"tst\":");
        whole(body, ping.at_ms.div_euclid(1_000));
        body.extend_from_slice(b",\"lat\":");
        fixed(body, ping.lat, DEGREE_DECIMALS);
        body.extend_from_slice(b",\"lon\":");
        fixed(body, ping.lon, DEGREE_DECIMALS);
        number(body, b",\"acc\":", Some(ping.accuracy_m), 0);
        number(body, b",\"vel\":", ping.speed_mps.map(|speed_mps| speed_mps * 3.6), 0);
        number(body, b",\"cog\":", ping.course_deg, 0);
        body.push(b'}');
    }
    if array {
        body.push(b']');
    }
}

fn overland(body: &mut Vec<u8>, clock: &mut Clock, pings: &[Ping]) {
    body.extend_from_slice(b"{\"locations\":[");
    for (at, ping) in pings.iter().enumerate() {
        body.extend_from_slice(if at == 0 { b"" } else { b"," });
        body.extend_from_slice(b"{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[");
        fixed(body, ping.lon, DEGREE_DECIMALS);
        body.push(b',');
        fixed(body, ping.lat, DEGREE_DECIMALS);
        body.extend_from_slice(b"]},\"properties\":{\"timestamp\":\"");
        clock.write(body, ping.at_ms);
        body.extend_from_slice(b"\",\"device_id\":\"phone-");
        whole(body, i64::from(ping.phone));
        body.push(b'"');
        number(body, b",\"horizontal_accuracy\":", Some(ping.accuracy_m), 0);
        // What iOS does not know it says as -1.
        number(body, b",\"speed\":", Some(ping.speed_mps.unwrap_or(-1.0)), 1);
        number(body, b",\"course\":", Some(ping.course_deg.unwrap_or(-1.0)), 0);
        body.extend_from_slice(b"}}");
    }
    body.extend_from_slice(b"]}");
}

fn number(body: &mut Vec<u8>, name: &[u8], value: Option<f32>, decimals: u32) {
    if let Some(value) = value {
        body.extend_from_slice(name);
        fixed(body, f64::from(value), decimals);
    }
}
