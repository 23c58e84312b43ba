//! Web Push: encrypted messages to the push services of browsers.
//!
//! Sources: RFC 8030 (protocol), RFC 8291 (encryption), RFC 8292 (identification) and the W3C Push API's declarative
//! messages, whose JSON also serves a service worker that shows the message itself.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

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
    notification::{Address, Body, Channel, Notification, Priority, Purpose},
    problem::Problem,
    retry::Outcome,
    shopper::{PushTarget, SubscriptionKeys},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Meaning, Provider, Reply, key::Es256, read, rejected};
use crate::{clock::Clock, entropy::Entropy};

pub mod ece;
pub mod endpoint;
mod payload;
mod refusal;
pub mod vapid;

use endpoint::Allowed;
use vapid::Vapid;

/// Mozilla's limit: 30 days; others cut a longer life themselves.
const TTL_S_MAX: u64 = 30 * 24 * 3600;
/// RFC 8030, section 5.4.
const TOPIC_BYTES_MAX: usize = 32;
/// What every push service takes (RFC 8030, section 7.2), with the encryption's own bytes.
const BODY_BYTES_MAX: usize = 4096;
/// What encryption adds.
const OVERHEAD_BYTES: usize = BODY_BYTES_MAX - ece::PLAINTEXT_BYTES_MAX;
/// Less is no limit of any service.
const PAYLOAD_MAX: RangeInclusive<usize> = 512..=BODY_BYTES_MAX;

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
    /// The public half that web pages subscribe with, base64url; if it is given, the key must be its other half.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Whom a push service can write to: `mailto:` or `https:`.
    pub subject: String,
    /// What opens on a tap where a message has no `https` link of its own. Without it such messages need a service
    /// worker.
    #[serde(default)]
    pub navigate: Option<String>,
    /// The hosts that may be called, each with its subdomains.
    #[serde(default = "browser_hosts")]
    pub allow_hosts: Vec<String>,
    /// The most bytes that a host and its subdomains take, encrypted; 4096 where none is named.
    #[serde(default = "payload_max")]
    pub payload_max: BTreeMap<String, usize>,
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

/// Firefox on Android is reached by way of FCM, which leaves less; its endpoints look like those of other Firefoxes.
fn payload_max() -> BTreeMap<String, usize> {
    BTreeMap::from([("push.services.mozilla.com".to_owned(), 2744)])
}

fn concurrency() -> usize {
    256
}

/// Speaks to push services.
pub struct WebPush {
    allowed: Allowed,
    public_key: String,
    navigate: Option<String>,
    payload_max: BTreeMap<String, usize>,
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
    for (host, bytes) in &config.payload_max {
        if !PAYLOAD_MAX.contains(bytes) {
            let message = format!("must be from {} to {} bytes", PAYLOAD_MAX.start(), PAYLOAD_MAX.end());
            problems.push(Problem::new(format!("/payload_max/{host}"), message));
        }
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
            let (navigate, payload_max) = (config.navigate.clone(), config.payload_max.clone());
            Ok((WebPush { allowed, public_key, navigate, payload_max, entropy }, vapid))
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
            return Err(rejected("wrong_channel"));
        };
        let endpoint = self.allowed.check(&subscription.endpoint)?;
        let ends_at = subscription.expiration_time.map(Timestamp::from_millis);
        if let Some(since) = ends_at.filter(|at| *at <= now) {
            return Err(Outcome::Unregistered { since: Some(since), reason: "subscription_expired".to_owned() });
        }
        let bad_keys = || Outcome::Unregistered { since: None, reason: "bad_subscription_keys".to_owned() };
        let keys = decode(&subscription.keys).ok_or_else(bad_keys)?;
        let body_max = self.body_max(endpoint.uri.host().unwrap_or_default());
        let plaintext = payload::of(notification, self.navigate.as_deref(), body_max.saturating_sub(OVERHEAD_BYTES))?
            .ok_or_else(|| rejected(&format!("payload_too_large_{body_max}")))?;
        let no_chance = |_| Outcome::Unavailable { retry_after: None, reason: "no_entropy".to_owned() };
        let fresh = ece::Fresh::draw(&self.entropy).map_err(no_chance)?;
        let body = ece::encrypt(&plaintext, &keys, &fresh).map_err(|_| bad_keys())?;
        let mut request = Request::post(endpoint.uri)
            .header(AUTHORIZATION, format!("vapid t={bearer}, k={}", self.public_key))
            .header("ttl", notification.expires_at.since(now).as_secs().min(TTL_S_MAX))
            .header("urgency", urgency(notification))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm");
        if is_topic(&notification.collapse) {
            request = request.header("topic", &notification.collapse);
        }
        request.body(body.into()).map_err(|_| rejected("bad_request"))
    }

    fn meaning(&self, reply: &Reply, now: Timestamp) -> Meaning {
        refusal::read(reply, now)
    }

    fn wants_new_credential(&self, _reply: &Reply) -> bool {
        // Tokens are renewed after half their life; a push service that refuses one refuses the key or the subject.
        false
    }
}

impl WebPush {
    /// The most bytes that a host takes: the longest name that fits counts.
    fn body_max(&self, host: &str) -> usize {
        let host = host.to_ascii_lowercase();
        let is_of = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let named = self.payload_max.iter().filter(|(name, _)| is_of(name)).max_by_key(|(name, _)| name.len());
        named.map_or(BODY_BYTES_MAX, |(_, bytes)| *bytes)
    }
}

fn is_topic(collapse: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !collapse.is_empty() && collapse.len() <= TOPIC_BYTES_MAX && collapse.bytes().all(fits)
}

/// A phone that is saving power gets order news at once, offers when it has power for messages of people. Of what a back
/// end wrote it knows itself.
fn urgency(notification: &Notification) -> &'static str {
    let priority = match &notification.body {
        Body::Custom(custom) => Some(custom.priority),
        Body::Content(_) | Body::Live(_) | Body::Fact(_) => None,
    };
    match (priority, notification.purpose()) {
        (Some(Priority::Low), _) => "low",
        (Some(Priority::Normal), _) | (None, Some(Purpose::Offer)) => "normal",
        (Some(Priority::High), _) | (None, Some(Purpose::Order) | None) => "high",
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parvis_engine::notification::{Custom, LiveEvent, Origin};
    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::Blame;
    use crate::delivery::testing;

    const ENDPOINT: &str = "https://web.push.apple.com/QGuO";

    fn provider() -> WebPush {
        WebPush {
            allowed: Allowed::new(&browser_hosts()).expect("hosts"),
            public_key: "BPub".to_owned(),
            navigate: None,
            payload_max: payload_max(),
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

    /// What the browser reads.
    fn read(provider: &WebPush, notification: &Notification, endpoint: &str) -> Value {
        let address = testing::browser_target(endpoint);
        let request = provider.request(notification, &address, "JWT", testing::now()).expect("a request");
        serde_json::from_slice(&testing::browser().decrypt(request.body())).expect("JSON")
    }

    #[test]
    fn a_message_without_a_page_is_left_to_the_service_worker() {
        let mut notification = testing::offer();
        testing::content(&mut notification).deep_link = Some("shop://offers/7".to_owned());
        assert!(read(&provider(), &notification, ENDPOINT).get("web_push").is_none());
        let provider = WebPush { navigate: Some("https://shop.example/".to_owned()), ..provider() };
        assert_eq!(read(&provider, &notification, ENDPOINT)["notification"]["navigate"], "https://shop.example/");
    }

    #[test]
    fn news_of_an_order_are_told_if_there_are_words() {
        let told = read(&provider(), &testing::live(LiveEvent::Start), ENDPOINT);
        assert_eq!(told["notification"]["body"], "En route");
        let outcome =
            request(&testing::live(LiveEvent::Update), &testing::browser_target(ENDPOINT)).expect_err("silent");
        assert_eq!(testing::meaning(&outcome), ("rejected", "no_content"));
    }

    fn custom(priority: Priority, given: &Value) -> Notification {
        let webpush = given.as_object().cloned();
        let custom = Custom { priority, webpush, ..Custom::default() };
        Notification { body: Body::Custom(Box::new(custom)), ..testing::offer() }
    }

    #[test]
    fn what_a_back_end_wrote_is_sent_as_it_is() {
        let given = json!({ "web_push": 8030, "notification": { "title": "t", "navigate": "https://shop.example/" } });
        for (priority, urgency) in [(Priority::High, "high"), (Priority::Normal, "normal"), (Priority::Low, "low")] {
            let notification = custom(priority, &given);
            assert_eq!(read(&provider(), &notification, ENDPOINT), given);
            assert!(head(&notification).contains(&format!("urgency: {urgency}\n")));
        }
        let large = custom(Priority::High, &json!({ "x": "x".repeat(4000) }));
        let outcome = request(&large, &testing::browser_target(ENDPOINT)).expect_err("refused");
        assert_eq!(testing::meaning(&outcome), ("rejected", "payload_too_large_4096"), "never cut");
    }

    #[test]
    fn a_large_message_loses_the_apps_data_and_then_text() {
        let body = |message: &Value| message["notification"]["body"].as_str().expect("text").to_owned();
        let mut notification = testing::offer();
        testing::content(&mut notification).data.insert("blob".to_owned(), "x".repeat(3900));
        let shown = read(&provider(), &notification, ENDPOINT);
        assert_eq!(body(&shown), "Aujourd’hui −20 %");
        let keys: Vec<_> = shown["notification"]["data"].as_object().expect("data").keys().cloned().collect();
        assert_eq!(keys, ["deep_link", "notification_id"]);
        // Characters of several bytes, and such as JSON escapes.
        testing::content(&mut notification).body = "€\"\n".repeat(2000);
        for (endpoint, body_max) in [(ENDPOINT, 4096), ("https://updates.push.services.mozilla.com/wpush/v2/g", 2744)] {
            let address = testing::browser_target(endpoint);
            let request = request(&notification, &address).expect("a request");
            let length = request.body().len();
            assert!(length <= body_max && length > body_max - 16, "{length} of {body_max}");
            let text = body(&read(&provider(), &notification, endpoint));
            assert!(text.starts_with("€\"\n€") && text.ends_with('…'), "{text}");
        }
        testing::content(&mut notification).title = "x".repeat(4000);
        let outcome = request(&notification, &testing::browser_target(ENDPOINT)).expect_err("refused");
        assert_eq!(testing::meaning(&outcome), ("rejected", "payload_too_large_4096"));
    }

    #[test]
    fn the_longest_name_that_fits_has_the_limit() {
        let payload_max = [("example.com", 1000), ("push.example.com", 2000)];
        let payload_max = payload_max.map(|(name, bytes)| (name.to_owned(), bytes)).into();
        let provider = WebPush { payload_max, ..provider() };
        let hosts = ["example.com", "a.Push.example.com", "xpush.example.com", "myexample.com", ""];
        assert_eq!(hosts.map(|host| provider.body_max(host)), [1000, 2000, 1000, 4096, 4096]);
    }

    #[test]
    fn what_cannot_be_sent_is_not_sent() {
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
        use Blame::{Message, Operator, Provider as Service, Setup};
        let mozilla = |errno: u32| json!({ "code": 0, "errno": errno, "error": "e", "message": "m" }).to_string();
        let mismatch = json!({ "code": 401, "errno": 109, "message": "VAPID public key mismatch" }).to_string();
        let apple = |reason: &str| json!({ "reason": reason }).to_string();
        let google = "the VAPID credentials in the authorization header do not correspond to the credentials used to \
                      create the subscriptions.\n";
        let page = "<HTML><HEAD><TITLE>UnauthorizedRegistration</TITLE></HEAD></HTML>";
        let gone = "push subscription has unsubscribed or expired.\n";
        let table = [
            (301, String::new(), "rejected", "http_301", Message),
            (400, mozilla(101), "rejected", "errno_101", Message),
            (400, mozilla(108), "rejected", "errno_108", Message),
            (400, mozilla(110), "rejected", "errno_110", Message),
            (400, mozilla(111), "rejected", "errno_111", Message),
            (400, mozilla(112), "rejected", "errno_112", Message),
            (400, mozilla(113), "rejected", "errno_113", Message),
            (400, apple("BadJwtToken"), "unavailable", "BadJwtToken", Operator),
            (400, apple("VapidPkHashMismatch"), "unavailable", "vapid_key_mismatch", Setup),
            (400, apple("BadWebPushTopic"), "rejected", "BadWebPushTopic", Message),
            (400, page.to_owned(), "unavailable", "UnauthorizedRegistration", Operator),
            (401, mozilla(109), "unavailable", "errno_109", Operator),
            (401, mismatch, "unavailable", "vapid_key_mismatch", Setup),
            (403, apple("BadJwtToken"), "unavailable", "BadJwtToken", Operator),
            (403, google.to_owned(), "unavailable", "vapid_key_mismatch", Setup),
            (404, mozilla(102), "unregistered", "errno_102", Message),
            (405, String::new(), "rejected", "http_405", Message),
            (406, String::new(), "throttled", "http_406", Service),
            (410, mozilla(103), "unregistered", "errno_103", Message),
            (410, mozilla(105), "unregistered", "errno_105", Message),
            (410, mozilla(106), "unregistered", "errno_106", Message),
            (410, gone.to_owned(), "unregistered", "http_410", Message),
            (413, mozilla(104), "rejected", "payload_too_large", Message),
            (429, String::new(), "throttled", "http_429", Message),
            (500, mozilla(999), "unavailable", "errno_999", Service),
            (503, mozilla(201), "unavailable", "errno_201", Service),
            (503, mozilla(202), "unavailable", "errno_202", Service),
        ];
        for (status, body, meaning, word, blame) in table {
            let reply = testing::reply(status, &[], &body);
            let outcome = provider().meaning(&reply, testing::now()).outcome;
            assert_eq!(testing::meaning(&outcome), (meaning, word), "{status} {body}");
            assert_eq!(provider().meaning(&reply, testing::now()).blame, Some(blame), "{status} {body}");
        }
        for status in [201, 202] {
            let reply = testing::reply(status, &[], "");
            assert_eq!(provider().meaning(&reply, testing::now()).outcome, Outcome::Accepted);
        }
        let throttled = testing::reply(429, &[("retry-after", "20")], "");
        let retry_after = Some(Duration::from_secs(20));
        let expected = Outcome::Throttled { retry_after, reason: "http_429".to_owned() };
        assert_eq!(provider().meaning(&throttled, testing::now()).outcome, expected);
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
