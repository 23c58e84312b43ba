//! Beacons over files, store and API, and their keys while the daemon runs.

use std::sync::Arc;

use parvis::catalog::{Kind, Refusal};
use serde_json::{Value, json};

use crate::{
    catalog::{open, sources},
    folder,
    ledger::Ledger,
    write,
};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
const OPERA: &str = "[[store]]\nid = \"opera\"\nname = \"Opéra\"\ntime_zone = \"Europe/Paris\"\n";

fn beacon(id: &str, minor: u16) -> Value {
    json!({"id": id, "store": "opera", "uuid": UUID, "major": 1, "minor": minor})
}

#[tokio::test]
async fn a_beacon_changes_no_fence() {
    let fences: Vec<String> = (0..500)
        .map(|at| {
            let geometry = format!("{{\"type\": \"Point\", \"coordinates\": [2.{at:03}, 48.87]}}");
            format!("{{\"type\": \"Feature\", \"id\": \"f{at}\", \"geometry\": {geometry}, \"properties\": {{\"radius_m\": 50}}}}")
        })
        .collect();
    let fences = format!("{{\"type\": \"FeatureCollection\", \"features\": [{}]}}", fences.join(","));
    let folder = folder(&[("stores.toml", OPERA), ("geofences.geojson", &fences)]);
    let catalog = open(folder.path(), &Arc::new(Ledger::new())).await;
    let before = catalog.world();
    catalog.put(Kind::Beacon, vec![beacon("a", 1)]).await.expect("valid");
    let after = catalog.world();
    assert!(after.generation > before.generation);
    assert!(Arc::ptr_eq(&after.regions, &before.regions), "the index of fences is shared");
    assert!(Arc::ptr_eq(&after.campaigns, &before.campaigns));
    assert_eq!((before.registry.beacons().count(), after.registry.beacons().count()), (0, 1));
    catalog
        .put(Kind::Store, vec![json!({"id": "bercy", "name": "B", "time_zone": "Europe/Paris"})])
        .await
        .expect("valid");
    assert!(Arc::ptr_eq(&catalog.world().registry, &after.registry), "and the registry, too");
}

#[tokio::test]
async fn what_a_file_takes_for_itself_is_hidden_until_it_lets_go() {
    let (folder, ledger) = (folder(&[("stores.toml", OPERA)]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    catalog.put(Kind::Beacon, vec![beacon("a", 1), beacon("b", 2)]).await.expect("valid");
    catalog.put(Kind::Zone, vec![json!({"id": "tv", "store": "opera"})]).await.expect("valid");
    let of_file = format!(
        "[[beacon]]\nid = \"c\"\nstore = \"opera\"\nuuid = \"{UUID}\"\nmajor = 1\nminor = 1\n\
        [[beacon_region]]\nid = \"tv\"\nuuid = \"{UUID}\"\n"
    );
    write(folder.path(), "beacons.toml", &of_file);
    for catalog in [catalog.clone(), open(folder.path(), &ledger).await] {
        catalog.reload(sources(folder.path())).await.expect("valid");
        let world = catalog.world();
        let ids: Vec<&str> = world.registry.beacons().map(|it| it.spec.id.as_str()).collect();
        assert_eq!(ids, ["b", "c"], "who says what the file's says is hidden");
        assert!(world.registry.zone(&"tv".parse().expect("an id")).is_none());
        assert_eq!((catalog.get(Kind::Beacon, "a"), catalog.get(Kind::Zone, "tv")), (None, None));
    }
    let put = catalog.put(Kind::Beacon, vec![beacon("a", 1)]).await;
    assert!(matches!(&put, Err(Refusal::Invalid(problems)) if problems[0].path == "/uuid"), "{put:?}");
    write(folder.path(), "beacons.toml", "");
    catalog.reload(sources(folder.path())).await.expect("valid");
    assert_eq!(catalog.world().registry.beacons().count(), 2);
    assert!(catalog.get(Kind::Zone, "tv").is_some());
}

#[tokio::test]
async fn keys_are_read_again() {
    let (folder, ledger) = (folder(&[]), Arc::new(Ledger::new()));
    let catalog = open(folder.path(), &ledger).await;
    let tag = json!({"id": "vip", "role": "tag", "eid": {"exponent": 9, "started_at": "2026-10-01T00:00:00Z"}});
    let put = catalog.put(Kind::Beacon, vec![tag.clone()]).await;
    assert!(matches!(&put, Err(Refusal::Invalid(problems)) if problems[0].path == "/eid"), "{put:?}");
    write(folder.path(), "eid-keys.toml", "vip = \"000102030405060708090a0b0c0d0e0f\"\n");
    catalog.reload(sources(folder.path())).await.expect("a key may come before its beacon");
    catalog.put(Kind::Beacon, vec![tag]).await.expect("there is a key now");
    assert_eq!(catalog.eid_keys().get("vip").map(|key| key[15]), Some(15));
    write(folder.path(), "eid-keys.toml", "vip = \"ff0102030405060708090a0b0c0d0eff\"\n");
    catalog.reload(sources(folder.path())).await.expect("valid");
    assert_eq!(catalog.eid_keys().get("vip").map(|key| key[15]), Some(255));
    write(folder.path(), "eid-keys.toml", "vip = \"short\"\n");
    catalog.reload(sources(folder.path())).await.expect_err("broken");
    assert_eq!(catalog.eid_keys().get("vip").map(|key| key[15]), Some(255), "all stays as it was");
    assert!(catalog.get(Kind::Beacon, "vip").is_some_and(|shown| !shown.to_string().contains("ff01")));
}
