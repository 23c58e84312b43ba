//! The page at `/`, which shows what phones and browsers would, and the stream of events that it lives from.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{
        Html, IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;

use super::{record::Received, shared::Shared};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing but the page's own files: whatever a title holds, it runs nowhere.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'",
);
/// How many messages a page gets that has just been opened.
const HISTORY: u64 = 200;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(async || ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(HTML))))
        .route("/page.css", get(async || text("text/css; charset=utf-8", STYLE)))
        .route("/page.js", get(async || text("text/javascript; charset=utf-8", SCRIPT)))
        .route("/events", get(events))
}

fn text(kind: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Messages as server-sent events: what has come of late, or since the last one that the page has, then each as it
/// comes. A page that falls behind asks again.
async fn events(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let live = shared.record.subscribe();
    let counts = shared.record.counts();
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let from = last_seen.unwrap_or(0).max((counts.accepted + counts.refused).saturating_sub(HISTORY));
    let history = shared.record.since(from);
    let told = history.last().map_or(from, |received| received.sequence);
    let live = stream::unfold(live, |mut live| async move {
        match live.recv().await {
            Ok(received) => Some((received, live)),
            Err(RecvError::Lagged(_) | RecvError::Closed) => None,
        }
    });
    let live = live.filter(move |received| std::future::ready(received.sequence > told));
    let all = stream::iter(history).chain(live).map(|received| Ok(event(&received)));
    Sse::new(all.take_until(shared.stop.clone().cancelled_owned())).keep_alive(KeepAlive::default())
}

fn event(received: &Received) -> Event {
    let event = Event::default().id(received.sequence.to_string());
    event.json_data(received).unwrap_or_else(|error| Event::default().comment(error.to_string()))
}
