//! Beacons, scanners, zones, beacon regions, what is around a place, and who carries a tag.

use http::{Method, StatusCode};
use parvis::http::{Config, auth::Scope};
use parvis_engine::{change::Link, change::Registration, time::Timestamp};
use serde_json::{Value, json};

use crate::server::{self, NOW, Reply, Server, Wanted};

const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

async fn put(server: &Server, path: &str, body: Value) -> Reply {
    server.call(Scope::Marketing, Method::PUT, path, &body).await
}

async fn must(server: &Server, path: &str, body: Value) {
    let reply = put(server, path, body).await;
    assert_eq!(reply.status, StatusCode::OK, "{path}: {:?}", reply.body);
}

async fn get(server: &Server, path: &str) -> Reply {
    server.call(Scope::Read, Method::GET, path, &Value::Null).await
}

async fn delete(server: &Server, path: &str) -> Reply {
    server.call(Scope::Marketing, Method::DELETE, path, &Value::Null).await
}

/// Two shops, a zone in each, and a beacon, a tag, a scanner and a beacon region.
async fn shops() -> Server {
    let server = Server::start().await;
    for store in ["opera", "bercy"] {
        must(&server, &format!("/v1/stores/{store}"), json!({"name": store, "time_zone": "Europe/Paris"})).await;
        must(&server, &format!("/v1/zones/{store}-tv"), json!({"store": store, "codes": [format!("q-{store}")]})).await;
    }
    must(&server, "/v1/beacons/wall", wall(1)).await;
    must(&server, "/v1/beacons/cart", json!({"role": "tag", "mac": "c4:be:84:1f:20:33"})).await;
    let position = json!({"lat": 48.8707, "lon": 2.3319});
    must(&server, "/v1/scanners/ceiling", json!({"store": "opera", "zone": "opera-tv", "position": position})).await;
    must(&server, "/v1/beacon-regions/indoors", json!({"uuid": UUID, "store": "opera", "tags": ["in"]})).await;
    server
}

fn wall(minor: u16) -> Value {
    json!({"store": "opera", "zone": "opera-tv", "uuid": UUID, "major": 1, "minor": minor,
        "position": {"lat": 48.8706, "lon": 2.3319}})
}

/// The only wrong place of a refused request.
fn wrong(reply: &Reply) -> (String, String) {
    let document = reply.problem("invalid");
    let errors = document["errors"].as_array().expect("places");
    assert_eq!(errors.len(), 1, "{document}");
    let text = |name: &str| errors[0][name].as_str().expect("a text").to_owned();
    (text("pointer"), text("detail"))
}

#[tokio::test]
async fn every_kind_is_put_shown_listed_and_deleted() {
    let server = shops().await;
    let kinds = [
        ("beacons", "wall", 2),
        ("scanners", "ceiling", 1),
        ("zones", "opera-tv", 2),
        ("beacon-regions", "indoors", 1),
    ];
    for (kind, id, count) in kinds {
        let shown = get(&server, &format!("/v1/{kind}/{id}")).await.json();
        assert_eq!(shown["id"], id);
        let page = get(&server, &format!("/v1/{kind}")).await.json();
        assert_eq!(page["items"].as_array().map(Vec::len), Some(count), "{page}");
        assert!(page["items"].as_array().expect("a list").contains(&shown));
        let first = get(&server, &format!("/v1/{kind}?limit=1")).await.json();
        assert_eq!(first["next"].is_string(), count > 1, "{first}");
    }
    for path in ["/v1/beacons/wall", "/v1/scanners/ceiling", "/v1/zones/opera-tv", "/v1/beacon-regions/indoors"] {
        assert_eq!(delete(&server, path).await.status, StatusCode::NO_CONTENT, "{path}");
        delete(&server, path).await.problem("not_found");
        get(&server, path).await.problem("not_found");
    }
    server.call(Scope::Read, Method::PUT, "/v1/beacons/wall", &wall(1)).await.problem("forbidden");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let server = shops().await;
    let cases = [
        ("/v1/beacons/b", wall(1), "/uuid", "beacon \"wall\" says"),
        (
            "/v1/beacons/b",
            json!({"store": "nowhere", "mac": "c4:be:84:1f:20:34"}),
            "/store",
            "there is no store \"nowhere\"",
        ),
        (
            "/v1/beacons/b",
            json!({"store": "bercy", "zone": "opera-tv", "mac": "c4:be:84:1f:20:34"}),
            "/zone",
            "belongs to store \"opera\"",
        ),
        (
            "/v1/beacons/b",
            json!({"store": "opera", "zone": "indoors", "mac": "c4:be:84:1f:20:34"}),
            "/zone",
            "there is no zone \"indoors\"",
        ),
        ("/v1/beacons/b", json!({"role": "tag", "eid": {"exponent": 9, "started_at": NOW}}), "/eid", "there is no key"),
        ("/v1/scanners/s", json!({"store": "bercy", "zone": "opera-tv"}), "/zone", "belongs to store \"opera\""),
        ("/v1/zones/audio", json!({"store": "bercy", "group": "opera-tv"}), "/group", "belongs to store \"opera\""),
        (
            "/v1/zones/audio",
            json!({"store": "opera", "codes": ["q-opera"]}),
            "/codes/0",
            "hangs in zone \"opera-tv\" already",
        ),
        ("/v1/zones/indoors", json!({"store": "opera"}), "/id", "there is a beacon region \"indoors\" already"),
        ("/v1/zones/opera-tv", json!({"store": "bercy"}), "/store", "names this zone and belongs to store \"opera\""),
    ];
    for (path, body, pointer, detail) in cases {
        let reply = put(&server, path, body).await;
        let document = reply.problem("invalid");
        let first = &document["errors"][0];
        assert_eq!(first["pointer"], pointer, "{path}: {document}");
        assert!(first["detail"].as_str().is_some_and(|text| text.contains(detail)), "{path}: {document}");
    }
    must(&server, "/v1/zones/floor", json!({"store": "opera", "group": "opera-tv"})).await;
    let cycle = put(&server, "/v1/zones/opera-tv", json!({"store": "opera", "group": "floor"})).await;
    assert_eq!(wrong(&cycle).0, "/group");
    for (path, who) in [("/v1/stores/bercy", "zone"), ("/v1/zones/opera-tv", "beacon \"wall\" and 2 more")] {
        let (_, detail) = wrong(&delete(&server, path).await);
        assert!(detail.contains(who) && detail.contains("change or delete them first"), "{detail}");
    }
    must(&server, "/v1/beacons/wall", wall(7)).await;
    must(&server, "/v1/beacons/b", wall(1)).await;
}

#[tokio::test]
async fn a_campaign_may_name_zones_and_beacon_regions() {
    let server = shops().await;
    let campaign = |regions: Value, tags: Value| {
        json!({"purpose": "offer", "on": {"transition": "dwell", "regions": regions, "tags": tags},
            "content": {"en": {"title": "a", "body": "b"}}})
    };
    must(&server, "/v1/campaigns/c", campaign(json!(["opera-tv", "indoors"]), json!(["in"]))).await;
    let (_, detail) = wrong(&delete(&server, "/v1/beacon-regions/indoors").await);
    assert!(detail.starts_with("campaign \"c\""), "{detail}");
    let refused = put(&server, "/v1/campaigns/d", campaign(json!(["audio"]), json!([]))).await;
    assert_eq!(
        wrong(&refused),
        ("/on/regions/0".to_owned(), "there is no geofence, zone or beacon region \"audio\"".to_owned())
    );
}

#[tokio::test]
async fn a_list_is_taken_as_a_whole_or_not_at_all() {
    let server = shops().await;
    let post = async |body: Value| server.call(Scope::Marketing, Method::POST, "/v1/beacons", &body).await;
    let named = |id: &str, mut beacon: Value| {
        beacon["id"] = id.into();
        beacon
    };
    let wrong_ones = json!([
        named("a", wall(2)),
        named("b", wall(2)),
        named("c", json!({"store": "opera"})),
        named("wall", wall(3))
    ]);
    let document = post(wrong_ones).await.problem("invalid");
    let pointers: Vec<&str> =
        document["errors"].as_array().expect("places").iter().filter_map(|it| it["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/0/uuid", "/1/uuid", "/2"], "{document}");
    assert_eq!(get(&server, "/v1/beacons/wall").await.json()["minor"], 1, "nothing was changed");
    get(&server, "/v1/beacons/a").await.problem("not_found");
    assert_eq!(wrong(&post(json!([named("a", wall(1))])).await).0, "/0/uuid");
    // What was refused holds nothing back, and identities may be swapped.
    let swapped = json!([named("a", wall(1)), named("wall", wall(2))]);
    assert_eq!(post(swapped).await.json(), json!({"put": 2}));
    assert_eq!(post(json!([named("wall", wall(1)), named("a", wall(2))])).await.json(), json!({"put": 2}));
    post(json!({"id": "a"})).await.problem("invalid");
}

#[tokio::test]
async fn a_table_is_taken_as_a_whole_or_not_at_all() {
    let server = shops().await;
    let post = async |text: String| {
        let request =
            server.request(Method::POST, "/v1/beacons").header("authorization", server.bearer(Scope::Marketing));
        let mut request = request;
        request
            .headers_mut()
            .expect("sound")
            .insert("content-type", "text/csv; charset=utf-8".parse().expect("a value"));
        server.send(request, text).await
    };
    let header = "id,role,store,zone,uuid,major,minor,mac,lat,lon";
    let rows =
        format!("{header}\nr1,fixed,opera,opera-tv,{UUID},1,1,,48.8706,2.3320\n\"r\n2\",,opera,,{UUID},1,x,,,\n");
    let document = post(rows).await.problem("invalid");
    assert_eq!(document["errors"], json!([{"pointer": "/1/minor", "detail": "line 3: \"x\" is no whole number"}]));
    let rows =
        format!("{header}\nr1,fixed,opera,opera-tv,{UUID},1,1,,48.8706,2.3320\nr2,fixed,opera,tv,{UUID},1,9,,98,2\n");
    let document = post(rows).await.problem("invalid");
    let expected = json!([
        {"pointer": "/0/uuid", "detail": format!("line 2: beacon \"wall\" says {UUID}-1-1 already")},
        {"pointer": "/1/lat", "detail": "line 3: must be from -90 to 90 degrees"},
    ]);
    assert_eq!(document["errors"], expected);
    let document = post("id,colour\n".to_owned()).await.problem("invalid");
    assert!(
        document["errors"][0]["detail"]
            .as_str()
            .is_some_and(|it| it.starts_with("line 1: there is no column \"colour\"")),
        "{document}"
    );
    assert_eq!(
        post(format!(
            "{header}\nr1,fixed,opera,opera-tv,{UUID},1,8,,48.8706,2.3320\nr2,tag,,,,,,c4:be:84:1f:20:39,,\n"
        ))
        .await
        .json(),
        json!({"put": 2})
    );
    let expected = json!({"id": "r1", "role": "fixed", "store": "opera", "zone": "opera-tv", "uuid": UUID, "major": 1,
        "minor": 8, "position": {"lat": 48.8706, "lon": 2.332}});
    assert_eq!(get(&server, "/v1/beacons/r1").await.json(), expected);
    let request = server.request(Method::POST, "/v1/beacons").header("authorization", server.bearer(Scope::Marketing));
    server.send(request, "[{}").await.problem("malformed");
}

#[tokio::test]
async fn what_is_around_is_one_question() {
    let config = Config { page_max: 3, ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    must(&server, "/v1/stores/opera", json!({"name": "Opéra", "time_zone": "Europe/Paris"})).await;
    let fence = |lat: f64, radius_m: f64| {
        json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [2.3319, lat]},
            "properties": {"radius_m": radius_m, "approach_m": 500.0}})
    };
    must(&server, "/v1/geofences/shop", fence(48.8706, 60.0)).await;
    must(&server, "/v1/geofences/next-door", fence(48.8716, 30.0)).await;
    must(&server, "/v1/geofences/far", fence(48.9, 30.0)).await;
    must(&server, "/v1/zones/opera-tv", json!({"store": "opera"})).await;
    must(&server, "/v1/beacons/wall", wall(1)).await;
    let position = json!({"lat": 48.87065, "lon": 2.3319});
    must(&server, "/v1/scanners/ceiling", json!({"store": "opera", "position": position})).await;
    let around = async |query: &str| get(&server, &format!("/v1/around?{query}")).await;
    let shown = around("lat=48.8706&lon=2.3319").await.json();
    let expected = json!({"more": true, "items": [
        {"kind": "beacon", "id": "wall", "store": "opera", "zone": "opera-tv", "role": "fixed", "distance_m": 0.0},
        {"kind": "geofence", "id": "shop", "distance_m": 60.0, "inside": true},
        {"kind": "scanner", "id": "ceiling", "store": "opera", "distance_m": 5.56},
    ]});
    assert_eq!(shown, expected);
    let near = around("lat=48.8706&lon=2.3319&radius_m=0&limit=9").await.json();
    assert_eq!(near["items"].as_array().map(Vec::len), Some(2), "{near}");
    assert_eq!(near["more"], false);
    for query in
        ["lat=91&lon=0", "lat=0&lon=-181", "lat=0&lon=0&radius_m=10001", "lat=NaN&lon=0", "lat=0", "lat=0&lon=0&x=1"]
    {
        around(query).await.problem("malformed");
    }
    server.call(Scope::Ingest, Method::GET, "/v1/around?lat=0&lon=0", &Value::Null).await.problem("forbidden");
}

#[tokio::test]
async fn a_tag_is_a_device_of_who_carries_it() {
    let server = shops().await;
    let link = async |beacon: &str, body: Value| {
        server.call(Scope::Ingest, Method::PUT, &format!("/v1/beacons/{beacon}/link"), &body).await
    };
    get(&server, "/v1/beacons/cart/link").await.problem("not_found");
    let until = "2026-11-21T12:00:00.000Z";
    let linked = link("cart", json!({"shopper": "C-1", "until": until})).await.json();
    assert_eq!(linked, json!({"beacon": "cart", "shopper": "C-1", "linked_at": server::now(), "until": until}));
    assert_eq!(get(&server, "/v1/beacons/cart/link").await.json(), linked);
    let device = get(&server, "/v1/devices/cart").await.json();
    assert_eq!((&device["shopper"], &device["platform"]), (&json!("C-1"), &json!("tag")));
    let person = get(&server, "/v1/shoppers/C-1").await.json();
    assert_eq!(person["shopper"]["devices"]["cart"]["linked_until"], until, "{person}");

    link("wall", json!({"shopper": "C-1"})).await.problem("conflict");
    link("nothing", json!({"shopper": "C-1"})).await.problem("not_found");
    let past = link("cart", json!({"shopper": "C-2", "until": NOW})).await;
    assert_eq!(wrong(&past).0, "/until");
    assert_eq!(wrong(&link("cart", json!({"shopper": "~x"})).await).0, "/shopper");
    link("cart", json!({"shopper": "C-1", "device": "x"})).await.problem("malformed");
    let phone = server.call(Scope::Ingest, Method::PUT, "/v1/devices/cart", &json!({"platform": "ios"})).await;
    let detail = phone.problem("conflict")["detail"].as_str().expect("a text").to_owned();
    assert!(detail.contains("PUT /v1/beacons/cart/link"), "{detail}");

    let (_, detail) = wrong(&delete(&server, "/v1/beacons/cart").await);
    assert!(detail.contains("DELETE /v1/beacons/cart/link"), "{detail}");
    let fixed = put(&server, "/v1/beacons/cart", json!({"store": "opera", "mac": "c4:be:84:1f:20:33"})).await;
    assert_eq!(wrong(&fixed).0, "/role");
    let unlink = async || server.call(Scope::Ingest, Method::DELETE, "/v1/beacons/cart/link", &Value::Null).await;
    assert_eq!(unlink().await.status, StatusCode::NO_CONTENT);
    unlink().await.problem("not_found");
    get(&server, "/v1/devices/cart").await.problem("not_found");
    assert_eq!(delete(&server, "/v1/beacons/cart").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_phone_does_not_become_a_tag_by_its_name() {
    let server = shops().await;
    server.register("phone").await;
    let tag = json!({"role": "tag", "mac": "c4:be:84:1f:20:40"});
    assert_eq!(wrong(&put(&server, "/v1/beacons/phone", tag.clone()).await).0, "/id");
    let mut listed = tag;
    listed["id"] = "phone".into();
    let reply = server.call(Scope::Marketing, Method::POST, "/v1/beacons", &json!([listed])).await;
    assert_eq!(wrong(&reply).0, "/0/id");
}

#[tokio::test]
async fn what_a_tag_saw_that_nobody_carries_is_refused_by_name() {
    let server = shops().await;
    let sighting = json!({"kind": "sighting", "at": NOW, "beacon": "cart", "rssi_dbm": -60.0, "observer": "ceiling"});
    let report = json!({"device": "cart", "observations": [sighting]});
    let observe = async || server.call(Scope::Ingest, Method::POST, "/v1/observations", &report).await.json();
    let answer = observe().await;
    assert_eq!(answer["rejected"][0]["reason"], "unlinked_tag", "{answer}");
    assert_eq!(server.count("unlinked_tag").await, 1);
    let link = json!({"shopper": "C-1"});
    let linked = server.call(Scope::Ingest, Method::PUT, "/v1/beacons/cart/link", &link).await;
    assert_eq!(linked.status, StatusCode::OK);
    assert_eq!(observe().await["accepted"], 1);
}

#[test]
fn no_body_links_a_device() {
    let read = serde_json::from_value::<Registration>(json!({"platform": "ios", "link": {"until": NOW}}));
    assert!(read.is_err(), "{read:?}");
    let until = Some(NOW.parse::<Timestamp>().expect("a time"));
    let tag = Registration::of_tag("C-1".parse().expect("an id"), Link { until });
    assert_eq!(
        serde_json::to_value(tag).expect("writes"),
        json!({"shopper": "C-1", "platform": "tag", "preferred": false})
    );
}
