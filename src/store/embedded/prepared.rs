//! A commit as the writer takes it: every value is encoded already, by whoever commits, so that the one thread that
//! writes only copies. It knows no tables.

use std::{collections::BTreeSet, ops::Range};

use parvis_engine::{id::ShopperId, notification::Notification};

use super::codec::{self, Frame};
use crate::store::{Change, Commit, Durable, Error};

/// A message with its bytes.
pub(super) type Encoded = (Notification, Vec<u8>);

/// A commit whose values are encoded.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Each with the place of its frame, which is empty unless the shopper is replaced.
    pub(super) changes: Vec<(Change, Range<usize>)>,
    pub(super) outbox: Vec<Encoded>,
    pub(super) events: Vec<Recorded>,
    pub(super) bonds: Vec<Vec<ShopperId>>,
    /// Frames, then events, as rows hold them: one allocation for all.
    pub(super) bytes: Vec<u8>,
}

/// An event to be recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    /// When, in milliseconds.
    pub(super) at: i64,
    /// Whose.
    pub(super) mark: u64,
    /// Where its bytes are.
    pub(super) bytes: Range<usize>,
}

/// Room for a shopper with one phone, or for an event, so that the buffer seldom grows.
const USUAL_BYTES: usize = 768;

impl Prepared {
    /// Encodes everything.
    ///
    /// # Errors
    /// If a value can't be encoded.
    pub(super) fn encode(commit: Commit) -> Result<Prepared, Error> {
        let Commit { changes, outbox, events, bonds } = commit;
        let mut bytes = Vec::with_capacity(USUAL_BYTES * (changes.len() + events.len()));
        let place_change = |change: Change| {
            let begun = bytes.len();
            if let Durable::Replaced { shopper, wake } = &change.state {
                let frame = Frame { id: change.id.as_str(), version: change.version + 1, wake: *wake, body: &[] };
                frame.write_with(&mut bytes, shopper)?;
            }
            Ok((change, begun..bytes.len()))
        };
        let changes = changes.into_iter().map(place_change).collect::<Result<_, Error>>()?;
        let place_event = |event: &crate::report::Event| {
            let (begun, mark) = (bytes.len(), codec::mark(&event.shopper));
            codec::write_event_with(&mut bytes, mark, event)?;
            Ok(Recorded { at: event.recorded_at.as_millis(), mark, bytes: begun..bytes.len() })
        };
        let events = events.iter().map(place_event).collect::<Result<_, Error>>()?;
        Ok(Prepared { changes, outbox: encode_all(outbox)?, events, bonds, bytes })
    }

    /// Takes out what is said of these.
    pub(super) fn leave_out(&mut self, shoppers: &[ShopperId]) {
        if shoppers.is_empty() {
            return;
        }
        let marks: BTreeSet<u64> = shoppers.iter().map(codec::mark).collect();
        self.changes.retain(|(change, _)| !shoppers.contains(&change.id));
        self.outbox.retain(|(message, _)| !shoppers.contains(&message.shopper));
        self.events.retain(|event| !marks.contains(&event.mark));
    }
}

/// Encodes messages.
///
/// # Errors
/// If one can't be encoded.
pub(super) fn encode_all(messages: Vec<Notification>) -> Result<Vec<Encoded>, Error> {
    messages.into_iter().map(|message| codec::encode(&message).map(|bytes| (message, bytes))).collect()
}
