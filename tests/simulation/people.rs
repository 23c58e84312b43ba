//! How people and the operator reach the nodes: through a network that is slow, delivers in any order and more than
//! once, and through whichever node answers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use parvis::{
    catalog::Catalog,
    ingest::{self, Batch, Report},
    report::Reporter,
    shard::{Answer, Input, Observed, Shards},
    store::Store,
};
use parvis_engine::id::{DeviceId, ShopperId};
use tokio_util::task::TaskTracker;

use crate::{
    chance::Dice,
    log::{Log, Seen, What},
    node::Control,
    plan::{Plan, Step},
    power::Power,
    shared::{Bells, Shared},
};

/// Everything there is to reach.
#[derive(Clone)]
pub(crate) struct Town {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Log,
    /// The nodes' doors; none while a node is down.
    pub(crate) doors: Arc<[Mutex<Option<Door>>]>,
}

/// Where a node takes requests.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) shards: Shards,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Catalog,
    pub(crate) reporter: Reporter,
    pub(crate) control: Control,
    pub(crate) power: Power,
    pub(crate) bells: Arc<Bells>,
}

/// So many repeats of one question, and nobody is patient any more.
const REPEATS: u32 = 5_000;

impl Town {
    /// Everything that a person does of one kind, one after the other, again if it was not answered.
    pub(crate) async fn act(self, person: usize, stream: usize, dice: Dice) {
        let plan = Arc::clone(&self.plan);
        let steps = plan.people[person].steps.iter().enumerate().filter(|(_, step)| step.stream == stream);
        let mut last = dice.below(self.doors.len());
        for (number, step) in steps {
            self.shared.clock.sleep_until(Some(step.at)).await;
            if dice.chance(0.6) {
                last = dice.below(self.doors.len());
            }
            for repeat in 0.. {
                assert!(repeat < REPEATS, "{step:?} is never answered");
                if let Some((node, door)) = self.door(last) {
                    self.log.add(What::Asked { person, step: number, node });
                    let answer = self.ask(&door, step, &dice).await;
                    if let Some(answer) = answer {
                        let seen = Seen(self.shared.load_one(&self.owner(step).await).await);
                        self.log.add(What::Answered { person, step: number, answer, seen });
                        break;
                    }
                }
                self.shared.clock.sleep(dice.span(0.2, 1.0)).await;
                last = dice.below(self.doors.len());
            }
        }
    }

    /// A node that is up: this one, or the next one that is.
    pub(crate) fn door(&self, wanted: usize) -> Option<(usize, Door)> {
        let count = self.doors.len();
        (0..count).map(|more| (wanted + more) % count).find_map(|node| {
            let door = self.doors[node].lock().unwrap_or_else(PoisonError::into_inner);
            door.clone().map(|door| (node, door))
        })
    }

    /// One try. What may be repeated at any time is, now and then at once through another node, and nobody waits for it
    /// for ever; whoever says who they are waits for the answer, unless the node is gone.
    async fn ask(&self, door: &Door, step: &Step, dice: &Dice) -> Option<Answer> {
        if !matches!(step.input, Input::Observed { .. } | Input::Order { .. }) {
            return answered(door, step).await;
        }
        if dice.chance(0.15)
            && let Some((_, other)) = self.door(dice.below(self.doors.len()))
        {
            let late = if dice.chance(0.5) { dice.span(0.0, 0.03) } else { dice.span(0.0, 20.0) };
            let (clock, step) = (self.shared.clock.clone(), step.clone());
            TaskTracker::new().spawn(async move {
                clock.sleep(late).await;
                answered(&other, &step).await
            });
        }
        self.shared.clock.sleep(dice.span(0.0, 0.03)).await;
        if dice.chance(0.05) {
            // The request goes on without whoever has asked.
            let (door, step) = (door.clone(), step.clone());
            let asked = TaskTracker::new().spawn(async move { answered(&door, &step).await });
            tokio::select! { biased;
                answer = asked => answer.ok().flatten(),
                () = self.shared.clock.sleep(dice.span(0.0, 3.0)) => None,
            }
        } else {
            answered(door, step).await
        }
    }

    /// Whose state a step should have changed.
    async fn owner(&self, step: &Step) -> ShopperId {
        match &step.input {
            Input::Observed { device, .. } => {
                self.shared.owner(device).await.unwrap_or_else(|| ShopperId::anonymous(device))
            }
            Input::Wake
            | Input::Order { .. }
            | Input::Register { .. }
            | Input::Deregister { .. }
            | Input::Profile(_)
            | Input::Signal(_)
            | Input::Erase
            | Input::Unregistered { .. }
            | Input::Live { .. } => step.shopper.clone(),
        }
    }
}

/// The node's answer; none if it has none, or is gone.
async fn answered(door: &Door, step: &Step) -> Option<Answer> {
    let asked = async {
        match &step.input {
            Input::Observed { device, observations } => {
                let report = |(index, observation)| Report { index, device: device.clone(), observation };
                let reports: Vec<Report> = observations.iter().cloned().enumerate().map(report).collect();
                observed(door, reports).await
            }
            Input::Wake
            | Input::Order { .. }
            | Input::Register { .. }
            | Input::Deregister { .. }
            | Input::Profile(_)
            | Input::Signal(_)
            | Input::Erase
            | Input::Unregistered { .. }
            | Input::Live { .. } => door.shards.ask(step.shopper.clone(), step.input.clone()).await.ok(),
        }
    };
    tokio::select! { biased;
        answer = asked => answer,
        () = door.power.failed() => None,
    }
}

/// Through the door that requests take, which looks up whose device it is.
async fn observed(door: &Door, reports: Vec<Report>) -> Option<Answer> {
    let count = reports.len();
    let batch = Batch { reports, ..Batch::default() };
    let world = door.catalog.world();
    let taken = ingest::submit(&door.shards, door.store.as_ref(), &door.reporter, &world, batch).await.ok()?;
    let mut observed = Observed { transitions: taken.transitions, ..Observed::new(count) };
    for (index, rejected) in taken.rejected {
        observed.results[index] = Err(rejected);
    }
    Some(Answer::Observed(observed))
}

/// The streams of a person's steps.
pub(crate) fn streams(plan: &Plan, person: usize) -> BTreeSet<usize> {
    plan.people[person].steps.iter().map(|step| step.stream).collect()
}

/// Every device that anybody has.
pub(crate) fn devices(plan: &Plan) -> BTreeSet<DeviceId> {
    plan.targets.values().map(|(_, device)| device.clone()).collect()
}

/// So long a node is given to finish when it is stopped.
pub(crate) const DRAIN: Duration = Duration::from_secs(180);
