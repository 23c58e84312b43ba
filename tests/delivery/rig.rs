//! A node's way out: real lanes over a store in memory, and push services on loopback for each app. The node can end and
//! begin anew over the same store.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
    time::Duration,
};

use parvis::{
    catalog::{self, Catalog, Sources},
    clock::Clock,
    delivery::{self, Couriers, breaker, network::Network},
    entropy::Entropy,
    lane::{self, Lanes, budget},
    pipeline,
    report::{self, News, Reporter, What},
    sandbox::{ApnsKey, Behaviour, Options, Sandbox},
    shard::{self, Shard, Shards},
    store::{Commit, Committed, Life, Store, memory::Memory},
};
use parvis_engine::{
    id::{AppId, NotificationId, ShopperId},
    notification::{Address, Body, Channel, Content, Milestone, Notification, Origin, Purpose, Recipient},
    retry::Patience,
    shopper::{ApnsEnvironment, PushTarget},
    world,
};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Refuses with 503 until it is told otherwise.
pub(crate) const FAILING: Behaviour = Behaviour::Failing { status: 503, reason: None, times: None };

/// The bundle id of every app here.
const TOPIC: &str = "com.example.shop";
/// Longer than any test takes: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store and the push services, with a node or without.
pub(crate) struct Rig {
    pub(crate) store: Arc<Memory>,
    pub(crate) clock: Clock,
    config: lane::Config,
    folder: TempDir,
    services: BTreeMap<AppId, Service>,
    node: Option<Node>,
    ended: BTreeMap<NotificationId, Milestone>,
    number: u64,
}

/// Apple's service for one app, and the key that the app has there.
struct Service {
    sandbox: Sandbox,
    key: ApnsKey,
}

struct Node {
    couriers: Arc<Couriers>,
    network: Network,
    reporter: Reporter,
    news: broadcast::Receiver<Arc<News>>,
    lanes: Lanes,
    shards: Shards,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Lanes that do not let a test wait.
pub(crate) fn hurried() -> lane::Config {
    let (short, long) = (Duration::from_millis(20), Duration::from_millis(200));
    lane::Config {
        window: 64,
        lease: Duration::from_secs(60),
        patience: Patience { attempts_max: 1_000, backoff_min: short, backoff_max: long },
        breaker: breaker::Config { open_min: short, open_max: long, ..breaker::Config::default() },
        retries: budget::Config { share: 1.0, per_minute_min: 1_000_000 },
    }
}

pub(crate) fn app(name: &str) -> AppId {
    name.parse().expect("an id")
}

impl Rig {
    /// Each app has a service for itself. The node does not run yet.
    pub(crate) async fn new(apps: &[&str], config: lane::Config) -> Rig {
        let mut services = BTreeMap::new();
        for name in apps {
            let options = Options { apns_token_changes: 100, ..Options::default() };
            let sandbox = Sandbox::start(options).await.expect("free ports on loopback");
            // The first key has the same id in every sandbox, and ids are unique at Apple.
            let key = sandbox.issue_apns_key(None).expect("a key");
            services.insert(app(name), Service { sandbox, key });
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Memory::new());
        Rig { store, clock: Clock::System, config, folder, services, node: None, ended: BTreeMap::new(), number: 0 }
    }

    /// Starts a node that has all apps.
    pub(crate) async fn start(&mut self) {
        let names: Vec<AppId> = self.services.keys().cloned().collect();
        let section = self.section(&names);
        let folder = self.folder.path();
        let network = Network::open(&section, folder, None).unwrap_or_else(|problems| panic!("{problems:?}"));
        let (clock, entropy) = (self.clock.clone(), Entropy::System);
        let tools = delivery::Tools {
            clock: clock.clone(),
            entropy: entropy.clone(),
            transport: network.http(),
            store: Some(self.store.clone()),
            webhooks: Default::default(),
        };
        let couriers = delivery::build(&section, folder, tools).unwrap_or_else(|problems| panic!("{problems:?}"));
        let couriers = Arc::new(couriers);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let reporter = Reporter::new(&report::Config { stream_max: 65_536 });
        let (config, settings) = (catalog::Config::default(), world::Settings::default());
        let sources = Sources { folder: folder.to_owned(), config, settings };
        let (catalog, worker) = Catalog::open(sources, self.store.clone()).await.expect("an empty catalog");
        tasks.spawn(worker.run());
        let tools = shard::Tools {
            store: self.store.clone(),
            catalog: catalog.clone(),
            clock: clock.clone(),
            reporter: reporter.clone(),
            webhooks: Default::default(),
            abandon: CancellationToken::new(),
        };
        let (inbox, shard) = Shard::new(&shard::Config { count: 1, inbox_max: 64, batch_max: 8 }, tools);
        tasks.spawn(pipeline::run_shard(shard));
        let shards = Shards::new(vec![inbox]);
        let news = reporter.subscribe();
        let tools = lane::Tools {
            store: self.store.clone(),
            catalog,
            couriers: couriers.clone(),
            shards: shards.clone(),
            reporter: reporter.clone(),
            webhooks: Default::default(),
            clock,
            entropy,
        };
        let lanes = Lanes::new(self.config.clone(), tools, tasks.clone(), stop.clone());
        lanes.follow().await;
        tasks.spawn(lanes.clone().watch());
        self.node = Some(Node { couriers, network, reporter, news, lanes, shards, tasks, stop });
    }

    /// Ends the node as it ends by itself: lanes first, then who decides.
    pub(crate) async fn stop(&mut self) {
        let Node { lanes, shards, tasks, stop, mut news, .. } = self.node.take().expect("it runs");
        stop.cancel();
        drop((lanes, shards));
        tasks.close();
        tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("a node ends");
        while let Ok(news) = news.try_recv() {
            self.hear(&news);
        }
    }

    /// Has the node read a configuration with these apps and with the keys as they are now, as a signal would.
    pub(crate) async fn reload(&mut self, apps: &[&str]) {
        let names: Vec<AppId> = apps.iter().map(|name| app(name)).collect();
        let (section, folder) = (self.section(&names), self.folder.path());
        let node = self.node.as_mut().expect("it runs");
        let network = Network::open(&section, folder, Some(node.network.clone()));
        node.network = network.unwrap_or_else(|problems| panic!("{problems:?}"));
        let prepared = node.couriers.prepare(&section, folder, node.network.http(), Default::default());
        node.couriers.replace(prepared.unwrap_or_else(|problems| panic!("{problems:?}")));
        node.lanes.follow().await;
    }

    /// Gives an app another key.
    pub(crate) fn change_key(&mut self, name: &str) {
        let service = self.services.get_mut(&app(name)).expect("it has a service");
        service.key = service.sandbox.issue_apns_key(None).expect("a key");
    }

    /// Writes the keys, and the section for these apps.
    fn section(&self, apps: &[AppId]) -> delivery::Config {
        let write = |name: &str, text: &str| fs::write(self.folder.path().join(name), text).expect("writable");
        let authorities: Vec<&str> = self.services.values().map(|service| service.sandbox.ca_pem()).collect();
        write("ca.pem", &authorities.concat());
        let mut text = "extra_ca = \"ca.pem\"\nrequest_timeout = \"1s\"\nconnect_timeout = \"1s\"\n".to_owned();
        for name in apps {
            let Service { sandbox, key } = &self.services[name];
            write(&format!("{name}.p8"), &key.pem);
            let table = if name.is_default() { "apns".to_owned() } else { format!("apps.{name}.apns") };
            let (key_id, team_id, url) = (&key.key_id, sandbox.apns_team_id(), &sandbox.endpoints().apns_production);
            text += &format!(
                "[{table}]\nkey = \"{name}.p8\"\nkey_id = \"{key_id}\"\nteam_id = \"{team_id}\"\n\
                 production_url = \"{url}\"\nsandbox_url = \"{url}\"\nserver_error_wait = \"0s\"\n"
            );
        }
        toml::from_str(&text).expect("a section")
    }

    pub(crate) fn service(&self, name: &str) -> &Sandbox {
        &self.services[&app(name)].sandbox
    }

    pub(crate) fn reporter(&self) -> &Reporter {
        &self.node.as_ref().expect("it runs").reporter
    }

    /// Whether the provider of an app is asked.
    pub(crate) fn breaker(&self, name: &str) -> breaker::State {
        let all = self.reporter().breakers();
        let found = all.iter().find(|(route, _)| route.app == app(name) && route.channel == Channel::Apns);
        found.expect("it has a lane").1
    }

    /// A phone with an app.
    pub(crate) fn phone(&self, name: &str) -> Address {
        let token = self.service(name).register_apns(TOPIC, ApnsEnvironment::Production);
        let (topic, environment) = (TOPIC.into(), ApnsEnvironment::Production);
        Address::Target(PushTarget::Apns { token: token.into(), topic, environment })
    }

    /// How a service answers for a phone from now on.
    pub(crate) fn behave(&self, name: &str, phone: &Address, behaviour: Behaviour) {
        let Address::Target(PushTarget::Apns { token, .. }) = phone else { panic!("a phone") };
        assert!(self.service(name).set_behaviour(token, behaviour));
    }

    /// A message that a back end hands in, good for so long.
    pub(crate) fn message(&mut self, name: &str, to: &Address, purpose: Purpose, life: Duration) -> Notification {
        self.number += 1;
        let now = self.clock.now();
        let shopper: ShopperId = format!("C-{}", self.number).parse().expect("an id");
        let request = format!("r-{}", self.number);
        Notification {
            id: NotificationId::derive(now, &shopper, &[request.as_str()]),
            shopper,
            recipient: Recipient::Address(Box::new(to.clone())),
            channel: Channel::Apns,
            app: app(name),
            origin: Origin::Request { request, purpose },
            replays: None,
            body: Body::Content(Content {
                title: format!("message {}", self.number),
                body: "text".to_owned(),
                deep_link: None,
                data: BTreeMap::new(),
                locale: "en".to_owned(),
            }),
            collapse: format!("c{}", self.number),
            observed_at: now,
            decided_at: now,
            not_before: now,
            expires_at: now.plus(life),
        }
    }

    /// So many offers for a phone, good for an hour.
    pub(crate) fn offers(&mut self, name: &str, phone: &Address, count: usize) -> Vec<Notification> {
        (0..count).map(|_| self.message(name, phone, Purpose::Offer, Duration::from_secs(3_600))).collect()
    }

    pub(crate) async fn put(&self, outbox: Vec<Notification>) -> Vec<NotificationId> {
        let ids = outbox.iter().map(|message| message.id).collect();
        let committed = self.store.commit(Commit { outbox, ..Commit::default() }).await.expect("in memory");
        assert_eq!(committed, Committed::Done);
        ids
    }

    /// Waits until these messages have ended, and tells how; each ends once.
    pub(crate) async fn ends(&mut self, ids: &[NotificationId]) -> Vec<Milestone> {
        let wanted: BTreeSet<NotificationId> = ids.iter().copied().collect();
        let all = async {
            while !wanted.iter().all(|id| self.ended.contains_key(id)) {
                let news = self.node.as_mut().expect("it runs").news.recv().await.expect("none is missed");
                self.hear(&news);
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("every message ends");
        ids.iter().map(|id| self.ended[id]).collect()
    }

    fn hear(&mut self, news: &News) {
        let News::Shopper(event) = news else { return };
        if let What::Milestone { notification, milestone, .. } = &event.what {
            let before = self.ended.insert(*notification, *milestone);
            assert_eq!(before, None, "{notification} ends once");
        }
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let waited = async {
            while !holds() {
                self.clock.sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited for {what}"));
    }

    pub(crate) async fn life(&self, id: NotificationId) -> Life {
        self.store.life(id).await.expect("in memory").expect("it was stored")
    }

    /// The ids of what a service accepted, as often as it did.
    pub(crate) fn accepted(&self, name: &str) -> Vec<String> {
        let received = self.service(name).received();
        received.iter().filter(|it| it.refused.is_none()).map(|it| it.message.id.to_lowercase()).collect()
    }
}
