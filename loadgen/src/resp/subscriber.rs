//! Hears the events of the city's fences on a connection of its own, and times them.

use std::borrow::Cow;

use parvis_loadgen::city::device_id;
use serde::Deserialize;

use super::{Commands, Server, Stream, fences::CHANNEL, reply::Value};
use crate::{clock::Clock, measure::arrivals::Arrivals};

/// A connection that is subscribed to all fences.
pub(crate) struct Subscriber {
    stream: Stream,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl Subscriber {
    /// Subscribes.
    ///
    /// # Errors
    /// If there is no connection, or the server knows no subscriptions.
    pub(crate) async fn open(server: &Server) -> anyhow::Result<Subscriber> {
        let mut stream = server.open().await?;
        let mut commands = Commands::new();
        commands.push(&[b"PSUBSCRIBE", format!("{CHANNEL}*").as_bytes()]);
        let verdict = stream.exchange(&commands).await?;
        anyhow::ensure!(verdict.failed == 0, "the server knows no subscriptions: {}", verdict.why.unwrap_or_default());
        Ok(Subscriber { stream })
    }

    /// Hears until the connection ends.
    pub(crate) async fn hear(mut self, clock: Clock, arrivals: &Arrivals) {
        let note = |value: &Value<'_>| {
            if let Some(payload) = payload(value) {
                let cause = phone(payload).and_then(|phone| arrivals.cause(phone));
                arrivals.arrived(cause, clock.now_us());
            }
        };
        while self.stream.next(note).await.is_ok() {}
    }
}

/// The payload of `pmessage pattern channel payload`.
fn payload<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    let Value::Array(items) = value else { return None };
    match items.as_slice() {
        [Value::Bulk(Some(b"pmessage")), _, _, Value::Bulk(payload)] => *payload,
        _ => None,
    }
}

/// Whose event it is. Events name the device as it was set.
fn phone(event: &[u8]) -> Option<u32> {
    let event: Event<'_> = serde_json::from_slice(event).ok()?;
    let digits = event.id.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    let phone = digits.parse().ok()?;
    (device_id(phone) == event.id).then_some(phone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_phone() {
        let event = format!(r#"{{"command":"set","detect":"enter","key":"fleet","id":"{}"}}"#, device_id(42));
        assert_eq!(phone(event.as_bytes()), Some(42));
        assert_eq!(phone(br#"{"id":"somebody-42"}"#), None);
        assert_eq!(phone(b"{}"), None);
    }

    #[test]
    fn only_messages_are_events() {
        let message = |kind: &'static [u8]| {
            let word = |word: &'static [u8]| Value::Bulk(Some(word));
            Value::Array(vec![word(kind), word(b"fence:*"), word(b"fence:1"), word(b"{}")])
        };
        assert_eq!(payload(&message(b"pmessage")), Some(&b"{}"[..]));
        assert_eq!(payload(&message(b"psubscribe")), None);
        assert_eq!(payload(&Value::Simple(b"OK")), None);
    }
}
