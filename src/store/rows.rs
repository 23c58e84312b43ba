//! Everything that a store holds, row by row, for moving it to another store. One set of rows for all engines.
//!
//! It knows nothing of files or of how an engine keeps its rows, and holds nothing volatile: no tracks, no leases.

use std::sync::Arc;

use async_trait::async_trait;
use parvis_engine::{id::CampaignId, shopper::Shopper, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{Answer, Error, Life};
use crate::report::Event;

/// One thing that a store holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// How often the control plane was changed.
    Generation(u64),
    /// One object of the control plane.
    Object(Object),
    /// A small named value.
    Note(Named),
    /// What is spent of a campaign's budget.
    Budget(Budget),
    /// A shopper's durable state.
    Shopper(Durably),
    /// A notification with its life.
    Notification(Box<Sent>),
    /// A row of the journal.
    Event(Box<Event>),
    /// An answer that is kept for repeats.
    Answer(Kept),
}

/// One object of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// The kind, such as `geofence`.
    pub kind: String,
    /// The id within the kind.
    pub id: String,
    /// The JSON that was put.
    pub json: String,
}

/// A small named value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Counts how often it was kept; at least 1.
    pub version: u64,
    /// The value, in base64.
    #[serde(with = "base64_text")]
    pub bytes: Vec<u8>,
}

/// What is spent of a campaign's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Of which campaign.
    pub campaign: CampaignId,
    /// How much.
    pub spent: u64,
}

/// A shopper as they are kept for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durably {
    /// Counts the shopper's commits; at least 1.
    pub version: u64,
    /// When they are to be woken, if no observation comes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Timestamp>,
    /// The state.
    pub state: Arc<Shopper>,
}

/// A notification as it is kept. Its id stays what it was when it was decided, even if ids are derived otherwise by now:
/// where it belongs is told by the message's shopper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The message and its milestones.
    pub life: Life,
    /// Its entry of the outbox, if it still has one. A leased entry waits like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// An entry of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// When it is due.
    pub due: Timestamp,
    /// How often a provider was asked.
    pub attempts: u32,
}

/// An answer that is kept for repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The idempotency key.
    pub key: String,
    /// Since when.
    pub at: Timestamp,
    /// The answer, its body in base64.
    #[serde(with = "answer")]
    pub answer: Answer,
}

/// Rows on their way out, kind by kind as [`Row`] lists them; within a kind in the engine's own order, but the events of a
/// shopper oldest first. Dropping it ends the export.
///
/// A shopper comes before the notifications decided for them, so that of what is read while others write, a message
/// never comes without the send that caps count.
#[async_trait]
pub trait Export: Send {
    /// Whether all rows are of one moment. If not, each is as it was when it was read: exact once nobody writes. Such an
    /// export may also give a row twice.
    fn is_snapshot(&self) -> bool;

    /// The next rows: some hundred, of about a megabyte. None are left once there are none.
    async fn next(&mut self) -> Result<Vec<Row>, Error>;
}

/// Some rows on their way in.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Tells this import from every other.
    pub import: u64,
    /// The rows of the import that come before these: every row has a number of its own, the same in a repeat.
    pub before: u64,
    /// The rows. One that the store has under the same name is replaced; of answers the first stands.
    pub rows: Vec<Row>,
    /// Whether these are the last: the import has ended then, and the store is as good as any.
    pub last: bool,
}

/// What is in a store, as far as an import is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    Nothing,
    /// A part of an import.
    Part {
        /// Which.
        import: u64,
        /// How many rows of it are durable. The next batch begins here.
        rows: u64,
    },
    /// A whole store.
    Whole,
}

mod answer {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Answer;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        status: u16,
        content_type: String,
        #[serde(with = "super::base64_text")]
        body: Vec<u8>,
        request_hash: u64,
    }

    pub(super) fn serialize<S: Serializer>(answer: &Answer, serializer: S) -> Result<S::Ok, S::Error> {
        let Answer { status, content_type, body, request_hash } = answer.clone();
        Written { status, content_type, body, request_hash }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Answer, D::Error> {
        let Written { status, content_type, body, request_hash } = Written::deserialize(deserializer)?;
        Ok(Answer { status, content_type, body, request_hash })
    }
}

mod base64_text {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        BASE64_STANDARD.encode(bytes).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(|error| D::Error::custom(format!("no base64: {error}")))
    }
}

/// Why a batch is not taken.
pub(super) fn refusal(contents: Contents, batch: &Batch) -> Option<Error> {
    let why = match contents {
        Contents::Nothing if batch.before == 0 => return None,
        Contents::Nothing => format!("an import begins with its first row, not after {}", batch.before),
        Contents::Part { import, rows } if import == batch.import && rows == batch.before => return None,
        Contents::Part { import, rows } if import == batch.import => {
            format!("{rows} rows of this import are stored, the next do not begin after {}", batch.before)
        }
        Contents::Part { .. } => "another import into this store has not ended".to_owned(),
        Contents::Whole => "the store is not empty, and an import needs an empty one".to_owned(),
    };
    Some(Error::Unavailable(why))
}
