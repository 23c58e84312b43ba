//! What passes through the outbox: queues, entries, claims, settlements, and the lives that come of them. It knows nothing
//! of how an engine keeps them.

use std::{fmt, str::FromStr};

use parvis_engine::{
    id::{AppId, NotificationId, ShopperId, stable_hash},
    notification::{Channel, Milestone, Notification, Purpose, Recipient},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What waits together: the entries of one channel, of one app or endpoint, and of one purpose. Two names may share a queue,
/// which costs them only that one's entries can stand before the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// Through which service its entries go.
    pub channel: Channel,
    share: u16,
}

impl Queue {
    /// How many queues a channel has, for ever: their numbers stand in the keys of what waits.
    pub(super) const SHARES: u16 = 2 * NAMES as u16;

    /// The queue of what goes in the name of an app, or to an endpoint. What has no purpose waits with orders.
    pub fn new(channel: Channel, name: &str, purpose: Option<Purpose>) -> Queue {
        let offers = match purpose {
            Some(Purpose::Offer) => 1,
            Some(Purpose::Order) | None => 0,
        };
        Queue { channel, share: (stable_hash(&[name]) % NAMES * 2 + offers) as u16 }
    }

    /// The queue that a message waits in.
    pub fn of(message: &Notification) -> Queue {
        let name = match &message.recipient {
            Recipient::Endpoint(endpoint) => endpoint.as_str(),
            Recipient::Device(_) | Recipient::Address(_) => message.app.as_str(),
        };
        Queue::new(message.channel, name, message.purpose())
    }

    /// Every queue of a channel.
    pub(super) fn all(channel: Channel) -> impl Iterator<Item = Queue> {
        (0..Queue::SHARES).map(move |share| Queue { channel, share })
    }

    /// The queue with this number, if the channel has one.
    pub(super) fn numbered(channel: Channel, share: u16) -> Option<Queue> {
        (share < Queue::SHARES).then_some(Queue { channel, share })
    }

    /// Its number within the channel.
    pub(super) fn share(self) -> u16 {
        self.share
    }
}

/// How many names have queues of their own.
const NAMES: u64 = 1_024;

/// A message that was claimed, to be settled before its lease ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The message.
    pub notification: Notification,
    /// How often a provider was asked.
    pub attempts: u32,
    /// Proves the claim.
    pub lease: u64,
}

/// What a claim gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Due entries, earliest due first, now leased to the caller.
    Entries(Vec<Entry>),
    /// Nothing is due before this time, if ever; where several nodes write: nothing is known to be. Then ask again.
    NothingUntil(Option<Timestamp>),
}

/// What became of a claimed entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Whose message it is.
    pub shopper: ShopperId,
    /// From which queue it was claimed.
    pub queue: Queue,
    /// Which message.
    pub id: NotificationId,
    /// The claim's proof; a settlement whose lease has passed to somebody else is ignored.
    pub lease: u64,
    /// When.
    pub at: Timestamp,
    /// The result.
    pub end: End,
    /// What is to be sent because of it, for the same shopper: stored with the settlement if that counts, and else not.
    /// One whose id is stored already is left out.
    pub then: Vec<Notification>,
}

impl Settlement {
    /// # Panics
    /// If what follows is for somebody else: it is kept with its shopper, and could not be stored as a whole with this.
    pub(super) fn check(&self) {
        let other = self.then.iter().find(|message| message.shopper != self.shopper);
        assert!(other.is_none(), "message {:?} follows one for somebody else", other.map(|message| message.id));
    }
}

/// How a claimed entry ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its life is over: one of the terminal milestones.
    Terminal {
        /// Which.
        milestone: Milestone,
        /// More about it.
        detail: Option<String>,
        /// How often a provider was asked by now.
        attempts: u32,
    },
    /// It goes back into the outbox.
    Again {
        /// Due at.
        at: Timestamp,
        /// How often a provider was asked by now.
        attempts: u32,
        /// Why.
        detail: Option<String>,
    },
}

/// A notification and its life so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// The message.
    pub notification: Notification,
    /// Its milestones, oldest first.
    pub milestones: Vec<Step>,
    /// How often a provider was asked.
    pub attempts: u32,
}

/// One reached milestone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub milestone: Milestone,
    /// When.
    pub at: Timestamp,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Which messages that were given up are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// Only those in the name of this app.
    pub app: Option<AppId>,
    /// Only those that were to go through this service.
    pub channel: Option<Channel>,
    /// Only those after this one in the list, which is newest end first.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: usize,
}

impl DeadQuery {
    /// Whether a message is asked for, wherever in the list it stands.
    pub(super) fn wants(&self, message: &Notification) -> bool {
        self.app.as_ref().is_none_or(|app| *app == message.app)
            && self.channel.is_none_or(|channel| channel == message.channel)
    }
}

/// A place in the list of messages that were given up. As text it is for whoever gave it to understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) at: Timestamp,
    pub(super) id: NotificationId,
}

impl Cursor {
    /// Where a message stands in the list, if it was given up.
    pub fn of(life: &Life) -> Option<Cursor> {
        dead_at(&life.milestones).map(|at| Cursor { at, id: life.notification.id })
    }
}

/// When a message was given up, if it was.
pub(super) fn dead_at(milestones: &[Step]) -> Option<Timestamp> {
    milestones.iter().find(|step| step.milestone == Milestone::Dead).map(|step| step.at)
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at.as_millis(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Cursor, String> {
        let read = || {
            let (at, id) = text.split_once('_')?;
            Some(Cursor { at: Timestamp::from_millis(at.parse().ok()?), id: id.parse().ok()? })
        };
        read().ok_or_else(|| format!("{text:?} is no cursor of a list"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_keep_channels_purposes_and_most_names_apart() {
        let queue = |name: &str, purpose| Queue::new(Channel::Fcm, name, purpose);
        let (offers, orders) = (queue("default", Some(Purpose::Offer)), queue("default", Some(Purpose::Order)));
        assert_eq!((orders.share() % 2, offers.share()), (0, orders.share() + 1));
        assert_eq!(queue("default", None), orders);
        assert_ne!(queue("loyalty", Some(Purpose::Order)), orders);
        assert_ne!(Queue::new(Channel::Apns, "default", None), orders);
        // They stand in files and in Redis.
        assert_eq!([orders.share(), queue("loyalty", None).share()], [1_204, 880]);
        for name in (0..5_000).map(|n| format!("app-{n}")) {
            let queue = queue(&name, Some(Purpose::Offer));
            assert_eq!(Queue::numbered(Channel::Fcm, queue.share()), Some(queue));
        }
        assert_eq!(Queue::numbered(Channel::Fcm, Queue::SHARES), None);
        assert_eq!(Queue::all(Channel::Fcm).count(), 2_048);
    }

    #[test]
    fn a_cursor_returns_from_its_text() {
        let id = NotificationId::from_u128(7 << 100);
        for at in [Timestamp::MIN, Timestamp::from_millis(1_700_000_000_000)] {
            let cursor = Cursor { at, id };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for odd in ["", "_", "1_", "x_00000007-0000-0000-0000-000000000000", "1"] {
            assert!(odd.parse::<Cursor>().is_err(), "{odd}");
        }
    }
}
