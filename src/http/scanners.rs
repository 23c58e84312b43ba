//! `POST /v1/ingest/scanners/{format}`: what scanner hosts and gateways hear.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use parvis_engine::id::ScannerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Asked, Id},
    observations::Refused,
    problem::{Kind, Problem},
};
use crate::ingest::{
    gateway::Format,
    scanners::{self, Speaker, Taken, Tools},
};

/// Who sends, where the body does not say so.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Named {
    /// The scanner, for gateways whose body does not name them.
    #[param(value_type = Option<String>)]
    scanner: Option<ScannerId>,
}

/// What became of a report. It is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answer {
    /// Sightings that were taken: of tags for their owners, of other registered beacons for the fleet's health.
    accepted: u64,
    /// Sightings of beacons that are not registered.
    unknown: u64,
    /// Sightings of tags that nobody carries.
    unlinked: u64,
    /// Messages that are none of our business.
    ignored: u64,
    /// What was not taken, by place in the report.
    rejected: Vec<Refused>,
    /// So many rejections are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<u64>,
    /// The same report was taken before; nothing was done.
    repeat: bool,
}

impl Answer {
    fn new(taken: Taken, listed_max: usize) -> Answer {
        let Taken { accepted, unknown, unlinked, ignored, rejected, repeat } = taken;
        let omitted = Some(rejected.len().saturating_sub(listed_max) as u64).filter(|omitted| *omitted > 0);
        let refused = |(index, rejected): (usize, parvis_engine::observation::Rejected)| Refused {
            index,
            reason: rejected.reason,
            detail: rejected.detail,
        };
        let rejected = rejected.into_iter().take(listed_max).map(refused).collect();
        Answer { accepted, unknown, unlinked, ignored, rejected, omitted, repeat }
    }
}

/// Takes a report of a scanner host (`parvis`), or of a gateway of others as it is (`theengs`, `minew`, `ruuvi`,
/// `espresense`, `raw`). Answers when what it caused is durable; repeats are harmless. The scanner must be registered,
/// and a key that is bound to a scanner speaks for that one only.
#[utoipa::path(post, path = "/v1/ingest/scanners/{format}", tag = "scanners",
    params(("format" = String, Path, example = "parvis"), Named),
    request_body(content = Value), responses((status = 200, body = Answer)))]
pub(super) async fn post(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(format): Id<Format>,
    Asked(Named { scanner: named }): Asked<Named>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    if let Some(device) = &caller.device {
        return Err(Problem::new(Kind::Forbidden, format!("this key speaks for device {device:?}, not for scanners")));
    }
    let now = services.clock.now();
    let bytes = body::collect(request, services.config.body_max).await?;
    let delivery = scanners::read(format, None, &bytes, now)?;
    let tools = Tools {
        shards: &services.shards,
        store: services.store.as_ref(),
        catalog: &services.catalog,
        fleet: &services.fleet,
        reporter: &services.reporter,
    };
    let speaker = Speaker { bound: caller.scanner.clone(), named };
    let taken = scanners::take(tools, &speaker, delivery, now).await?;
    Ok(Json(Answer::new(taken, services.config.listed_max)))
}
