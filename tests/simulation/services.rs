//! The push services as the node's transport meets them: they read what real encoders wrote, and take it, lose it,
//! refuse it or dawdle, as the storm and the seed will have it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request as HttpRequest, StatusCode};
use parvis::{
    clock::Clock,
    delivery::{
        Reply,
        transport::{Error, Peer, Transport},
    },
};
use parvis_engine::{notification::Channel, time::Timestamp};
use serde_json::{Value, json};

use crate::{
    browser,
    chance::Dice,
    log::{Fate, Log, Request, What},
    power::Power,
    storm::{Mood, Storm},
};

/// How long a client waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The network of one node; the services behind it outlive the node.
pub(crate) struct Services {
    pub(crate) node: usize,
    /// The true time.
    pub(crate) clock: Clock,
    /// What the node takes for it.
    pub(crate) own_clock: Clock,
    pub(crate) dice: Dice,
    pub(crate) power: Power,
    pub(crate) storm: Arc<Storm>,
    /// Since when targets are gone.
    pub(crate) gone: Arc<BTreeMap<String, Timestamp>>,
    pub(crate) log: Log,
}

#[async_trait]
impl Transport for Services {
    async fn send(&self, request: HttpRequest<Bytes>, peer: Peer) -> Result<Reply, Error> {
        self.power.pass().await;
        self.clock.sleep(self.dice.span(0.002, 0.05)).await;
        let channel = match peer {
            Peer::Issuer => return self.issue().await,
            Peer::Apns => Channel::Apns,
            Peer::Fcm => Channel::Fcm,
            Peer::Subscription => Channel::WebPush,
            Peer::Webhook { .. } => panic!("nobody is told"),
        };
        let request = read(channel, &request);
        let mood = self.storm.mood(channel, self.clock.now());
        let fate = self.fate(&request.target, mood);
        if fate != Fate::Lost {
            let told = self.own_clock.now();
            self.log.add(What::Requested { request: request.clone(), fate, node: self.node, told });
        }
        self.clock.sleep(self.delay(mood, fate)).await;
        self.power.pass().await;
        let reply = match fate {
            Fate::AcceptedUnheard | Fate::Lost if self.dice.chance(0.5) => Err(Error::Timeout),
            Fate::AcceptedUnheard | Fate::Lost => Err(Error::Closed("reset".to_owned())),
            Fate::Accepted | Fate::Gone | Fate::Refused | Fate::Throttled(_) | Fate::Broken | Fate::Stale => {
                Ok(self.reply(&request, fate))
            }
        };
        self.log.add(What::Replied { request, fate });
        reply
    }
}

impl Services {
    fn fate(&self, target: &str, mood: Mood) -> Fate {
        let now = self.clock.now();
        let dice = self.dice.between(0.0, 1.0);
        if mood == Mood::Down {
            return if dice < 0.5 { Fate::Lost } else { Fate::Broken };
        }
        if self.gone.get(target).is_some_and(|since| *since <= now) {
            return Fate::Gone;
        }
        let (unheard, lost, throttled, broken, refused, stale) = match mood {
            _ if self.storm.is_calm(now) => (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            Mood::Busy => (0.02, 0.02, 0.6, 0.1, 0.01, 0.02),
            Mood::Slow => (0.3, 0.1, 0.05, 0.05, 0.01, 0.02),
            Mood::Well | Mood::Down => (0.02, 0.02, 0.02, 0.02, 0.01, 0.02),
        };
        let steps = [
            (unheard, Fate::AcceptedUnheard),
            (lost, Fate::Lost),
            (throttled, Fate::Throttled(1 + (dice * 1e6) as u64 % 60)),
            (broken, Fate::Broken),
            (refused, Fate::Refused),
            (stale, Fate::Stale),
        ];
        let mut below = 0.0;
        for (share, fate) in steps {
            below += share;
            if dice < below {
                return fate;
            }
        }
        Fate::Accepted
    }

    fn delay(&self, mood: Mood, fate: Fate) -> Duration {
        match (fate, mood) {
            (Fate::AcceptedUnheard | Fate::Lost, _) => PATIENCE,
            (_, Mood::Slow) => self.dice.span(0.5, 9.5),
            (_, Mood::Well | Mood::Busy | Mood::Down) => self.dice.span(0.005, 0.4),
        }
    }

    /// An access token, unless Google is in a bad mood.
    async fn issue(&self) -> Result<Reply, Error> {
        if self.storm.mood(Channel::Fcm, self.clock.now()) == Mood::Down && self.dice.chance(0.7) {
            self.clock.sleep(PATIENCE).await;
            return Err(Error::Timeout);
        }
        self.power.pass().await;
        let token = format!("token-{}", self.clock.now().as_millis());
        Ok(reply(StatusCode::OK, &json!({ "access_token": token, "expires_in": 3_599, "token_type": "Bearer" })))
    }

    fn reply(&self, request: &Request, fate: Fate) -> Reply {
        match request.channel {
            Channel::Apns => self.apns(&request.target, fate),
            Channel::Fcm => fcm(fate),
            Channel::WebPush => webpush(fate),
            Channel::Webhook => panic!("no service"),
        }
    }

    fn apns(&self, target: &str, fate: Fate) -> Reply {
        let reason = |reason: &str| json!({ "reason": reason });
        match fate {
            Fate::Accepted | Fate::AcceptedUnheard => reply(StatusCode::OK, &Value::Null),
            Fate::Gone => {
                let since = self.gone.get(target).map(|since| since.as_millis());
                reply(StatusCode::GONE, &json!({ "reason": "Unregistered", "timestamp": since }))
            }
            Fate::Refused => reply(StatusCode::PAYLOAD_TOO_LARGE, &reason("PayloadTooLarge")),
            Fate::Throttled(wait_s) => later(reply(StatusCode::TOO_MANY_REQUESTS, &reason("TooManyRequests")), wait_s),
            Fate::Stale => reply(StatusCode::FORBIDDEN, &reason("ExpiredProviderToken")),
            Fate::Broken | Fate::Lost => reply(StatusCode::SERVICE_UNAVAILABLE, &reason("ServiceUnavailable")),
        }
    }
}

fn fcm(fate: Fate) -> Reply {
    let error = |status: StatusCode, name: &str, code: Option<&str>| {
        let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
        let details: Vec<Value> = code.map(|code| json!({ "@type": kind, "errorCode": code })).into_iter().collect();
        reply(status, &json!({ "error": { "code": status.as_u16(), "status": name, "details": details } }))
    };
    match fate {
        Fate::Accepted | Fate::AcceptedUnheard => {
            reply(StatusCode::OK, &json!({ "name": "projects/simulation/messages/1" }))
        }
        Fate::Gone => error(StatusCode::NOT_FOUND, "NOT_FOUND", Some("UNREGISTERED")),
        Fate::Refused => error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT")),
        Fate::Throttled(wait_s) => {
            later(error(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")), wait_s)
        }
        Fate::Stale => error(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", None),
        Fate::Broken | Fate::Lost => error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", Some("UNAVAILABLE")),
    }
}

fn webpush(fate: Fate) -> Reply {
    let status = match fate {
        Fate::Accepted | Fate::AcceptedUnheard => StatusCode::CREATED,
        Fate::Gone => StatusCode::GONE,
        Fate::Refused => StatusCode::PAYLOAD_TOO_LARGE,
        Fate::Throttled(wait_s) => return later(reply(StatusCode::TOO_MANY_REQUESTS, &Value::Null), wait_s),
        Fate::Stale | Fate::Broken | Fate::Lost => StatusCode::BAD_GATEWAY,
    };
    reply(status, &Value::Null)
}

fn reply(status: StatusCode, body: &Value) -> Reply {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    Reply { status, headers: HeaderMap::new(), body }
}

fn later(mut reply: Reply, wait_s: u64) -> Reply {
    reply.headers.insert(http::header::RETRY_AFTER, HeaderValue::from(wait_s));
    reply
}

/// What a push service reads.
fn read(channel: Channel, request: &HttpRequest<Bytes>) -> Request {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let last = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("the body is JSON") };
    let (target, id, collapse, text) = match channel {
        Channel::Apns => {
            let body = json(request.body());
            (last, header("apns-id"), header("apns-collapse-id"), body["aps"]["alert"].clone())
        }
        Channel::Fcm => {
            let message = json(request.body())["message"].clone();
            let text = message["notification"].clone();
            (
                word(&message["token"]),
                word(&message["data"]["notification_id"]),
                word(&message["android"]["collapse_key"]),
                text,
            )
        }
        Channel::WebPush => {
            let shown = json(&browser::decrypt(request.body()))["notification"].clone();
            (last, word(&shown["data"]["notification_id"]), header("topic"), shown)
        }
        Channel::Webhook => panic!("no service"),
    };
    Request {
        channel,
        target,
        id: id.parse().expect("every request names its notification"),
        collapse,
        campaign: word(&text["title"]),
        body: word(&text["body"]),
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
