//! The control plane over HTTP.

use http::{Method, StatusCode};
use parvis::http::{Config, auth::Scope};
use serde_json::{Value, json};

use crate::server::{Reply, Server, Wanted};

fn store(name: &str) -> Value {
    json!({"name": name, "time_zone": "Europe/Paris"})
}

fn fence(id: &str) -> Value {
    json!({"type": "Feature", "id": id, "geometry": {"type": "Point", "coordinates": [2.33, 48.87]},
        "properties": {"radius_m": 50.0}})
}

async fn put(server: &Server, path: &str, body: &Value) -> Reply {
    server.call(Scope::Marketing, Method::PUT, path, body).await
}

async fn get(server: &Server, path: &str) -> Reply {
    server.call(Scope::Read, Method::GET, path, &Value::Null).await
}

#[tokio::test]
async fn an_object_is_put_shown_and_deleted() {
    let server = Server::start().await;
    let expected = json!({"id": "opera", "name": "Opéra", "time_zone": "Europe/Paris"});
    assert_eq!(put(&server, "/v1/stores/opera", &store("Opéra")).await.json(), expected);
    assert_eq!(get(&server, "/v1/stores/opera").await.json(), expected);
    let mut numbered = fence("7");
    numbered["id"] = 7.into();
    assert_eq!(put(&server, "/v1/geofences/7", &numbered).await.status, StatusCode::OK);
    assert_eq!(put(&server, "/v1/geofences/8", &numbered).await.problem("invalid")["errors"][0]["pointer"], "/id");
    let delete = || server.call(Scope::Marketing, Method::DELETE, "/v1/stores/opera", &Value::Null);
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    delete().await.problem("not_found");
    get(&server, "/v1/stores/opera").await.problem("not_found");
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_place() {
    let server = Server::start().await;
    let cases = [
        (json!({"name": "Opéra", "time_zone": "Paris"}), "invalid", "/time_zone"),
        (json!({"id": "rivoli", "name": "Opéra", "time_zone": "Europe/Paris"}), "invalid", "/id"),
        (json!({"name": "Opéra", "time_zone": "Europe/Paris", "colour": "red"}), "invalid", "/colour"),
        (json!([]), "invalid", ""),
    ];
    for (body, kind, pointer) in cases {
        let document = put(&server, "/v1/stores/opera", &body).await.problem(kind);
        assert_eq!(document["errors"][0]["pointer"], pointer, "{document}");
    }
    let authorized =
        || server.request(Method::PUT, "/v1/stores/opera").header("authorization", server.bearer(Scope::Marketing));
    let twice = r#"{"name":"a","name":"b","time_zone":"Europe/Paris"}"#;
    assert!(
        server.send(authorized(), twice).await.problem("malformed")["detail"].as_str().expect("text").contains("twice")
    );
    put(&server, "/v1/stores/two%20words", &store("x")).await.problem("malformed");
}

#[tokio::test]
async fn a_collection_is_taken_as_a_whole_or_not_at_all() {
    let server = Server::start().await;
    let post = async |features: Value| {
        let body = json!({"type": "FeatureCollection", "features": features});
        server.call(Scope::Marketing, Method::POST, "/v1/geofences", &body).await
    };
    let mut wrong = fence("b");
    wrong["geometry"] = Value::Null;
    let document = post(json!([fence("a"), wrong])).await.problem("invalid");
    assert!(document["errors"][0]["pointer"].as_str().expect("text").starts_with("/features/1"), "{document}");
    let document = post(json!([wrong])).await.problem("invalid");
    assert!(document["errors"][0]["pointer"].as_str().expect("text").starts_with("/features/0"), "{document}");
    assert_eq!(get(&server, "/v1/geofences").await.json()["features"], json!([]));
    assert_eq!(post(json!([fence("a"), fence("b"), fence("c")])).await.json(), json!({"put": 3}));
    server.call(Scope::Marketing, Method::POST, "/v1/geofences", &fence("a")).await.problem("invalid");
}

#[tokio::test]
async fn lists_are_paged() {
    let config = Config { page_max: 2, ..Config::default() };
    let server = Server::start_with(Wanted { config, ..Wanted::default() }).await;
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(put(&server, &format!("/v1/geofences/{id}"), &fence(id)).await.status, StatusCode::OK);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/geofences?limit=99".to_owned();
    loop {
        let page = get(&server, &path).await.json();
        seen.extend(page["features"].as_array().expect("a list").iter().map(|one| one["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/geofences?limit=2&after={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    get(&server, "/v1/geofences?limit=some").await.problem("malformed");
    get(&server, "/v1/geofences?colour=red").await.problem("malformed");
}
