//! Requests to a whole node, one after the other: `METHOD path`, headers, an empty line, a body; `===` on a line of its
//! own stands between two. Who does not say who calls is an administrator; `authorization: token {...}` gets the claims
//! signed.
//!
//! Nothing that can be asked is our own failure, and what is refused is refused with a problem that says why.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, body::Body};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parvis::{
    catalog::{self, Catalog, Sources},
    clock::Clock,
    entropy::Entropy,
    fleet::{self, Fleet},
    http::{
        self as edge, Config, Services,
        auth::{KeyRecord, Keys, Scope, new_key},
        health::Readiness,
        idempotency::Running,
    },
    pipeline,
    report::{self, Reporter},
    shard::{self, Shard, Shards},
    store::memory::Memory,
};
use parvis_engine::world;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{now, providers};

/// The most requests of one input.
const REQUESTS_MAX: usize = 12;

pub(crate) fn check(bytes: &[u8]) -> bool {
    let mut requests = Vec::new();
    for part in split(bytes, b"\n===\n").take(REQUESTS_MAX) {
        requests.extend(request(part));
    }
    if requests.is_empty() {
        return false;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let node = node().await;
        let mut taken = false;
        for request in requests {
            taken |= ask(&node, request).await;
        }
        taken
    })
}

fn split<'a>(bytes: &'a [u8], between: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.windows(between.len()).position(|part| part == between);
        rest = end.map(|end| &text[end + between.len()..]);
        Some(end.map_or(text, |end| &text[..end]))
    })
}

fn request(bytes: &[u8]) -> Option<Request<Body>> {
    let mut parts = split(bytes, b"\n\n");
    let head = std::str::from_utf8(parts.next()?).ok()?;
    let body = bytes.get(head.len() + 2..).unwrap_or_default();
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let method: Method = method.parse().ok()?;
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_vec())).ok()?;
    let headers = request.headers_mut();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name: HeaderName = name.parse().ok()?;
        let value = if name == header::AUTHORIZATION { credential(value.trim()) } else { value.trim().to_owned() };
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    if !headers.contains_key(header::AUTHORIZATION) {
        let value = HeaderValue::from_str(&credential("admin")).ok()?;
        headers.insert(header::AUTHORIZATION, value);
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Some(request)
}

struct Ring {
    keys: Keys,
    /// By scope, and those that are bound to a device and to a scanner.
    known: Vec<(&'static str, String)>,
    signer: EncodingKey,
}

fn ring() -> &'static Ring {
    static RING: OnceLock<Ring> = OnceLock::new();
    RING.get_or_init(|| {
        let entropy = Entropy::seeded(1);
        let (mut known, mut records) = (Vec::new(), Vec::new());
        for scope in Scope::ALL {
            let (key, record) = new_key(&entropy, scope.name(), BTreeSet::from([scope]));
            known.push((scope.name(), key));
            records.push(record);
        }
        let (key, record) = new_key(&entropy, "phone", BTreeSet::from([Scope::Ingest]));
        known.push(("phone", key));
        records.push(KeyRecord { device: Some("d".parse().expect("an id")), ..record });
        let (key, record) = new_key(&entropy, "scanner", BTreeSet::from([Scope::Ingest]));
        known.push(("scanner", key));
        records.push(KeyRecord { scanner: Some("s".parse().expect("an id")), ..record });
        let pair = rcgen::KeyPair::generate().expect("a key");
        let point = pair.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let jwks = serde_json::json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "a"}]});
        let signer = EncodingKey::from_ec_der(&pair.serialize_der());
        let keys = Keys::new(records, Some(&jwks.to_string()), None).expect("good keys");
        Ring { keys, known, signer }
    })
}

/// A key by its name, a token by its claims, or what stands there.
fn credential(text: &str) -> String {
    let ring = ring();
    if let Some((_, key)) = ring.known.iter().find(|(name, _)| *name == text) {
        return format!("Bearer {key}");
    }
    let claims = text.strip_prefix("token ").and_then(|claims| serde_json::from_str::<Value>(claims).ok());
    let token =
        claims.and_then(|claims| jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &ring.signer).ok());
    token.map_or_else(|| text.to_owned(), |token| format!("Bearer {token}"))
}

/// A node with nothing in it: real owners of shoppers over a store in memory.
async fn node() -> Router {
    let (store, clock) = (Arc::new(Memory::new()), Clock::simulated(now()));
    let config = catalog::Config::default();
    let sources = Sources { folder: "no-such-folder".into(), config, settings: world::Settings::default() };
    let (catalog, worker) = Catalog::open(sources, store.clone()).await.expect("an empty catalog");
    let tasks = TaskTracker::new();
    tasks.spawn(worker.run());
    let reporter = Reporter::new(&report::Config::default());
    let tools = shard::Tools {
        store: store.clone(),
        catalog: catalog.clone(),
        clock: clock.clone(),
        reporter: reporter.clone(),
        abandon: CancellationToken::new(),
    };
    let (inbox, shard) = Shard::new(&shard::Config { count: 1, inbox_max: 64, batch_max: 8 }, tools);
    tasks.spawn(pipeline::run_shard(shard));
    let config = Config { line_max: 400, lines_at_once: 3, listed_max: 4, page_max: 5, ..Config::default() };
    edge::router(Services {
        shards: Shards::new(vec![inbox]),
        store,
        catalog,
        fleet: Fleet::new(fleet::Config::default()),
        couriers: Arc::new(providers::no_couriers()),
        clock,
        keys: ring().keys.clone(),
        reporter,
        ready: watch::Sender::new(Readiness::Ready).subscribe(),
        readers: Arc::new(Semaphore::new(config.readers_max)),
        backups: Arc::new(Semaphore::new(1)),
        config,
        node: "node".to_owned(),
        tasks,
        running: Running::default(),
    })
}

async fn ask(node: &Router, request: Request<Body>) -> bool {
    let what = format!("{} {}", request.method(), request.uri());
    let (is_head, put) = (request.method() == Method::HEAD, place_of(&request));
    let response = send(node, request).await;
    let (status, headers) = (response.status(), response.headers().clone());
    assert!(!status.is_server_error(), "{what}: {status}");
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    if kind == "text/event-stream" {
        return true;
    }
    let body = tokio::time::timeout(Duration::from_secs(600), response.into_body().collect()).await;
    let body = body.expect("an answer ends").expect("an answer is whole").to_bytes();
    if (status.is_client_error() || status.is_server_error()) && !is_head {
        assert_eq!(kind, "application/problem+json", "{what}: {status}");
        let problem: Value = serde_json::from_slice(&body).expect("a problem is JSON");
        assert_eq!(problem["status"], status.as_u16());
        assert!(["title", "detail"].iter().all(|name| problem[*name].as_str().is_some_and(|text| !text.is_empty())));
        return false;
    }
    if kind == "application/json" && !is_head {
        serde_json::from_slice::<Value>(&body).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    // What was put is there.
    if let Some(get) = put.filter(|_| status.is_success()) {
        let found = send(node, get).await.status();
        assert_eq!(found, StatusCode::OK, "{what}");
    }
    status.is_success()
}

async fn send(node: &Router, request: Request<Body>) -> Response<Body> {
    match node.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// What asks for the object that this puts into the catalog.
fn place_of(request: &Request<Body>) -> Option<Request<Body>> {
    const KINDS: [&str; 7] = ["geofences", "stores", "campaigns", "beacons", "scanners", "zones", "beacon-regions"];
    let (_, path) = request.uri().path().split_once("/v1/")?;
    let (kind, id) = path.split_once('/')?;
    if request.method() != Method::PUT || !KINDS.contains(&kind) || id.contains('/') {
        return None;
    }
    let admin = credential("admin");
    Request::get(request.uri().path()).header(header::AUTHORIZATION, admin).body(Body::empty()).ok()
}
