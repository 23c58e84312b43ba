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

use super::{Blame, Provider, Reply, base_url, epoch_s, rejected, transport::Identity};
use crate::clock::Clock;

pub mod channels;
mod credential;
mod payload;
mod push;
mod refusal;

use channels::Channels;
pub(super) use credential::TOKEN_LIMITS;
pub use credential::{Credential, TeamKey};
pub use push::ACTIVITY_SUFFIX;

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
    /// What manages the broadcast channels of the same apps.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

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
fn is_bundle(text: &str) -> bool {
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

    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome {
        refusal::read(reply, now, self.server_error_wait).outcome
    }

    fn blame(&self, reply: &Reply) -> Option<Blame> {
        refusal::read(reply, Timestamp::MIN, self.server_error_wait).blame
    }

    fn wants_new_credential(&self, reply: &Reply) -> bool {
        self.identity.is_none() && refusal::is_expired_token(reply)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use parvis_engine::{id::OrderId, notification::Purpose, order::OrderState};

    use super::*;
    use crate::delivery::testing;

    const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

    fn provider() -> Apns {
        Apns { production_url: production_url(), sandbox_url: sandbox_url() }
    }

    fn target(token: &str, topic: &str, environment: ApnsEnvironment) -> Address {
        Address::Target(PushTarget::Apns { token: token.to_owned(), topic: topic.to_owned(), environment })
    }

    fn request(notification: &Notification) -> Result<Request<Bytes>, Outcome> {
        let target = target(TOKEN, "com.example.shop", ApnsEnvironment::Production);
        provider().request(notification, &target, "JWT", testing::now())
    }

    #[test]
    fn an_offer_on_the_wire() {
        let request = request(&testing::offer()).expect("a request");
        assert_eq!(
            testing::wire(&request),
            "POST https://api.push.apple.com/3/device/00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0\n\
             authorization: bearer JWT\n\
             apns-push-type: alert\n\
             apns-topic: com.example.shop\n\
             apns-id: 018bcfe5-6800-8dcb-a1e1-cbecb54e57cf\n\
             apns-expiration: 1700003600\n\
             apns-priority: 10\n\
             apns-collapse-id: b2ZmZXI\n\
             \n\
             {\"aps\":{\"alert\":{\"body\":\"Aujourd’hui −20 %\",\"title\":\"Bienvenue\"},\"sound\":\"default\",\
             \"thread-id\":\"tv-week\"},\"data\":{\"aisle\":\"7\",\"deep_link\":\"https://shop.example/offers/7\",\
             \"notification_id\":\"018bcfe5-6800-8dcb-a1e1-cbecb54e57cf\"}}"
        );
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
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        assert_eq!(body["aps"]["thread-id"], "O-7");
    }

    #[test]
    fn what_cannot_be_sent_is_not_sent() {
        let mut large = testing::offer();
        testing::content(&mut large).body = "x".repeat(PAYLOAD_BYTES_MAX);
        assert_eq!(request(&large).err(), Some(Outcome::Rejected { reason: "PayloadTooLarge".to_owned() }));
        let mut fits = testing::offer();
        let rest = PAYLOAD_BYTES_MAX - request(&fits).expect("fits").body().len();
        testing::content(&mut fits).body.push_str(&"x".repeat(rest));
        assert_eq!(request(&fits).expect("fits").body().len(), PAYLOAD_BYTES_MAX);
        testing::content(&mut fits).body.push('x');
        assert!(request(&fits).is_err());

        for token in ["", "../../evil", "zz", "0 1", &"0".repeat(TOKEN_DIGITS_MAX + 1)] {
            let target = target(token, "com.example.shop", ApnsEnvironment::Production);
            let outcome = provider().request(&testing::offer(), &target, "JWT", testing::now()).err();
            assert!(matches!(outcome, Some(Outcome::Unregistered { since: None, .. })), "{token:?}");
        }
        let target = target(TOKEN, "com.example\r\nx-evil: 1", ApnsEnvironment::Production);
        let outcome = provider().request(&testing::offer(), &target, "JWT", testing::now()).err();
        assert_eq!(outcome, Some(Outcome::Rejected { reason: "BadTopic".to_owned() }));
        for collapse in ["x".repeat(65), "x\r\ny".to_owned()] {
            let notification = Notification { collapse, ..testing::offer() };
            assert_eq!(request(&notification).err(), Some(Outcome::Rejected { reason: "BadCollapseId".to_owned() }));
        }
    }

    #[test]
    fn replies_have_a_meaning() {
        let table = [
            (200, "", "accepted"),
            (400, "BadCollapseId", "rejected"),
            (400, "BadDeviceToken", "unregistered"),
            (400, "BadExpirationDate", "rejected"),
            (400, "BadMessageId", "rejected"),
            (400, "BadPriority", "rejected"),
            (400, "BadTopic", "rejected"),
            (400, "DeviceTokenNotForTopic", "rejected"),
            (400, "DuplicateHeaders", "rejected"),
            (400, "IdleTimeout", "unavailable"),
            (400, "InvalidPushType", "rejected"),
            (400, "MissingDeviceToken", "rejected"),
            (400, "MissingTopic", "rejected"),
            (400, "PayloadEmpty", "rejected"),
            (400, "TopicDisallowed", "rejected"),
            (400, "SomethingNew", "rejected"),
            (403, "BadCertificate", "unavailable"),
            (403, "BadCertificateEnvironment", "unavailable"),
            (403, "BadEnvironmentKeyIdInToken", "unavailable"),
            (403, "ExpiredProviderToken", "unavailable"),
            (403, "Forbidden", "rejected"),
            (403, "InvalidProviderToken", "unavailable"),
            (403, "MissingProviderToken", "unavailable"),
            (403, "UnrelatedKeyIdInToken", "unavailable"),
            (403, "SomethingNew", "unavailable"),
            (404, "BadPath", "unavailable"),
            (405, "MethodNotAllowed", "unavailable"),
            (410, "ExpiredToken", "unregistered"),
            (410, "Unregistered", "unregistered"),
            (413, "PayloadTooLarge", "rejected"),
            (429, "TooManyProviderTokenUpdates", "throttled"),
            (429, "TooManyRequests", "throttled"),
            (500, "InternalServerError", "unavailable"),
            (503, "ServiceUnavailable", "unavailable"),
            (503, "Shutdown", "unavailable"),
        ];
        for (status, word, meaning) in table {
            let body = if word.is_empty() { String::new() } else { json!({ "reason": word }).to_string() };
            let outcome = provider().outcome(&testing::reply(status, &[], &body), testing::now());
            assert_eq!(testing::meaning(&outcome), (meaning, word), "{status} {word}");
        }
    }

    #[test]
    fn a_target_that_is_gone_says_since_when() {
        let reply = testing::reply(410, &[], r#"{"reason":"Unregistered","timestamp":1699999999000}"#);
        let since = Some(Timestamp::from_millis(1_699_999_999_000));
        assert_eq!(
            provider().outcome(&reply, testing::now()),
            Outcome::Unregistered { since, reason: "Unregistered".to_owned() }
        );
    }

    #[test]
    fn a_delay_that_was_asked_for_is_kept() {
        let reply = testing::reply(429, &[("retry-after", "7")], r#"{"reason":"TooManyRequests"}"#);
        let retry_after = Some(Duration::from_secs(7));
        let outcome = Outcome::Throttled { retry_after, reason: "TooManyRequests".to_owned() };
        assert_eq!(provider().outcome(&reply, testing::now()), outcome);
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
    }

    #[tokio::test]
    async fn the_token_is_what_apple_asks_for() {
        let (pem, public) = testing::p256_key();
        let key = Es256::from_pem(pem.as_bytes()).expect("a key");
        let clock = Clock::simulated(testing::now());
        let team = TeamKey { key, key_id: "ABC123DEFG".to_owned(), team_id: "DEF123GHIJ".to_owned(), clock };
        let token = team.issue().await.expect("a token");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(&*token.text, &DecodingKey::from_ec_der(&public), &validation)
                .expect("verifies");
        assert_eq!(decoded.header.kid.as_deref(), Some("ABC123DEFG"));
        assert_eq!(decoded.claims, json!({ "iss": "DEF123GHIJ", "iat": 1_700_000_000 }));
        assert!(!token.text.contains(['=', '+', '/']));
    }
}
