//! Phones and servers of others, as they are.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use parvis::{http::auth::Scope, shard::Refusal};
use serde_json::json;

use crate::server::{Reply, Server};

const OWNTRACKS: &str = "/v1/ingest/owntracks";

async fn post(server: &Server, path: &str, body: &str) -> Reply {
    let request = server.request(Method::POST, path).header("authorization", server.bearer(Scope::Ingest));
    server.send(request, body.to_owned()).await
}

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("samples/owntracks/", $name, ".json"))
    };
}

#[tokio::test]
async fn owntracks_messages_are_taken() {
    let server = Server::start().await;
    for device in ["xx", "device", "s5", "ce"] {
        server.register(device).await;
    }
    let samples = [
        (sample!("valid_location_message"), 1),
        (sample!("valid_location_message_with_topic"), 1),
        (sample!("location_multiple_messages"), 2),
        (sample!("location_deserialize_extended"), 1),
        (sample!("transition_message"), 1),
    ];
    let mut expected = 0;
    for (sample, count) in samples {
        let reply = post(&server, OWNTRACKS, sample).await;
        assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!([])));
        expected += count;
        assert_eq!(server.count("accepted").await, expected, "{sample}");
    }
}

#[tokio::test]
async fn owntracks_junk_is_done_and_counted() {
    let server = Server::start().await;
    let samples = [
        sample!("encrypted_message"),
        sample!("valid_card_message"),
        sample!("unknown_message"),
        sample!("waypoint_message"),
        sample!("cmd_status"),
        "not JSON",
    ];
    for sample in samples {
        assert_eq!(post(&server, OWNTRACKS, sample).await.json(), json!([]), "{sample}");
    }
    assert_eq!(server.count("ignored").await, 6);
    for sample in [sample!("location_empty"), sample!("invalid_location_message_zero_timestamp")] {
        assert_eq!(post(&server, OWNTRACKS, sample).await.status, StatusCode::OK);
    }
    assert_eq!(server.refused().await, 2);
}

#[tokio::test]
async fn owntracks_sends_again_what_was_not_taken() {
    let server = Server::start().await;
    server.register("xx").await;
    *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Full);
    let reply = post(&server, OWNTRACKS, sample!("valid_location_message")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
}

#[tokio::test]
async fn owntracks_names_its_device_by_header_and_its_key_as_password() {
    let server = Server::start().await;
    server.register("pixel").await;
    let credentials = BASE64_STANDARD.encode(format!("jane:{}", server.key(Scope::Ingest)));
    let request = server.request(Method::POST, OWNTRACKS).header("authorization", format!("Basic {credentials}"));
    let request = request.header("x-limit-u", "jane").header("x-limit-d", "pixel");
    server.send(request, sample!("valid_location_message")).await;
    assert_eq!(server.count("accepted").await, 1);
    post(&server, &format!("{OWNTRACKS}?device=pixel"), sample!("valid_location_message")).await;
    assert_eq!(server.count("accepted").await, 2);
    post(&server, &format!("{OWNTRACKS}?device=a%20b"), "{}").await.problem("malformed");
}

#[tokio::test]
async fn overland_is_told_ok_when_it_is_durable() {
    let server = Server::start().await;
    server.register("iphone").await;
    let point = |device: &str| {
        json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [2.33, 48.87]},
            "properties": {"timestamp": "2026-11-21T10:00:00Z", "horizontal_accuracy": 5, "speed": -1, "device_id": device}})
    };
    let batch = json!({"locations": [point("iphone"), point("iphone"), point("nobody")], "current": {}, "trip": {}});
    let reply = post(&server, "/v1/ingest/overland", &batch.to_string()).await;
    assert_eq!(reply.json(), json!({"result": "ok"}));
    assert_eq!(server.count("accepted").await, 2);
    post(&server, "/v1/ingest/overland", "{}").await.problem("malformed");
    *server.owner.refusal.lock().expect("not poisoned") = Some(Refusal::Unavailable("the disk is full".to_owned()));
    let reply = post(&server, "/v1/ingest/overland", &batch.to_string()).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_other_formats_are_taken() {
    let server = Server::start().await;
    server.register("48241179").await;
    let traccar = json!({"location": {"timestamp": "2025-06-15T13:45:12.862Z", "coords": {"latitude": 37.42,
        "longitude": -122.08, "accuracy": 5, "speed": 0, "heading": -1}}, "device_id": "48241179"});
    assert_eq!(post(&server, "/v1/ingest/transistorsoft", &traccar.to_string()).await.status, StatusCode::OK);
    let query = "id=48241179&lat=42.06288&lon=-88.23412&timestamp=2016-01-27T18%3A55%3A47Z&hdop=6.0&speed=0.0";
    let osmand =
        |method, path: String| server.request(method, &path).header("authorization", server.bearer(Scope::Ingest));
    let path = format!("/v1/ingest/osmand?{query}");
    for method in [Method::GET, Method::POST] {
        assert_eq!(server.send(osmand(method, path.clone()), "").await.status, StatusCode::OK);
    }
    let mut form = osmand(Method::POST, "/v1/ingest/osmand".to_owned());
    let kind = "application/x-www-form-urlencoded".parse().expect("a type");
    form.headers_mut().expect("good").insert("content-type", kind);
    server.send(form, query).await;
    let amazon = json!({"DevicePositionUpdates": [{"DeviceId": "48241179", "Position": [-123.4, 45.6],
        "SampleTime": "2020-10-02T19:09:07.327Z"}]});
    assert_eq!(post(&server, "/v1/ingest/amazon", &amazon.to_string()).await.json(), json!({"Errors": []}));
    let ranged =
        json!([{"proximityUUID": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 7, "minor": 1, "rssi": -60}]);
    let path = "/v1/ingest/ranging?device=48241179";
    assert_eq!(post(&server, path, &ranged.to_string()).await.status, StatusCode::OK);
    assert_eq!(server.count("accepted").await, 6);
}
