//! Wiring and the order of shutdown. No logic.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, anyhow};
use parvis_engine::problem::Problem;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    catalog::Catalog,
    clock::Clock,
    config::{Config, Source},
    delivery::{self, Couriers, expiry, network::Network},
    document::Finding,
    entropy::Entropy,
    fleet::{self, Fleet},
    http::{self, Services, auth::Keys, health::Readiness, idempotency::Running},
    lane::{self, Lanes},
    mqtt, pipeline,
    report::Reporter,
    retention,
    shard::{self, Shard, Shards},
    store::{self, Store},
    waker,
    webhook::Webhooks,
};

/// A running node.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    config: Config,
    source: Source,
    core: Core,
    keys: Keys,
    lanes: Lanes,
    /// The connections to push services; held while the configuration is read again.
    network: Mutex<Network>,
    ready: watch::Sender<Readiness>,
    /// Who takes requests.
    door: Part,
    /// Who sends, wakes and forgets.
    out: Part,
    /// Who decides; ends when nobody can ask any more.
    deciders: TaskTracker,
    abandon: CancellationToken,
}

/// What every part of the node works with.
#[derive(Clone)]
struct Core {
    store: Arc<dyn Store>,
    catalog: Catalog,
    shards: Shards,
    fleet: Fleet,
    couriers: Arc<Couriers>,
    webhooks: Webhooks,
    reporter: Reporter,
    clock: Clock,
}

impl Core {
    fn mqtt_tools(&self, entropy: Entropy) -> mqtt::Tools {
        let Core { store, catalog, shards, fleet, reporter, clock, .. } = self.clone();
        mqtt::Tools { store, catalog, shards, fleet, reporter, clock, entropy }
    }
}

/// Tasks that end together.
struct Part {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Part {
    fn new() -> Part {
        Part { tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl App {
    /// Opens the store, builds the world, starts deciding and sending, and last of all listens.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub async fn start(config: Config, source: Source, clock: Clock, entropy: Entropy) -> Result<App> {
        let folder = source.folder();
        let keys = Keys::read(&config.http.auth, &folder).map_err(|why| anyhow!("http.auth: {why}"))?;
        let network = Network::open(&config.delivery, &folder, None).map_err(|wrong| told("delivery", &wrong))?;
        let links = mqtt::Links::read(&config.mqtt, &folder).map_err(|problems| told("mqtt", &problems))?;
        let webhooks = Webhooks::read(&config.webhooks, &folder).map_err(|problems| told("webhooks", &problems))?;
        let store = store::open(config.store.below(&folder)).await?;
        let tools = delivery::Tools {
            clock: clock.clone(),
            entropy: entropy.clone(),
            transport: network.http(),
            store: Some(store.clone()),
            webhooks: webhooks.clone(),
        };
        let couriers = delivery::build(&config.delivery, &folder, tools).map_err(|wrong| told("delivery", &wrong))?;
        let (catalog, worker) = Catalog::open(config.catalog_sources(&source), store.clone()).await?;
        let reporter = Reporter::new(&config.report);
        let listener = TcpListener::bind(&config.http.listen);
        let listener = listener.await.with_context(|| format!("can't listen on {}", config.http.listen))?;
        let address = listener.local_addr()?;

        let (abandon, deciders) = (CancellationToken::new(), TaskTracker::new());
        let tools = shard::Tools {
            store: store.clone(),
            catalog: catalog.clone(),
            clock: clock.clone(),
            reporter: reporter.clone(),
            webhooks: webhooks.clone(),
            abandon: abandon.clone(),
        };
        let shards = start_shards(&config.shards, &tools, &deciders);
        deciders.spawn(worker.run());
        let fleet = Fleet::new(config.fleet.clone());
        let core = Core { store, catalog, shards, fleet, couriers: Arc::new(couriers), webhooks, reporter, clock };
        let (out, lanes) = start_out(&config, core.clone(), entropy.clone());
        lanes.follow().await;
        // Only now: it would take what waits for a lane that has not been started for a stray.
        out.tasks.spawn(lanes.clone().watch());
        let (ready, readiness) = watch::channel(Readiness::Ready);
        let door = open_door(&config, core.clone(), keys.clone(), readiness, listener);
        links.start(&core.mqtt_tools(entropy), &door.tasks, &door.stop);
        let network = Mutex::new(network);
        Ok(App { address, config, source, core, keys, lanes, network, ready, door, out, deciders, abandon })
    }

    /// Reads the files of the catalog, the engine's settings, the API's keys, and the push services with their keys again;
    /// if anything is wrong in them, nothing changes. What is being sent ends with what it began with.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn reload(&self) -> Result<()> {
        let config = crate::config::load(&self.source).map_err(in_files)?;
        let folder = self.source.folder();
        let keys = Keys::read(&config.http.auth, &folder).map_err(|why| anyhow!("http.auth: {why}"))?;
        if config.delivery.deadline >= self.config.lanes.lease {
            return Err(anyhow!("delivery.deadline: must be shorter than the lease that lanes.lease was at the start"));
        }
        let webhooks = Webhooks::read(&config.webhooks, &folder).map_err(|problems| told("webhooks", &problems))?;
        let mut network = self.network.lock().await;
        let wrong = |problems: Vec<Problem>| told("delivery", &problems);
        let next = Network::open(&config.delivery, &folder, Some(network.clone())).map_err(wrong)?;
        let couriers = &self.core.couriers;
        let prepared = couriers.prepare(&config.delivery, &folder, next.http(), webhooks.clone()).map_err(wrong)?;
        self.core.catalog.reload(config.catalog_sources(&self.source)).await?;
        self.keys.replace(&keys);
        couriers.replace(prepared);
        self.core.webhooks.replace(&webhooks);
        *network = next;
        self.lanes.follow().await;
        expiry::tell(&couriers.credentials(), self.core.clock.now());
        Ok(())
    }

    /// Stops in the order that loses nothing: the door, then who sends, then who decides, then the store. Ends within the
    /// configured deadline; what is not finished by then is in the store and goes on at the next start.
    ///
    /// # Errors
    /// If the deadline has passed or the store could not be closed.
    pub async fn stop(self) -> Result<()> {
        let (clock, deadline, abandon) =
            (self.core.clock.clone(), self.config.node.shutdown_deadline, self.abandon.clone());
        tokio::select! { biased;
            stopped = self.stop_in_order() => stopped,
            () = clock.sleep(deadline) => {
                abandon.cancel();
                Err(anyhow!("the node did not finish within its shutdown deadline"))
            }
        }
    }

    async fn stop_in_order(self) -> Result<()> {
        let App { core: Core { store, catalog, shards, .. }, lanes, ready, door, out, deciders, .. } = self;
        ready.send_replace(Readiness::Draining);
        door.end().await;
        // Lanes tell shards about targets that are gone, so they end first.
        out.end().await;
        // The inboxes close with their last handles; shards decide what is left, commit it, and end.
        drop((shards, catalog, lanes));
        deciders.close();
        deciders.wait().await;
        store.close().await?;
        Ok(())
    }
}

fn in_files(findings: Vec<Finding>) -> anyhow::Error {
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    anyhow!("{}", findings.join("; "))
}

fn told(section: &str, problems: &[Problem]) -> anyhow::Error {
    let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
    anyhow!("{section}: {}", problems.join("; "))
}

fn start_shards(config: &shard::Config, tools: &shard::Tools, tasks: &TaskTracker) -> Shards {
    let start = |_| {
        let (inbox, shard) = Shard::new(config, tools.clone());
        tasks.spawn(pipeline::run_shard(shard));
        inbox
    };
    Shards::new((0..config.count.max(1)).map(start).collect())
}

fn start_out(config: &Config, core: Core, entropy: Entropy) -> (Part, Lanes) {
    let Core { store, catalog, shards, fleet, couriers, webhooks, reporter, clock } = core;
    let out = Part::new();
    out.tasks.spawn(fleet::run(fleet, catalog.clone(), reporter.clone(), clock.clone(), out.stop.clone()));
    out.tasks.spawn(waker::run_waker(store.clone(), shards.clone(), clock.clone(), out.stop.clone()));
    out.tasks.spawn(retention::run(store.clone(), config.store.clone(), clock.clone(), out.stop.clone()));
    out.tasks.spawn(expiry::run(couriers.clone(), clock.clone(), out.stop.clone()));
    let tools = lane::Tools { store, catalog, couriers, shards, reporter, webhooks, clock, entropy };
    let lanes = Lanes::new(config.lanes.clone(), tools, out.tasks.clone(), out.stop.clone());
    (out, lanes)
}

fn open_door(
    config: &Config,
    core: Core,
    keys: Keys,
    ready: watch::Receiver<Readiness>,
    listener: TcpListener,
) -> Part {
    let Core { store, catalog, shards, fleet, couriers, webhooks, reporter, clock } = core;
    let door = Part::new();
    let (http, time, stop) = (config.http.clone(), clock.clone(), door.stop.clone());
    let router = http::router(Services {
        shards,
        store,
        catalog,
        fleet,
        couriers,
        clock,
        keys,
        reporter,
        webhooks,
        ready,
        readers: Arc::new(Semaphore::new(http.readers_max)),
        sending: Arc::new(Semaphore::new(http.sending_max)),
        backups: Arc::new(Semaphore::new(1)),
        config: http.clone(),
        node: config.node.name.clone(),
        tasks: door.tasks.clone(),
        running: Running::default(),
    });
    door.tasks.spawn(async move { http::serve(listener, router, &http, stop, &time).await });
    door
}
