//! Everything of a store moves to another one and is there as it was.

use std::collections::BTreeSet;

use parvis::store::{
    Answer, CatalogItem, Commit, DeadQuery, Error, JournalQuery, Queue, Step, Store,
    rows::{Batch, Contents, Row},
};
use parvis_engine::{
    id::{CampaignId, OrderId},
    notification::{Channel, Milestone},
};

use crate::rig::*;

/// Tells the imports of these tests from others.
const IMPORT: u64 = 7;

/// Everything of a store, in the order it comes.
pub(crate) async fn rows(store: &dyn Store) -> Vec<Row> {
    let mut export = store.export().await.expect("available");
    let mut rows = Vec::new();
    loop {
        let page = export.next().await.expect("available");
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

/// The same whatever the engine's own order is.
fn sorted(rows: &[Row]) -> BTreeSet<String> {
    let lines: BTreeSet<_> = rows.iter().map(|row| serde_json::to_string(row).expect("is JSON")).collect();
    assert_eq!(lines.len(), rows.len(), "a row comes twice");
    lines
}

async fn take_in(store: &dyn Store, rows: &[Row], from: usize, until: usize) -> Result<(), Error> {
    for (number, chunk) in rows[from..until].chunks(5).enumerate() {
        let before = from + number * 5;
        let last = before + chunk.len() == rows.len();
        store.import(Batch { import: IMPORT, before: before as u64, rows: chunk.to_vec(), last }).await?;
    }
    Ok(())
}

pub(crate) async fn import(store: &dyn Store, rows: &[Row]) {
    take_in(store, rows, 0, rows.len()).await.expect("takes it all");
}

fn answer(text: &str) -> Answer {
    Answer {
        status: 202,
        content_type: "application/json".to_owned(),
        body: text.as_bytes().to_vec(),
        request_hash: u64::MAX,
    }
}

fn item(id: &str, json: Option<&str>) -> CatalogItem {
    CatalogItem { kind: "store".to_owned(), id: id.to_owned(), json: json.map(str::to_owned) }
}

/// Puts in something of every kind, and of every state that it can be in.
pub(crate) async fn fill(store: &dyn Store) {
    for n in 0..20 {
        let id = format!("C-{n}");
        let mut shopper = with_device(&id, &format!("phone-{n}"));
        shopper.profile = counted(&id, n).profile;
        shopper.orders.insert(name(&format!("o-{n}")), order(&format!("o-{n}")));
        let wake = (n % 3 == 0).then(|| at(1_000 + n));
        let outbox = vec![message(n, &id, Channel::Fcm), message(n, &id, Channel::Fcm)];
        let events = vec![event(n, &id), event(100 + n / 4, &id)];
        let changes = vec![replaced(0, shopper, wake)];
        store.commit(Commit { changes, outbox, events, ..Commit::default() }).await.expect("available");
    }
    commit(store, vec![replaced(1, with_device("C-3", "phone-3"), None)]).await;
    commit(store, vec![tracked(1, "C-4", 5.0), tracked(0, "only-a-track", 5.0)]).await;
    send(store, vec![message(40, "C-5", Channel::Apns), message(41, "C-5", Channel::WebPush)]).await;
    send(store, (42..50).map(|n| varied(n, "C-6")).collect()).await;
    let given_up = claim_from(store, queues()[0], 60, 9).await;
    let follows = vec![follower(42, "C-6")];
    store.settle(vec![settled_then(&given_up[0], 61, dead(2), follows)]).await.expect("available");
    assert_eq!(store.keep_note("token", vec![0, 255], 0).await, Ok(Some(1)));
    assert_eq!(store.keep_note("token", vec![1, 255], 1).await, Ok(Some(2)));
    assert_eq!(store.keep_note("other \n token", Vec::new(), 0).await, Ok(Some(1)));
    let entries = claim(store, 10, 4).await;
    let ends = [accepted(1), again(500, 1), accepted(3)];
    let settlements = entries.iter().zip(ends).map(|(entry, end)| settled(entry, 11, end)).collect();
    store.settle(settlements).await.expect("available");
    let step = Step { milestone: Milestone::Opened, at: at(12), detail: Some("app".to_owned()) };
    assert_eq!(store.report(entries[0].notification.id, step).await, Ok(true));
    commit(store, vec![erased(1, "C-7")]).await;
    let items = vec![item("opera", Some("{\"name\":\"Op\u{e9}ra\"}")), item("gone", Some("{}"))];
    assert_eq!(store.put_catalog(items, 0).await, Ok(Some(1)));
    assert_eq!(store.put_catalog(vec![item("gone", None)], 1).await, Ok(Some(2)));
    for n in 0..4 {
        store.keep_answer(&format!("key-{n}"), answer(&n.to_string()), at(n)).await.expect("available");
        let campaign: CampaignId = name(&format!("campaign-{n}"));
        assert_eq!(store.lease_budget(&campaign, 9, 3).await, Ok(3));
    }
}

/// Everything that a caller can ask of what [`fill`] put in.
async fn told(store: &dyn Store) -> Vec<String> {
    let mut told = Vec::new();
    for n in 0..20 {
        let record = load(store, &format!("C-{n}")).await;
        told.push(format!("{} {:?} {}", record.version, record.shopper, record.tracks.len()));
        told.push(format!("{:?}", owner(store, &format!("phone-{n}")).await));
        told.push(format!("{:?}", store.order_owner(&name::<OrderId>(&format!("o-{n}"))).await));
        told.push(format!("{:?}", store.life(message(n, &format!("C-{n}"), Channel::Fcm).id).await));
        let shopper = Some(name(&format!("C-{n}")));
        let query = JournalQuery { shopper, limit: 99, ..JournalQuery::default() };
        told.push(format!("{:?}", store.journal(query).await));
    }
    // How long to wait with nothing due is each engine's own affair.
    told.push(format!("{:?}", store.due_wakes(at(1_010), 3).await.expect("available").0));
    let mut journal = store.journal(JournalQuery { limit: 999, ..JournalQuery::default() }).await.expect("available");
    journal.sort_by(|one, other| (one.recorded_at, &one.shopper).cmp(&(other.recorded_at, &other.shopper)));
    told.push(format!("{journal:?}"));
    told.push(format!("{:?}", store.catalog().await));
    told.push(format!("{}", *store.catalog_changed().borrow()));
    for n in 0..4 {
        told.push(format!("{:?}", store.answer(&format!("key-{n}")).await));
        told.push(format!("{:?}", store.lease_budget(&name(&format!("campaign-{n}")), 9, 99).await));
    }
    let sizes = store.sizes().await.expect("available");
    told.push(format!("{} {:?}", sizes.shoppers, sizes.waiting));
    for note in ["token", "other \n token", "none"] {
        told.push(format!("{:?}", store.note(note).await));
    }
    told.push(format!("{:?}", store.dead(DeadQuery { limit: 9, ..DeadQuery::default() }).await));
    let elsewhere = [Channel::Apns, Channel::WebPush].map(|channel| Queue::of(&message(0, "A", channel)));
    for queue in queues().into_iter().chain(elsewhere) {
        let claim = store.claim(queue, at(2_000), 9_999, LEASE).await.expect("available");
        told.push(match claim {
            parvis::store::Claim::Entries(entries) => {
                let plain = entries.iter().map(|entry| (&entry.notification, entry.attempts));
                format!("{:?}", plain.collect::<Vec<_>>())
            }
            parvis::store::Claim::NothingUntil(_) => "nothing".to_owned(),
        });
    }
    told
}

pub(crate) async fn everything_moves_out(mut rig: Rig) {
    fill(rig.store()).await;
    rig.pause().await;
    let out = rows(rig.store()).await;
    let expected = Rig::memory();
    fill(expected.store()).await;
    assert_eq!(sorted(&out), sorted(&rows(expected.store()).await));
    let moved = Rig::memory();
    import(moved.store(), &out).await;
    rig.restart().await;
    assert_eq!(told(moved.store()).await, told(rig.store()).await);
}

pub(crate) async fn everything_moves_in(mut rig: Rig) {
    let mut origin = Rig::memory();
    fill(origin.store()).await;
    let out = rows(origin.store()).await;
    assert_eq!(rig.store().contents().await, Ok(Contents::Nothing));
    import(rig.store(), &out).await;
    assert_eq!(rig.store().contents().await, Ok(Contents::Whole));
    rig.restart().await;
    assert_eq!(sorted(&rows(rig.store()).await), sorted(&out));
    origin.restart().await;
    assert_eq!(told(rig.store()).await, told(origin.store()).await);
}

pub(crate) async fn an_import_goes_on_where_it_stopped(rig: Rig) {
    let origin = Rig::memory();
    fill(origin.store()).await;
    let out = rows(origin.store()).await;
    take_in(rig.store(), &out, 0, 45).await.expect("takes a part");
    assert_eq!(rig.store().contents().await, Ok(Contents::Part { import: IMPORT, rows: 45 }));
    let other = Batch { import: 8, before: 45, rows: Vec::new(), last: true };
    assert!(matches!(rig.store().import(other).await, Err(Error::Unavailable(why)) if why.contains("another import")));
    take_in(rig.store(), &out, 45, out.len()).await.expect("takes the rest");
    assert_eq!(sorted(&rows(rig.store()).await), sorted(&out));
}

pub(crate) async fn an_import_needs_an_empty_store(rig: Rig) {
    let nothing = |before| Batch { import: IMPORT, before, rows: Vec::new(), last: true };
    let late = rig.store().import(nothing(5)).await;
    assert!(matches!(&late, Err(Error::Unavailable(why)) if why.contains("first row")), "{late:?}");
    commit(rig.store(), vec![replaced(0, shopper("A"), None)]).await;
    assert_eq!(rig.store().contents().await, Ok(Contents::Whole));
    let full = rig.store().import(nothing(0)).await;
    assert!(matches!(&full, Err(Error::Unavailable(why)) if why.contains("not empty")), "{full:?}");
}

pub(crate) async fn of_a_row_that_comes_twice_an_import_keeps_the_later(rig: Rig) {
    let origin = Rig::memory();
    send(origin.store(), vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm)]).await;
    let mut out = rows(origin.store()).await;
    let entries = claim(origin.store(), 10, 1).await;
    origin.store().settle(vec![settled(&entries[0], 11, dead(1))]).await.expect("available");
    out.extend(rows(origin.store()).await);
    import(rig.store(), &out).await;
    assert_eq!(sorted(&rows(rig.store()).await), sorted(&rows(origin.store()).await));
    let left: Vec<_> = claim(rig.store(), 60, 9).await.into_iter().map(|entry| entry.notification).collect();
    assert_eq!(left, [message(2, "A", Channel::Fcm)]);
    assert_eq!(rig.store().sizes().await.expect("available").waiting[&Channel::Fcm], 1);
}
