//! `POST /v1/explain`: why a shopper did or did not get a campaign's message.

use std::sync::Arc;

use axum::{Json, extract::State};
use parvis_engine::{
    decide::Budgets,
    explain::{self, Explanation},
    id::{CampaignId, DeviceId, RegionId, ShopperId, StoreId},
    matching::{Transition, TransitionCause, TransitionKind},
    region::RegionKind,
    time::Timestamp,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body,
    problem::{Kind, Problem},
    schema, shoppers,
};

/// What is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// For whom.
    #[schema(value_type = String)]
    shopper: ShopperId,
    /// Which campaign.
    #[schema(value_type = String)]
    campaign: CampaignId,
    /// What happened, or might happen.
    transition: Happening,
    /// The moment of the decision; now if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    now: Option<Timestamp>,
}

/// A transition, as far as it matters for the question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `transition` and `region`")]
pub(super) struct Happening {
    /// `approach`, `enter`, `dwell`, `exit` or `pass`.
    #[schema(value_type = schema::TransitionKind)]
    transition: TransitionKind,
    /// Which region.
    #[schema(value_type = String)]
    region: RegionId,
    /// The region's store.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    store: Option<StoreId>,
    /// On which device; the shopper's first one if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device: Option<DeviceId>,
    /// When; the moment of the decision if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
}

/// Every gate with its answer and the numbers that it saw. Decides nothing and changes nothing.
#[utoipa::path(post, path = "/v1/explain", tag = "campaigns", request_body = Question,
    responses((status = 200, body = serde_json::Value)))]
pub(super) async fn post(
    State(services): State<Arc<Services>>,
    caller: Caller,
    body::Json(question): body::Json<Question>,
) -> Result<Json<Explanation>, Problem> {
    caller.speaks_for_many()?;
    let Question { shopper, campaign, transition, now } = question;
    let shopper = shoppers::known(&services, &shopper).await?;
    let now = now.unwrap_or_else(|| services.clock.now());
    let Some(device) = transition.device.or_else(|| shopper.devices.keys().next().cloned()) else {
        let detail = "the shopper has no device; name one in `transition.device`";
        return Err(Problem::at(Kind::Invalid, "/transition/device", detail));
    };
    let at = transition.at.unwrap_or(now);
    let world = services.catalog.world();
    let transition = Transition {
        kind: transition.transition,
        device,
        region_kind: world.region(&transition.region).map_or_else(RegionKind::default, |region| region.kind),
        region: transition.region,
        store: transition.store,
        at,
        received_at: at,
        confidence: 1.0,
        cause: TransitionCause::Fix,
        entered_at: Some(at),
        replayed: false,
    };
    // A budget is shared by all; explained is what holds while there is something left of it.
    let budgets: Budgets = world.campaigns.budgets().collect();
    let question = explain::Question { campaign: &campaign, transition: &transition, budgets: &budgets, now };
    let explained = explain::campaign(&world, &shopper, &question);
    explained.map(Json).ok_or_else(|| Problem::not_found("campaign", campaign.as_str()))
}
