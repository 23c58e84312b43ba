//! `/v1/orders/{order}`: what happened to an order, and where it stands on every channel.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use parvis_engine::{
    id::{DeviceId, NotificationId, OrderId},
    order::{Change, Order, OrderEvent},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Id},
    live,
    problem::{Kind, Problem},
    schema,
};
use crate::{
    shard::{self, Input},
    store,
};

/// What an event was taken as.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Taken {
    #[schema(value_type = String)]
    order: OrderId,
    /// What the event meant for the order.
    #[schema(value_type = schema::OrderChange)]
    change: Change,
    /// The messages that were decided on.
    #[schema(value_type = Vec<String>)]
    notifications: Vec<NotificationId>,
}

/// An order, and which devices show it.
#[derive(Debug, Serialize)]
pub(super) struct View {
    #[serde(flatten)]
    order: Order,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    live: BTreeMap<DeviceId, live::Shown>,
}

/// Takes an order event. A repeat of the same `event` gets the first answer and has no effect.
#[utoipa::path(post, path = "/v1/orders/{order}/events", tag = "orders", params(("order" = String, Path)),
    request_body = schema::OrderEvent, responses((status = 200, body = Taken)))]
pub(super) async fn event(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(order): Id<OrderId>,
    body::Json(event): body::Json<OrderEvent>,
) -> Result<Response, Problem> {
    caller.speaks_for_many()?;
    let problems = event.problems();
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let key = format!("order/{order}/{}", event.event);
    if let Some(first) = services.store.answer(&key).await? {
        return Ok(json(first.body));
    }
    let shopper = event.shopper.clone();
    match services.store.order_owner(&order).await? {
        Some(owner) if owner != shopper => {
            let detail = format!("order {order} belongs to another shopper; its events must name the same one");
            return Err(Problem::at(Kind::Conflict, "/shopper", detail));
        }
        Some(_) | None => {}
    }
    let answer = services.shards.ask(shopper, Input::Order { order: order.clone(), event }).await?;
    let shard::Answer::Order { change, notifications } = answer else {
        return Err(Problem::new(Kind::Internal, "an order event got another input's answer; send it again"));
    };
    let body = serde_json::to_vec(&Taken { order, change, notifications })
        .map_err(|_| Problem::new(Kind::Internal, "the answer could not be written; send the event again"))?;
    let content_type = "application/json".to_owned();
    let answer = store::Answer { status: 200, content_type, body: body.clone(), request_hash: 0 };
    services.store.keep_answer(&key, answer, services.clock.now()).await?;
    Ok(json(body))
}

/// An order: the one truth that every channel shows.
#[utoipa::path(get, path = "/v1/orders/{order}", tag = "orders", params(("order" = String, Path)),
    responses((status = 200, body = schema::Order)))]
pub(super) async fn get(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(id): Id<OrderId>,
) -> Result<Json<View>, Problem> {
    caller.speaks_for_many()?;
    let missing = || Problem::not_found("order", id.as_str());
    let owner = services.store.order_owner(&id).await?.ok_or_else(missing)?;
    let record = services.store.load(std::slice::from_ref(&owner)).await?.pop().ok_or_else(missing)?;
    let order = record.shopper.orders.get(&id).cloned().ok_or_else(missing)?;
    Ok(Json(View { order, live: live::of_order(&record.shopper, &id) }))
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Bytes::from(body)).into_response()
}
