//! The push service's other end, for browsers that really are connected: Mozilla's protocol between Firefox and its push
//! server, JSON over a WebSocket, as "Push service architecture" of autopush documents it. What goes to a browser is
//! passed on as it came; only the browser can decrypt it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{
        State,
        ws::{Message as Frame, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{shared::Shared, target::hex, token};

/// How many browsers are remembered; the one with the lowest id is forgotten first.
const BROWSERS_MAX: usize = 256;
/// How many messages wait for a browser; the oldest is dropped first.
const WAITING_MAX: usize = 64;
const SUBSCRIPTIONS_MAX: usize = 256;
const FRAME_BYTES: usize = 64 * 1024;

/// A browser and what became of its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectedBrowser {
    /// Its name with the push service.
    pub id: String,
    /// The endpoints of its subscriptions.
    pub endpoints: Vec<String>,
    /// Messages that it handed to a page's worker, or showed.
    pub delivered: u32,
    /// Messages that it could not decrypt.
    pub undecryptable: u32,
    /// Messages that the page failed at.
    pub failed: u32,
}

/// All browsers.
#[derive(Debug, Default)]
pub(super) struct Browsers {
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Endpoints by the browser's own names for them.
    subscriptions: BTreeMap<String, String>,
    waiting: VecDeque<String>,
    /// How many messages there were; the number names the last one.
    sent: u64,
    arrived: Arc<Notify>,
    told: ConnectedBrowser,
}

/// What a browser says.
#[derive(Debug, Deserialize)]
#[serde(tag = "messageType", rename_all = "snake_case")]
enum Said {
    Hello {
        #[serde(default)]
        uaid: Option<String>,
    },
    Register {
        #[serde(rename = "channelID")]
        channel_id: String,
        #[serde(default)]
        key: Option<String>,
    },
    Unregister {
        #[serde(rename = "channelID")]
        channel_id: String,
    },
    Ack {
        updates: Vec<Update>,
    },
    Nack {},
    BroadcastSubscribe {},
    Ping {},
}

#[derive(Debug, Deserialize)]
struct Update {
    #[serde(default)]
    code: u32,
}

impl Browsers {
    /// Hands a message to the browser that has the subscription.
    pub(super) fn push(&self, channel_id: &str, encoding: Option<&str>, body: &[u8]) {
        let mut known = self.known();
        let Some(browser) = known.values_mut().find(|browser| browser.subscriptions.contains_key(channel_id)) else {
            return;
        };
        browser.sent += 1;
        let version = browser.sent.to_string();
        let mut message = json!({ "messageType": "notification", "channelID": channel_id, "version": version });
        if !body.is_empty() {
            message["data"] = token::text(body).into();
            message["headers"] = json!({ "encoding": encoding.unwrap_or("aes128gcm") });
        }
        if browser.waiting.len() == WAITING_MAX {
            browser.waiting.pop_front();
        }
        browser.waiting.push_back(message.to_string());
        browser.arrived.notify_one();
    }

    pub(super) fn all(&self) -> Vec<ConnectedBrowser> {
        let tell = |(id, browser): (&String, &Known)| {
            let endpoints = browser.subscriptions.values().cloned().collect();
            ConnectedBrowser { id: id.clone(), endpoints, ..browser.told.clone() }
        };
        self.known().iter().map(tell).collect()
    }

    /// A known browser keeps its name; it may not choose one.
    fn hello(&self, uaid: Option<String>, shared: &Shared) -> (String, Arc<Notify>) {
        let mut known = self.known();
        let id = uaid.filter(|uaid| known.contains_key(uaid)).unwrap_or_else(|| hex::<16>(&shared.entropy));
        if known.len() == BROWSERS_MAX && !known.contains_key(&id) {
            known.pop_first();
        }
        let arrived = Arc::clone(&known.entry(id.clone()).or_default().arrived);
        (id, arrived)
    }

    fn with<T>(&self, id: &str, change: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.known().get_mut(id).map(change)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /autopush`: a browser connects.
pub(super) async fn connect(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(FRAME_BYTES)
        .protocols(["push-notification"])
        .on_upgrade(move |socket| converse(shared, socket))
}

/// Talks until one of both ends it.
async fn converse(shared: Arc<Shared>, mut socket: WebSocket) {
    let mut browser: Option<(String, Arc<Notify>)> = None;
    loop {
        let waiting = browser.as_ref().and_then(|(id, _)| shared.browsers.with(id, |known| known.waiting.pop_front()));
        if let Some(message) = waiting.flatten() {
            if socket.send(Frame::Text(message.into())).await.is_err() {
                return;
            }
            continue;
        }
        let arrived = async {
            match &browser {
                Some((_, arrived)) => arrived.notified().await,
                None => std::future::pending().await,
            }
        };
        let frame = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = arrived => continue,
            frame = socket.recv() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        let Frame::Text(text) = frame else { continue };
        // An empty object asks whether somebody is there.
        let reply = if text.trim() == "{}" { Some(json!({})) } else { answer(&shared, &mut browser, &text) };
        if let Some(reply) = reply
            && socket.send(Frame::Text(reply.to_string().into())).await.is_err()
        {
            return;
        }
    }
}

fn answer(shared: &Shared, browser: &mut Option<(String, Arc<Notify>)>, text: &str) -> Option<Value> {
    let said: Said = serde_json::from_str(text).ok()?;
    if let Said::Hello { uaid } = said {
        let (id, arrived) = shared.browsers.hello(uaid, shared);
        let reply = json!({
            "messageType": "hello", "uaid": id, "status": 200, "use_webpush": true, "broadcasts": {},
        });
        *browser = Some((id, arrived));
        return Some(reply);
    }
    let (id, _) = browser.as_ref()?;
    match said {
        Said::Register { channel_id, key } => Some(register(shared, id, &channel_id, key.as_deref())),
        Said::Unregister { channel_id } => {
            let ended = shared.browsers.with(id, |known| known.subscriptions.remove(&channel_id)).flatten();
            if let Some(endpoint) = ended {
                let gone = super::Behaviour::Unregistered { since: None };
                shared.targets.set_behaviour(&endpoint, gone, shared.clock.now());
            }
            Some(json!({ "messageType": "unregister", "channelID": channel_id, "status": 200 }))
        }
        Said::Ack { updates } => {
            shared.browsers.with(id, |known| updates.iter().for_each(|update| known.told.count(update.code)));
            None
        }
        Said::Ping {} => Some(json!({ "messageType": "ping" })),
        Said::Hello { .. } | Said::Nack {} | Said::BroadcastSubscribe {} => None,
    }
}

/// Subscriptions are bound to an application server's key, and only those of the sandbox's apps are known.
fn register(shared: &Shared, id: &str, channel_id: &str, key: Option<&str>) -> Value {
    let key = key.map(|key| key.trim_end_matches('=')).and_then(token::bytes);
    let app = key.and_then(|key| shared.apps.find(|app| app.vapid_public == key));
    let full = shared.browsers.with(id, |known| known.subscriptions.len() >= SUBSCRIPTIONS_MAX) != Some(false);
    let (Some(app), false) = (app, full || shared.targets.problem().is_some()) else {
        return json!({ "messageType": "register", "channelID": channel_id, "status": 400 });
    };
    let endpoint = shared.targets.register_browser(&shared.entropy, &app, &shared.endpoints.webpush, channel_id);
    shared.browsers.with(id, |known| known.subscriptions.insert(channel_id.to_owned(), endpoint.clone()));
    json!({ "messageType": "register", "channelID": channel_id, "status": 200, "pushEndpoint": endpoint })
}

impl ConnectedBrowser {
    /// The codes that autopush defines.
    fn count(&mut self, code: u32) {
        match code {
            101 => self.undecryptable += 1,
            102 => self.failed += 1,
            0..=100 | 103.. => self.delivered += 1,
        }
    }
}
