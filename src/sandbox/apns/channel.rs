//! Broadcast channels as Apple documents them ("Sending channel management requests to APNs", "Sending broadcast push
//! notification requests to APNs"). Management is on the same listener as sending.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use parvis_engine::shopper::ApnsEnvironment;
use serde_json::{Map, Value, json};

use super::{
    super::{
        record::Message,
        reply::{Judged, Reply, Request},
        shared::{Connection, Shared},
    },
    Refused, activity, headers, payload, refusal, uuid,
};

/// What the target of a broadcast begins with; the bundle id and the channel's id follow.
pub(super) const TARGET_PREFIX: &str = "broadcasts/";
const BROADCAST_PATH: &str = "/4/broadcasts/apps/";
const MANAGEMENT_PATH: &str = "/1/apps/";
const CHANNELS_MAX: usize = 10_000;
const ID_BYTES: usize = 16;
const ID_CHARACTERS_MAX: usize = 128;

/// The channels of all apps.
#[derive(Debug, Default)]
pub(in super::super) struct Channels {
    known: Mutex<BTreeMap<Owner, BTreeMap<String, Policy>>>,
}

/// Whether it is in production, and the bundle id.
type Owner = (bool, String);

/// What is done with a message for devices that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Forgotten,
    LastIsStored,
}

/// What a request does.
enum Call<'a> {
    Broadcast(&'a str),
    One(&'a str),
    All(&'a str),
}

impl Channels {
    fn policy(&self, environment: ApnsEnvironment, bundle: &str, id: &str) -> Option<Policy> {
        self.known().get(&owner(environment, bundle))?.get(id).copied()
    }

    fn ids(&self, environment: ApnsEnvironment, bundle: &str) -> Vec<String> {
        let known = self.known();
        known.get(&owner(environment, bundle)).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Owner, BTreeMap<String, Policy>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request is about channels.
pub(super) fn is_meant(path: &str) -> bool {
    call(path).is_some()
}

pub(super) fn judge(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
) -> Judged {
    let id = request.header("apns-request-id").filter(|id| headers::is_uuid(id));
    let id = id.map_or_else(|| uuid(shared), str::to_owned);
    let judged = match call(&request.path) {
        Some(Call::Broadcast(bundle)) => return broadcast(shared, environment, connection, request, (bundle, &id)),
        Some(Call::One(bundle)) => manage(shared, environment, connection, request, bundle),
        Some(Call::All(bundle)) => list(shared, environment, connection, request, bundle),
        None => Err(Refused::new(StatusCode::NOT_FOUND, "BadPath")),
    };
    let reply = judged.unwrap_or_else(|refused| refusal(&refused));
    Judged::Answer(reply.with("apns-request-id", &id))
}

/// Base64; Apple promises no length.
pub(super) fn is_id(text: &str) -> bool {
    (1..=ID_CHARACTERS_MAX).contains(&text.len()) && STANDARD.decode(text).is_ok()
}

fn owner(environment: ApnsEnvironment, bundle: &str) -> Owner {
    (environment == ApnsEnvironment::Production, bundle.to_owned())
}

fn call(path: &str) -> Option<Call<'_>> {
    let is_bundle = |bundle: &&str| !bundle.is_empty() && !bundle.contains('/');
    if let Some(bundle) = path.strip_prefix(BROADCAST_PATH) {
        return Some(bundle).filter(is_bundle).map(Call::Broadcast);
    }
    let rest = path.strip_prefix(MANAGEMENT_PATH)?;
    let one = rest.strip_suffix("/channels").filter(is_bundle).map(Call::One);
    one.or_else(|| rest.strip_suffix("/all-channels").filter(is_bundle).map(Call::All))
}

/// Tokens only, of the team that the app belongs to.
fn authorize(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    bundle: &str,
) -> Result<(), Refused> {
    let app = shared.apns.authorize_token(request, environment, connection, shared.clock.now())?;
    connection.welcome();
    let is_own = shared.targets.owner(bundle).is_some_and(|owner| owner.name == app.name);
    if is_own { Ok(()) } else { Err(Refused::bad("TopicDisallowed")) }
}

fn manage(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    bundle: &str,
) -> Result<Reply, Refused> {
    if ![Method::POST, Method::GET, Method::DELETE].contains(&request.method) {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
    }
    authorize(shared, environment, connection, request, bundle)?;
    if request.method == Method::POST {
        return create(shared, environment, request, bundle);
    }
    let id = channel_id(request)?;
    let mut known = shared.apns.channels.known();
    let channels = known.get_mut(&owner(environment, bundle)).ok_or(Refused::bad("ChannelNotRegistered"))?;
    if request.method == Method::DELETE {
        channels.remove(id).ok_or(Refused::bad("ChannelNotRegistered"))?;
        return Ok(Reply::empty(StatusCode::NO_CONTENT));
    }
    let policy = channels.get(id).ok_or(Refused::bad("ChannelNotRegistered"))?;
    let policy = u8::from(*policy == Policy::LastIsStored);
    let settings = json!({ "message-storage-policy": policy, "push-type": "LiveActivity" });
    Ok(Reply::json(StatusCode::OK, &settings))
}

fn create(shared: &Shared, environment: ApnsEnvironment, request: &Request, bundle: &str) -> Result<Reply, Refused> {
    let settings: Map<String, Value> =
        serde_json::from_slice(&request.body).map_err(|_| Refused::bad("PayloadEmpty"))?;
    match settings.get("push-type").and_then(Value::as_str) {
        None => return Err(Refused::bad("MissingPushType")),
        Some("LiveActivity") => {}
        Some(_) => return Err(Refused::bad("InvalidPushType")),
    }
    let policy = match settings.get("message-storage-policy").and_then(Value::as_u64) {
        Some(0) => Policy::Forgotten,
        Some(1) => Policy::LastIsStored,
        Some(2..) | None => return Err(Refused::bad("CannotCreateChannelConfig")),
    };
    let mut id = [0; ID_BYTES];
    shared.entropy.fill(&mut id);
    let id = STANDARD.encode(id);
    let mut known = shared.apns.channels.known();
    let channels = known.entry(owner(environment, bundle)).or_default();
    if channels.len() == CHANNELS_MAX {
        return Err(Refused::bad("CannotCreateChannelConfig"));
    }
    channels.insert(id.clone(), policy);
    Ok(Reply::empty(StatusCode::CREATED).with("apns-channel-id", &id))
}

fn list(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    bundle: &str,
) -> Result<Reply, Refused> {
    if request.method != Method::GET {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
    }
    authorize(shared, environment, connection, request, bundle)?;
    let ids = shared.apns.channels.ids(environment, bundle);
    Ok(Reply::json(StatusCode::OK, &json!({ "channels": ids })))
}

fn channel_id(request: &Request) -> Result<&str, Refused> {
    let id = request.headers.get("apns-channel-id").ok_or(Refused::bad("MissingChannelId"))?;
    id.to_str().ok().filter(|id| is_id(id)).ok_or(Refused::bad("BadChannelId"))
}

fn broadcast(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    (bundle, id): (&str, &str),
) -> Judged {
    let channel = request.header("apns-channel-id").unwrap_or_default();
    let target = format!("{TARGET_PREFIX}{bundle}/{channel}");
    let mut message: Message = payload::message(id, request);
    message.topic = Some(bundle.to_owned());
    message.app = shared.targets.owner(bundle).map(|app| app.name.clone());
    match check(shared, environment, connection, request, bundle) {
        Ok(()) => {
            message.activity = activity::read(&payload::json_of(request), &target);
            let mut reply = Reply::empty(StatusCode::OK).with("apns-request-id", id);
            if environment == ApnsEnvironment::Sandbox {
                reply = reply.with("apns-unique-id", &uuid(shared));
            }
            Judged::Valid { target, message: Box::new(message), reply }
        }
        Err(refused) => {
            let reply = refusal(&refused).with("apns-request-id", id);
            Judged::Refused { target, message: Box::new(message), reply, reason: refused.reason.to_owned() }
        }
    }
}

fn check(
    shared: &Shared,
    environment: ApnsEnvironment,
    connection: &Connection,
    request: &Request,
    bundle: &str,
) -> Result<(), Refused> {
    if request.method != Method::POST {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
    }
    headers::check_single(request)?;
    authorize(shared, environment, connection, request, bundle)?;
    let id = channel_id(request)?;
    let policy = shared.apns.channels.policy(environment, bundle, id);
    let policy = policy.ok_or(Refused::bad("ChannelNotRegistered"))?;
    let request_id = request.headers.get("apns-request-id");
    if request_id.is_some_and(|id| !id.to_str().is_ok_and(headers::is_uuid)) {
        return Err(Refused::bad("BadMessageId"));
    }
    match request.headers.get("apns-push-type").map(|name| name.to_str()) {
        None => return Err(Refused::bad("MissingPushType")),
        Some(Ok(name)) if name.eq_ignore_ascii_case("liveactivity") => {}
        Some(_) => return Err(Refused::bad("InvalidPushType")),
    }
    if !matches!(request.header("apns-priority"), Some("1" | "5" | "10")) {
        return Err(Refused::bad("BadPriority"));
    }
    let expiration = request.header("apns-expiration").and_then(headers::expiration);
    match expiration {
        Some(0) => {}
        Some(_) if policy == Policy::LastIsStored => {}
        Some(_) | None => return Err(Refused::bad("BadExpirationDate")),
    }
    let payload = payload::read(request, payload::BROADCAST_BYTES)?;
    activity::check(&payload, None)
}
