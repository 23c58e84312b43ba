//! `GET /v1/around`: what is around a place. Says nothing of who is there.

use std::sync::Arc;

use axum::{Json, extract::State};
use parvis_engine::{
    observation::Position,
    registry::{Fixture, Neighbour, Role, What},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Services,
    body::Asked,
    problem::{Kind, Problem},
};

/// A place and how far around it.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    #[param(minimum = -90, maximum = 90)]
    lat: f64,
    #[param(minimum = -180, maximum = 180)]
    lon: f64,
    /// 100 if absent.
    #[param(minimum = 0, maximum = 10_000)]
    radius_m: Option<f64>,
    /// At most so many; 100 if absent.
    limit: Option<usize>,
}

/// What is around a place, nearest first; geofences that the place is in before all others.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Around {
    items: Vec<Item>,
    /// Whether there is more within the radius.
    more: bool,
}

/// One thing around a place.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Item {
    /// `geofence`, `beacon` or `scanner`.
    kind: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// Metres to the border of a geofence, from inside or outside, or to where the other hangs.
    distance_m: f64,
    /// Of a geofence: whether the place is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<bool>,
    /// Of a beacon: `fixed`, `tag` or `reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// The zone that it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

const RADIUS_M: f64 = 100.0;
/// Beyond, the answer would be most of a town's catalog.
const RADIUS_MAX_M: f64 = 10_000.0;
const ITEMS: usize = 100;

/// Geofences, beacons and scanners around a place, nearest first.
#[utoipa::path(get, path = "/v1/around", tag = "beacons", params(Wanted), responses((status = 200, body = Around)))]
pub(super) async fn get(
    State(services): State<Arc<Services>>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Around>, Problem> {
    let radius_m = wanted.radius_m.unwrap_or(RADIUS_M);
    let ranges = [
        ("lat", wanted.lat, -90.0, 90.0),
        ("lon", wanted.lon, -180.0, 180.0),
        ("radius_m", radius_m, 0.0, RADIUS_MAX_M),
    ];
    for (name, value, least, most) in ranges {
        if !(least..=most).contains(&value) {
            return Err(Problem::new(Kind::Malformed, format!("{name} is {value}; it goes from {least} to {most}")));
        }
    }
    let limit = wanted.limit.unwrap_or(ITEMS).clamp(1, services.config.page_max);
    let position = Position { lat: wanted.lat, lon: wanted.lon };
    let mut found = services.catalog.world().around(position, radius_m, limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(Json(Around { items: found.iter().map(item).collect(), more }))
}

fn item(found: &Neighbour) -> Item {
    // Millimetres are more than any position knows.
    let distance_m = (found.distance_m * 1_000.0).round() / 1_000.0;
    let nothing =
        Item { kind: "", id: String::new(), name: None, store: None, distance_m, inside: None, role: None, zone: None };
    match &found.what {
        What::Geofence { fence, inside } => Item {
            kind: "geofence",
            id: fence.region.id.to_string(),
            name: fence.region.name.clone(),
            store: fence.region.store.as_ref().map(ToString::to_string),
            inside: Some(*inside),
            ..nothing
        },
        What::Fixture(Fixture::Beacon(beacon)) => Item {
            kind: "beacon",
            id: beacon.spec.id.to_string(),
            name: beacon.spec.name.clone(),
            store: beacon.spec.store.as_ref().map(ToString::to_string),
            role: Some(beacon.spec.role),
            zone: beacon.spec.zone.as_ref().map(ToString::to_string),
            ..nothing
        },
        What::Fixture(Fixture::Scanner(scanner)) => Item {
            kind: "scanner",
            id: scanner.spec.id.to_string(),
            name: scanner.spec.name.clone(),
            store: Some(scanner.spec.store.to_string()),
            zone: scanner.spec.zone.as_ref().map(ToString::to_string),
            ..nothing
        },
    }
}
