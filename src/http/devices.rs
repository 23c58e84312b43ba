//! `/v1/devices/{device}`: installations and where their messages go.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use parvis_engine::{
    change::Registration,
    id::{AppId, DeviceId, ShopperId},
    notification::Channel,
    shopper::{Device, PushTarget},
    time::Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Id},
    links, live,
    problem::{Kind, Problem},
    schema,
};
use crate::shard::Input;

/// Whose a device is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    /// The device.
    #[schema(value_type = String)]
    device: DeviceId,
    /// Its owner; begins with `~` if nobody has claimed it.
    #[schema(value_type = String)]
    shopper: ShopperId,
}

/// A device as it is shown. The push target is a secret between the app and its service; only its channel is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct View {
    #[schema(value_type = String)]
    device: DeviceId,
    #[schema(value_type = String)]
    shopper: ShopperId,
    platform: String,
    /// The app that is installed, as the configuration names it.
    #[schema(value_type = String)]
    app: AppId,
    /// `apns`, `fcm` or `webpush`; absent once the service has said that the target is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    preferred: bool,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
    /// What it shows of orders all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<live::View>,
    /// The regions that it is in or near.
    #[schema(value_type = Vec<serde_json::Value>)]
    presences: Vec<parvis_engine::shopper::Presence>,
}

/// Registers a device, or registers it anew.
#[utoipa::path(put, path = "/v1/devices/{device}", tag = "devices", params(("device" = String, Path)),
    request_body = schema::Registration, responses((status = 200, body = Registered)))]
pub(super) async fn put(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(device): Id<DeviceId>,
    body::Json(registration): body::Json<Registration>,
) -> Result<Json<Registered>, Problem> {
    caller.owns(&device)?;
    links::must_not_be_tag(&services, &device)?;
    let shopper = registration.owner(&device);
    // A phone names the shopper that the retailer's back end has put into its token, and nobody else.
    if caller.device.is_some() && registration.shopper.is_some() && registration.shopper != caller.shopper {
        let detail = "this token does not name that shopper; register without `shopper`, or from the back end";
        return Err(Problem::at(Kind::Forbidden, "/shopper", detail));
    }
    let mut problems = registration.problems();
    let app = registration.app.clone().unwrap_or_default();
    problems.extend(services.couriers.refusal(&app, registration.target.as_ref().map(PushTarget::channel)));
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let input = Input::Register { device: device.clone(), registration };
    services.shards.ask(shopper.clone(), input).await?;
    Ok(Json(Registered { device, shopper }))
}

/// A device, with the regions that it is in.
#[utoipa::path(get, path = "/v1/devices/{device}", tag = "devices", params(("device" = String, Path)),
    responses((status = 200, body = View)))]
pub(super) async fn get(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(device): Id<DeviceId>,
) -> Result<Json<View>, Problem> {
    caller.owns(&device)?;
    let missing = || Problem::not_found("device", device.as_str());
    let shopper = owner(&services, &device).await?.ok_or_else(missing)?;
    let record = services.store.load(std::slice::from_ref(&shopper)).await?.pop().ok_or_else(missing)?;
    let known: Device = record.shopper.devices.get(&device).cloned().ok_or_else(missing)?;
    Ok(Json(View {
        device,
        shopper,
        app: known.app(),
        platform: known.platform.into(),
        channel: known.target.as_ref().map(PushTarget::channel),
        locale: known.locale.map(Into::into),
        time_zone: known.time_zone.map(Into::into),
        preferred: known.preferred,
        registered_at: known.registered_at,
        live: known.live.as_deref().map(live::View::from),
        presences: known.presences,
    }))
}

/// Forgets a device. Its shopper stays, unless the device was all there was of an anonymous one.
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices", params(("device" = String, Path)),
    responses((status = 204)))]
pub(super) async fn delete(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(device): Id<DeviceId>,
) -> Result<StatusCode, Problem> {
    caller.owns(&device)?;
    let shopper = owner(&services, &device).await?;
    let shopper = shopper.ok_or_else(|| Problem::not_found("device", device.as_str()))?;
    let input = if shopper.is_anonymous() { Input::Erase } else { Input::Deregister { device } };
    services.shards.ask(shopper, input).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn owner(services: &Services, device: &DeviceId) -> Result<Option<ShopperId>, Problem> {
    Ok(services.store.owners(std::slice::from_ref(device)).await?.pop().flatten())
}
