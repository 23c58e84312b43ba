//! The HTTP edge: who may call what, how it is read, how it fails. Decides nothing.

mod apps;
mod around;
pub mod auth;
mod backup;
mod beacons;
mod body;
mod catalog;
mod dead_letters;
mod devices;
mod explain;
mod fleet;
mod formats;
pub mod health;
pub mod idempotency;
mod links;
mod live;
mod notifications;
pub mod observations;
mod openapi;
mod orders;
pub mod problem;
mod scanners;
mod schema;
mod serve;
mod shoppers;
mod stream;
mod zstd;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use parvis_engine::{problem as engine, time::duration};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tower_http::{decompression::RequestDecompressionLayer, timeout::RequestBodyTimeoutLayer};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use serve::serve;

use crate::{
    catalog::Catalog, clock::Clock, config::size, delivery::Couriers, fleet::Fleet, report::Reporter, shard::Shards,
    store::Store, webhook::Webhooks,
};
use auth::Scope;
use problem::{Kind, Problem};

/// How the HTTP side behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who gets in.
    pub auth: auth::Config,
    /// The most connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// The most readers of the event stream.
    pub readers_max: usize,
    /// The largest body of a request, after decompression. Streamed observations have no such limit.
    #[serde(with = "size")]
    pub body_max: usize,
    /// The same for the catalog, where a file of geofences comes as one request.
    #[serde(with = "size")]
    pub catalog_body_max: usize,
    /// The longest line of what is streamed.
    #[serde(with = "size")]
    pub line_max: usize,
    /// How many streamed lines are decided together.
    pub lines_at_once: usize,
    /// How many handed-in messages may be on their way to the store.
    pub sending_max: usize,
    /// How many rejections and how many transitions the answer to streamed observations lists.
    pub listed_max: usize,
    /// The most objects in a page of a list.
    pub page_max: usize,
    /// The most journal rows that are read for one person.
    pub journal_max: usize,
    /// How long the head of a request may take to arrive.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// How long a body may pause.
    #[serde(with = "duration")]
    pub body_pause_max: Duration,
    /// How long a request may take as a whole; the event stream and streamed observations may take longer.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How often a silent event stream says that it is still there.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            auth: auth::Config::default(),
            connections_max: 10_000,
            readers_max: 64,
            body_max: 4 << 20,
            catalog_body_max: 256 << 20,
            line_max: 64 << 10,
            lines_at_once: 1_000,
            sending_max: 10_000,
            listed_max: 1_000,
            page_max: 1_000,
            journal_max: 10_000,
            head_timeout: Duration::from_secs(10),
            body_pause_max: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// What can't work. File names start from the folder.
    pub fn problems(&self, folder: &Path) -> Vec<engine::Problem> {
        let positive = [
            ("/connections_max", self.connections_max),
            ("/body_max", self.body_max),
            ("/catalog_body_max", self.catalog_body_max),
            ("/line_max", self.line_max),
            ("/lines_at_once", self.lines_at_once),
            ("/sending_max", self.sending_max),
            ("/page_max", self.page_max),
            ("/journal_max", self.journal_max),
        ];
        let spans = [
            ("/head_timeout", self.head_timeout),
            ("/body_pause_max", self.body_pause_max),
            ("/request_timeout", self.request_timeout),
            ("/heartbeat", self.heartbeat),
        ];
        let numbers = positive.into_iter().filter(|(_, number)| *number == 0).map(|(path, _)| path);
        let pauses = spans.into_iter().filter(|(_, span)| span.is_zero()).map(|(path, _)| path);
        let mut problems: Vec<_> =
            numbers.chain(pauses).map(|path| engine::Problem::new(path, "must be more than 0")).collect();
        problems.extend(auth::Keys::read(&self.auth, folder).err().map(|why| engine::Problem::new("/auth", why)));
        problems
    }
}

/// What the HTTP side works with.
pub struct Services {
    /// The shoppers' inboxes.
    pub shards: Shards,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// The control plane.
    pub catalog: Catalog,
    /// How scanners and beacons fare.
    pub fleet: Fleet,
    /// The apps and their push services.
    pub couriers: Arc<Couriers>,
    /// Tells the time.
    pub clock: Clock,
    /// Who gets in.
    pub keys: auth::Keys,
    /// What happens, told and counted.
    pub reporter: Reporter,
    /// The retailer's own systems that are told.
    pub webhooks: Webhooks,
    /// Whether the node can take anything.
    pub ready: watch::Receiver<health::Readiness>,
    /// How it behaves.
    pub config: Config,
    /// This node's name.
    pub node: String,
    /// Writes that go on although their caller has hung up; to be waited for before the store is closed.
    pub tasks: TaskTracker,
    /// Writes with an idempotency key that are being executed.
    pub running: idempotency::Running,
    /// Places for readers of the stream.
    pub readers: Arc<Semaphore>,
    /// Places for handed-in messages that are on their way to the store.
    pub sending: Arc<Semaphore>,
    /// Places for backups; one is enough.
    pub backups: Arc<Semaphore>,
}

/// Every path of the API.
pub fn router(services: Services) -> Router {
    let services = Arc::new(services);
    let (api, document) = paths(&services).split_for_parts();
    let document = openapi::Finished(Arc::new(openapi::finish(document)));
    let pause_max = services.config.body_pause_max;
    api.with_state(services)
        .merge(Router::new().route("/openapi.json", get(openapi::get)).with_state(document))
        .fallback(async || Problem::new(Kind::NotFound, "there is no such path; /openapi.json lists them"))
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "this path has other methods; /openapi.json lists them")
        })
        // An unknown coding goes on to the reader of the body, which refuses it with a problem.
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(from_fn(zstd::undo))
        .layer(RequestBodyTimeoutLayer::new(pause_max))
}

type Paths = OpenApiRouter<Arc<Services>>;

fn paths(services: &Arc<Services>) -> Paths {
    let open = OpenApiRouter::with_openapi(openapi::Base::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics));
    open.merge(behind(services, &[Scope::Ingest], reporting()))
        .merge(behind(services, &[Scope::Orders], OpenApiRouter::new().routes(routes!(orders::event))))
        .merge(behind(services, &[Scope::Marketing], marketing()))
        .merge(behind(services, &[Scope::Read, Scope::Marketing], catalog_reading()))
        .merge(behind(services, &[Scope::Read, Scope::Orders], OpenApiRouter::new().routes(routes!(orders::get))))
        .merge(behind(services, &[Scope::Read], reading()))
        .merge(behind(services, &[Scope::Read, Scope::Send], outcomes()))
        .merge(behind(services, &[Scope::Send], sending()))
        .merge(naming(services, &[Scope::Send], OpenApiRouter::new().routes(routes!(notifications::submit::post))))
        .merge(behind(services, &Scope::ALL, OpenApiRouter::new().routes(routes!(apps::web_push_key))))
        .merge(behind(services, &[Scope::Backup], OpenApiRouter::new().routes(routes!(backup::get))))
        .merge(behind(services, &[Scope::Admin], OpenApiRouter::new().routes(routes!(shoppers::delete))))
}

fn reporting() -> Paths {
    OpenApiRouter::new()
        .routes(routes!(observations::post))
        .routes(routes!(formats::owntracks))
        .routes(routes!(formats::overland))
        .routes(routes!(formats::transistorsoft))
        .routes(routes!(formats::ranging))
        .routes(routes!(formats::amazon))
        .routes(routes!(formats::osmand_get, formats::osmand_post))
        .routes(routes!(scanners::post))
        .routes(routes!(devices::put, devices::delete))
        .routes(routes!(live::put_start, live::delete_start))
        .routes(routes!(live::put_activity, live::delete_activity))
        .routes(routes!(shoppers::put))
        .routes(routes!(shoppers::signal))
        .routes(routes!(notifications::receipt))
        .routes(routes!(links::put_link, links::delete_link))
}

fn marketing() -> Paths {
    OpenApiRouter::new()
        .routes(routes!(catalog::put_fence, catalog::delete_fence))
        .routes(routes!(catalog::post_fences))
        .routes(routes!(catalog::put_store, catalog::delete_store))
        .routes(routes!(catalog::put_campaign, catalog::delete_campaign))
        .routes(routes!(beacons::put_beacon, beacons::delete_beacon))
        .routes(routes!(beacons::post_beacons))
        .routes(routes!(beacons::put_scanner, beacons::delete_scanner))
        .routes(routes!(beacons::put_zone, beacons::delete_zone))
        .routes(routes!(beacons::put_region, beacons::delete_region))
        .routes(routes!(explain::post))
}

fn catalog_reading() -> Paths {
    OpenApiRouter::new()
        .routes(routes!(catalog::get_fence))
        .routes(routes!(catalog::list_fences))
        .routes(routes!(catalog::get_store))
        .routes(routes!(catalog::list_stores))
        .routes(routes!(catalog::get_campaign))
        .routes(routes!(catalog::list_campaigns))
        .routes(routes!(beacons::get_beacon))
        .routes(routes!(beacons::list_beacons))
        .routes(routes!(beacons::get_scanner))
        .routes(routes!(beacons::list_scanners))
        .routes(routes!(beacons::get_zone))
        .routes(routes!(beacons::list_zones))
        .routes(routes!(beacons::get_region))
        .routes(routes!(beacons::list_regions))
        .routes(routes!(around::get))
}

fn reading() -> Paths {
    OpenApiRouter::new()
        .routes(routes!(devices::get))
        .routes(routes!(links::get_link))
        .routes(routes!(shoppers::get))
        .routes(routes!(notifications::list))
        .routes(routes!(stream::get))
        .routes(routes!(fleet::scanners))
        .routes(routes!(fleet::beacons))
        .routes(routes!(fleet::unknown))
}

fn outcomes() -> Paths {
    OpenApiRouter::new()
        .routes(routes!(notifications::get))
        .routes(routes!(notifications::sums::get))
        .routes(routes!(dead_letters::list))
        .routes(routes!(apps::list_channels))
        .routes(routes!(apps::get_channel))
}

fn sending() -> Paths {
    OpenApiRouter::new()
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::replay_many))
        .routes(routes!(apps::create_channel))
        .routes(routes!(apps::delete_channel))
}

/// Paths for callers with one of the scopes. The key is checked before anything of the body is read.
fn behind(services: &Arc<Services>, scopes: &'static [Scope], paths: Paths) -> Paths {
    let config = &services.config;
    let body_max = if scopes.contains(&Scope::Marketing) { config.catalog_body_max } else { config.body_max };
    gated(services, scopes, Some(body_max), paths)
}

/// The same for paths that know repeats by names of their own.
fn naming(services: &Arc<Services>, scopes: &'static [Scope], paths: Paths) -> Paths {
    gated(services, scopes, None, paths)
}

fn gated(services: &Arc<Services>, scopes: &'static [Scope], repeated_body_max: Option<usize>, paths: Paths) -> Paths {
    let gate = Gate { services: services.clone(), scopes, repeated_body_max };
    paths.route_layer(from_fn_with_state(Arc::new(gate), enter))
}

/// What stands before a path. One layer for all of it: each costs allocations by itself.
struct Gate {
    services: Arc<Services>,
    /// One of these is needed.
    scopes: &'static [Scope],
    /// The largest body whose repeat is known; none where the path knows repeats itself.
    repeated_body_max: Option<usize>,
}

async fn enter(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let caller = match auth::check(&gate.services, gate.scopes, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(caller.clone());
    match gate.repeated_body_max {
        Some(body_max) => idempotency::repeat(gate.services.clone(), caller, body_max, request, next).await,
        None => timed(&gate.services, request, next).await,
    }
}

/// Ends what takes too long, streamed observations excepted.
async fn timed(services: &Services, request: Request, next: Next) -> Response {
    if body::is_of(request.headers(), observations::NDJSON) {
        return next.run(request).await;
    }
    match tokio::time::timeout(services.config.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request took too long; it may have had its effect, repeats are harmless";
            Problem::new(Kind::Timeout, detail).into_response()
        }
    }
}
