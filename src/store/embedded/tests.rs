//! Disks that fail and disks that lose power, and the moment between the file and memory: only inside the store can these
//! be brought about.

mod disk;
mod failure;
mod load;
mod power;

use std::io;

use parvis_engine::{
    id::AppId,
    notification::{Body, Cause, Content, Notification, Origin, Purpose, Recipient},
    order::OrderState,
    shopper::Shopper,
};

use self::disk::{Damage, Disk, Fault};
use super::*;
use crate::store::{Change, state::State};

fn start(disk: &Disk) -> Result<Embedded, Error> {
    start_with(disk, 8)
}

fn start_with(disk: &Disk, cache_mib: usize) -> Result<Embedded, Error> {
    let config = Config { cache_mib, ..Config::default() };
    Embedded::start(&config, File::open_on(&config, Box::new(disk.clone()))?)
}

fn begin(disk: &Disk) -> Embedded {
    start(disk).expect("starts")
}

/// The next call of a kind fails, and this is what it has done.
fn fault(call: disk::Call, damage: Damage) -> Fault {
    Fault { call, error: io::ErrorKind::Other, after: 0, times: 1, damage }
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
async fn a_panic_of_the_writer_leaves_nobody_waiting() {
    let disk = Disk::new();
    let store = begin(&disk);
    // The file grows at first, which is synchronised on its own.
    for version in 0..4 {
        assert_eq!(change(&store, version).await, Ok(Committed::Done));
    }
    disk.fail(fault(disk::Call::Sync, Damage::Panic));
    for _ in 0..2 {
        assert!(matches!(change(&store, 4).await, Err(Error::Unavailable(_))));
    }
    assert_eq!(version(&store).await, 4, "what is known is still answered");
    assert!(store.close().await.is_err());
}

#[tokio::test]
async fn any_number_of_readers_finds_what_was_written() {
    let store = begin(&Disk::new());
    for n in 0..120 {
        load::step(&store, n).await.expect("is taken");
    }
    let seen = |state: &State| {
        let all = state.all();
        let devices = all.iter().flat_map(|(_, _, shopper)| shopper.devices.keys());
        let orders = all.iter().flat_map(|(_, _, shopper)| shopper.orders.keys());
        let owners: Vec<_> = devices.map(|id| state.owner(id)).chain(orders.map(|id| state.order_owner(id))).collect();
        format!("{all:?} {owners:?} {:?}", state.due_wakes(Timestamp::MAX, 100))
    };
    // One snapshot, for the writer goes on cleaning.
    let read = store.file.read(|transaction| {
        let recover = |readers| {
            let volatile = Volatile::new();
            index(transaction, &volatile)?;
            let extent = log::recover_with(readers, transaction, &volatile)?;
            assert_eq!(seen(&volatile.state), seen(&store.volatile.state), "{readers} readers");
            Ok(extent)
        };
        [1, 2, 3, 7].into_iter().map(recover).collect::<Result<Vec<_>, Error>>()
    });
    let extents = read.expect("is read");
    assert!(extents[0].total > extents[0].live, "some records are worthless");
    assert!(extents.iter().all(|extent| *extent == extents[0]));
}

fn message() -> Notification {
    let at = Timestamp::from_millis(1_700_000_000_000);
    Notification {
        id: NotificationId::derive(at, &"A".parse().expect("a valid id"), &["a"]),
        shopper: "A".parse().expect("a valid id"),
        recipient: Recipient::Device("phone".parse().expect("a valid id")),
        channel: Channel::Fcm,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: "televisions".parse().expect("a valid id"),
            purpose: Purpose::Offer,
            cause: Cause::Order { order: "o-1".parse().expect("a valid id"), state: OrderState::Shipped },
        },
        replays: None,
        body: Body::Content(Content::default()),
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
    assert_eq!(group.commit(Prepared::encode(commit).expect("encodes")), Ok(Committed::Done));
    group.finish().expect("is written");
    transaction.commit().expect("is durable");

    let now = message().not_before;
    let claim =
        || read::claim(&file, &volatile, (Queue::of(&message()), now), 10, Duration::from_secs(60)).expect("is open");
    let early = claim();
    assert!(matches!(early, Claim::NothingUntil(None)), "its shopper is not known yet: {early:?}");
    volatile.apply(effects, &mut Extent::default());
    let due = claim();
    assert!(matches!(&due, Claim::Entries(entries) if entries.len() == 1), "{due:?}");
}
