//! A whole node over loopback.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parvis::{clock::Clock, config::Config};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::task::TaskTracker;

use crate::{
    Scale,
    caller::{Caller, LINES, new_key},
    city::{Walk, crowd, hands, node, node_folder, register},
    rate::{Asker, Rate, rate},
};

impl Asker for Caller {
    async fn ask(&mut self) -> usize {
        self.ping(Clock::System.now()).await
    }
}

pub(crate) fn part(scale: &Scale) {
    let folder = node_folder(scale.fences[1], None);
    let key = new_key(folder.path());
    println!(
        "\n| over HTTP, {} circles | connections | pings/s | processor a ping | answer p50 | p99 |",
        scale.fences[1]
    );
    println!("|---|---:|---:|---:|---:|---:|");
    Runtime::new().expect("a runtime").block_on(async {
        seed(folder.path(), scale.phones).await;
        let app = node(folder.path()).await;
        let mut crowds = Walk::ALL.map(|(walk, _)| crowd(scale.phones, walk));
        for (batched, form) in [(false, "one a request".to_owned()), (true, format!("{LINES} a request"))] {
            for ((_, what), crowd) in Walk::ALL.into_iter().zip(&mut crowds) {
                for connections in if batched { scale.senders } else { scale.connections } {
                    let mut callers = Vec::new();
                    for phones in hands(std::mem::take(crowd), connections) {
                        callers.push(Caller::new(app.address, &key, phones, batched).await);
                    }
                    let measured = rate(&mut callers, scale).await;
                    crowd.extend(callers.into_iter().flat_map(|caller| caller.phones));
                    row(&format!("{form}, {what}"), connections, &measured);
                }
            }
        }
        app.stop().await.expect("stops");
        let empty = empty().await;
        for connections in scale.connections {
            let phones = hands(crowd(scale.phones, Walk::Street), connections);
            let callers = phones.into_iter().map(|phones| Caller::new(empty, &key, phones, false));
            let measured = rate(&mut join_all(callers).await, scale).await;
            row("one a request, a server that decides nothing", connections, &measured);
        }
    });
}

fn row(what: &str, connections: usize, measured: &Rate) {
    let Rate { pings_per_s, cpu_us_per_ping, p50_ms, p99_ms, .. } = measured;
    println!(
        "| {what} | {connections} | {pings_per_s:.0} | {cpu_us_per_ping:.1} µs | {p50_ms:.2} ms | {p99_ms:.2} ms |"
    );
}

/// What is left of a node without all that it is for: reads each request and answers it. The same library and the same
/// callers, so nothing that speaks HTTP here can do better.
async fn empty() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("listens");
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    drop(tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket");
            // Ends with its caller.
            drop(connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer))));
        }
    }));
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(Bytes::from_static(br#"{"accepted":1,"rejected":[],"transitions":[]}"#))))
}

async fn seed(folder: &Path, phones: usize) {
    let config = Config::default().store.below(folder);
    let store = parvis::store::open(config).await.expect("opens");
    register(&*store, 0..phones).await;
    store.close().await.expect("closes");
}
