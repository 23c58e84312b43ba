//! `/v1/apps/{app}`: what an app has at its push services, APNs broadcast channels and the key of its web pages. Nothing
//! of it is stored here.

use std::{str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use parvis_engine::{id::AppId, shopper::ApnsEnvironment};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Asked, Id, Ids},
    problem::{Document, Kind, Problem},
};
use crate::delivery::apns::channels::{self, Place, Storage};

/// A channel that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewChannel {
    /// The bundle id of the app whose activities follow it.
    #[schema(example = "com.example.shop")]
    bundle: String,
    /// `production` (if absent) or `sandbox`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    environment: ApnsEnvironment,
    /// Whether Apple keeps the last message for phones that are away. It can't be changed later.
    stored: bool,
}

/// Whose channels.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// The app's bundle id.
    bundle: String,
    /// `production` (if absent) or `sandbox`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    environment: ApnsEnvironment,
}

/// A channel, as the target `apns_channel` of a message names it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BroadcastChannel {
    /// The id that Apple gave it, base64.
    #[schema(example = "dHN0LXNyY2gtY2hubA==")]
    channel: String,
    bundle: String,
    #[schema(value_type = String)]
    environment: ApnsEnvironment,
    /// Whether Apple keeps the last message for phones that are away.
    stored: bool,
}

/// An app's channels.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BroadcastChannels {
    /// Their ids.
    items: Vec<String>,
}

/// What web pages subscribe with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebPushKey {
    /// `applicationServerKey`: a P-256 point, base64url.
    key: String,
}

/// Apple's id of a channel. Its form is Apple's business.
#[derive(Debug)]
pub(super) struct ChannelId(String);

impl FromStr for ChannelId {
    type Err = String;

    fn from_str(text: &str) -> Result<ChannelId, String> {
        Ok(ChannelId(text.to_owned()))
    }
}

impl From<Whose> for Place {
    fn from(Whose { bundle, environment }: Whose) -> Place {
        Place { bundle, environment }
    }
}

/// Creates a channel at Apple. Without an idempotency key whoever asks twice gets two.
#[utoipa::path(post, path = "/v1/apps/{app}/broadcast-channels", tag = "apps", params(("app" = String, Path)),
    request_body = NewChannel, responses((status = 201, body = BroadcastChannel)))]
pub(super) async fn create_channel(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(app): Id<AppId>,
    body::Json(new): body::Json<NewChannel>,
) -> Result<Response, Problem> {
    caller.speaks_for_many()?;
    let NewChannel { bundle, environment, stored } = new;
    let storage = if stored { Storage::Latest } else { Storage::Nothing };
    let place = Place { bundle, environment };
    let create = |channels: &channels::Channels, bearer: &str| channels.create(&place, storage, bearer);
    let channel = services.couriers.manage(&app, &place, create, channels::created).await?;
    let Place { bundle, environment } = place;
    let created = BroadcastChannel { channel, bundle, environment, stored };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// The ids of an app's channels, from Apple.
#[utoipa::path(get, path = "/v1/apps/{app}/broadcast-channels", tag = "apps", params(("app" = String, Path), Whose),
    responses((status = 200, body = BroadcastChannels),
        (status = 409, description = "The app has no APNs, or Apple refuses", body = Document<'static>,
            content_type = "application/problem+json")))]
pub(super) async fn list_channels(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(app): Id<AppId>,
    Asked(whose): Asked<Whose>,
) -> Result<Json<BroadcastChannels>, Problem> {
    caller.speaks_for_many()?;
    let place = Place::from(whose);
    let list = |channels: &channels::Channels, bearer: &str| channels.list(&place, bearer);
    let items = services.couriers.manage(&app, &place, list, channels::listed).await?;
    Ok(Json(BroadcastChannels { items }))
}

/// How a channel is set up, from Apple. In the path its id is percent-encoded.
#[utoipa::path(get, path = "/v1/apps/{app}/broadcast-channels/{id}", tag = "apps",
    params(("app" = String, Path), ("id" = String, Path), Whose),
    responses((status = 200, body = BroadcastChannel),
        (status = 409, description = "The app has no APNs, or Apple refuses", body = Document<'static>,
            content_type = "application/problem+json")))]
pub(super) async fn get_channel(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Ids(app, ChannelId(channel)): Ids<AppId, ChannelId>,
    Asked(whose): Asked<Whose>,
) -> Result<Json<BroadcastChannel>, Problem> {
    caller.speaks_for_many()?;
    let place = Place::from(whose);
    let read = |channels: &channels::Channels, bearer: &str| channels.read(&place, &channel, bearer);
    let stored = services.couriers.manage(&app, &place, read, channels::found).await? == Storage::Latest;
    let Place { bundle, environment } = place;
    Ok(Json(BroadcastChannel { channel, bundle, environment, stored }))
}

/// Deletes a channel at Apple. Activities that follow it stop where they are. In the path its id is percent-encoded.
#[utoipa::path(delete, path = "/v1/apps/{app}/broadcast-channels/{id}", tag = "apps",
    params(("app" = String, Path), ("id" = String, Path), Whose), responses((status = 204)))]
pub(super) async fn delete_channel(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Ids(app, ChannelId(channel)): Ids<AppId, ChannelId>,
    Asked(whose): Asked<Whose>,
) -> Result<StatusCode, Problem> {
    caller.speaks_for_many()?;
    let place = Place::from(whose);
    let delete = |channels: &channels::Channels, bearer: &str| channels.delete(&place, &channel, bearer);
    services.couriers.manage(&app, &place, delete, channels::deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key that an app's web pages subscribe with. It is public; whoever has any key or a phone's token may read it.
#[utoipa::path(get, path = "/v1/apps/{app}/web-push-key", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = WebPushKey)))]
pub(super) async fn web_push_key(
    State(services): State<Arc<Services>>,
    Id(app): Id<AppId>,
) -> Result<Json<WebPushKey>, Problem> {
    let key = services.couriers.web_push_key(&app);
    let missing = || Problem::new(Kind::NotFound, format!("there is no app {app} with Web Push"));
    Ok(Json(WebPushKey { key: key.ok_or_else(missing)? }))
}
