//! The lanes of a node: one for each channel and app, started and ended as apps come and go.
//!
//! What waits for an app that is not configured any more has a lane too, for every message ends with a named reason.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use parvis_engine::{id::AppId, notification::Channel};
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Config, Lane, Queues, Tools};
use crate::{delivery::Route, pipeline, store::Queue};

/// How often it is looked for what waits without a lane.
const LOOK: Duration = Duration::from_secs(60);

/// The lanes of a node.
#[derive(Clone)]
pub struct Lanes {
    config: Config,
    tools: Tools,
    tasks: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    routes: BTreeMap<Route, One>,
    strays: BTreeMap<Queue, CancellationToken>,
}

impl Running {
    fn has_lane(&self, queue: &Queue) -> bool {
        self.routes.keys().any(|route| Queues::of(route).contain(*queue))
    }

    /// Ends the lanes of those strays that have one of their own by now, or that are not wanted otherwise.
    fn end_strays(&mut self, wanted: impl Fn(&Queue) -> bool) {
        let strays = std::mem::take(&mut self.strays);
        for (queue, stop) in strays {
            if wanted(&queue) && !self.has_lane(&queue) {
                self.strays.insert(queue, stop);
            } else {
                stop.cancel();
            }
        }
    }
}

/// A lane that runs.
struct One {
    stop: CancellationToken,
    concurrency: usize,
}

impl Lanes {
    /// No lane runs yet. Lanes run on `tasks` until `stop`.
    pub fn new(config: Config, tools: Tools, tasks: TaskTracker, stop: CancellationToken) -> Lanes {
        Lanes { config, tools, tasks, stop, running: Arc::default() }
    }

    /// Starts lanes for what is configured and has none, and ends those of what is not any more: they claim nothing
    /// further, finish what is under way, and settle it.
    pub async fn follow(&self) {
        let couriers = &self.tools.couriers;
        let mut wanted: BTreeMap<Route, usize> = BTreeMap::new();
        // Whoever names no app may wait for a channel that is not configured yet.
        for channel in Channel::PUSH {
            wanted.insert(Route { app: AppId::default(), channel }, 0);
        }
        wanted.extend(couriers.routes().into_iter().map(|route| {
            let concurrency = couriers.concurrency(&route);
            (route, concurrency)
        }));
        let mut running = self.running.lock().await;
        running.routes.retain(|route, one| {
            let stays = wanted.get(route) == Some(&one.concurrency);
            if !stays {
                one.stop.cancel();
                if !wanted.contains_key(route) {
                    self.tools.reporter.no_breaker(route);
                }
            }
            stays
        });
        for (route, concurrency) in wanted {
            let Entry::Vacant(place) = running.routes.entry(route) else { continue };
            let stop = self.stop.child_token();
            self.start(Queues::of(place.key()), Some(place.key()), &stop);
            place.insert(One { stop, concurrency });
        }
        running.end_strays(|_| true);
    }

    /// Looks for what waits without a lane, until it is told to stop.
    pub async fn watch(self) {
        loop {
            self.adopt().await;
            tokio::select! { biased;
                () = self.stop.cancelled() => return,
                () = self.tools.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Gives what waits without a lane one, and ends those of this kind that have nothing left.
    async fn adopt(&self) {
        // Without the store nothing is claimed; it is looked again.
        let Ok(sizes) = self.tools.store.sizes().await else { return };
        let mut running = self.running.lock().await;
        let waits = |queue: &Queue| sizes.queues.get(queue).is_some_and(|waiting| *waiting > 0);
        running.end_strays(waits);
        let strays: Vec<Queue> = sizes
            .queues
            .keys()
            .filter(|queue| waits(queue) && !running.has_lane(queue) && !running.strays.contains_key(queue))
            .copied()
            .collect();
        for queue in strays {
            tracing::warn!(channel = queue.channel.name(), "messages wait for an app that is not configured");
            let stop = self.stop.child_token();
            self.start(Queues::only(queue), None, &stop);
            running.strays.insert(queue, stop);
        }
    }

    fn start(&self, queues: Queues, route: Option<&Route>, stop: &CancellationToken) {
        let (lane, settler) = Lane::over(queues, route, &self.config, self.tools.clone(), stop.clone());
        self.tasks.spawn(pipeline::run_lane(lane));
        self.tasks.spawn(settler.run());
    }
}
