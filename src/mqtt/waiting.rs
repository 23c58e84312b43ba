//! What was read from a broker and is not done with: messages in their order, bounded, and how many are tried at once.

use std::collections::VecDeque;

use parvis_engine::time::Timestamp;

use super::wire::Payload;

/// One message on its way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// What it is acknowledged by, if it is to be.
    pub(super) id: Option<u16>,
    /// What it says; nothing if it was too large to be read.
    pub(super) said: Option<Said>,
}

/// What a message says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) topic: String,
    pub(super) payload: Payload,
    pub(super) retained: bool,
    /// What it holds in memory apart from the topic: the whole packet, with what its sender had added to it.
    pub(super) bytes: usize,
    /// When it was read from the network.
    pub(super) received_at: Timestamp,
}

/// Messages that wait.
pub(super) struct Waiting {
    queue: VecDeque<Message>,
    /// Bytes of all messages that are held, those that are being taken included.
    bytes: usize,
    /// How many messages are held, likewise.
    held: usize,
    at_once: usize,
    bytes_max: usize,
    held_max: usize,
}

impl Waiting {
    pub(super) fn new(bytes_max: usize, held_max: usize) -> Waiting {
        Waiting { queue: VecDeque::new(), bytes: 0, held: 0, at_once: held_max, bytes_max, held_max }
    }

    /// Whether another message may be read.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.bytes_max && self.held < self.held_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.bytes();
        self.held += 1;
        self.queue.push_back(message);
    }

    /// The oldest messages, to be taken together.
    pub(super) fn next_round(&mut self) -> Vec<Message> {
        let count = self.at_once.min(self.queue.len());
        self.queue.drain(..count).collect()
    }

    /// These are done with.
    pub(super) fn done(&mut self, round: &[Message]) {
        self.bytes -= round.iter().map(Message::bytes).sum::<usize>();
        self.held -= round.len();
        self.at_once = self.at_once.saturating_mul(2).min(self.held_max);
    }

    /// These could not be taken. They go back to where they were, and fewer are tried next, so that a node without
    /// room is not asked again for what it had taken.
    pub(super) fn put_back(&mut self, round: Vec<Message>) {
        self.at_once = (round.len() / 2).max(1);
        for message in round.into_iter().rev() {
            self.queue.push_front(message);
        }
    }
}

impl Message {
    fn bytes(&self) -> usize {
        self.said.as_ref().map_or(0, |said| said.topic.len() + said.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u16, payload: &[u8]) -> Message {
        with_properties(id, payload, 0)
    }

    fn with_properties(id: u16, payload: &[u8], properties: usize) -> Message {
        let bytes = payload.len() + properties;
        let payload = Payload::new(std::sync::Arc::from(payload), 0, payload.len());
        let said = Said { topic: "t".to_owned(), payload, retained: false, bytes, received_at: Timestamp::default() };
        Message { id: Some(id), said: Some(said) }
    }

    fn ids(round: &[Message]) -> Vec<u16> {
        round.iter().filter_map(|message| message.id).collect()
    }

    #[test]
    fn there_is_room_until_messages_or_bytes_are_too_many() {
        let mut waiting = Waiting::new(100, 3);
        (0..3).for_each(|id| waiting.push(message(id, b"x")));
        assert!(!waiting.has_room());
        let round = waiting.next_round();
        assert!(!waiting.has_room(), "what is being taken is still held");
        waiting.done(&round);
        assert!(waiting.has_room());
        waiting.push(message(4, &[0; 99]));
        assert!(!waiting.has_room());
        let mut waiting = Waiting::new(100, 3);
        waiting.push(with_properties(5, b"x", 98));
        assert!(!waiting.has_room(), "what is not payload is held as well");
    }

    #[test]
    fn what_is_refused_goes_back_in_order_and_less_is_tried() {
        let mut waiting = Waiting::new(1_000, 8);
        (0..8).for_each(|id| waiting.push(message(id, b"x")));
        let round = waiting.next_round();
        assert_eq!(ids(&round), [0, 1, 2, 3, 4, 5, 6, 7]);
        waiting.put_back(round);
        let round = waiting.next_round();
        assert_eq!(ids(&round), [0, 1, 2, 3]);
        waiting.done(&round);
        assert_eq!(ids(&waiting.next_round()), [4, 5, 6, 7]);
        assert!(waiting.is_empty());
    }
}
