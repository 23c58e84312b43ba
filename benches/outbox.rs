//! What durability costs: commits from several committers, and a message's way through the outbox, beside the disk's own
//! price for the same bytes.
//!
//! Items are shoppers or messages. Each committer waits for its commit, as a shard does.

#![allow(clippy::disallowed_methods, reason = "committers are waited for where they are spawned")]

use std::{collections::BTreeMap, fs::File, io::Write, sync::Arc, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use parvis::{
    report::{Event, What},
    store::{Change, Claim, Commit, Committed, Config, Durable, End, Settlement, Store},
};
use parvis_engine::{
    id::{NotificationId, RegionId, ShopperId},
    matching::{Transition, TransitionCause, TransitionKind},
    notification::{Cause, Channel, Content, Milestone, Notification, Purpose},
    region::RegionKind,
    shopper::{Consent, Device, Interest, Presence, PresenceState, PushTarget, Shopper, Witness},
    time::Timestamp,
};
use tokio::runtime::Runtime;

/// Commits of each committer in one sample.
const COMMITS: usize = 8;
/// Committers and changed shoppers a commit.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (4, 1), (8, 1), (1, 100), (4, 100), (8, 100), (1, 500), (4, 500), (8, 500)];
/// Shoppers a committer owns; so many that consecutive commits change different ones.
const OWNED: usize = 5_000;

/// The daemon's: what is measured here allocates much.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// A store with its runtime and folder.
struct Bed {
    runtime: Runtime,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Bed {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = Runtime::new().expect("a runtime");
        let config = Config { path: folder.path().join("store.redb"), ..Config::default() };
        let store = runtime.block_on(parvis::store::open(config)).expect("opens");
        Bed { runtime, store, _folder: folder }
    }
}

#[divan::bench(args = SHAPES, sample_count = 25, sample_size = 1)]
fn commits(bencher: Bencher<'_, '_>, (committers, batch): (usize, usize)) {
    let bed = Bed::new();
    let mut round = 0;
    bencher.counter(ItemsCount::new(committers * batch * COMMITS)).bench_local(|| {
        round += 1;
        run(&bed, committers, batch, round);
    });
}

/// The same bytes, appended to a file and synchronised once a commit: what no store can beat without sharing.
#[divan::bench(args = [1, 100, 500], sample_count = 25, sample_size = 1)]
fn raw_writes(bencher: Bencher<'_, '_>, batch: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = File::create(folder.path().join("raw")).expect("a file");
    let shopper = rmp_serde::to_vec_named(&shopper(name("C-0-0"), 0, at(0))).expect("encodes");
    let transition = rmp_serde::to_vec_named(&event(&format!("C-{}", 1), at(0))).expect("encodes");
    let bytes = vec![7_u8; (shopper.len() + transition.len()) * batch];
    bencher.counter(ItemsCount::new(batch * COMMITS)).bench_local(|| {
        for _ in 0..COMMITS {
            file.write_all(&bytes).expect("writes");
            file.sync_data().expect("synchronises");
        }
    });
}

#[divan::bench(args = [100, 500], sample_count = 25, sample_size = 1)]
fn insert_claim_settle(bencher: Bencher<'_, '_>, batch: usize) {
    let bed = Bed::new();
    let mut round = 0;
    bencher.counter(ItemsCount::new(batch * COMMITS)).bench_local(|| {
        bed.runtime.block_on(async {
            for _ in 0..COMMITS {
                round += 1;
                send_one_round(&*bed.store, batch, round).await;
            }
        });
    });
}

/// The same with 200,000 entries that wait for later.
#[divan::bench(args = [500], sample_count = 25, sample_size = 1)]
fn insert_claim_settle_beside_a_backlog(bencher: Bencher<'_, '_>, batch: usize) {
    let bed = Bed::new();
    bed.runtime.block_on(async {
        for chunk in 0..200 {
            let mut outbox: Vec<_> = (0..1_000).map(|n| message(1_000_000 + chunk, n)).collect();
            outbox.iter_mut().for_each(|message| message.not_before = Timestamp::MAX);
            bed.store.commit(Commit { outbox, ..Commit::default() }).await.expect("available");
        }
    });
    let mut round = 0;
    bencher.counter(ItemsCount::new(batch * COMMITS)).bench_local(|| {
        bed.runtime.block_on(async {
            for _ in 0..COMMITS {
                round += 1;
                send_one_round(&*bed.store, batch, round).await;
            }
        });
    });
}

fn run(bed: &Bed, committers: usize, batch: usize, round: usize) {
    bed.runtime.block_on(async {
        let tasks: Vec<_> = (0..committers)
            .map(|committer| {
                tokio_util::task::TaskTracker::new().spawn(commit_some(bed.store.clone(), committer, batch, round))
            })
            .collect();
        for task in tasks {
            task.await.expect("commits");
        }
    });
}

async fn commit_some(store: Arc<dyn Store>, committer: usize, batch: usize, round: usize) {
    for turn in 0..COMMITS {
        let first = (round * COMMITS + turn) * batch;
        let ids: Vec<_> = (first..first + batch)
            .map(|n| format!("C-{committer}-{}", n % OWNED).parse().expect("a valid id"))
            .collect();
        let now = at(i64::try_from(round * COMMITS + turn).expect("small"));
        let mut commit = Commit::default();
        for record in store.load(&ids).await.expect("available") {
            let next = shopper(record.shopper.id.clone(), record.version, now);
            commit.events.push(event(next.id.as_str(), now));
            commit.changes.push(Change {
                version: record.version,
                id: next.id.clone(),
                state: Durable::Replaced { shopper: Arc::new(next), wake: Some(now.plus(Duration::from_secs(1_800))) },
                tracks: Default::default(),
            });
        }
        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
    }
}

async fn send_one_round(store: &dyn Store, batch: usize, round: i64) {
    let outbox = (0..i64::try_from(batch).expect("small")).map(|n| message(round, n)).collect();
    store.commit(Commit { outbox, ..Commit::default() }).await.expect("available");
    let claim = store.claim(Channel::Fcm, at(round), batch, Duration::from_secs(30)).await.expect("available");
    let Claim::Entries(entries) = claim else { panic!("what was committed is due") };
    assert_eq!(entries.len(), batch);
    let end = End::Terminal { milestone: Milestone::Accepted, detail: None, attempts: 1 };
    let settle = |entry: parvis::store::Entry| Settlement {
        shopper: entry.notification.shopper,
        channel: entry.notification.channel,
        id: entry.notification.id,
        lease: entry.lease,
        at: at(round),
        end: end.clone(),
    };
    store.settle(entries.into_iter().map(settle).collect()).await.expect("available");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
}

fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// An ordinary shopper: one phone inside one shop, two consents, two interests.
fn shopper(id: ShopperId, version: u64, now: Timestamp) -> Shopper {
    let phone = name(&format!("phone-of-{id}"));
    let mut shopper = Shopper::new(id);
    shopper.profile.locale = Some("fr-FR".into());
    let consent = || Some(Consent { granted: true, at: at(0), text: Some("2026-1".into()) });
    (shopper.profile.consents.location, shopper.profile.consents.offers) = (consent(), consent());
    for interest in ["television", "sofa"] {
        shopper
            .interests
            .insert(interest.to_owned(), Interest { weight: 0.5 + version as f64, at: at(0), signals: Vec::new() });
    }
    let presence = Presence {
        region: name("shop-117"),
        state: PresenceState::Inside,
        since: now,
        seen: now,
        dwelled: false,
        witness: Witness::Position,
    };
    let device = Device {
        platform: "android".into(),
        target: Some(PushTarget::Fcm { token: Some("f".repeat(140)), fid: None }),
        locale: None,
        time_zone: None,
        preferred: true,
        registered_at: at(0),
        presences: vec![presence],
        left_at: None,
        linked_until: None,
    };
    shopper.devices.insert(phone, device);
    shopper
}

fn event(shopper: &str, now: Timestamp) -> Event {
    let transition = Transition {
        kind: TransitionKind::Enter,
        device: name("phone"),
        region: name("shop-117"),
        region_kind: RegionKind::Geofence,
        store: None,
        at: now,
        received_at: now,
        confidence: 0.93,
        cause: TransitionCause::Fix,
        entered_at: Some(now),
        replayed: false,
    };
    Event { at: now, recorded_at: now, shopper: name(shopper), what: What::Transition(transition) }
}

fn message(round: i64, n: i64) -> Notification {
    let shopper = format!("C-{n}");
    Notification {
        id: NotificationId::derive(at(round), &name(&shopper), &["televisions", &shopper]),
        shopper: name(&shopper),
        device: name("phone"),
        channel: Channel::Fcm,
        purpose: Purpose::Offer,
        campaign: name("televisions"),
        cause: Cause::Transition { transition: TransitionKind::Enter, region: name::<RegionId>("shop-117") },
        content: Content {
            title: "Votre prochain téléviseur".to_owned(),
            body: "Les modèles que vous regardiez hier sont en magasin, à deux pas d'ici.".to_owned(),
            deep_link: Some("https://shop.example/televisions".to_owned()),
            data: BTreeMap::new(),
            locale: "fr-FR".to_owned(),
        },
        collapse: "televisions".to_owned(),
        observed_at: at(round),
        decided_at: at(round),
        not_before: at(round),
        expires_at: at(round + 3_600),
    }
}
