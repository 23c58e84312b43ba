//! A message's way through the outbox: committed, claimed, settled, each durable before the next. Items are messages.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use parvis::store::{Claim, Commit, Config, End, Queue, Settlement, Store};
use parvis_engine::{
    id::{AppId, NotificationId, RegionId},
    matching::TransitionKind,
    notification::{Body, Cause, Channel, Content, Milestone, Notification, Origin, Purpose, Recipient},
    time::Timestamp,
};
use tokio::runtime::Runtime;

/// Rounds in one sample.
const ROUNDS: usize = 8;

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

#[divan::bench(args = [100, 500], sample_count = 25, sample_size = 1)]
fn insert_claim_settle(bencher: Bencher<'_, '_>, batch: usize) {
    let bed = Bed::new();
    let mut round = 0;
    bencher.counter(ItemsCount::new(batch * ROUNDS)).bench_local(|| {
        bed.runtime.block_on(async {
            for _ in 0..ROUNDS {
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
    bencher.counter(ItemsCount::new(batch * ROUNDS)).bench_local(|| {
        bed.runtime.block_on(async {
            for _ in 0..ROUNDS {
                round += 1;
                send_one_round(&*bed.store, batch, round).await;
            }
        });
    });
}

async fn send_one_round(store: &dyn Store, batch: usize, round: i64) {
    let outbox = (0..i64::try_from(batch).expect("small")).map(|n| message(round, n)).collect();
    store.commit(Commit { outbox, ..Commit::default() }).await.expect("available");
    let queue = Queue::new(Channel::Fcm, AppId::default().as_str(), Some(Purpose::Offer));
    let claim = store.claim(queue, at(round), batch, Duration::from_secs(30)).await.expect("available");
    let Claim::Entries(entries) = claim else { panic!("what was committed is due") };
    assert_eq!(entries.len(), batch);
    let end = End::Terminal { milestone: Milestone::Accepted, detail: None, attempts: 1 };
    let settle = |entry: parvis::store::Entry| Settlement {
        shopper: entry.notification.shopper,
        queue,
        id: entry.notification.id,
        lease: entry.lease,
        at: at(round),
        end: end.clone(),
        then: Vec::new(),
    };
    store.settle(entries.into_iter().map(settle).collect()).await.expect("available");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
}

fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

fn message(round: i64, n: i64) -> Notification {
    let shopper = format!("C-{n}");
    Notification {
        id: NotificationId::derive(at(round), &name(&shopper), &["televisions", &shopper]),
        shopper: name(&shopper),
        recipient: Recipient::Device(name("phone")),
        channel: Channel::Fcm,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: name("televisions"),
            purpose: Purpose::Offer,
            cause: Cause::Transition { transition: TransitionKind::Enter, region: name::<RegionId>("shop-117") },
        },
        replays: None,
        body: Body::Content(Content {
            title: "Votre prochain téléviseur".to_owned(),
            body: "Les modèles que vous regardiez hier sont en magasin, à deux pas d'ici.".to_owned(),
            deep_link: Some("https://shop.example/televisions".to_owned()),
            data: BTreeMap::new(),
            locale: "fr-FR".to_owned(),
        }),
        collapse: "televisions".to_owned(),
        observed_at: at(round),
        decided_at: at(round),
        not_before: at(round),
        expires_at: at(round + 3_600),
    }
}
