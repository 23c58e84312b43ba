//! Who may what.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parvis::{
    entropy::Entropy,
    http::auth::{KeyRecord, Scope, new_key},
};
use serde_json::{Value, json};

use crate::server::{NOW, Server, Wanted, now};

#[tokio::test]
async fn every_path_of_the_api_asks_for_a_key_before_anything_else() {
    let server = Server::start().await;
    let document: Value = server.send(server.request(Method::GET, "/openapi.json"), "").await.json();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let filled = path.replace(['{', '}'], "");
            let request = || server.request(method.clone(), &filled);
            if !path.starts_with("/v1/") {
                assert_ne!(server.send(request(), "").await.status, StatusCode::UNAUTHORIZED, "{path}");
                continue;
            }
            for header in [None, Some("Bearer parvis_wrong"), Some("Bearer a.b.c"), Some("Basic %"), Some("Other x")] {
                let request = match header {
                    Some(header) => request().header("authorization", header),
                    None => request(),
                };
                let reply = server.send(request, "{").await;
                assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                assert!(reply.header("www-authenticate").starts_with("Bearer"));
                reply.problem("unauthenticated");
            }
            asked += 1;
        }
    }
    assert!(asked >= 30, "{asked} calls");
}

#[tokio::test]
async fn a_scope_opens_its_paths_and_no_others() {
    let server = Server::start().await;
    let cases: [(Method, &str, &[Scope]); 18] = [
        (Method::POST, "/v1/observations", &[Scope::Ingest]),
        (Method::PUT, "/v1/shoppers/C-1", &[Scope::Ingest]),
        (Method::GET, "/v1/shoppers/C-1", &[Scope::Read]),
        (Method::DELETE, "/v1/shoppers/C-1", &[]),
        (Method::GET, "/v1/backup", &[Scope::Backup]),
        (Method::POST, "/v1/orders/O-1/events", &[Scope::Orders]),
        (Method::GET, "/v1/orders/O-1", &[Scope::Orders, Scope::Read]),
        (Method::PUT, "/v1/campaigns/tv", &[Scope::Marketing]),
        (Method::GET, "/v1/campaigns", &[Scope::Marketing, Scope::Read]),
        (Method::POST, "/v1/explain", &[Scope::Marketing]),
        (Method::POST, "/v1/notifications", &[Scope::Send]),
        (Method::GET, "/v1/notifications/sums", &[Scope::Read, Scope::Send]),
        (Method::GET, "/v1/dead-letters", &[Scope::Read, Scope::Send]),
        (Method::POST, "/v1/dead-letters/replay", &[Scope::Send]),
        (Method::POST, "/v1/dead-letters/00000000-0000-8000-8000-000000000000/replay", &[Scope::Send]),
        (Method::POST, "/v1/apps/default/broadcast-channels", &[Scope::Send]),
        (Method::GET, "/v1/apps/default/broadcast-channels", &[Scope::Read, Scope::Send]),
        (Method::DELETE, "/v1/apps/default/broadcast-channels/AA", &[Scope::Send]),
    ];
    for (method, path, scopes) in cases {
        for scope in Scope::ALL {
            let reply = server.call(scope, method.clone(), path, &json!([])).await;
            let allowed = scope == Scope::Admin || scopes.contains(&scope);
            assert_eq!(reply.status != StatusCode::FORBIDDEN, allowed, "{method} {path} {scope}");
            if !allowed {
                reply.problem("forbidden");
            }
        }
    }
}

#[tokio::test]
async fn a_bound_key_speaks_for_its_device_or_scanner() {
    let key = |name: &str| new_key(&Entropy::System, name, BTreeSet::from([Scope::Ingest]));
    let (phone, phone_record) = key("one phone");
    let (aisle, aisle_record) = key("one scanner");
    let phone_record = KeyRecord { device: Some("phone".parse().expect("an id")), ..phone_record };
    let aisle_record = KeyRecord { scanner: Some("aisle-3".parse().expect("an id")), ..aisle_record };
    let server = Server::start_with(Wanted { keys: vec![phone_record, aisle_record], ..Wanted::default() }).await;
    server.register("phone").await;
    server.register("other").await;
    let post = |key: &str, body: Value| {
        let request = server.request(Method::POST, "/v1/observations").header("authorization", format!("Bearer {key}"));
        server.send(request, body.to_string())
    };
    let sighting = |observer: &str| {
        let uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";
        json!({"kind": "sighting", "at": NOW, "uuid": uuid, "major": 1, "minor": 1, "rssi_dbm": -60, "observer": observer})
    };
    let scan = json!({"kind": "scan", "at": NOW, "tag": "shelf"});
    assert_eq!(post(&phone, json!({"device": "phone", "observations": [scan]})).await.json()["accepted"], 1);
    post(&phone, json!({"device": "other", "observations": [scan]})).await.problem("forbidden");
    let heard = json!({"device": "phone", "observations": [sighting("aisle-3"), sighting("aisle-4"), scan]});
    let answer = post(&aisle, heard).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&json!(1), &json!(1)));
    let profile = server.request(Method::PUT, "/v1/shoppers/C-1").header("authorization", format!("Bearer {phone}"));
    server.send(profile, "{}").await.problem("forbidden");
}

#[tokio::test]
async fn a_bound_key_neither_reads_nor_changes_what_is_not_its_own() {
    let key = |name: &str, scopes: &[Scope]| new_key(&Entropy::System, name, scopes.iter().copied().collect());
    let all = [Scope::Admin];
    let ((phone, phone_record), (aisle, aisle_record)) = (key("one phone", &all), key("one scanner", &all));
    let phone_record = KeyRecord { device: Some("phone".parse().expect("an id")), ..phone_record };
    let aisle_record = KeyRecord { scanner: Some("aisle-3".parse().expect("an id")), ..aisle_record };
    let server = Server::start_with(Wanted { keys: vec![phone_record, aisle_record], ..Wanted::default() }).await;
    server.register("phone").await;
    server.register("other").await;
    let call = |key: &str, method: Method, path: &str, body: Value| {
        let request = server.request(method, path).header("authorization", format!("Bearer {key}"));
        server.send(request, body.to_string())
    };
    let target = json!({"platform": "ios", "target": {"channel": "fcm", "token": "t"}});
    for (key, device) in [(&aisle, "phone"), (&aisle, "other"), (&phone, "other")] {
        let path = format!("/v1/devices/{device}");
        call(key, Method::PUT, &path, target.clone()).await.problem("forbidden");
        call(key, Method::GET, &path, json!(null)).await.problem("forbidden");
        call(key, Method::DELETE, &path, json!(null)).await.problem("forbidden");
        call(key, Method::DELETE, "/v1/shoppers/~other", json!(null)).await.problem("forbidden");
        let question =
            json!({"shopper": "~other", "campaign": "tv", "transition": {"transition": "enter", "region": "shop"}});
        call(key, Method::POST, "/v1/explain", question).await.problem("forbidden");
    }
    assert_eq!(call(&phone, Method::PUT, "/v1/devices/phone", target).await.status, StatusCode::OK);
    assert_eq!(call(&phone, Method::GET, "/v1/devices/phone", json!(null)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_phone_speaks_for_itself_with_its_token() {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}).to_string();
    let signer = EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("PKCS 8").as_ref());
    let server = Server::start_with(Wanted { jwks: Some(jwks), ..Wanted::default() }).await;
    let token = |claims: Value| encode(&Header::new(Algorithm::EdDSA), &claims, &signer).expect("signs");
    let soon = now().as_millis() / 1_000 + 300;
    let good = token(json!({"sub": "phone", "shopper": "C-1", "exp": soon}));
    let put = |token: &str, device: &str, body: Value| {
        let request = server.request(Method::PUT, &format!("/v1/devices/{device}"));
        server.send(request.header("authorization", format!("Bearer {token}")), body.to_string())
    };
    let own = json!({"platform": "ios", "shopper": "C-1"});
    assert_eq!(put(&good, "phone", own.clone()).await.json(), json!({"device": "phone", "shopper": "C-1"}));
    put(&good, "other", own.clone()).await.problem("forbidden");
    put(&good, "phone", json!({"platform": "ios", "shopper": "C-2"})).await.problem("forbidden");
    let late = token(json!({"sub": "phone", "exp": soon - 600}));
    assert!(
        put(&late, "phone", own).await.problem("unauthenticated")["detail"].as_str().expect("text").contains("expired")
    );
    let read = server.request(Method::GET, "/v1/shoppers/C-1").header("authorization", format!("Bearer {good}"));
    server.send(read, "").await.problem("forbidden");
    // The key of web pages is no secret; here there is none.
    let path = "/v1/apps/default/web-push-key";
    let key = server.request(Method::GET, path).header("authorization", format!("Bearer {good}"));
    server.send(key, "").await.problem("not_found");
}
