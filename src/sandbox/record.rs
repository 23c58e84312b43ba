//! What the services received, in bounded memory. It shows what came, it decides nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use parvis_engine::{notification::Channel, time::Timestamp};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

/// How many messages a subscriber may fall behind.
const BACKLOG: usize = 1_024;
/// How much of a payload is remembered, bytes: more than any service takes.
const PAYLOAD_BYTES: usize = 8_192;

/// One message that reached a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Counts from 1.
    pub sequence: u64,
    /// Which service.
    pub channel: Channel,
    /// A device token, a registration token, an installation id, `topics/…`, a condition, or a subscription's endpoint.
    pub target: String,
    /// When.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub message: Message,
    /// Why it was not accepted; none if it was.
    pub refused: Option<Refusal>,
}

/// What a message says, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The id that the service answered with.
    pub id: String,
    /// Messages of one target with the same key replace one another.
    pub collapse: Option<String>,
    /// First line.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// What opens on a tap.
    pub deep_link: Option<String>,
    /// The app whose target it is, if the target is known.
    pub app: Option<String>,
    /// APNs' topic without the push type's suffix, FCM's topic, or Web Push's `Topic`.
    pub topic: Option<String>,
    /// What a Live Activity is to become.
    pub activity: Option<ActivityPush>,
    /// What is odd about it though the service took it.
    pub remarks: Vec<String>,
    /// The request's own headers, without credentials.
    pub headers: BTreeMap<String, String>,
    /// As it came; decrypted for Web Push.
    pub payload: String,
}

/// What a push says about a Live Activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActivityPush {
    /// The same for all pushes of one activity: its update token, or the broadcast channel.
    pub card: String,
    /// start, update or end.
    pub event: String,
    /// Which moment the content is of, seconds since the epoch.
    pub timestamp: i64,
    /// The name of the attributes' type; of a start only.
    pub attributes_type: Option<String>,
    /// The attributes; of a start only.
    pub attributes: Value,
    /// The content.
    pub state: Value,
    /// When the content is old, seconds since the epoch.
    pub stale_date: Option<i64>,
    /// When the activity leaves the screen, seconds since the epoch.
    pub dismissal_date: Option<i64>,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// HTTP status of the answer.
    pub status: u16,
    /// The service's word for it.
    pub reason: String,
}

/// How many messages came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Taken.
    pub accepted: u64,
    /// Not taken.
    pub refused: u64,
}

/// The messages.
#[derive(Debug)]
pub(super) struct Record {
    log: Mutex<VecDeque<Arc<Received>>>,
    capacity: usize,
    counts: watch::Sender<Counts>,
    stream: broadcast::Sender<Arc<Received>>,
}

impl Record {
    pub(super) fn new(capacity: usize) -> Record {
        Record {
            log: Mutex::default(),
            capacity: capacity.max(1),
            counts: watch::Sender::default(),
            stream: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Numbers a message and remembers it.
    pub(super) fn add(&self, mut received: Received) {
        let payload = &mut received.message.payload;
        payload.truncate(payload.floor_char_boundary(PAYLOAD_BYTES));
        let mut log = self.log();
        let mut counts = self.counts();
        if received.refused.is_none() {
            counts.accepted += 1;
        } else {
            counts.refused += 1;
        }
        received.sequence = counts.accepted + counts.refused;
        let received = Arc::new(received);
        if log.len() == self.capacity {
            log.pop_front();
        }
        log.push_back(Arc::clone(&received));
        // Nobody may be listening.
        let _ = self.stream.send(received);
        self.counts.send_replace(counts);
    }

    pub(super) fn all(&self) -> Vec<Arc<Received>> {
        self.log().iter().cloned().collect()
    }

    /// What came after a sequence number.
    pub(super) fn since(&self, sequence: u64) -> Vec<Arc<Received>> {
        self.log().iter().filter(|received| received.sequence > sequence).cloned().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(super) async fn wait_for(&self, accepted: u64) {
        // The sender lives in self, so that the channel cannot close meanwhile.
        let _ = self.counts.subscribe().wait_for(|counts| counts.accepted >= accepted).await;
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Received>> {
        self.stream.subscribe()
    }

    pub(super) fn shown(&self, target: &str) -> Vec<Arc<Received>> {
        let mut shown: Vec<Arc<Received>> = Vec::new();
        for received in self.log().iter().filter(|received| received.target == target && received.refused.is_none()) {
            let message = &received.message;
            if message.title.is_none() && message.body.is_none() {
                continue;
            }
            if message.collapse.is_some() {
                shown.retain(|older| older.message.collapse != message.collapse);
            }
            shown.push(Arc::clone(received));
        }
        shown
    }

    fn log(&self) -> MutexGuard<'_, VecDeque<Arc<Received>>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(record: &Record, title: &str, collapse: Option<&str>, refused: bool) {
        let message = Message {
            title: Some(title.to_owned()),
            collapse: collapse.map(str::to_owned),
            payload: "é".repeat(5_000),
            ..Message::default()
        };
        let refused = refused.then(|| Refusal { status: 400, reason: "BadTopic".to_owned() });
        let (target, at) = ("a".to_owned(), Timestamp::from_millis(0));
        record.add(Received { sequence: 0, channel: Channel::Apns, target, at, message, refused });
    }

    #[test]
    fn the_same_key_replaces_and_a_refused_message_shows_nothing() {
        let record = Record::new(10);
        add(&record, "one", Some("order"), false);
        add(&record, "two", None, false);
        add(&record, "three", Some("order"), false);
        add(&record, "four", Some("order"), true);
        add(&record, "five", None, false);
        let shown: Vec<String> = record.shown("a").iter().filter_map(|r| r.message.title.clone()).collect();
        assert_eq!(shown, ["two", "three", "five"]);
        assert!(record.shown("b").is_empty());
        assert_eq!(record.counts(), Counts { accepted: 4, refused: 1 });
    }

    #[test]
    fn memory_is_bounded() {
        let record = Record::new(2);
        for _ in 0..5 {
            add(&record, "one", None, false);
        }
        let all = record.all();
        assert_eq!(all.iter().map(|received| received.sequence).collect::<Vec<_>>(), [4, 5]);
        assert!(all.iter().all(|received| received.message.payload.len() <= PAYLOAD_BYTES));
        assert_eq!(record.since(4).len(), 1);
    }
}
