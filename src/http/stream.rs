//! `GET /v1/stream`: what happens, as it happens, as server-sent events.
//!
//! Must never hold up what it reports: a reader that is too slow misses events and is told so.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, broadcast, broadcast::error::RecvError, watch};

use super::{
    Services,
    auth::Caller,
    body::Asked,
    health::Readiness,
    problem::{Kind, Problem},
};
use crate::report::{
    News,
    envelope::{self, Envelope, Wanted},
};

/// Which events are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Types, separated by commas; one that ends with `.` stands for all that begin with it. All if absent.
    #[param(example = "shopper.,notification.accepted")]
    r#type: Option<String>,
}

/// What happens, as CloudEvents in server-sent events. A reader that is too slow gets a `lagged` event with the
/// number of events that it missed. The stream begins with what happens after it was opened.
#[utoipa::path(get, path = "/v1/stream", tag = "events", params(Filter),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn get(
    State(services): State<Arc<Services>>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Problem> {
    caller.speaks_for_many()?;
    let types = types(filter.r#type.as_deref())?;
    let full = || Problem::new(Kind::Full, "too many readers of the stream; close one or come back later");
    let reader = Reader {
        events: services.reporter.subscribe(),
        types,
        node: services.node.clone(),
        ready: services.ready.clone(),
        _place: services.readers.clone().try_acquire_owned().map_err(|_| full())?,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|event| (Ok::<_, Infallible>(event), reader))
    });
    let heartbeat = KeepAlive::new().interval(services.config.heartbeat).text("heartbeat");
    Ok(Sse::new(events).keep_alive(heartbeat).into_response())
}

struct Reader {
    events: broadcast::Receiver<Arc<News>>,
    types: Wanted,
    node: String,
    ready: watch::Receiver<Readiness>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            let received = tokio::select! {
                biased;
                _ = self.ready.wait_for(|readiness| *readiness == Readiness::Draining) => return None,
                received = self.events.recv() => received,
            };
            match received {
                Ok(event) if self.types.has(envelope::kind_of(&event)) => return Some(self.tell(&event)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    return Some(sse::Event::default().event("lagged").data(json!({"missed": missed}).to_string()));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn tell(&self, event: &News) -> sse::Event {
        let envelope = Envelope::of(event, &self.node);
        let data = serde_json::to_string(&envelope).unwrap_or_default();
        sse::Event::default().id(envelope.id).event(envelope.r#type).data(data)
    }
}

fn types(list: Option<&str>) -> Result<Wanted, Problem> {
    let wanted = list.unwrap_or_default().split(',').map(str::trim).filter(|wanted| !wanted.is_empty());
    Wanted::new(wanted.map(str::to_owned).collect(), envelope::types())
        .map_err(|odd| Problem::new(Kind::Malformed, odd))
}
