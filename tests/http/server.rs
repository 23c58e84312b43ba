//! A real router on a real socket, with the store in memory and one owner of all shoppers behind the inbox.
//!
//! The owner keeps what it is told and decides nothing: what the engine makes of it is not the HTTP side's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parvis::{
    catalog::{self, Catalog, Sources},
    clock::Clock,
    delivery::{
        self, Couriers,
        transport::{self, Peer, Transport},
    },
    entropy::Entropy,
    fleet::{self, Fleet},
    http::{
        self as edge, Config, Services,
        auth::{KeyRecord, Keys, Scope, new_key},
        health::Readiness,
    },
    report::{self, Reporter},
    sandbox::{Options, Sandbox},
    shard::{Answer, Input, Job, Observed, Refusal, Shards},
    store::{Change, Commit, Committed, Durable, Store, memory::Memory},
};
use parvis_engine::{
    change, decide,
    id::{DeviceId, NotificationId, ShopperId},
    matching::{Transition, TransitionCause, TransitionKind},
    observation::{Edge, Observation, Rejected, Rejection},
    region::RegionKind,
    shopper::{Device, Interest, Shopper},
    time::Timestamp,
    world::{self, World},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a body of a request is made of.
pub(crate) type Sent = BoxBody<Bytes, std::convert::Infallible>;

/// When everything happens.
pub(crate) const NOW: &str = "2026-11-21T10:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// How a test wants its server.
pub(crate) struct Wanted {
    pub(crate) config: Config,
    pub(crate) inbox: usize,
    pub(crate) jwks: Option<String>,
    pub(crate) keys: Vec<KeyRecord>,
    pub(crate) stream: usize,
    /// Whether push services are configured.
    pub(crate) delivers: bool,
    /// Files of the catalog, by name.
    pub(crate) files: Vec<(&'static str, String)>,
    /// The apps and their push services; nothing is sent.
    pub(crate) delivery: delivery::Config,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            config: Config::default(),
            inbox: 64,
            jwks: None,
            keys: Vec::new(),
            stream: 16,
            delivers: false,
            files: Vec::new(),
            delivery: delivery::Config::default(),
        }
    }
}

/// The apps' couriers. They reach the sandbox, whose time is the machine's, or nobody.
fn couriers(config: &delivery::Config, folder: &Path, sandboxed: bool) -> Couriers {
    struct Nowhere;
    #[async_trait]
    impl Transport for Nowhere {
        async fn send(&self, _: Request<Bytes>, _: Peer) -> Result<delivery::Reply, transport::Error> {
            Err(transport::Error::Connect("nowhere".to_owned()))
        }
    }
    let (clock, transport): (_, Arc<dyn Transport>) = match sandboxed {
        true => (Clock::System, Arc::new(transport::Http::new(config, folder).expect("a configuration"))),
        false => (Clock::simulated(now()), Arc::new(Nowhere)),
    };
    let (entropy, webhooks) = (Entropy::seeded(1), Default::default());
    let built = delivery::build(config, folder, delivery::Tools { clock, entropy, transport, store: None, webhooks });
    built.unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Memory,
    pub(crate) reporter: Reporter,
    pub(crate) ready: watch::Sender<Readiness>,
    pub(crate) owner: Arc<Owner>,
    pub(crate) shutdown: CancellationToken,
    /// Places for handed-in messages.
    pub(crate) sending: Arc<Semaphore>,
    /// Push services, if they are configured; no message is ever sent to them.
    pub(crate) sandbox: Option<Sandbox>,
    keys: BTreeMap<Scope, String>,
    client: Client<HttpConnector, Sent>,
    _folder: TempDir,
}

/// Owns all shoppers.
pub(crate) struct Owner {
    /// Does nothing while this is true, but holds one input in its hand.
    pub(crate) held: watch::Sender<bool>,
    /// How many inputs it has taken out of the inbox.
    pub(crate) taken: AtomicUsize,
    /// How many inputs it has carried out.
    pub(crate) done: AtomicUsize,
    /// What devices reported, in the order of arrival.
    pub(crate) observed: std::sync::Mutex<Vec<(ShopperId, DeviceId, Vec<Observation>)>>,
    /// Says no to everything with this.
    pub(crate) refusal: std::sync::Mutex<Option<Refusal>>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(Wanted::default()).await
    }

    pub(crate) async fn start_with(wanted: Wanted) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in &wanted.files {
            std::fs::write(folder.path().join(name), text).expect("writable");
        }
        let store = Memory::new();
        let tasks = TaskTracker::new();
        let sources = Sources {
            folder: folder.path().to_owned(),
            config: catalog::Config::default(),
            settings: world::Settings::default(),
        };
        let (catalog, worker) = Catalog::open(sources, Arc::new(store.clone())).await.expect("an empty catalog");
        tasks.spawn(worker.run());
        let (inbox, jobs) = mpsc::channel(wanted.inbox);
        let owner = Arc::new(Owner {
            held: watch::Sender::new(false),
            taken: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            observed: std::sync::Mutex::default(),
            refusal: std::sync::Mutex::default(),
        });
        tasks.spawn(own(owner.clone(), store.clone(), jobs));
        let (keys, records) = keys(wanted.keys);
        let sandbox = match wanted.delivers {
            true => Some(Sandbox::start(Options::default()).await.expect("free ports on loopback")),
            false => None,
        };
        let delivery = sandbox.as_ref().map_or(wanted.delivery, |sandbox| sandboxed(folder.path(), sandbox));
        let sending = Arc::new(Semaphore::new(wanted.config.sending_max));
        let ready = watch::Sender::new(Readiness::Ready);
        let reporter = Reporter::new(&report::Config { stream_max: wanted.stream });
        let services = Services {
            shards: Shards::new(vec![inbox]),
            store: Arc::new(store.clone()),
            catalog,
            fleet: Fleet::new(fleet::Config::default()),
            couriers: Arc::new(couriers(&delivery, folder.path(), sandbox.is_some())),
            sending: sending.clone(),
            clock: Clock::simulated(now()),
            keys: Keys::new(records, wanted.jwks.as_deref(), None).expect("good keys"),
            reporter: reporter.clone(),
            webhooks: Default::default(),
            ready: ready.subscribe(),
            readers: Arc::new(Semaphore::new(wanted.config.readers_max)),
            backups: Arc::new(Semaphore::new(1)),
            config: wanted.config.clone(),
            node: "test".to_owned(),
            tasks: tasks.clone(),
            running: edge::idempotency::Running::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let (router, stop, config) = (edge::router(services), shutdown.clone(), wanted.config);
        tasks.spawn(async move { edge::serve(listener, router, &config, stop, &Clock::System).await });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Server { address, store, reporter, ready, owner, shutdown, sending, sandbox, keys, client, _folder: folder }
    }

    pub(crate) fn key(&self, scope: Scope) -> &str {
        &self.keys[&scope]
    }

    /// A request with the key of a scope and a JSON body.
    pub(crate) async fn call(&self, scope: Scope, method: Method, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(self.request(method, path).header("authorization", self.bearer(scope)), body).await
    }

    pub(crate) fn bearer(&self, scope: Scope) -> String {
        format!("Bearer {}", self.key(scope))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.address);
        Request::builder().method(method).uri(uri).header("content-type", "application/json")
    }

    pub(crate) async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
        Reply::read(self.open(request, Full::new(body.into()).boxed()).await).await
    }

    /// How many observations were counted as this.
    pub(crate) async fn count(&self, result: &str) -> u64 {
        let page = self.send(self.request(Method::GET, "/metrics"), Bytes::new()).await;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let name = format!("parvis_observations_total{{result=\"{result}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
    }

    /// A line of the metrics page.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page = self.send(self.request(Method::GET, "/metrics"), Bytes::new()).await;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |count| count.parse().expect("a count"))
    }

    /// How many observations were refused, for whatever reason.
    pub(crate) async fn refused(&self) -> u64 {
        let mut sum = 0;
        for reason in Rejection::ALL {
            sum += self.count(reason.name()).await;
        }
        sum
    }

    /// Sends a request and gives the answer as soon as its head is there.
    pub(crate) async fn open(&self, request: http::request::Builder, body: Sent) -> Response<Incoming> {
        self.client.request(request.body(body).expect("a request")).await.expect("an answer")
    }

    /// Registers a device as its own anonymous shopper.
    pub(crate) async fn register(&self, device: &str) {
        let path = format!("/v1/devices/{device}");
        let body = serde_json::json!({"platform": "ios"});
        assert_eq!(self.call(Scope::Ingest, Method::PUT, &path, &body).await.status, StatusCode::OK);
    }

    /// How many inputs the owner has carried out.
    pub(crate) fn carried_out(&self) -> usize {
        self.owner.done.load(SeqCst)
    }
}

/// A key for each scope, and what is known of these and of others.
fn keys(others: Vec<KeyRecord>) -> (BTreeMap<Scope, String>, Vec<KeyRecord>) {
    let (mut keys, mut records) = (BTreeMap::new(), others);
    for scope in Scope::ALL {
        let (key, record) = new_key(&Entropy::System, scope.name(), BTreeSet::from([scope]));
        keys.insert(scope, key);
        records.push(record);
    }
    (keys, records)
}

/// The sandbox's push services.
fn sandboxed(folder: &Path, sandbox: &Sandbox) -> delivery::Config {
    let credentials = sandbox.write_credentials(folder).expect("writable");
    let text = std::fs::read_to_string(credentials.fragment).expect("readable");
    let mut fragment: toml::Table = toml::from_str(&text).expect("a fragment of a configuration");
    fragment.remove("delivery").expect("a section").try_into().expect("a configuration")
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    async fn read(response: Response<Incoming>) -> Reply {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the whole body").to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The problem document, checked for its form.
    pub(crate) fn problem(&self, name: &str) -> Value {
        let document = self.json();
        assert_eq!(document["type"], format!("urn:parvis:problem:{name}"), "{document}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(document["status"], self.status.as_u16());
        for name in ["title", "detail"] {
            assert!(document[name].as_str().is_some_and(|text| !text.is_empty()), "{document}");
        }
        document
    }
}

async fn own(owner: Arc<Owner>, store: Memory, mut jobs: mpsc::Receiver<Job>) {
    let mut held = owner.held.subscribe();
    while let Some(Job { shopper, input, reply }) = jobs.recv().await {
        owner.taken.fetch_add(1, SeqCst);
        if held.wait_for(|held| !held).await.is_err() {
            return;
        }
        let refusal = owner.refusal.lock().expect("not poisoned").clone();
        let answer = match refusal {
            Some(refusal) => Err(refusal),
            None => {
                if let Input::Observed { device, observations } = &input {
                    let observed = (shopper.clone(), device.clone(), observations.clone());
                    owner.observed.lock().expect("not poisoned").push(observed);
                }
                Ok(carry_out(&store, shopper, input).await)
            }
        };
        owner.done.fetch_add(1, SeqCst);
        reply.send(answer);
    }
}

async fn carry_out(store: &Memory, id: ShopperId, input: Input) -> Answer {
    let record = store.load(std::slice::from_ref(&id)).await.expect("loads").remove(0);
    let mut shopper = Shopper::clone(&record.shopper);
    let mut answer = Answer::Done;
    let mut erased = false;
    match input {
        Input::Observed { device, observations } => {
            let mut observed = Observed { safe_radius_m: Some(430.7), ..Observed::default() };
            for observation in observations {
                observed.results.push(judge(&observation));
                observed.transitions.extend(cross(&device, &observation));
            }
            return Answer::Observed(observed);
        }
        Input::Register { device, registration, .. } => {
            shopper.devices.insert(device, as_device(registration));
        }
        Input::Deregister { device } => {
            shopper.devices.remove(&device);
        }
        Input::Signal(signal) => {
            let weight = shopper.interests.get(&signal.interest).map_or(0.0, |known| known.weight) + signal.weight;
            shopper.interests.insert(signal.interest, Interest { weight, at: signal.at, signals: Vec::new() });
        }
        Input::Profile(profile) => shopper.profile = profile,
        Input::Order { order, event } => {
            let id = NotificationId::derive(event.at, &shopper.id, &[order.as_str(), event.event.as_str()]);
            let mut owner = Arc::new(shopper);
            let taken = decide::order(&World::default(), &mut owner, &order, &event, event.at);
            answer = Answer::Order { change: taken.change, notifications: vec![id] };
            shopper = Arc::unwrap_or_clone(owner);
        }
        Input::Live { device, report } => {
            answer = Answer::Live(change::live::report(&mut shopper, &device, &report, now()).map(drop));
        }
        Input::Erase => erased = true,
        Input::Wake | Input::Unregistered { .. } => {}
    }
    let state = if erased { Durable::Erased } else { Durable::Replaced { shopper: Arc::new(shopper), wake: None } };
    let change = Change { version: record.version, id, state, tracks: Default::default() };
    let commit = Commit { changes: vec![change], ..Commit::default() };
    assert_eq!(store.commit(commit).await.expect("commits"), Committed::Done);
    answer
}

fn judge(observation: &Observation) -> Result<(), Rejected> {
    match observation {
        Observation::Scan(scan) if scan.tag == "unknown" => {
            Err(Rejected { reason: Rejection::UnknownTag, detail: "no tag has this value".to_owned() })
        }
        Observation::Fix(_) | Observation::Sighting(_) | Observation::Crossing(_) | Observation::Scan(_) => Ok(()),
    }
}

fn cross(device: &DeviceId, observation: &Observation) -> Option<Transition> {
    let Observation::Crossing(crossing) = observation else { return None };
    let kind = match crossing.edge {
        Edge::Enter => TransitionKind::Enter,
        Edge::Exit => TransitionKind::Exit,
    };
    Some(transition(kind, device.as_str(), crossing.region.as_str(), crossing.at))
}

/// A transition as the engine would tell it.
pub(crate) fn transition(kind: TransitionKind, device: &str, region: &str, at: Timestamp) -> Transition {
    Transition {
        kind,
        device: device.parse().expect("an id"),
        region: region.parse().expect("an id"),
        region_kind: RegionKind::Geofence,
        store: None,
        at,
        received_at: at,
        confidence: 1.0,
        cause: TransitionCause::Crossing,
        entered_at: None,
        replayed: false,
    }
}

fn as_device(registration: parvis_engine::change::Registration) -> Device {
    Device {
        platform: registration.platform.into(),
        app: registration.app.map(Box::new),
        target: registration.target,
        locale: registration.locale.map(Into::into),
        time_zone: registration.time_zone.map(Into::into),
        preferred: registration.preferred,
        registered_at: now(),
        presences: Vec::new(),
        left_at: None,
        linked_until: registration.link.and_then(|link| link.until).map(Box::new),
        live: None,
    }
}

/// The longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
