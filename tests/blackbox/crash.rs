//! Killed again and again under load: whatever was answered is there, whatever was decided is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::Method;
use parvis::{clock::Clock, entropy::Entropy, sandbox::Conditions};
use parvis_engine::{notification::Channel, time::Timestamp};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::rig::{self, Caller, Rig, north};

const SHOPPERS: usize = 9;
const ROUNDS: u64 = 5;
/// How many answers a round brings at least before its end.
const ANSWERS: usize = 150;
/// Between two fixes of a walker: out of the shop and back at 70 m/s, which is believed.
const STEP: Duration = Duration::from_secs(5);
/// Steps that fit between the beginning of the walk and the present, so that none is in the future.
const STEPS: u64 = 110;

const STATES: [&str; 6] = ["registered", "confirmed", "preparing", "shipped", "out_for_delivery", "delivered"];

/// What one shopper's programs were answered.
#[derive(Default)]
struct Answered {
    /// Times of the fixes inside and outside.
    fixes: Vec<(Timestamp, bool)>,
    /// Order and event.
    events: Vec<(String, String)>,
    /// Transitions in the answers, as kind and time.
    transitions: BTreeSet<(String, String)>,
    /// Stores that were put into the catalog.
    stores: Vec<String>,
    /// Messages that answers to order events named.
    messages: BTreeSet<String>,
}

/// Sends one request until it is answered with success, as a phone does.
async fn insist(
    callers: &mut watch::Receiver<Option<Caller>>,
    (method, path): (Method, &str),
    body: &Value,
    enough: &AtomicBool,
) -> Option<Value> {
    loop {
        let caller = callers.wait_for(Option::is_some).await.ok()?.clone()?;
        if let Some(reply) = caller.call(method.clone(), path, body).await
            && reply.status.is_success()
        {
            return Some(reply.json());
        }
        if enough.load(SeqCst) {
            return None;
        }
        tokio::task::yield_now().await;
    }
}

async fn live(
    shopper: usize,
    begin: Timestamp,
    mut callers: watch::Receiver<Option<Caller>>,
    (answers, enough): (Arc<AtomicUsize>, Arc<AtomicBool>),
) -> Answered {
    let mut answered = Answered::default();
    for step in 0..STEPS {
        if enough.load(SeqCst) {
            break;
        }
        let (at, inside) = (begin.plus(STEP * u32::try_from(step).expect("small")), step % 2 == 1);
        let body = rig::report(&format!("phone-{shopper}"), at, north(if inside { 0.0 } else { 350.0 }));
        let Some(answer) = insist(&mut callers, (Method::POST, "/v1/observations"), &body, &enough).await else {
            break;
        };
        assert_eq!(answer["accepted"], 1, "{answer}");
        answered.fixes.push((at, inside));
        answered.transitions.extend(transitions(&answer["transitions"]));
        answers.fetch_add(1, SeqCst);

        // An order for each event, because news that newer ones have overtaken are not sent.
        let (order, state) = (format!("A-{shopper}-{step}"), STATES[usize::try_from(step % 6).expect("small")]);
        let event = json!({ "event": format!("E-{state}"), "at": at, "state": state, "shopper": format!("C-{shopper}"),
            "fulfilment": "delivery" });
        let path = format!("/v1/orders/{order}/events");
        let Some(answer) = insist(&mut callers, (Method::POST, &path), &event, &enough).await else { break };
        let messages = answer["notifications"].as_array().expect("a list");
        answered.messages.extend(messages.iter().map(|id| id.as_str().expect("text").to_owned()));
        answered.events.push((order, format!("E-{state}")));
        answers.fetch_add(1, SeqCst);

        if step % 8 == 0 {
            let path = format!("/v1/stores/store-{shopper}-{step}");
            let store = json!({ "name": "Opéra", "time_zone": "Europe/Paris" });
            let Some(_) = insist(&mut callers, (Method::PUT, &path), &store, &enough).await else { break };
            answered.stores.push(path);
            answers.fetch_add(1, SeqCst);
        }
    }
    answered
}

fn transitions(list: &Value) -> Vec<(String, String)> {
    let text = |it: &Value, name: &str| it[name].as_str().expect("text").to_owned();
    let list = list.as_array().expect("a list");
    list.iter().map(|it| (text(it, "transition"), text(it, "at"))).collect()
}

async fn open(rig: &Rig) {
    rig.put_shop(json!({})).await;
    // Whoever has left by the time is not greeted, but a farewell always reaches them.
    rig.put("/v1/campaigns/farewell", rig::greeting("exit")).await;
    let news = json!({ "purpose": "order", "on": { "order": STATES },
        "content": { "en": { "title": "{{ order.state }}", "body": "Order {{ order.id }}" } } });
    rig.put("/v1/campaigns/news", news).await;
    for shopper in 0..SHOPPERS {
        let target = [rig.apns(), rig.fcm(), rig.webpush()][shopper % 3].clone();
        rig.put_guest(&format!("C-{shopper}"), &format!("phone-{shopper}"), target).await;
    }
    for channel in Channel::PUSH {
        rig.sandbox.set_conditions(channel, Conditions { latency_ms: 30, ..Conditions::default() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost() {
    let mut rig = Rig::start().await;
    open(&rig).await;
    let dice = Entropy::seeded(20_261_121);
    let (answers, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let callers = watch::Sender::new(Some(rig.caller()));
    let begin = rig::ago(STEP.as_secs() * STEPS);
    let mut walkers = JoinSet::new();
    for shopper in 0..SHOPPERS {
        let (callers, flags) = (callers.subscribe(), (answers.clone(), enough.clone()));
        walkers.spawn(async move { (shopper, live(shopper, begin, callers, flags).await) });
    }
    for _ in 0..ROUNDS {
        let goal = answers.load(SeqCst) + ANSWERS;
        rig::until("answers", async || (answers.load(SeqCst) >= goal || walkers.is_empty()).then_some(())).await;
        Clock::System.sleep(Duration::from_micros(dice.bits() % 40_000)).await;
        callers.send_replace(None);
        rig.kill().await;
        rig.boot().await;
        callers.send_replace(Some(rig.caller()));
    }
    enough.store(true, SeqCst);
    let answered: BTreeMap<usize, Answered> = walkers.join_all().await.into_iter().collect();

    let mut sent = 0;
    for (shopper, answered) in &answered {
        sent += check(&rig, *shopper, answered).await.len();
    }
    let received = rig::tally(&rig.accepted());
    let twice = received.values().map(|times| times - 1).sum::<usize>();
    assert!(sent > 100, "a real load: {sent}");
    assert_eq!(received.len(), sent, "no message but those that were decided");
    assert_eq!(rig.sandbox.counts().refused, 0, "nothing wrong reached a provider");
    eprintln!(
        "killed {ROUNDS} times: {} requests answered, {sent} messages decided, all reached a provider, {twice} of them again",
        answers.load(SeqCst)
    );
}

/// Everything that this shopper's programs were answered is there; gives the messages.
async fn check(rig: &Rig, shopper: usize, answered: &Answered) -> BTreeSet<String> {
    let name = format!("C-{shopper}");
    let held = rig.get(&format!("/v1/shoppers/{name}")).await;
    assert_eq!(held["journal_cut"], false);

    let mut told = BTreeSet::new();
    for transition in rig::rows(&held, "transition") {
        let text = |name: &str| transition[name].as_str().expect("text").to_owned();
        assert!(told.insert((text("transition"), text("at"))), "{name}: told twice: {transition}");
    }
    assert!(told.is_superset(&answered.transitions), "{name}: an answer told what is not in the journal");
    for (at, inside) in answered.fixes.iter().skip(1) {
        let expected = (if *inside { "enter" } else { "exit" }.to_owned(), at.to_string());
        assert!(told.contains(&expected), "{name}: {expected:?} was answered and is lost");
    }
    for (order, event) in &answered.events {
        let known = rig.get(&format!("/v1/orders/{order}")).await;
        assert!(known["events"].get(event).is_some(), "{name}: {order} {event} was answered and is lost");
    }
    for path in &answered.stores {
        rig.get(path).await;
    }

    let decisions = rig::rows(&held, "decision");
    let decided: BTreeSet<String> =
        decisions.iter().filter_map(|row| row["notification"].as_str().map(str::to_owned)).collect();
    assert!(decided.is_superset(&answered.messages), "{name}: an answer named a message that is not there");
    let lives = rig.ended_lives(&name, decided.len()).await;
    let received = rig::tally(&rig.accepted());
    for life in &lives {
        let (id, end) = (rig::id(life), rig::terminal(life));
        assert!(decided.contains(&id), "{name}: {id} was never decided");
        let times = received.get(&id).copied().unwrap_or(0);
        assert_eq!(end, ["accepted"], "{name}: {life}");
        assert!(times > 0, "{name}: {id} is said to be accepted and never arrived");
    }
    decided
}
