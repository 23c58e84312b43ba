//! `/v1/beacons`, `/v1/scanners`, `/v1/zones`, `/v1/beacon-regions`: what hangs in shops and what it speaks for.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use parvis_engine::{id::RegionId, problem as engine};
use serde_json::Value;

use super::{
    Services,
    body::{self, Asked, Id},
    catalog::{self, Page, Paging, Put, resource},
    links,
    problem::{Kind, Problem},
    schema,
};
use crate::catalog::{Kind as Object, Refusal, csv};

/// The media type of a table.
const CSV: &str = "text/csv";

resource!(Object::Beacon, "/v1/beacons/{id}", "beacons", put_beacon, get_beacon, delete_beacon, schema::Beacon);
resource!(Object::Scanner, "/v1/scanners/{id}", "beacons", put_scanner, get_scanner, delete_scanner, schema::Scanner);
resource!(Object::Zone, "/v1/zones/{id}", "beacons", put_zone, get_zone, delete_zone, schema::Zone);
resource!(
    Object::BeaconRegion,
    "/v1/beacon-regions/{id}",
    "beacons",
    put_region,
    get_region,
    delete_region,
    schema::BeaconRegion
);

/// Beacons by id.
#[utoipa::path(get, path = "/v1/beacons", tag = "beacons", params(Paging), responses((status = 200, body = Page)))]
pub(super) async fn list_beacons(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(catalog::list(&services, Object::Beacon, paging)))
}

/// Scanners by id.
#[utoipa::path(get, path = "/v1/scanners", tag = "beacons", params(Paging), responses((status = 200, body = Page)))]
pub(super) async fn list_scanners(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(catalog::list(&services, Object::Scanner, paging)))
}

/// Zones by id.
#[utoipa::path(get, path = "/v1/zones", tag = "beacons", params(Paging), responses((status = 200, body = Page)))]
pub(super) async fn list_zones(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(catalog::list(&services, Object::Zone, paging)))
}

/// Beacon regions by id.
#[utoipa::path(get, path = "/v1/beacon-regions", tag = "beacons", params(Paging),
    responses((status = 200, body = Page)))]
pub(super) async fn list_regions(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(catalog::list(&services, Object::BeaconRegion, paging)))
}

/// Puts all beacons of a list or of a table, or none; then every problem is told at once.
#[utoipa::path(post, path = "/v1/beacons", tag = "beacons",
    request_body(content((Vec<schema::Beacon> = "application/json"), (String = "text/csv"))),
    responses((status = 200, body = Put)))]
pub(super) async fn post_beacons(
    State(services): State<Arc<Services>>,
    request: Request,
) -> Result<Json<Put>, Problem> {
    if body::is_of(request.headers(), CSV) {
        return post_table(&services, request).await;
    }
    body::is_json(request.headers())
        .map_err(|problem| Problem { detail: format!("{}; or {CSV}", problem.detail), ..problem })?;
    let Value::Array(beacons) = catalog::read(&services, request).await? else {
        return Err(Problem::at(Kind::Invalid, "", "several beacons are a JSON array of them"));
    };
    put_all(&services, beacons).await?.map_err(Problem::invalid)
}

async fn post_table(services: &Services, request: Request) -> Result<Json<Put>, Problem> {
    let bytes = body::collect(request, services.config.catalog_body_max).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Problem::new(Kind::Malformed, format!("the table is not UTF-8: {error}")))?;
    let broken = |it: csv::Broken| engine::Problem::new("", format!("line {}: {}", it.line, it.message));
    let rows = csv::rows(text).map_err(|all| Problem::invalid(all.into_iter().map(broken).collect()))?;
    // Names are looked at only where every cell can be read, because the rows name each other's zones and identities.
    let unread = rows.iter().any(|row| !row.problems.is_empty());
    if unread {
        let told = |(index, row): (usize, &csv::Row)| {
            let problems = row.compile(None).err().unwrap_or_default();
            problems.into_iter().map(move |problem| problem.under(&format!("/{index}")))
        };
        return Err(in_table(rows.iter().enumerate().flat_map(told).collect(), &rows));
    }
    let put = put_all(services, rows.iter().map(|row| row.beacon.clone()).collect()).await?;
    put.map_err(|problems| in_table(problems, &rows))
}

/// Puts beacons; the problems point into a list, also if there is only one beacon.
async fn put_all(services: &Services, beacons: Vec<Value>) -> Result<Result<Json<Put>, Vec<engine::Problem>>, Problem> {
    if let Err(problems) = links::check_roles(services, Object::Beacon, &beacons).await {
        return Ok(Err(problems));
    }
    let put = beacons.len();
    match services.catalog.put(Object::Beacon, beacons).await {
        Ok(()) => Ok(Ok(Json(Put { put }))),
        // Of a single object the catalog speaks without saying which.
        Err(Refusal::Invalid(problems)) if put == 1 => {
            Ok(Err(problems.into_iter().map(|problem| problem.under("/0")).collect()))
        }
        Err(Refusal::Invalid(problems)) => Ok(Err(problems)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Problems of a list as problems of the table that it was: with lines and names of columns.
fn in_table(problems: Vec<engine::Problem>, rows: &[csv::Row]) -> Problem {
    let told = |problem: engine::Problem| {
        let mut parts = problem.path.splitn(3, '/').skip(1);
        let index = parts.next().and_then(|index| index.parse::<usize>().ok());
        let Some((index, row)) = index.and_then(|index| Some((index, rows.get(index)?))) else { return problem };
        let inner = parts.next().map(|inner| format!("/{inner}")).unwrap_or_default();
        let inner = csv::column(engine::Problem::new(inner, format!("line {}: {}", row.line, problem.message)));
        inner.under(&format!("/{index}"))
    };
    Problem::invalid(problems.into_iter().map(told).collect())
}
