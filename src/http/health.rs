//! `/healthz`, `/readyz`, `/metrics`: for those who run the node. No key is needed; nothing personal is here.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::Services;

/// Whether the node can safely take what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: it reads what it stored.
    Starting,
    /// Yes.
    Ready,
    /// No longer: it finishes what it has.
    Draining,
}

impl Readiness {
    fn name(self) -> &'static str {
        match self {
            Readiness::Starting => "starting",
            Readiness::Ready => "ready",
            Readiness::Draining => "draining",
        }
    }
}

/// The process is up.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn healthz() -> Response {
    Json(json!({"status": "up"})).into_response()
}

/// The node can safely take what is sent to it. `catalog` says what nodes that work together should have in common: the
/// generation of what the API has put, and a hash of the files, the keys of beacons and the engine's settings. `providers`
/// says whether push services are asked (`closed`), tried with one message at a time (`half_open`) or left alone (`open`);
/// a node whose provider is in trouble is ready all the same, for it keeps what waits.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, body = serde_json::Value), (status = 503, body = serde_json::Value)))]
pub(super) async fn readyz(State(services): State<Arc<Services>>) -> Response {
    let readiness = *services.ready.borrow();
    let status = if readiness == Readiness::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let standing = services.catalog.standing();
    let breakers = services.reporter.breakers();
    let providers: Vec<_> = breakers
        .iter()
        .map(|(route, state)| json!({"app": route.app, "channel": route.channel.name(), "breaker": state.name()}))
        .collect();
    let answer = json!({
        "status": readiness.name(),
        "node": services.node,
        "catalog": {"generation": standing.stored, "files": format!("{:016x}", standing.files)},
        "crash_loses": services.store.crash_loss().name(),
        "providers": providers,
    });
    (status, Json(answer)).into_response()
}

/// Metrics in the text form of OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(services): State<Arc<Services>>) -> Response {
    // Without the store the sizes stay what they were, for now more than ever somebody looks at the rest.
    let sizes = services.store.sizes().await.ok();
    services.reporter.crash_loss(services.store.crash_loss());
    services.reporter.catalog(services.catalog.standing());
    services.reporter.credentials(&services.couriers.credentials(), services.clock.now());
    let fleet = services.fleet.counts(services.clock.now());
    let page = services.reporter.page(sizes.as_ref(), services.shards.waiting(), &fleet);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], page).into_response()
}
