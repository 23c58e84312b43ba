//! Shoppers who walk in and out and order things, through whichever node answers; and what must be true afterwards.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use parvis::{clock::Clock, entropy::Entropy, sandbox::Conditions};
use parvis_engine::{notification::Channel, time::Timestamp};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    nodes::{Callers, Nodes},
    rig::{self, north, until},
};

const WALKERS: usize = 9;
/// Between two fixes of a walker: out of the shop and back at 70 m/s, which is believed.
const STEP: Duration = Duration::from_secs(5);
/// Steps of one shopper; then the walker goes on as another one, whose walk begins anew in the past.
const STEPS: u32 = 60;
/// Shoppers that a walker can be.
const LIVES: usize = 60;
const STATES: [&str; 6] = ["registered", "confirmed", "preparing", "shipped", "out_for_delivery", "delivered"];

/// Load on the nodes, until it is ended.
pub(crate) struct Load {
    shared: Arc<Shared>,
    walkers: JoinSet<Vec<Shopper>>,
}

struct Shared {
    callers: watch::Receiver<Callers>,
    answers: AtomicUsize,
    refused: Vec<AtomicUsize>,
    unanswered: AtomicUsize,
    enough: AtomicBool,
}

/// One shopper and what their programs were answered.
struct Shopper {
    id: String,
    /// Device, time, and whether it was inside.
    fixes: Vec<(String, Timestamp, bool)>,
    /// Order and event.
    events: Vec<(String, String)>,
    /// Transitions in the answers: device, kind, time.
    transitions: BTreeSet<(String, String, String)>,
    /// Stores that were put into the catalog.
    stores: Vec<String>,
    /// Messages that answers to order events named.
    messages: BTreeSet<String>,
}

/// What came of the load.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) shoppers: usize,
    pub(crate) answers: usize,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
    /// Messages that were decided.
    pub(crate) messages: usize,
    /// How many of them are said to be accepted; the others were no longer wanted.
    pub(crate) accepted: usize,
    /// How often one reached a provider that had it already.
    pub(crate) twice: usize,
}

impl Load {
    /// Opens the shop and lets the walkers in.
    pub(crate) async fn begin(nodes: &Nodes, seed: u64) -> Load {
        eprintln!("seed {seed}");
        let rig = &nodes.rig;
        rig.put_shop(json!({})).await;
        rig.put("/v1/campaigns/farewell", rig::greeting("exit")).await;
        let news = json!({ "purpose": "order", "on": { "order": STATES },
            "content": { "en": { "title": "{{ order.state }}", "body": "Order {{ order.id }}" } } });
        rig.put("/v1/campaigns/news", news).await;
        for node in 0..nodes.count() {
            nodes.shown(node, "/v1/campaigns/news").await;
        }
        for channel in Channel::PUSH {
            rig.sandbox.set_conditions(channel, Conditions { latency_ms: 20, ..Conditions::default() });
        }
        let shared = Arc::new(Shared {
            callers: nodes.callers.subscribe(),
            answers: AtomicUsize::new(0),
            refused: (0..nodes.count()).map(|_| AtomicUsize::new(0)).collect(),
            unanswered: AtomicUsize::new(0),
            enough: AtomicBool::new(false),
        });
        let mut walkers = JoinSet::new();
        for number in 0..WALKERS {
            let targets = (0..LIVES).map(|_| match number % 3 {
                0 => [rig.apns(), rig.apns()],
                1 => [rig.fcm(), rig.fcm()],
                _ => [rig.webpush(), rig.webpush()],
            });
            let walker = Walker { shared: shared.clone(), dice: Entropy::seeded(seed ^ (number as u64) << 32), number };
            walkers.spawn(walker.walk(targets.collect()));
        }
        Load { shared, walkers }
    }

    pub(crate) fn answered(&self) -> usize {
        self.shared.answers.load(SeqCst)
    }

    /// How many requests a node has refused for now.
    pub(crate) fn refused(&self, node: usize) -> usize {
        self.shared.refused[node].load(SeqCst)
    }

    /// Waits for so many answers more.
    pub(crate) async fn more_answers(&self, count: usize) {
        let goal = self.answered() + count;
        until("answers", async || (self.answered() >= goal).then_some(())).await;
    }

    /// Waits until a node refuses so many requests more. Walkers whom it let in before it closed its door wait inside, so
    /// that others must come after them.
    pub(crate) async fn more_refusals(&self, node: usize, count: usize) {
        let goal = self.refused(node) + count;
        let mut probes = JoinSet::new();
        until("refusals", async || {
            let (shared, caller) = (self.shared.clone(), self.shared.callers.borrow()[node].clone()?);
            let path = format!("/v1/shoppers/probe-{}", probes.len());
            probes.spawn(async move {
                let reply = caller.call(Method::PUT, &path, &rig::profile("en-GB")).await;
                if reply.is_some_and(|reply| reply.status == StatusCode::SERVICE_UNAVAILABLE) {
                    shared.refused[node].fetch_add(1, SeqCst);
                }
            });
            (self.refused(node) >= goal).then_some(())
        })
        .await;
    }

    /// Ends it and checks that everything that was answered is there, and that everything decided has come to an end.
    pub(crate) async fn end(self, nodes: &Nodes) -> Figures {
        self.shared.enough.store(true, SeqCst);
        let shoppers: Vec<Shopper> = self.walkers.join_all().await.into_iter().flatten().collect();
        let mut decided = BTreeSet::new();
        let mut accepted = 0;
        for (number, shopper) in shoppers.iter().enumerate() {
            let (messages, taken) = check(nodes, number % nodes.count(), shopper).await;
            accepted += taken;
            decided.extend(messages);
        }
        let received = rig::tally(&nodes.rig.accepted());
        assert!(received.keys().all(|id| decided.contains(id)), "no message but those that were decided");
        assert_eq!(nodes.rig.sandbox.counts().refused, 0, "nothing wrong reached a provider");
        for channel in ["apns", "fcm", "webpush"] {
            let waiting = nodes.rig.metric(&format!("parvis_outbox_waiting{{channel=\"{channel}\"}}")).await;
            assert_eq!(waiting, 0.0, "accepted is settled and waiting, and nothing waits on {channel}");
        }
        let figures = Figures {
            shoppers: shoppers.len(),
            answers: self.shared.answers.load(SeqCst),
            refused: self.shared.refused.iter().map(|count| count.load(SeqCst)).sum(),
            unanswered: self.shared.unanswered.load(SeqCst),
            messages: decided.len(),
            accepted,
            twice: received.values().map(|times| times - 1).sum(),
        };
        let Figures { shoppers, answers, refused, unanswered, messages, accepted, twice } = figures;
        eprintln!(
            "{shoppers} shoppers, {answers} requests answered, {refused} told to come back, {unanswered} not answered; \
             {messages} messages decided, {accepted} accepted, {twice} of them again"
        );
        figures
    }
}

struct Walker {
    shared: Arc<Shared>,
    dice: Entropy,
    number: usize,
}

impl Walker {
    async fn walk(self, targets: Vec<[Value; 2]>) -> Vec<Shopper> {
        let mut shoppers = Vec::new();
        for (life, targets) in targets.into_iter().enumerate() {
            let mut shopper = Shopper::new(format!("C-{}-{life}", self.number));
            let lived = self.live(&mut shopper, &targets).await;
            shoppers.push(shopper);
            if lived.is_none() {
                break;
            }
        }
        shoppers
    }

    /// None if it was enough before its end.
    async fn live(&self, shopper: &mut Shopper, targets: &[Value; 2]) -> Option<()> {
        let begin = rig::ago(STEP.as_secs() * u64::from(STEPS) + 60);
        self.insist(Method::PUT, &format!("/v1/shoppers/{}", shopper.id), &rig::profile("en-GB")).await?;
        for (device, target) in shopper.devices().iter().zip(targets) {
            let body = json!({ "shopper": shopper.id, "platform": "ios", "target": target });
            self.insist(Method::PUT, &format!("/v1/devices/{device}"), &body).await?;
        }
        for step in 0..STEPS {
            let (at, inside) = (begin.plus(STEP * step), step % 2 == 1);
            let [one, other] = shopper.devices().map(|device| self.report(device, at, inside));
            let (one, other) = tokio::join!(one, other);
            for (device, answer) in shopper.devices().into_iter().zip([one, other]) {
                let answer = answer?;
                assert_eq!(answer["accepted"], 1, "{answer}");
                shopper.transitions.extend(transitions(&answer["transitions"]).into_iter().map(|it| it.0));
                shopper.fixes.push((device, at, inside));
            }
            self.order(shopper, step, at).await?;
            if step % 16 == 0 {
                let path = format!("/v1/stores/store-{}-{step}", shopper.id);
                let store = json!({ "name": "Opéra", "time_zone": "Europe/Paris" });
                self.insist(Method::PUT, &path, &store).await?;
                shopper.stores.push(path);
            }
        }
        Some(())
    }

    async fn report(&self, device: String, at: Timestamp, inside: bool) -> Option<Value> {
        let body = rig::report(&device, at, north(if inside { 0.0 } else { 350.0 }));
        self.insist(Method::POST, "/v1/observations", &body).await
    }

    /// An order for each event, because news that newer ones have overtaken are not sent.
    async fn order(&self, shopper: &mut Shopper, step: u32, at: Timestamp) -> Option<()> {
        let state = STATES[usize::try_from(step).expect("small") % STATES.len()];
        let (order, event) = (format!("A-{}-{step}", shopper.id), format!("E-{state}"));
        let body = json!({ "event": event, "at": at, "state": state, "shopper": shopper.id, "fulfilment": "delivery" });
        let answer = self.insist(Method::POST, &format!("/v1/orders/{order}/events"), &body).await?;
        let messages = answer["notifications"].as_array().expect("a list");
        shopper.messages.extend(messages.iter().map(|id| id.as_str().expect("text").to_owned()));
        shopper.events.push((order, event));
        Some(())
    }

    /// Sends one request until a node answers it with success, as a program behind a load balancer does.
    async fn insist(&self, method: Method, path: &str, body: &Value) -> Option<Value> {
        const PAUSE: Duration = Duration::from_millis(20);
        while !self.shared.enough.load(SeqCst) {
            let callers = self.shared.callers.borrow().clone();
            let up: Vec<_> = callers.into_iter().enumerate().filter_map(|(node, it)| Some((node, it?))).collect();
            let chosen = usize::try_from(self.dice.bits() % up.len().max(1) as u64).expect("small");
            let Some((node, caller)) = up.get(chosen) else {
                Clock::System.sleep(PAUSE).await;
                continue;
            };
            let Some(reply) = caller.call(method.clone(), path, body).await else {
                self.shared.unanswered.fetch_add(1, SeqCst);
                Clock::System.sleep(PAUSE).await;
                continue;
            };
            if reply.status.is_success() {
                self.shared.answers.fetch_add(1, SeqCst);
                return Some(reply.json());
            }
            let later = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&reply.status);
            assert!(later, "{method} {path}: {} {:?}", reply.status, reply.body);
            assert!(!reply.header("retry-after").is_empty(), "{method} {path}: {}", reply.status);
            self.shared.refused[*node].fetch_add(1, SeqCst);
            Clock::System.sleep(PAUSE).await;
        }
        None
    }
}

impl Shopper {
    fn new(id: String) -> Shopper {
        let (transitions, messages) = (BTreeSet::new(), BTreeSet::new());
        Shopper { id, fixes: Vec::new(), events: Vec::new(), transitions, stores: Vec::new(), messages }
    }

    fn devices(&self) -> [String; 2] {
        ["phone", "watch"].map(|what| format!("{what}-{}", self.id))
    }
}

/// Each as device, kind and time, and whether it is on record only.
fn transitions(list: &Value) -> Vec<((String, String, String), bool)> {
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_else(|| panic!("no {name}: {it}")).to_owned();
    let list = list.as_array().expect("a list");
    let one = |it: &Value| {
        ((text(it, "device"), text(it, "transition"), text(it, "at")), it["replayed"].as_bool().unwrap_or(false))
    };
    list.iter().map(one).collect()
}

/// Everything that this shopper's programs were answered is there; gives the messages, and how many were accepted.
async fn check(nodes: &Nodes, node: usize, shopper: &Shopper) -> (BTreeSet<String>, usize) {
    let (rig, name) = (&nodes.rig, &shopper.id);
    let reply = nodes.call(node, Method::GET, &format!("/v1/shoppers/{name}"), &Value::Null).await;
    if shopper.fixes.is_empty() && reply.status == StatusCode::NOT_FOUND {
        return (BTreeSet::new(), 0);
    }
    let held = reply.json();
    let mut told = BTreeSet::new();
    for (transition, _) in transitions(&Value::Array(rig::rows(&held, "transition"))) {
        assert!(told.insert(transition.clone()), "{name}: told twice: {transition:?}");
    }
    assert!(told.is_superset(&shopper.transitions), "{name}: an answer told what is not in the journal");
    // The first fix of each device is outside, where it was.
    for (device, at, inside) in shopper.fixes.iter().skip(2) {
        let expected = (device.clone(), if *inside { "enter" } else { "exit" }.to_owned(), at.to_string());
        assert!(told.contains(&expected), "{name}: {expected:?} was answered and is lost");
    }
    for (order, event) in &shopper.events {
        let known = nodes.must(node, Method::GET, &format!("/v1/orders/{order}"), &Value::Null).await;
        assert!(known["events"].get(event).is_some(), "{name}: {order} {event} was answered and is lost");
    }
    for path in &shopper.stores {
        nodes.shown(node, path).await;
    }
    let decisions = rig::rows(&held, "decision");
    let decided: BTreeSet<String> =
        decisions.iter().filter_map(|row| row["notification"].as_str().map(str::to_owned)).collect();
    assert!(decided.is_superset(&shopper.messages), "{name}: an answer named a message that is not there");
    let lives = rig.ended_lives(name, decided.len()).await;
    let received = rig::tally(&rig.accepted());
    let mut accepted = 0;
    for life in &lives {
        let (id, end) = (rig::id(life), rig::terminal(life));
        assert!(decided.contains(&id), "{name}: {id} was never decided");
        assert!(end == ["accepted"] || end == ["suppressed"], "{name}: {life}");
        if end == ["accepted"] {
            assert!(received.contains_key(&id), "{name}: {id} is said to be accepted and never arrived");
            accepted += 1;
        }
    }
    (decided, accepted)
}
