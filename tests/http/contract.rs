//! The OpenAPI document says what the code does.

use std::collections::BTreeSet;

use http::Method;
use parvis::{
    http::{Config, problem::Kind},
    submit,
};
use parvis_engine::{
    change::{Registration, Signal, live::Token},
    notification::LiveState,
    observation::{Observation, Rejection},
    order::OrderEvent,
    registry::{BeaconRegionSpec, BeaconSpec, ScannerSpec, ZoneSpec},
    shopper::Profile,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::server::{NOW, Server};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

async fn document() -> Value {
    let server = Server::start().await;
    server.send(server.request(Method::GET, "/openapi.json"), "").await.json()
}

#[tokio::test]
async fn the_contract_changes_only_on_purpose() {
    let mut document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn every_call_of_the_contract_is_there() {
    let document = document().await;
    let calls: BTreeSet<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().expect("methods").keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let catalog = ["geofences", "stores", "campaigns", "beacons", "scanners", "zones", "beacon-regions"];
    let mut expected: BTreeSet<String> = catalog
        .iter()
        .flat_map(|kind| {
            ["PUT", "GET", "DELETE"]
                .map(|method| format!("{method} /v1/{kind}/{{id}}"))
                .into_iter()
                .chain([format!("GET /v1/{kind}")])
        })
        .collect();
    let others = "POST /v1/geofences, POST /v1/beacons, PUT /v1/beacons/{id}/link, GET /v1/beacons/{id}/link, \
        DELETE /v1/beacons/{id}/link, GET /v1/around, PUT /v1/devices/{device}, GET /v1/devices/{device}, DELETE /v1/devices/{device}, \
        PUT /v1/devices/{device}/live-activities/start-token, DELETE /v1/devices/{device}/live-activities/start-token, \
        PUT /v1/devices/{device}/live-activities/{order}, DELETE /v1/devices/{device}/live-activities/{order}, \
        PUT /v1/shoppers/{shopper}, GET /v1/shoppers/{shopper}, DELETE /v1/shoppers/{shopper}, \
        POST /v1/shoppers/{shopper}/signals, POST /v1/observations, POST /v1/orders/{order}/events, \
        GET /v1/orders/{order}, GET /v1/notifications, GET /v1/notifications/{id}, \
        POST /v1/notifications/{id}/receipts, POST /v1/explain, GET /v1/stream, GET /healthz, GET /readyz, \
        GET /metrics, POST /v1/ingest/owntracks, POST /v1/ingest/overland, POST /v1/ingest/transistorsoft, \
        POST /v1/ingest/amazon, POST /v1/ingest/ranging, GET /v1/ingest/osmand, POST /v1/ingest/osmand, \
        POST /v1/ingest/scanners/{format}, GET /v1/fleet/scanners, GET /v1/fleet/beacons, GET /v1/fleet/unknown, \
        GET /v1/backup, POST /v1/notifications, GET /v1/notifications/sums, GET /v1/dead-letters, \
        POST /v1/dead-letters/{id}/replay, POST /v1/dead-letters/replay, \
        POST /v1/apps/{app}/broadcast-channels, GET /v1/apps/{app}/broadcast-channels, \
        GET /v1/apps/{app}/broadcast-channels/{id}, DELETE /v1/apps/{app}/broadcast-channels/{id}, \
        GET /v1/apps/{app}/web-push-key";
    expected.extend(others.split(", ").map(|call| call.trim().to_owned()));
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn the_shapes_are_those_that_are_read() {
    let document = document().await;
    let consent = json!({"granted": true, "at": NOW, "text": "1"});
    let consents = json!({"location": consent, "offers": consent, "orders": consent});
    agree::<Profile>(
        &document,
        "Profile",
        json!({"locale": "fr", "time_zone": "Europe/Paris", "segments": ["a"],
        "attributes": {"a": 1}, "loyalty": {"tier": "gold", "points": 1}, "consents": consents}),
    );
    agree::<Registration>(
        &document,
        "Registration",
        json!({"shopper": "C-1", "platform": "ios", "app": "loyalty", "locale": "fr",
        "target": {"channel": "fcm", "token": "t"}, "time_zone": "Europe/Paris", "preferred": true, "consents": consents,
        "progress": true}),
    );
    agree::<Token>(&document, "LiveToken", json!({"token": "ab"}));
    let live = json!({"state": "delayed", "step": 3, "steps": 5, "fulfilment": "delivery", "eta": NOW, "store": "s", "at": NOW});
    agree::<LiveState>(&document, "LiveState", live);
    agree::<Signal>(&document, "Signal", json!({"interest": "tv", "weight": 1.0, "source": "mail", "at": NOW}));
    agree::<OrderEvent>(
        &document,
        "OrderEvent",
        json!({"event": "E", "at": NOW, "state": "shipped", "shopper": "C-1",
        "fulfilment": "pickup", "store": "s", "eta": NOW, "lines": [1], "adviser": "a"}),
    );
    agree::<submit::Message>(
        &document,
        "Message",
        json!({"title": "t", "body": "b", "deep_link": "https://shop.example/", "data": {"k": "v"}, "locale": "fr",
        "push": "alert", "priority": "low", "apns": {}, "fcm": {}, "webpush": {}}),
    );
    let reasons: Vec<_> = submit::Reason::ALL.into_iter().map(submit::Reason::name).collect();
    assert_eq!(document["components"]["schemas"]["SubmitReason"]["enum"], json!(reasons));
    agree::<Observation>(
        &document,
        "Fix",
        json!({"kind": "fix", "at": NOW, "lat": 1.0, "lon": 2.0, "accuracy_m": 3.0,
        "speed_mps": 4.0, "course_deg": 5.0, "floor": 6}),
    );
    let heard = [
        ("Sighting", json!({"uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1, "minor": 2})),
        ("EddystoneSighting", json!({"namespace": "00112233445566778899", "instance": "0a0b0c0d0e0f"})),
        ("EphemeralSighting", json!({"eid": "0011223344556677"})),
        ("MacSighting", json!({"mac": "c6:a5:b9:e0:ad:06"})),
        ("NamedSighting", json!({"beacon": "b"})),
    ];
    for (name, mut sighting) in heard {
        let rest = json!({"kind": "sighting", "at": NOW, "rssi_dbm": -60.0, "measured_power_dbm": -59.0, "count": 2,
            "distance_m": 1.0, "observer": "s"});
        sighting.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        agree::<Observation>(&document, name, sighting);
    }
    agree::<Observation>(&document, "Crossing", json!({"kind": "crossing", "at": NOW, "region": "r", "edge": "enter"}));
    agree::<Observation>(&document, "Scan", json!({"kind": "scan", "at": NOW, "tag": "t"}));
    let reasons: Vec<_> = Rejection::ALL.into_iter().map(Rejection::name).collect();
    assert_eq!(document["components"]["schemas"]["Rejection"]["enum"], json!(reasons));
}

#[tokio::test]
async fn the_shapes_of_beacons_are_those_that_are_read() {
    let document = document().await;
    agree::<BeaconSpec>(
        &document,
        "Beacon",
        json!({"id": "b", "name": "n", "store": "s", "zone": "z", "role": "fixed", "uuid": UUID, "major": 1, "minor": 2,
        "namespace": "edd1ebeac04e5defa017", "instance": "0000000000c2", "mac": "c4:be:84:1f:20:33",
        "eid": {"exponent": 9, "started_at": NOW}, "position": {"lat": 1.0, "lon": 2.0},
        "plan": {"x_m": 1.0, "y_m": 2.0, "floor": 0}, "measured_power_dbm": -60.0}),
    );
    agree::<ScannerSpec>(
        &document,
        "Scanner",
        json!({"id": "s", "name": "n", "store": "s", "zone": "z", "position": {"lat": 1.0, "lon": 2.0},
        "plan": {"x_m": 1.0, "y_m": 2.0, "floor": 0}, "offset_db": 1.0}),
    );
    agree::<ZoneSpec>(
        &document,
        "Zone",
        json!({"id": "z", "name": "n", "store": "s", "group": "g", "tags": ["t"], "dwell_s": 1, "hours": {"mon": []},
        "floor_dbm": -80.0, "exit_after_s": 1, "codes": ["c"]}),
    );
    agree::<BeaconRegionSpec>(
        &document,
        "BeaconRegion",
        json!({"id": "r", "name": "n", "store": "s", "uuid": UUID, "major": 1, "minor": 2, "proximity": "near",
        "tags": ["t"], "dwell_s": 1, "hours": {"mon": []}, "exit_after_s": 1}),
    );
}

/// The example has every field; the type reads and writes it, and the document has the same fields.
fn agree<T: Serialize + DeserializeOwned>(document: &Value, name: &str, example: Value) {
    let read: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let written = serde_json::to_value(&read).expect("writes");
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().expect("an object").keys().cloned().collect() };
    assert_eq!(keys(&written), keys(&example), "{name}: the example has every field");
    assert_eq!(keys(&document["components"]["schemas"][name]["properties"]), keys(&example), "{name}");
}

#[test]
fn every_kind_of_problem_is_in_the_documentation() {
    let text = include_str!("../../docs/api.md");
    for kind in Kind::ALL {
        let row = format!("| `{}` | {} |", kind.name(), kind.status().as_u16());
        assert!(text.contains(&row), "docs/api.md lacks {row}");
    }
}

#[test]
fn the_defaults_work_and_nothing_may_be_zero() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Config::default().problems(folder.path()), []);
    let text = toml::to_string(&Config::default()).expect("writes");
    assert_eq!(toml::from_str::<Config>(&text).expect("reads"), Config::default());
    let broken = Config { lines_at_once: 0, heartbeat: std::time::Duration::ZERO, ..Config::default() };
    assert_eq!(broken.problems(folder.path()).len(), 2);
    let mut keyless = Config::default();
    keyless.auth.keys_file = "till.toml".into();
    let problems = keyless.problems(folder.path());
    assert!(problems.len() == 1 && problems[0].message.contains("till.toml"), "{problems:?}");
}
