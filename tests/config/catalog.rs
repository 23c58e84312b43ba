//! The catalog over files, store and API.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use parvis::{
    catalog::{Catalog, Error, Kind, Refusal, Sources},
    config::{self, Source},
};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::{folder, ledger::Ledger, write};

pub(crate) fn sources(folder: &Path) -> Sources {
    let source = Source::new(folder);
    config::load(&source).expect("a valid configuration").catalog_sources(&source)
}

/// Opens a catalog and runs its worker.
pub(crate) async fn open(folder: &Path, store: &Arc<Ledger>) -> Catalog {
    let (catalog, worker) = Catalog::open(sources(folder), store.clone()).await.expect("valid files");
    TaskTracker::new().spawn(worker.run());
    catalog
}

pub(crate) fn store(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name, "time_zone": "Europe/Paris"})
}

pub(crate) fn fence(id: &str, store: Option<&str>) -> Value {
    let mut properties = json!({"radius_m": 50.0});
    if let Some(store) = store {
        properties["store"] = store.into();
    }
    let geometry = json!({"type": "Point", "coordinates": [2.33, 48.87]});
    json!({"type": "Feature", "id": id, "geometry": geometry, "properties": properties})
}

pub(crate) fn ids(objects: &[Value]) -> Vec<&str> {
    objects.iter().filter_map(|object| object["id"].as_str()).collect()
}

const OPERA: &str = "[[store]]\nid = \"opera\"\nname = \"Opéra\"\ntime_zone = \"Europe/Paris\"\n";

#[tokio::test]
async fn what_was_put_decides_is_listed_and_survives() {
    let (folder, ledger) = (folder(&[("stores.toml", OPERA)]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    let mut changed = catalog.changed();
    let before = catalog.world();
    catalog.put(Kind::Store, vec![store("rivoli", "Rivoli"), store("bercy", "Bercy")]).await.expect("valid");
    assert!(changed.has_changed().expect("open"));
    let world = catalog.world();
    assert_eq!(world.generation, *changed.borrow_and_update());
    assert!(world.generation > before.generation);
    assert_eq!(world.stores["rivoli"].spec.name, "Rivoli");
    assert!(!before.stores.contains_key("rivoli"), "a snapshot never changes");
    assert!(Arc::ptr_eq(&world.regions, &before.regions), "what has not changed is shared");
    assert_eq!(catalog.get(Kind::Store, "rivoli"), Some(store("rivoli", "Rivoli")));
    assert_eq!(ids(&catalog.list(Kind::Store, None, 2)), ["bercy", "opera"]);
    assert_eq!(ids(&catalog.list(Kind::Store, Some("bercy"), 9)), ["opera", "rivoli"]);
    assert_eq!(catalog.delete(Kind::Store, "bercy").await, Ok(true));
    assert_eq!(catalog.delete(Kind::Store, "bercy").await, Ok(false));

    let again = open(folder.path(), &ledger).await;
    assert_eq!(ids(&again.list(Kind::Store, None, 9)), ["opera", "rivoli"]);
    assert!(again.world().stores.contains_key("rivoli"));
}

#[tokio::test]
async fn all_problems_are_told_and_nothing_is_taken() {
    let (folder, ledger) = (folder(&[]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    let wrong = json!({"id": "b", "time_zone": "Mars", "x": 1});
    let put = catalog.put(Kind::Store, vec![store("a", "A"), wrong.clone(), store("a", "B")]).await;
    let Err(Refusal::Invalid(problems)) = put else { panic!("expected problems, got {put:?}") };
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["/1/x", "/1", "/2/id"]);
    let put = catalog.put(Kind::Store, vec![wrong]).await;
    let Err(Refusal::Invalid(problems)) = put else { panic!("expected problems, got {put:?}") };
    assert_eq!(problems[0].path, "/x", "one object needs no index");
    let put = catalog.put(Kind::Geofence, vec![fence("f", None), fence("g", Some("atlantis"))]).await;
    let Err(Refusal::Invalid(problems)) = put else { panic!("expected problems, got {put:?}") };
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].to_string(), "/features/1/properties/store: there is no store \"atlantis\"");
    assert_eq!((catalog.list(Kind::Store, None, 9), catalog.list(Kind::Geofence, None, 9)), (Vec::new(), Vec::new()));
    assert_eq!(ledger.writes.load(SeqCst), 0);
}

#[tokio::test]
async fn what_stands_in_a_file_is_changed_only_there() {
    let (folder, ledger) = (folder(&[("stores.toml", OPERA)]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    let refusal = Refusal::InFile { path: folder.path().join("stores.toml").display().to_string() };
    assert_eq!(catalog.put(Kind::Store, vec![store("opera", "X")]).await, Err(refusal.clone()));
    assert_eq!(catalog.delete(Kind::Store, "opera").await, Err(refusal));
    assert_eq!(catalog.world().stores["opera"].spec.name, "Opéra");
    assert_eq!(ledger.writes.load(SeqCst), 0);
}

#[tokio::test]
async fn what_others_name_is_not_deleted() {
    let (folder, ledger) = (folder(&[]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    catalog.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    catalog.put(Kind::Geofence, vec![fence("front", Some("opera"))]).await.expect("valid");
    let refused = catalog.delete(Kind::Store, "opera").await;
    let Err(Refusal::Invalid(problems)) = refused else { panic!("expected problems, got {refused:?}") };
    assert!(problems[0].message.starts_with("geofence \"front\" name"), "{problems:?}");
    assert_eq!(catalog.delete(Kind::Geofence, "front").await, Ok(true));
    assert_eq!(catalog.delete(Kind::Store, "opera").await, Ok(true));
    assert_eq!(ledger.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn what_waits_is_one_write() {
    const PUTS: usize = 1_000;
    let (folder, ledger) = (folder(&[]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    let before = catalog.world().generation;
    let mut puts = tokio::task::JoinSet::new();
    for index in 0..PUTS {
        let catalog = catalog.clone();
        let object = if index == 500 { json!({"id": "wrong"}) } else { store(&format!("s{index}"), "S") };
        puts.spawn(async move { catalog.put(Kind::Store, vec![object]).await });
    }
    let results = puts.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert_eq!(catalog.world().stores.len(), PUTS - 1);
    assert_eq!(ledger.ids().len(), PUTS - 1);
    let writes = ledger.writes.load(SeqCst);
    // The first batch may be cut where the worker woke up; all others wait while it is written.
    assert!(writes <= 3, "{writes} writes for {PUTS} puts");
    assert_eq!(catalog.world().generation - before, writes as u64, "one rebuild for each write");
}

#[tokio::test]
async fn a_repeat_writes_nothing() {
    let (folder, ledger) = (folder(&[]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    for _ in 0..3 {
        catalog.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("valid");
    }
    assert_eq!(ledger.writes.load(SeqCst), 1);
}

#[tokio::test]
async fn what_the_store_refuses_does_not_decide() {
    let (folder, ledger) = (folder(&[]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    ledger.unavailable.store(true, SeqCst);
    let put = catalog.put(Kind::Store, vec![store("opera", "Opéra")]).await;
    assert_eq!(put, Err(Refusal::Unavailable("the store is unavailable: the disk is full".to_owned())));
    assert_eq!(catalog.get(Kind::Store, "opera"), None);
    assert!(catalog.world().stores.is_empty());
    ledger.unavailable.store(false, SeqCst);
    catalog.put(Kind::Store, vec![store("opera", "Opéra")]).await.expect("the store is back");
    assert!(catalog.world().stores.contains_key("opera"));
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_world_and_a_mended_one_replaces_it() {
    let (folder, ledger) = (folder(&[("stores.toml", OPERA)]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    catalog.put(Kind::Store, vec![store("rivoli", "Rivoli")]).await.expect("valid");
    let before = catalog.world();
    let broken = OPERA.replace("Europe/Paris", "Europe/Atlantis");
    write(folder.path(), "stores.toml", &broken);
    let Err(Error::Files(findings)) = catalog.reload(sources(folder.path())).await else { panic!("expected findings") };
    assert_eq!(findings.len(), 1);
    assert!(findings[0].to_string().contains("stores.toml:4: store \"opera\": time_zone: "), "{findings:?}");
    assert!(Arc::ptr_eq(&catalog.world(), &before));

    write(folder.path(), "stores.toml", &OPERA.replace("Opéra", "Garnier").replace("\"opera\"", "\"rivoli\""));
    write(folder.path(), "parvis.toml", "[engine.track]\nspeed_max_mps = 55.5\n");
    catalog.reload(sources(folder.path())).await.expect("mended");
    let world = catalog.world();
    assert_eq!(world.settings.track.speed_max_mps, 55.5);
    assert!(!world.stores.contains_key("opera"));
    assert_eq!(world.stores["rivoli"].spec.name, "Garnier", "the file's hides the API's");

    write(folder.path(), "stores.toml", "");
    catalog.reload(sources(folder.path())).await.expect("empty");
    assert_eq!(catalog.world().stores["rivoli"].spec.name, "Rivoli", "the API's is back");
}

#[tokio::test]
async fn broken_files_keep_a_catalog_from_opening() {
    let folder = folder(&[("stores.toml", "[[store]]\nid = \"a\"\n"), ("geofences.geojson", "{")]);
    let opened = Catalog::open(sources(folder.path()), Arc::new(Ledger::new())).await;
    let Err(Error::Files(findings)) = opened.map(drop) else { panic!("expected findings") };
    assert_eq!(findings.len(), 3, "{findings:?}");
}

#[tokio::test]
async fn a_catalog_without_worker_refuses() {
    let (catalog, worker) =
        Catalog::open(sources(folder(&[]).path()), Arc::new(Ledger::new())).await.expect("an empty catalog");
    drop(worker);
    let refused = Err(Refusal::Unavailable("the node is closing".to_owned()));
    assert_eq!(catalog.put(Kind::Store, vec![store("a", "A")]).await, refused);
}

#[tokio::test]
async fn a_hundred_thousand_fences_are_loaded() {
    const FENCES: usize = 100_000;
    let mut text = "{\"type\": \"FeatureCollection\", \"features\": [\n".to_owned();
    for index in 0..FENCES {
        let comma = if index == 0 { "" } else { ",\n" };
        let (lon, lat) = ((index % 1_000) as f64 * 0.01, (index / 1_000) as f64 * 0.01 + 40.0);
        let feature = format!(
            "{comma}{{\"type\": \"Feature\", \"id\": \"f{index}\", \"geometry\": {{\"type\": \"Point\", \
             \"coordinates\": [{lon:.3}, {lat:.3}]}}, \"properties\": {{\"radius_m\": 60, \"tags\": [\"shop\"]}}}}"
        );
        text.write_str(&feature).expect("memory takes everything");
    }
    text.push_str("]}\n");
    let (folder, ledger) = (folder(&[("geofences.geojson", &text)]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    assert_eq!(catalog.list(Kind::Geofence, None, usize::MAX).len(), FENCES);
    let last = catalog.get(Kind::Geofence, "f99999").expect("it is there");
    assert_eq!(last["properties"]["radius_m"].as_f64(), Some(60.0));
    catalog.put(Kind::Geofence, vec![fence("one-more", None)]).await.expect("valid");
    assert_eq!(catalog.list(Kind::Geofence, Some("f99999"), 9), [fence("one-more", None)]);
}
