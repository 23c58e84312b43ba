//! A disk that says no and has written all the same, and the moment between the file and memory: only inside the store
//! can these be brought about.

use std::{
    fs, io,
    sync::atomic::{AtomicU8, Ordering},
};

use parvis_engine::{
    notification::{Cause, Content, Notification, Purpose},
    order::OrderState,
    shopper::Shopper,
};
use redb::{StorageBackend, backends::FileBackend};

use super::*;
use crate::store::Change;

const OBEY: u8 = 0;
/// Writes and synchronises, then says that it failed.
const LIE: u8 = 1;
/// Does nothing and says so.
const REFUSE: u8 = 2;
/// Shows a bug.
const PANIC: u8 = 3;

#[derive(Debug)]
struct Disk {
    file: FileBackend,
    mood: Arc<AtomicU8>,
}

impl Disk {
    fn obeys(&self) -> io::Result<()> {
        if self.mood.load(Ordering::SeqCst) == REFUSE { Err(io::Error::other("refused")) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.obeys()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.obeys()?;
        assert!(self.mood.load(Ordering::SeqCst) != PANIC, "a planned panic");
        self.file.sync_data()?;
        // Only once: the repair when the file is reopened must succeed.
        match self.mood.compare_exchange(LIE, OBEY, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Err(io::Error::other("lied")),
            Err(_) => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.obeys()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn start(folder: &tempfile::TempDir, mood: &Arc<AtomicU8>) -> Embedded {
    let config = Config { path: folder.path().join("store.redb"), cache_mib: 8, ..Config::default() };
    let (path, mood) = (config.path.clone(), mood.clone());
    let opener = move |builder: &redb::Builder| {
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let file = FileBackend::new(file)?;
        builder.create_with_backend(Disk { file, mood: mood.clone() })
    };
    Embedded::start(&config, File::open_with(&config, Box::new(opener)).expect("opens")).expect("starts")
}

fn replaced(version: u64) -> Change {
    let id: ShopperId = "A".parse().expect("a valid id");
    let state = Durable::Replaced { shopper: Arc::new(Shopper::new(id.clone())), wake: None };
    Change { version, id, state, tracks: Default::default() }
}

async fn change(store: &Embedded, version: u64) -> Result<Committed, Error> {
    store.commit(Commit { changes: vec![replaced(version)], ..Commit::default() }).await
}

async fn version(store: &Embedded) -> u64 {
    store.load(&["A".parse().expect("a valid id")]).await.expect("available")[0].version
}

#[tokio::test]
async fn a_commit_that_failed_but_was_written_is_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mood = Arc::new(AtomicU8::new(OBEY));
    let store = start(&folder, &mood);
    assert_eq!(change(&store, 0).await, Ok(Committed::Done));
    mood.store(LIE, Ordering::SeqCst);
    assert!(matches!(change(&store, 1).await, Err(Error::Unavailable(_))));
    assert_eq!(version(&store).await, 2, "memory follows the file");
    assert!(matches!(change(&store, 1).await, Ok(Committed::Conflict(_))));
    assert_eq!(change(&store, 2).await, Ok(Committed::Done));
    store.close().await.expect("closes");
    assert_eq!(version(&start(&folder, &mood)).await, 3);
}

#[tokio::test]
async fn a_commit_that_was_refused_leaves_no_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mood = Arc::new(AtomicU8::new(OBEY));
    let store = start(&folder, &mood);
    assert_eq!(change(&store, 0).await, Ok(Committed::Done));
    mood.store(REFUSE, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(change(&store, 1).await, Err(Error::Unavailable(_))));
        assert_eq!(version(&store).await, 1);
    }
    mood.store(OBEY, Ordering::SeqCst);
    assert_eq!(change(&store, 1).await, Ok(Committed::Done));
    store.close().await.expect("closes");
    assert_eq!(version(&start(&folder, &mood)).await, 2);
}

#[tokio::test]
async fn a_panic_of_the_writer_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mood = Arc::new(AtomicU8::new(OBEY));
    let store = start(&folder, &mood);
    assert_eq!(change(&store, 0).await, Ok(Committed::Done));
    mood.store(PANIC, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(change(&store, 1).await, Err(Error::Unavailable(_))));
    }
    mood.store(OBEY, Ordering::SeqCst);
    assert_eq!(version(&store).await, 1, "what is known is still answered");
    assert!(store.close().await.is_err());
}

fn message() -> Notification {
    let at = Timestamp::from_millis(1_700_000_000_000);
    Notification {
        id: NotificationId::derive(at, &"A".parse().expect("a valid id"), &["a"]),
        shopper: "A".parse().expect("a valid id"),
        device: "phone".parse().expect("a valid id"),
        channel: Channel::Fcm,
        purpose: Purpose::Offer,
        campaign: "televisions".parse().expect("a valid id"),
        cause: Cause::Order { order: "o-1".parse().expect("a valid id"), state: OrderState::Shipped },
        content: Content::default(),
        collapse: "televisions".to_owned(),
        observed_at: at,
        decided_at: at,
        not_before: at,
        expires_at: at,
    }
}

#[test]
fn a_message_is_claimed_only_when_memory_knows_the_shopper_that_it_was_decided_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config { path: folder.path().join("store.redb"), cache_mib: 8, ..Config::default() };
    let file = File::open(&config).expect("opens");
    let transaction = file.begin().expect("begins");
    migration::prepare(&transaction).expect("is laid out");
    transaction.commit().expect("is durable");

    let (volatile, mut effects, mut sequence) = (Volatile::new(), Vec::new(), 0);
    let transaction = file.begin().expect("begins");
    let mut group = group::Group::begin(&volatile, &transaction, &mut effects, &mut sequence).expect("begins");
    let commit = Commit { changes: vec![replaced(0)], outbox: vec![message()], ..Commit::default() };
    assert_eq!(group.commit(prepare(commit).expect("encodes")), Ok(Committed::Done));
    group.finish().expect("is written");
    transaction.commit().expect("is durable");

    let now = message().not_before;
    let claim = || read::claim(&file, &volatile, (Channel::Fcm, now), 10, Duration::from_secs(60)).expect("is open");
    let early = claim();
    assert!(matches!(early, Claim::NothingUntil(None)), "its shopper is not known yet: {early:?}");
    volatile.apply(effects, &mut Extent::default());
    let due = claim();
    assert!(matches!(&due, Claim::Entries(entries) if entries.len() == 1), "{due:?}");
}
