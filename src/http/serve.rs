//! Accepts connections: HTTP/1.1, and HTTP/2 by prior knowledge. TLS is terminated in front of the daemon.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::Config;
use crate::clock::Clock;

/// Requests on one connection that may be open at the same time over HTTP/2.
const STREAMS_MAX: u32 = 256;

/// Serves until `shutdown` is cancelled, then accepts nothing more and finishes the open requests. The caller sets
/// the deadline for that.
pub async fn serve(listener: TcpListener, router: Router, config: &Config, shutdown: CancellationToken, clock: &Clock) {
    let builder = builder(config);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(config.connections_max));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn the processor.
                tracing::warn!(%error, "a connection could not be accepted");
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, asked) = (router.clone(), CancellationToken::new());
        let first = asked.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            asked.cancel();
            let router = router.clone();
            async move {
                Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = until_silent(graceful.watch(connection), first, config.head_timeout);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    connections.close();
    connections.wait().await;
}

/// Gives a connection up that asks nothing in time: before the version of HTTP is known, the library has no deadline.
async fn until_silent<E: Into<BoxError>>(
    connection: impl Future<Output = Result<(), E>>,
    asked: CancellationToken,
    head_timeout: Duration,
) -> Result<(), BoxError> {
    let mut connection = std::pin::pin!(connection);
    let first = async {
        tokio::select! {
            biased;
            ended = &mut connection => Some(ended),
            () = asked.cancelled() => None,
        }
    };
    match tokio::time::timeout(head_timeout, first).await? {
        Some(ended) => ended.map_err(Into::into),
        None => connection.await.map_err(Into::into),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.head_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(config.body_pause_max)
        .keep_alive_timeout(config.head_timeout);
    builder
}
