//! The sandbox's own plain HTTP interface: what was received, which targets there are, how the services behave. On
//! loopback, without authorization: it guards nothing that is worth anything.

use std::{fmt::Display, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post, put},
};
use parvis_engine::{
    notification::Channel,
    shopper::{ApnsEnvironment, PushTarget},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Behaviour, Conditions, Counts, Endpoints, Received, shared::Shared};

const PAGE: &str = include_str!("page.html");

/// `POST /sandbox/targets`.
#[derive(Debug, Deserialize)]
#[serde(tag = "channel", rename_all = "lowercase", deny_unknown_fields)]
enum NewTarget {
    Apns {
        topic: String,
        #[serde(default)]
        environment: ApnsEnvironment,
    },
    Fcm {
        /// With an installation id instead of a registration token.
        #[serde(default)]
        fid: bool,
    },
    WebPush {},
}

/// `PUT /sandbox/behaviour`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBehaviour {
    target: String,
    behaviour: Behaviour,
}

/// `PUT /sandbox/conditions`. The fields of [`Conditions`] follow the channel.
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
    let router = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/received", get(received))
        .route("/shown", get(shown))
        .route("/sandbox", get(endpoints))
        .route("/sandbox/targets", post(register))
        .route("/sandbox/behaviour", put(set_behaviour))
        .route("/sandbox/conditions", put(set_conditions))
        .route("/sandbox/goaway", post(go_away))
        .with_state(shared);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    // Accept errors are retried by the server itself; it ends only because it was told to.
    let _ = abort.run_until_cancelled(serving.into_future()).await;
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
async fn register(State(shared): State<Arc<Shared>>, Json(new): Json<NewTarget>) -> (StatusCode, Json<PushTarget>) {
    let (targets, entropy) = (&shared.targets, &shared.entropy);
    let target = match new {
        NewTarget::Apns { topic, environment } => {
            let token = targets.register_apns(entropy, &topic, environment);
            PushTarget::Apns { token, topic, environment }
        }
        NewTarget::Fcm { fid: false } => PushTarget::Fcm { token: Some(targets.register_fcm(entropy)), fid: None },
        NewTarget::Fcm { fid: true } => {
            PushTarget::Fcm { token: None, fid: Some(targets.register_fcm_installation(entropy)) }
        }
        NewTarget::WebPush {} => {
            PushTarget::WebPush { subscription: Box::new(targets.register_webpush(entropy, &shared.endpoints.webpush)) }
        }
    };
    (StatusCode::CREATED, Json(target))
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
    shared.go_away(departure.channel);
    StatusCode::NO_CONTENT
}

fn refusal(status: StatusCode, problem: impl Display) -> Response {
    (status, Json(json!({ "error": problem.to_string() }))).into_response()
}
