//! What an app has at its push services: broadcast channels at Apple's, and the key of its web pages.

use http::{Method, StatusCode};
use parvis::{
    http::auth::Scope,
    sandbox::{Conditions, Reachable},
};
use parvis_engine::{notification::Channel, shopper::ApnsEnvironment};
use serde_json::{Value, json};

use crate::server::{Reply, Server, Wanted};

const PATH: &str = "/v1/apps/default/broadcast-channels";
const BUNDLE: &str = "com.example.shop";
const WHOSE: &str = "?bundle=com.example.shop";

/// A server whose app has all push services, and a bundle at Apple's.
async fn start() -> Server {
    let server = Server::start_with(Wanted { delivers: true, ..Wanted::default() }).await;
    for environment in [ApnsEnvironment::Production, ApnsEnvironment::Sandbox] {
        server.sandbox.as_ref().expect("configured").register_apns(BUNDLE, environment);
    }
    server
}

async fn create(server: &Server, body: Value) -> Reply {
    server.call(Scope::Send, Method::POST, PATH, &body).await
}

async fn ask(server: &Server, method: Method, path: &str) -> Reply {
    server.call(Scope::Send, method, path, &Value::Null).await
}

fn one(channel: &str, query: &str) -> String {
    let encoded = channel.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("{PATH}/{encoded}{query}")
}

fn new(stored: bool) -> Value {
    json!({"bundle": BUNDLE, "stored": stored})
}

#[tokio::test]
async fn channels_are_created_read_listed_and_deleted() {
    let server = start().await;
    let reply = create(&server, new(true)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{:?}", reply.body);
    let first = reply.json();
    let id = first["channel"].as_str().expect("an id").to_owned();
    assert_eq!(first, json!({"channel": id, "bundle": BUNDLE, "environment": "production", "stored": true}));
    let second = create(&server, json!({"bundle": BUNDLE, "environment": "sandbox", "stored": false})).await.json();
    assert_eq!(ask(&server, Method::GET, &one(&id, WHOSE)).await.json(), first);
    let list = format!("{PATH}{WHOSE}");
    assert_eq!(ask(&server, Method::GET, &list).await.json(), json!({"items": [id]}));
    let elsewhere = format!("{WHOSE}&environment=sandbox");
    let listed = ask(&server, Method::GET, &format!("{PATH}{elsewhere}")).await.json();
    assert_eq!(listed, json!({"items": [second["channel"]]}), "each environment has its own");
    let other = one(second["channel"].as_str().expect("an id"), &elsewhere);
    assert_eq!(ask(&server, Method::GET, &other).await.json(), second);
    let deleted = ask(&server, Method::DELETE, &one(&id, WHOSE)).await;
    assert_eq!((deleted.status, deleted.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(ask(&server, Method::GET, &list).await.json(), json!({"items": []}));
    for method in [Method::GET, Method::DELETE] {
        let reply = ask(&server, method, &one(&id, WHOSE)).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        reply.problem("not_found");
    }
}

#[tokio::test]
async fn an_id_of_any_letters_of_base64_goes_in_the_path() {
    let server = start().await;
    let (mut slash, mut plus) = (None, None);
    for _ in 0..500 {
        let id = create(&server, new(false)).await.json()["channel"].as_str().expect("an id").to_owned();
        assert!(id.ends_with('='), "16 bytes are padded: {id}");
        slash = slash.or_else(|| id.contains('/').then(|| id.clone()));
        plus = plus.or_else(|| (id.contains('+') && slash.as_ref() != Some(&id)).then(|| id.clone()));
        if slash.is_some() && plus.is_some() {
            break;
        }
    }
    for id in [slash.expect("one of many"), plus.expect("one of many")] {
        let read = ask(&server, Method::GET, &one(&id, WHOSE)).await;
        assert_eq!((read.status, read.json()["channel"].as_str()), (StatusCode::OK, Some(id.as_str())));
        assert_eq!(ask(&server, Method::DELETE, &one(&id, WHOSE)).await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_repeat_under_a_key_creates_one_channel() {
    let server = start().await;
    let request = || {
        let request = server.request(Method::POST, PATH).header("authorization", server.bearer(Scope::Send));
        request.header("idempotency-key", "launch")
    };
    let first = server.send(request(), new(true).to_string()).await;
    let again = server.send(request(), new(true).to_string()).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(again.json(), first.json());
    let listed = ask(&server, Method::GET, &format!("{PATH}{WHOSE}")).await.json();
    assert_eq!(listed, json!({"items": [first.json()["channel"]]}));
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let server = start().await;
    let unknown = server.call(Scope::Send, Method::POST, "/v1/apps/another/broadcast-channels", &new(true)).await;
    assert!(unknown.problem("not_found")["detail"].as_str().expect("text").contains("another"));
    let wrong = create(&server, json!({"bundle": "a/b", "stored": true})).await.problem("malformed");
    assert_eq!(wrong["errors"][0]["pointer"], "/bundle");
    create(&server, json!({"bundle": BUNDLE})).await.problem("malformed");
    create(&server, json!({"bundle": BUNDLE, "stored": true, "environment": "other"})).await.problem("malformed");
    ask(&server, Method::GET, PATH).await.problem("malformed");
    ask(&server, Method::GET, &one("a b", WHOSE).replace(' ', "%20")).await.problem("malformed");
    ask(&server, Method::GET, &one("x", WHOSE)).await.problem("malformed");
    let foreign = create(&server, json!({"bundle": "com.example.nobody", "stored": true})).await;
    assert_eq!(foreign.status, StatusCode::CONFLICT);
    let told = foreign.problem("conflict");
    assert!(told["detail"].as_str().expect("text").contains("TopicDisallowed"), "Apple's word: {told}");
    let bare = Server::start().await;
    let reply = create(&bare, new(true)).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert!(reply.problem("conflict")["detail"].as_str().expect("text").contains("no APNs"));
}

#[tokio::test]
async fn a_service_that_is_away_is_told_with_its_time() {
    let server = start().await;
    let sandbox = server.sandbox.as_ref().expect("configured");
    let busy = Conditions { failing: Some(503), retry_after_s: Some(17), ..Conditions::default() };
    sandbox.set_conditions(Channel::Apns, busy);
    let reply = create(&server, new(true)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "17"));
    reply.problem("provider_unavailable");
    sandbox.set_conditions(Channel::Apns, Conditions { failing: Some(403), ..Conditions::default() });
    create(&server, new(true)).await.problem("internal");
    sandbox.set_conditions(Channel::Apns, Conditions { reachable: Reachable::Refused, ..Conditions::default() });
    let reply = ask(&server, Method::GET, &format!("{PATH}{WHOSE}")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, ""));
    reply.problem("provider_unavailable");
}

#[tokio::test]
async fn the_key_of_web_pages_is_told_to_whoever_has_a_key() {
    let server = start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = server.sandbox.as_ref().expect("configured");
    let known = sandbox.write_credentials(folder.path()).expect("writable").webpush.vapid_public_key;
    for scope in Scope::ALL {
        let reply = server.call(scope, Method::GET, "/v1/apps/default/web-push-key", &Value::Null).await;
        assert_eq!(reply.json(), json!({"key": known}), "{scope}");
    }
    ask(&server, Method::GET, "/v1/apps/another/web-push-key").await.problem("not_found");
    let bare = Server::start().await;
    ask(&bare, Method::GET, "/v1/apps/default/web-push-key").await.problem("not_found");
}
