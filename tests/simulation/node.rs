//! One node: the real shards, lanes, settlers and waker over a simulated store and network. It ends as it is
//! told, or goes no further once its power is cut.

use std::{
    fs,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use parvis::{
    catalog::{self, Catalog, Kind, Refusal, Sources},
    clock::Clock,
    delivery::{self, Couriers, Route, apns, breaker, fcm, transport::Transport, webpush},
    entropy::Entropy,
    lane::{self, Lane, budget},
    pipeline,
    report::{self, Reporter},
    shard::{self, Shard, Shards},
    store::Store,
    waker,
};
use parvis_engine::{id::AppId, notification::Channel, retry::Patience};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::city;

/// What a node stands on.
pub(crate) struct Ground {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

/// A node at work.
pub(crate) struct Node {
    pub(crate) shards: Shards,
    pub(crate) reporter: Reporter,
    pub(crate) control: Control,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A node's catalog, and the worker that changes it. The worker compiles on threads of its own, so it is driven aside,
/// while the time of the simulation stands still: no thread's speed decides what comes first.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) catalog: Catalog,
    worker: Arc<Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Control {
    fn open(store: &Arc<dyn Store>) -> Control {
        let config = catalog::Config::default();
        let sources = Sources { folder: city::folder(), config, settings: city::settings() };
        let opened = aside(Catalog::open(sources, Arc::clone(store)));
        let (catalog, worker) = opened.unwrap_or_else(|error| panic!("{error}"));
        Control { catalog, worker: Arc::new(Mutex::new(Box::pin(worker.run()))) }
    }

    /// Changes the catalog; false if the node does not take it now.
    pub(crate) fn put(&self, kind: Kind, object: Value) -> bool {
        match self.drive(self.catalog.put(kind, vec![object])) {
            Ok(()) => true,
            Err(Refusal::Unavailable(_)) => false,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Takes over what others have put, up to this generation.
    pub(crate) fn follow(&self, generation: u64) {
        let mut changed = self.catalog.changed();
        self.drive(async {
            while self.catalog.standing().stored < generation {
                changed.changed().await.expect("the worker is there");
            }
        });
    }

    /// Lets the worker work until this is done.
    fn drive<T: Send>(&self, asked: impl Future<Output = T> + Send) -> T {
        let mut held = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = &mut *held;
        aside(async move {
            tokio::select! { biased;
                done = asked => done,
                () = worker.as_mut() => panic!("the worker ends after its catalog"),
            }
        })
    }
}

/// Runs this on a thread and a runtime of its own, and waits for it.
fn aside<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(work)
    };
    let ran = std::thread::scope(|scope| scope.spawn(run).join());
    ran.expect("the catalog's work ends")
}

impl Node {
    /// Starts everything that decides and sends.
    pub(crate) fn start(ground: &Ground) -> Node {
        let Ground { store, transport, clock, entropy } = ground;
        let control = Control::open(store);
        let catalog = control.catalog.clone();
        let couriers = couriers(clock, entropy, transport);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let reporter = Reporter::new(&report::Config::default());
        let tools = shard::Tools {
            store: Arc::clone(store),
            catalog: catalog.clone(),
            clock: clock.clone(),
            reporter: reporter.clone(),
            abandon: CancellationToken::new(),
        };
        let config = shard::Config { count: 3, inbox_max: 64, batch_max: 8 };
        let start = |_| {
            let (inbox, shard) = Shard::new(&config, tools.clone());
            tasks.spawn(pipeline::run_shard(shard));
            inbox
        };
        let shards = Shards::new((0..config.count).map(start).collect());
        let tools = lane::Tools {
            store: Arc::clone(store),
            catalog,
            couriers: Arc::new(couriers),
            shards: shards.clone(),
            reporter: reporter.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        for channel in Channel::PUSH {
            let route = Route { app: AppId::default(), channel };
            let (lane, settler) = Lane::new(&route, &lane_config(), tools.clone(), stop.clone());
            tasks.spawn(pipeline::run_lane(lane));
            tasks.spawn(settler.run());
        }
        tasks.spawn(waker::run_waker(Arc::clone(store), shards.clone(), clock.clone(), stop.clone()));
        Node { shards, reporter, control, tasks, stop }
    }

    /// Ends in the order that loses nothing.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        drop(self.shards);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A failed attempt is followed by another after this at least: half of the first wait.
pub(crate) const BACKOFF_LEAST: Duration = Duration::from_millis(2_500);
/// And after this at the latest, unless the service has asked for more.
pub(crate) const BACKOFF_MOST: Duration = Duration::from_secs(20);
/// So many attempts, then never again.
pub(crate) const ATTEMPTS_MOST: usize = 6;
/// So long a message belongs to who has claimed it.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// Few attempts soon after one another, so that the oracle knows how late a message can be.
fn lane_config() -> lane::Config {
    let (backoff_min, backoff_max) = (BACKOFF_LEAST * 2, BACKOFF_MOST);
    let patience = Patience { attempts_max: ATTEMPTS_MOST as u32, backoff_min, backoff_max };
    // The oracle knows when a message must have been tried again, so nothing may put attempts off for longer.
    let breaker =
        breaker::Config { failure_share: 1.0, recent: 10_000, recent_min: 10_000, ..breaker::Config::default() };
    let retries = budget::Config { per_minute_min: 1_000_000, ..budget::Config::default() };
    lane::Config { window: 6, lease: LEASE, patience, breaker, retries }
}

fn couriers(clock: &Clock, entropy: &Entropy, transport: &Arc<dyn Transport>) -> Couriers {
    let apns = json!({ "key": "apns.p8", "key_id": "SIMULATED1", "team_id": "SIMULATED2", "server_error_wait": "0s" });
    let webpush =
        json!({ "key": "vapid.pem", "subject": "mailto:push@parvis.invalid", "allow_hosts": ["push.example"] });
    let fcm = json!({ "service_account": "account.json" });
    let config = delivery::Config {
        apns: Some(serde_json::from_value::<apns::Config>(apns).expect("a section")),
        fcm: Some(serde_json::from_value::<fcm::Config>(fcm).expect("a section")),
        webpush: Some(serde_json::from_value::<webpush::Config>(webpush).expect("a section")),
        ..delivery::Config::default()
    };
    let (clock, entropy, transport) = (clock.clone(), entropy.clone(), Arc::clone(transport));
    let built = delivery::build(&config, &keys(), delivery::Tools { clock, entropy, transport, store: None });
    built.unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The folder with the keys; made once for all runs. Signatures differ from run to run, so they are no part of a trace.
fn keys() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        for name in ["apns.p8", "vapid.pem"] {
            write(name, &rcgen::KeyPair::generate().expect("a key").serialize_pem());
        }
        let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().expect("PKCS #8");
        let pem = STANDARD.encode(der.as_ref());
        let account = json!({
            "type": "service_account",
            "project_id": "simulation",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n"),
            "client_email": "parvis@simulation.invalid",
            "token_uri": "https://issuer.example/token",
        });
        write("account.json", &account.to_string());
        folder
    });
    folder.path().to_owned()
}
