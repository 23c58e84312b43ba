//! What stands in the file. Keys are ordered by time or sequence wherever rows are many: random keys cost a factor five.

use std::collections::BTreeMap;

use parvis_engine::{id::NotificationId, notification::Channel, time::Timestamp};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::index;
use crate::store::{Cursor, Error, Queue, leases::Place};

/// `format`, `sequence`, the generation of the `catalog`, and the `import` that goes on with how much is `imported`.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Rows of frames, each with many shoppers; a shopper's newest frame counts.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("shoppers_log");
/// Queue, due, id; attempts and the shopper's mark.
pub(super) const OUTBOX: TableDefinition<'_, Slot, (u32, u64)> = TableDefinition::new("outbox_queues");
/// Sequence, the shopper's mark and the notification, which never changes.
pub(super) const MESSAGES: TableDefinition<'_, u128, (u64, u64, &[u8])> = TableDefinition::new("messages");
/// When the life's last step was if it has ended (else `i64::MAX`), when its outbox entry is due, and its progress.
pub(super) const LIVES: TableDefinition<'_, u128, (i64, i64, &[u8])> = TableDefinition::new("lives");
/// When a message was given up, its id; channel and app. Of some the message is void or gone.
pub(super) const DEAD: TableDefinition<'_, (i64, u128), (u8, &str)> = TableDefinition::new("dead");
/// Recorded, sequence; events.
pub(super) const JOURNAL: TableDefinition<'_, (i64, u64), &[u8]> = TableDefinition::new("journal");
/// Sequence; entries of the index that are in no segment yet.
pub(super) const TAIL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("shopper_rows_tail");
/// Newest time, sequence, bucket; entries of the index.
pub(super) const SEGMENTS: TableDefinition<'_, index::Key, &[u8]> = TableDefinition::new("shopper_rows");
/// Kind, id; JSON.
pub(super) const CATALOG: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("catalog");
/// Kept at, sequence; the key's hash, the key and the answer.
pub(super) const ANSWERS: TableDefinition<'_, (i64, u64), (u64, &str, &[u8])> = TableDefinition::new("answers");
/// Name; version and value.
pub(super) const NOTES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("notes");
/// Campaign; spent.
pub(super) const BUDGETS: TableDefinition<'_, &str, u64> = TableDefinition::new("budgets");
/// Sequence of an erasure; the shopper's mark. Older rows with this mark are void and are being removed.
pub(super) const ERASURES: TableDefinition<'_, u64, u64> = TableDefinition::new("erasures");

/// The key of an entry: its queue, when it is due, its message.
pub(super) type Slot = (u16, i64, u128);

/// All tables, open for writing.
pub(super) struct Tables<'t> {
    pub(super) meta: Table<'t, &'static str, u64>,
    pub(super) log: Table<'t, u64, &'static [u8]>,
    pub(super) outbox: Table<'t, Slot, (u32, u64)>,
    pub(super) messages: Table<'t, u128, (u64, u64, &'static [u8])>,
    pub(super) lives: Table<'t, u128, (i64, i64, &'static [u8])>,
    pub(super) dead: Table<'t, (i64, u128), (u8, &'static str)>,
    pub(super) journal: Table<'t, (i64, u64), &'static [u8]>,
    pub(super) tail: Table<'t, u64, &'static [u8]>,
    pub(super) segments: Table<'t, index::Key, &'static [u8]>,
    pub(super) catalog: Table<'t, (&'static str, &'static str), &'static str>,
    pub(super) answers: Table<'t, (i64, u64), (u64, &'static str, &'static [u8])>,
    pub(super) notes: Table<'t, &'static str, (u64, &'static [u8])>,
    pub(super) budgets: Table<'t, &'static str, u64>,
    pub(super) erasures: Table<'t, u64, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Tables<'t>, TableError> {
        Ok(Tables {
            meta: transaction.open_table(META)?,
            log: transaction.open_table(LOG)?,
            outbox: transaction.open_table(OUTBOX)?,
            messages: transaction.open_table(MESSAGES)?,
            lives: transaction.open_table(LIVES)?,
            dead: transaction.open_table(DEAD)?,
            journal: transaction.open_table(JOURNAL)?,
            tail: transaction.open_table(TAIL)?,
            segments: transaction.open_table(SEGMENTS)?,
            catalog: transaction.open_table(CATALOG)?,
            answers: transaction.open_table(ANSWERS)?,
            notes: transaction.open_table(NOTES)?,
            budgets: transaction.open_table(BUDGETS)?,
            erasures: transaction.open_table(ERASURES)?,
        })
    }
}

/// The sequence number of the newest transaction.
pub(super) fn sequence(transaction: &ReadTransaction) -> Result<u64, Error> {
    let meta = transaction.open_table(META)?;
    Ok(meta.get("sequence")?.map_or(0, |value| value.value()))
}

/// Erasures whose rows are not all removed: by the shopper's mark, the sequence before which rows are void. Who reads a
/// snapshot needs those of the snapshot, for memory may know by then that they are removed.
pub(super) fn erasures(transaction: &ReadTransaction) -> Result<BTreeMap<u64, u64>, Error> {
    let mut erasures = BTreeMap::new();
    for row in transaction.open_table(ERASURES)?.range::<u64>(..)? {
        let (sequence, mark) = row?;
        erasures.insert(mark.value(), sequence.value());
    }
    Ok(erasures)
}

/// How often the catalog was changed.
pub(super) fn catalog_generation(meta: &impl ReadableTable<&'static str, u64>) -> Result<u64, Error> {
    Ok(meta.get("catalog")?.map_or(0, |value| value.value()))
}

/// An entry's key.
pub(super) fn slot((queue, due, id): Place) -> Slot {
    (queue_code(queue), due.as_millis(), id.as_u128())
}

/// The place that a key names.
pub(super) fn place((queue, due, id): Slot) -> Result<Place, Error> {
    let known = Channel::ALL.into_iter().find(|channel| u16::from(code(*channel)) == queue / Queue::SHARES);
    let known = known.and_then(|channel| Queue::numbered(channel, queue % Queue::SHARES));
    let queue = known.ok_or_else(|| Error::Corrupt(format!("the outbox has a queue {queue}, which there is not")))?;
    Ok((queue, Timestamp::from_millis(due), NotificationId::from_u128(id)))
}

/// The number of a queue, which keys begin with.
pub(super) fn queue_code(queue: Queue) -> u16 {
    u16::from(code(queue.channel)) * Queue::SHARES + queue.share()
}

/// The key of a message that was given up.
pub(super) fn grave(cursor: Cursor) -> (i64, u128) {
    (cursor.at.as_millis(), cursor.id.as_u128())
}

/// A channel's number in keys. Never changed, only added to.
pub(super) fn code(channel: Channel) -> u8 {
    match channel {
        Channel::Apns => 0,
        Channel::Fcm => 1,
        Channel::WebPush => 2,
        Channel::Webhook => 3,
    }
}

/// The least message id of a cause at this time; see `NotificationId`.
pub(super) fn first_id_at(at: Timestamp) -> u128 {
    u128::from(at.as_millis().max(0).unsigned_abs()) << 80
}

/// The time of a message's cause, in milliseconds; see `NotificationId`.
pub(super) fn time_of_id(id: u128) -> i64 {
    i64::try_from(id >> 80).unwrap_or(i64::MAX)
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Error {
                match redb::Error::from(error) {
                    redb::Error::Corrupted(why) => Error::Corrupt(why),
                    other => Error::Unavailable(other.to_string()),
                }
            }
        }
    )*};
}

from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);
