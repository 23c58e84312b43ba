//! The sandbox's own plain HTTP interface: what was received, which targets there are, how the services behave. On
//! loopback, without authorization: it guards nothing that is worth anything.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use parvis_engine::{notification::Channel, shopper::ApnsEnvironment};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Behaviour, Conditions, ConnectedBrowser, Counts, Endpoints, Error, Fault, LiveActivity, NewTarget, Received,
    autopush, page, shared::Shared,
};

/// `PUT /sandbox/behaviour`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBehaviour {
    target: String,
    behaviour: Behaviour,
}

/// `PUT /sandbox/conditions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConditions {
    channel: Channel,
    conditions: Conditions,
}

/// `POST /sandbox/goaway`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Departure {
    channel: Channel,
    /// What the frame's data says.
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /sandbox/apps`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewApp {
    name: String,
}

/// `POST /sandbox/apns/certificates`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCertificate {
    topic: String,
    /// The only one that it is for.
    #[serde(default)]
    environment: Option<ApnsEnvironment>,
}

/// `GET /received?since=`.
#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

/// `GET /shown?target=`.
#[derive(Debug, Deserialize)]
struct Shown {
    target: String,
}

/// `GET /received`'s answer.
#[derive(Debug, Serialize)]
struct Page {
    counts: Counts,
    received: Vec<Arc<Received>>,
}

/// Serves until the sandbox stops; open connections are cut with `abort`.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, abort: CancellationToken) {
    let stop = shared.stop.clone();
    let router = page::routes().merge(routes()).route("/autopush", get(autopush::connect)).with_state(shared);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    // Accept errors are retried by the server itself; it ends only because it was told to.
    let _ = abort.run_until_cancelled(serving.into_future()).await;
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/received", get(received))
        .route("/shown", get(shown))
        .route("/sandbox", get(endpoints))
        .route("/sandbox/targets", post(register))
        .route("/sandbox/behaviour", put(set_behaviour))
        .route("/sandbox/conditions", put(set_conditions))
        .route("/sandbox/goaway", post(go_away))
        .route("/sandbox/faults", get(faults))
        .route("/sandbox/faults/{name}", put(set_fault).delete(clear_fault))
        .route("/sandbox/apps", post(add_app))
        .route("/sandbox/apns/certificates", post(issue_certificate))
        .route("/sandbox/activities", get(activities))
        .route("/sandbox/browsers", get(browsers))
}

async fn received(State(shared): State<Arc<Shared>>, Query(Since { since }): Query<Since>) -> Json<Page> {
    Json(Page { counts: shared.record.counts(), received: shared.record.since(since) })
}

async fn shown(State(shared): State<Arc<Shared>>, Query(Shown { target }): Query<Shown>) -> Json<Vec<Arc<Received>>> {
    Json(shared.record.shown(&target))
}

async fn endpoints(State(shared): State<Arc<Shared>>) -> Json<Endpoints> {
    Json(shared.endpoints.clone())
}

/// Answers with the target as a device registration takes it.
async fn register(State(shared): State<Arc<Shared>>, Json(new): Json<NewTarget>) -> Response {
    match shared.register(new) {
        Ok(target) => (StatusCode::CREATED, Json(target)).into_response(),
        Err(error) => refusal(StatusCode::NOT_FOUND, error),
    }
}

async fn set_behaviour(State(shared): State<Arc<Shared>>, Json(new): Json<NewBehaviour>) -> Response {
    if let Some(problem) = new.behaviour.problem() {
        return refusal(StatusCode::BAD_REQUEST, problem);
    }
    if shared.targets.set_behaviour(&new.target, new.behaviour, shared.clock.now()) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refusal(StatusCode::NOT_FOUND, "target: there is no such target")
    }
}

async fn set_conditions(State(shared): State<Arc<Shared>>, Json(new): Json<NewConditions>) -> Response {
    if let Some(problem) = new.conditions.problem() {
        return refusal(StatusCode::BAD_REQUEST, problem);
    }
    shared.set_conditions(new.channel, new.conditions);
    StatusCode::NO_CONTENT.into_response()
}

async fn go_away(State(shared): State<Arc<Shared>>, Json(departure): Json<Departure>) -> StatusCode {
    shared.go_away(departure.channel, departure.reason);
    StatusCode::NO_CONTENT
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<BTreeMap<String, Fault>> {
    Json(shared.faults.all())
}

async fn set_fault(State(shared): State<Arc<Shared>>, Path(name): Path<String>, Json(fault): Json<Fault>) -> Response {
    match shared.faults.set(&name, fault, shared.clock.now()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => refusal(StatusCode::BAD_REQUEST, problem),
    }
}

async fn clear_fault(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    if shared.faults.clear(&name) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refusal(StatusCode::NOT_FOUND, "there is no such fault")
    }
}

/// Answers with the app's credentials.
async fn add_app(State(shared): State<Arc<Shared>>, Json(new): Json<NewApp>) -> Response {
    match shared.add_app(&new.name).await {
        Ok(app) => {
            let account = app.service_account(&shared.endpoints.fcm_token);
            let body = json!({ "app": *app, "fcm_service_account": account });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Err(error @ Error::App { .. }) => refusal(StatusCode::BAD_REQUEST, error),
        Err(error @ (Error::Bind { .. } | Error::Identity { .. } | Error::Write { .. })) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, error)
        }
    }
}

async fn issue_certificate(State(shared): State<Arc<Shared>>, Json(new): Json<NewCertificate>) -> Response {
    match shared.issue_apns_certificate(&new.topic, new.environment) {
        Ok(certificate) => (StatusCode::CREATED, Json(certificate)).into_response(),
        Err(error) => refusal(StatusCode::BAD_REQUEST, error),
    }
}

async fn activities(State(shared): State<Arc<Shared>>) -> Json<Vec<LiveActivity>> {
    Json(shared.apns.activities.all())
}

async fn browsers(State(shared): State<Arc<Shared>>) -> Json<Vec<ConnectedBrowser>> {
    Json(shared.browsers.all())
}

fn refusal(status: StatusCode, problem: impl Display) -> Response {
    (status, Json(json!({ "error": problem.to_string() }))).into_response()
}
