//! Web Push: encrypted messages to the push services of browsers.
//!
//! Sources: RFC 8030 (protocol), RFC 8291 (encryption), RFC 8292 (identification) and the W3C Push API's declarative
//! messages, whose JSON also serves a service worker that shows the message itself.

use std::path::{Path, PathBuf};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{
    Request,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE},
};
use parvis_engine::{
    notification::{Address, Channel, Content, Notification, Purpose},
    problem::Problem,
    retry::Outcome,
    shopper::{PushTarget, SubscriptionKeys},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Provider, Reply, app_data,
    key::Es256,
    read,
    reply::{by_status, reason, retry_after},
};
use crate::{clock::Clock, entropy::Entropy};

pub mod ece;
pub mod endpoint;
pub mod vapid;

use endpoint::Allowed;
use vapid::Vapid;

/// Mozilla's limit: 30 days; others cut a longer life themselves.
const TTL_S_MAX: u64 = 30 * 24 * 3600;
/// RFC 8030, section 5.4.
const TOPIC_BYTES_MAX: usize = 32;

/// Browsers give their keys without padding, some libraries add it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How the push services of browsers are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The PEM file of the VAPID key, P-256.
    pub key: PathBuf,
    /// Whom a push service can write to: `mailto:` or `https:`.
    pub subject: String,
    /// What opens on a tap where a message has no `https` link of its own. Without it such messages need a service
    /// worker.
    #[serde(default)]
    pub navigate: Option<String>,
    /// The hosts that may be called, each with its subdomains.
    #[serde(default = "browser_hosts")]
    pub allow_hosts: Vec<String>,
    /// Whether hosts may have private and loopback addresses.
    #[serde(default)]
    pub allow_private: bool,
    /// The most requests in flight.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
}

fn browser_hosts() -> Vec<String> {
    endpoint::BROWSER_HOSTS.iter().map(|&host| host.to_owned()).collect()
}

fn concurrency() -> usize {
    256
}

/// Speaks to push services.
pub struct WebPush {
    allowed: Allowed,
    public_key: String,
    navigate: Option<String>,
    entropy: Entropy,
}

/// Reads the key.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn build(
    config: &Config,
    base: &Path,
    clock: Clock,
    entropy: Entropy,
) -> Result<(WebPush, Vapid), Vec<Problem>> {
    let mut problems = Vec::new();
    let address = config.subject.strip_prefix("mailto:").or_else(|| config.subject.strip_prefix("https://"));
    if address.is_none_or(str::is_empty) {
        let message = format!("{:?} is neither a mailto: nor an https: URL", config.subject);
        problems.push(Problem::new("/subject", message));
    }
    if let Some(link) = config.navigate.as_ref().filter(|link| !is_web_link(link)) {
        problems.push(Problem::new("/navigate", format!("{link:?} is not an https URL")));
    }
    let allowed =
        Allowed::new(&config.allow_hosts).map_err(|message| problems.push(Problem::new("/allow_hosts", message))).ok();
    let key = read(base, &config.key, "/key", &mut problems).and_then(|pem| {
        Es256::from_pem(&pem)
            .map_err(|error| problems.push(Problem::new("/key", format!("{} {error}", config.key.display()))))
            .ok()
    });
    match (key, allowed) {
        (Some(key), Some(allowed)) if problems.is_empty() => {
            let vapid = Vapid::new(key, config.subject.clone(), allowed.clone(), clock);
            let public_key = vapid.public_key();
            Ok((WebPush { allowed, public_key, navigate: config.navigate.clone(), entropy }, vapid))
        }
        _ => Err(problems),
    }
}

impl Provider for WebPush {
    fn channel(&self) -> Channel {
        Channel::WebPush
    }

    fn request(
        &self,
        notification: &Notification,
        address: &Address,
        bearer: &str,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Outcome> {
        let Address::Target(PushTarget::WebPush { subscription }) = address else {
            return Err(Outcome::Rejected { reason: "wrong_channel".to_owned() });
        };
        let endpoint = self.allowed.check(&subscription.endpoint)?;
        let ends_at = subscription.expiration_time.map(Timestamp::from_millis);
        if let Some(since) = ends_at.filter(|at| *at <= now) {
            return Err(Outcome::Unregistered { since: Some(since), reason: "subscription_expired".to_owned() });
        }
        let bad_keys = || Outcome::Unregistered { since: None, reason: "bad_subscription_keys".to_owned() };
        let keys = decode(&subscription.keys).ok_or_else(bad_keys)?;
        let content = notification.content().ok_or_else(|| Outcome::Rejected { reason: "no_content".to_owned() })?;
        let plaintext = payload(notification, content, self.navigate.as_deref());
        if plaintext.len() > ece::PLAINTEXT_BYTES_MAX {
            return Err(Outcome::Rejected { reason: "payload_too_large".to_owned() });
        }
        let no_chance = |_| Outcome::Unavailable { retry_after: None, reason: "no_entropy".to_owned() };
        let fresh = ece::Fresh::draw(&self.entropy).map_err(no_chance)?;
        let body = ece::encrypt(&plaintext, &keys, &fresh).map_err(|_| bad_keys())?;
        let mut request = Request::post(endpoint.uri)
            .header(AUTHORIZATION, format!("vapid t={bearer}, k={}", self.public_key))
            .header("ttl", notification.expires_at.since(now).as_secs().min(TTL_S_MAX))
            .header("urgency", urgency(notification.purpose()))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm");
        if is_topic(&notification.collapse) {
            request = request.header("topic", &notification.collapse);
        }
        request.body(body.into()).map_err(|_| Outcome::Rejected { reason: "bad_request".to_owned() })
    }

    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome {
        let retry_after = retry_after(&reply.headers, now);
        let refusal: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        // Apple says `reason`, Mozilla has numbers.
        let mozilla = refusal["errno"].as_u64().map(|number| format!("errno_{number}"));
        let reason = reason(refusal["reason"].as_str().or(mozilla.as_deref()), reply.status);
        match reply.status.as_u16() {
            404 | 410 => Outcome::Unregistered { since: None, reason },
            // Apple's word for a fault in the token, which an operator can mend.
            400 if refusal["reason"].as_str().is_some_and(is_token_fault) => {
                Outcome::Unavailable { retry_after, reason }
            }
            // No push service redirects; a target that does is not one.
            300..=399 | 405 => Outcome::Rejected { reason },
            _ => by_status(reply.status, reason, retry_after),
        }
    }

    fn wants_new_credential(&self, _reply: &Reply) -> bool {
        // Tokens are renewed after half their life; a push service that refuses one refuses the key or the subject.
        false
    }
}

fn is_token_fault(reason: &str) -> bool {
    reason.contains("Jwt") || reason.contains("Vapid") || reason.contains("ProviderToken")
}

fn is_topic(collapse: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !collapse.is_empty() && collapse.len() <= TOPIC_BYTES_MAX && collapse.bytes().all(fits)
}

/// A phone that is saving power gets order news at once, offers when it has power for messages of people.
fn urgency(purpose: Option<Purpose>) -> &'static str {
    match purpose {
        Some(Purpose::Offer) => "normal",
        Some(Purpose::Order) | None => "high",
    }
}

fn is_web_link(link: &str) -> bool {
    link.len() > "https://".len() && link.starts_with("https://")
}

fn decode(keys: &SubscriptionKeys) -> Option<ece::Keys> {
    let public = BASE64URL.decode(&keys.p256dh).ok()?.try_into().ok()?;
    let auth = BASE64URL.decode(&keys.auth).ok()?.try_into().ok()?;
    Some(ece::Keys { public, auth })
}

/// A declarative message if there is a page to open, which it must have.
fn payload(notification: &Notification, content: &Content, navigate: Option<&str>) -> Vec<u8> {
    let mut shown = json!({
        "title": content.title,
        "body": content.body,
        "lang": content.locale,
        "tag": notification.collapse,
        "data": app_data(notification),
    });
    let link = content.deep_link.as_deref().filter(|link| is_web_link(link)).or(navigate);
    let message = match link {
        Some(link) => {
            shown["navigate"] = json!(link);
            json!({ "web_push": 8030, "notification": shown })
        }
        None => json!({ "notification": shown }),
    };
    message.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parvis_engine::notification::Origin;

    use super::*;
    use crate::delivery::testing;

    const ENDPOINT: &str = "https://web.push.apple.com/QGuO";

    fn provider() -> WebPush {
        WebPush {
            allowed: Allowed::new(&browser_hosts()).expect("hosts"),
            public_key: "BPub".to_owned(),
            navigate: None,
            entropy: Entropy::seeded(1),
        }
    }

    fn request(notification: &Notification, address: &Address) -> Result<Request<Bytes>, Outcome> {
        provider().request(notification, address, "JWT", testing::now())
    }

    fn head(notification: &Notification) -> String {
        let request = request(notification, &testing::browser_target(ENDPOINT)).expect("a request");
        let (parts, _) = request.into_parts();
        testing::wire(&Request::from_parts(parts, Bytes::new()))
    }

    #[test]
    fn an_offer_on_the_wire() {
        assert_eq!(
            head(&testing::offer()),
            "POST https://web.push.apple.com/QGuO\n\
             authorization: vapid t=JWT, k=BPub\n\
             ttl: 3600\n\
             urgency: normal\n\
             content-type: application/octet-stream\n\
             content-encoding: aes128gcm\n\
             topic: b2ZmZXI\n\
             \n"
        );
    }

    #[test]
    fn order_news_are_urgent_and_odd_collapse_keys_are_no_topics() {
        let mut notification = testing::offer();
        notification.origin = Origin::Request { request: "r-1".to_owned(), purpose: Purpose::Order };
        notification.collapse = "not base64url".to_owned();
        notification.expires_at = Timestamp::MAX;
        let head = head(&notification);
        assert!(head.contains("urgency: high\n"), "{head}");
        assert!(head.contains("ttl: 2592000\n"), "{head}");
        assert!(!head.contains("topic"), "{head}");
    }

    #[test]
    fn the_browser_reads_a_declarative_message() {
        let request = request(&testing::offer(), &testing::browser_target(ENDPOINT)).expect("a request");
        let message: Value = serde_json::from_slice(&testing::browser().decrypt(request.body())).expect("JSON");
        let expected = json!({
            "web_push": 8030,
            "notification": {
                "title": "Bienvenue",
                "body": "Aujourd’hui −20 %",
                "navigate": "https://shop.example/offers/7",
                "lang": "fr-FR",
                "tag": "b2ZmZXI",
                "data": {
                    "aisle": "7",
                    "deep_link": "https://shop.example/offers/7",
                    "notification_id": "018bcfe5-6800-8dcb-a1e1-cbecb54e57cf",
                },
            },
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn a_message_without_a_page_is_left_to_the_service_worker() {
        let mut notification = testing::offer();
        testing::content(&mut notification).deep_link = Some("shop://offers/7".to_owned());
        let read = |navigate| -> Value {
            serde_json::from_slice(&payload(&notification, notification.content().expect("words"), navigate))
                .expect("JSON")
        };
        assert!(read(None).get("web_push").is_none());
        assert_eq!(read(Some("https://shop.example/"))["notification"]["navigate"], "https://shop.example/");
    }

    #[test]
    fn what_cannot_be_sent_is_not_sent() {
        let mut large = testing::offer();
        testing::content(&mut large).body = "x".repeat(ece::PLAINTEXT_BYTES_MAX);
        let outcome = request(&large, &testing::browser_target(ENDPOINT)).expect_err("refused");
        assert_eq!(testing::meaning(&outcome), ("rejected", "payload_too_large"));

        let changed = |change: &dyn Fn(&mut parvis_engine::shopper::Subscription)| {
            let Address::Target(PushTarget::WebPush { mut subscription }) = testing::browser_target(ENDPOINT) else {
                panic!("a browser's target")
            };
            change(&mut subscription);
            let outcome = request(&testing::offer(), &Address::Target(PushTarget::WebPush { subscription })).err();
            outcome.map(|outcome| testing::meaning(&outcome).1.to_owned())
        };
        let expired = changed(&|subscription| subscription.expiration_time = Some(testing::now().as_millis()));
        assert_eq!(expired.as_deref(), Some("subscription_expired"));
        let short = changed(&|subscription| subscription.keys.p256dh = "AAAA".to_owned());
        assert_eq!(short.as_deref(), Some("bad_subscription_keys"));
        let off_curve = changed(&|subscription| subscription.keys.p256dh = BASE64URL.encode([4; 65]));
        assert_eq!(off_curve.as_deref(), Some("bad_subscription_keys"));
        let secret = changed(&|subscription| subscription.keys.auth = "?".to_owned());
        assert_eq!(secret.as_deref(), Some("bad_subscription_keys"));
        let padded = changed(&|subscription| subscription.keys.auth.push_str("=="));
        assert_eq!(padded, None, "padding is taken");
        let host = changed(&|subscription| subscription.endpoint = "https://10.0.0.1/".to_owned());
        assert_eq!(host.as_deref(), Some("endpoint_not_allowed"));
    }

    #[test]
    fn replies_have_a_meaning() {
        let mozilla = |errno: u32| json!({ "code": 0, "errno": errno, "error": "e", "message": "m" }).to_string();
        let table = [
            (201, String::new(), "accepted", ""),
            (202, String::new(), "accepted", ""),
            (301, String::new(), "rejected", "http_301"),
            (400, mozilla(111), "rejected", "errno_111"),
            (400, r#"{"reason":"BadJwtToken"}"#.to_owned(), "unavailable", "BadJwtToken"),
            (400, r#"{"reason":"BadWebPushTopic"}"#.to_owned(), "rejected", "BadWebPushTopic"),
            (401, mozilla(109), "unavailable", "errno_109"),
            (403, r#"{"reason":"BadJwtToken"}"#.to_owned(), "unavailable", "BadJwtToken"),
            (404, mozilla(102), "unregistered", "errno_102"),
            (405, String::new(), "rejected", "http_405"),
            (410, mozilla(103), "unregistered", "errno_103"),
            (410, "push subscription has unsubscribed or expired.\n".to_owned(), "unregistered", "http_410"),
            (413, mozilla(104), "rejected", "errno_104"),
            (429, String::new(), "throttled", "http_429"),
            (500, mozilla(999), "unavailable", "errno_999"),
            (503, mozilla(201), "unavailable", "errno_201"),
        ];
        for (status, body, meaning, word) in table {
            let outcome = provider().outcome(&testing::reply(status, &[], &body), testing::now());
            assert_eq!(testing::meaning(&outcome), (meaning, word), "{status} {body}");
        }
        let throttled = testing::reply(429, &[("retry-after", "20")], "");
        let retry_after = Some(Duration::from_secs(20));
        let expected = Outcome::Throttled { retry_after, reason: "http_429".to_owned() };
        assert_eq!(provider().outcome(&throttled, testing::now()), expected);
    }

    #[test]
    fn any_reply_is_an_outcome() {
        testing::any_reply_is_an_outcome(&provider());
    }

    #[test]
    fn any_target_is_a_request_or_an_outcome() {
        testing::any_target_is_a_request_or_an_outcome(&provider(), |word| testing::browser_target(&word));
    }
}
