//! The packets that are spoken here, in both versions of the protocol. The only place that knows the protocol library.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::{
    packet::{
        MaximumPacketSize, Property, Qos, ReceiveMaximum, RetainHandling, SessionExpiryInterval, SubEntry, SubOpts,
        v3_1_1, v5_0,
    },
    result_code::{
        ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, SubackReasonCode, SubackReturnCode,
    },
};

use super::config::{Connection, Subscription, Version};

pub(super) use mqtt_protocol_core::mqtt::ArcPayload as Payload;

/// What a broker says.
#[derive(Debug)]
pub(super) enum Packet {
    /// It takes us.
    Welcome(Welcome),
    /// It does not take us.
    Refused(String),
    /// For each subscription: granted, or why not.
    Granted(Vec<Result<(), String>>),
    /// A message.
    Message(Message),
    /// It is still there.
    Pong,
    /// It ends the connection.
    Closed(String),
}

/// What a broker says when it takes us.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    /// Whether it remembers us.
    pub(super) session_present: bool,
    /// The keep alive that it wants in place of ours.
    pub(super) keep_alive: Option<Duration>,
    /// Whether subscriptions may be shared.
    pub(super) shares: bool,
}

/// A published message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Payload,
    /// What it is acknowledged by; none if the broker wants no acknowledgement.
    pub(super) id: Option<u16>,
    /// Whether it was kept by the broker from before we listened.
    pub(super) retained: bool,
}

/// The only id of a request that waits for an answer.
const SUBSCRIBE_ID: u16 = 1;

/// Greets.
///
/// # Errors
/// If a value does not fit into the protocol.
pub(super) fn connect(config: &Connection, password: Option<&[u8]>, out: &mut BytesMut) -> Result<(), String> {
    // Checked to fit.
    let keep_alive = u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX);
    let packet = match config.version {
        Version::V5 => {
            let mut packet = v5_0::Connect::builder().client_id(&config.client_id).map_err(refused)?;
            if let Some(username) = &config.username {
                packet = packet.user_name(username).map_err(refused)?;
            }
            if let Some(password) = password {
                packet = packet.password(password.to_vec()).map_err(refused)?;
            }
            let packet = packet.clean_start(false).keep_alive(keep_alive).props(properties(config)?);
            packet.build().map_err(refused)?.to_continuous_buffer()
        }
        Version::V3 => {
            let mut packet = v3_1_1::Connect::builder().client_id(&config.client_id).map_err(refused)?;
            if let Some(username) = &config.username {
                packet = packet.user_name(username).map_err(refused)?;
            }
            if let Some(password) = password {
                packet = packet.password(password.to_vec()).map_err(refused)?;
            }
            let packet = packet.clean_session(false).keep_alive(keep_alive);
            packet.build().map_err(refused)?.to_continuous_buffer()
        }
    };
    out.extend_from_slice(&packet);
    Ok(())
}

fn properties(config: &Connection) -> Result<Vec<Property>, String> {
    let expiry = u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX);
    let packet_max = u32::try_from(config.packet_max).unwrap_or(u32::MAX);
    Ok(vec![
        SessionExpiryInterval::new(expiry).map_err(refused)?.into(),
        ReceiveMaximum::new(config.inflight_max).map_err(refused)?.into(),
        MaximumPacketSize::new(packet_max).map_err(refused)?.into(),
    ])
}

/// Asks for messages.
pub(super) fn subscribe(version: Version, wanted: &[Subscription], out: &mut BytesMut) -> Result<(), String> {
    let mut entries = Vec::with_capacity(wanted.len());
    for subscription in wanted {
        let topic = match &subscription.shared {
            Some(group) => format!("$share/{group}/{}", subscription.topic),
            None => subscription.topic.clone(),
        };
        let qos = if subscription.quality() == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let options = SubOpts::new().set_qos(qos);
        // What the broker keeps is told once, when the subscription is new. 3.1.1 knows no such option, nor do shared
        // subscriptions, which never get it.
        let new_only = version == Version::V5 && subscription.shared.is_none();
        let options = if new_only { options.set_rh(RetainHandling::SendRetainedIfNotExists) } else { options };
        entries.push(SubEntry::new(topic, options).map_err(refused)?);
    }
    let packet = match version {
        Version::V5 => {
            let packet = v5_0::Subscribe::builder().packet_id(SUBSCRIBE_ID).entries(entries).build();
            packet.map_err(refused)?.to_continuous_buffer()
        }
        Version::V3 => {
            let packet = v3_1_1::Subscribe::builder().packet_id(SUBSCRIBE_ID).entries(entries).build();
            packet.map_err(refused)?.to_continuous_buffer()
        }
    };
    out.extend_from_slice(&packet);
    Ok(())
}

/// Is done with a message: PUBACK with success, the same bytes in both versions.
pub(super) fn acknowledge(id: u16, out: &mut BytesMut) {
    out.extend_from_slice(&[0x40, 2]);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Asks whether the broker is there: PINGREQ, the same bytes in both versions.
pub(super) fn ping(out: &mut BytesMut) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Says goodbye and leaves the session: DISCONNECT with success, the same bytes in both versions.
pub(super) fn disconnect(out: &mut BytesMut) {
    out.extend_from_slice(&[0xe0, 0]);
}

/// Reads what a broker sent: its first byte and what follows the length.
pub(super) fn read(version: Version, first: u8, body: Arc<[u8]>) -> Result<Packet, String> {
    let read = match version {
        Version::V5 => read_v5(first, body),
        Version::V3 => read_v3(first, body),
    };
    read.map_err(|why| format!("the broker sent what can't be read: {why}"))
}

fn read_v5(first: u8, body: Arc<[u8]>) -> Result<Packet, String> {
    match first >> 4 {
        2 => {
            let (packet, _) = v5_0::Connack::parse(&body).map_err(told)?;
            if packet.reason_code() != ConnectReasonCode::Success {
                return Ok(Packet::Refused(format!("{:?}", packet.reason_code())));
            }
            let mut welcome = Welcome { session_present: packet.session_present(), keep_alive: None, shares: true };
            for property in packet.props() {
                if let Property::ServerKeepAlive(seconds) = property {
                    welcome.keep_alive = Some(Duration::from_secs(seconds.val().into()));
                }
                if let Property::SharedSubscriptionAvailable(available) = property {
                    welcome.shares = available.val() == 1;
                }
            }
            Ok(Packet::Welcome(welcome))
        }
        3 => {
            let (packet, _) = v5_0::Publish::parse(first & 0x0f, body).map_err(told)?;
            let topic = packet.topic_name().to_owned();
            let (payload, retained) = (packet.payload().clone(), packet.retain());
            message(packet.qos(), Message { topic, payload, id: packet.packet_id(), retained })
        }
        9 => {
            let (packet, _) = v5_0::Suback::parse(&body).map_err(told)?;
            let granted = |code: SubackReasonCode| if code.is_success() { Ok(()) } else { Err(format!("{code:?}")) };
            Ok(Packet::Granted(packet.reason_codes().into_iter().map(granted).collect()))
        }
        13 => Ok(Packet::Pong),
        14 => {
            let (packet, _) = v5_0::Disconnect::parse(&body).map_err(told)?;
            let reason = packet.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
            Ok(Packet::Closed(format!("{reason:?}")))
        }
        other => Err(format!("a packet of type {other}")),
    }
}

fn read_v3(first: u8, body: Arc<[u8]>) -> Result<Packet, String> {
    match first >> 4 {
        2 => {
            let (packet, _) = v3_1_1::Connack::parse(&body).map_err(told)?;
            if packet.return_code() != ConnectReturnCode::Accepted {
                return Ok(Packet::Refused(format!("{:?}", packet.return_code())));
            }
            let session_present = packet.session_present();
            Ok(Packet::Welcome(Welcome { session_present, keep_alive: None, shares: false }))
        }
        3 => {
            let (packet, _) = v3_1_1::Publish::parse(first & 0x0f, body).map_err(told)?;
            let topic = packet.topic_name().to_owned();
            let (payload, retained) = (packet.payload().clone(), packet.retain());
            message(packet.qos(), Message { topic, payload, id: packet.packet_id(), retained })
        }
        9 => {
            let (packet, _) = v3_1_1::Suback::parse(&body).map_err(told)?;
            let granted = |code| if code == SubackReturnCode::Failure { Err(format!("{code:?}")) } else { Ok(()) };
            Ok(Packet::Granted(packet.return_codes().into_iter().map(granted).collect()))
        }
        13 => Ok(Packet::Pong),
        other => Err(format!("a packet of type {other}")),
    }
}

fn message(qos: Qos, message: Message) -> Result<Packet, String> {
    match qos {
        Qos::AtMostOnce | Qos::AtLeastOnce => Ok(Packet::Message(message)),
        Qos::ExactlyOnce => Err("a message with a quality of service that nobody asked for".to_owned()),
    }
}

fn told(why: MqttError) -> String {
    format!("{why:?}")
}

fn refused(why: MqttError) -> String {
    format!("can't be said in MQTT: {why:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mqtt::config::Config;

    fn config(version: &str) -> Connection {
        let text = format!(
            "[[connection]]\nurl = \"mqtt://broker\"\nclient_id = \"node\"\nusername = \"jane\"\nversion = \"{version}\"\n\
             [[connection.subscription]]\ntopic = \"owntracks/#\"\nformat = \"owntracks\"\nshared = \"shop\""
        );
        toml::from_str::<Config>(&text).expect("sound").connection.remove(0)
    }

    /// The content of the only packet in `bytes`, whose length fits into one byte.
    fn content(bytes: &[u8]) -> &[u8] {
        assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
        &bytes[2..]
    }

    #[test]
    fn the_session_is_kept_and_what_may_be_under_way_is_told() {
        let mut out = BytesMut::new();
        connect(&config("5"), Some(b"secret"), &mut out).expect("fits");
        let (packet, _) = v5_0::Connect::parse(content(&out)).expect("a greeting");
        assert_eq!((packet.clean_start(), packet.keep_alive(), packet.client_id()), (false, 30, "node"));
        assert_eq!((packet.user_name(), packet.password()), (Some("jane"), Some(b"secret".as_slice())));
        let told: Vec<String> = packet.props().iter().map(|property| property.id().to_string()).collect();
        assert_eq!(told, ["\"session_expiry_interval\"", "\"receive_maximum\"", "\"maximum_packet_size\""]);
        out.clear();
        connect(&config("3.1.1"), None, &mut out).expect("fits");
        let (packet, _) = v3_1_1::Connect::parse(content(&out)).expect("a greeting");
        assert_eq!((packet.clean_session(), packet.keep_alive(), packet.password()), (false, 30, None));
    }

    #[test]
    fn a_shared_subscription_names_its_group_and_asks_for_nothing_kept() {
        let mut out = BytesMut::new();
        subscribe(Version::V5, &config("5").subscription, &mut out).expect("fits");
        let (packet, _) = v5_0::Subscribe::parse(content(&out)).expect("a request");
        let entry = &packet.entries()[0];
        assert_eq!((entry.topic_filter(), entry.sub_opts().qos()), ("$share/shop/owntracks/#", Qos::AtLeastOnce));
    }

    #[test]
    fn what_is_written_by_hand_is_what_the_library_reads() {
        let mut out = BytesMut::new();
        acknowledge(513, &mut out);
        assert_eq!(v5_0::Puback::parse(content(&out)).expect("a packet").0.packet_id(), 513);
        assert_eq!(v3_1_1::Puback::parse(content(&out)).expect("a packet").0.packet_id(), 513);
        out.clear();
        disconnect(&mut out);
        assert_eq!(v5_0::Disconnect::parse(content(&out)).expect("a packet").0.reason_code(), None);
    }

    proptest! {
        #[test]
        fn no_packet_panics(first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..60)) {
            for version in [Version::V5, Version::V3] {
                let _ = read(version, first, Arc::from(body.as_slice()));
            }
        }

        #[test]
        fn no_damaged_packet_panics(at in 0_usize..20, byte in any::<u8>(), cut in 0_usize..20) {
            // CONNACK with receive maximum and packet size; PUBLISH with a property; SUBACK; DISCONNECT with a reason.
            let samples: [(u8, &[u8]); 4] = [
                (0x20, &[0, 0, 8, 0x21, 0, 10, 0x27, 0, 1, 0, 0]),
                (0x32, &[0, 1, b't', 0, 7, 2, 0x01, 1, b'{', b'}']),
                (0x90, &[0, 1, 0, 1]),
                (0xe0, &[0x8e, 0]),
            ];
            for (first, body) in samples {
                let mut body = body.to_vec();
                if let Some(place) = body.get_mut(at) {
                    *place = byte;
                }
                body.truncate(body.len().saturating_sub(cut));
                for version in [Version::V5, Version::V3] {
                    let _ = read(version, first, Arc::from(body.as_slice()));
                }
            }
        }
    }
}
