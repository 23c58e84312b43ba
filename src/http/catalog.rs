//! `/v1/geofences`, `/v1/stores`, `/v1/campaigns`: the control plane. What is put decides from the answer on.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use parvis_engine::{id::RegionId, problem as engine};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Services,
    body::{self, Asked, Id},
    links,
    problem::{Kind, Problem},
    schema,
};
use crate::{
    catalog::{self, Kind as Object},
    json,
};

/// A part of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// At most so many; 100 if absent.
    limit: Option<usize>,
    /// Begin behind this id.
    after: Option<String>,
}

/// Objects in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    items: Vec<Value>,
    /// Where to go on: `?after=`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// How many objects were put.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Put {
    pub(super) put: usize,
}

const PAGE: usize = 100;

/// The calls for one object of a kind.
macro_rules! resource {
    ($kind:expr, $path:literal, $tag:literal, $put:ident, $get:ident, $delete:ident, $schema:ty) => {
        /// Puts the object. It is durable and decides when the answer comes.
        #[utoipa::path(put, path = $path, tag = $tag, params(("id" = String, Path)), request_body = $schema,
                                                                            responses((status = 200, body = $schema)))]
        pub(super) async fn $put(
            State(services): State<Arc<Services>>,
            Id(id): Id<RegionId>,
            request: Request,
        ) -> Result<Json<Value>, Problem> {
            crate::http::catalog::put(&services, $kind, id.as_str(), request).await
        }

        /// The object as it was put.
        #[utoipa::path(get, path = $path, tag = $tag, params(("id" = String, Path)),
                                                                            responses((status = 200, body = $schema)))]
        pub(super) async fn $get(
            State(services): State<Arc<Services>>,
            Id(id): Id<RegionId>,
        ) -> Result<Json<Value>, Problem> {
            let found = services.catalog.get($kind, id.as_str());
            found.map(Json).ok_or_else(|| Problem::not_found(&$kind.to_string(), id.as_str()))
        }

        /// Deletes the object.
        #[utoipa::path(delete, path = $path, tag = $tag, params(("id" = String, Path)), responses((status = 204)))]
        pub(super) async fn $delete(
            State(services): State<Arc<Services>>,
            Id(id): Id<RegionId>,
        ) -> Result<StatusCode, Problem> {
            crate::http::catalog::delete(&services, $kind, id.as_str()).await
        }
    };
}

pub(super) use resource;

resource!(Object::Geofence, "/v1/geofences/{id}", "geofences", put_fence, get_fence, delete_fence, schema::Feature);
resource!(Object::Store, "/v1/stores/{id}", "stores", put_store, get_store, delete_store, schema::Store);
resource!(Object::Campaign, "/v1/campaigns/{id}", "campaigns", put_campaign, get_campaign, delete_campaign, Value);

/// Geofences as a GeoJSON FeatureCollection, by id; `next` says where to go on.
#[utoipa::path(get, path = "/v1/geofences", tag = "geofences", params(Paging),
    responses((status = 200, body = schema::FeatureCollection)))]
pub(super) async fn list_fences(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Value>, Problem> {
    let Page { items, next } = list(&services, Object::Geofence, paging);
    let mut collection = json!({"type": "FeatureCollection", "features": items});
    if let Some(next) = next {
        collection["next"] = next.into();
    }
    Ok(Json(collection))
}

/// Stores by id.
#[utoipa::path(get, path = "/v1/stores", tag = "stores", params(Paging), responses((status = 200, body = Page)))]
pub(super) async fn list_stores(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(list(&services, Object::Store, paging)))
}

/// Campaigns by id.
#[utoipa::path(get, path = "/v1/campaigns", tag = "campaigns", params(Paging), responses((status = 200, body = Page)))]
pub(super) async fn list_campaigns(
    State(services): State<Arc<Services>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(list(&services, Object::Campaign, paging)))
}

/// Puts all geofences of a FeatureCollection, or none; then every problem is told at once.
#[utoipa::path(post, path = "/v1/geofences", tag = "geofences", request_body = schema::FeatureCollection,
    responses((status = 200, body = Put)))]
pub(super) async fn post_fences(State(services): State<Arc<Services>>, request: Request) -> Result<Json<Put>, Problem> {
    let mut collection = read(&services, request).await?;
    if collection.get("type").and_then(Value::as_str) != Some("FeatureCollection") {
        return Err(Problem::at(Kind::Invalid, "/type", "`type` must be \"FeatureCollection\""));
    }
    let Some(Value::Array(features)) = collection.get_mut("features").map(Value::take) else {
        return Err(Problem::at(Kind::Invalid, "/features", "`features` must be an array of GeoJSON features"));
    };
    let put = features.len();
    match services.catalog.put(Object::Geofence, features).await {
        Ok(()) => Ok(Json(Put { put })),
        // Of a single object the catalog speaks without saying which.
        Err(catalog::Refusal::Invalid(problems)) if put == 1 => {
            Err(Problem::invalid(problems.into_iter().map(|problem| problem.under("/features/0")).collect()))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Puts what a request carries under an id.
pub(super) async fn put(services: &Services, kind: Object, id: &str, request: Request) -> Result<Json<Value>, Problem> {
    let mut object = read(services, request).await?;
    let Value::Object(fields) = &mut object else {
        return Err(Problem::at(Kind::Invalid, "", format!("a {kind} is a JSON object")));
    };
    match fields.get("id") {
        None => {
            fields.insert("id".to_owned(), id.into());
        }
        // GeoJSON lets an id be a number.
        Some(own) if own == id || own.as_i64().is_some_and(|own| own.to_string() == id) => {}
        Some(own) => {
            let detail = format!("`id` is {own}, but the path says {id:?}; make them the same or leave `id` out");
            return Err(Problem::at(Kind::Invalid, "/id", detail));
        }
    }
    if let Err(problems) = links::check_roles(services, kind, std::slice::from_ref(&object)).await {
        let bare = |problem: engine::Problem| engine::Problem::new(problem.path.replacen("/0", "", 1), problem.message);
        return Err(Problem::invalid(problems.into_iter().map(bare).collect()));
    }
    services.catalog.put(kind, vec![object.clone()]).await?;
    Ok(Json(object))
}

/// Deletes what stands under an id.
pub(super) async fn delete(services: &Services, kind: Object, id: &str) -> Result<StatusCode, Problem> {
    links::check_free(services, kind, id).await?;
    if services.catalog.delete(kind, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(&kind.to_string(), id))
    }
}

/// A JSON body within the catalog's bound.
pub(super) async fn read(services: &Services, request: Request) -> Result<Value, Problem> {
    body::is_json(request.headers())?;
    let bytes = body::collect(request, services.config.catalog_body_max).await?;
    Ok(json::value(&bytes)?)
}

/// A part of the objects of a kind.
pub(super) fn list(services: &Services, kind: Object, paging: Paging) -> Page {
    let limit = paging.limit.unwrap_or(PAGE).clamp(1, services.config.page_max);
    let mut items = services.catalog.list(kind, paging.after.as_deref(), limit + 1);
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more).and_then(|last| last.get("id")).and_then(Value::as_str);
    let next = last.map(str::to_owned);
    Page { items, next }
}
