//! `/v1/beacons/{id}/link`: who carries a tag. A linked tag is a device of its shopper, under the beacon's id.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use parvis_engine::{
    change::{Link, Registration, TAG_PLATFORM},
    id::{BeaconId, DeviceId, ShopperId},
    problem as engine,
    registry::Role,
    shopper::Device,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body::{self, Id},
    problem::{Kind, Problem},
};
use crate::{catalog::Kind as Object, shard::Input};

/// Who is to carry a tag.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Link)]
pub(super) struct Wanted {
    #[schema(value_type = String)]
    shopper: ShopperId,
    /// Until when, such as the end of a visit with a shopping cart; until it is unlinked if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Who carries a tag.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Linked {
    #[schema(value_type = String)]
    beacon: DeviceId,
    #[schema(value_type = String)]
    shopper: ShopperId,
    #[schema(value_type = String, format = DateTime)]
    linked_at: Timestamp,
    /// When it ends, or has ended, by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Links a tag to a shopper, whoever carried it before. From then on what scanners hear of it counts for the shopper,
/// within the shopper's consents.
#[utoipa::path(put, path = "/v1/beacons/{id}/link", tag = "beacons", params(("id" = String, Path)),
    request_body = Wanted, responses((status = 200, body = Linked)))]
pub(super) async fn put_link(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(tag): Id<DeviceId>,
    body::Json(Wanted { shopper, until }): body::Json<Wanted>,
) -> Result<Json<Linked>, Problem> {
    caller.speaks_for_many()?;
    must_be_tag(&services, &tag)?;
    let registration = Registration::of_tag(shopper.clone(), Link { until });
    let mut problems = registration.problems();
    if until.is_some_and(|until| until <= services.clock.now()) {
        problems.push(engine::Problem::new("/until", "has passed already; leave it out to link for good"));
    }
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    if known(&services, &tag).await?.is_some_and(|(_, known)| !is_tag(&known)) {
        let detail = format!("{tag} is a registered device that is no tag; give the beacon another id");
        return Err(Problem::new(Kind::Conflict, detail));
    }
    services.shards.ask(shopper, Input::Register { device: tag.clone(), registration }).await?;
    show(&services, tag).await
}

/// Who carries a tag.
#[utoipa::path(get, path = "/v1/beacons/{id}/link", tag = "beacons", params(("id" = String, Path)),
    responses((status = 200, body = Linked)))]
pub(super) async fn get_link(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(tag): Id<DeviceId>,
) -> Result<Json<Linked>, Problem> {
    caller.speaks_for_many()?;
    show(&services, tag).await
}

/// Ends a link.
#[utoipa::path(delete, path = "/v1/beacons/{id}/link", tag = "beacons", params(("id" = String, Path)),
    responses((status = 204)))]
pub(super) async fn delete_link(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Id(tag): Id<DeviceId>,
) -> Result<StatusCode, Problem> {
    caller.speaks_for_many()?;
    let (shopper, _) = linked(&services, &tag).await?;
    services.shards.ask(shopper, Input::Deregister { device: tag }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses the registration of a tag as if it were a phone.
///
/// # Errors
/// If it is one.
pub(super) fn must_not_be_tag(services: &Services, device: &DeviceId) -> Result<(), Problem> {
    if services.catalog.world().registry.tag(device).is_none() {
        return Ok(());
    }
    let detail = format!("{device} is a carried tag; PUT /v1/beacons/{device}/link links it to a shopper");
    Err(Problem::new(Kind::Conflict, detail))
}

/// Refuses beacons that would become a tag under the name of a phone, or would stop being a tag that somebody carries.
///
/// # Errors
/// All of them, with pointers into a list.
pub(super) async fn check_roles(
    services: &Services,
    kind: Object,
    beacons: &[Value],
) -> Result<(), Vec<engine::Problem>> {
    if kind != Object::Beacon {
        return Ok(());
    }
    let world = services.catalog.world();
    let mut turning: BTreeMap<usize, (DeviceId, bool)> = BTreeMap::new();
    for (index, beacon) in beacons.iter().enumerate() {
        let Some(Ok(id)) = beacon.get("id").and_then(Value::as_str).map(str::parse::<DeviceId>) else { continue };
        let becomes_tag = beacon.get("role").and_then(Value::as_str) == Some("tag");
        if becomes_tag != world.registry.tag(&id).is_some() {
            turning.insert(index, (id, becomes_tag));
        }
    }
    let mut problems = Vec::new();
    for (index, (id, becomes_tag)) in turning {
        // Who can't be asked now will be asked by the link.
        let Ok(Some((_, known))) = self::known(services, &id).await else { continue };
        if becomes_tag && !is_tag(&known) {
            let message = "a device of this name is registered; give the tag another id";
            problems.push(engine::Problem::new(format!("/{index}/id"), message));
        } else if !becomes_tag && is_carried(services, &known) {
            let message = format!("somebody carries this tag; DELETE /v1/beacons/{id}/link first");
            problems.push(engine::Problem::new(format!("/{index}/role"), message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Refuses to let go of a tag that somebody carries.
///
/// # Errors
/// If somebody does.
pub(super) async fn check_free(services: &Services, kind: Object, id: &str) -> Result<(), Problem> {
    let Some(tag) = Some(id).filter(|_| kind == Object::Beacon).and_then(|id| id.parse::<DeviceId>().ok()) else {
        return Ok(());
    };
    let carried = known(services, &tag).await?.is_some_and(|(_, known)| is_carried(services, &known));
    if !carried {
        return Ok(());
    }
    let message = format!("somebody carries this tag; DELETE /v1/beacons/{tag}/link first");
    Err(Problem::invalid(vec![engine::Problem::new("", message)]))
}

fn must_be_tag(services: &Services, tag: &DeviceId) -> Result<(), Problem> {
    let world = services.catalog.world();
    let beacon = tag.as_str().parse::<BeaconId>().ok().and_then(|id| world.registry.beacon(&id));
    match beacon.map(|beacon| beacon.spec.role) {
        Some(Role::Tag) => Ok(()),
        Some(Role::Fixed | Role::Reference) => {
            let detail = format!("beacon {tag} hangs in a shop; only a beacon of role \"tag\" is carried");
            Err(Problem::new(Kind::Conflict, detail))
        }
        None => Err(Problem::not_found("beacon", tag.as_str())),
    }
}

async fn show(services: &Services, tag: DeviceId) -> Result<Json<Linked>, Problem> {
    let (shopper, known) = linked(services, &tag).await?;
    let until = known.linked_until.map(|until| *until);
    Ok(Json(Linked { beacon: tag, shopper, linked_at: known.registered_at, until }))
}

async fn linked(services: &Services, tag: &DeviceId) -> Result<(ShopperId, Device), Problem> {
    let known = known(services, tag).await?.filter(|(_, known)| is_tag(known));
    if let Some(linked) = known {
        return Ok(linked);
    }
    must_be_tag(services, tag)?;
    Err(Problem::new(Kind::NotFound, format!("nobody carries the tag {tag}")))
}

async fn known(services: &Services, tag: &DeviceId) -> Result<Option<(ShopperId, Device)>, Problem> {
    let owner = services.store.owners(std::slice::from_ref(tag)).await?.pop().flatten();
    let Some(shopper) = owner else { return Ok(None) };
    let record = services.store.load(std::slice::from_ref(&shopper)).await?.pop();
    Ok(record.and_then(|record| record.shopper.devices.get(tag).cloned()).map(|known| (shopper, known)))
}

fn is_tag(known: &Device) -> bool {
    &*known.platform == TAG_PLATFORM
}

fn is_carried(services: &Services, known: &Device) -> bool {
    is_tag(known) && known.linked_until.as_deref().is_none_or(|until| *until > services.clock.now())
}
