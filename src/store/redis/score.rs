//! How a queue and a due time become one score of an outbox, and back. The entries of a queue are then next to one another
//! in the sorted set of their channel, earliest due first.

use parvis_engine::time::Timestamp;

use crate::store::Queue;

/// A double tells integers of 53 bits exactly, and 11 are the queue's. So an entry that is due after the year 2109 is due
/// then.
const TIME_BITS: u32 = 42;
const TIME_MAX: i64 = (1 << TIME_BITS) - 1;
const _: () = assert!(Queue::SHARES as u64 == 1 << (53 - TIME_BITS));

/// The score of an entry of a queue.
pub(super) fn of(queue: Queue, due: Timestamp) -> i64 {
    (i64::from(queue.share()) << TIME_BITS) + due.as_millis().clamp(0, TIME_MAX)
}

/// The least and the greatest score that an entry of a queue can have.
pub(super) fn bounds(queue: Queue) -> (i64, i64) {
    (of(queue, Timestamp::MIN), of(queue, Timestamp::MAX))
}

/// When an entry with this score is due.
pub(super) fn due(score: f64) -> Timestamp {
    Timestamp::from_millis(score as i64 & TIME_MAX)
}

/// Where there are no queues, scores are times in milliseconds.
pub(super) fn time(score: f64) -> Timestamp {
    Timestamp::from_millis(score as i64)
}

#[cfg(test)]
mod tests {
    use parvis_engine::notification::Channel;

    use super::*;

    #[test]
    fn queues_do_not_overlap_and_every_score_is_exact() {
        let mut last = -1;
        for queue in Queue::all(Channel::Fcm) {
            let (least, greatest) = bounds(queue);
            assert_eq!(least, last + 1);
            last = greatest;
            for millis in [0, 1_700_000_000_001, TIME_MAX] {
                let score = of(queue, Timestamp::from_millis(millis));
                assert_eq!(score as f64 as i64, score);
                assert_eq!(due(score as f64).as_millis(), millis);
            }
        }
        let far = of(Queue::new(Channel::Fcm, "", None), Timestamp::MAX);
        assert_eq!(due(far as f64).to_string(), "2109-05-15T07:35:11.103Z");
    }
}
