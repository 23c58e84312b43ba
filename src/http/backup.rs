//! `GET /v1/backup`: everything in the store as one file, of one moment, while everything else goes on.
//!
//! Must not outlive its caller, nor wait for one that does not read: as long as it runs, the store's file can't use the
//! room again that becomes free.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Services,
    auth::Caller,
    health::Readiness,
    observations::NDJSON,
    problem::{Kind, Problem},
};
use crate::{backup::Writing, entropy::Entropy};

/// Sections that are read ahead of the caller.
const AHEAD: usize = 2;

/// Everything that is durable, as lines of JSON with checksums: what `parvis restore` and `parvis import` read. Holds
/// personal data. If it can't go on, its last line says why; a file without its `end` is not whole.
#[utoipa::path(get, path = "/v1/backup", tag = "operation",
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub(super) async fn get(State(services): State<Arc<Services>>, caller: Caller) -> Result<Response, Problem> {
    caller.speaks_for_many()?;
    let busy = || Problem::new(Kind::Full, "another backup is running; come back when it has ended");
    let turn = services.backups.clone().try_acquire_owned().map_err(|_| busy())?;
    let writing = Writing::new(services.store.export().await?, services.clock.now(), &Entropy::System);
    let (sections, written) = mpsc::channel(AHEAD);
    tracing::info!(key.name = %caller.name, "a backup begins");
    services.tasks.spawn(write(services.clone(), writing, sections, turn));
    let body = stream::unfold(written, |mut written: mpsc::Receiver<Bytes>| async move {
        written.recv().await.map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), written))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response())
}

/// Writes until the end, until the caller has gone or does not read on, or until the node stops.
async fn write(
    services: Arc<Services>,
    mut writing: Writing,
    sections: mpsc::Sender<Bytes>,
    _turn: OwnedSemaphorePermit,
) {
    let mut ready = services.ready.clone();
    let pause_max = services.config.body_pause_max;
    loop {
        let bytes = tokio::select! {
            biased;
            _ = ready.wait_for(|readiness| *readiness == Readiness::Draining) => Some(writing.fail("the node is stopping")),
            () = sections.closed() => None,
            bytes = writing.next() => bytes,
        };
        let Some(bytes) = bytes else { break };
        match tokio::time::timeout(pause_max, sections.send(bytes.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => {
                tracing::warn!("a backup was given up: its caller does not read on");
                return;
            }
        }
        if let Some(why) = writing.failure() {
            tracing::error!("a backup could not go on: {why}");
            return;
        }
    }
    tracing::info!(rows = writing.rows(), "a backup has ended");
}
