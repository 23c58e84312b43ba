//! Several nodes on one Redis: none of them spoils what another does, and what a dead one has left half done is done or
//! taken back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parvis::store::{
    Answer, CatalogItem, Change, Claim, Commit, Committed, DeadQuery, Error, Horizon, Queue, Step, Store,
    redis::{self, Cut, Pace, Redis, Stage},
    rows::Row,
};
use parvis_beacons::ranging::{Level, Proximity};
use parvis_engine::{
    id::{CampaignId, OrderId, ShopperId},
    notification::{Channel, Milestone, Notification},
    shopper::{Radio, Source, SourceName, Track},
    time::Timestamp,
};
use tokio_util::task::TaskTracker;

use crate::{
    rig::*,
    server::{PATIENCE, Server},
};

async fn node(server: &Server) -> Arc<Redis> {
    node_at(server, Pace::default()).await
}

async fn node_at(server: &Server, pace: Pace) -> Arc<Redis> {
    let config = redis::Config { urls: vec![server.url()], ..redis::Config::default() };
    Arc::new(Redis::open_at_pace(&config, pace).await.expect("opens"))
}

/// One who takes everybody else for dead.
async fn heir(server: &Server) -> Arc<Redis> {
    node_at(server, Pace { lock_patience: Duration::ZERO, ..Pace::default() }).await
}

async fn keys(server: &Server) -> Vec<String> {
    ::redis::from_redis_value(server.ask(&["KEYS", "*"]).await).expect("keys")
}

/// Everything that a key holds, as text.
async fn content(server: &Server, key: &str) -> String {
    let words: &[&str] = match server.tell(&["TYPE", key]).await.as_str() {
        "hash" => &["HGETALL", key],
        "zset" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
        "set" => &["SMEMBERS", key],
        "string" => &["GET", key],
        other => panic!("{key} is a {other}"),
    };
    let parts: Vec<Vec<u8>> = ::redis::from_redis_value(server.ask(words).await).expect("parts");
    parts.iter().map(|part| String::from_utf8_lossy(part).into_owned() + "\n").collect()
}

/// The device passes from A to B and an order comes with it, with a message and an event; C loses another device to A.
fn passing() -> Commit {
    let mut taker = with_device("B", "phone");
    taker.orders.insert(name("o-1"), order("o-1"));
    let changes = vec![
        replaced(1, with_device("A", "tablet"), None),
        replaced(0, taker, Some(at(5))),
        replaced(1, counted("C", 9), None),
    ];
    let bonds = vec![vec![name("A"), name("B"), name("C")]];
    Commit { changes, outbox: vec![message(1, "B", Channel::Fcm)], events: vec![event(1, "B")], bonds }
}

async fn before_passing(store: &dyn Store) {
    let known = vec![replaced(0, with_device("A", "phone"), None), replaced(0, with_device("C", "tablet"), None)];
    assert_eq!(commit(store, known).await, Committed::Done);
}

/// Whether the device has passed; panics if it has half.
async fn has_passed(store: &dyn Store) -> bool {
    let [a, b, c] = [load(store, "A").await, load(store, "B").await, load(store, "C").await];
    let life = store.life(message(1, "B", Channel::Fcm).id).await.expect("available");
    let told = (
        [a.version, b.version, c.version],
        [owner(store, "phone").await, owner(store, "tablet").await],
        store.order_owner(&name::<OrderId>("o-1")).await.expect("available"),
        life.is_some(),
    );
    let [is_a, is_b, is_c]: [Option<ShopperId>; 3] = ["A", "B", "C"].map(|id| Some(name(id)));
    let passed = ([2, 1, 2], [is_b.clone(), is_a.clone()], is_b, true);
    let untouched = ([1, 0, 1], [is_a, is_c], None, false);
    assert!(told == passed || told == untouched, "half done: {told:?}");
    told == passed
}

/// Nothing is locked, and nothing waits to be finished.
async fn nothing_is_left(server: &Server) {
    for key in keys(server).await.iter().filter(|key| key.ends_with(":locks") || key.ends_with(":transfers")) {
        let content = content(server, key).await;
        assert!(key.ends_with(":transfers") && !content.contains("+ "), "{key} holds {content}");
    }
}

const STAGES: [Stage; 4] = [Stage::Prepare, Stage::Decide, Stage::Finish, Stage::Forget];

#[tokio::test]
async fn what_a_dead_node_had_decided_is_seen_by_whoever_asks_for_an_owner() {
    let server = Server::start(&[]).await;
    for (calls, order_first) in [0, 1, 2].into_iter().flat_map(|calls| [(calls, true), (calls, false)]) {
        server.ask(&["FLUSHALL"]).await;
        let dying = node(&server).await;
        before_passing(&*dying).await;
        dying.faults().cut(Cut { stage: Stage::Finish, calls });
        assert!(matches!(dying.commit(passing()).await, Err(Error::Unavailable(_))));
        drop(dying);
        let other = node(&server).await;
        if order_first {
            assert_eq!(other.order_owner(&name::<OrderId>("o-1")).await, Ok(Some(name("B"))));
            assert_eq!(owner(&*other, "phone").await, Some(name("B")));
        }
        assert!(has_passed(&*other).await);
        nothing_is_left(&server).await;
    }
}

#[tokio::test]
async fn what_a_node_that_dies_in_a_transfer_leaves_is_done_or_taken_back() {
    let server = Server::start(&[]).await;
    for (stage, calls) in STAGES.into_iter().flat_map(|stage| [0, 1, 2, 99].map(|calls| (stage, calls))) {
        for sweeps in [true, false] {
            server.ask(&["FLUSHALL"]).await;
            let dying = node(&server).await;
            before_passing(&*dying).await;
            dying.faults().cut(Cut { stage, calls });
            assert!(matches!(dying.commit(passing()).await, Err(Error::Unavailable(_))));
            drop(dying);
            let heir = heir(&server).await;
            if sweeps {
                heir.sweep().await.expect("available");
            } else {
                // Whoever wants to change what is locked finds out what became of it; the answer may be a conflict.
                for (id, version) in [("B", 0), ("C", 1), ("A", 1)] {
                    let probe = vec![erased(version + 7, id)];
                    assert_eq!(commit(&*heir, probe).await, Committed::Conflict(vec![name(id)]));
                }
                let probe = vec![replaced(0, with_device("D", "phone"), None)];
                assert_eq!(commit(&*heir, probe).await, Committed::Conflict(vec![name("D")]));
                let probe = vec![replaced(0, with_device("D", "tablet"), None)];
                assert_eq!(commit(&*heir, probe).await, Committed::Conflict(vec![name("D")]));
                heir.sweep().await.expect("available");
            }
            let is_decided = !matches!(stage, Stage::Prepare) && (stage, calls) != (Stage::Decide, 0);
            assert_eq!(has_passed(&*heir).await, is_decided, "{stage:?} {calls}");
            nothing_is_left(&server).await;
            let again = heir.commit(passing()).await.expect("available");
            assert_eq!(matches!(again, Committed::Done), !is_decided, "{stage:?} {calls}");
            assert!(has_passed(&*heir).await);
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_done_once_when_it_is_said_again() {
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    for (stage, calls) in STAGES.into_iter().flat_map(|stage| [0, 1, 2, 99].map(|calls| (stage, calls))) {
        server.ask(&["FLUSHALL"]).await;
        before_passing(&*node).await;
        node.faults().cut(Cut { stage, calls });
        let with_another = || {
            let mut commit = passing();
            commit.changes.push(replaced(0, counted("E", 1), None));
            commit.events.push(event(2, "E"));
            commit
        };
        assert!(matches!(node.commit(with_another()).await, Err(Error::Unavailable(_))));
        assert_eq!(node.commit(with_another()).await, Ok(Committed::Done), "{stage:?} {calls}");
        assert!(has_passed(&*node).await);
        assert_eq!(load(&*node, "E").await.version, 1);
        let query = parvis::store::JournalQuery { limit: 9, ..Default::default() };
        assert_eq!(node.journal(query).await, Ok(vec![event(1, "B"), event(2, "E")]));
        nothing_is_left(&server).await;
        assert_eq!(
            node.commit(with_another()).await,
            Ok(Committed::Conflict(["A", "B", "C", "E"].map(name).to_vec())),
            "said a third time, it is another commit"
        );
    }
    for calls in [0, 99] {
        node.faults().cut(Cut { stage: Stage::Commit, calls });
        let version = load(&*node, "E").await.version;
        let next = || Commit { changes: vec![replaced(version, counted("E", 2), None)], ..Commit::default() };
        assert!(matches!(node.commit(next()).await, Err(Error::Unavailable(_))));
        assert_eq!(node.commit(next()).await, Ok(Committed::Done));
        assert_eq!(load(&*node, "E").await.version, version + 1);
    }
}

/// Takes the device over, again and again; gives how often it succeeded.
async fn grab(store: Arc<Redis>, me: String, rounds: i64) -> i64 {
    let mut done = 0;
    while done < rounds {
        let holder = owner(&*store, "phone").await.filter(|holder| holder.as_str() != me);
        let mine = load(&*store, &me).await;
        let mut changes = Vec::new();
        let mut taker = with_device(&me, "phone");
        taker.profile = counted(&me, count_of(&mine) + 1).profile;
        changes.push(replaced(mine.version, taker, None));
        if let Some(holder) = &holder {
            let record = load(&*store, holder.as_str()).await;
            let giver = counted(holder.as_str(), count_of(&record));
            changes.push(replaced(record.version, giver, None));
        }
        let bonds = vec![changes.iter().map(|change| change.id.clone()).collect()];
        let outbox = vec![message(done, &me, Channel::Fcm)];
        if store.commit(Commit { changes, outbox, bonds, ..Commit::default() }).await == Ok(Committed::Done) {
            done += 1;
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_many_want_has_one_owner_and_nothing_is_lost() {
    const ROUNDS: i64 = 12;
    let server = Server::start(&[]).await;
    let nodes = [node(&server).await, node(&server).await];
    let names: Vec<String> = (0..6).map(|number| format!("S-{number}")).collect();
    let tasks = TaskTracker::new();
    let grabs: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, me)| tasks.spawn(grab(nodes[number % 2].clone(), me.clone(), ROUNDS)))
        .collect();
    for task in grabs {
        assert_eq!(task.await.expect("ends"), ROUNDS);
    }
    let store = &*nodes[0];
    let mut holders = Vec::new();
    for me in &names {
        let record = load(store, me).await;
        assert_eq!(count_of(&record), ROUNDS, "{me}");
        if !record.shopper.devices.is_empty() {
            holders.push(record.shopper.id.clone());
        }
        for second in 0..ROUNDS {
            let life = store.life(message(second, me, Channel::Fcm).id).await.expect("available");
            assert!(life.is_some(), "{me} {second}");
        }
    }
    assert_eq!(holders.len(), 1);
    assert_eq!(owner(store, "phone").await.as_ref(), holders.first());
    nothing_is_left(&server).await;
}

#[tokio::test]
async fn what_a_node_remembers_of_an_erased_shopper_can_not_be_written_back() {
    let server = Server::start(&[]).await;
    let (one, other) = (node(&server).await, node(&server).await);
    for round in 0..3 {
        let version = load(&*one, "A").await.version;
        assert_eq!(commit(&*one, vec![replaced(version, counted("A", 1), None)]).await, Committed::Done);
        let held = load(&*other, "A").await;
        assert_eq!(commit(&*one, vec![erased(held.version, "A")]).await, Committed::Done);
        assert_eq!(commit(&*one, vec![replaced(0, counted("A", 5), None)]).await, Committed::Done, "{round}");
        let stale = vec![replaced(held.version, (*held.shopper).clone(), None)];
        assert_eq!(commit(&*other, stale).await, Committed::Conflict(vec![name("A")]));
        assert_eq!(commit(&*other, vec![tracked(held.version, "A", 1.0)]).await, Committed::Conflict(vec![name("A")]));
        assert_eq!(count_of(&load(&*other, "A").await), 5);
        let version = load(&*one, "A").await.version;
        assert_eq!(commit(&*one, vec![erased(version, "A")]).await, Committed::Done);
    }
}

#[tokio::test]
async fn nothing_of_an_erased_shopper_is_left_in_any_key() {
    const WHO: &str = "Zq-7-erased";
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    let mut shopper = with_device(WHO, "phone");
    shopper.orders.insert(name("o-1"), order("o-1"));
    shopper.orders.insert(name("o-2"), order("o-2"));
    let first = Commit {
        changes: vec![replaced(0, shopper.clone(), Some(at(5))), replaced(0, counted("B", 1), None)],
        outbox: (0..5).map(|second| message(second, WHO, Channel::PUSH[second as usize % 3])).collect(),
        events: vec![event(1, WHO), event(2, WHO), event(2, "B")],
        bonds: Vec::new(),
    };
    assert_eq!(node.commit(first).await, Ok(Committed::Done));
    commit(&*node, vec![replaced(1, shopper, Some(at(7)))]).await;
    let entries = claim(&*node, 9, 1).await;
    node.settle(vec![settled(&entries[0], 10, dead(1))]).await.expect("available");
    let step = Step { milestone: Milestone::Opened, at: at(20), detail: None };
    assert_eq!(node.report(entries[0].notification.id, step).await, Ok(true));
    let traces = async || {
        let mut traces = Vec::new();
        for key in keys(&server).await {
            let text = key.clone() + "\n" + &content(&server, &key).await;
            let ids = (0..5).map(|second| message(second, WHO, Channel::Fcm).id.to_string());
            if ids.chain([WHO.to_owned()]).any(|trace| text.contains(&trace)) {
                traces.push(key);
            }
        }
        traces
    };
    assert!(traces().await.len() > 8, "it was there");
    assert_eq!(commit(&*node, vec![erased(2, WHO)]).await, Committed::Done);
    assert_eq!(traces().await, Vec::<String>::new());
}

#[tokio::test]
async fn who_has_a_device_can_be_erased_when_memory_is_full() {
    let server = Server::start(&["maxmemory-policy noeviction"]).await;
    let node = node(&server).await;
    for number in 0..4 {
        let known = with_device(&format!("C-{number}"), &format!("phone-{number}"));
        assert_eq!(commit(&*node, vec![replaced(0, known, None)]).await, Committed::Done);
    }
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let changes = vec![replaced(1, counted("C-0", 1), None)];
    assert!(matches!(node.commit(Commit { changes, ..Commit::default() }).await, Err(Error::Unavailable(_))));
    for number in 0..4 {
        let changes = vec![erased(1, &format!("C-{number}"))];
        assert_eq!(node.commit(Commit { changes, ..Commit::default() }).await, Ok(Committed::Done), "{number}");
        assert_eq!(owner(&*node, &format!("phone-{number}")).await, None);
    }
}

#[tokio::test]
async fn who_erases_somebody_unknown_uses_up_no_versions() {
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    for _ in 0..3 {
        assert_eq!(commit(&*node, vec![erased(0, "A")]).await, Committed::Done);
    }
    commit(&*node, vec![replaced(0, counted("A", 1), None)]).await;
    assert_eq!(load(&*node, "A").await.version, 1);
    commit(&*node, vec![erased(1, "A")]).await;
    commit(&*node, vec![replaced(0, counted("A", 1), None)]).await;
    assert!(load(&*node, "A").await.version > 2, "but never one that was given");
}

#[tokio::test]
async fn the_least_of_an_order_is_the_same_in_every_locale() {
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    let mut shopper = with_device("b", "phone");
    shopper.orders.insert(name("o-1"), order("o-1"));
    commit(&*node, vec![replaced(0, shopper, None)]).await;
    let orders = keys(&server).await.into_iter().find(|key| key.ends_with(":orders")).expect("an order is known");
    // Most locales put small letters before great ones, or beside them.
    server.ask(&["HSET", &orders, "o-1", "b\nB"]).await;
    assert_eq!(node.order_owner(&name::<OrderId>("o-1")).await, Ok(Some(name("B"))));
}

#[tokio::test]
async fn what_is_settled_while_it_is_exported_is_not_exported_as_waiting() {
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    send(&*node, vec![message(1, "A", Channel::Fcm)]).await;
    let entries = claim(&*node, 9, 1).await;
    node.settle(vec![settled(&entries[0], 10, accepted(1))]).await.expect("available");
    let lives = keys(&server).await.into_iter().find(|key| key.ends_with(":lives")).expect("a life is known");
    // As if it had still been there when the outbox was read, a moment before the life.
    let id = entries[0].notification.id.to_string();
    server.ask(&["ZADD", &lives.replace(":lives", ":out:fcm"), "1", &id]).await;
    let waits = |row: &Row| matches!(row, Row::Notification(sent) if sent.waiting.is_some());
    let rows = crate::moves::rows(&*node).await;
    assert!(rows.iter().any(|row| matches!(row, Row::Notification(_))) && !rows.iter().any(waits), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_entry_is_leased_to_two_nodes_and_none_is_forgotten() {
    const MESSAGES: i64 = 300;
    let server = Server::start(&[]).await;
    let nodes = [node(&server).await, node(&server).await];
    for shopper in 0..10 {
        let id = format!("S-{shopper}");
        send(&*nodes[0], (0..MESSAGES / 10).map(|second| message(second, &id, Channel::Fcm)).collect()).await;
    }
    let tasks = TaskTracker::new();
    let takers: Vec<_> = (0..4)
        .map(|number| {
            let store = nodes[number % 2].clone();
            tasks.spawn(async move {
                let mut taken = Vec::new();
                for second in (100..129).flat_map(|second| [second; 8]) {
                    taken.extend(claim(&*store, second, 7).await);
                }
                taken
            })
        })
        .collect();
    let mut entries = Vec::new();
    for taker in takers {
        entries.extend(taker.await.expect("ends"));
    }
    let ids: BTreeSet<_> = entries.iter().map(|entry| entry.notification.id).collect();
    assert_eq!((ids.len(), entries.len()), (MESSAGES as usize, MESSAGES as usize));
    assert_eq!(claim(&*nodes[1], 129, 9).await, [], "all are leased");
    let again = claim(&*nodes[1], 159, 1_000).await;
    assert!(!again.is_empty() && again.len() <= 300, "dead nodes' leases run out");
    let late: Vec<_> = entries.iter().map(|entry| settled(entry, 160, accepted(1))).collect();
    nodes[0].settle(late).await.expect("available");
    let waiting = nodes[0].sizes().await.expect("available").waiting[&Channel::Fcm];
    assert_eq!(waiting, again.len() as u64, "of those, late settlements are ignored");
}

#[tokio::test]
async fn budgets_answers_and_wakes_are_given_once_over_two_nodes() {
    let server = Server::start(&[]).await;
    let (one, other) = (node(&server).await, node(&server).await);
    let campaign: CampaignId = name("televisions");
    let mut taken = Vec::new();
    for store in [&one, &other, &one, &other] {
        taken.push(store.lease_budget(&campaign, 10, 4).await.expect("available"));
    }
    assert_eq!(taken, [4, 4, 2, 0]);
    let answer = |status| Answer { status, content_type: String::new(), body: vec![0, 255], request_hash: u64::MAX };
    one.keep_answer("key \n\u{e9}", answer(201), at(1)).await.expect("available");
    other.keep_answer("key \n\u{e9}", answer(409), at(2)).await.expect("available");
    assert_eq!(other.answer("key \n\u{e9}").await, Ok(Some(answer(201))));
    commit(&*one, vec![replaced(0, counted("A", 1), Some(at(5)))]).await;
    assert_eq!(other.due_wakes(at(6), 9).await.expect("available").0, [name("A")]);
    assert_eq!(one.due_wakes(at(6), 9).await.expect("available").0, [], "it was given to the other");
    assert_eq!(one.due_wakes(at(16), 9).await.expect("available").0, [name("A")], "who did nothing with it");
    commit(&*other, vec![replaced(1, counted("A", 2), Some(at(17)))]).await;
    assert_eq!(other.due_wakes(at(17), 9).await.expect("available").0, [name("A")], "it was replaced");
}

#[tokio::test]
async fn a_change_of_the_catalog_reaches_the_other_nodes() {
    let server = Server::start(&[]).await;
    let (one, other) = (node(&server).await, node(&server).await);
    let mut changed = other.catalog_changed();
    let item = CatalogItem { kind: "store".to_owned(), id: "s".to_owned(), json: Some("{}".to_owned()) };
    for generation in 0..3 {
        let put = one.put_catalog(vec![item.clone()], generation).await;
        assert_eq!(put, Ok(Some(generation + 1)));
        assert_eq!(other.put_catalog(vec![item.clone()], generation).await, Ok(None), "somebody was faster");
        let reached = changed.wait_for(|known| *known == generation + 1);
        tokio::time::timeout(PATIENCE, reached).await.expect("it comes").expect("the store lives");
    }
}

#[tokio::test]
async fn what_scanners_hear_of_a_tag_is_known_to_every_node_and_what_changes_nothing_costs_no_write() {
    let server = Server::start(&[]).await;
    let (one, other) = (node(&server).await, node(&server).await);
    commit(&*one, vec![replaced(0, with_device("A", "tag"), None)]).await;
    let heard = |second: i64, scanner: &str| {
        let level = Level { value_dbm: -60.5, at_ms: at(second).as_millis(), since_ms: at(0).as_millis(), count: 3 };
        let source = Source { name: SourceName::Scanner(name(scanner)), level, proximity: Proximity::Near };
        let radio = Radio { sources: vec![source], chosen: Some(name("zone")), ..Radio::default() };
        let track = Track { radio: Some(Box::new(radio)), ..Track::default() };
        let tracks = [(name("tag"), track)].into_iter().collect();
        Change { tracks, ..tracked(1, "A", 1.0) }
    };
    for (second, scanner) in [(1, "s-1"), (2, "s-2"), (3, "s-1")] {
        let (hears, asks) = if second % 2 == 1 { (&one, &other) } else { (&other, &one) };
        let change = heard(second, scanner);
        assert_eq!(commit(&**hears, vec![change.clone()]).await, Committed::Done);
        assert_eq!(load(&**asks, "A").await.tracks, change.tracks);
    }
    let written = async || {
        let told = server.tell(&["INFO", "persistence"]).await;
        told.lines().find(|line| line.starts_with("rdb_changes_since_last_save:")).map(str::to_owned)
    };
    let before = written().await;
    assert_eq!(commit(&*one, vec![tracked(1, "A", 250.0)]).await, Committed::Done);
    assert_eq!((load(&*one, "A").await.version, written().await), (1, before));
    commit(&*one, vec![replaced(1, with_device("A", "tag"), None)]).await;
    assert!(load(&*other, "A").await.tracks.is_empty(), "they were another version's");
}

#[tokio::test]
async fn what_can_not_be_read_is_named_and_holds_nobody_up() {
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    commit(&*node, vec![replaced(0, counted("A", 1), None), replaced(0, counted("B", 1), None)]).await;
    send(&*node, vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm)]).await;
    let id = message(1, "A", Channel::Fcm).id.to_string();
    let holds = async |field: &str| {
        let mut found = Vec::new();
        for key in keys(&server).await {
            let hash = server.tell(&["TYPE", &key]).await == "hash";
            if hash && server.ask(&["HEXISTS", &key, field]).await == ::redis::Value::Int(1) {
                found.push(key);
            }
        }
        found
    };
    let shoppers = holds("A").await.pop().expect("one hash");
    for odd in ["", "odd", "1 0 \nodd", "x a b\n"] {
        server.ask(&["HSET", &shoppers, "A", odd]).await;
        let error = node.load(&[name("A")]).await.expect_err("it is no record");
        assert!(matches!(&error, Error::Corrupt(why) if why.contains(&shoppers) && why.contains("field A")), "{error}");
        assert_eq!(load(&*node, "B").await.version, 1);
    }
    let change = Commit { changes: vec![replaced(1, counted("A", 2), None)], ..Commit::default() };
    assert!(matches!(node.commit(change).await, Err(Error::Corrupt(_))));
    for key in holds(&id).await {
        server.ask(&["HSET", &key, &id, "odd"]).await;
    }
    let entries = claim(&*node, 9, 9).await;
    assert_eq!(
        entries.iter().map(|entry| entry.notification.id).collect::<Vec<_>>(),
        [message(2, "A", Channel::Fcm).id]
    );
    let odd = message(1, "A", Channel::Fcm).id;
    assert!(matches!(node.life(odd).await, Err(Error::Corrupt(why)) if why.contains(&id)));
    let step = Step { milestone: Milestone::Opened, at: at(20), detail: None };
    assert!(matches!(node.report(odd, step).await, Err(Error::Corrupt(why)) if why.contains(&id)));
    server.ask(&["SET", &shoppers, "a string"]).await;
    assert!(node.load(&[name("A")]).await.is_err());
}

#[tokio::test]
async fn what_is_forgotten_leaves_no_key_behind() {
    let server = Server::start(&[]).await;
    let node = node(&server).await;
    let outbox: Vec<_> = (0..600).map(|second| message(second, "A", Channel::Fcm)).collect();
    let events = (0..600).map(|second| event(second, "A")).collect();
    node.commit(Commit { outbox, events, ..Commit::default() }).await.expect("available");
    for number in 0..600 {
        let answer = Answer { status: 200, content_type: String::new(), body: Vec::new(), request_hash: number };
        node.keep_answer(&format!("key-{number}"), answer, at(1)).await.expect("available");
    }
    let (queue, mut given_up) = (Queue::of(&message(0, "A", Channel::Fcm)), 0);
    while let Ok(Claim::Entries(entries)) = node.claim(queue, at(700), 400, LEASE).await {
        let end = |(place, entry)| settled(entry, 700, if place % 2 == 0 { accepted(1) } else { dead(1) });
        node.settle(entries.iter().enumerate().map(end).collect()).await.expect("available");
        given_up += entries.len() / 2;
    }
    let listed = node.dead(DeadQuery { limit: 999, ..DeadQuery::default() }).await.expect("available");
    assert!(given_up > 200 && listed.len() == given_up, "{given_up} {}", listed.len());
    let step = Step { milestone: Milestone::Opened, at: at(900), detail: None };
    for _ in 0..20 {
        assert_eq!(node.report(message(7, "A", Channel::Fcm).id, step.clone()).await, Ok(true));
    }
    node.prune(Horizon { rows: at(800), answers: at(800) }).await.expect("available");
    let life = node.life(message(7, "A", Channel::Fcm).id).await.expect("available").expect("it was reported of late");
    assert_eq!(life.milestones.last(), Some(&step), "once");
    node.prune(Horizon { rows: at(901), answers: at(800) }).await.expect("available");
    let left: Vec<String> = keys(&server).await.into_iter().filter(|key| !key.ends_with(":counters")).collect();
    assert_eq!(left, ["parvis:{catalog}:meta"]);
}

#[tokio::test]
async fn with_memory_full_what_was_sent_is_settled_and_what_would_follow_is_tried_again() {
    let server = Server::start(&["maxmemory-policy noeviction"]).await;
    let node = node(&server).await;
    send(&*node, vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm)]).await;
    let entries = claim(&*node, 9, 2).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let follows = || settled_then(&entries[1], 10, accepted(1), vec![follower(2, "A")]);
    let both = vec![settled(&entries[0], 10, accepted(1)), follows()];
    assert!(matches!(node.settle(both).await, Err(Error::Unavailable(_))));
    let ended = async |entry: &parvis::store::Entry| {
        let life = node.life(entry.notification.id).await.expect("available").expect("known");
        life.milestones.iter().any(|step| step.milestone == Milestone::Accepted)
    };
    assert_eq!((ended(&entries[0]).await, ended(&entries[1]).await), (true, false));
    let late = self::node(&server).await;
    assert_eq!(late.keep_note("token", vec![7; 1_024], 0).await, Ok(Some(1)), "without a token nothing could be sent");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    for _ in 0..2 {
        node.settle(vec![follows()]).await.expect("available");
        assert!(ended(&entries[1]).await);
        assert!(node.life(follower(2, "A").id).await.expect("available").is_some());
    }
    assert_eq!(node.sizes().await.expect("available").waiting[&Channel::WebPush], 1);
}

#[tokio::test]
async fn a_settlement_whose_answer_is_lost_counts_once_with_what_follows() {
    let server = Server::start(&[]).await;
    let (one, other) = (node(&server).await, node(&server).await);
    for (calls, second) in [(0, 1), (99, 2)] {
        send(&*one, vec![message(second, "A", Channel::Fcm)]).await;
        let entry = claim(&*one, 9, 1).await.remove(0);
        let settlement = settled_then(&entry, 10, accepted(1), vec![follower(second, "A")]);
        one.faults().cut(Cut { stage: Stage::Settle, calls });
        assert!(matches!(one.settle(vec![settlement.clone()]).await, Err(Error::Unavailable(_))));
        let follows = async || other.life(follower(second, "A").id).await.expect("available").is_some();
        assert_eq!(follows().await, calls > 0);
        one.settle(vec![settlement]).await.expect("available");
        assert!(follows().await);
        let waiting = other.sizes().await.expect("available").waiting[&Channel::WebPush];
        assert_eq!(waiting, second.unsigned_abs(), "it follows once");
        let queue = Queue::of(&follower(second, "A"));
        assert_eq!(claim_from(&*other, queue, 9 + second, 9).await.len(), 1, "whoever asks may have it");
    }
}

/// Makes of what is in Redis what the layout before queues would have had.
async fn take_queues_away(server: &Server) {
    const TIMES: f64 = 4_398_046_511_104.0;
    for key in keys(server).await {
        if key.ends_with(":dead") {
            server.ask(&["DEL", &key]).await;
        } else if key.contains(":out:") {
            let entries: Vec<(String, f64)> =
                ::redis::from_redis_value(server.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await)
                    .expect("entries");
            for (id, score) in entries {
                server.ask(&["ZADD", &key, &format!("{:.0}", score % TIMES), &id]).await;
            }
        }
    }
    server.ask(&["HSET", "parvis:{catalog}:meta", "layout", "1"]).await;
}

#[tokio::test]
async fn what_waited_before_there_were_queues_is_parted_once_whoever_comes_first() {
    let server = Server::start(&[]).await;
    let before = node(&server).await;
    for shopper in ["A", "B", "C"] {
        send(&*before, (0..30).map(|second| varied(second, shopper)).collect()).await;
    }
    let given_up = claim_from(&*before, queues()[3], 9, 2).await;
    let ends = given_up.iter().map(|entry| settled(entry, 10, dead(1))).collect();
    before.settle(ends).await.expect("available");
    let leased = claim_from(&*before, queues()[1], 50, 5).await;
    let list = DeadQuery { limit: 9, ..DeadQuery::default() };
    let (dead, rows) = (before.dead(list.clone()).await, crate::moves::rows(&*before).await);
    before.close().await.expect("closes");
    take_queues_away(&server).await;

    let (one, other) = tokio::join!(node(&server), node(&server));
    assert_eq!((one.dead(list.clone()).await, one.dead(list).await), (dead.clone(), dead));
    assert_eq!(crate::moves::rows(&*other).await, rows);
    assert_eq!(claim_all(&*one, 60, 10_000).await.len(), 90 - given_up.len() - leased.len(), "each in its queue");
    assert_eq!(claim_all(&*other, 81, 10_000).await.len(), leased.len(), "and who held a lease holds it till its end");
    let again = node(&server).await;
    assert_eq!(claim_all(&*again, 85, 10_000).await, [], "leases stay what they were");
}

#[tokio::test]
async fn what_was_due_before_1970_or_after_2109_is_parted_like_the_rest() {
    let server = Server::start(&[]).await;
    let before = node(&server).await;
    let odd = [Timestamp::from_millis(-1), Timestamp::MAX].map(|due| (due, due.as_millis().to_string()));
    let mut expected = Vec::new();
    for (n, (not_before, _)) in (1..).zip(&odd) {
        expected.push(Notification { not_before: *not_before, ..varied(n, "A") });
    }
    send(&*before, expected.clone()).await;
    before.close().await.expect("closes");
    take_queues_away(&server).await;
    let outbox = keys(&server).await.into_iter().find(|key| key.ends_with(":out:fcm")).expect("they wait");
    for (message, (_, score)) in expected.iter().zip(&odd) {
        server.ask(&["ZADD", &outbox, score, &message.id.to_string()]).await;
    }

    let after = node(&server).await;
    for (message, now) in expected.iter().zip([at(0), Timestamp::MAX]) {
        let claim = after.claim(Queue::of(message), now, 9, LEASE).await.expect("available");
        let Claim::Entries(entries) = claim else { panic!("{message:?} is due: {claim:?}") };
        assert_eq!(
            entries.into_iter().map(|entry| entry.notification).collect::<Vec<_>>(),
            std::slice::from_ref(message)
        );
    }
}

#[tokio::test]
async fn a_change_that_an_older_version_has_left_half_done_is_not_misread() {
    let server = Server::start(&[]).await;
    let dying = node(&server).await;
    before_passing(&*dying).await;
    dying.faults().cut(Cut { stage: Stage::Finish, calls: 0 });
    assert!(matches!(dying.commit(passing()).await, Err(Error::Unavailable(_))));
    drop(dying);
    take_queues_away(&server).await;
    let config = redis::Config { urls: vec![server.url()], ..redis::Config::default() };
    let refused = Redis::open(&config).await.expect_err("it would be misread");
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("older version")), "{refused}");
    assert_eq!(server.tell(&["HGET", "parvis:{catalog}:meta", "layout"]).await, "1", "the older version may go on");
}
