//! `/v1/shoppers/{shopper}`: what the retailer says of a person, all that is held of them, and forgetting it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use parvis_engine::{
    change::{Signal, profile_problems},
    id::ShopperId,
    shopper::{Profile, Shopper},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Id},
    notifications,
    problem::{Kind, Problem},
    schema,
};
use crate::{shard::Input, store::JournalQuery};

/// Whom a write concerned.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Written {
    #[schema(value_type = String)]
    shopper: ShopperId,
}

/// Everything that is held of a person. Positions are not, because they are not stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Held {
    /// Profile, consents, interests, devices, sends and orders.
    #[schema(value_type = serde_json::Value)]
    shopper: Arc<Shopper>,
    /// Every message with its milestones, oldest first.
    #[schema(value_type = Vec<schema::Life>)]
    notifications: Vec<Value>,
    /// Transitions, decisions, milestones and order changes, oldest first.
    journal: Vec<Value>,
    /// Whether the journal has older rows than these.
    journal_cut: bool,
}

/// Says who a shopper is. Replaces what was said before.
#[utoipa::path(put, path = "/v1/shoppers/{shopper}", tag = "shoppers", params(("shopper" = String, Path)),
    request_body = schema::Profile, responses((status = 200, body = Written)))]
pub(super) async fn put(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(shopper): Id<ShopperId>,
    body::Json(profile): body::Json<Profile>,
) -> Result<Json<Written>, Problem> {
    caller.speaks_for_many()?;
    let problems = profile_problems(&profile);
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    services.shards.ask(shopper.clone(), Input::Profile(profile)).await?;
    Ok(Json(Written { shopper }))
}

/// All that is held of a person.
#[utoipa::path(get, path = "/v1/shoppers/{shopper}", tag = "shoppers", params(("shopper" = String, Path)),
    responses((status = 200, body = Held)))]
pub(super) async fn get(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(id): Id<ShopperId>,
) -> Result<Json<Held>, Problem> {
    caller.speaks_for_many()?;
    let limit = services.config.journal_max;
    let query = JournalQuery { shopper: Some(id.clone()), limit, ..JournalQuery::default() };
    let journal = services.store.journal(query).await?;
    let record = services.store.load(std::slice::from_ref(&id)).await?.pop();
    let shopper = match record {
        Some(record) if record.version > 0 || !journal.is_empty() => record.shopper,
        Some(_) | None => return Err(Problem::not_found("shopper", id.as_str())),
    };
    let notifications = notifications::lives(&services, &shopper, &journal, usize::MAX).await?;
    let journal_cut = journal.len() >= limit;
    // Through values: an event and its transition both say `at`, and a name may stand only once.
    let journal = journal.into_iter().filter_map(|event| serde_json::to_value(event).ok()).collect();
    let notifications = notifications.iter().map(notifications::shown).collect();
    Ok(Json(Held { shopper, notifications, journal, journal_cut }))
}

/// Forgets a person: profile, devices, waiting messages and journal.
#[utoipa::path(delete, path = "/v1/shoppers/{shopper}", tag = "shoppers", params(("shopper" = String, Path)),
    responses((status = 204)))]
pub(super) async fn delete(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(shopper): Id<ShopperId>,
) -> Result<StatusCode, Problem> {
    caller.speaks_for_many()?;
    services.shards.ask(shopper, Input::Erase).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes an interest that was shown elsewhere.
#[utoipa::path(post, path = "/v1/shoppers/{shopper}/signals", tag = "shoppers", params(("shopper" = String, Path)),
    request_body = schema::Signal, responses((status = 200, body = Written)))]
pub(super) async fn signal(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(shopper): Id<ShopperId>,
    body::Json(signal): body::Json<Signal>,
) -> Result<Json<Written>, Problem> {
    if caller.shopper.as_ref() != Some(&shopper) {
        caller.speaks_for_many()?;
    }
    let problems = signal.problems();
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    services.shards.ask(shopper.clone(), Input::Signal(signal)).await?;
    Ok(Json(Written { shopper }))
}

/// A shopper that must be there.
pub(super) async fn known(services: &Services, id: &ShopperId) -> Result<Arc<Shopper>, Problem> {
    let record = services.store.load(std::slice::from_ref(id)).await?.pop();
    match record {
        Some(record) if record.version > 0 => Ok(record.shopper),
        Some(_) | None => Err(Problem::new(Kind::NotFound, format!("there is no shopper {:?}", id.as_str()))),
    }
}
