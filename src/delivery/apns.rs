//! Apple Push Notification service: its HTTP/2 provider API, with tokens or a certificate.
//!
//! Source: Apple, "Sending notification requests to APNs" and "Sending broadcast push notification requests to APNs".

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header::AUTHORIZATION, request::Builder};
use parvis_engine::{
    notification::{Address, Channel, Notification, PushKind},
    problem::Problem,
    retry::Outcome,
    shopper::{ApnsEnvironment, PushTarget},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Meaning, Provider, Reply, base_url, epoch_s, rejected, transport::Identity};
use crate::clock::Clock;

pub mod channels;
mod credential;
mod payload;
mod push;
mod refusal;

use channels::Channels;
pub(super) use credential::TOKEN_LIMITS;
pub use credential::{Credential, TeamKey};

/// Apple's limit for a broadcast's payload.
const BROADCAST_BYTES_MAX: usize = 5120;
/// Apple's limit.
const COLLAPSE_BYTES_MAX: usize = 64;
/// Device tokens have 64 digits today, others up to 200; Apple asks not to rely on a length.
const TOKEN_DIGITS_MAX: usize = 512;
/// Apple's limit for bundle ids.
const BUNDLE_BYTES_MAX: usize = 155;

/// How Apple's service is reached: with `key`, `key_id` and `team_id`, or with `certificate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The .p8 file of the authentication key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The key's id, ten characters.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The developer team's id, ten characters.
    #[serde(default)]
    pub team_id: Option<String>,
    /// The .p8 file of a key for the sandbox alone, if `key` is for production alone.
    #[serde(default)]
    pub sandbox_key: Option<PathBuf>,
    /// That key's id.
    #[serde(default)]
    pub sandbox_key_id: Option<String>,
    /// PEM file of a push certificate and its chain, instead of keys.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key, if it is not in the certificate's file.
    #[serde(default)]
    pub certificate_key: Option<PathBuf>,
    /// Where tokens of apps from the store are sent to.
    #[serde(default = "production_url")]
    pub production_url: String,
    /// Where tokens of development builds are sent to.
    #[serde(default = "sandbox_url")]
    pub sandbox_url: String,
    /// Where broadcast channels of apps from the store are managed.
    #[serde(default = "channels::production_url")]
    pub channels_production_url: String,
    /// Where broadcast channels of development builds are managed.
    #[serde(default = "channels::sandbox_url")]
    pub channels_sandbox_url: String,
    /// The name of the app's `ActivityAttributes` type that shows an order.
    #[serde(default = "live_activity_type")]
    pub live_activity_type: String,
    /// The least wait after a server error that names no time.
    #[serde(default = "server_error_wait", with = "parvis_engine::time::duration")]
    pub server_error_wait: Duration,
    /// The most requests in flight.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
}

fn production_url() -> String {
    "https://api.push.apple.com".to_owned()
}

fn sandbox_url() -> String {
    "https://api.sandbox.push.apple.com".to_owned()
}

fn live_activity_type() -> String {
    "OrderAttributes".to_owned()
}

/// Apple asks for a quarter of an hour. Order news would then come too late for one request that failed; a service that
/// is down as a whole is spared by the courier.
fn server_error_wait() -> Duration {
    Duration::from_secs(60)
}

/// Somewhat below the 1,000 streams that Apple announces on a connection.
fn concurrency() -> usize {
    900
}

/// Speaks Apple's provider API.
pub struct Apns {
    production_url: String,
    sandbox_url: String,
    live_activity_type: String,
    server_error_wait: Duration,
    identity: Option<Arc<Identity>>,
    channels: Channels,
}

/// What is made of a configuration.
pub struct Built {
    /// Speaks to the service.
    pub provider: Apns,
    /// What makes the bearers of its requests, or the certificate that they carry.
    pub credential: Credential,
}

/// Reads the key or the certificate.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn build(config: &Config, base: &Path, clock: Clock) -> Result<Built, Vec<Problem>> {
    let mut problems = Vec::new();
    let credential = credential::load(config, base, &clock, &mut problems);
    let is_type = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if config.live_activity_type.is_empty() || !config.live_activity_type.bytes().all(is_type) {
        let message = format!("{:?} is not the name of a Swift type", config.live_activity_type);
        problems.push(Problem::new("/live_activity_type", message));
    }
    let identity = match &credential {
        Some(Credential::Certificate(identity)) => Some(Arc::clone(identity)),
        Some(Credential::Keys { .. }) | None => None,
    };
    let mut url = |text: &str, path: &str| base_url(text, path, &mut problems);
    let provider = Apns {
        production_url: url(&config.production_url, "/production_url"),
        sandbox_url: url(&config.sandbox_url, "/sandbox_url"),
        live_activity_type: config.live_activity_type.clone(),
        server_error_wait: config.server_error_wait,
        channels: Channels::new(
            url(&config.channels_production_url, "/channels_production_url"),
            url(&config.channels_sandbox_url, "/channels_sandbox_url"),
            identity.clone(),
        ),
        identity,
    };
    match credential {
        Some(credential) if problems.is_empty() => Ok(Built { provider, credential }),
        Some(_) | None => Err(problems),
    }
}

/// A broadcast channel.
#[derive(Clone, Copy)]
struct Broadcast<'a> {
    bundle: &'a str,
    channel: &'a str,
    environment: ApnsEnvironment,
    stored: bool,
}

impl Apns {
    fn to_device(
        &self,
        notification: &Notification,
        (token, topic, environment): (&str, &str, ApnsEnvironment),
        bearer: &str,
    ) -> Result<Request<Bytes>, Outcome> {
        if token.is_empty() || token.len() > TOKEN_DIGITS_MAX || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Outcome::Unregistered { since: None, reason: "BadDeviceToken".to_owned() });
        }
        let collapse = notification.collapse.as_bytes();
        if collapse.len() > COLLAPSE_BYTES_MAX || !collapse.iter().all(u8::is_ascii_graphic) {
            return Err(rejected("BadCollapseId"));
        }
        let push = payload::for_device(notification, payload::is_activity(topic), &self.live_activity_type)?;
        if push.payload.len() > push::bytes_max(push.kind) {
            return Err(rejected("PayloadTooLarge"));
        }
        // Zero means a single attempt.
        let expiration = if push::is_for_the_moment(push.kind) { 0 } else { epoch_s(notification.expires_at).max(1) };
        let url = format!("{}/3/device/{token}", self.base(environment));
        let mut request = self
            .post(&url, bearer)
            .header("apns-push-type", push.kind.name())
            .header("apns-topic", push::topic(push.kind, topic))
            .header("apns-id", notification.id.to_string())
            .header("apns-expiration", expiration)
            .header("apns-priority", push::priority(push.kind, push.priority));
        // An activity's token is for one activity, and what it shows is one thing.
        if !notification.collapse.is_empty() && push.kind != PushKind::LiveActivity {
            request = request.header("apns-collapse-id", &notification.collapse);
        }
        // The topic is the only header that a client wrote.
        request.body(push.payload.into()).map_err(|_| rejected("BadTopic"))
    }

    fn to_channel(
        &self,
        notification: &Notification,
        broadcast: Broadcast<'_>,
        bearer: &str,
    ) -> Result<Request<Bytes>, Outcome> {
        if !is_bundle(broadcast.bundle) {
            return Err(rejected("BadTopic"));
        }
        let push = payload::for_channel(notification, &self.live_activity_type)?;
        if push.payload.len() > BROADCAST_BYTES_MAX {
            return Err(rejected("PayloadTooLarge"));
        }
        // Apple refuses any other time where the channel stores nothing.
        let expiration = if broadcast.stored { epoch_s(notification.expires_at).max(1) } else { 0 };
        let url = format!("{}/4/broadcasts/apps/{}", self.base(broadcast.environment), broadcast.bundle);
        self.post(&url, bearer)
            .header("apns-channel-id", broadcast.channel)
            .header("apns-push-type", push.kind.name())
            .header("apns-request-id", notification.id.to_string())
            .header("apns-expiration", expiration)
            .header("apns-priority", push::priority(push.kind, push.priority))
            .body(push.payload.into())
            .map_err(|_| rejected("BadChannelId"))
    }

    fn base(&self, environment: ApnsEnvironment) -> &str {
        match environment {
            ApnsEnvironment::Production => &self.production_url,
            ApnsEnvironment::Sandbox => &self.sandbox_url,
        }
    }

    fn post(&self, url: &str, bearer: &str) -> Builder {
        let request = Request::post(url);
        if self.identity.is_some() { request } else { request.header(AUTHORIZATION, format!("bearer {bearer}")) }
    }
}

/// What can stand in a path: Apple allows letters, digits, hyphens and periods.
pub(crate) fn is_bundle(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !text.is_empty() && text.len() <= BUNDLE_BYTES_MAX && text.bytes().all(fits) && !text.starts_with('.')
}

impl Provider for Apns {
    fn channel(&self) -> Channel {
        Channel::Apns
    }

    fn request(
        &self,
        notification: &Notification,
        address: &Address,
        bearer: &str,
        _now: Timestamp,
    ) -> Result<Request<Bytes>, Outcome> {
        let mut request = match address {
            Address::Target(PushTarget::Apns { token, topic, environment }) => {
                self.to_device(notification, (token, topic, *environment), bearer)?
            }
            Address::ApnsChannel { bundle, channel, environment, stored } => {
                let broadcast = Broadcast { bundle, channel, environment: *environment, stored: *stored };
                self.to_channel(notification, broadcast, bearer)?
            }
            Address::Target(PushTarget::Fcm { .. } | PushTarget::WebPush { .. })
            | Address::FcmTopic { .. }
            | Address::FcmCondition { .. }
            | Address::Endpoint(_) => return Err(rejected("wrong_channel")),
        };
        if let Some(identity) = &self.identity {
            identity.present(&mut request);
        }
        Ok(request)
    }

    fn meaning(&self, reply: &Reply, now: Timestamp) -> Meaning {
        refusal::read(reply, now, self.server_error_wait)
    }

    fn wants_new_credential(&self, reply: &Reply) -> bool {
        self.identity.is_none() && refusal::is_expired_token(reply)
    }

    fn channels(&self) -> Option<&Channels> {
        Some(&self.channels)
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::{
        id::OrderId,
        notification::{Body, Cause, Custom, LiveEvent, Origin, Priority, Purpose},
        order::OrderState,
    };
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::delivery::Blame;
    use crate::delivery::testing;

    const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
    const CHANNEL: &str = "dHN0LXNyY2gtY2hubA==";

    fn provider() -> Apns {
        provider_with(None)
    }

    fn provider_with(identity: Option<Arc<Identity>>) -> Apns {
        Apns {
            production_url: production_url(),
            sandbox_url: sandbox_url(),
            live_activity_type: live_activity_type(),
            server_error_wait: server_error_wait(),
            channels: Channels::new(channels::production_url(), channels::sandbox_url(), identity.clone()),
            identity,
        }
    }

    fn target(token: &str, topic: &str, environment: ApnsEnvironment) -> Address {
        Address::Target(PushTarget::Apns { token: token.into(), topic: topic.into(), environment })
    }

    fn phone() -> Address {
        target(TOKEN, "com.example.shop", ApnsEnvironment::Production)
    }

    fn activity() -> Address {
        target(&TOKEN.repeat(2), "com.example.shop.push-type.liveactivity", ApnsEnvironment::Production)
    }

    fn broadcast(stored: bool) -> Address {
        Address::ApnsChannel {
            bundle: "com.example.shop".to_owned(),
            channel: CHANNEL.to_owned(),
            environment: ApnsEnvironment::Production,
            stored,
        }
    }

    fn request(notification: &Notification) -> Result<Request<Bytes>, Outcome> {
        sent(notification, &phone())
    }

    fn sent(notification: &Notification, address: &Address) -> Result<Request<Bytes>, Outcome> {
        provider().request(notification, address, "JWT", testing::now())
    }

    fn refused(notification: &Notification, address: &Address) -> String {
        let outcome = sent(notification, address).expect_err("refused");
        testing::meaning(&outcome).1.to_owned()
    }

    fn wire(notification: &Notification, address: &Address) -> String {
        testing::wire(&sent(notification, address).expect("a request"))
    }

    fn body(request: &Request<Bytes>) -> Value {
        serde_json::from_slice(request.body()).expect("JSON")
    }

    fn custom(push: PushKind, apns: Option<Value>) -> Notification {
        let apns = apns.map(|given| -> Map<String, Value> { given.as_object().expect("an object").clone() });
        let content = testing::offer().content().cloned();
        let custom = Custom { push, apns, content, ..Custom::default() };
        Notification { body: Body::Custom(Box::new(custom)), ..testing::offer() }
    }

    #[test]
    fn each_kind_on_the_wire() {
        insta::assert_snapshot!("offer", wire(&testing::offer(), &phone()));
        for event in [LiveEvent::Start, LiveEvent::Update, LiveEvent::End] {
            insta::assert_snapshot!(format!("live_{}", event.name()), wire(&testing::live(event), &activity()));
        }
        insta::assert_snapshot!("live_without_a_token", wire(&testing::live(LiveEvent::Start), &phone()));
        insta::assert_snapshot!("broadcast", wire(&testing::live(LiveEvent::Update), &broadcast(false)));
        insta::assert_snapshot!("broadcast_stored", wire(&testing::live(LiveEvent::End), &broadcast(true)));
    }

    #[test]
    fn each_push_type_on_the_wire() {
        for kind in PushKind::ALL {
            let given = match kind {
                PushKind::Mdm => Some(json!({ "mdm": "F0E1D2" })),
                PushKind::FileProvider => Some(json!({ "container-identifier": "root", "domain": "shop" })),
                PushKind::LiveActivity => Some(
                    json!({ "aps": { "event": "update", "timestamp": 1_700_000_000, "content-state": { "n": 1 } } }),
                ),
                PushKind::Alert
                | PushKind::Background
                | PushKind::Location
                | PushKind::Voip
                | PushKind::Complication
                | PushKind::PushToTalk
                | PushKind::Widgets
                | PushKind::Controls => None,
            };
            insta::assert_snapshot!(format!("type_{}", kind.name()), wire(&custom(kind, given), &phone()));
        }
    }

    #[test]
    fn priorities_are_those_that_a_push_type_has() {
        let priority = |push, priority| {
            let mut notification = custom(push, None);
            if let Body::Custom(custom) = &mut notification.body {
                custom.priority = priority;
            }
            sent(&notification, &phone()).expect("a request").headers()["apns-priority"].clone()
        };
        let asked = [Priority::High, Priority::Normal, Priority::Low];
        assert_eq!(asked.map(|it| priority(PushKind::Alert, it)), ["10", "5", "1"]);
        assert_eq!(asked.map(|it| priority(PushKind::Background, it)), ["5", "5", "5"]);
        assert_eq!(asked.map(|it| priority(PushKind::Voip, it)), ["10", "10", "10"]);
        assert_eq!(asked.map(|it| priority(PushKind::Widgets, it)), ["10", "5", "1"]);
        assert_eq!(asked.map(|it| push::priority(PushKind::LiveActivity, it)), ["10", "5", "5"]);
    }

    #[test]
    fn what_a_back_end_wrote_is_sent_as_it_is_if_apple_and_phones_take_it() {
        let given = json!({ "aps": { "alert": "Hi", "interruption-level": "time-sensitive" }, "x": [1, null] });
        let request = sent(&custom(PushKind::Alert, Some(given.clone())), &phone()).expect("a request");
        assert_eq!(body(&request), given);
        let activity = |aps: Value| (PushKind::LiveActivity, json!({ "aps": aps }));
        let state = json!({ "n": 1 });
        for ((kind, given), reason) in [
            ((PushKind::Alert, json!({ "x": 1 })), "PayloadEmpty"),
            ((PushKind::Mdm, json!({ "aps": 1 })), "PayloadEmpty"),
            ((PushKind::FileProvider, json!({})), "PayloadEmpty"),
            ((PushKind::Background, json!({ "aps": {} })), "not_a_background_payload"),
            (
                (PushKind::Background, json!({ "aps": { "content-available": 1, "sound": "x" } })),
                "not_a_background_payload",
            ),
            (activity(json!({ "event": "update", "content-state": state })), "not_a_live_activity_payload"),
            (activity(json!({ "event": "update", "timestamp": 1 })), "not_a_live_activity_payload"),
            (activity(json!({ "event": "pause", "timestamp": 1 })), "not_a_live_activity_payload"),
            (
                activity(json!({ "event": "start", "timestamp": 1, "content-state": state })),
                "not_a_live_activity_payload",
            ),
        ] {
            assert_eq!(refused(&custom(kind, Some(given.clone())), &phone()), reason, "{given}");
        }
        for kind in [PushKind::Mdm, PushKind::FileProvider, PushKind::LiveActivity] {
            assert_eq!(refused(&custom(kind, None), &phone()), "no_payload");
        }
    }

    #[test]
    fn each_push_type_has_its_size() {
        let sized = |kind, bytes: usize| {
            let empty = json!({ "aps": {}, "x": "" }).to_string().len();
            custom(kind, Some(json!({ "aps": {}, "x": "x".repeat(bytes - empty) })))
        };
        for (kind, bytes_max) in [(PushKind::Alert, 4096), (PushKind::Voip, 5120), (PushKind::PushToTalk, 4096)] {
            let fits = sent(&sized(kind, bytes_max), &phone()).expect("fits");
            assert_eq!(fits.body().len(), bytes_max);
            assert_eq!(refused(&sized(kind, bytes_max + 1), &phone()), "PayloadTooLarge");
        }
        let mut large = testing::live(LiveEvent::End);
        let Body::Live(live) = &mut large.body else { panic!("live") };
        live.state.store = Some("x".repeat(4500));
        assert_eq!(refused(&large, &activity()), "PayloadTooLarge");
        assert!(sent(&large, &broadcast(false)).is_ok(), "a broadcast may be larger");
        let Body::Live(live) = &mut large.body else { panic!("live") };
        live.state.store = Some("x".repeat(5120));
        assert_eq!(refused(&large, &broadcast(false)), "PayloadTooLarge");
    }

    #[test]
    fn a_live_activity_needs_its_token_and_words_to_begin() {
        let mut silent = testing::live(LiveEvent::Start);
        let Body::Live(live) = &mut silent.body else { panic!("live") };
        live.alert = None;
        assert_eq!(refused(&silent, &activity()), "no_alert");
        assert_eq!(refused(&silent, &phone()), "no_live_token");
        assert_eq!(refused(&testing::offer(), &activity()), "no_device_token");
        assert_eq!(refused(&testing::live(LiveEvent::Start), &broadcast(false)), "broadcast_cannot_start");
        assert_eq!(refused(&testing::offer(), &broadcast(false)), "not_a_live_activity");
        let start = json!({ "aps": { "event": "start" } });
        assert_eq!(refused(&custom(PushKind::LiveActivity, Some(start)), &broadcast(false)), "broadcast_cannot_start");
    }

    #[test]
    fn a_channel_of_nonsense_is_not_called() {
        let with = |bundle: &str, channel: &str| Address::ApnsChannel {
            bundle: bundle.to_owned(),
            channel: channel.to_owned(),
            environment: ApnsEnvironment::Sandbox,
            stored: false,
        };
        let update = testing::live(LiveEvent::Update);
        assert_eq!(refused(&update, &with("../x", CHANNEL)), "BadTopic");
        assert_eq!(refused(&update, &with("com.example.shop", "a\r\nb")), "BadChannelId");
        let request = sent(&update, &with("com.example.shop", CHANNEL)).expect("a request");
        assert_eq!(request.uri().host(), Some("api.sandbox.push.apple.com"));
    }

    #[test]
    fn a_certificate_travels_with_each_request_and_no_token_does() {
        let made = rcgen::generate_simple_self_signed(["com.example.shop".to_owned()]).expect("a certificate");
        let identity =
            Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).expect("one");
        let provider = provider_with(Some(Arc::new(identity)));
        let place = channels::Place { bundle: "com.example.shop".to_owned(), environment: ApnsEnvironment::Production };
        let update = testing::live(LiveEvent::Update);
        for request in [
            provider.request(&testing::offer(), &phone(), "", testing::now()).expect("a request"),
            provider.request(&update, &broadcast(false), "", testing::now()).expect("a request"),
            provider.channels.list(&place, "").expect("a request"),
        ] {
            assert!(Identity::of(&request).is_some());
            assert!(!request.headers().contains_key(AUTHORIZATION));
        }
        let expired = testing::reply(403, &[], r#"{"reason":"ExpiredProviderToken"}"#);
        assert!(!provider.wants_new_credential(&expired), "there is none");
        assert!(Identity::of(&request(&testing::offer()).expect("a request")).is_none());
    }

    #[test]
    fn order_news_are_grouped_by_order_and_development_builds_go_to_the_sandbox() {
        let mut notification = testing::offer();
        let order: OrderId = "O-7".parse().expect("an id");
        notification.origin = Origin::Campaign {
            campaign: "order-news".parse().expect("an id"),
            purpose: Purpose::Order,
            cause: Cause::Order { order, state: OrderState::Shipped },
        };
        let target = target(TOKEN, "com.example.shop", ApnsEnvironment::Sandbox);
        let request = provider().request(&notification, &target, "JWT", testing::now()).expect("a request");
        assert_eq!(request.uri().host(), Some("api.sandbox.push.apple.com"));
        assert_eq!(body(&request)["aps"]["thread-id"], "O-7");
    }

    #[test]
    fn what_cannot_be_sent_is_not_sent() {
        let mut fits = testing::offer();
        let rest = 4096 - request(&fits).expect("fits").body().len();
        testing::content(&mut fits).body.push_str(&"x".repeat(rest));
        assert_eq!(request(&fits).expect("fits").body().len(), 4096);
        testing::content(&mut fits).body.push('x');
        assert_eq!(request(&fits).err(), Some(Outcome::Rejected { reason: "PayloadTooLarge".to_owned() }));

        for token in ["", "../../evil", "zz", "0 1", &"0".repeat(TOKEN_DIGITS_MAX + 1)] {
            let target = target(token, "com.example.shop", ApnsEnvironment::Production);
            let outcome = provider().request(&testing::offer(), &target, "JWT", testing::now()).err();
            assert!(matches!(outcome, Some(Outcome::Unregistered { since: None, .. })), "{token:?}");
        }
        let target = target(TOKEN, "com.example\r\nx-evil: 1", ApnsEnvironment::Production);
        assert_eq!(refused(&testing::offer(), &target), "BadTopic");
        for collapse in ["x".repeat(65), "x\r\ny".to_owned()] {
            let notification = Notification { collapse, ..testing::offer() };
            assert_eq!(request(&notification).err(), Some(Outcome::Rejected { reason: "BadCollapseId".to_owned() }));
        }
    }

    #[test]
    fn replies_have_a_meaning() {
        use Blame::{Message, Operator, Provider as Service, Setup};
        let table = [
            (400, "BadCollapseId", "rejected", Message),
            (400, "BadDeviceToken", "unregistered", Message),
            (400, "BadExpirationDate", "rejected", Message),
            (400, "BadMessageId", "rejected", Message),
            (400, "BadPriority", "rejected", Message),
            (400, "BadTopic", "unavailable", Setup),
            (400, "DeviceTokenNotForTopic", "rejected", Message),
            (400, "DuplicateHeaders", "rejected", Message),
            (400, "IdleTimeout", "unavailable", Service),
            (400, "InvalidPushType", "rejected", Message),
            (400, "MissingDeviceToken", "rejected", Message),
            (400, "MissingTopic", "unavailable", Setup),
            (400, "PayloadEmpty", "rejected", Message),
            (400, "TopicDisallowed", "unavailable", Setup),
            (400, "MissingChannelId", "rejected", Message),
            (400, "BadChannelId", "unregistered", Message),
            (400, "ChannelNotRegistered", "unregistered", Message),
            (404, "ChannelNotRegistered", "unregistered", Message),
            (400, "CannotCreateChannelConfig", "rejected", Message),
            (400, "MissingPushType", "rejected", Message),
            (400, "FeatureNotEnabled", "unavailable", Setup),
            (403, "FeatureNotEnabled", "unavailable", Setup),
            (400, "SomethingNew", "rejected", Message),
            (403, "BadCertificate", "unavailable", Operator),
            (403, "BadCertificateEnvironment", "unavailable", Setup),
            (403, "BadEnvironmentKeyIdInToken", "unavailable", Setup),
            (403, "ExpiredProviderToken", "unavailable", Operator),
            (403, "Forbidden", "rejected", Message),
            (403, "InvalidProviderToken", "unavailable", Operator),
            (403, "MissingProviderToken", "unavailable", Operator),
            (403, "UnrelatedKeyIdInToken", "unavailable", Operator),
            (403, "SomethingNew", "unavailable", Operator),
            (404, "BadPath", "unavailable", Operator),
            (405, "MethodNotAllowed", "unavailable", Operator),
            (410, "ExpiredToken", "unregistered", Message),
            (410, "Unregistered", "unregistered", Message),
            (413, "PayloadTooLarge", "rejected", Message),
            (429, "TooManyProviderTokenUpdates", "unavailable", Operator),
            (429, "TooManyRequests", "throttled", Message),
            (429, "SomethingNew", "throttled", Service),
            (500, "InternalServerError", "unavailable", Service),
            (503, "ServiceUnavailable", "unavailable", Service),
            (503, "Shutdown", "unavailable", Service),
        ];
        for (status, word, meaning, blame) in table {
            let reply = testing::reply(status, &[], &json!({ "reason": word }).to_string());
            let outcome = provider().meaning(&reply, testing::now()).outcome;
            assert_eq!(testing::meaning(&outcome), (meaning, word), "{status} {word}");
            assert_eq!(provider().meaning(&reply, testing::now()).blame, Some(blame), "{status} {word}");
        }
        let taken = testing::reply(200, &[], "");
        assert_eq!(
            (provider().meaning(&taken, testing::now()).outcome, provider().meaning(&taken, testing::now()).blame),
            (Outcome::Accepted, None)
        );
    }

    #[test]
    fn a_target_that_is_gone_says_since_when() {
        let reply = testing::reply(410, &[], r#"{"reason":"Unregistered","timestamp":1699999999000}"#);
        let since = Some(Timestamp::from_millis(1_699_999_999_000));
        assert_eq!(
            provider().meaning(&reply, testing::now()).outcome,
            Outcome::Unregistered { since, reason: "Unregistered".to_owned() }
        );
    }

    #[test]
    fn waits_are_what_apple_asked_for_or_advises() {
        let wait = |status, word: &str, headers: &[(&str, &str)]| {
            let reply = testing::reply(status, headers, &json!({ "reason": word }).to_string());
            match provider().meaning(&reply, testing::now()).outcome {
                Outcome::Throttled { retry_after, .. } | Outcome::Unavailable { retry_after, .. } => {
                    retry_after.map(|wait| wait.as_secs())
                }
                Outcome::Accepted | Outcome::Unregistered { .. } | Outcome::Rejected { .. } => panic!("{word}"),
            }
        };
        let asked = [("retry-after", "7")];
        assert_eq!(wait(429, "TooManyRequests", &asked), Some(7));
        assert_eq!(wait(429, "TooManyRequests", &[]), Some(60));
        assert_eq!(wait(429, "TooManyProviderTokenUpdates", &asked), Some(1200), "no new token sooner");
        assert_eq!(wait(503, "ServiceUnavailable", &asked), Some(7));
        assert_eq!(wait(503, "ServiceUnavailable", &[]), Some(60));
        assert_eq!(wait(500, "InternalServerError", &[]), Some(60));
        assert_eq!(wait(503, "Shutdown", &[]), None, "another server is there");
        assert_eq!(wait(403, "InvalidProviderToken", &[]), None);
    }

    #[test]
    fn any_reply_is_an_outcome() {
        testing::any_reply_is_an_outcome(&provider());
    }

    #[test]
    fn any_target_is_a_request_or_an_outcome() {
        testing::any_target_is_a_request_or_an_outcome(&provider(), |word| {
            target(&word.clone(), &word, ApnsEnvironment::Sandbox)
        });
        testing::any_target_is_a_request_or_an_outcome(&provider(), |word| {
            target(TOKEN, &word, ApnsEnvironment::Sandbox)
        });
        testing::any_target_is_a_request_or_an_outcome(&provider(), |_| activity());
        testing::any_target_is_a_request_or_an_outcome(&provider(), |word| Address::ApnsChannel {
            bundle: "com.example.shop".to_owned(),
            channel: word,
            environment: ApnsEnvironment::Production,
            stored: true,
        });
    }
}
