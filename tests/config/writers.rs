//! Several catalogs over one store, as several nodes have it.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use parvis::{
    catalog::{Catalog, Kind, Refusal},
    clock::Clock,
    store::{CatalogItem, Store, memory::Memory},
};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::{
    catalog::{fence, ids, open, sources, store},
    folder,
    ledger::Ledger,
    write,
};

async fn two(ledger: &Arc<Ledger>) -> (Catalog, Catalog) {
    let empty = folder(&[]);
    (open(empty.path(), ledger).await, open(empty.path(), ledger).await)
}

/// Waits until a catalog shows this.
async fn shows(catalog: &Catalog, what: impl Fn(&Catalog) -> bool) {
    let mut changed = catalog.changed();
    while !what(catalog) {
        changed.changed().await.expect("the worker runs");
    }
}

fn knows(kind: Kind, id: &str) -> impl Fn(&Catalog) -> bool {
    move |catalog| catalog.get(kind, id).is_some()
}

fn problems(put: Result<(), Refusal>) -> Vec<String> {
    let Err(Refusal::Invalid(problems)) = put else { panic!("expected problems, got {put:?}") };
    problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_is_put_through_one_decides_on_the_other() {
    let memory = Memory::new();
    let empty = folder(&[]);
    let mut both = Vec::new();
    for _ in 0..2 {
        let opened = Catalog::open(sources(empty.path()), Arc::new(memory.clone())).await;
        let (catalog, worker) = opened.expect("an empty catalog");
        TaskTracker::new().spawn(worker.run());
        both.push(catalog);
    }
    let (one, other) = (&both[0], &both[1]);
    one.put(Kind::Geofence, vec![fence("front", None)]).await.expect("valid");
    shows(other, knows(Kind::Geofence, "front")).await;
    let before = other.world();
    one.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    shows(other, |it| it.world().stores.contains_key("opera")).await;
    let world = other.world();
    assert!(world.generation > before.generation);
    assert!(Arc::ptr_eq(&world.regions, &before.regions), "what has not changed is shared");
    assert!(Arc::ptr_eq(&world.registry, &before.registry) && Arc::ptr_eq(&world.campaigns, &before.campaigns));
    assert!(!before.stores.contains_key("opera"), "a snapshot never changes");
    assert_eq!(one.standing(), other.standing(), "the same generation, the same files");

    assert_eq!(other.delete(Kind::Store, "opera").await, Ok(true));
    shows(one, |it| it.get(Kind::Store, "opera").is_none()).await;
    assert!(!one.world().stores.contains_key("opera"));
}

#[tokio::test]
async fn all_puts_of_several_at_once_are_kept() {
    const EACH: usize = 40;
    let ledger = Arc::new(Ledger::new());
    let empty = folder(&[]);
    let mut puts = tokio::task::JoinSet::new();
    let mut catalogs = Vec::new();
    for node in 0..3 {
        let catalog = open(empty.path(), &ledger).await;
        catalogs.push(catalog.clone());
        puts.spawn(async move {
            for index in 0..EACH {
                catalog.put(Kind::Store, vec![store(&format!("s{node}-{index}"), "S")]).await.expect("valid");
            }
        });
    }
    puts.join_all().await;
    assert_eq!(ledger.ids().len(), 3 * EACH, "nothing was written over");
    for catalog in &catalogs {
        shows(catalog, |it| it.world().stores.len() == 3 * EACH).await;
    }
}

#[tokio::test]
async fn who_missed_a_change_checks_again_on_top_of_it() {
    let ledger = Arc::new(Ledger::new());
    let (one, other) = two(&ledger).await;
    ledger.silent.store(true, SeqCst);
    one.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    assert_eq!(other.get(Kind::Store, "opera"), None, "nobody told");
    other.put(Kind::Store, vec![store("rivoli", "Rivoli")]).await.expect("valid, after another look");
    assert_eq!(ids(&other.list(Kind::Store, None, 9)), ["opera", "rivoli"]);
    assert!(other.world().stores.contains_key("opera"));
    assert_eq!(ledger.ids(), ["store opera", "store rivoli"]);

    one.put(Kind::Geofence, vec![fence("front", Some("rivoli"))]).await.expect("what it names was put meanwhile");
    assert_eq!(other.delete(Kind::Geofence, "front").await, Ok(true), "and what is not seen can be deleted");
    ledger.tell();
    shows(&one, |it| it.get(Kind::Geofence, "front").is_none()).await;
}

#[tokio::test]
async fn what_is_named_is_not_deleted_at_the_same_moment() {
    let ledger = Arc::new(Ledger::new());
    let (one, other) = two(&ledger).await;
    one.put(Kind::Store, vec![store("opera", "Opéra"), store("bercy", "Bercy")]).await.expect("valid");
    shows(&other, knows(Kind::Store, "bercy")).await;

    ledger.silent.store(true, SeqCst);
    assert_eq!(one.delete(Kind::Store, "opera").await, Ok(true));
    assert!(other.get(Kind::Store, "opera").is_some(), "nobody told");
    let refused = other.put(Kind::Geofence, vec![fence("front", Some("opera"))]).await;
    assert_eq!(problems(refused), ["/properties/store: there is no store \"opera\""]);

    other.put(Kind::Geofence, vec![fence("side", Some("bercy"))]).await.expect("valid");
    assert_eq!(one.get(Kind::Geofence, "side"), None, "nobody told");
    let refused = one.delete(Kind::Store, "bercy").await.map(drop);
    assert!(problems(refused)[0].contains("geofence \"side\" name"), "in use by what was put meanwhile");
    assert_eq!(ledger.ids(), ["geofence side", "store bercy"]);
}

#[tokio::test]
async fn of_two_who_want_the_same_name_one_is_refused() {
    let ledger = Arc::new(Ledger::new());
    let (one, other) = two(&ledger).await;
    ledger.silent.store(true, SeqCst);
    one.put(Kind::Geofence, vec![fence("tv", None)]).await.expect("valid");
    one.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    let zone = json!({"id": "tv", "store": "opera"});
    let told = problems(other.put(Kind::Zone, vec![zone]).await);
    assert!(told[0].starts_with("/id: there is a geofence \"tv\" already"), "{told:?}");
    assert_eq!(ledger.ids(), ["geofence tv", "store opera"]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_read_later_and_the_old_decides_until_then() {
    let ledger = Arc::new(Ledger::new());
    let (one, other) = two(&ledger).await;
    one.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    shows(&other, knows(Kind::Store, "opera")).await;
    ledger.silent.store(true, SeqCst);
    one.put(Kind::Store, vec![store("rivoli", "Rivoli")]).await.expect("valid");
    let before = ledger.reads.load(SeqCst);
    ledger.unreadable.store(7, SeqCst);
    ledger.tell();
    Clock::System.sleep(Duration::from_secs(1)).await;
    assert_eq!(ledger.reads.load(SeqCst), before + 3, "at once, and after 0.2 s and 0.6 s of the paused clock");
    assert!(other.world().stores.contains_key("opera"), "the old snapshot stays");
    shows(&other, knows(Kind::Store, "rivoli")).await;
    assert_eq!(ledger.reads.load(SeqCst), before + 8, "seven refusals and one answer");
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_decides_if_it_took_effect() {
    let ledger = Arc::new(Ledger::new());
    let (one, other) = two(&ledger).await;
    ledger.silent.store(true, SeqCst);
    other.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    ledger.unavailable.store(true, SeqCst);
    let put = one.put(Kind::Store, vec![store("rivoli", "Rivoli")]).await;
    assert_eq!(put, Err(Refusal::Unavailable("the store is unavailable: the disk is full".to_owned())));
    shows(&one, knows(Kind::Store, "opera")).await;

    ledger.unreadable.store(1, SeqCst);
    let put = one.put(Kind::Geofence, vec![fence("front", Some("atlantis"))]).await;
    let unsure = Err(Refusal::Unavailable("the store is unavailable: nobody answers".to_owned()));
    assert_eq!(put, unsure, "nobody says that atlantis is not there");
}

#[tokio::test]
async fn who_always_loses_is_told_to_come_back() {
    let (ledger, empty) = (Arc::new(Ledger::new()), folder(&[]));
    let catalog = open(empty.path(), &ledger).await;
    ledger.silent.store(true, SeqCst);
    ledger.rival.store(true, SeqCst);
    let put = catalog.put(Kind::Store, vec![store("opera", "Opéra")]).await;
    assert_eq!(put, Err(Refusal::Unavailable("other nodes change the catalog all the time".to_owned())));
    ledger.rival.store(false, SeqCst);
    catalog.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("alone again");
}

#[tokio::test]
async fn what_this_version_does_not_take_stays_stored() {
    let (ledger, empty) = (Arc::new(Ledger::new()), folder(&[]));
    let item =
        |json: &Value| CatalogItem { kind: "store".to_owned(), id: "odd".to_owned(), json: Some(json.to_string()) };
    let odd = json!({"id": "odd", "name": "Odd", "time_zone": "Europe/Paris", "moon": 1});
    let generation = ledger.put_catalog(vec![item(&odd)], 0).await.expect("taken").expect("nobody else");
    let catalog = open(empty.path(), &ledger).await;
    assert_eq!(catalog.get(Kind::Store, "odd"), None);
    ledger.put_catalog(vec![item(&store("odd", "Even"))], generation).await.expect("taken").expect("nobody else");
    shows(&catalog, knows(Kind::Store, "odd")).await;
    assert_eq!(catalog.world().stores["odd"].spec.name, "Even");
}

#[tokio::test]
async fn nodes_with_other_files_are_told_apart() {
    let ledger = Arc::new(Ledger::new());
    let opera = "[[store]]\nid = \"opera\"\nname = \"Opéra\"\ntime_zone = \"Europe/Paris\"\n";
    let (same, again, other) = (folder(&[("stores.toml", opera)]), folder(&[("stores.toml", opera)]), folder(&[]));
    let hash = async |folder: &tempfile::TempDir| open(folder.path(), &ledger).await.standing().files;
    assert_eq!(hash(&same).await, hash(&again).await, "wherever the folder is");
    assert_ne!(hash(&same).await, hash(&other).await);
    write(again.path(), "parvis.toml", "[engine.track]\nspeed_max_mps = 55.5\n");
    assert_ne!(hash(&same).await, hash(&again).await, "settings decide, too");

    let (one, two) = (open(same.path(), &ledger).await, open(other.path(), &ledger).await);
    two.put(Kind::Store, vec![store("opera", "Of the API")]).await.expect("no file of this node holds it");
    two.put(Kind::Store, vec![store("last", "Last")]).await.expect("valid");
    shows(&one, knows(Kind::Store, "last")).await;
    assert_eq!(one.world().stores["opera"].spec.name, "Opéra", "the file's hides the API's");
}
