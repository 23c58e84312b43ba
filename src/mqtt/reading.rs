//! From messages to what is handed on, and from what became of it to what becomes of each message. Knows formats by
//! their readers in [`crate::ingest`]; acknowledges nothing.

use super::{
    Tools,
    config::{Format, Subscription},
    topic,
    waiting::{Message, Said},
};
use crate::ingest::{self, Batch, Cause, Report, owntracks};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Something in it was taken, and is durable.
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
        }
    }
}

/// What became of a message, and how it was read.
pub(super) type Told = (Option<Format>, Outcome);

/// Takes messages together, waits until what they caused is durable, and tells what became of each.
///
/// # Errors
/// If they could not be taken; trying all of them again is harmless.
pub(super) async fn take(tools: &Tools, wanted: &[Subscription], round: &[Message]) -> Result<Vec<Told>, String> {
    let mut told = Vec::with_capacity(round.len());
    // How many observations each message holds.
    let mut asked = Vec::with_capacity(round.len());
    let mut together = Batch::default();
    for (place, message) in round.iter().enumerate() {
        let (format, read) = read(wanted, message);
        match read {
            Ok(batch) => {
                asked.push(batch.reports.len() + batch.rejected.len());
                told.push((format, Outcome::Ignored));
                join(&mut together, batch, place);
            }
            Err(outcome) => {
                asked.push(0);
                told.push((format, outcome));
            }
        }
    }
    if together == Batch::default() {
        return Ok(told);
    }
    let submitted = ingest::submit(&tools.shards, tools.store.as_ref(), &tools.reporter, together).await;
    let taken = submitted.map_err(|refused| match refused.cause {
        Cause::Shard(refusal) => format!("{refusal:?}"),
        Cause::Store(error) => error.to_string(),
    })?;
    let mut refused = vec![0; round.len()];
    for (place, _) in &taken.rejected {
        refused[*place] += 1;
    }
    for (((_, outcome), asked), refused) in told.iter_mut().zip(asked).zip(refused) {
        match asked {
            0 => {}
            _ if refused == asked => *outcome = Outcome::Rejected,
            _ => *outcome = Outcome::Taken,
        }
    }
    Ok(told)
}

/// Adds what one message holds to what is handed on together; its place stands for each of its observations.
fn join(together: &mut Batch, batch: Batch, place: usize) {
    together.ignored += batch.ignored;
    together.rejected.extend(batch.rejected.into_iter().map(|(_, rejected)| (place, rejected)));
    together.reports.extend(batch.reports.into_iter().map(|report| Report { index: place, ..report }));
}

fn read(wanted: &[Subscription], message: &Message) -> (Option<Format>, Result<Batch, Outcome>) {
    let Some(said) = &message.said else { return (None, Err(Outcome::TooLarge)) };
    // A session outlives the configuration that made it.
    let Some(subscription) = wanted.iter().find(|wanted| topic::matches(&wanted.topic, &said.topic)) else {
        return (None, Err(Outcome::Unexpected));
    };
    (Some(subscription.format), read_as(subscription, said))
}

fn read_as(subscription: &Subscription, said: &Said) -> Result<Batch, Outcome> {
    match subscription.format {
        Format::OwnTracks => {
            let device = topic::owntracks_device(&said.topic, subscription.device).ok_or(Outcome::Unreadable)?;
            Ok(owntracks::batch(said.payload.as_slice(), Some(&device)))
        }
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
        let said = Said { topic: topic.to_owned(), payload, retained: false, received_at: Timestamp::default() };
        Message { id: Some(1), said: Some(said) }
    }

    fn wanted() -> Vec<Subscription> {
        let topic = "owntracks/#".to_owned();
        vec![Subscription { topic, format: Format::OwnTracks, shared: None, device: Naming::UserDevice }]
    }

    #[test]
    fn the_topic_says_who_speaks_whatever_the_message_says() {
        let text = r#"{"_type":"location","topic":"owntracks/bob/phone","tid":"bp","tst":1497349316,"lat":1,"lon":2}"#;
        let (format, read) = read(&wanted(), &said("owntracks/jane/phone", text));
        assert_eq!(format, Some(Format::OwnTracks));
        assert_eq!(read.expect("read").reports[0].device.as_str(), "jane:phone");
    }

    #[test]
    fn what_names_nobody_or_is_not_wanted_is_told_apart() {
        let outcome = |message: &Message| read(&wanted(), message).1.expect_err("not read");
        assert_eq!(outcome(&said("owntracks/jane", "{}")), Outcome::Unreadable);
        assert_eq!(outcome(&said("elsewhere", "{}")), Outcome::Unexpected);
        assert_eq!(outcome(&Message { id: Some(1), said: None }), Outcome::TooLarge);
        let junk = read(&wanted(), &said("owntracks/jane/phone", "\u{0}")).1.expect("counted");
        assert_eq!((junk.ignored, junk.reports.len()), (1, 0));
    }
}
