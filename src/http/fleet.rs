//! `/v1/fleet/...`: how scanners and beacons fare.

use std::sync::Arc;

use axum::{Json, extract::State};
use parvis_engine::{id::StoreId, time::Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Services, auth::Caller, body::Asked, problem::Problem};
use crate::fleet::{BeaconState, BeaconStatus, Part, ScannerState, ScannerStatus, Unknown};

/// Which scanners are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Scanners {
    /// Only those in this state.
    state: Option<ScannerState>,
    /// Only those of this shop.
    #[param(value_type = Option<String>)]
    store: Option<StoreId>,
    /// At most so many; 100 if absent.
    limit: Option<usize>,
    /// Begin behind this id.
    after: Option<String>,
}

/// Which beacons are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Beacons {
    /// Only those in this state.
    state: Option<BeaconState>,
    /// Only those of this shop.
    #[param(value_type = Option<String>)]
    store: Option<StoreId>,
    /// At most so many; 100 if absent.
    limit: Option<usize>,
    /// Begin behind this id.
    after: Option<String>,
}

/// Scanners in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScannersPage {
    items: Vec<ScannerStatus>,
    /// Where to go on: `?after=`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Beacons in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BeaconsPage {
    items: Vec<BeaconStatus>,
    /// Where to go on: `?after=`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Beacons that are not registered, the most heard first. They have a UUID or a namespace of registered ones; nothing is
/// kept of any other device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnknownPage {
    #[schema(value_type = Vec<Object>)]
    items: Vec<Unknown>,
}

const PAGE: usize = 100;

/// Scanners and how they fare, with those that report but are not registered. Known since this process began.
#[utoipa::path(get, path = "/v1/fleet/scanners", tag = "fleet", params(Scanners),
    responses((status = 200, body = ScannersPage)))]
pub(super) async fn scanners(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Asked(asked): Asked<Scanners>,
) -> Result<Json<ScannersPage>, Problem> {
    caller.speaks_for_many()?;
    let (now, limit) = (renewed(&services), limit(&services, asked.limit));
    let Scanners { state, store, after, .. } = asked;
    let part = Part { state, store: store.as_ref(), after: after.as_deref(), limit: limit + 1 };
    let (items, next) = page(services.fleet.scanners(&part, now), limit, |it| it.id.to_string());
    Ok(Json(ScannersPage { items, next }))
}

/// Registered beacons and how they fare, as far as scanners hear them. Known since this process began.
#[utoipa::path(get, path = "/v1/fleet/beacons", tag = "fleet", params(Beacons),
    responses((status = 200, body = BeaconsPage)))]
pub(super) async fn beacons(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Asked(asked): Asked<Beacons>,
) -> Result<Json<BeaconsPage>, Problem> {
    caller.speaks_for_many()?;
    let (now, limit) = (renewed(&services), limit(&services, asked.limit));
    let Beacons { state, store, after, .. } = asked;
    let part = Part { state, store: store.as_ref(), after: after.as_deref(), limit: limit + 1 };
    let (items, next) = page(services.fleet.beacons(&part, now), limit, |it| it.id.to_string());
    Ok(Json(BeaconsPage { items, next }))
}

/// Beacons that are heard but not registered.
#[utoipa::path(get, path = "/v1/fleet/unknown", tag = "fleet", responses((status = 200, body = UnknownPage)))]
pub(super) async fn unknown(
    State(services): State<Arc<Services>>,
    caller: Caller,
) -> Result<Json<UnknownPage>, Problem> {
    caller.speaks_for_many()?;
    renewed(&services);
    Ok(Json(UnknownPage { items: services.fleet.unknown() }))
}

/// What is registered may be newer than what the fleet has heard of.
fn renewed(services: &Services) -> Timestamp {
    let now = services.clock.now();
    services.fleet.renew(&services.catalog.world(), &services.catalog.eid_keys(), now);
    now
}

fn limit(services: &Services, asked: Option<usize>) -> usize {
    asked.unwrap_or(PAGE).clamp(1, services.config.page_max)
}

/// One more item than were asked for says that there is a next page.
fn page<T>(mut items: Vec<T>, limit: usize, id: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(id);
    (items, next)
}
