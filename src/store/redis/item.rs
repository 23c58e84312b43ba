//! What a commit says of one shopper, and how scripts are told it (`lua/shopper.lua`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parvis_engine::{
    id::ShopperId,
    notification::Notification,
    per_device::PerDevice,
    shopper::{Shopper, Track},
    time::Timestamp,
};

use super::{
    partition::{Names, Partition, channel_number},
    record::{Mark, directory},
    score, tracks,
};
use crate::store::{Change, Commit, Durable, Error, Queue, codec};

/// What is said of one shopper.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: ShopperId,
    pub(super) version: u64,
    pub(super) state: State,
    /// The new tracks; none if the shopper does not change.
    pub(super) tracks: Option<PerDevice<Track>>,
    /// The same for other nodes, if it is worth a write; otherwise empty.
    told: Vec<u8>,
    messages: Vec<Message>,
    events: Vec<(Timestamp, Vec<u8>)>,
}

/// What becomes of the shopper.
#[derive(Debug)]
pub(super) enum State {
    Replaced { shopper: Arc<Shopper>, wake: Option<Timestamp>, body: Vec<u8>, mark: String, directory: String },
    Erased,
    Unchanged,
    NotSpokenOf,
}

/// A message that is to be stored with its shopper.
#[derive(Debug)]
pub(super) struct Message {
    id: String,
    queue: Queue,
    due: Timestamp,
    latest: Timestamp,
    body: Vec<u8>,
}

/// A commit, sorted by shopper.
#[derive(Debug)]
pub(super) struct Sorted {
    pub(super) items: BTreeMap<ShopperId, Item>,
    /// Those who come twice, and those bound to them.
    pub(super) conflicts: BTreeSet<ShopperId>,
    pub(super) bonds: Vec<Vec<ShopperId>>,
}

impl Sorted {
    pub(super) fn read(commit: Commit) -> Result<Sorted, Error> {
        let mut conflicts = BTreeSet::new();
        let mut items: BTreeMap<ShopperId, Item> = BTreeMap::new();
        for change in commit.changes {
            if let Some(twice) = items.insert(change.id.clone(), Item::new(change)?) {
                conflicts.insert(twice.id);
            }
        }
        for bond in &commit.bonds {
            if bond.iter().any(|id| conflicts.contains(id)) {
                conflicts.extend(bond.iter().cloned());
            }
        }
        items.retain(|id, _| !conflicts.contains(id));
        for message in commit.outbox.iter().filter(|message| !conflicts.contains(&message.shopper)) {
            let item = items.entry(message.shopper.clone()).or_insert_with_key(Item::not_spoken_of);
            item.messages.push(Message::new(message)?);
        }
        for event in commit.events.iter().filter(|event| !conflicts.contains(&event.shopper)) {
            let item = items.entry(event.shopper.clone()).or_insert_with_key(Item::not_spoken_of);
            item.events.push((event.recorded_at, codec::encode(event)?));
        }
        items.values_mut().for_each(Item::seal);
        Ok(Sorted { items, conflicts, bonds: commit.bonds })
    }
}

impl Item {
    fn new(change: Change) -> Result<Item, Error> {
        let state = match change.state {
            Durable::Unchanged => State::Unchanged,
            Durable::Erased => State::Erased,
            Durable::Replaced { shopper, wake } => {
                let (body, directory) = (codec::encode(&*shopper)?, directory(&shopper));
                State::Replaced { shopper, wake, body, mark: String::new(), directory }
            }
        };
        let Change { version, id, tracks, .. } = change;
        let told = match &state {
            State::Replaced { .. } if !tracks.is_empty() => codec::encode(&tracks)?,
            State::Unchanged if tracks::concern_others(&tracks) => codec::encode(&tracks)?,
            State::Replaced { .. } | State::Unchanged | State::Erased | State::NotSpokenOf => Vec::new(),
        };
        Ok(Item { id, version, state, tracks: Some(tracks), told, messages: Vec::new(), events: Vec::new() })
    }

    fn not_spoken_of(id: &ShopperId) -> Item {
        let (messages, events) = (Vec::new(), Vec::new());
        let told = Vec::new();
        Item { id: id.clone(), version: 0, state: State::NotSpokenOf, tracks: None, told, messages, events }
    }

    pub(super) fn partition(&self) -> Partition {
        Partition::of_shopper(&self.id)
    }

    /// Whether anything is written that must outlive a crash.
    pub(super) fn is_durable(&self) -> bool {
        let changes = matches!(self.state, State::Replaced { .. } | State::Erased);
        changes || !self.messages.is_empty() || !self.events.is_empty()
    }

    /// Whether it can't be stored without devices or orders being entered in directories.
    pub(super) fn is_new_with_directory(&self) -> bool {
        self.version == 0 && matches!(&self.state, State::Replaced { directory, .. } if !directory.is_empty())
    }

    /// Where its messages wait, and when they are due.
    pub(super) fn dues(&self) -> impl Iterator<Item = (Queue, Timestamp)> {
        self.messages.iter().map(|message| (message.queue, message.due))
    }

    /// When the shopper is to be woken from now on.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        match &self.state {
            State::Replaced { wake, .. } => *wake,
            State::Erased | State::Unchanged | State::NotSpokenOf => None,
        }
    }

    /// Tells one try to change the shopper from another; none if it does not change, or goes.
    pub(super) fn mark(&mut self) -> Option<&mut String> {
        match &mut self.state {
            State::Replaced { mark, .. } => Some(mark),
            State::Erased | State::Unchanged | State::NotSpokenOf => None,
        }
    }

    /// Marks the item by all that it says.
    fn seal(&mut self) {
        let Item { id, version, state, messages, events, .. } = self;
        let State::Replaced { wake, body, mark, .. } = state else { return };
        let mut all = Mark::new();
        all.add(id.as_str().as_bytes());
        all.add(&version.to_le_bytes());
        all.add(body);
        all.add(&wake.map_or(i64::MAX, Timestamp::as_millis).to_le_bytes());
        messages.iter().for_each(|message| all.add(message.id.as_bytes()));
        all.add(b"");
        events.iter().for_each(|(_, event)| all.add(event));
        *mark = all.finish();
    }

    /// The keys that are the shopper's alone, if the item touches them.
    pub(super) fn keys(&self, names: &Names) -> Option<[String; 3]> {
        let says_more = !self.messages.is_empty() || !self.events.is_empty() || !self.told.is_empty();
        let touched = says_more || matches!(self.state, State::Erased);
        let id = self.id.as_str();
        touched.then(|| [names.messages_of(id), names.journal_of(id), names.tracks_of(id)])
    }

    /// Tells a script the item; `place` is that of its keys, or 0.
    pub(super) fn write(&self, place: usize, word: &mut impl FnMut(&[u8])) {
        word(self.id.as_str().as_bytes());
        word(self.kind());
        number(self.version, word);
        number(place, word);
        if let State::Replaced { wake, body, mark, directory, .. } = &self.state {
            word(mark.as_bytes());
            word(directory.as_bytes());
            word(body);
            match wake {
                Some(wake) => number(wake.as_millis(), word),
                None => word(b""),
            }
        }
        word(&self.told);
        write_messages(&self.messages, word);
        number(self.events.len(), word);
        for (at, body) in &self.events {
            number(at.as_millis(), word);
            word(body);
        }
    }

    fn kind(&self) -> &'static [u8] {
        match self.state {
            State::Replaced { .. } => b"R",
            State::Erased => b"E",
            State::Unchanged => b"U",
            State::NotSpokenOf => b"N",
        }
    }
}

impl Message {
    pub(super) fn new(message: &Notification) -> Result<Message, Error> {
        Ok(Message {
            id: message.id.to_string(),
            queue: Queue::of(message),
            due: message.not_before,
            latest: message.observed_at.max(message.decided_at),
            body: codec::encode(message)?,
        })
    }
}

/// Tells a script messages.
pub(super) fn write_messages(messages: &[Message], word: &mut impl FnMut(&[u8])) {
    number(messages.len(), word);
    for Message { id, queue, due, latest, body } in messages {
        word(id.as_bytes());
        number(channel_number(queue.channel), word);
        number(due.as_millis(), word);
        number(score::of(*queue, *due), word);
        number(latest.as_millis(), word);
        word(body);
    }
}

/// Tells a script a number.
pub(super) fn number(value: impl std::fmt::Display, word: &mut impl FnMut(&[u8])) {
    word(value.to_string().as_bytes());
}
