//! `/v1/devices/{device}/live-activities`: what an app reports so that its phone shows orders all the time.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode};
use parvis_engine::{
    change::live::{Refusal, Report, Token},
    id::{DeviceId, OrderId, ShopperId},
    notification::LiveState,
    shopper::{Activity, Following, Shopper},
    time::Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Id, Ids},
    problem::{Kind, Problem},
    schema,
};
use crate::shard::{Answer, Input};

/// What a device shows of orders all the time. Tokens are secrets between the app and Apple's service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveActivities)]
pub(super) struct View {
    /// Whether an activity can be begun by a push.
    start_token: bool,
    /// Whether the app draws the progress of orders itself, from data messages.
    progress: bool,
    /// What is shown, by order.
    #[schema(value_type = BTreeMap<String, Shown>)]
    orders: BTreeMap<OrderId, Shown>,
}

/// What a device shows of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveActivity)]
pub(super) struct Shown {
    /// When its beginning was decided, or reported.
    #[schema(value_type = String, format = DateTime)]
    began_at: Timestamp,
    /// Whether the app has reported a token by which it is changed.
    token: bool,
    /// The newest state that was decided to be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::LiveState>)]
    shown: Option<LiveState>,
    /// When its end was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// When the shopper put it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    dismissed_at: Option<Timestamp>,
}

impl From<&Activity> for Shown {
    fn from(activity: &Activity) -> Shown {
        Shown {
            began_at: activity.began_at,
            token: activity.token.is_some(),
            shown: activity.shown.clone(),
            ended_at: activity.ended_at,
            dismissed_at: activity.dismissed_at,
        }
    }
}

impl From<&Following> for View {
    fn from(live: &Following) -> View {
        let orders = live.orders.iter().map(|(order, activity)| (order.clone(), activity.into()));
        View { start_token: live.start.is_some(), progress: live.progress, orders: orders.collect() }
    }
}

/// What devices show of one order.
pub(super) fn of_order(shopper: &Shopper, order: &OrderId) -> BTreeMap<DeviceId, Shown> {
    let shown = |(id, device): (&DeviceId, &parvis_engine::shopper::Device)| {
        Some((id.clone(), device.live.as_ref()?.orders.get(order)?.into()))
    };
    shopper.devices.iter().filter_map(shown).collect()
}

/// Reports the token by which a push can begin a Live Activity (iOS 17.2 and later). A repeat is harmless.
#[utoipa::path(put, path = "/v1/devices/{device}/live-activities/start-token", tag = "devices",
    params(("device" = String, Path)), request_body = schema::Token, responses((status = 204)))]
pub(super) async fn put_start(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(device): Id<DeviceId>,
    body::Json(token): body::Json<Token>,
) -> Result<StatusCode, Problem> {
    check(&token)?;
    report(&services, &caller, device, Report::Start(token)).await
}

/// Takes the token back by which a push can begin a Live Activity. What has begun goes on.
#[utoipa::path(delete, path = "/v1/devices/{device}/live-activities/start-token", tag = "devices",
    params(("device" = String, Path)), responses((status = 204)))]
pub(super) async fn delete_start(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(device): Id<DeviceId>,
) -> Result<StatusCode, Problem> {
    report(&services, &caller, device, Report::NoStart).await
}

/// Reports the token by which the Live Activity of an order is changed, whoever began it. If the order has moved on since
/// what it shows, it is changed at once. A repeat is harmless.
#[utoipa::path(put, path = "/v1/devices/{device}/live-activities/{order}", tag = "devices",
    params(("device" = String, Path), ("order" = String, Path)), request_body = schema::Token,
    responses((status = 204)))]
pub(super) async fn put_activity(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Ids(device, order): Ids<DeviceId, OrderId>,
    body::Json(token): body::Json<Token>,
) -> Result<StatusCode, Problem> {
    check(&token)?;
    report(&services, &caller, device, Report::Activity(order, token)).await
}

/// Says that the Live Activity of an order was put away: it is neither changed nor begun again, and news of the order is
/// told by plain messages.
#[utoipa::path(delete, path = "/v1/devices/{device}/live-activities/{order}", tag = "devices",
    params(("device" = String, Path), ("order" = String, Path)), responses((status = 204)))]
pub(super) async fn delete_activity(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Ids(device, order): Ids<DeviceId, OrderId>,
) -> Result<StatusCode, Problem> {
    report(&services, &caller, device, Report::Dismissed(order)).await
}

fn check(token: &Token) -> Result<(), Problem> {
    let problems = token.problems();
    if problems.is_empty() { Ok(()) } else { Err(Problem::invalid(problems)) }
}

async fn report(services: &Services, caller: &Caller, device: DeviceId, report: Report) -> Result<StatusCode, Problem> {
    caller.owns(&device)?;
    let owner: Option<ShopperId> = services.store.owners(std::slice::from_ref(&device)).await?.pop().flatten();
    let missing = || Problem::not_found("device", device.as_str());
    let shopper = owner.ok_or_else(missing)?;
    if let Report::Activity(order, _) = &report {
        let owner = services.store.order_owner(order).await?;
        if owner.is_some_and(|owner| owner != shopper) {
            let detail = format!("order {order} belongs to another shopper than the device");
            return Err(Problem::new(Kind::Conflict, detail));
        }
    }
    match services.shards.ask(shopper, Input::Live { device: device.clone(), report }).await? {
        Answer::Live(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Answer::Live(Err(Refusal::UnknownDevice)) => Err(missing()),
        Answer::Live(Err(Refusal::NoApnsTarget)) => {
            let detail = format!(
                "{device} has no target at Apple's service; PUT /v1/devices/{device} with one first, for its topic and \
                 environment are the activity's"
            );
            Err(Problem::new(Kind::Conflict, detail))
        }
        Answer::Live(Err(Refusal::TooMany)) => {
            let detail = format!(
                "{device} shows {} orders that are not over; DELETE the live activities that were put away",
                Following::ORDERS_MAX
            );
            Err(Problem::new(Kind::Conflict, detail))
        }
        Answer::Observed(_) | Answer::Order { .. } | Answer::Deleted(_) | Answer::Done => {
            Err(Problem::new(Kind::Internal, "a report got another input's answer; send it again"))
        }
    }
}
