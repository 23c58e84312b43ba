//! `GET /v1/notifications/sums`: what entered the outbox and what became of it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use parvis_engine::notification::Milestone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{Services, auth::Caller, problem::Problem},
    store,
};

/// The messages of each channel since this node began, all of one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Sums {
    /// By channel; empty if nodes share the store, for none of them knows what became of the others' messages.
    channels: BTreeMap<&'static str, OnChannel>,
}

/// The messages of one channel. `stored` is always the sum of all others.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OnChannel {
    /// Messages that entered the outbox, or were in it when the node began.
    stored: u64,
    /// Those that are in it still.
    waiting: u64,
    /// Those that a provider took.
    accepted: u64,
    /// Those whose target does not exist.
    unregistered: u64,
    /// Those that were given up.
    dead: u64,
    /// Those that were not sent in time.
    expired: u64,
    /// Those that were no longer wanted when their turn came.
    suppressed: u64,
    /// Those that were withdrawn because their shopper was erased.
    erased: u64,
}

/// What entered the outbox, and what became of it: every message waits or has come to exactly one end.
#[utoipa::path(get, path = "/v1/notifications/sums", tag = "notifications", responses((status = 200, body = Sums)))]
pub(in crate::http) async fn get(State(services): State<Arc<Services>>, caller: Caller) -> Result<Json<Sums>, Problem> {
    caller.speaks_for_many()?;
    let sizes = services.store.sizes().await?;
    let channels = sizes.sums.iter().map(|(channel, sums)| (channel.name(), OnChannel::from(sums)));
    Ok(Json(Sums { channels: channels.collect() }))
}

impl From<&store::Sums> for OnChannel {
    fn from(sums: &store::Sums) -> OnChannel {
        let ended = |milestone| sums.ended.get(&milestone).copied().unwrap_or(0);
        OnChannel {
            stored: sums.stored,
            waiting: sums.waiting,
            accepted: ended(Milestone::Accepted),
            unregistered: ended(Milestone::Unregistered),
            dead: ended(Milestone::Dead),
            expired: ended(Milestone::Expired),
            suppressed: ended(Milestone::Suppressed),
            erased: sums.erased,
        }
    }
}
