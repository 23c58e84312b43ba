//! The section `[mqtt]`: which brokers are listened to, for what. Reads nothing; the files that it names are read by
//! [`super::Links::read`].

use std::{path::PathBuf, time::Duration};

use parvis_engine::{
    problem::{Problem, Requirements},
    time::duration,
};
use serde::{Deserialize, Serialize};

use super::{address::Address, topic};
use crate::{config::size, ingest::gateway};

/// The longest keep alive that the protocol can say, seconds; and the shortest in which half of it is whole seconds.
const KEEP_ALIVE_S: std::ops::RangeInclusive<u64> = 2..=65_535;
/// The largest packet that the protocol knows.
const PACKET_BYTES: std::ops::RangeInclusive<usize> = 1_024..=268_435_455;

/// The brokers that are listened to; section `[mqtt]`. None unless configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connection: Vec<Connection>,
}

/// A connection to a broker; `[[mqtt.connection]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Where the broker is: `mqtt://host[:1883]`, or `mqtts://host[:8883]` with TLS.
    pub url: String,
    /// What the broker keeps the session under, and what logs and metrics call this connection. Of two connections with
    /// one id the broker closes the older.
    pub client_id: String,
    /// The protocol.
    #[serde(default)]
    pub version: Version,
    /// Who this is, if the broker asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file with the authorities that the broker's certificate may come from, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that is shown to the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// After this silence of the broker the connection counts as lost.
    #[serde(default = "keep_alive", with = "duration")]
    pub keep_alive: Duration,
    /// How long the broker is to keep messages for a node that is away. MQTT 5 only: with 3.1.1 the broker decides.
    #[serde(default = "session_expiry", with = "duration")]
    pub session_expiry: Duration,
    /// The longest wait for a connection, TLS and greeting included.
    #[serde(default = "connect_timeout", with = "duration")]
    pub connect_timeout: Duration,
    /// The first wait before connecting again; it doubles with each failure, half of it by chance.
    #[serde(default = "backoff_min", with = "duration")]
    pub backoff_min: Duration,
    /// The longest wait before connecting again.
    #[serde(default = "backoff_max", with = "duration")]
    pub backoff_max: Duration,
    /// The largest packet that is read. A larger message is done with unread.
    #[serde(default = "packet_max", with = "size")]
    pub packet_max: usize,
    /// The most messages that were read and not yet acknowledged.
    #[serde(default = "inflight_max")]
    pub inflight_max: u16,
    /// The most bytes of messages that wait here; beyond that nothing more is read.
    #[serde(default = "waiting_max", with = "size")]
    pub waiting_max: usize,
    /// What is listened to.
    pub subscription: Vec<Subscription>,
}

/// What is listened to; `[[mqtt.connection.subscription]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// A topic, with `+` for one level and `#` for all further ones.
    pub topic: String,
    /// How messages on it are read.
    pub format: Format,
    /// 1: the broker keeps messages for a node that is away, and sends again what was not acknowledged. 0: it does not.
    /// Unless told otherwise 1 where messages tell their own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<u8>,
    /// The nodes that name the same group share the messages: each goes to one of them. MQTT 5 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
    /// How OwnTracks devices are named.
    #[serde(default)]
    pub device: Naming,
}

/// The protocol's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V3,
}

/// How a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Format {
    /// The OwnTracks app.
    OwnTracks,
    /// A scanner.
    Gateway(gateway::Format),
}

const OWNTRACKS: &str = "owntracks";

impl Format {
    /// Its name in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Format::OwnTracks => OWNTRACKS,
            Format::Gateway(format) => format.name(),
        }
    }

    /// Whether messages tell their own time, so that one that comes late is known to be late.
    fn dated(self) -> bool {
        match self {
            Format::OwnTracks | Format::Gateway(gateway::Format::Minew | gateway::Format::Ruuvi) => true,
            // Ages count from the sending, and others count as heard on arrival.
            Format::Gateway(
                gateway::Format::Parvis | gateway::Format::Theengs | gateway::Format::Espresense | gateway::Format::Raw,
            ) => false,
        }
    }
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(name: String) -> Result<Format, String> {
        if name == OWNTRACKS {
            return Ok(Format::OwnTracks);
        }
        name.parse().map(Format::Gateway).map_err(|why: String| format!("{why}, {OWNTRACKS}"))
    }
}

impl From<Format> for String {
    fn from(format: Format) -> String {
        format.name().to_owned()
    }
}

impl Subscription {
    /// The quality of service that is asked for: 1 where messages tell their own time, otherwise 0. What waited at the
    /// broker for a node that was away would else count as heard on arrival, and somebody who is gone would be told.
    pub(super) fn quality(&self) -> u8 {
        self.qos.unwrap_or(self.format.dated().into())
    }
}

/// How an OwnTracks device is named by `owntracks/<user>/<device>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Naming {
    /// `<user>:<device>`. A user may name devices at will and yet speaks for nobody else's.
    #[default]
    #[serde(rename = "user:device")]
    UserDevice,
    /// `<device>`, as over HTTP. Safe only if the broker lets each user publish for their own devices alone.
    #[serde(rename = "device")]
    Device,
}

fn keep_alive() -> Duration {
    Duration::from_secs(30)
}

fn session_expiry() -> Duration {
    Duration::from_secs(3_600)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn backoff_min() -> Duration {
    Duration::from_millis(500)
}

fn backoff_max() -> Duration {
    Duration::from_secs(30)
}

fn packet_max() -> usize {
    256 * 1024
}

fn inflight_max() -> u16 {
    512
}

fn waiting_max() -> usize {
    4 * 1024 * 1024
}

impl Config {
    /// What can't work, apart from files.
    pub(super) fn values(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, connection) in self.connection.iter().enumerate() {
            problems.extend(connection.values().into_iter().map(|it| it.under(&format!("/connection/{index}"))));
            let twin = |other: &Connection| other.client_id == connection.client_id;
            if self.connection[..index].iter().any(twin) {
                let message = "stands twice; logs, metrics and brokers tell connections apart by it";
                problems.push(Problem::new(format!("/connection/{index}/client_id"), message));
            }
        }
        problems
    }
}

impl Connection {
    fn values(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        let address = Address::parse(&self.url);
        must.require(address.is_ok(), "/url", address.as_ref().err().cloned().unwrap_or_default());
        let secure = address.is_ok_and(|address| address.secure);
        let plain = !self.client_id.is_empty() && self.client_id.len() <= 128 && !topic::has_odd(&self.client_id);
        must.require(plain, "/client_id", "must have 1 to 128 bytes and no control characters");
        let anonymous = self.username.is_none() && self.password_file.is_some();
        must.require(!anonymous, "/username", "is missing: a password needs one");
        for (path, file) in [("/ca", &self.ca), ("/certificate", &self.certificate), ("/key", &self.key)] {
            must.require(secure || file.is_none(), path, "needs TLS: a url that begins with mqtts://");
        }
        must.require(self.certificate.is_some() == self.key.is_some(), "/key", "certificate and key go together");
        let seconds = self.keep_alive.as_secs();
        must.require(KEEP_ALIVE_S.contains(&seconds), "/keep_alive", "must be from 2s to 65535s");
        let expiry_fits = u32::try_from(self.session_expiry.as_secs()).is_ok_and(|seconds| seconds > 0);
        must.require(expiry_fits, "/session_expiry", "must be at least 1s and at most 4294967295s");
        must.require(!self.connect_timeout.is_zero(), "/connect_timeout", "must be longer than 0s");
        must.require(!self.backoff_min.is_zero(), "/backoff_min", "must be longer than 0s");
        must.require(self.backoff_max >= self.backoff_min, "/backoff_max", "must not be shorter than backoff_min");
        must.require(PACKET_BYTES.contains(&self.packet_max), "/packet_max", "must be from 1KiB to 268435455B");
        must.require(self.inflight_max > 0, "/inflight_max", "must be at least 1");
        must.require(self.waiting_max >= self.packet_max, "/waiting_max", "must not be smaller than packet_max");
        must.require(!self.subscription.is_empty(), "/subscription", "is empty: nothing is listened to");
        for (index, subscription) in self.subscription.iter().enumerate() {
            let path = |key: &str| format!("/subscription/{index}/{key}");
            if let Err(why) = topic::check_filter(&subscription.topic) {
                must.require(false, &path("topic"), why);
            }
            let again = self.subscription[..index].iter().any(|other| other.topic == subscription.topic);
            must.require(!again, &path("topic"), "stands twice");
            must.require(subscription.qos.is_none_or(|qos| qos <= 1), &path("qos"), "must be 0 or 1");
            let Some(group) = &subscription.shared else { continue };
            let sound = !group.is_empty() && !group.contains(['/', '+', '#']) && !topic::has_odd(group);
            must.require(sound, &path("shared"), "must be a name without /, + and #");
            must.require(self.version == Version::V5, &path("shared"), "needs version = \"5\"");
        }
        must.into_problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).expect("the keys are known");
        config.values().iter().map(ToString::to_string).collect()
    }

    const GOOD: &str = r#"
        [[connection]]
        url = "mqtts://broker.example"
        client_id = "node"
        [[connection.subscription]]
        topic = "owntracks/#"
        format = "owntracks"
    "#;

    #[test]
    fn a_broker_and_what_to_listen_to_are_enough() {
        assert_eq!(problems(GOOD), [""; 0]);
        assert_eq!(problems(""), [""; 0]);
    }

    #[test]
    fn each_mistake_is_named() {
        let wrong = |from: &str, to: &str| {
            let found = problems(&GOOD.replace(from, to));
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            found[0].clone()
        };
        let node = "client_id = \"node\"";
        let with = |line: &str| wrong(node, &format!("{node}\n{line}"));
        assert!(wrong("mqtts:", "https:").starts_with("/connection/0/url"));
        assert!(wrong("\"node\"", "\"\"").starts_with("/connection/0/client_id"));
        assert!(with("password_file = \"secret\"").starts_with("/connection/0/username"));
        assert!(with("key = \"key.pem\"").starts_with("/connection/0/key"));
        assert!(with("keep_alive = \"1s\"").starts_with("/connection/0/keep_alive"));
        assert!(with("session_expiry = \"0s\"").starts_with("/connection/0/session_expiry"));
        assert!(with("backoff_max = \"1ms\"").starts_with("/connection/0/backoff_max"));
        assert!(with("packet_max = \"10B\"").starts_with("/connection/0/packet_max"));
        assert!(with("inflight_max = 0").starts_with("/connection/0/inflight_max"));
        assert!(with("waiting_max = \"1KiB\"").starts_with("/connection/0/waiting_max"));
        assert!(wrong("owntracks/#", "owntracks/#/x").starts_with("/connection/0/subscription/0/topic"));
        let shared = "topic = \"owntracks/#\"\nshared = \"a/b\"";
        assert!(wrong("topic = \"owntracks/#\"", shared).starts_with("/connection/0/subscription/0/shared"));
        let twice = "topic = \"owntracks/#\"\nqos = 2";
        assert!(wrong("topic = \"owntracks/#\"", twice).starts_with("/connection/0/subscription/0/qos"));
        let old = problems(
            &GOOD
                .replace(node, &format!("{node}\nversion = \"3.1.1\""))
                .replace("\"owntracks/#\"", "\"owntracks/#\"\nshared = \"a\""),
        );
        assert!(old[0].contains("version = \"5\""), "{old:?}");
        assert!(problems(&GOOD.repeat(2))[0].starts_with("/connection/1/client_id"));
        let plain = GOOD.replace("mqtts:", "mqtt:").replace(node, &format!("{node}\nca = \"ca.pem\""));
        assert!(problems(&plain)[0].starts_with("/connection/0/ca"));
    }

    #[test]
    fn what_does_not_tell_its_time_is_not_kept_by_the_broker() {
        let quality = |format: &str, more: &str| {
            let text = GOOD.replace("\"owntracks\"", &format!("\"{format}\"\n{more}"));
            toml::from_str::<Config>(&text).expect("a format").connection[0].subscription[0].quality()
        };
        for (format, expected) in
            [("owntracks", 1), ("minew", 1), ("ruuvi", 1), ("theengs", 0), ("espresense", 0), ("raw", 0), ("parvis", 0)]
        {
            assert_eq!(quality(format, ""), expected, "{format}");
        }
        assert_eq!([quality("raw", "qos = 1"), quality("owntracks", "qos = 0")], [1, 0]);
        assert!(toml::from_str::<Config>(&GOOD.replace("\"owntracks\"", "\"owntrack\"")).is_err());
    }
}
