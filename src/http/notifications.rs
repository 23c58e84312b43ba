//! `/v1/notifications`: messages that back ends hand in, what became of each message, and what the app reports of it.

pub(super) mod keep;
mod sending;
pub(super) mod submit;
pub(super) mod sums;

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State};
use parvis_engine::{
    id::{NotificationId, ShopperId},
    notification::Milestone,
    shopper::Shopper,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Asked, Id},
    problem::{Kind, Problem},
    schema,
};
use crate::{
    report::{Event, What},
    store::{JournalQuery, Life, Step},
};

/// Which notifications are asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Whose.
    #[param(value_type = String)]
    shopper: ShopperId,
    /// At most so many, the newest; 100 if absent.
    limit: Option<usize>,
}

/// Notifications of one shopper.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// Oldest first.
    #[schema(value_type = Vec<schema::Life>)]
    items: Vec<Value>,
}

/// What the app or the till reports.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    /// `opened`, `dismissed` or `redeemed`.
    milestone: Reported,
    /// When; now if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// More about it, such as the till.
    #[serde(default)]
    #[schema(max_length = 256)]
    detail: Option<String>,
}

/// What was noted. Nothing of the message: answers are kept for repeats, and must not outlive an erased person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Noted {
    #[schema(value_type = String)]
    notification: NotificationId,
    milestone: Reported,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// The milestones that only others can know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reported {
    /// The shopper opened it.
    Opened,
    /// The shopper wiped it away.
    Dismissed,
    /// The offer was taken up.
    Redeemed,
}

/// Enough for a till and a receipt's number.
const DETAIL_MAX: usize = 256;
const PAGE: usize = 100;

/// A message with its milestones. Of an address that came with it, what is secret is left out.
#[utoipa::path(get, path = "/v1/notifications/{id}", tag = "notifications", params(("id" = String, Path)),
    responses((status = 200, body = schema::Life)))]
pub(super) async fn get(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(id): Id<NotificationId>,
) -> Result<Json<Value>, Problem> {
    caller.speaks_for_many()?;
    Ok(Json(shown(&life(&services, id).await?)))
}

/// The messages of a shopper.
#[utoipa::path(get, path = "/v1/notifications", tag = "notifications", params(Filter),
    responses((status = 200, body = Page)))]
pub(super) async fn list(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Page>, Problem> {
    caller.speaks_for_many()?;
    let limit = filter.limit.unwrap_or(PAGE).min(services.config.page_max);
    let shopper = Some(filter.shopper.clone());
    let query = JournalQuery { shopper, limit: services.config.journal_max, ..JournalQuery::default() };
    let journal = services.store.journal(query).await?;
    let record = services.store.load(std::slice::from_ref(&filter.shopper)).await?.pop();
    let shopper = record.map_or_else(|| Arc::new(Shopper::new(filter.shopper)), |record| record.shopper);
    let lives = lives(&services, &shopper, &journal, limit).await?;
    Ok(Json(Page { items: lives.iter().map(shown).collect() }))
}

/// Takes a receipt. A repeat is harmless.
#[utoipa::path(post, path = "/v1/notifications/{id}/receipts", tag = "notifications", params(("id" = String, Path)),
    request_body = Receipt, responses((status = 200, body = Noted)))]
pub(super) async fn receipt(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(id): Id<NotificationId>,
    body::Json(receipt): body::Json<Receipt>,
) -> Result<Json<Noted>, Problem> {
    let known = life(&services, id).await?;
    match known.notification.device() {
        Some(device) => caller.owns(device)?,
        None => caller.speaks_for_many()?,
    }
    if receipt.detail.as_ref().is_some_and(|detail| detail.len() > DETAIL_MAX) {
        return Err(Problem::at(Kind::Invalid, "/detail", format!("`detail` has at most {DETAIL_MAX} bytes")));
    }
    let milestone = match receipt.milestone {
        Reported::Opened => Milestone::Opened,
        Reported::Dismissed => Milestone::Dismissed,
        Reported::Redeemed => Milestone::Redeemed,
    };
    let now = services.clock.now();
    // A phone's clock may be ahead; nothing was opened in the future.
    let at = receipt.at.map_or(now, |at| at.min(now));
    let step = Step { milestone, at, detail: receipt.detail };
    let is_new = known.milestones.iter().all(|old| old.milestone != milestone);
    let event = Event::receipt(&known.notification, &step, now);
    if is_new {
        // Before the step is noted: a repeat after a crash in between tells it again, and not never.
        keep::all(&services, services.webhooks.tell([&event]), now).await?;
    }
    if !services.store.report(id, step).await? {
        return Err(Problem::not_found("notification", &id.to_string()));
    }
    if is_new {
        services.reporter.receipt(&known.notification, milestone, event);
    }
    Ok(Json(Noted { notification: id, milestone: receipt.milestone, at }))
}

/// The newest messages of a shopper, oldest first: those that caps remember, and those in the journal.
pub(super) async fn lives(
    services: &Services,
    shopper: &Shopper,
    journal: &[Event],
    limit: usize,
) -> Result<Vec<Life>, Problem> {
    let mut ids: BTreeSet<NotificationId> = shopper.sends.iter().map(|send| send.notification).collect();
    ids.extend(journal.iter().filter_map(|event| match &event.what {
        What::Decision { notification, .. } => *notification,
        What::Milestone { notification, .. } => Some(*notification),
        What::Transition(_) | What::Order { .. } | What::Arrival { .. } => None,
    }));
    // Ids begin with the time of their cause, so their order is the order of time.
    let skipped = ids.len().saturating_sub(limit);
    let mut lives = Vec::with_capacity(ids.len() - skipped);
    for id in ids.into_iter().skip(skipped) {
        lives.extend(services.store.life(id).await?);
    }
    Ok(lives)
}

async fn life(services: &Services, id: NotificationId) -> Result<Life, Problem> {
    services.store.life(id).await?.ok_or_else(|| Problem::not_found("notification", &id.to_string()))
}

/// A life without what only the app and its push service are to know.
pub(super) fn shown(life: &Life) -> Value {
    let mut value = serde_json::to_value(life).unwrap_or_default();
    if let Some(Value::Object(target)) = value.pointer_mut("/notification/address/target") {
        target.retain(|name, _| matches!(name.as_str(), "channel" | "topic" | "environment"));
    }
    value
}
