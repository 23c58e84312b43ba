//! One run: nodes one after the other on the same store, people who go on where they were, and what is left at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parvis::{
    clock::Clock,
    entropy::Entropy,
    report::{Event, What as Happened},
    shard::Shards,
    store::{JournalQuery, Life, Sizes, Store, memory::Memory},
};
use parvis_engine::{
    id::{NotificationId, ShopperId},
    shopper::PresenceState,
    time::Timestamp,
};
use tokio::runtime::Builder;
use tokio_util::task::TaskTracker;

use crate::{
    chance::Dice,
    city::{self, at},
    disk::{Bells, Disk},
    log::{Line, Log, Seen, What},
    node::{Ground, Node},
    plan::Plan,
    power::Power,
    services::Services,
    storm::{Crash, Storm},
};

/// Everything that a run leaves behind.
pub(crate) struct Run {
    pub(crate) plan: Arc<Plan>,
    pub(crate) lines: Vec<Line>,
    pub(crate) journal: Vec<Event>,
    /// The messages that the journal names; none if they were erased.
    pub(crate) lives: BTreeMap<NotificationId, Option<Life>>,
    pub(crate) sizes: Sizes,
    /// Who is still somewhere, long after anybody was heard of.
    pub(crate) inside: Vec<String>,
}

/// What outlives a node.
struct Setting {
    seed: u64,
    plan: Arc<Plan>,
    storm: Arc<Storm>,
    memory: Memory,
    log: Log,
    /// How many steps of each person were answered.
    done: Arc<[AtomicUsize]>,
}

/// Plays a seed to its end.
pub(crate) fn play(seed: u64) -> Run {
    let plan = Arc::new(Plan::new(seed));
    let setting = Setting {
        seed,
        storm: Arc::new(Storm::new(seed)),
        memory: Memory::new(),
        log: Log::default(),
        done: plan.people.iter().map(|_| AtomicUsize::new(0)).collect(),
        plan,
    };
    let mut now = at(city::START);
    let mut number = 0;
    let crashes = setting.storm.crashes.clone();
    for crash in crashes.iter().copied().map(Some).chain([None]) {
        if crash.is_some_and(|crash| crash.at < now) {
            continue;
        }
        let died = in_runtime(setting.live(number, now, crash));
        setting.memory.crash();
        now = died.plus(crash.map_or(Duration::ZERO, |crash| crash.down));
        number += 1;
    }
    in_runtime(setting.remains())
}

/// Each node has its own runtime with its own paused clock; with it end all tasks of the node.
fn in_runtime<T>(life: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(life)
}

impl Setting {
    /// A node's life until it crashes, or to the end. Gives the time of its death.
    async fn live(&self, number: u64, start: Timestamp, crash: Option<Crash>) -> Timestamp {
        let clock = Clock::simulated(start);
        self.log.follow(&clock);
        let power = Power::default();
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(number);
        let ground = self.ground(seed, &clock, &power);
        self.log.add(What::Started);
        let node = Node::start(&ground).await;
        let people = TaskTracker::new();
        for person in 0..self.plan.people.len() {
            people.spawn(self.act(person, node.shards.clone(), clock.clone()));
        }
        match crash {
            None => {
                clock.sleep_until(Some(at(city::END))).await;
                people.close();
                people.wait().await;
                node.stop().await;
            }
            Some(Crash { at, calls, .. }) => {
                clock.sleep_until(Some(at)).await;
                if let Some(calls) = calls {
                    power.cut_after(calls);
                    // When nothing is going on, nothing is called either.
                    tokio::select! { biased;
                        () = power.failed() => {}
                        () = clock.sleep(Duration::from_secs(600)) => {}
                    }
                }
                self.log.add(What::Cut);
            }
        }
        clock.now()
    }

    fn ground(&self, seed: u64, clock: &Clock, power: &Power) -> Ground {
        let disk = Disk {
            memory: self.memory.clone(),
            clock: clock.clone(),
            dice: Dice::new(seed, "disk"),
            power: power.clone(),
            storm: Arc::clone(&self.storm),
            log: self.log.clone(),
            bells: Bells::new(&self.memory),
        };
        let services = Services {
            clock: clock.clone(),
            dice: Dice::new(seed, "services"),
            power: power.clone(),
            storm: Arc::clone(&self.storm),
            gone: Arc::new(self.plan.gone.clone()),
            log: self.log.clone(),
        };
        Ground {
            store: Arc::new(disk),
            transport: Arc::new(services),
            clock: clock.clone(),
            entropy: Entropy::seeded(seed),
        }
    }

    /// A person does one step after the other, again if it was not answered.
    fn act(&self, person: usize, shards: Shards, clock: Clock) -> impl Future<Output = ()> + Send + use<> {
        let (plan, done) = (Arc::clone(&self.plan), Arc::clone(&self.done));
        let (log, memory) = (self.log.clone(), self.memory.clone());
        async move {
            let steps = &plan.people[person].steps;
            while let Some(planned) = steps.get(done[person].load(Ordering::Relaxed)) {
                clock.sleep_until(Some(planned.at)).await;
                let step = done[person].load(Ordering::Relaxed);
                log.add(What::Asked { person, step });
                match shards.ask(planned.shopper.clone(), planned.input.clone()).await {
                    Ok(answer) => {
                        let loaded = memory.load(std::slice::from_ref(&planned.shopper)).await;
                        let record = loaded.expect("the store is there").remove(0);
                        log.add(What::Answered { person, step, answer, seen: Seen(record) });
                        done[person].fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => clock.sleep(Duration::from_secs(1)).await,
                }
            }
        }
    }

    async fn remains(&self) -> Run {
        let query = JournalQuery { limit: usize::MAX, ..JournalQuery::default() };
        let journal = self.memory.journal(query).await.expect("the store is open");
        let mut lives = BTreeMap::new();
        for event in &journal {
            if let Happened::Decision { notification: Some(id), .. } = &event.what {
                lives.insert(*id, self.memory.life(*id).await.expect("the store is open"));
            }
        }
        let sizes = self.memory.sizes().await.expect("the store is open");
        let mut ids: Vec<ShopperId> = self.plan.people.iter().map(|person| person.id.clone()).collect();
        ids.extend(self.plan.targets.values().map(|(_, device)| ShopperId::anonymous(device)));
        let mut inside = Vec::new();
        for record in self.memory.load(&ids).await.expect("the store is there") {
            for (device, known) in record.shopper.devices.iter() {
                let there = known.presences.iter().filter(|presence| presence.state == PresenceState::Inside);
                inside.extend(
                    there.map(|presence| format!("{device} is in {} since {}", presence.region, presence.since)),
                );
            }
        }
        Run { plan: Arc::clone(&self.plan), lines: self.log.lines(), journal, lives, sizes, inside }
    }
}
