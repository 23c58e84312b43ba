//! `/v1/ingest/...`: the formats of others, for phones and servers that are pointed at this one as they are.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use parvis_engine::id::DeviceId;
use serde_json::json;

use super::{
    Services,
    auth::Caller,
    body, observations,
    problem::{Kind, Problem, Progress},
};
use crate::{
    ingest::{Batch, amazon, osmand, overland, owntracks, ranging, transistorsoft},
    json::Malformed,
};

/// Takes OwnTracks messages. The device is, in this order: the key's own, `?device=`, the header `X-Limit-D`, the
/// message's `topic`, its `tid`. What can never be taken is answered as done, because the phone would send it for ever.
#[utoipa::path(post, path = "/v1/ingest/owntracks", tag = "formats of others", params(("device" = Option<String>, Query)),
    request_body(content = Value, description = "a message, or an array of them"),
    responses((status = 200, body = Vec<Value>, description = "an empty array: nothing is told to the phone")))]
pub(super) async fn owntracks(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let stated = request.headers().get("x-limit-d").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let stated = stated.and_then(|name| name.parse().ok());
    let known = known(&caller, request.uri())?.or(stated);
    let bytes = body::collect(request, services.config.body_max).await?;
    take(&services, &caller, owntracks::batch(&bytes, known.as_ref())).await?;
    Ok(Json(json!([])).into_response())
}

/// Takes an Overland batch. The device is the key's own, `?device=`, or each point's `device_id`.
#[utoipa::path(post, path = "/v1/ingest/overland", tag = "formats of others", params(("device" = Option<String>, Query)),
    request_body(content = Value), responses((status = 200, body = Value, description = "{\"result\":\"ok\"}: durable")))]
pub(super) async fn overland(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    read_and_take(&services, &caller, request, overland::batch).await?;
    Ok(Json(json!({"result": "ok"})).into_response())
}

/// Takes the JSON of Transistorsoft's library and of the Traccar client.
#[utoipa::path(post, path = "/v1/ingest/transistorsoft", tag = "formats of others",
    params(("device" = Option<String>, Query)), request_body(content = Value), responses((status = 200, body = Value)))]
pub(super) async fn transistorsoft(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    read_and_take(&services, &caller, request, transistorsoft::batch).await?;
    Ok(Json(json!({})).into_response())
}

/// Takes the beacons that an app hears, as the common plugins for iOS and Android give them: a list, or an object with
/// `beacons`. The device is the key's own, `?device=`, or the object's `device`.
#[utoipa::path(post, path = "/v1/ingest/ranging", tag = "formats of others", params(("device" = Option<String>, Query)),
    request_body(content = Value), responses((status = 200, body = Value)))]
pub(super) async fn ranging(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let now = services.clock.now();
    read_and_take(&services, &caller, request, |bytes, known| ranging::batch(bytes, known, now)).await?;
    Ok(Json(json!({})).into_response())
}

/// Takes positions in the shape of Amazon Location.
#[utoipa::path(post, path = "/v1/ingest/amazon", tag = "formats of others", request_body(content = Value),
    responses((status = 200, body = Value)))]
pub(super) async fn amazon(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    read_and_take(&services, &caller, request, amazon::batch).await?;
    Ok(Json(json!({"Errors": []})).into_response())
}

/// Takes the query string of OsmAnd and Traccar's clients.
#[utoipa::path(get, path = "/v1/ingest/osmand", tag = "formats of others", params(
    ("id" = String, Query), ("lat" = Option<f64>, Query), ("lon" = Option<f64>, Query),
    ("timestamp" = Option<String>, Query)), responses((status = 200, description = "done")))]
pub(super) async fn osmand_get(
    State(services): State<Arc<Services>>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    osmand(&services, &caller, &uri, None).await
}

/// The same as a form, in the query or in the body.
#[utoipa::path(post, path = "/v1/ingest/osmand", tag = "formats of others",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "done")))]
pub(super) async fn osmand_post(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let uri = request.uri().clone();
    let form = is_form(request.headers());
    let bytes = body::collect(request, services.config.line_max).await?;
    let form = form.then(|| String::from_utf8_lossy(&bytes).into_owned());
    osmand(&services, &caller, &uri, form.as_deref()).await
}

async fn osmand(services: &Services, caller: &Caller, uri: &Uri, form: Option<&str>) -> Result<Response, Problem> {
    let mut parameters = pairs(uri.query().unwrap_or_default())?;
    parameters.extend(pairs(form.unwrap_or_default())?);
    let now = services.clock.now();
    take(services, caller, osmand::batch(&parameters, caller.device.as_ref(), now)).await?;
    Ok(StatusCode::OK.into_response())
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let read =
        Uri::builder().path_and_query(format!("/?{query}")).build().ok().and_then(|uri| {
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok().map(|query| query.0)
        });
    read.ok_or_else(|| Problem::new(Kind::Malformed, "the parameters can't be read: `name=value` joined by `&`"))
}

fn is_form(headers: &HeaderMap) -> bool {
    body::is_of(headers, "application/x-www-form-urlencoded")
}

/// The device as the key or the query names it.
fn known(caller: &Caller, uri: &Uri) -> Result<Option<DeviceId>, Problem> {
    if let Some(own) = &caller.device {
        return Ok(Some(own.clone()));
    }
    let named = pairs(uri.query().unwrap_or_default())?.into_iter().find(|(name, _)| name == "device");
    let parse = |(_, text): (String, String)| text.parse::<DeviceId>();
    named.map(parse).transpose().map_err(|why| Problem::new(Kind::Malformed, format!("`device` in the query: {why}")))
}

async fn read_and_take(
    services: &Services,
    caller: &Caller,
    request: Request,
    read: impl FnOnce(&[u8], Option<&DeviceId>) -> Result<Batch, Malformed>,
) -> Result<(), Problem> {
    let known = known(caller, request.uri())?;
    let bytes = body::collect(request, services.config.body_max).await?;
    take(services, caller, read(&bytes, known.as_ref())?).await
}

/// These clients know only "done" and "send all of it again".
async fn take(services: &Services, caller: &Caller, mut batch: Batch) -> Result<(), Problem> {
    observations::own_sightings_only(caller, &mut batch);
    match observations::submit(services, batch).await {
        Ok(_) => Ok(()),
        Err(refused) => Err(Problem::from(refused.cause).after(Progress { accepted: refused.accepted, resume_at: 0 })),
    }
}
