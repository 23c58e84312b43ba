//! One run: nodes that come and go on one store, people who go on meanwhile, and what is left at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use parvis::{
    clock::Clock,
    entropy::Entropy,
    report::{Event, News, What as Happened},
    store::{JournalQuery, Life, Record, Sizes, Store},
};
use parvis_engine::{
    id::{NotificationId, ShopperId},
    shopper::PresenceState,
    time::Timestamp,
};
use tokio::{runtime::Builder, sync::broadcast::error::RecvError};
use tokio_util::task::TaskTracker;

use crate::{
    chance::Dice,
    city::{self, at},
    disk::Disk,
    log::{Line, Log, What},
    node::{Control, Ground, Node},
    operator,
    people::{self, Door, Town},
    plan::Plan,
    power::Power,
    services::Services,
    shared::{Bells, Shared},
    storm::{End, How, Jump, Storm},
};

/// Everything that a run leaves behind.
pub(crate) struct Run {
    pub(crate) plan: Arc<Plan>,
    pub(crate) storm: Arc<Storm>,
    pub(crate) lines: Vec<Line>,
    pub(crate) journal: Vec<Event>,
    /// Every event that was ever made durable, in the order of the commits, with the true time.
    pub(crate) recorded: Vec<(Timestamp, Event)>,
    /// The messages that the journal names; none if they were erased.
    pub(crate) lives: BTreeMap<NotificationId, Option<Life>>,
    pub(crate) sizes: Sizes,
    /// What is known of everybody in the end.
    pub(crate) known: BTreeMap<ShopperId, Record>,
    /// Who is still somewhere, long after anybody was heard of.
    pub(crate) inside: Vec<String>,
}

struct Setting {
    seed: u64,
    storm: Arc<Storm>,
    town: Town,
    /// What each machine takes for the time.
    clocks: Vec<Clock>,
}

/// Between two counts of all messages.
const COUNTED_EVERY_S: u64 = 5 * 3_600;

/// Plays a seed to its end.
pub(crate) fn play(seed: u64) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let setting = Arc::new(Setting::new(seed));
        setting.pass().await;
        setting.remains().await
    })
}

impl Setting {
    fn new(seed: u64) -> Setting {
        let (plan, storm) = (Arc::new(Plan::new(seed)), Arc::new(Storm::new(seed)));
        let (clock, log) = (Clock::simulated(at(city::START)), Log::default());
        log.follow(&clock);
        let clocks: Vec<Clock> = storm.skews_ms.iter().map(|_| Clock::simulated(at(city::START))).collect();
        clocks.iter().zip(&storm.skews_ms).for_each(|(clock, skew_ms)| clock.set_ahead(*skew_ms));
        let shared = Shared::new(storm.nodes == 1, clock, log.clone(), Dice::new(seed, "shared"));
        let doors = (0..storm.nodes).map(|_| Mutex::default()).collect();
        let town = Town { plan, shared: Arc::new(shared), log, doors };
        Setting { seed, storm, town, clocks }
    }

    /// Until nothing more is to come.
    async fn pass(self: &Arc<Self>) {
        let (nodes, people) = (TaskTracker::new(), TaskTracker::new());
        for node in 0..self.storm.nodes {
            let setting = Arc::clone(self);
            nodes.spawn(async move { setting.keep(node).await });
        }
        for jump in self.storm.jumps.clone() {
            let setting = Arc::clone(self);
            people.spawn(async move { setting.set_clock(jump).await });
        }
        for person in 0..self.town.plan.people.len() {
            for stream in people::streams(&self.town.plan, person) {
                let dice = Dice::new(self.seed, &format!("way of {person} {stream}"));
                people.spawn(self.town.clone().act(person, stream, dice));
            }
        }
        people.spawn(operator::operate(self.town.clone(), Dice::new(self.seed, "operator")));
        let setting = Arc::clone(self);
        people.spawn(async move { setting.count_now_and_then().await });
        people.close();
        people.wait().await;
        nodes.close();
        nodes.wait().await;
        self.count().await;
    }

    /// A machine: node after node, until the end.
    async fn keep(&self, node: usize) {
        let clock = &self.town.shared.clock;
        let mut number = 0;
        for end in self.storm.ends.iter().filter(|end| end.node == node) {
            if end.at < clock.now() {
                continue;
            }
            self.live(node, number, Some(*end)).await;
            clock.sleep(end.down).await;
            number += 1;
        }
        self.live(node, number, None).await;
    }

    /// A node's life, until it is to end.
    async fn live(&self, node: usize, number: u64, end: Option<End>) {
        let (clock, power) = (&self.town.shared.clock, Power::default());
        let seed = self.seed.wrapping_mul(10_000).wrapping_add(node as u64 * 1_000 + number);
        let bells = self.town.shared.join();
        let ground = self.ground(seed, (node, &power, &bells));
        let running = Node::start(&ground);
        self.town.log.add(What::Started { node });
        self.listen(&running);
        let control = running.control.clone();
        let catalog = control.catalog.clone();
        let (shards, reporter) = (running.shards.clone(), running.reporter.clone());
        self.follow(&control, &bells, &power);
        let (power_of_node, bells_of_node) = (power.clone(), Arc::clone(&bells));
        let store = ground.store;
        let door = Door { shards, store, catalog, reporter, control, power: power_of_node, bells: bells_of_node };
        self.open(node, Some(door));
        clock.sleep_until(Some(end.map_or(at(city::END), |end| end.at))).await;
        match end.map_or(How::Stopped, |end| end.how) {
            How::Cut => {}
            How::CutAfter(calls) => {
                power.cut_after(calls);
                // When nothing is going on, nothing is called either.
                tokio::select! { biased;
                    () = power.failed() => {}
                    () = clock.sleep(people::DRAIN) => {}
                }
            }
            How::Stopped => {
                self.open(node, None);
                tokio::select! { biased;
                    () = running.stop() => self.town.log.add(What::Stopped { node }),
                    () = clock.sleep(people::DRAIN) => self.town.log.add(What::Cut { node }),
                }
            }
        }
        if end.is_some_and(|end| end.how != How::Stopped) {
            self.town.log.add(What::Cut { node });
        }
        self.open(node, None);
        power.cut();
        self.town.shared.leave(&bells);
    }

    fn open(&self, node: usize, door: Option<Door>) {
        *self.town.doors[node].lock().unwrap_or_else(PoisonError::into_inner) = door;
    }

    fn ground(&self, seed: u64, (node, power, bells): (usize, &Power, &Arc<Bells>)) -> Ground {
        let disk = Disk {
            shared: Arc::clone(&self.town.shared),
            bells: Arc::clone(bells),
            dice: Dice::new(seed, "disk"),
            power: power.clone(),
            storm: Arc::clone(&self.storm),
            tracks: Mutex::default(),
        };
        let services = Services {
            node,
            clock: self.town.shared.clock.clone(),
            own_clock: self.clocks[node].clone(),
            dice: Dice::new(seed, "services"),
            power: power.clone(),
            storm: Arc::clone(&self.storm),
            gone: Arc::new(self.town.plan.gone.clone()),
            log: self.town.log.clone(),
        };
        Ground {
            store: Arc::new(disk),
            transport: Arc::new(services),
            clock: self.clocks[node].clone(),
            entropy: Entropy::seeded(seed),
        }
    }

    /// Hears what a node tells its readers, and whether it is true.
    fn listen(&self, node: &Node) {
        let (mut news, shared, log) = (node.reporter.subscribe(), Arc::clone(&self.town.shared), self.town.log.clone());
        TaskTracker::new().spawn(async move {
            loop {
                match news.recv().await {
                    Ok(told) => {
                        if let News::Shopper(event) = &*told
                            && !matches!(event.what, Happened::Milestone { .. })
                            && !shared.is_recorded(event)
                        {
                            log.add(What::Wrong(format!("was told and is not true: {event:?}")));
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// A node takes over what others put into the catalog.
    fn follow(&self, control: &Control, bells: &Bells, power: &Power) {
        let (control, power, mut heard) = (control.clone(), power.clone(), bells.catalog());
        TaskTracker::new().spawn(async move {
            loop {
                tokio::select! { biased;
                    () = power.failed() => return,
                    changed = heard.changed() => if changed.is_err() { return },
                }
                let generation = *heard.borrow_and_update();
                control.follow(generation);
            }
        });
    }

    /// A machine's clock goes wrong, and right again.
    async fn set_clock(&self, Jump { node, span, by_ms }: Jump) {
        let right_ms = self.storm.skews_ms[node];
        for (at, ahead_ms) in [(span.from, right_ms + by_ms), (span.until, right_ms)] {
            self.town.shared.clock.sleep_until(Some(at)).await;
            self.clocks[node].set_ahead(ahead_ms);
            self.town.log.add(What::ClockSet { node, ahead_ms });
            let door = self.town.doors[node].lock().unwrap_or_else(PoisonError::into_inner);
            // Several nodes look at the store again every second.
            if let Some(door) = door.as_ref().filter(|_| self.storm.nodes > 1) {
                self.town.shared.ring(&door.bells);
            }
        }
    }

    async fn count_now_and_then(&self) {
        let mut next = at(city::START);
        while next < at(city::CALM) {
            self.town.shared.clock.sleep_until(Some(next)).await;
            self.count().await;
            next = next.plus(std::time::Duration::from_secs(COUNTED_EVERY_S));
        }
    }

    /// Every message that was decided has ended or waits, and every device has one owner.
    async fn count(&self) {
        let memory = &self.town.shared.memory;
        let (mut ended, mut open) = (0, 0);
        let decided = decided(&self.journal().await);
        for id in &decided {
            match memory.life(*id).await.expect("the store is open") {
                Some(life) if life.milestones.iter().any(|step| step.milestone.is_terminal()) => ended += 1,
                Some(_) | None => open += 1,
            }
        }
        let waiting = memory.sizes().await.expect("the store is open").waiting.values().sum();
        self.town.log.add(What::Counted { decided: decided.len(), ended, open, waiting });
        let known = self.known().await;
        for device in people::devices(&self.town.plan) {
            let holders: Vec<&ShopperId> = known
                .iter()
                .filter(|(_, record)| record.shopper.devices.contains_key(&device))
                .map(|(id, _)| id)
                .collect();
            let owner = self.town.shared.owner(&device).await;
            if holders.len() > 1 || holders.first().copied() != owner.as_ref() {
                self.town.log.add(What::Wrong(format!("{device} is {owner:?}'s and {holders:?} have it")));
            }
        }
    }

    async fn journal(&self) -> Vec<Event> {
        let query = JournalQuery { limit: usize::MAX, ..JournalQuery::default() };
        self.town.shared.memory.journal(query).await.expect("the store is open")
    }

    async fn known(&self) -> BTreeMap<ShopperId, Record> {
        let plan = &self.town.plan;
        let mut ids: Vec<ShopperId> = plan.people.iter().map(|person| person.id.clone()).collect();
        ids.extend(people::devices(plan).iter().map(ShopperId::anonymous));
        let records = self.town.shared.memory.load(&ids).await.expect("the store is there");
        ids.into_iter().zip(records).collect()
    }

    async fn remains(&self) -> Run {
        let journal = self.journal().await;
        let memory = &self.town.shared.memory;
        let mut lives = BTreeMap::new();
        for id in decided(&journal) {
            lives.insert(id, memory.life(id).await.expect("the store is open"));
        }
        let sizes = memory.sizes().await.expect("the store is open");
        let known = self.known().await;
        let mut inside = Vec::new();
        for (device, registered) in known.values().flat_map(|record| record.shopper.devices.iter()) {
            let there = registered.presences.iter().filter(|presence| presence.state == PresenceState::Inside);
            inside.extend(there.map(|presence| format!("{device} is in {} since {}", presence.region, presence.since)));
        }
        let (plan, storm) = (Arc::clone(&self.town.plan), Arc::clone(&self.storm));
        let (lines, recorded) = (self.town.log.lines(), self.town.shared.recorded());
        Run { plan, storm, lines, journal, recorded, lives, sizes, known, inside }
    }
}

fn decided(journal: &[Event]) -> BTreeSet<NotificationId> {
    let message = |event: &Event| match &event.what {
        Happened::Decision { notification, .. } => *notification,
        Happened::Transition(_) | Happened::Milestone { .. } | Happened::Order { .. } | Happened::Arrival(_) => None,
    };
    journal.iter().filter_map(message).collect()
}
