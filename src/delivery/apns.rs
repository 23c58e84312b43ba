//! Apple Push Notification service: alerts over its HTTP/2 provider API with token authentication.
//!
//! Source: Apple, "Sending notification requests to APNs" and "Handling notification responses from APNs".

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, header::AUTHORIZATION};
use parvis_engine::{
    notification::{Address, Cause, Channel, Content, Notification, Origin},
    problem::Problem,
    retry::Outcome,
    shopper::{ApnsEnvironment, PushTarget},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Provider, Reply, app_data, base_url, epoch_s,
    key::Es256,
    read,
    reply::{by_status, reason, retry_after},
    token::{Limits, Source, Token},
};
use crate::clock::Clock;

/// Apple refuses more than one new token in 20 minutes.
pub(super) const TOKEN_LIMITS: Limits = Limits { age_min: Duration::from_secs(20 * 60), gap_min: Duration::ZERO };

/// Apple wants a new token after 20 to 60 minutes.
const TOKEN_RENEWAL: Duration = Duration::from_secs(40 * 60);
const TOKEN_LIFE: Duration = Duration::from_secs(55 * 60);

/// Apple's limit for alerts.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Apple's limit.
const COLLAPSE_BYTES_MAX: usize = 64;
/// Device tokens have 64 digits today, others up to 200; Apple asks not to rely on a length.
const TOKEN_DIGITS_MAX: usize = 512;

/// How Apple's service is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The .p8 file of the authentication key.
    pub key: PathBuf,
    /// The key's id, ten characters.
    pub key_id: String,
    /// The developer team's id, ten characters.
    pub team_id: String,
    /// Where tokens of apps from the store are sent to.
    #[serde(default = "production_url")]
    pub production_url: String,
    /// Where tokens of development builds are sent to.
    #[serde(default = "sandbox_url")]
    pub sandbox_url: String,
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

/// Somewhat below the 1,000 streams that Apple announces on a connection.
fn concurrency() -> usize {
    900
}

/// Speaks Apple's provider API.
pub struct Apns {
    production_url: String,
    sandbox_url: String,
}

/// Signs the team's tokens.
pub struct TeamKey {
    key: Es256,
    key_id: String,
    team_id: String,
    clock: Clock,
}

/// Reads the key.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn build(config: &Config, base: &Path, clock: Clock) -> Result<(Apns, TeamKey), Vec<Problem>> {
    let mut problems = Vec::new();
    for (path, id) in [("/key_id", &config.key_id), ("/team_id", &config.team_id)] {
        if id.len() != 10 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            problems.push(Problem::new(path, format!("{id:?} is not an id of ten letters and digits")));
        }
    }
    let provider = Apns {
        production_url: base_url(&config.production_url, "/production_url", &mut problems),
        sandbox_url: base_url(&config.sandbox_url, "/sandbox_url", &mut problems),
    };
    let key = read(base, &config.key, "/key", &mut problems).and_then(|pem| {
        Es256::from_pem(&pem)
            .map_err(|error| problems.push(Problem::new("/key", format!("{} {error}", config.key.display()))))
            .ok()
    });
    match key {
        Some(key) if problems.is_empty() => {
            Ok((provider, TeamKey { key, key_id: config.key_id.clone(), team_id: config.team_id.clone(), clock }))
        }
        _ => Err(problems),
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

#[async_trait]
impl Source for TeamKey {
    async fn issue(&self) -> Result<Token, Outcome> {
        let now = self.clock.now();
        let text = self
            .key
            .sign(Some(&self.key_id), &Claims { iss: &self.team_id, iat: epoch_s(now) })
            .map_err(|_| Outcome::Unavailable { retry_after: None, reason: "token_not_signed".to_owned() })?;
        Ok(Token {
            text: text.into(),
            issued_at: now,
            renew_at: now.plus(TOKEN_RENEWAL),
            expires_at: now.plus(TOKEN_LIFE),
        })
    }
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
        let Address::Target(PushTarget::Apns { token, topic, environment }) = address else {
            return Err(Outcome::Rejected { reason: "wrong_channel".to_owned() });
        };
        if token.is_empty() || token.len() > TOKEN_DIGITS_MAX || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Outcome::Unregistered { since: None, reason: "BadDeviceToken".to_owned() });
        }
        let collapse = notification.collapse.as_bytes();
        if collapse.len() > COLLAPSE_BYTES_MAX || !collapse.iter().all(u8::is_ascii_graphic) {
            return Err(Outcome::Rejected { reason: "BadCollapseId".to_owned() });
        }
        let content = notification.content().ok_or_else(|| Outcome::Rejected { reason: "no_content".to_owned() })?;
        let body = payload(notification, content);
        if body.len() > PAYLOAD_BYTES_MAX {
            return Err(Outcome::Rejected { reason: "PayloadTooLarge".to_owned() });
        }
        let base = match environment {
            ApnsEnvironment::Production => &self.production_url,
            ApnsEnvironment::Sandbox => &self.sandbox_url,
        };
        let mut request = Request::post(format!("{base}/3/device/{token}"))
            .header(AUTHORIZATION, format!("bearer {bearer}"))
            .header("apns-push-type", "alert")
            .header("apns-topic", topic)
            .header("apns-id", notification.id.to_string())
            // Zero would mean a single attempt.
            .header("apns-expiration", epoch_s(notification.expires_at).max(1))
            .header("apns-priority", "10");
        if !notification.collapse.is_empty() {
            request = request.header("apns-collapse-id", &notification.collapse);
        }
        // The topic is the only header that a client wrote.
        request.body(body.into()).map_err(|_| Outcome::Rejected { reason: "BadTopic".to_owned() })
    }

    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome {
        let refusal: Refusal = serde_json::from_slice(&reply.body).unwrap_or_default();
        let retry_after = retry_after(&reply.headers, now);
        let word = refusal.reason.as_deref();
        let reason = reason(word, reply.status);
        match (reply.status.as_u16(), word) {
            // It can never work, in the environment that the device itself named.
            (400, Some("BadDeviceToken")) => Outcome::Unregistered { since: None, reason },
            (400, Some("IdleTimeout")) => Outcome::Unavailable { retry_after, reason },
            (403, Some("Forbidden")) => Outcome::Rejected { reason },
            (410, _) => {
                let since = refusal.timestamp.map(Timestamp::from_millis);
                Outcome::Unregistered { since, reason }
            }
            _ => by_status(reply.status, reason, retry_after),
        }
    }

    fn wants_new_credential(&self, reply: &Reply) -> bool {
        let refusal: Refusal = serde_json::from_slice(&reply.body).unwrap_or_default();
        reply.status == StatusCode::FORBIDDEN && refusal.reason.as_deref() == Some("ExpiredProviderToken")
    }
}

/// Unknown and missing members are fine: the list of reasons is open.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    reason: Option<String>,
    timestamp: Option<i64>,
}

fn payload(notification: &Notification, content: &Content) -> Vec<u8> {
    let thread = match &notification.origin {
        Origin::Campaign { cause: Cause::Order { order, .. } | Cause::Pickup { order, .. }, .. } => order.as_str(),
        Origin::Campaign { campaign, cause: Cause::Transition { .. }, .. } => campaign.as_str(),
        Origin::Request { request, .. } => request,
        Origin::Event { event } => event,
    };
    let payload = json!({
        "aps": {
            "alert": { "title": content.title, "body": content.body },
            "sound": "default",
            "thread-id": thread,
        },
        "data": app_data(notification),
    });
    payload.to_string().into_bytes()
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
