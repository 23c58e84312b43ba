//! The file's layout, from older ones to this one: a step for each number, all of them in one transaction, so that a
//! crash leaves the file as it was.
//!
//! A step changes how things are laid out and must not need anything of memory: it runs before shoppers are read.

use parvis_engine::{
    id::NotificationId,
    notification::{Channel, Notification},
    time::Timestamp,
};
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{
    codec,
    group::GOES_ON,
    tables::{self, CATALOG, DEAD, LIVES, MESSAGES, META, OUTBOX, Tables},
};
use crate::store::{Error, Queue, life::Progress};

/// Changes a file of one format into one of the next.
type Step = fn(&WriteTransaction) -> Result<(), Error>;

/// The oldest format that can be read: that of the first version with an embedded store that was handed out.
const OLDEST: u64 = 2;

/// From [`OLDEST`] to the next, and so on.
const STEPS: &[Step] = &[count_catalog, part_queues];

/// The layout of this version. It rises as well where an older version would misread what this one writes: from 3 on a
/// file may hold a part of an import, which is not to be served.
pub(super) const FORMAT: u64 = OLDEST + STEPS.len() as u64;

/// Checks the layout, lays out a new file, or brings an older one here.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), Error> {
    let format = transaction.open_table(META)?.get("format")?.map(|value| value.value());
    match format {
        None => transaction.open_table(META)?.insert("sequence", 0).map(drop)?,
        Some(format) => migrate(transaction, format, STEPS)?,
    }
    transaction.open_table(META)?.insert("format", FORMAT)?;
    // Those that are new are made.
    Tables::open(transaction)?;
    Ok(())
}

fn migrate(transaction: &WriteTransaction, format: u64, steps: &[Step]) -> Result<(), Error> {
    let newest = OLDEST + steps.len() as u64;
    if format > newest {
        return Err(Error::Corrupt(format!(
            "the file has format {format} and this version reads up to {newest}: it was written by a newer version"
        )));
    }
    let done = format.checked_sub(OLDEST).ok_or_else(|| {
        Error::Corrupt(format!(
            "the file has format {format}, of a version before the first release: it can't be read any more"
        ))
    })?;
    for (at, step) in (OLDEST..).zip(steps).skip(usize::try_from(done).unwrap_or(usize::MAX)) {
        step(transaction)?;
        tracing::info!("the store's file is brought from format {at} to {}", at + 1);
    }
    Ok(())
}

/// 2 to 3: the catalog counts its changes. One that has objects was changed at least once.
fn count_catalog(transaction: &WriteTransaction) -> Result<(), Error> {
    let mut meta = transaction.open_table(META)?;
    let is_counted = meta.get("catalog")?.is_some();
    if !is_counted && !transaction.open_table(CATALOG)?.is_empty()? {
        meta.insert("catalog", 1)?;
    }
    Ok(())
}

/// Channel, due, id; attempts and the shopper's mark: the outbox before it had queues.
const UNPARTED: TableDefinition<'_, (u8, i64, u128), (u32, u64)> = TableDefinition::new("outbox");

/// 3 to 4: what waits is parted into queues, and what was given up is listed.
fn part_queues(transaction: &WriteTransaction) -> Result<(), Error> {
    let (messages, lives) = (transaction.open_table(MESSAGES)?, transaction.open_table(LIVES)?);
    let message = |id: u128| -> Result<Option<Notification>, Error> {
        let Some(row) = messages.get(id)? else { return Ok(None) };
        // It can't be read, which must not keep the others from being served.
        let read = codec::decode(row.value().2, || format!("message {}", NotificationId::from_u128(id)));
        Ok(read.inspect_err(|error| tracing::error!("a message can't be brought here: {error}")).ok())
    };
    let mut outbox = transaction.open_table(OUTBOX)?;
    for row in transaction.open_table(UNPARTED)?.iter()? {
        let (key, value) = row?;
        let (channel, due, id) = key.value();
        let place = |queue| (queue, Timestamp::from_millis(due), NotificationId::from_u128(id));
        let channel = Channel::ALL.into_iter().find(|it| tables::code(*it) == channel);
        let queue = match (message(id)?, channel) {
            (Some(message), _) => Queue::of(&message),
            (None, Some(channel)) => Queue::new(channel, "", None),
            (None, None) => continue,
        };
        outbox.insert(tables::slot(place(queue)), value.value())?;
    }
    let mut dead = transaction.open_table(DEAD)?;
    for row in lives.iter()? {
        let (id, life) = row?;
        let (idle_since, _, progress) = life.value();
        let id = NotificationId::from_u128(id.value());
        let progress = codec::decode::<Progress>(progress, String::new).ok().filter(|_| idle_since != GOES_ON);
        let Some(cursor) = progress.and_then(|progress| progress.dead(id)) else { continue };
        if let Some(message) = message(id.as_u128())? {
            dead.insert(tables::grave(cursor), (tables::code(message.channel), message.app.as_str()))?;
        }
    }
    transaction.delete_table(UNPARTED)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parvis_engine::notification::{Body, Content, Milestone, Origin, Purpose, Recipient};
    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};

    use super::*;
    use crate::store::{CatalogItem, Claim, Commit, Config, DeadQuery, Embedded, End, Settlement, Store};

    fn file(format: u64) -> Database {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).expect("opens");
        let transaction = database.begin_write().expect("begins");
        transaction.open_table(META).expect("opens").insert("format", format).expect("writes");
        transaction.commit().expect("commits");
        database
    }

    fn noted(database: &Database, name: &str) -> Option<u64> {
        let transaction = database.begin_read().expect("begins");
        transaction.open_table(META).expect("opens").get(name).expect("reads").map(|value| value.value())
    }

    fn one(transaction: &WriteTransaction) -> Result<(), Error> {
        transaction.open_table(META)?.insert("trace", 1)?;
        Ok(())
    }

    fn two(transaction: &WriteTransaction) -> Result<(), Error> {
        let mut meta = transaction.open_table(META)?;
        let trace = meta.get("trace")?.map_or(0, |value| value.value());
        meta.insert("trace", 10 * trace + 2)?;
        Ok(())
    }

    fn breaks(_: &WriteTransaction) -> Result<(), Error> {
        Err(Error::Corrupt("a step that fails".to_owned()))
    }

    #[test]
    fn an_older_file_takes_every_step_from_its_format_on() {
        for (format, trace) in [(2, Some(12)), (3, Some(2)), (4, None)] {
            let database = file(format);
            let transaction = database.begin_write().expect("begins");
            migrate(&transaction, format, &[one, two]).expect("can be read");
            transaction.commit().expect("commits");
            assert_eq!(noted(&database, "trace"), trace, "from {format}");
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let database = file(2);
        let transaction = database.begin_write().expect("begins");
        assert!(migrate(&transaction, 2, &[one, breaks]).is_err());
        drop(transaction);
        assert_eq!((noted(&database, "trace"), noted(&database, "format")), (None, Some(2)));
    }

    #[test]
    fn what_is_too_old_or_too_new_is_refused() {
        for (format, why) in [(1, "before the first release"), (FORMAT + 1, "newer version")] {
            let database = file(format);
            let transaction = database.begin_write().expect("begins");
            let refused = prepare(&transaction);
            assert!(matches!(&refused, Err(Error::Corrupt(told)) if told.contains(why)), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn a_catalog_that_was_not_counted_is_counted_from_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config { path: folder.path().join("store.redb"), cache_mib: 8, ..Config::default() };
        let store = Embedded::open(config.clone()).await.expect("opens");
        let item = CatalogItem { kind: "store".to_owned(), id: "opera".to_owned(), json: Some("{}".to_owned()) };
        assert_eq!(store.put_catalog(vec![item.clone()], 0).await, Ok(Some(1)));
        store.close().await.expect("closes");

        let database = Database::open(&config.path).expect("opens");
        let transaction = database.begin_write().expect("begins");
        let mut meta = transaction.open_table(META).expect("opens");
        meta.remove("catalog").expect("writes");
        meta.insert("format", 2).expect("writes");
        drop(meta);
        transaction.commit().expect("commits");
        drop(database);

        let store = Embedded::open(config.clone()).await.expect("is brought here");
        let catalog = store.catalog().await.expect("available");
        assert_eq!((catalog.generation, catalog.items), (1, vec![item]));
        store.close().await.expect("closes");
        assert_eq!(noted(&Database::open(&config.path).expect("opens"), "format"), Some(FORMAT));
    }

    fn message(second: i64, app: &str, purpose: Purpose) -> Notification {
        let (at, shopper) = (Timestamp::from_millis(1_700_000_000_000 + second), "A".parse().expect("an id"));
        let origin = Origin::Request { request: "r".to_owned(), purpose };
        Notification {
            id: NotificationId::derive(at, &shopper, &[app]),
            shopper,
            recipient: Recipient::Device("phone".parse().expect("an id")),
            channel: Channel::Fcm,
            app: app.parse().expect("an id"),
            origin,
            replays: None,
            body: Body::Content(Content::default()),
            collapse: String::new(),
            observed_at: at,
            decided_at: at,
            not_before: at,
            expires_at: at,
        }
    }

    /// Makes of a file of this format what the one before would have made.
    fn take_queues_away(path: &std::path::Path) {
        let database = Database::open(path).expect("opens");
        let transaction = database.begin_write().expect("begins");
        let mut old = transaction.open_table(UNPARTED).expect("opens");
        for row in transaction.open_table(OUTBOX).expect("opens").iter().expect("reads") {
            let (key, value) = row.expect("reads");
            let (queue, due, id) = tables::place(key.value()).expect("a place");
            let key = (tables::code(queue.channel), due.as_millis(), id.as_u128());
            old.insert(key, value.value()).expect("writes");
        }
        drop(old);
        transaction.delete_table(OUTBOX).expect("deletes");
        transaction.delete_table(DEAD).expect("deletes");
        transaction.open_table(META).expect("opens").insert("format", 3).expect("writes");
        transaction.commit().expect("commits");
    }

    #[tokio::test]
    async fn what_waited_in_one_outbox_waits_in_queues_and_what_was_given_up_is_listed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config { path: folder.path().join("store.redb"), cache_mib: 8, ..Config::default() };
        let store = Embedded::open(config.clone()).await.expect("opens");
        let waiting = [("default", Purpose::Offer), ("default", Purpose::Order), ("loyalty", Purpose::Offer)];
        let waiting: Vec<_> = (1..).zip(waiting).map(|(at, (app, purpose))| message(at, app, purpose)).collect();
        let given_up = message(0, "loyalty", Purpose::Offer);
        let outbox = waiting.iter().chain([&given_up]).cloned().collect();
        store.commit(Commit { outbox, ..Commit::default() }).await.expect("available");
        let (queue, lease) = (Queue::of(&given_up), Duration::from_secs(30));
        let Ok(Claim::Entries(claimed)) = store.claim(queue, given_up.not_before, 1, lease).await else {
            panic!("it is due")
        };
        let (id, end) = (given_up.id, End::Terminal { milestone: Milestone::Dead, detail: None, attempts: 1 });
        let (shopper, lease, at) = (given_up.shopper.clone(), claimed[0].lease, given_up.not_before);
        let settlement = Settlement { shopper, queue, id, lease, at, end, then: Vec::new() };
        store.settle(vec![settlement]).await.expect("available");
        let query = DeadQuery { app: Some(given_up.app.clone()), limit: 9, ..DeadQuery::default() };
        let dead = store.dead(query.clone()).await.expect("available");
        assert_eq!(dead.len(), 1);
        store.close().await.expect("closes");
        take_queues_away(&config.path);

        let store = Embedded::open(config).await.expect("is brought here");
        assert_eq!(store.dead(query).await, Ok(dead));
        assert_eq!(store.sizes().await.expect("available").queues.len(), 3);
        for message in waiting {
            let claim = store.claim(Queue::of(&message), message.not_before, 9, Duration::from_secs(30)).await;
            let Ok(Claim::Entries(entries)) = claim else { panic!("{message:?} is due: {claim:?}") };
            assert_eq!(entries.into_iter().map(|entry| entry.notification).collect::<Vec<_>>(), [message]);
        }
        store.close().await.expect("closes");
    }
}
