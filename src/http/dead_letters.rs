//! `/v1/dead-letters`: messages that were given up, and trying them anew. No push target is ever shown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parvis_engine::{
    id::{AppId, CampaignId, DeviceId, EndpointId, NotificationId, ShopperId},
    notification::{Channel, Milestone, Notification, Origin, Purpose, Recipient},
    time::{Timestamp, duration},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Asked, Id},
    notifications::keep,
    problem::{Kind, Problem},
};
use crate::{
    json,
    store::{Cursor, DeadQuery, Life},
    submit::{self, Spent},
};

/// Which are asked for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only those in the name of this app.
    #[param(value_type = Option<String>)]
    app: Option<AppId>,
    /// Only those that were to go through `apns`, `fcm`, `webpush` or `webhook`.
    #[param(value_type = Option<String>)]
    channel: Option<Channel>,
    /// At most so many; 100 if absent.
    limit: Option<usize>,
    /// Only those after this place in the list: `next` of the page before.
    before: Option<String>,
}

/// Messages that were given up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// Those that were given up last come first.
    items: Vec<DeadLetter>,
    /// Where to go on: `?before=`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A message that was given up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetter {
    #[schema(value_type = String)]
    notification: NotificationId,
    /// For whom; begins with `~` if nobody is known.
    #[schema(value_type = String)]
    shopper: ShopperId,
    #[schema(value_type = String)]
    app: AppId,
    #[schema(value_type = String)]
    channel: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    purpose: Option<Purpose>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    device: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    endpoint: Option<EndpointId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    campaign: Option<CampaignId>,
    /// The name of the request that handed it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// The kind of the event that a webhook was to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// Why it was given up.
    reason: String,
    /// How often a provider was asked.
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    decided_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    died_at: Timestamp,
    /// The message that was given up before and that this one tried anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    replays: Option<NotificationId>,
    /// The message that tries this one anew, if somebody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    replayed_as: Option<NotificationId>,
}

/// How one message is to be tried anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Anew {
    /// How long it is of use from now on; as long as the dead one was if absent.
    #[serde(default, with = "duration::option")]
    #[schema(value_type = Option<String>, example = "2h")]
    ttl: Option<Duration>,
}

/// Which messages are to be tried anew: `ids`, or those that a list with the other fields gives.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Many {
    /// These.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    ids: Option<Vec<NotificationId>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    app: Option<AppId>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    channel: Option<Channel>,
    /// At most so many; 100 if absent.
    #[serde(default)]
    limit: Option<usize>,
    /// Only those after this place in the list.
    #[serde(default)]
    before: Option<String>,
    /// How long they are of use from now on; each as long as the dead one was if absent.
    #[serde(default, with = "duration::option")]
    #[schema(value_type = Option<String>, example = "2h")]
    ttl: Option<Duration>,
}

/// What became of the messages that were to be tried anew. It is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replayed {
    /// How many are tried anew, because of this call or an earlier one.
    replayed: usize,
    /// How many are not.
    refused: usize,
    /// One for each, in the order of the list or of `ids`.
    results: Vec<Replay>,
    /// Where to go on with `before`, if the list is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What became of one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replay {
    /// The dead message.
    #[schema(value_type = String)]
    replays: NotificationId,
    /// `replayed` or `refused`.
    status: &'static str,
    /// The message that tries it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    notification: Option<NotificationId>,
    /// The stable name of the reason why it is not tried: `not_found`, `not_dead`, `no_target`, `not_configured`,
    /// `refused`, or that of a suppression.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

const PAGE: usize = 100;
/// Lives that are looked up at a time.
const LOOKUPS: usize = 32;
/// As for every message: longer than any service keeps it.
const TTL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(28 * 86_400));

/// Messages that were given up, the last ones first. They are kept as long as lives are.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "notifications", params(Filter),
    responses((status = 200, body = DeadLetters)))]
pub(super) async fn list(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
) -> Result<Json<DeadLetters>, Problem> {
    caller.speaks_for_many()?;
    let (lives, next) = dead(&services, filter).await?;
    let items = stream::iter(lives).map(async |life| -> Result<Option<DeadLetter>, Problem> {
        let replay = match submit::replay_id(&life) {
            Some(id) => services.store.life(id).await?.map(|_| id),
            None => None,
        };
        Ok(DeadLetter::of(life, replay))
    });
    let items: Vec<_> = items.buffered(LOOKUPS).try_collect().await?;
    Ok(Json(DeadLetters { items: items.into_iter().flatten().collect(), next }))
}

/// Tries a message anew that was given up, as a new message. However often it is asked for, it is one message.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/replay", tag = "notifications", params(("id" = String, Path)),
    request_body(content = Option<Anew>), responses((status = 200, body = Replay)))]
pub(super) async fn replay(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(id): Id<NotificationId>,
    request: Request,
) -> Result<Json<Replay>, Problem> {
    caller.speaks_for_many()?;
    let bytes = body::collect(request, services.config.body_max).await?;
    let Anew { ttl } = if bytes.trim_ascii().is_empty() { Anew::default() } else { json::typed(&bytes)? };
    check_ttl(ttl)?;
    let life = services.store.life(id).await?.ok_or_else(|| Problem::not_found("notification", &id.to_string()))?;
    let replay = anew(&services, vec![(id, Some(life))], ttl).await?.pop();
    let replay = replay.ok_or_else(|| Problem::new(Kind::Internal, "nothing came of it; send it again"))?;
    match replay.reason {
        None => Ok(Json(replay)),
        Some(reason) => Err(Problem::new(Kind::Conflict, format!("the message is not tried anew: {reason}"))),
    }
}

/// Tries many messages anew. One that can't be tried never keeps the others from it.
#[utoipa::path(post, path = "/v1/dead-letters/replay", tag = "notifications", request_body = Many,
    responses((status = 200, body = Replayed)))]
pub(super) async fn replay_many(
    State(services): State<Arc<Services>>,
    caller: Caller,
    body::Json(many): body::Json<Many>,
) -> Result<Json<Replayed>, Problem> {
    caller.speaks_for_many()?;
    let Many { ids, app, channel, limit, before, ttl } = many;
    check_ttl(ttl)?;
    let (dead, next) = match ids {
        Some(ids) => {
            if app.is_some() || channel.is_some() || limit.is_some() || before.is_some() {
                let detail = "`ids` says which; leave `app`, `channel`, `limit` and `before` out";
                return Err(Problem::at(Kind::Invalid, "/ids", detail));
            }
            let most = services.config.page_max;
            if ids.len() > most {
                return Err(Problem::at(Kind::Invalid, "/ids", format!("at most {most} at a time")));
            }
            let lives = stream::iter(ids)
                .map(async |id| Ok::<_, Problem>((id, services.store.life(id).await?)))
                .buffered(LOOKUPS);
            (lives.try_collect().await?, None)
        }
        None => {
            let (lives, next) = dead(&services, Filter { app, channel, limit, before }).await?;
            (lives.into_iter().map(|life| (life.notification.id, Some(life))).collect(), next)
        }
    };
    let results = anew(&services, dead, ttl).await?;
    let refused = results.iter().filter(|replay| replay.reason.is_some()).count();
    Ok(Json(Replayed { replayed: results.len() - refused, refused, results, next }))
}

fn check_ttl(ttl: Option<Duration>) -> Result<(), Problem> {
    if ttl.is_none_or(|ttl| (TTL.0..=TTL.1).contains(&ttl)) {
        return Ok(());
    }
    Err(Problem::at(Kind::Invalid, "/ttl", "`ttl` must be 10 s to 28 days"))
}

/// A page of dead messages, and where the next one begins.
async fn dead(services: &Services, filter: Filter) -> Result<(Vec<Life>, Option<String>), Problem> {
    let Filter { app, channel, limit, before } = filter;
    let before: Option<Cursor> = before
        .map(|text| text.parse().map_err(|why: String| Problem::at(Kind::Malformed, "/before", why)))
        .transpose()?;
    let limit = limit.unwrap_or(PAGE).clamp(1, services.config.page_max);
    let mut lives = services.store.dead(DeadQuery { app, channel, before, limit: limit + 1 }).await?;
    let more = lives.len() > limit;
    lives.truncate(limit);
    let next = lives.last().and_then(Cursor::of).filter(|_| more).map(|cursor| cursor.to_string());
    Ok((lives, next))
}

/// Tries these anew, as far as they are dead.
async fn anew(
    services: &Services,
    dead: Vec<(NotificationId, Option<Life>)>,
    ttl: Option<Duration>,
) -> Result<Vec<Replay>, Problem> {
    let (now, world) = (services.clock.now(), services.catalog.world());
    let mut shoppers: Vec<ShopperId> =
        dead.iter().filter_map(|(_, life)| Some(life.as_ref()?.notification.shopper.clone())).collect();
    shoppers.sort();
    shoppers.dedup();
    let records = services.store.load(&shoppers).await?;
    let shoppers: BTreeMap<_, _> = shoppers.into_iter().zip(records.into_iter().map(|record| record.shopper)).collect();
    let (mut results, mut outbox) = (Vec::with_capacity(dead.len()), Vec::new());
    for (replays, life) in dead {
        let refused = |reason| Replay { replays, status: "refused", notification: None, reason: Some(reason) };
        let Some(life) = life else {
            results.push(refused("not_found"));
            continue;
        };
        // What is tried anew already stays what it is, whatever has changed since.
        let known = match submit::replay_id(&life) {
            Some(id) => services.store.life(id).await?.map(|life| life.notification),
            None => None,
        };
        let is_new = known.is_none();
        let made = match (known, shoppers.get(&life.notification.shopper)) {
            (Some(known), _) => Ok(known),
            (None, Some(shopper)) => submit::replay(&life, shopper, &world, ttl, now)
                .map_err(|spent: Spent| spent.name())
                .and_then(|made| match keep::check(services, &made, Some(shopper.as_ref())) {
                    Ok(()) => Ok(made),
                    Err(refusal) => Err(refusal.reason.name()),
                }),
            (None, None) => Err("not_found"),
        };
        results.push(match made {
            Ok(Notification { id, .. }) if !is_new => replayed(replays, id),
            Ok(made) => {
                let id = made.id;
                outbox.push(made);
                replayed(replays, id)
            }
            Err(reason) => refused(reason),
        });
    }
    keep::all(services, outbox, now).await?;
    Ok(results)
}

fn replayed(replays: NotificationId, notification: NotificationId) -> Replay {
    Replay { replays, status: "replayed", notification: Some(notification), reason: None }
}

impl DeadLetter {
    fn of(life: Life, replayed_as: Option<NotificationId>) -> Option<DeadLetter> {
        let end = life.milestones.into_iter().find(|step| step.milestone == Milestone::Dead)?;
        let purpose = life.notification.purpose();
        let Notification { id, shopper, recipient, channel, app, origin, replays, decided_at, expires_at, .. } =
            life.notification;
        let (device, endpoint) = match recipient {
            Recipient::Device(device) => (Some(device), None),
            Recipient::Endpoint(endpoint) => (None, Some(endpoint)),
            Recipient::Address(_) => (None, None),
        };
        let (campaign, request, event) = match origin {
            Origin::Campaign { campaign, .. } => (Some(campaign), None, None),
            Origin::Request { request, .. } => (None, Some(request), None),
            Origin::Event { event } => (None, None, Some(event)),
        };
        Some(DeadLetter {
            notification: id,
            shopper,
            app,
            channel,
            purpose,
            device,
            endpoint,
            campaign,
            request,
            event,
            reason: end.detail.unwrap_or_default(),
            attempts: life.attempts,
            decided_at,
            expires_at,
            died_at: end.at,
            replays,
            replayed_as,
        })
    }
}
