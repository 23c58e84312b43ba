//! Stores to be asked, and things to put into them.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use parvis::{
    report::{Event, What},
    store::{
        Change, Claim, Commit, Committed, Config, Durable, End, Entry, Kind, Queue, Record, Settlement, Store, memory,
        redis::{self, Pace, Redis, Topology},
    },
};
use parvis_engine::{
    id::{AppId, DeviceId, NotificationId, OrderId, RegionId, ShopperId},
    matching::TransitionKind,
    notification::{Body, Cause, Channel, Content, Milestone, Notification, Origin, Purpose, Recipient},
    order::{Order, OrderState},
    shopper::{Attribute, Device, PushTarget, Shopper, Track},
    time::Timestamp,
};

use crate::server::{Cluster, Server};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// One store under test.
pub(crate) struct Rig {
    engine: Engine,
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
}

enum Engine {
    Memory(memory::Memory),
    Embedded,
    Reopened,
    Redis(Box<Shared>),
}

/// Redis, and how it is asked.
struct Shared {
    servers: Arc<Servers>,
    config: redis::Config,
    pace: Pace,
    /// Another node on the same servers, which takes turns with the first wherever a test says [`Rig::pause`].
    other: Option<Arc<dyn Store>>,
}

/// They end when nobody uses them any more.
enum Servers {
    One(Box<Server>),
    Cluster(Cluster),
}

impl Rig {
    pub(crate) fn memory() -> Rig {
        let memory = memory::Memory::new();
        let store = Arc::new(memory.clone());
        Rig { engine: Engine::Memory(memory), folder: folder(), store }
    }

    pub(crate) async fn embedded() -> Rig {
        let folder = folder();
        let store = open(folder.path()).await;
        Rig { engine: Engine::Embedded, folder, store }
    }

    /// An embedded store that is closed and opened again wherever a test says [`Rig::pause`].
    pub(crate) async fn reopened() -> Rig {
        Rig { engine: Engine::Reopened, ..Rig::embedded().await }
    }

    pub(crate) async fn redis() -> Rig {
        Rig::on(Servers::One(Box::new(Server::start(&[]).await)), Pace::default()).await
    }

    /// Two nodes on one server, which ask anew each time.
    pub(crate) async fn by_turns() -> Rig {
        let pace = Pace { recheck: Duration::ZERO, ..Pace::default() };
        let mut rig = Rig::on(Servers::One(Box::new(Server::start(&[]).await)), pace).await;
        if let Engine::Redis(shared) = &mut rig.engine {
            shared.other = Some(shared.open().await);
        }
        rig
    }

    pub(crate) async fn cluster() -> Rig {
        Rig::on(Servers::Cluster(Cluster::start(3, &[]).await), Pace::default()).await
    }

    async fn on(servers: Servers, pace: Pace) -> Rig {
        let (urls, topology) = match &servers {
            Servers::One(server) => (vec![server.url()], Topology::Single),
            Servers::Cluster(cluster) => (cluster.urls(), Topology::Cluster),
        };
        let config = redis::Config { urls, topology, ..redis::Config::default() };
        let shared = Shared { servers: Arc::new(servers), config, pace, other: None };
        Rig { folder: folder(), store: shared.open().await, engine: Engine::Redis(Box::new(shared)) }
    }

    /// A store on the same servers, with keys of its own.
    pub(crate) async fn beside(&self, prefix: &str) -> Rig {
        let Engine::Redis(shared) = &self.engine else { panic!("it has no servers") };
        let Shared { servers, config, pace, .. } = &**shared;
        let config = redis::Config { prefix: format!("{prefix}:"), ..config.clone() };
        let shared = Shared { servers: servers.clone(), config, pace: *pace, other: None };
        Rig { folder: folder(), store: shared.open().await, engine: Engine::Redis(Box::new(shared)) }
    }

    /// Whether nobody else can write, so that the store knows when something will be due.
    pub(crate) fn is_exclusive(&self) -> bool {
        !matches!(self.engine, Engine::Redis(_))
    }

    /// Until when a store waits at a second, if nothing is due before this time: shared with others, it asks again.
    pub(crate) fn until(&self, second: i64, due: Option<Timestamp>) -> Option<Timestamp> {
        match &self.engine {
            Engine::Redis(shared) => Some(at(second).plus(shared.pace.recheck)).into_iter().chain(due).min(),
            Engine::Memory(_) | Engine::Embedded | Engine::Reopened => due,
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn shared(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Why the embedded store can't be opened to be worked with, if it can't.
    pub(crate) async fn try_open(&self) -> Option<parvis::store::Error> {
        parvis::store::open(config(self.folder.path())).await.err()
    }

    /// Opens the embedded store again although an import into it has not ended.
    pub(crate) async fn open_to_import(&mut self) {
        self.store = parvis::store::open_to_import(config(self.folder.path())).await.expect("opens");
    }

    /// A place where nothing volatile is at stake.
    pub(crate) async fn pause(&mut self) {
        match &mut self.engine {
            Engine::Redis(shared) => {
                if let Some(other) = &mut shared.other {
                    std::mem::swap(other, &mut self.store);
                }
            }
            Engine::Reopened => self.restart().await,
            Engine::Memory(_) | Engine::Embedded => {}
        }
    }

    /// Ends the process, as far as the store can tell.
    pub(crate) async fn restart(&mut self) {
        match &self.engine {
            Engine::Memory(memory) => memory.crash(),
            Engine::Embedded | Engine::Reopened => {
                self.store.close().await.expect("closes");
                self.store = open(self.folder.path()).await;
            }
            Engine::Redis(shared) => {
                self.store.close().await.expect("closes");
                self.store = shared.open().await;
            }
        }
    }
}

impl Shared {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Redis::open_at_pace(&self.config, self.pace).await.expect("opens"))
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) fn config(folder: &Path) -> Config {
    Config { kind: Kind::Embedded, path: folder.join("store.redb"), cache_mib: 16, ..Config::default() }
}

pub(crate) async fn open(folder: &Path) -> Arc<dyn Store> {
    parvis::store::open(config(folder)).await.expect("opens")
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
}

pub(crate) fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

pub(crate) fn shopper(id: &str) -> Shopper {
    Shopper::new(name(id))
}

pub(crate) fn with_device(id: &str, device: &str) -> Shopper {
    let mut shopper = shopper(id);
    let target = PushTarget::Fcm { token: Some("token".into()), fid: None };
    let device_state = Device {
        platform: "android".into(),
        app: None,
        target: Some(target),
        locale: None,
        time_zone: None,
        preferred: false,
        registered_at: at(0),
        presences: Vec::new(),
        left_at: None,
        linked_until: None,
        live: None,
    };
    shopper.devices.insert(name(device), device_state);
    shopper
}

pub(crate) fn order(id: &str) -> Order {
    Order {
        id: name(id),
        state: OrderState::Registered,
        at: at(0),
        fulfilment: None,
        store: None,
        eta: Some(at(3_600)),
        lines: vec![serde_json::json!({"sku": "tv", "count": 1, "price": 499.5})],
        adviser: None,
        events: BTreeMap::from([(name("e-1"), (OrderState::Registered, at(0)))]),
        notifications: BTreeMap::new(),
        newest: None,
        sources: BTreeMap::new(),
        told: BTreeMap::new(),
        arrived: None,
    }
}

/// A shopper with a number that says how often it was changed.
pub(crate) fn counted(id: &str, count: i64) -> Shopper {
    let mut shopper = shopper(id);
    shopper.profile.attributes.insert("count".to_owned(), Attribute::Number(count as f64));
    shopper
}

pub(crate) fn count_of(record: &Record) -> i64 {
    match record.shopper.profile.attributes.get("count") {
        Some(Attribute::Number(count)) => *count as i64,
        Some(Attribute::Flag(_) | Attribute::Text(_)) | None => 0,
    }
}

pub(crate) fn replaced(version: u64, shopper: Shopper, wake: Option<Timestamp>) -> Change {
    let id = shopper.id.clone();
    let state = Durable::Replaced { shopper: Arc::new(shopper), wake };
    Change { version, id, state, tracks: Default::default() }
}

pub(crate) fn erased(version: u64, id: &str) -> Change {
    Change { version, id: name(id), state: Durable::Erased, tracks: Default::default() }
}

pub(crate) fn tracked(version: u64, id: &str, radius_m: f64) -> Change {
    let center = parvis_engine::observation::Position { lat: 48.8, lon: 2.3 };
    let calm = parvis_engine::shopper::Calm { center, radius_m, generation: 1 };
    let track = Track { calm: Some(calm), ..Track::default() };
    Change { version, id: name(id), state: Durable::Unchanged, tracks: [(name("phone"), track)].into_iter().collect() }
}

/// The message number `n`, due at that second.
pub(crate) fn message(n: i64, shopper: &str, channel: Channel) -> Notification {
    Notification {
        id: NotificationId::derive(at(n), &name(shopper), &[shopper]),
        shopper: name(shopper),
        recipient: Recipient::Device(name("phone")),
        channel,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: name("televisions"),
            purpose: Purpose::Offer,
            cause: Cause::Transition { transition: TransitionKind::Enter, region: name::<RegionId>("shop") },
        },
        replays: None,
        body: Body::Content(Content { title: format!("Message {n}"), ..Content::default() }),
        collapse: "televisions".to_owned(),
        observed_at: at(n),
        decided_at: at(n),
        not_before: at(n),
        expires_at: at(n + 3_600),
    }
}

/// The same for another queue: of one app or another, an offer or news about an order, by its number.
pub(crate) fn varied(n: i64, shopper: &str) -> Notification {
    let mut message = message(n, shopper, Channel::Fcm);
    if let Origin::Campaign { purpose, .. } = &mut message.origin
        && n % 3 == 0
    {
        *purpose = Purpose::Order;
    }
    if n % 2 == 0 {
        message.app = name("loyalty");
    }
    message
}

/// Every queue that [`varied`] messages wait in.
pub(crate) fn queues() -> [Queue; 4] {
    [0, 1, 2, 3].map(|n| Queue::of(&varied(n, "A")))
}

/// What follows from a message, on another channel.
pub(crate) fn follower(n: i64, shopper: &str) -> Notification {
    let id = NotificationId::derive(at(n), &name(shopper), &["then"]);
    Notification { id, channel: Channel::WebPush, ..message(n, shopper, Channel::Fcm) }
}

/// Something that happened to a shopper and was recorded at a second.
pub(crate) fn event(second: i64, shopper: &str) -> Event {
    let what = What::Order { order: name::<OrderId>("o-1"), state: OrderState::Shipped };
    Event { at: at(second - 1), recorded_at: at(second), shopper: name(shopper), what }
}

pub(crate) async fn commit(store: &dyn Store, changes: Vec<Change>) -> Committed {
    store.commit(Commit { changes, ..Commit::default() }).await.expect("available")
}

/// Commits shoppers who change together.
pub(crate) async fn bound(store: &dyn Store, changes: Vec<Change>) -> Committed {
    let bonds = vec![changes.iter().map(|change| change.id.clone()).collect()];
    store.commit(Commit { changes, bonds, ..Commit::default() }).await.expect("available")
}

pub(crate) async fn send(store: &dyn Store, outbox: Vec<Notification>) {
    let done = store.commit(Commit { outbox, ..Commit::default() }).await;
    assert_eq!(done, Ok(Committed::Done));
}

pub(crate) async fn load(store: &dyn Store, id: &str) -> Record {
    store.load(&[name(id)]).await.expect("available").pop().expect("one record for one id")
}

pub(crate) async fn owner(store: &dyn Store, device: &str) -> Option<ShopperId> {
    store.owners(&[name::<DeviceId>(device)]).await.expect("available").pop().expect("one owner for one device")
}

/// What is due at a second; empty if nothing is.
pub(crate) async fn claim(store: &dyn Store, second: i64, limit: usize) -> Vec<Entry> {
    claim_from(store, Queue::of(&message(0, "A", Channel::Fcm)), second, limit).await
}

/// The same of a queue.
pub(crate) async fn claim_from(store: &dyn Store, queue: Queue, second: i64, limit: usize) -> Vec<Entry> {
    match store.claim(queue, at(second), limit, LEASE).await.expect("available") {
        Claim::Entries(entries) => {
            assert!(entries.iter().all(|entry| Queue::of(&entry.notification) == queue), "of {queue:?}: {entries:?}");
            entries
        }
        Claim::NothingUntil(_) => Vec::new(),
    }
}

/// The same of every queue that [`varied`] messages wait in, from each up to a limit.
pub(crate) async fn claim_all(store: &dyn Store, second: i64, limit: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    for queue in queues() {
        entries.extend(claim_from(store, queue, second, limit).await);
    }
    entries
}

/// The time before which nothing is due.
pub(crate) async fn nothing_until(store: &dyn Store, second: i64) -> Option<Timestamp> {
    let queue = Queue::of(&message(0, "A", Channel::Fcm));
    match store.claim(queue, at(second), 10, LEASE).await.expect("available") {
        Claim::Entries(entries) => panic!("expected nothing, got {entries:?}"),
        Claim::NothingUntil(until) => until,
    }
}

pub(crate) fn settled(entry: &Entry, second: i64, end: End) -> Settlement {
    settled_then(entry, second, end, Vec::new())
}

/// A settlement from which something follows.
pub(crate) fn settled_then(entry: &Entry, second: i64, end: End, then: Vec<Notification>) -> Settlement {
    let queue = Queue::of(&entry.notification);
    let Notification { id, shopper, .. } = entry.notification.clone();
    Settlement { shopper, queue, id, lease: entry.lease, at: at(second), end, then }
}

pub(crate) fn accepted(attempts: u32) -> End {
    End::Terminal { milestone: Milestone::Accepted, detail: None, attempts }
}

pub(crate) fn dead(attempts: u32) -> End {
    End::Terminal { milestone: Milestone::Dead, detail: Some("BadTopic".to_owned()), attempts }
}

pub(crate) fn again(second: i64, attempts: u32) -> End {
    End::Again { at: at(second), attempts, detail: Some("slow down".to_owned()) }
}
