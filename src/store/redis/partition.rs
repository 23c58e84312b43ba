//! Where everything lives: partitions, and the keys of each. Knows nothing of what is kept under them.

use parvis_engine::{
    id::{NotificationId, ShopperId, stable_hash},
    notification::Channel,
};

/// How many partitions there are, for ever: it is written down at the first start, and a shopper's id leads to one of
/// them. Few enough to ask all of them within a round trip, enough for as many masters.
pub(super) const PARTITIONS: usize = 64;

/// The hash tags. That of partition `n` begins with `n`, and its slot is the nearest to the middle of the `n`th of 64
/// equal ranges that two letters give: however a cluster is cut into equal parts, they get equally many partitions.
const TAGS: [&str; PARTITIONS] = [
    "0pn", "1bv", "2kp", "3vi", "4fa", "5ke", "6bc", "7og", "8pd", "9ra", "10pk", "11bs", "12hx", "13ua", "14vy",
    "15da", "16vz", "17kc", "18ac", "19cf", "20ml", "21pu", "22fo", "23dj", "24bl", "25oh", "26io", "27kj", "28bg",
    "29oc", "30yr", "31dk", "32gu", "33ep", "34yt", "35dm", "36qz", "37lc", "38fc", "39df", "40ua", "41xe", "42qc",
    "43sf", "44ss", "45nj", "46xp", "47ei", "48di", "49yp", "50oa", "51be", "52hn", "53uw", "54vo", "55kv", "56gn",
    "57zw", "58pw", "59mn", "60cd", "61aa", "62hg", "63jb",
];

/// One of the parts into which everything but the catalog is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition(u8);

impl Partition {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Partition> {
        (0..PARTITIONS).filter_map(|number| u8::try_from(number).ok()).map(Partition)
    }

    /// Where a shopper is kept, with messages and journal.
    pub(super) fn of_shopper(id: &ShopperId) -> Partition {
        Partition::of_hash(id.stable_hash())
    }

    /// Where a notification is kept: with its shopper.
    pub(super) fn of_notification(id: NotificationId) -> Partition {
        Partition::of_hash(u64::from(id.shopper_hash()))
    }

    /// Where what has this name is kept: the directory entry of a device or order, an answer, a budget.
    pub(super) fn of_name(name: &str) -> Partition {
        Partition::of_hash(stable_hash(&[name]))
    }

    /// The partition with this number, if there is one.
    pub(super) fn numbered(number: i64) -> Option<Partition> {
        u8::try_from(number).ok().filter(|number| usize::from(*number) < PARTITIONS).map(Partition)
    }

    /// Its number, from 0.
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    fn of_hash(hash: u64) -> Partition {
        Partition((hash % PARTITIONS as u64) as u8)
    }
}

/// Every key that has a name of its own.
#[derive(Debug)]
pub(super) struct Keys {
    partitions: Vec<Names>,
    /// Objects of the control plane, and its generation.
    pub(super) catalog: String,
    /// Small named values.
    pub(super) notes: String,
    /// What holds for the installation as a whole.
    pub(super) meta: String,
}

/// The keys of one partition.
#[derive(Debug)]
pub(super) struct Names {
    /// What all of them begin with.
    pub(super) tag: String,
    /// What the scripts that change shoppers take, in the order that they document.
    pub(super) shopper_script: [String; 16],
    pub(super) answers: String,
    pub(super) answered: String,
    pub(super) budgets: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys {
            partitions: TAGS.iter().map(|tag| Names::new(format!("{prefix}{{{tag}}}:"))).collect(),
            catalog: format!("{prefix}{{catalog}}:items"),
            notes: format!("{prefix}{{catalog}}:notes"),
            meta: format!("{prefix}{{catalog}}:meta"),
        }
    }

    pub(super) fn of(&self, partition: Partition) -> &Names {
        &self.partitions[partition.number()]
    }
}

impl Names {
    fn new(tag: String) -> Names {
        let name = |what: &str| format!("{tag}{what}");
        let shopper_script = [
            "shoppers",
            "wakes",
            "counters",
            "messages",
            "lives",
            "ended",
            "journals",
            "locks",
            "devices",
            "orders",
            "transfers",
            "out:apns",
            "out:fcm",
            "out:webpush",
            "out:webhook",
            "dead",
        ]
        .map(name);
        let (answers, answered, budgets) = (name("answers"), name("answered"), name("budgets"));
        Names { tag, shopper_script, answers, answered, budgets }
    }

    pub(super) fn shoppers(&self) -> &str {
        &self.shopper_script[0]
    }

    pub(super) fn wakes(&self) -> &str {
        &self.shopper_script[1]
    }

    pub(super) fn counters(&self) -> &str {
        &self.shopper_script[2]
    }

    pub(super) fn messages(&self) -> &str {
        &self.shopper_script[3]
    }

    pub(super) fn lives(&self) -> &str {
        &self.shopper_script[4]
    }

    pub(super) fn ended(&self) -> &str {
        &self.shopper_script[5]
    }

    pub(super) fn journals(&self) -> &str {
        &self.shopper_script[6]
    }

    pub(super) fn locks(&self) -> &str {
        &self.shopper_script[7]
    }

    pub(super) fn devices(&self) -> &str {
        &self.shopper_script[8]
    }

    pub(super) fn orders(&self) -> &str {
        &self.shopper_script[9]
    }

    pub(super) fn transfers(&self) -> &str {
        &self.shopper_script[10]
    }

    pub(super) fn outbox(&self, channel: Channel) -> &str {
        &self.shopper_script[10 + channel_number(channel)]
    }

    pub(super) fn dead(&self) -> &str {
        &self.shopper_script[15]
    }

    /// The ids of a shopper's messages.
    pub(super) fn messages_of(&self, shopper: &str) -> String {
        format!("{}of:{shopper}", self.tag)
    }

    /// A shopper's journal.
    pub(super) fn journal_of(&self, shopper: &str) -> String {
        format!("{}j:{shopper}", self.tag)
    }

    /// A shopper's tracks.
    pub(super) fn tracks_of(&self, shopper: &str) -> String {
        format!("{}track:{shopper}", self.tag)
    }
}

/// What scripts call a channel.
pub(super) fn channel_number(channel: Channel) -> usize {
    match channel {
        Channel::Apns => 1,
        Channel::Fcm => 2,
        Channel::WebPush => 3,
        Channel::Webhook => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::call::slot, *};

    #[test]
    fn partitions_lie_evenly_over_the_slots() {
        for (number, tag) in TAGS.iter().enumerate() {
            assert_eq!(usize::from(slot(format!("p:{{{tag}}}:x").as_bytes())) / (16_384 / PARTITIONS), number, "{tag}");
            assert_eq!(tag.trim_end_matches(|c: char| c.is_ascii_lowercase()), number.to_string());
        }
    }

    #[test]
    fn keys_differ_and_a_notification_lies_with_its_shopper() {
        let keys = Keys::new("p:");
        let all: BTreeSet<_> =
            Partition::all().flat_map(|partition| keys.of(partition).shopper_script.iter()).collect();
        assert_eq!(all.len(), PARTITIONS * 16);
        let shopper: ShopperId = "C-1001".parse().expect("an id");
        let id = NotificationId::derive(parvis_engine::time::Timestamp::from_millis(1), &shopper, &["x"]);
        let (one, other) = (Partition::of_notification(id), Partition::of_shopper(&shopper));
        assert_eq!(one, other);
        assert_eq!(Partition::numbered(i64::try_from(one.number()).expect("small")), Some(one));
        assert_eq!((Partition::numbered(-1), Partition::numbered(64)), (None, None));
        assert_eq!(keys.of(one).outbox(Channel::WebPush), keys.of(one).tag.clone() + "out:webpush");
    }
}
