//! A little of everything that the store is asked, a call a step; and everything that can be seen in it.

use std::{sync::Arc, time::Duration};

use crate::{
    report::{Event, What},
    store::{
        Answer, CatalogItem, Change, Claim, Commit, Committed, DeadQuery, Durable, End, Error, Horizon, JournalQuery,
        Queue, Settlement, Step, Store,
        embedded::{Embedded, dead, read, tables},
    },
};
use parvis_engine::{
    id::{AppId, CampaignId, DeviceId, NotificationId, OrderId, ShopperId},
    notification::{Body, Cause, Channel, Content, Milestone, Notification, Origin, Purpose, Recipient},
    order::{Order, OrderState},
    shopper::{Attribute, Device, Shopper},
    time::Timestamp,
};

/// Shoppers who change.
const SHOPPERS: i64 = 6;

/// One call; the next one follows only when this one is answered.
pub(super) async fn step(store: &Embedded, n: i64) -> Result<(), Error> {
    match n % 11 {
        0 | 5 => commit(store, replaced_all(store, n, 0)).await,
        1 | 6 => settle(store, n).await,
        2 => pass_device(store, n).await,
        3 if n % 2 == 0 => {
            let version = store.note("token").await?.map_or(0, |note| note.version);
            store.keep_note("token", vec![7; 30], version).await.map(drop)
        }
        3 => store.lease_budget(&campaign(), 1_000, 7).await.map(drop),
        4 => {
            let generation = *store.catalog_changed().borrow();
            let item = |id: &str| CatalogItem {
                kind: "store".to_owned(),
                id: id.to_owned(),
                json: (n % 2 == 0 || id == "a").then(|| format!("{{\"n\":{n}}}")),
            };
            store.put_catalog(vec![item("a"), item("b")], generation).await.map(drop)
        }
        7 => store.keep_answer(&key(n), answer(n), at(n)).await,
        8 => {
            let opened = crate::store::Step { milestone: Milestone::Opened, at: at(n), detail: None };
            let messages: Vec<_> = (0..n).map(|n| message(n, 0).id).collect();
            let mut known = None;
            for id in messages.into_iter().rev() {
                if store.life(id).await?.is_some() {
                    known = Some(id);
                    break;
                }
            }
            let Some(id) = known else { return Ok(()) };
            report(store, id, opened).await
        }
        9 => {
            let id = shopper_id(n / 11);
            let version = store.volatile.state.version(&id);
            let change = Change { version, id, state: Durable::Erased, tracks: Default::default() };
            commit(store, Commit { changes: vec![change], ..Commit::default() }).await
        }
        _ if n % 3 == 0 => store.prune(Horizon { rows: at(n - 25), answers: at(n - 25) }).await,
        // Much, so that the log is cleaned.
        _ => commit(store, replaced_all(store, n, 20_000)).await,
    }
}

/// Everything that can be seen, as text.
pub(super) fn observe(store: &Embedded, steps: i64) -> Vec<String> {
    let state = &store.volatile.state;
    let mut seen = Vec::new();
    for n in 0..SHOPPERS {
        let record = state.load(&shopper_id(n));
        let order: OrderId = name(&format!("o-{n}"));
        seen.push(format!("{n} {} {:?}", record.version, record.shopper));
        seen.push(format!("{:?} {:?}", state.owner(&device_id(n)), state.order_owner(&order)));
    }
    seen.push(format!("{:?} {:?}", state.due_wakes(Timestamp::MAX, 100), state.shoppers()));
    let rest = store.file.read(|transaction| {
        let mut seen = Vec::new();
        let mut waiting = 0;
        for row in transaction.open_table(tables::OUTBOX)?.range::<tables::Slot>(..)? {
            let (key, value) = row?;
            seen.push(format!("{:?} {}", key.value(), value.value().0));
            waiting += 1;
        }
        assert_eq!(waiting, store.volatile.counted().waiting.values().sum::<u64>(), "what is counted waits");
        for (n, of) in (0..steps).flat_map(|n| (0..SHOPPERS).map(move |of| (n, of))) {
            seen.extend(read::life(transaction, message(n, of).id)?.map(|life| format!("{life:?}")));
        }
        let query = |shopper| JournalQuery { shopper, limit: 10_000, ..JournalQuery::default() };
        let journal = read::journal(transaction, &query(None))?;
        for n in 0..SHOPPERS {
            let own: Vec<_> = journal.iter().filter(|event| event.shopper == shopper_id(n)).cloned().collect();
            assert_eq!(read::journal(transaction, &query(Some(shopper_id(n))))?, own, "the index");
        }
        seen.extend(journal.iter().map(|event| format!("{event:?}")));
        seen.push(format!("{:?}", read::catalog(transaction)?));
        for n in 0..steps {
            if let Some(place) = read::answer_place(&store.volatile, &key(n)) {
                seen.push(format!("{:?}", read::answer(transaction, place, &key(n))?));
            }
        }
        let spent = transaction.open_table(tables::BUDGETS)?.get(campaign().as_str())?.map(|row| row.value());
        seen.push(format!("{spent:?} {:?}", read::note(transaction, "token")?));
        let given_up = dead::list(transaction, &DeadQuery { limit: 1_000, ..DeadQuery::default() })?;
        seen.extend(given_up.iter().map(|life| format!("{life:?}")));
        Ok(seen)
    });
    seen.extend(rest.expect("is readable"));
    seen
}

async fn commit(store: &Embedded, commit: Commit) -> Result<(), Error> {
    let committed = store.commit(commit).await?;
    assert_eq!(committed, Committed::Done);
    Ok(())
}

async fn report(store: &Embedded, id: NotificationId, step: Step) -> Result<(), Error> {
    store.report(id, step).await.map(drop)
}

fn replaced_all(store: &Embedded, n: i64, bulk: usize) -> Commit {
    let mut commit = Commit::default();
    for of in 0..SHOPPERS {
        let record = store.volatile.state.load(&shopper_id(of));
        let mut shopper = (*record.shopper).clone();
        if store.volatile.state.owner(&device_id(of)).is_none() {
            shopper.devices.insert(device_id(of), Device::new("android".to_owned(), None, at(0)));
        }
        shopper.profile.attributes.insert("n".to_owned(), Attribute::Number(n as f64));
        shopper.profile.attributes.insert("bulk".to_owned(), Attribute::Text("x".repeat(bulk)));
        shopper.orders.insert(name(&format!("o-{of}")), order(of));
        commit.changes.push(replaced(record.version, shopper, Some(at(n + of))));
        if bulk == 0 {
            commit.outbox.push(message(n, of));
        }
        let what = What::Order { order: name("o-1"), state: OrderState::Shipped };
        commit.events.push(Event { at: at(n), recorded_at: at(n), shopper: shopper_id(of), what });
    }
    commit
}

async fn settle(store: &Embedded, n: i64) -> Result<(), Error> {
    let lease = Duration::from_secs(30);
    let queue = Queue::of(&message(0, n));
    let Claim::Entries(entries) = store.claim(queue, at(100_000 + 60 * n), 5, lease).await? else {
        return Ok(());
    };
    let end = |index| match index {
        0 => End::Again { at: at(n + 3), attempts: 1, detail: Some("later".to_owned()) },
        1 => End::Terminal { milestone: Milestone::Dead, detail: Some("gone".to_owned()), attempts: 1 },
        _ => End::Terminal { milestone: Milestone::Accepted, detail: None, attempts: 1 },
    };
    let settle = |(index, entry): (usize, crate::store::Entry)| Settlement {
        then: (0..SHOPPERS).map(|of| message(n, of)).filter(|it| it.shopper == entry.notification.shopper).collect(),
        shopper: entry.notification.shopper,
        queue,
        id: entry.notification.id,
        lease: entry.lease,
        at: at(n),
        end: end(index),
    };
    store.settle(entries.into_iter().enumerate().map(settle).collect()).await
}

/// A device goes from one shopper to the next.
async fn pass_device(store: &Embedded, n: i64) -> Result<(), Error> {
    let device = device_id(n % SHOPPERS);
    let Some(owner) = store.volatile.state.owner(&device) else { return Ok(()) };
    let taker = (0..SHOPPERS).map(shopper_id).find(|id| *id != owner).expect("there are several");
    let mut changes = Vec::new();
    for id in [&owner, &taker] {
        let record = store.volatile.state.load(id);
        let mut shopper = (*record.shopper).clone();
        if *id == owner {
            shopper.devices.remove(&device);
        } else {
            shopper.devices.insert(device.clone(), Device::new("ios".to_owned(), None, at(n)));
        }
        changes.push(replaced(record.version, shopper, Some(at(n))));
    }
    commit(store, Commit { changes, bonds: vec![vec![owner, taker]], ..Commit::default() }).await
}

fn replaced(version: u64, shopper: Shopper, wake: Option<Timestamp>) -> Change {
    let id = shopper.id.clone();
    Change { version, id, state: Durable::Replaced { shopper: Arc::new(shopper), wake }, tracks: Default::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
}

fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

fn shopper_id(n: i64) -> ShopperId {
    name(&format!("C-{}", n % SHOPPERS))
}

fn device_id(n: i64) -> DeviceId {
    name(&format!("device-{n}"))
}

fn campaign() -> CampaignId {
    name("televisions")
}

fn key(n: i64) -> String {
    format!("key-{n}")
}

fn answer(n: i64) -> Answer {
    Answer { status: 200, content_type: "text/plain".to_owned(), body: vec![b'x'; 40], request_hash: n.unsigned_abs() }
}

fn order(n: i64) -> Order {
    let order = serde_json::json!({ "id": format!("o-{n}"), "state": "registered", "at": at(0), "events": {} });
    serde_json::from_value(order).expect("an order")
}

fn message(n: i64, of: i64) -> Notification {
    Notification {
        id: NotificationId::derive(at(n), &shopper_id(of), &["a"]),
        shopper: shopper_id(of),
        recipient: Recipient::Device(device_id(of)),
        channel: Channel::Fcm,
        app: AppId::default(),
        origin: Origin::Campaign {
            campaign: campaign(),
            purpose: if of % 2 == 0 { Purpose::Offer } else { Purpose::Order },
            cause: Cause::Order { order: name("o-1"), state: OrderState::Shipped },
        },
        replays: None,
        body: Body::Content(Content::default()),
        collapse: "televisions".to_owned(),
        observed_at: at(n),
        decided_at: at(n),
        not_before: at(n),
        expires_at: at(n + 3_600),
    }
}
