//! What a message says, read as its subscription tells. Takes nothing.
//!
//! The topic is the identity: whom a message names besides must be the same.

use parvis_engine::id::ScannerId;

use super::{
    config::{Format, Subscription},
    topic,
    waiting::{Message, Said},
};
use crate::ingest::{Batch, gateway, owntracks, scanners, scanners::Delivery};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done, and what it caused is durable.
    Taken,
    /// It was read, and everything in it was refused by name.
    Rejected,
    /// It carries nothing for us.
    Ignored,
    /// Its topic names nobody, or it can't be read.
    Unreadable,
    /// It was too large to be read.
    TooLarge,
    /// Nobody subscribes to its topic any more.
    Unexpected,
    /// The broker had kept it, and nothing in it tells how old it is.
    Retained,
}

impl Outcome {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Taken => "taken",
            Outcome::Rejected => "rejected",
            Outcome::Ignored => "ignored",
            Outcome::Unreadable => "unreadable",
            Outcome::TooLarge => "too_large",
            Outcome::Unexpected => "unexpected",
            Outcome::Retained => "retained",
        }
    }
}

/// What a message was read as.
#[derive(Debug)]
pub(super) enum Read {
    /// What a phone says.
    Observations(Batch),
    /// What a scanner heard; its sightings have their times.
    Report(ScannerId, Delivery),
    /// Nothing that could be taken.
    Nothing(Outcome),
}

/// Reads a message as the first subscription does that selects its topic.
pub(super) fn read(wanted: &[Subscription], message: &Message) -> (Option<Format>, Read) {
    let Some(said) = &message.said else { return (None, Read::Nothing(Outcome::TooLarge)) };
    // A session outlives the configuration that made it.
    let Some(subscription) = wanted.iter().find(|wanted| topic::matches(&wanted.topic, &said.topic)) else {
        return (None, Read::Nothing(Outcome::Unexpected));
    };
    let read = match subscription.format {
        Format::OwnTracks => match topic::owntracks_device(&said.topic, subscription.device) {
            Some(device) => Read::Observations(owntracks::batch(said.payload.as_slice(), Some(&device))),
            None => Read::Nothing(Outcome::Unreadable),
        },
        Format::Gateway(_) if said.retained => Read::Nothing(Outcome::Retained),
        Format::Gateway(format) => report(format, said),
    };
    (Some(subscription.format), read)
}

fn report(format: gateway::Format, said: &Said) -> Read {
    let Ok(mut delivery) = scanners::read(format, Some(&said.topic), said.payload.as_slice(), said.received_at) else {
        return Read::Nothing(Outcome::Unreadable);
    };
    let batch = &mut delivery.batch;
    let silent = batch.sightings.is_empty() && batch.rejected.is_empty() && delivery.serial.is_none();
    if silent && batch.ignored > 0 {
        return Read::Nothing(Outcome::Ignored);
    }
    for heard in &mut batch.sightings {
        heard.at.get_or_insert(said.received_at);
    }
    let scanner = match format {
        // Their readers know the scanner from the topic alone.
        gateway::Format::Theengs | gateway::Format::Espresense | gateway::Format::Raw => batch.scanner.clone(),
        gateway::Format::Minew | gateway::Format::Ruuvi => gateway::scanner_in(&said.topic),
        gateway::Format::Parvis => said.topic.rsplit('/').next().and_then(|level| level.parse().ok()),
    };
    match scanner {
        Some(scanner) => Read::Report(scanner, delivery),
        None => Read::Nothing(Outcome::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parvis_engine::time::Timestamp;

    use super::*;
    use crate::mqtt::{config::Naming, wire::Payload};

    fn said(topic: &str, payload: &str) -> Message {
        let payload = Payload::new(Arc::from(payload.as_bytes()), 0, payload.len());
        let (topic, bytes) = (topic.to_owned(), payload.len());
        let said = Said { topic, payload, retained: false, bytes, received_at: Timestamp::default() };
        Message { id: Some(1), said: Some(said) }
    }

    fn wanted() -> Vec<Subscription> {
        let topic = "owntracks/#".to_owned();
        vec![Subscription { topic, format: Format::OwnTracks, qos: None, shared: None, device: Naming::UserDevice }]
    }

    #[test]
    fn the_topic_says_who_speaks_whatever_the_message_says() {
        let text = r#"{"_type":"location","topic":"owntracks/bob/phone","tid":"bp","tst":1497349316,"lat":1,"lon":2}"#;
        let (format, read) = read(&wanted(), &said("owntracks/jane/phone", text));
        assert_eq!(format, Some(Format::OwnTracks));
        let Read::Observations(batch) = read else { panic!("{read:?}") };
        assert_eq!(batch.reports[0].device.as_str(), "jane:phone");
    }

    #[test]
    fn what_names_nobody_or_is_not_wanted_is_told_apart() {
        let outcome = |message: &Message| match read(&wanted(), message).1 {
            Read::Nothing(outcome) => outcome,
            read @ (Read::Observations(_) | Read::Report(..)) => panic!("{read:?}"),
        };
        assert_eq!(outcome(&said("owntracks/jane", "{}")), Outcome::Unreadable);
        assert_eq!(outcome(&said("elsewhere", "{}")), Outcome::Unexpected);
        assert_eq!(outcome(&Message { id: Some(1), said: None }), Outcome::TooLarge);
        let Read::Observations(junk) = read(&wanted(), &said("owntracks/jane/phone", "\u{0}")).1 else {
            panic!("read")
        };
        assert_eq!((junk.ignored, junk.reports.len()), (1, 0));
    }

    fn as_format(name: &str) -> Vec<Subscription> {
        let format = name.to_owned().try_into().expect("a format");
        vec![Subscription { format, topic: "#".to_owned(), ..wanted().remove(0) }]
    }

    #[test]
    fn a_scanner_is_named_by_its_topic_in_every_format() {
        for (format, topic, payload, scanner) in [
            ("theengs", "home/door/BTtoMQTT/60877", include_str!("../ingest/gateway/samples/theengs.json"), "door"),
            ("minew", "/gw/ac233fc001ea/status", include_str!("../ingest/gateway/samples/minew.json"), "ac233fc001ea"),
            (
                "ruuvi",
                "ruuvi/C8:25:2D:8E:9C:2C/C6:A5:B9:E0:AD:06",
                include_str!("../ingest/gateway/samples/ruuvi-mqtt.json"),
                "c8252d8e9c2c",
            ),
            (
                "espresense",
                "espresense/devices/iBeacon:x/kitchen",
                include_str!("../ingest/gateway/samples/espresense.json"),
                "kitchen",
            ),
            ("raw", "air/door", include_str!("../ingest/gateway/samples/raw.json"), "door"),
        ] {
            let (_, read) = read(&as_format(format), &said(topic, payload));
            let Read::Report(named, delivery) = read else { panic!("{format}: {read:?}") };
            assert_eq!(named.as_str(), scanner, "{format}");
            assert!(!delivery.batch.sightings.is_empty(), "{format}");
            assert!(delivery.batch.sightings.iter().all(|heard| heard.at.is_some()), "{format}");
        }
    }

    #[test]
    fn a_scanner_without_a_name_in_the_topic_is_nobody() {
        for (format, topic, payload) in [
            ("minew", "gateways", include_str!("../ingest/gateway/samples/minew.json")),
            ("ruuvi", "ruuvi", include_str!("../ingest/gateway/samples/ruuvi-mqtt.json")),
        ] {
            let (_, read) = read(&as_format(format), &said(topic, payload));
            assert!(matches!(read, Read::Nothing(Outcome::Unreadable)), "{format}: {read:?}");
        }
    }

    #[test]
    fn what_a_broker_kept_of_a_scanner_may_be_of_any_age() {
        let mut kept = said("air/door", include_str!("../ingest/gateway/samples/raw.json"));
        kept.said.as_mut().expect("it says something").retained = true;
        assert!(matches!(read(&as_format("raw"), &kept).1, Read::Nothing(Outcome::Retained)));
    }
}
